"""Gradient clipping by the global norm."""

from __future__ import annotations

import math

import numpy as np

from lieref._check import check_finite, check_real
from lieref._types import FloatArray, Params


def global_norm(grads: Params) -> float:
    """Return the Euclidean norm of all gradients taken as one vector, in float64.

    Each array is divided by the largest entry first, so no square overflows or vanishes.

    Raises
    ------
    DomainError
        If an entry is not finite.
    """
    for name, gradient in grads.items():
        check_finite("global_norm", f"gradient of {name}", gradient)
    largest = max((_largest(gradient) for gradient in grads.values()), default=0.0)
    if largest == 0.0:
        return 0.0
    squares = (float(np.sum(np.square(gradient.astype(np.float64) / largest))) for gradient in grads.values())
    return largest * math.sqrt(sum(squares))


def clip_by_global_norm(grads: Params, max_norm: float) -> Params:
    """Return the gradients, scaled by max_norm / norm if their global norm exceeds `max_norm`.

    Parameters
    ----------
    grads : dict of str to float array
        Left as they are.
    max_norm : float
        Above 0.

    Raises
    ------
    DomainError
        If `max_norm` is out of range or a gradient is not finite.
    """
    check_real("clip_by_global_norm", "max_norm", max_norm, above=0.0)
    norm = global_norm(grads)
    if norm <= max_norm:
        return grads
    return {name: gradient * (max_norm / norm) for name, gradient in grads.items()}


def _largest(gradient: FloatArray) -> float:
    """Return the largest absolute entry, 0 for an empty array."""
    return float(np.max(np.abs(gradient), initial=0.0))
