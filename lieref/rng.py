"""Random streams: one seed, and one independent stream for each named use of it."""

from __future__ import annotations

import zlib

import numpy as np

from lieref._check import check_int


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
