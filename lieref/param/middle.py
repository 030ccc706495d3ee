"""A core over the whole kernel between two pointwise matrices: LyCORIS's Tucker form of a kernel."""

from __future__ import annotations

import numpy as np

from lieref._types import FloatArray


# Derivation.  x[o, c, k] = sum_ij a[o, i] t[i, j, k] b[j, c]. With y[o, j, k] = sum_i a[o, i] t[i, j, k]:
#   b_bar[j, c] = sum_ok y[o, j, k] x_bar[o, c, k],   y_bar[o, j, k] = sum_c x_bar[o, c, k] b[j, c],
#   a_bar[o, i] = sum_jk y_bar[o, j, k] t[i, j, k],   t_bar[i, j, k] = sum_o a[o, i] y_bar[o, j, k].
def between(a: FloatArray, core: FloatArray, b: FloatArray) -> FloatArray:
    """Return the kernels (groups, O, I, k) of a (groups, O, r), core (groups, r, r, k) and b (groups, r, I)."""
    kernels: FloatArray = np.einsum("gojk,gjc->gock", _left(a, core), b)
    return kernels


def between_vjp(
    a: FloatArray, core: FloatArray, b: FloatArray, x_bar: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the cotangents of a, core and b for that of the kernels."""
    groups, r, _, k = core.shape
    b_bar = np.einsum("gojk,gock->gjc", _left(a, core), x_bar)
    y_bar = np.einsum("gock,gjc->gojk", x_bar, b).reshape(groups, a.shape[1], r * k)
    flat = core.reshape(groups, r, r * k)
    return y_bar @ flat.swapaxes(1, 2), (a.swapaxes(1, 2) @ y_bar).reshape(core.shape), b_bar


def _left(a: FloatArray, core: FloatArray) -> FloatArray:
    """Return the product of a and the core, (groups, O, r, k)."""
    groups, r, _, k = core.shape
    return (a @ core.reshape(groups, r, r * k)).reshape(groups, a.shape[1], r, k)
