"""Ranks given to the layers whose inputs need them: EVA's redistribution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lieref._types import FloatArray


def redistributed(shares: Sequence[FloatArray], budget: int) -> list[int]:
    """Return the rank of every layer: how many of the `budget` largest shares are its own [Paischer24, section 3].

    Parameters
    ----------
    shares : sequence of (n,) arrays
        Of each layer, what its directions hold of all that it reads, in falling order: explained variance ratios, with
        the second moment in the place of the variance.
    budget : int
        At most as many as there are shares. Of equal shares the earlier layer's count.

    Returns
    -------
    list of int
        At least 0; their sum is the budget.
    """
    owners = np.repeat(np.arange(len(shares)), [len(one) for one in shares])
    chosen = np.argsort(-np.concatenate(shares), kind="stable")[:budget]
    return [int(count) for count in np.bincount(owners[chosen], minlength=len(shares))]
