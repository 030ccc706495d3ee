"""Operations on single numbers: activations, products of tensors, and what carries a gradient back through them.

value      out = epilogue(f(in))
slope      out = epilogue(in f'(other))                    in the gradient of f's output, other its input
product    out = epilogue(in other)
dot        out = epilogue(sum over pixels of in other)     to a factor that all pixels share

<g, x f> is linear in each factor: x has the gradient g f, and f has g x, summed over the pixels where one f serves all.
At a kink of an activation the slope is that of one side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, access, steps
from lieref.kernel.simd.depthwise import channel_range
from lieref.kernel.simd.elementary import exp, expm1, log1p, sigmoid_parts, tanh
from lieref.kernel.simd.emit import Int, Real, Variable
from lieref.kernel.simd.epilogue import (
    EPILOGUE_FIELDS,
    emit_epilogue,
    epilogue_accesses,
    tile_starts,
    walk_pixels,
    walked,
)
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import PixelTile, WidthTile

POINTWISE_FIELDS = Fields(
    "blocks", "channel",  # vectors of channels; first channel
    "count", "cols",  # pixels, pixels in a row
    "in", "in_row", "in_pixel",
    "other", "other_row", "other_pixel",
    "alpha", "beta",  # bits of float64: numbers of the activation
    *EPILOGUE_FIELDS,
)  # fmt: skip

COMBINED_FIELDS = Fields(
    *POINTWISE_FIELDS.names[1:],
    "third", "third_row", "third_pixel",
    "real",  # channels of a pixel that are none of its padding
)  # fmt: skip

OPERANDS = ("in", "other", "third")

POINTWISE_PIXELS = (4, 1)
"""Pixels worked at once: their exponentials overlap."""


DOT_VECTORS = 4
"""Vectors of a pixel whose sums are made at once: neighbours in memory."""


class Activation(NamedTuple):
    """A function of one number and its derivative, as instructions on a vector."""

    value: Callable[[Kernel, Real], Real]
    slope: Callable[[Kernel, Real], Real]


# With e = exp(-x): sigmoid(x) = 1 / (1 + e), and its derivative is e / (1 + e)^2.
def _sigmoid(k: Kernel, x: Real) -> Real:
    _, more = sigmoid_parts(k, x)
    return k.vector(1.0, k.width) / more


def _sigmoid_slope(k: Kernel, x: Real) -> Real:
    e, more = sigmoid_parts(k, x)
    s = k.vector(1.0, k.width) / more
    return e * s * s  # e s is at most 1, the square of 1 + e might overflow


# y = x s with s = sigmoid(x), and dy = (s + x s (1 - s)) dx = s (1 + x (1 - s)) dx, where 1 - s = e s.
def _silu(k: Kernel, x: Real) -> Real:
    _, more = sigmoid_parts(k, x)
    return x / more


def _silu_slope(k: Kernel, x: Real) -> Real:
    e, more = sigmoid_parts(k, x)
    s = k.vector(1.0, k.width) / more
    return s * x.muladd(e * s, 1.0)


# log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), with slope sigmoid(x).
def _softplus(k: Kernel, x: Real) -> Real:
    return x.max(0.0) + log1p(k, exp(k, -x.max(-x)))


# 1 / cosh(x)^2 = 4 e / (1 + e)^2 with e = exp(-2 x).
def _tanh_slope(k: Kernel, x: Real) -> Real:
    return _sigmoid_slope(k, x + x) * 4.0


def _hard_sigmoid(k: Kernel, x: Real) -> Real:
    return _line(k, x).max(0.0).min(1.0)


def _hard_sigmoid_slope(k: Kernel, x: Real) -> Real:
    y = _line(k, x)
    inside: Real = k.where(y.above(0.0) & y.below(1.0), _number(k, "alpha"), 0.0)
    return inside


# x clip(x / 6 + 1 / 2, 0, 1) is x^2 / 6 + x / 2 for |x| < 3, with slope x / 3 + 1 / 2; 0 before, x behind.
def _hard_swish(k: Kernel, x: Real) -> Real:
    return x * (x * (1.0 / 6.0) + 0.5).max(0.0).min(1.0)


def _hard_swish_slope(k: Kernel, x: Real) -> Real:
    rising = k.where(x.below(3.0), x * (1.0 / 3.0) + 0.5, 1.0)
    slope: Real = k.where(x.above(-3.0), rising, 0.0)
    return slope


def _leaky_relu(k: Kernel, x: Real) -> Real:
    y: Real = k.where(x.above(0.0), x, x * _number(k, "alpha"))
    return y


def _leaky_relu_slope(k: Kernel, x: Real) -> Real:
    slope: Real = k.where(x.above(0.0), k.vector(1.0, k.width), _number(k, "alpha"))
    return slope


# exp(x) - 1 is `expm1`: close to zero the difference would keep no digit.
def _elu(k: Kernel, x: Real) -> Real:
    y: Real = k.where(x.below(0.0), expm1(k, x) * _number(k, "alpha"), x)
    return y


def _elu_slope(k: Kernel, x: Real) -> Real:
    slope: Real = k.where(x.above(0.0), k.vector(1.0, k.width), exp(k, x) * _number(k, "alpha"))
    return slope


ACTIVATIONS = {
    "sigmoid": Activation(_sigmoid, _sigmoid_slope),
    "silu": Activation(_silu, _silu_slope),
    "softplus": Activation(_softplus, _sigmoid),
    "tanh": Activation(tanh, _tanh_slope),
    "hard_sigmoid": Activation(_hard_sigmoid, _hard_sigmoid_slope),
    "hard_swish": Activation(_hard_swish, _hard_swish_slope),
    "leaky_relu": Activation(_leaky_relu, _leaky_relu_slope),
    "elu": Activation(_elu, _elu_slope),
}


def _number(k: Kernel, name: str) -> Real:
    return k.splat(k.real_field(name), k.width)


def _line(k: Kernel, x: Real) -> Real:
    return x.muladd(_number(k, "alpha"), _number(k, "beta"))


def value_accesses(f: Numbers, tile: PixelTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction that reads one operand accesses."""
    channels = channel_range(f, tile.width)
    return [
        *access("arena", "in", f["in"], walked(f, "in"), channels),
        *epilogue_accesses(f, channels, partial(walked, f)),
    ]


