"""What two classifiers do on the same images, in shares: how often they differ, and which of them is then right.

Of all images a share `won` is right with the new classifier alone, `lost` with the base alone. Then gain = won - lost
and disagreement = won + lost. Given the base's accuracy A and the gain g, how often they differ is still open:

    least        g                        the new one keeps every right answer, so nothing is lost
    independent  A (1 - A - g) + (1 - A) (A + g)    one errs regardless of the other
    most         g + 2 min(A, 1 - A - g)  they never err on the same image, or are never right on the same

for what is lost was right before (lost <= A) and is wrong after (lost <= 1 - A - g). An adapter and its base err on
much the same images: between least and independent. The more they differ, the more images a test needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from lieref._check import check_real
from lieref.errors import DomainError


@dataclass(frozen=True)
class Rates:
    """Shares of images, each at least 0 and together at most 1.

    Attributes
    ----------
    won : float
        Right with the new classifier alone.
    lost : float
        Right with the base alone.
    """

    won: float
    lost: float

    def __post_init__(self) -> None:
        """Check that they are shares."""
        for name in ("won", "lost"):
            check_real("Rates", name, getattr(self, name), low=0.0, high=1.0)
        if self.won + self.lost > 1 + 1e-12:
            raise DomainError(f"Rates: `won` and `lost` must be at most 1 together; got {self.won + self.lost}")

    @property
    def gain(self) -> float:
        """Accuracy of the new classifier less that of the base."""
        return self.won - self.lost

    @property
    def disagreement(self) -> float:
        """Share of images that exactly one of them has right."""
        return self.won + self.lost


KINDS = ("least", "independent", "most")


def disagreement_of(kind: str, accuracy: float, gain: float) -> float:
    """Return how often two classifiers differ; see above.

    Parameters
    ----------
    kind : {"least", "independent", "most"}
    accuracy : float
        Of the base, 0 to 1.
    gain : float
        Above 0; with `accuracy` at most 1.

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    check_accuracies("disagreement_of", accuracy, gain)
    after = min(1.0, accuracy + gain)
    if kind == "least":
        return gain
    if kind == "independent":
        return accuracy * (1 - after) + (1 - accuracy) * after
    if kind == "most":
        return gain + 2 * min(accuracy, 1 - after)
    raise DomainError(f"disagreement_of: `kind` must be one of {', '.join(KINDS)}; got {kind!r}")


def rates_for(accuracy: float, gain: float, disagreement: float | str = "most") -> Rates:
    """Return the shares won and lost.

    Parameters
    ----------
    accuracy : float
        Of the base, 0 to 1.
    gain : float
        Above 0; with `accuracy` at most 1.
    disagreement : float or str
        Between those of "least" and "most", or one of `KINDS`; by default the worst case, "most".

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    check_accuracies("rates_for", accuracy, gain)
    most = disagreement_of("most", accuracy, gain)
    if isinstance(disagreement, str):
        d = disagreement_of(disagreement, accuracy, gain)
    else:
        d = check_real("rates_for", "disagreement", disagreement)
    if not gain - 1e-12 <= d <= most + 1e-12:
        raise DomainError(
            f"rates_for: `disagreement` must lie between the gain, {gain:g}, and {most:g}, which is all that an "
            f"accuracy of {accuracy:g} leaves room for; got {d:g}"
        )
    return Rates((d + gain) / 2, max(0.0, (d - gain) / 2))


def check_accuracies(function: str, accuracy: float, gain: float) -> None:
    """Raise `DomainError` unless both are shares and the accuracy with the gain is at most 1."""
    before = check_real(function, "accuracy", accuracy, low=0.0, high=1.0)
    more = check_real(function, "gain", gain, above=0.0, high=1.0)
    if before + more > 1 + 1e-12:
        raise DomainError(
            f"{function}: `gain` must be at most {1 - before:g}, for an accuracy is at most 1; got {more:g}"
        )
