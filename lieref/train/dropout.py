"""Dropout on the input of the low-rank branch: one mask of input channels a step, the same for all its samples.

PEFT drops single numbers of x, by a mask of its own for every sample and position: W0 x + s B A (m * x) / (1 - p). An
adapter here is a weight, and a weight is the same for all samples: dropped are whole input channels, for all samples
and positions of a batch at once. Of a linear layer on vectors that is PEFT's dropout with one mask for the batch; its
mean over masks is the same, and what the masks add to the variance of a batch's gradient does not average out in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from lieref._types import Params


# Derivation.  A (m * x) / (1 - p) = (A diag(m) / (1 - p)) x = A' x: dropping input channels multiplies columns of A,
# and dA' = dA diag(m) / (1 - p), so A_bar = A'_bar diag(m) / (1 - p).
@contextmanager
def dropped(params: Params, masks: Params) -> Iterator[None]:
    """Multiply live factors with their masks while the block runs; afterwards every bit is as before."""
    kept = {name: params[name].copy() for name in masks}
    try:
        for name, mask in masks.items():
            params[name] *= mask
        yield
    finally:
        for name, factor in kept.items():
            params[name][...] = factor


def dropped_vjp(grads: Params, masks: Params) -> None:
    """Multiply, in place, the gradients of masked factors with the masks: those of the factors themselves."""
    for name, mask in masks.items():
        np.multiply(grads[name], mask, out=grads[name])
