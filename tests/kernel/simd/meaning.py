"""What an instruction of each family does, in NumPy, from the family's definition.

A meaning takes an instruction's integers by name, the tile, the table and the memories before it runs, and returns what
is in the memories afterwards: where it writes, and what, with the bound that a kernel's rounding keeps. It says nothing
of loops, registers or vectors, but for the order of packed layouts, in which a tile's width is a length.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from lieref.kernel.simd.adapter import MAPS
from lieref.kernel.simd.cell import CELLS
from lieref.kernel.simd.combinations import COMBINATIONS as KERNELS
from lieref.kernel.simd.epilogue import MASK
from lieref.kernel.simd.frequency import FREQUENCY_STEPS
from lieref.kernel.simd.winograd import INPUT, OUTPUT, WEIGHT
from tests.kernel.simd import recurrent_meaning
from tests.kernel.simd.adapter_meaning import adapt, collect
from tests.kernel.simd.bounded import UNIT, Bounded, dot, product, total
from tests.kernel.simd.channel_meaning import MEANINGS as OF_CHANNELS
from tests.kernel.simd.combination_meaning import COMBINATIONS
from tests.kernel.simd.state import Write, grid, lanes
from tests.kernel.simd.walks import channels_of, finish, image, offsets, pixels


def _runs(f, tile, length, table, s, places, weight):
    """Sums over runs of products with packed weights: places x channels."""
    k = np.add.outer(offsets(table, f["runs"], f["run_count"]), np.arange(length)).ravel()
    rows = weight + np.arange(len(k))[:, None] * tile.width
    return dot(
        s.read("arena", places[:, None] + k),
        s.read("weights", rows + lanes(f["blocks"] * tile.vectors, f["column"], tile.width)),
    )


def conv(f, tile, table, s):
    """out[p, o] = epilogue(sum over runs and k of x[run + p + k] w[run, k, o])."""
    sums = _runs(f, tile, tile.steps, table, s, pixels(f, "in"), f["weight"])
    return finish(f, s, sums, channels_of(f, f["blocks"] * tile.vectors * tile.width), partial(pixels, f))


def winograd_product(f, tile, table, s):
    """out[frequency][tile, o] = sum_i x[frequency][tile, i] w[frequency][i, o]."""
    found = []
    for frequency in range(f["frequencies"]):
        places, targets = (
            f[t] + frequency * f[f"{t}_row"] + np.arange(f["count"]) * f[f"{t}_pixel"] for t in ("in", "out")
        )
        weight = f["weight"] + frequency * f["weight_step"]
        sums = _runs(f, tile, FREQUENCY_STEPS, table, s, places, weight)
        found.append(Write("arena", targets[:, None] + np.arange(sums.value.shape[1]), sums))
    return found


def gradient(f, tile, table, s):
    """dw[run, k, o] += sum_p x[run + p + k] g[p, o]."""
    found = []
    k = f["start"] + np.arange(f["run_blocks"] * tile.depth)
    columns = f["blocks"] * tile.vectors
    for repeat in range(f["repeats"]):
        g = image(f, "g") + (repeat * f["repeat_g"] + f["channel"])
        bars = s.read("arena", g[:, None] + np.arange(columns * tile.width))
        for run, offset in enumerate(offsets(table, f["runs"], f["run_count"])):
            x = image(f, "in") + (repeat * f["repeat_in"] + offset)
            rows = f["out"] + repeat * f["repeat_out"] + (run * f["run_rows"] + k) * tile.width
            place = rows[:, None] + lanes(columns, f["column"], tile.width)
            before = None if s.fresh(f) else s.read("gradients", place)
            found.append(Write("gradients", place, dot(s.read("arena", k[:, None] + x), bars, before)))
    return found


def bias_gradient(f, tile, table, s):
    """db[o] += sum_p g[p, o]."""
    channels = channels_of(f, f["blocks"] * tile.width)
    before = None if s.fresh(f) else s.read("gradients", f["out"] + channels)
    sums = total(s.read("arena", image(f, "g")[:, None] + channels), 0, before)
    return [Write("gradients", f["out"] + channels, sums)]


def depthwise(f, tile, table, s, taps=None):
    """out[p, c] = epilogue(sum_t x[tap + p, c] w[t, c])."""
    count = f["blocks"] * tile.width
    taps = offsets(table, f["taps"], f["tap_count"]) if taps is None else taps
    channels = channels_of(f, count)
    x = s.read("arena", (pixels(f, "in")[:, None] + taps)[..., None] + channels)
    columns = lanes(f["blocks"], f["column"], tile.width)
    w = s.read("weights", f["weight"] + np.arange(len(taps))[:, None] * tile.width + columns)
    return finish(f, s, total(x * w, 1), channels, partial(pixels, f))


def depthwise3(f, tile, table, s):
    """The same of 3x3 taps that are neighbours."""
    first, beside = (int(table[f["taps"] + i]) for i in (0, 1))
    lines = offsets(table, f["taps"], 7)[::3]
    return depthwise(f, tile, table, s, (lines[:, None] + np.arange(3) * (beside - first)).ravel())


def depthwise_gradient(f, tile, table, s):
    """dw[t, c] += sum_p x[tap + p, c] g[p, c]."""
    taps, channels = offsets(table, f["taps"], f["tap_blocks"] * tile.taps), channels_of(f, f["blocks"] * tile.width)
    x = s.read("arena", (image(f, "in")[:, None] + taps)[..., None] + channels)
    g = s.read("arena", image(f, "g")[:, None, None] + channels)
    place = f["out"] + np.arange(len(taps))[:, None] * tile.width + lanes(f["blocks"], f["column"], tile.width)
    before = None if s.fresh(f) else s.read("gradients", place)
    return [Write("gradients", place, total(x * g, 0, before))]


def resample(f, tile, table, s):
    """out[line, p, c] = epilogue(sum over the taps t of p of w[t] x[source[line] + offset[t], c])."""
    channels, lines = channels_of(f, f["blocks"] * tile.width), offsets(table, f["sources"], f["rows"])
    starts, found = offsets(table, f["starts"], f["cols"] + 1), []
    for pixel, (first, end) in enumerate(pairwise(starts)):
        x = s.read(
            "arena", f["in"] + np.add.outer(lines, offsets(table, f["taps"] + first, end - first))[..., None] + channels
        )
        w = s.read("weights", f["weight"] + np.arange(first, end)[:, None])

        def where(tensor, pixel=pixel):
            return f[tensor] + np.arange(f["rows"]) * f[f"{tensor}_row"] + pixel * f[f"{tensor}_pixel"]

        found += finish(f, s, total(x * w, 1), channels, where)
    return found


def load(f, tile, table, s, samples=None, pixel=None):
    """Samples (C, H, W) of the caller's array in the arena's NHWC."""
    samples, pixel = f["samples"] if samples is None else samples, f["out_pixel"] if pixel is None else pixel
    size = f["rows"] * f["cols"]
    first = (s.context["image"] + f["image"]) * f["sample"]
    source = first + grid((samples, f["sample"]), (f["channels"], size), (size, 1))
    place = grid((samples, f["out_sample"]), (f["channels"], 1), (f["rows"], f["out_row"]), (f["cols"], pixel))
    values = s.read("images", source).reshape(*place.shape)
    return [Write("arena", f["out"] + place, values)]


def load3(f, tile, table, s):
    """The same of one sample of three channels without padding."""
    return load(f, tile, table, s, 1, 3)


def _positions(index, classes, last):
    """Indices of outputs as (samples, positions, classes): the classes of a sample are its last axis, or its first."""
    shape = (len(index), -1, classes) if last else (len(index), classes, -1)
    return index.reshape(shape) if last else index.reshape(shape).swapaxes(1, 2)


def output(f, tile, table, s):
    """What is done with the outputs z of each sample, given its targets t."""
    sample = s.context["image"] + f["image"] + np.arange(f["samples"])
    here = (sample * f["classes"])[:, None] + np.arange(f["classes"])
    place, target = (f[t] + grid((f["samples"], f[f"{t}_sample"]), (f["classes"], 1)) for t in ("in", "g"))
    if tile.loss == "logits":
        return [Write("logits", here, s.read("arena", place))]
    if tile.loss == "given":
        return [Write("arena", target, s.read("targets", here))]
    if tile.loss == "mean_squared_error":
        off = s.read("arena", place) - s.read("targets", here)
        bars, losses = off * (2 * s.scale), total(off * off, 1) * s.scale
    elif tile.loss == "binary_cross_entropy":  # in float64, as the next
        z, t = (s.read(*which, dtype="float64") for which in (("arena", place), ("targets", here)))
        sign = np.copysign(1.0, t.value)
        u = z * sign
        up = u.value >= 0
        e = (u * np.where(up, -1.0, 1.0)).exp()
        losses = total(t * sign * (u * np.where(up, 0.0, -1.0) + (e + 1.0).log()), 1)
        bars = (t * -1.0 * ((u * np.where(up, -1.0, 0.0)).exp() / (e + 1.0))).narrowed(s.dtype)
    else:  # in float64, whatever the type of the numbers
        last = tile.loss == "cross_entropy_last"
        own = f["last"] if last else f["first"]
        place, target, here = (_positions(index, own, last) for index in (place, target, here))
        z, t = (s.read(*which, dtype="float64") for which in (("arena", place), ("targets", here)))
        shifted = z - z.value.max(2, keepdims=True)
        e, mass = shifted.exp(), total(t, 2)
        sums = total(e, 2)
        losses = total(mass * sums.log() - total(t * shifted, 2), 1)
        bars = (e * (mass / sums)[..., None] - t).narrowed(s.dtype)
    return [Write("arena", target, bars), Write("losses", sample, losses)]


def batched_product(f, tile, table, s):
    """out[m, i, j] = epilogue(alpha sum over s and k of in[m, s, i, k] other[m, s, k, j])."""
    found = []
    end = min(f["channel"] + f["blocks"] * tile.vectors * tile.width, f["columns"])
    columns = np.arange(f["channel"], end)
    terms = grid((f["summed"], 1), (f["inner"], 1))
    for m in range(f["matrices"]):
        left = grid((f["rows"], f["in_row"]), (f["summed"], f["in_summed"]), (f["inner"], f["in_column"]))
        right = grid((f["summed"], f["other_summed"]), (f["inner"], f["other_row"]))
        a = s.read("arena", f["in"] + m * f["in_matrix"] + left.reshape(f["rows"], terms.size))
        b = s.read("arena", f["other"] + m * f["other_matrix"] + right.reshape(terms.size, 1) + columns)

        def where(tensor, m=m):
            return f[tensor] + m * f[f"{tensor}_matrix"] + np.arange(f["rows"]) * f[f"{tensor}_row"]

        found += finish(f, s, dot(a, b) * s.number(f["alpha"]), columns, where)
    return found


def batched_transpose(f, tile, table, s):
    """out[m, i, j] = in[m, i, j]."""
    source, place = (grid((f["matrices"], f[f"{t}_matrix"]), (f["rows"], f[f"{t}_row"])) for t in ("in", "out"))
    columns = np.arange(f["columns"])
    values = s.read("arena", f["in"] + source[..., None] + columns * f["in_column"])
    return [Write("arena", f["out"] + place[..., None] + columns, values)]


def transpose(f, tile, table, s):
    """Squares of packed weights, turned."""
    source, place = (
        f[side] + grid((f["blocks"], f[f"block_{side}"]), (f["rows"], f[f"row_{side}"])) for side in ("in", "out")
    )
    turned = source[..., None, None] + grid((tile.width, 1), (tile.width, tile.width))
    square = place[..., None, None] + grid((tile.width, tile.width), (tile.width, 1))
    return [Write("weights", square, s.read("weights", turned))]


def permute(f, tile, table, s):
    """out[i] = weights[places[i]]."""
    places = offsets(table, f["places"], f["count"])
    return [Write("weights", f["out"] + np.arange(f["count"]), s.read("weights", places))]


def _ordered(source, target, order, f, tile, table, s):
    """target[i] = source[index[i]] scale[i]."""
    i = np.arange(f["count"])
    return [Write(target, i, s.read(source, s.raw(f"{order}_index", i)) * s.read(f"{order}_scale", i))]


def clear(f, tile, table, s):
    """Zeros, in whole vectors."""
    count = f["count"] // tile.width * tile.width
    return [Write("factor_gradients", np.arange(count), Bounded(np.zeros(count), 0.0, s.dtype))]


def zeros(f, tile, table, s):
    """Segments of zeros."""
    place = f["out"] + grid((f["segments"], f["step"]), (f["count"], 1))
    return [Write("arena", place, Bounded(np.zeros(place.shape), 0.0, s.dtype))]


def sum_parts(f, tile, table, s):
    """The sum of all parts' accumulators, in the place of the first's."""
    i = np.arange(f["count"] // tile.width * tile.width)
    sums = s.read(s.context["parts"][0], i)
    for part in s.context["parts"][1:]:
        sums = sums + s.read(part, i)
    return [Write("gradients", i, sums)] if len(s.context["parts"]) > 1 else []


def _squares(f, tile, size):
    """Where the squares of an image's tiles are, tile by tile."""
    return (
        f["in"] + grid(
            (f["tile_rows"], f["in_tile_row"]), (f["tile_cols"], f["in_tile_pixel"]), (f["blocks"] * tile.width, 1),
            (size, f["in_row"]), (size, f["in_pixel"]),
        )
    )  # fmt: skip


