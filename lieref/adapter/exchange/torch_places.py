"""Places that PyTorch's generator makes of a seed, without PyTorch.

Its CPU generator is the Mersenne Twister, seeded with the lowest 32 bits of a seed as NumPy's old one is, and
``torch.randperm`` shuffles forward: entry i is exchanged with entry i + (x_i mod (n - i)) for the words x_i in turn.
"""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.errors import UnsupportedError

MOST = (2**32 - 1) // 20
"""Fewer entries than these take one 32-bit word each; more take two, in another order."""


def randperm(seed: int, n: int, count: int) -> Array:
    """Return the first `count` entries of ``torch.randperm(n, generator=torch.Generator().manual_seed(seed))``.

    Parameters
    ----------
    seed : int
    n : int
        Below `MOST`.
    count : int
        0 to n.

    Returns
    -------
    (count,) int64 array

    Raises
    ------
    UnsupportedError
        If n is larger.
    """
    if n >= MOST:
        raise UnsupportedError(f"import: a permutation must have fewer than {MOST} entries; got {n}")
    words = np.frombuffer(np.random.RandomState(seed & 0xFFFFFFFF).bytes(4 * count), "<u4")
    moved: dict[int, int] = {}  # entries that are no longer their own number
    found = np.empty(count, np.int64)
    for i in range(count):
        other = i + int(words[i]) % (n - i)
        found[i] = moved.get(other, other)
        moved[other] = moved.get(i, i)
    return found
