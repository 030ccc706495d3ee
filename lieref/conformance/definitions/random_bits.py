"""The frozen numbers that a seed stands for, bit by bit: Philox4x64-10 [Salmon11], in integers.

A row of a matrix is a counter of its own, so that a smaller matrix is the corner of a larger one.
"""

from __future__ import annotations

from lieref.conformance.definitions.number import Numbers, number, numbers, scalar, sqrt
from lieref.errors import DomainError

VERSION = 1
"""What ``generator`` must be."""

COLUMNS, ROWS, PLACES = 1, 2, 3
"""Second half of the key: for a matrix on the inputs' side, on the outputs' side, for the places of entries."""

_MASK = 2**64 - 1
_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)


# Ten rounds; before each but the first the key moves on by the Weyl constants [Salmon11, section 3.2].
def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the four 64-bit words of a counter and a key."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(_MULTIPLIERS[0] * c0, 2**64)
        high1, low1 = divmod(_MULTIPLIERS[1] * c2, 2**64)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def word(seed: int, purpose: int, row: int, column: int) -> int:
    """Return the word at a place."""
    return philox((1 + column // 4, row, 0, 0), (seed, purpose))[column % 4]


def check_version(version: int) -> None:
    """Raise `DomainError` for a generator of another version."""
    if version != VERSION:
        raise DomainError(f"merge: `generator` must be {VERSION}; got {version}")


def matrix(seed: int, purpose: int, rows: int, columns: int) -> Numbers:
    """Return numbers of U(-sqrt(3), sqrt(3)): sqrt(3) (2 floor(word / 2^11) / 2^53 - 1)."""
    steps = [[2 * (word(seed, purpose, i, j) >> 11) - 2**53 for j in range(columns)] for i in range(rows)]
    return numbers(steps) * scalar(sqrt(number(3)) / 2**53)


def places(seed: int, among: int, count: int) -> list[int]:
    """Return the places of the smallest words in row 0, in rising order; the first of equal ones."""
    smallest = sorted(range(among), key=lambda place: (word(seed, PLACES, 0, place), place))
    return sorted(smallest[:count])