def _frequencies(f, tile, tensor):
    """Where the frequencies of all tiles are, in the same order."""
    n = tile.m + 2
    return f[tensor] + grid(
        (f["tile_rows"], f["tile_cols"] * f[f"{tensor}_pixel"]), (f["tile_cols"], f[f"{tensor}_pixel"]),
        (f["blocks"] * tile.width, 1), (n, n * f[f"{tensor}_row"]), (n, f[f"{tensor}_row"]),
    )  # fmt: skip


def _to_frequencies(matrices, f, tile, table, s):
    """M x M^T of every tile of an image."""
    matrix = matrices[tile.m]
    x = s.read("arena", _squares(f, tile, matrix.shape[1]))
    return [Write("arena", _frequencies(f, tile, "out"), product(matrix, x, matrix))]


def winograd_output(f, tile, table, s):
    """epilogue(A^T M A) of every tile."""
    matrix, m = OUTPUT[tile.m], tile.m
    y = product(matrix, s.read("arena", _frequencies(f, tile, "in")), matrix)  # rows, cols, channels, m, m
    by_pixel = (np.moveaxis(part, 2, -1).reshape(-1, y.value.shape[2]) for part in (y.value, y.error))

    def where(tensor):
        row, pixel = f[f"{tensor}_row"], f[f"{tensor}_pixel"]
        return f[tensor] + grid((f["tile_rows"], m * row), (f["tile_cols"], m * pixel), (m, row), (m, pixel)).ravel()

    return finish(f, s, Bounded(*by_pixel, s.dtype), np.arange(f["blocks"] * tile.width), where)


