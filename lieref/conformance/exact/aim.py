"""Accumulators that tell arithmetics apart, found by search.

Two roundings of x r differ only for x r near a half, and only for some of those: of random accumulators one in some
hundred tells single from double rounding, of those that public vectors have one in three thousand. Here every integer
nearest to a half is tried with every arithmetic, and the few are kept that separate the most pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from typing import NamedTuple

from lieref.conformance.exact.arithmetic import ratio, rescale


class Way(NamedTuple):
    """One arithmetic of a multiplier: how the scales are multiplied, and how the accumulator is rounded."""

    scale: str
    rounding: str


def near_halves(real: Fraction, low: int, high: int) -> Iterator[int]:
    """Return the integers next to (k + 1/2) / real for some fifty results k from low to high."""
    for k in range(low, high, max((high - low) // 50, 1)):
        nearest = round((k + Fraction(1, 2)) / real)
        yield from (nearest - 1, nearest, nearest + 1)


def aimed(
    scales: Sequence[tuple[Fraction, Fraction, Fraction]],
    ways: Sequence[Way],
    results: tuple[int, int],
    used: set[tuple[int, int]] | None = None,
) -> list[int]:
    """Return one accumulator for each channel that tells ways apart which those before it do not.

    Parameters
    ----------
    scales : of x, weight and y, for each channel
    ways : sequence of Way
    results : smallest and largest result before the zero point
    used : set of pairs (i, j), i < j
        Pairs of ways already told apart; what is found is added.

    Returns
    -------
    list of int
        For a channel that has nothing to tell apart, the accumulator nearest to the first half.
    """
    done = set() if used is None else used
    chosen = []
    for channel, three in enumerate(scales):
        reals = [ratio(*three, way.scale) for way in ways]
        places = [x for real in sorted(set(reals)) for x in near_halves(real, *results)]
        at = channel, len(scales)
        rows = [[rescale(x, real, way.rounding, at) for real, way in zip(reals, ways, strict=True)] for x in places]
        best = max(range(len(places)), key=lambda i: (len(_told(rows[i]) - done), -i))
        done |= _told(rows[best])
        chosen.append(places[best])
    return chosen


def _told(row: Sequence[int]) -> set[tuple[int, int]]:
    return {(i, j) for i, j in combinations(range(len(row)), 2) if row[i] != row[j]}
