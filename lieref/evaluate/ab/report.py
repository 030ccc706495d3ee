"""Plain JSON values of a plan, a test and a look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lieref._check import check_int
from lieref.errors import DomainError
from lieref.evaluate.ab.betting import check_level
from lieref.evaluate.ab.decide import check_worth, looks_at
from lieref.evaluate.ab.forecast import forecast
from lieref.evaluate.ab.pairs import Pairs
from lieref.evaluate.ab.planning import paired_images, smallest_gain, unpaired_images
from lieref.evaluate.ab.rates import KINDS, rates_for
from lieref.evaluate.statistics import mcnemar, mcnemar_mid_p, paired_share_interval, proportion_interval

USUAL_POWER = 0.8
LOOKS = 20
"""Looks at a test of the planned size, where images a day are not given; and times the images so far that are ahead."""


def plan_report(
    *,
    accuracy: float,
    gain: float | None = None,
    images: int | None = None,
    disagreement: float | None = None,
    power: float = 0.8,
    level: float = 0.05,
    per_day: int | None = None,
) -> dict[str, Any]:
    """Return images needed for a gain, or the smallest gain that so many images show, for several disagreements.

    Parameters
    ----------
    accuracy, power, level : float
        As for `paired_images`.
    gain : float or None
    images : int or None
        One of the two is given.
    disagreement : float, optional
        The worst case by default.
    per_day : int, optional
        Images from one look to the next of the test that is looked at.

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    if (gain is None) == (images is None):
        raise DomainError("plan_report: `gain` or `images` must be given, not both; got " +
                          ("none" if gain is None else "both"))  # fmt: skip
    asked: float | str = "most" if disagreement is None else disagreement
    how: dict[str, Any] = {"power": power, "level": level}
    found = _row(asked, accuracy, gain, images, **how)
    others = [_row_or_none(kind, accuracy, gain, images, **how) for kind in KINDS if kind != asked]
    rows = [found, *(row for row in others if row is not None)]
    rows = sorted(rows, key=lambda row: row["disagreement"])
    if gain is not None:
        arms: dict[str, Any] = {"images_each": unpaired_images(accuracy, gain, power, level), "gain": gain}
    else:
        arms = {"images_each": images, "gain": _gain_or_none(images or 0, accuracy, paired=False, **how)}
    each = per_day or max(1, found["images"] // LOOKS)
    check_int("plan_report", "per_day", each, low=1)
    rates = rates_for(accuracy, found["gain"], found["disagreement"])
    ahead = forecast(each=each, ahead=max(each, LOOKS * found["images"]), worth=found["gain"], level=level, rates=rates)
    return {
        "accuracy": accuracy, "power": power, "level": level, "asked": "gain" if images is None else "images",
        **found, "rows": rows, "two_arms": arms, "looked_at": {"each": each, **ahead.to_dict()},
    }  # fmt: skip


def _row(
    disagreement: float | str, accuracy: float, gain: float | None, images: int | None, *, power: float, level: float
) -> dict[str, Any]:
    if gain is None:
        gain = smallest_gain(images or 0, accuracy, disagreement=disagreement, power=power, level=level)
        rates = rates_for(accuracy, gain, disagreement)
    else:
        rates = rates_for(accuracy, gain, disagreement)
        images = paired_images(rates, power, level)
    kind = disagreement if isinstance(disagreement, str) else "given"
    return {"kind": kind, "disagreement": rates.disagreement, "gain": gain, "images": images}


def _row_or_none(
    kind: str, accuracy: float, gain: float | None, images: int | None, **how: float
) -> dict[str, Any] | None:
    """Return a row, None where no gain is large enough for so few images, or so many are not to be had."""
    try:
        return _row(kind, accuracy, gain, images, **how)
    except DomainError:
        return None


def _gain_or_none(images: int, accuracy: float, **how: Any) -> float | None:
    """Return the smallest gain that so many images show, None where they show none."""
    try:
        return smallest_gain(images, accuracy, **how)
    except DomainError:
        return None


def test_report(pairs: Pairs, *, level: float, worth: float) -> dict[str, Any]:
    """Return what one look at two classifiers says: for a number of images fixed before, and at any time.

    ``shows`` holds the smallest gain that so many images show if the two disagree as often as here.

    Raises
    ------
    DomainError, DTypeError
        If the level or the smallest gain worth shipping is out of range or of another kind.
    """
    check_level_and_worth(level, worth)
    won, _, lost = pairs.counts
    right_a, right_b, images = pairs.right_a, pairs.right_b, len(pairs)
    interval = paired_share_interval(won, lost, images, 1 - level)
    (now,) = looks_at([pairs.counts], worth=worth, level=level)
    disagreement = (won + lost) / images
    shown = _gain_or_none(images, float(right_a.mean()), disagreement=disagreement, power=USUAL_POWER, level=level)
    shares = {}
    for name, right in (("a", right_a), ("b", right_b)):
        found = proportion_interval(int(right.sum()), images, 1 - level)
        shares[name] = {"accuracy": found.mean, "low": found.low, "high": found.high}
    return {
        "images": images, "level": level, "worth": worth, "accuracy": shares,
        "only_a": lost, "only_b": won, "disagreement": disagreement,
        "difference": interval.mean, "low": interval.low, "high": interval.high,
        "shows": {"power": USUAL_POWER, "gain": shown},
        "p_exact": mcnemar(right_b, right_a), "p_mid": mcnemar_mid_p(right_b, right_a),
        "any_time": {"low": now.low, "high": now.high, "p": now.p, "verdict": now.word},
    }  # fmt: skip


def look_report(counts: Sequence[tuple[str, tuple[int, int, int]]], *, level: float, worth: float) -> dict[str, Any]:
    """Return what each look says, the verdict, and how the looks may go on where it is still open.

    Parameters
    ----------
    counts : sequence of (str, (int, int, int))
        Name of each look's images, and how many of them were won, undecided and lost.
    level, worth : float
        As for `looks_at`.

    Raises
    ------
    DomainError, DTypeError
        If an argument is out of range or of another kind.
    """
    looks = looks_at([each for _, each in counts], worth=worth, level=level)
    last = looks[-1]
    decided = next((place for place, look in enumerate(looks) if look.word != "not yet"), None)
    ahead = None
    if decided is None:
        each = max(1, last.images // len(looks))
        tied = last.images - last.won - last.lost
        reach = max(each, LOOKS * last.images)
        ahead = forecast(last.won, tied, last.lost, each=each, ahead=reach, worth=worth, level=level).to_dict()
    return {
        "verdict": last.word,
        "decided_at": None if decided is None else {"look": decided + 1, "file": counts[decided][0]},
        "level": level, "worth": worth, "images": last.images, "only_a": last.lost, "only_b": last.won,
        "difference": last.difference, "low": last.low, "high": last.high, "p": last.p,
        "contradict": last.low > last.high,
        "looks": [{"file": name, **look.to_dict()} for (name, _), look in zip(counts, looks, strict=True)],
        "ahead": ahead,
    }  # fmt: skip


def check_level_and_worth(level: float, worth: float) -> None:
    """Raise `DomainError` unless the level lies inside (0, 1) and `worth` in [0, 1)."""
    check_level("ab", level)
    check_worth("ab", worth)