def _weight(matrices, memory, f, tile, table, s):
    """M w M^T of every vector of packed weights."""
    matrix = matrices[tile.m]
    source, place = (
        f[side] + grid(
            (f["blocks"], f[f"{side}_column"]), (f["rows"] * tile.width, 1), (n, n * f[f"{side}_step"]),
            (n, f[f"{side}_step"]),
        ) for side, n in (("in", matrix.shape[1]), ("out", matrix.shape[0]))
    )  # fmt: skip
    return [Write(memory, place, product(matrix, s.read(memory, source), matrix))]


def _sigmoid(x, a, b):
    return Bounded(1 / (1 + np.exp(-x.value)), 0.0, x.dtype).rounded(0.0, 16)  # 8 ulp


def _sigmoid_slope(x, a, b):
    y = 1 / (1 + np.exp(-np.abs(x.value)))
    return Bounded(y * np.exp(-np.abs(x.value)) * y, 0.0, x.dtype).rounded(0.0, 30)  # 15 ulp


def _tanh_slope(x, a, b):
    return Bounded(1 / np.cosh(x.value) ** 2, 0.0, x.dtype).rounded(0.0, 30)


def _hard_sigmoid_slope(x, a, b):
    y = x * a + b
    return Bounded(np.full(x.value.shape, a), 0.0, x.dtype).where((y.value > 0) & (y.value < 1))


