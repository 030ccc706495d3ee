"""Certified convolution in one to three dimensions, and its three gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from lieref._check import check_int
from lieref._jit import njit
from lieref._types import FloatArray, Shape
from lieref.errors import ShapeError
from lieref.numerics.certified_array import (
    Certified,
    add_product,
    certify,
    finish,
    from_sums,
    pack,
    scale_back,
    sum_rows,
    without_overflow,
)

Operand: TypeAlias = Certified | FloatArray
Sizes: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class ConvGeometry:
    """Where a convolution reads: ONNX's attributes.

    Parameters
    ----------
    strides, dilations : tuple of int, one for each spatial axis, at least 1
    pads : tuple of int
        All begins, then all ends, at least 0.
    groups : int, at least 1
    """

    strides: Sizes
    pads: Sizes
    dilations: Sizes
    groups: int = 1

    def output_shape(self, x_shape: Shape, weight_shape: Shape) -> Shape:
        """Return the shape of the output, or raise `ShapeError` if the parts do not fit together."""
        rank = len(x_shape) - 2
        if not 1 <= rank <= 3 or len(weight_shape) != rank + 2:
            raise ShapeError(f"conv: `x` and `weight` must have 3 to 5 axes, alike; got {x_shape} and {weight_shape}")
        if not (len(self.strides) == len(self.dilations) == rank and len(self.pads) == 2 * rank):
            raise ShapeError(f"conv: strides, dilations and pads must fit {rank} spatial axes; got {self}")
        for name, values, low in (
            ("strides", self.strides, 1),
            ("dilations", self.dilations, 1),
            ("pads", self.pads, 0),
        ):
            for value in values:
                check_int("conv", name, value, low=low)
        check_int("conv", "groups", self.groups, low=1)
        if x_shape[1] != weight_shape[1] * self.groups or weight_shape[0] % self.groups:
            raise ShapeError(f"conv: channels must fit {self.groups} groups; got {x_shape} and {weight_shape}")
        spatial = tuple(
            (x_shape[2 + i] + self.pads[i] + self.pads[rank + i] - self.dilations[i] * (weight_shape[2 + i] - 1) - 1)
            // self.strides[i]
            + 1
            for i in range(rank)
        )
        if min(spatial) < 1:
            raise ShapeError(f"conv: the output must not be empty; got spatial shape {spatial}")
        return (x_shape[0], weight_shape[0], *spatial)

    def as_volume(self) -> FloatArray:
        """Return strides, begin pads and dilations of three axes, (3, 3) int64; missing leading axes are trivial."""
        rank = len(self.strides)
        rows = (
            ((1,) * (3 - rank), self.strides),
            ((0,) * (3 - rank), self.pads[:rank]),
            ((1,) * (3 - rank), self.dilations),
        )
        return np.array([[*trivial, *own] for trivial, own in rows], dtype=np.int64)


# y[n, o, p] = sum over c, k of x[n, c, q] w[o, c, k] with q = p stride + k dilation - pad, so a triple (q, k, p) of
# positions serves the output and both gradients: the sum runs over two of the three operands into the third.
# Out-of-range q is padding: an exact zero, neither added nor counted.
_INPUT_GRADIENT, _WEIGHT_GRADIENT, _OUTPUT = 0, 1, 2


# Numba caches this with `add_product` compiled into it: a change there shows once this file changes too.
@njit
def _contract(
    target: int,
    x: FloatArray,
    w: FloatArray,
    y: FloatArray,
    x_shape: Sizes,
    w_shape: Sizes,
    y_shape: Sizes,
    layout: FloatArray,
    sums: FloatArray,
    counts: FloatArray,
) -> None:  # pragma: no cover
    strides, pads, dilations = layout
    _, channels, depth, height, width = x_shape
    outs, per_group, k_depth, k_height, k_width = w_shape
    batch, _, y_depth, y_height, y_width = y_shape
    outs_per_group = outs // (channels // per_group)
    for n in range(batch):
        for o in range(outs):
            for c in range(per_group):
                x_plane = n * channels + o // outs_per_group * per_group + c
                for kd in range(k_depth):
                    for kh in range(k_height):
                        for kw in range(k_width):
                            iw = (((o * per_group + c) * k_depth + kd) * k_height + kh) * k_width + kw
                            for pd in range(y_depth):
                                qd = pd * strides[0] + kd * dilations[0] - pads[0]
                                if qd < 0 or qd >= depth:
                                    continue
                                for ph in range(y_height):
                                    qh = ph * strides[1] + kh * dilations[1] - pads[1]
                                    if qh < 0 or qh >= height:
                                        continue
                                    for pw in range(y_width):
                                        qw = pw * strides[2] + kw * dilations[2] - pads[2]
                                        if qw < 0 or qw >= width:
                                            continue
                                        ix = ((x_plane * depth + qd) * height + qh) * width + qw
                                        iy = (((n * outs + o) * y_depth + pd) * y_height + ph) * y_width + pw
                                        if target == 2:
                                            add_product(sums, iy, x, ix, w, iw)
                                            counts[iy] += 1
                                        elif target == 0:
                                            add_product(sums, ix, y, iy, w, iw)
                                            counts[ix] += 1
                                        else:
                                            add_product(sums, iw, y, iy, x, ix)
                                            counts[iw] += 1
    finish(sums)


def _volume(shape: Shape) -> Sizes:
    """Return a shape with three spatial axes; the leading ones that are missing have size one."""
    return (*shape[:2], *(1,) * (5 - len(shape)), *shape[2:])


def _apply(
    target: int,
    shapes: tuple[Shape, Shape, Shape],
    operands: tuple[Certified | None, Certified | None, Certified | None],
    geometry: ConvGeometry,
    start: Certified | None = None,
) -> Certified:
    """Contract two of the operands (x, weight, y) into the third, the one that is None, on top of `start`."""
    scaled, exponent = without_overflow(*(part for part in operands if part is not None))
    packed = iter(scaled)
    x, w, y = (np.zeros((5, 0)) if part is None else pack(next(packed)).reshape(5, -1) for part in operands)
    x_shape, w_shape, y_shape = map(_volume, shapes)
    shape = shapes[target]
    sums, counts = np.zeros((6, *shape)), np.zeros(shape)
    exact = all(part is None or part.is_exact for part in (*operands, start))
    if start is not None:
        start = scale_back(start, -exponent)
        sums[:5], sums[5] = pack(start), np.abs(start.hi)
        counts += 1
    _contract(target, x, w, y, x_shape, w_shape, y_shape, geometry.as_volume(), sums.reshape(6, -1), counts.reshape(-1))
    result = from_sums(sums, counts, exact)
    if start is None:
        return scale_back(result, exponent)
    # The start is added, not multiplied: nothing of it is converted.
    conversion = np.maximum(result.conversion - 2.0 * np.abs(start.hi), 0.0)
    return scale_back(replace(result, conversion=conversion), exponent)


def conv(x: Operand, weight: Operand, bias: Operand | None, geometry: ConvGeometry) -> Certified:
    """Return the convolution (in the sense of neural networks: the kernel is not flipped) with certified error.

    Parameters
    ----------
    x : Certified or ndarray (N, C, *spatial), one to three spatial axes
    weight : Certified or ndarray (O, C / groups, *kernel)
    bias : Certified or ndarray (O,), or None
    geometry : ConvGeometry

    Returns
    -------
    Certified (N, O, *output)
        The bias counts as one more product of its sum.

    Raises
    ------
    ShapeError
        If the shapes and the geometry do not fit together.
    """
    x, weight = certify(x), certify(weight)
    y_shape = geometry.output_shape(x.shape, weight.shape)
    shapes = (x.shape, weight.shape, y_shape)
    if bias is None:
        return _apply(_OUTPUT, shapes, (x, weight, None), geometry)
    bias = certify(bias)
    if bias.shape != (y_shape[1],):
        raise ShapeError(f"conv: `bias` must have shape {(y_shape[1],)}; got {bias.shape}")
    start = bias.on_values(lambda part: np.broadcast_to(part.reshape((-1,) + (1,) * (len(y_shape) - 2)), y_shape))
    return _apply(_OUTPUT, shapes, (x, weight, None), geometry, start)


# y is bilinear in (x, w) and linear in b, so each cotangent is the same sum with the roles exchanged:
# x_bar[q] = sum over o, k of y_bar[p] w[k], w_bar[k] = sum over n, p of y_bar[p] x[q], b_bar = sum over n, p of y_bar.
def conv_vjp(
    x: Operand, weight: Operand, y_bar: Operand, geometry: ConvGeometry
) -> tuple[Certified, Certified, Certified]:
    """Return the certified cotangents (x_bar, weight_bar, bias_bar) of `conv`.

    Parameters
    ----------
    x, weight, geometry
        As for `conv`.
    y_bar : Certified or ndarray (N, O, *output)

    Raises
    ------
    ShapeError
        If the shapes and the geometry do not fit together.
    """
    x, weight, y_bar = certify(x), certify(weight), certify(y_bar)
    y_shape = geometry.output_shape(x.shape, weight.shape)
    if y_bar.shape != y_shape:
        raise ShapeError(f"conv_vjp: `y_bar` must have shape {y_shape}; got {y_bar.shape}")
    shapes = (x.shape, weight.shape, y_shape)
    x_bar = _apply(_INPUT_GRADIENT, shapes, (None, weight, y_bar), geometry)
    weight_bar = _apply(_WEIGHT_GRADIENT, shapes, (x, None, y_bar), geometry)
    rows = y_bar.on_values(lambda part: np.moveaxis(part, 1, 0).reshape(y_shape[1], -1))
    return x_bar, weight_bar, sum_rows(rows)
