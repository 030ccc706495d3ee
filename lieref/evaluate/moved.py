"""What an adapter moved: of each tensor the size of the change, the signs that were kept, and the zeros."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import ShapeError


def moved(base: Mapping[str, Array], adapted: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Return what became of every adapted tensor, in the order given.

    Parameters
    ----------
    base : mapping of str to array
        Tensors by name, at least those that are adapted.
    adapted : mapping of str to array
        Of the same shapes.

    Returns
    -------
    list of dict
        ``tensor``; ``numbers`` in it; ``base_norm`` and ``change_norm``, the Frobenius norms of W and of W' - W in
        float64; ``nonzero`` numbers of W, and of these ``signs_kept``; ``zeros`` of W, and ``zeros_after`` of W'.

    Raises
    ------
    ShapeError
        If a tensor has another shape than its base.
    """
    found = []
    for name, value in adapted.items():
        before, after = np.asarray(base[name]), np.asarray(value)
        if before.shape != after.shape:
            raise ShapeError(f"moved: `adapted` must have the shapes of the base; {name} has {after.shape}")
        own = before != 0
        change = after.astype(np.float64) - before
        found.append(
            {
                "tensor": name,
                "numbers": int(before.size),
                "base_norm": float(np.linalg.norm(before.astype(np.float64).ravel())),
                "change_norm": float(np.linalg.norm(change.ravel())),
                "nonzero": int(own.sum()),
                "signs_kept": int((np.sign(after) == np.sign(before))[own].sum()),
                "zeros": int(before.size - own.sum()),
                "zeros_after": int((after == 0).sum()),
            }
        )
    return found