def _share(x, part):
    """A constant that is rounded to the type."""
    return Bounded(part, 0.0, x.dtype).rounded(0.0)


def _hard_swish(x, a, b):
    return x * (x * _share(x, 1 / 6) + 0.5).clip(0, 1)


def _hard_swish_slope(x, a, b):
    inside = x * _share(x, 1 / 3) + 0.5
    return inside.where(np.abs(x.value) < 3, Bounded(np.where(x.value > 0, 1.0, 0.0), 0.0, x.dtype))


def _silu_slope(x, a, b):
    """Two terms that cancel near -1.28, each right to a few ulp."""
    s, rest = 1 / (1 + np.exp(-x.value)), 1 / (1 + np.exp(x.value))
    size = s * (1 + np.abs(x.value) * rest)
    return Bounded(s * (1 + x.value * rest), 0.0, x.dtype) + Bounded(0 * size, 16 * UNIT[x.dtype] * size, x.dtype)


def _elu(x, a, b):
    # 4 u of exp(x) are 10 u of the difference exp(x) - 1, where it is not a series; a product beside
    below = Bounded(a * np.expm1(np.minimum(x.value, 0)), 0.0, x.dtype).rounded(0.0, 16)
    return x.where(x.value >= 0, below)


def _elu_slope(x, a, b):
    return (Bounded(np.minimum(x.value, 0), 0.0, x.dtype).exp() * a).where(x.value <= 0, 1.0)


