"""Whether the base does better on the training data than on the test data by more than chance allows.

A base that was trained on the same data knows them: on a part of them that is held out it looks better than it is,
and validation flatters it. Two independent sets, k1 of n1 right and k2 of n2. If both are samples of one population,
then given k1 + k2 the number k1 is hypergeometric, whatever the accuracy is: p = P(K >= k1), Fisher's exact test,
one-sided. It calls out by chance in at most the stated share of cases for any n1, n2 (in fewer: the counts are
whole).

A difference for another reason (a harder test set, other users) is found as well: the test says that the training
data are easier for the base, not why.
"""

from __future__ import annotations

from dataclasses import dataclass

from lieref._check import check_int, check_real
from lieref.errors import DomainError

LEVEL = 0.05
"""Share of bases that never saw the data and are still said to be flattered, at most."""


@dataclass(frozen=True)
class Flattery:
    """Shares of right answers of the base on two sets, and whether the first is higher by more than chance.

    Attributes
    ----------
    train, test : float
        Shares of right answers, 0 to 1.
    p : float
        One-sided p-value that both are samples of one population.
    level : float
        False-alarm rate of `flattered`, at most.
    """

    train: float
    test: float
    p: float
    level: float = LEVEL

    @property
    def flattered(self) -> bool:
        """Whether chance does not explain that the base does better on the training data."""
        return self.p <= self.level


def flattered_by(right_train: int, n_train: int, right_test: int, n_test: int, level: float = LEVEL) -> Flattery:
    """Return whether the base does better on the training data than a chance fluctuation allows.

    Parameters
    ----------
    right_train, right_test : int
        Right answers of the unadapted base, 0 to the number of samples.
    n_train, n_test : int
        Samples that were judged, at least 1.
    level : float
        In (0, 1).

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    from scipy.stats import hypergeom

    function = "flattered_by"
    n1, n2 = check_int(function, "n_train", n_train, low=1), check_int(function, "n_test", n_test, low=1)
    k1 = check_int(function, "right_train", right_train, low=0, high=n1)
    k2 = check_int(function, "right_test", right_test, low=0, high=n2)
    if check_real(function, "level", level, above=0.0) >= 1.0:
        raise DomainError(f"{function}: `level` must be below 1; got {level}")
    p = float(hypergeom.sf(k1 - 1, n1 + n2, k1 + k2, n1))
    return Flattery(k1 / n1, k2 / n2, min(1.0, p), level)
