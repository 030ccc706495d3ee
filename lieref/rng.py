"""Random streams: one seed, and one independent stream for each named use of it; and numbers that are made anew."""

from __future__ import annotations

import zlib

import numpy as np

from lieref._check import check_int
from lieref._types import Array, FloatArray


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return the random generator of one purpose, independent of every other purpose of the same seed.

    A purpose is a path such as ``("init", "conv2d_1/weight")`` or ``("epoch", 3)``. Because each purpose has its own
    stream, adding a consumer of random numbers never changes what another one draws, and a resumed run draws what the
    interrupted one would have drawn.

    Parameters
    ----------
    seed : int
        0 to 2**63 - 1.
    *purpose : str or int
        Path that names the use.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    DomainError
        If the seed is out of range.
    """
    check_int("rng.stream", "seed", seed, low=0, high=2**63 - 1)
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else int(part) for part in purpose]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=tuple(words))))


GENERATORS = (1,)
"""Versions of `uniform_rows` and `places`: what a version returns for a seed never changes."""


def uniform_rows(seed: int, purpose: int, rows: int, columns: int) -> FloatArray:
    """Return numbers in [0, 1) that depend on nothing but their row, their column, the seed and the purpose.

    Word j of row i is word j mod 4 of Philox4x64-10 [Salmon11] for the key (seed, purpose) and the counter
    (1 + j div 4, i, 0, 0), and the number is the integer part of word / 2^11, over 2^53. So they can be made anew
    anywhere instead of being stored, and a smaller matrix is the corner of a larger one.

    Parameters
    ----------
    seed, purpose : int
        0 to 2**63 - 1.
    rows, columns : int

    Returns
    -------
    float64 array (rows, columns)
    """
    return (_words(seed, purpose, rows, columns) >> np.uint64(11)) * 2.0**-53


def places(seed: int, purpose: int, among: int, count: int) -> Array:
    """Return `count` different integers below `among` in rising order, each choice as likely as any other.

    Those whose word in row 0 of `uniform_rows` is smallest, of equal words the one that comes first.
    """
    smallest = np.argsort(_words(seed, purpose, 1, among)[0], kind="stable")[:count]
    return np.sort(smallest)


def _words(seed: int, purpose: int, rows: int, columns: int) -> Array:
    """Return the words of `uniform_rows`, uint64 (rows, columns)."""
    key = np.array([seed, purpose], np.uint64)
    found = np.empty((rows, columns), np.uint64)
    for row in range(rows):
        # NumPy counts up before it makes the first four words.
        found[row] = np.random.Philox(counter=[0, row, 0, 0], key=key).random_raw(columns)
    return found