ACTIVATIONS: dict[str, Callable[[Any, float, float], Any]] = {
    "sigmoid": _sigmoid,
    "sigmoid_slope": _sigmoid_slope,
    "silu": lambda x, a, b: x * _sigmoid(x, a, b),
    "silu_slope": _silu_slope,
    "softplus": lambda x, a, b: Bounded(np.logaddexp(0, x.value), 0.0, x.dtype).rounded(0.0, 20),
    "softplus_slope": _sigmoid,
    "tanh": lambda x, a, b: x.tanh(),
    "tanh_slope": _tanh_slope,
    "hard_sigmoid": lambda x, a, b: (x * a + b).clip(0, 1),
    "hard_sigmoid_slope": _hard_sigmoid_slope,
    "hard_swish": _hard_swish,
    "hard_swish_slope": _hard_swish_slope,
    "leaky_relu": lambda x, a, b: x.where(x.value > 0, x * a),
    "leaky_relu_slope": lambda x, a, b: x.where(False, np.where(x.value > 0, 1.0, a)),
    "elu": _elu,
    "elu_slope": _elu_slope,
}
"""Functions of one number and their derivatives, given alpha and beta."""


def activation(name, f, tile, table, s):
    """out = epilogue(f(in)), or epilogue(in f'(other))."""
    channels = channels_of(f, f["blocks"] * tile.width)
    numbers = s.number(f["alpha"]), s.number(f["beta"])
    x = s.read("arena", pixels(f, "in")[:, None] + channels)
    if name.endswith("_slope"):
        y = x * ACTIVATIONS[name](s.read("arena", pixels(f, "other")[:, None] + channels), *numbers)
    else:
        y = ACTIVATIONS[name](x, *numbers)
    return finish(f, s, y, channels, partial(pixels, f))


def combination(name, f, tile, table, s):
    """out = epilogue(f(in, other, third)) where a pixel has channels, else epilogue(0)."""
    channels = channels_of(f, f["blocks"] * tile.width)
    read = ("in", "other", "third")[: KERNELS[name].operands]
    operands = [s.read("arena", pixels(f, tensor)[:, None] + channels) for tensor in read]
    with np.errstate(divide="ignore", invalid="ignore"):  # of what stands in the padding, which is not written
        y = COMBINATIONS[name](*operands, s.number(f["alpha"]), s.number(f["beta"]))
    return finish(f, s, y.where(channels < f["real"]), channels, partial(pixels, f))


def _pair(f, tile, s):
    channels = channels_of(f, f["blocks"] * tile.width)
    return channels, *(s.read("arena", pixels(f, t)[:, None] + channels) for t in ("in", "other"))


def product_of_tensors(f, tile, table, s):
    """out = epilogue(in other)."""
    channels, x, other = _pair(f, tile, s)
    return finish(f, s, x * other, channels, partial(pixels, f))


SELECTED = (("in", "channels"), ("other", "other_channels"))
"""Inputs of a selection, and where in the table the channels of each start."""


def select(inputs, f, tile, table, s):
    """out[p, c] = epilogue(in[p, channel[c]]), zero where there is no channel; of two inputs each has some."""
    count = f["blocks"] * tile.width
    y = Bounded(np.zeros((f["count"], count)), 0.0, s.dtype)
    for source, entries in SELECTED[:inputs]:
        taken = offsets(table, f[entries] + f["channel"], count)
        real = np.flatnonzero(taken >= 0)
        x = s.read("arena", pixels(f, source)[:, None] + taken[real])
        y.value[:, real] = x.value
    return finish(f, s, y, channels_of(f, count), partial(pixels, f))