def pair_accesses(f: Numbers, tile: PixelTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction that reads two operands accesses."""
    channels = channel_range(f, tile.width)
    return [*access("arena", "other", f["other"], walked(f, "other"), channels), *value_accesses(f, tile, table)]


def dot_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of a sum over pixels accesses."""
    channels = channel_range(f, tile.width)
    return [
        *access("arena", "in", f["in"], walked(f, "in"), channels),
        *access("arena", "other", f["other"], walked(f, "other"), channels),
        *epilogue_accesses(f, channels, lambda _: steps()),
    ]


def emit_pointwise(
    apply: Callable[[Kernel, Real], Real], module: ir.Module, name: str, dtype: str, tile: PixelTile
) -> None:
    """Emit out = epilogue(apply(in)), pixel by pixel."""
    _emit(module, name, dtype, tile, ("in",), lambda k, values: apply(k, values[0]))


def emit_slope(
    slope: Callable[[Kernel, Real], Real], module: ir.Module, name: str, dtype: str, tile: PixelTile
) -> None:
    """Emit out = epilogue(in slope(other))."""
    _emit(module, name, dtype, tile, ("in", "other"), lambda k, values: values[0] * slope(k, values[1]))


def emit_product(module: ir.Module, name: str, dtype: str, tile: PixelTile) -> None:
    """Emit out = epilogue(in other); a factor that all pixels share has steps of 0."""
    _emit(module, name, dtype, tile, ("in", "other"), lambda k, values: values[0] * values[1])


def emit_combination(
    apply: Callable[..., Real], operands: int, module: ir.Module, name: str, dtype: str, tile: PixelTile
) -> None:
    """Emit out = epilogue(apply(in, other, third)) of so many operands, where a pixel has channels, else epilogue(0).

    `apply` may be infinite or NaN at zero, and what reads a padding multiplies it by a weight of zero.
    """
    _emit(module, name, dtype, tile, OPERANDS[:operands], lambda k, values: apply(k, *values), COMBINED_FIELDS)


def combination_accesses(operands: int, f: Numbers, tile: PixelTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction on so many operands accesses."""
    channels = channel_range(f, tile.width)
    read = [one for name in OPERANDS[1:operands] for one in access("arena", name, f[name], walked(f, name), channels)]
    return [*read, *value_accesses(f, tile, table)]


def _emit(
    module: ir.Module, name: str, dtype: str, tile: PixelTile, operands: tuple[str, ...],
    apply: Callable[[Kernel, list[Real]], Real], fields: Fields = POINTWISE_FIELDS,
) -> None:  # fmt: skip
    pixels, width = tile
    k = Kernel(module, name, dtype, fields, width)
    arena = k.base("arena")
    count, cols = k.field("count"), k.field("cols")
    with tile_starts(k, count, pixels) as start:
        walk = partial(walk_pixels, k, start, pixels, cols)
        sources = [walk(tensor) for tensor in operands]
        out = walk("out")
        with k.loop(k.field("blocks")) as block:
            channel = k.field("channel") + block * width
            real = k.lanes_before(channel, k.field("real"), width) if fields is COMBINED_FIELDS else None
            cells = []
            for p in range(pixels):
                value = apply(k, [arena.vector_at(source[p] + channel, width) for source in sources])
                cells.append([Variable(value if real is None else k.where(real, value, 0.0))])
            emit_epilogue(k, cells, channel, walk, out)
    k.finish()


def emit_dot(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit out = epilogue(sum over pixels of in other), one pixel from an image; `count` is a multiple of `cols`."""
    (width,) = tile
    k = Kernel(module, name, dtype, POINTWISE_FIELDS, width)
    arena, cols = k.base("arena"), k.field("cols")

    def some(first: Int, vectors: int) -> None:
        channel = k.field("channel") + first * width
        totals = [Variable(k.vector(0.0, width)) for _ in range(vectors)]
        with k.loop(k.field("count") // cols) as y:
            lines = [Variable(k.vector(0.0, width)) for _ in range(vectors)]  # the error grows with rows plus columns
            with k.loop(cols) as x:
                a, b = (
                    arena + (k.field(t) + channel + y * k.field(f"{t}_row") + x * k.field(f"{t}_pixel"))
                    for t in ("in", "other")
                )
                for v, line in enumerate(lines):
                    line.set(a.vector_at(v * width, width).muladd(b.vector_at(v * width, width), line.get()))
            for total, line in zip(totals, lines, strict=True):
                total.set(total.get() + line.get())
        emit_epilogue(k, [totals], channel, lambda tensor: [k.field(tensor)])

    k.in_tiles(k.field("blocks"), DOT_VECTORS, some)
    k.finish()