def deal(f, tile, table, s):
    """out[p, 2 i] = epilogue(in[p, i]), out[p, 2 i + 1] = epilogue(other[p, i])."""
    channels = channels_of(f, f["blocks"] * tile.width)
    a, b = (s.read("arena", pixels(f, t)[:, None] + channels // 2) for t in ("in", "other"))
    return finish(f, s, a.where(channels % 2 == 0, b), channels, partial(pixels, f))


def undeal(f, tile, table, s):
    """out[p, c] = epilogue(in[p, 2 c] for begin <= c < end, else 0)."""
    channels = channels_of(f, f["blocks"] * tile.width)
    real = np.flatnonzero((channels >= f["begin"]) & (channels < f["end"]))
    y = Bounded(np.zeros((f["count"], len(channels))), 0.0, s.dtype)
    y.value[:, real] = s.read("arena", pixels(f, "in")[:, None] + 2 * channels[real]).value
    return finish(f, s, y, channels, partial(pixels, f))


def dot_of_tensors(f, tile, table, s):
    """out = epilogue(sum over pixels of in other)."""
    channels, x, other = _pair(f, tile, s)
    return finish(f, s, total(x * other, 0)[None], channels, lambda tensor: np.array([f[tensor]]))


def _windows(f, table):
    """The output pixels (y, x) and, of each, the taps inside the image, in order."""
    taps = [offsets(table, f[f"{axis}_taps"], 2 * f[f"{axis}s"]).reshape(-1, 2) for axis in ("row", "col")]
    for y, (top, height) in enumerate(taps[0]):
        for x, (left, width) in enumerate(taps[1]):
            yield y, x, [(ky, kx) for ky in range(top, top + height) for kx in range(left, left + width)]


def _tapped(f, tensor, tap, y, x, taps):
    """Where the taps of an output pixel are in a tensor."""
    start = f[tensor] + y * f[f"{tensor}_row"] + x * f[f"{tensor}_pixel"]
    return np.array([start + ky * f[f"{tap}_row"] + kx * f[f"{tap}_pixel"] for ky, kx in taps], np.int64)


def maximum(f, tile, table, s):
    """out[p, c] = max_t x[p + t, c]."""
    channels = channels_of(f, f["blocks"] * tile.width)
    found = []
    for y, x, taps in _windows(f, table):
        values = s.raw("arena", _tapped(f, "in", "tap", y, x, taps)[:, None] + channels)
        place = f["out"] + y * f["out_row"] + x * f["out_pixel"] + channels
        found.append(Write("arena", place, Bounded(values.max(0, initial=-np.inf), 0.0, s.dtype)))
    return found


def maximum_gradient(f, tile, table, s):
    """g_x[p + t] += g[p], t the first tap with x = out; with a mask, where out is in between."""
    low, high = s.number(f["low"]), s.number(f["high"])
    channels = channels_of(f, f["blocks"] * tile.width)
    sums: dict[int, Bounded] = {}
    for y, x, taps in _windows(f, table):
        largest, g = (s.raw("arena", f[t] + y * f[f"{t}_row"] + x * f[f"{t}_pixel"] + channels) for t in ("out", "g"))
        left = (low < largest) & (largest < high) if f["flags"] & MASK else np.ones(len(channels), bool)
        values = s.raw("arena", _tapped(f, "in", "tap", y, x, taps)[:, None] + channels)
        for place, value in zip(_tapped(f, "g_in", "g_tap", y, x, taps).tolist(), values, strict=True):
            here = left & ~(value < largest)
            known = sums.get(place)
            known = s.read("arena", place + channels) if known is None else known
            sums[place] = (known + g).where(here, known)
            left &= ~here
    return [Write("arena", place + channels, value) for place, value in sums.items()]


def _rows_of(f, s):
    """Which row of a table each pixel means: the nearest to its number, of which what lies behind the point is cut.

    Numbers below zero count from the end.
    """
    number = np.trunc(s.raw("arena", image(f, "in")))
    return np.clip(np.where(number < 0, number + f["depth"], number), 0, f["depth"] - 1).astype(int)


def embedding(f, tile, table, s):
    """out[p, c] = table[i[p], c]."""
    columns = lanes(f["blocks"], f["column"], tile.width)
    place = f["weight"] + _rows_of(f, s)[:, None] * tile.width + columns
    return [
        Write("arena", image(f, "out")[:, None] + channels_of(f, f["blocks"] * tile.width), s.read("weights", place))
    ]


def embedding_gradient(f, tile, table, s):
    """table_bar[i[p], c] += g[p, c]."""
    columns = f["sums"] + lanes(f["blocks"], f["column"], tile.width)
    sums = {row: None if s.fresh(f) else s.read("gradients", row * tile.width + columns) for row in range(f["depth"])}
    for place, row in zip(image(f, "g"), _rows_of(f, s).tolist(), strict=True):
        g = s.read("arena", place + channels_of(f, f["blocks"] * tile.width))
        sums[row] = g if sums[row] is None else sums[row] + g
    empty = Bounded(np.zeros(len(columns)), 0.0, s.dtype)
    return [
        Write("gradients", row * tile.width + columns, empty if value is None else value) for row, value in sums.items()
    ]


def constant(f, tile, table, s):
    """out[k] = weight[k]."""
    k = np.arange(f["count"])
    return [Write("arena", f["out"] + k, s.read("weights", f["weight"] + k))]


def move(adds, f, tile, table, s):
    """out[start + a + b] = in[start + a + b], or += it, pair by pair."""
    in_a, out_a, in_b, out_b, *starts = offsets(table, f["moves"], 4 + 2 * f["count"]).tolist()
    sums: dict[int, Bounded] = {}
    for source, target in zip(starts[::2], starts[1::2], strict=True):
        places = [f[t] + at + grid((f["outer"], a), (f["inner"], b)).ravel() for t, at, a, b in
                  (("in", source, in_a, in_b), ("out", target, out_a, out_b))]  # fmt: skip
        for one, other in zip(*(place.tolist() for place in places), strict=True):
            value = s.read("arena", np.array([one]))
            if adds:
                value = sums.get(other, s.read("arena", np.array([other]))) + value
            sums[other] = value
    return [Write("arena", np.array([place]), value) for place, value in sums.items()]


MEANINGS: dict[str, Callable[..., list[Write]]] = {
    "conv": conv,
    "gradient": gradient,
    "bias_gradient": bias_gradient,
    "depthwise": depthwise,
    "depthwise3": depthwise3,
    "depthwise_gradient": depthwise_gradient,
    "load": load,
    "load3": load3,
    "output": output,
    "transpose": transpose,
    "batched_product": batched_product,
    "batched_transpose": batched_transpose,
    "permute": permute,
    "gather": partial(_ordered, "theta", "factors", "factor"),
    "scatter": partial(_ordered, "factor_gradients", "theta_bar", "theta"),
    "clear": clear,
    "zeros": zeros,
    "sum_parts": sum_parts,
    "winograd_input": partial(_to_frequencies, INPUT),
    "winograd_gradient": partial(_to_frequencies, {m: matrix.T for m, matrix in OUTPUT.items()}),
    "winograd_output": winograd_output,
    "winograd_weight": partial(_weight, WEIGHT, "weights"),
    "winograd_weight_back": partial(_weight, {m: matrix.T for m, matrix in WEIGHT.items()}, "gradients"),
    "winograd_product": winograd_product,
    **{name: partial(activation, name) for name in ACTIVATIONS},
    "select": partial(select, 1),
    "select_pair": partial(select, 2),
    "deal": deal,
    "undeal": undeal,
    **{name: partial(combination, name) for name in COMBINATIONS},
    "product": product_of_tensors,
    "dot": dot_of_tensors,
    "embedding": embedding,
    "embedding_gradient": embedding_gradient,
    "constant": constant,
    "move": partial(move, False),
    "move_runs": partial(move, False),
    "add_moved": partial(move, True),
    "add_moved_runs": partial(move, True),
    "resample": resample,
    "maximum": maximum,
    "maximum_gradient": maximum_gradient,
    **OF_CHANNELS,
    **{name: partial(recurrent_meaning.each_sample, recurrent_meaning.forward, name) for name in CELLS},
    **{f"{name}_back": partial(recurrent_meaning.each_sample, recurrent_meaning.backward, name) for name in CELLS},
    **{f"adapt_{name}": partial(adapt, name) for name in MAPS},
    **{f"collect_{name}": partial(collect, name) for name in MAPS},
}
"""What the instructions of each family do: (integers, tile, table, state) to what is written."""
