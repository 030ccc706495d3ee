"""Rows of a convolution: forward, gradient of the input, gradient of the weight.

A convolution whose groups hold whole vectors runs group by group; one with odd groups runs as the equal dense one
with zeros; as many groups as channels and outputs are `channel_rows`.

Gradient of the input. From out[p] = sum_t w[t] x[s p + d t - pad] follows g_x[i] = sum_t w[t] g[(i + pad - d t) / s]
over the t that divide. The pixels i of one parity class (i mod s) share their t, so each class is one call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lieref._types import Array
from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import WidthTile
from lieref.model.engine import winograd_rows
from lieref.model.engine.layer import Epilogue, FusedLayer, Window
from lieref.model.engine.packed_matrix import PackedMatrix
from lieref.model.engine.product_rows import gradient_rows, gradient_run_rows, pad_runs, product_rows
from lieref.model.engine.program import Place, Row, Taps, Tensor
from lieref.model.engine.tiling import run_parts
from lieref.model.engine.weights import Storage, column_position, dense_index, pad_axis


@dataclass(frozen=True)
class Parity:
    """Input pixels (y + j sy, x + i sx) and the taps that reach them.

    Attributes
    ----------
    y, x, rows, cols : int
        First pixel and how many.
    taps : tuple of (ky, kx)
    shifts : tuple of (dy, dx)
        Output pixel each tap reads, relative to (j, i).
    """

    y: int
    x: int
    rows: int
    cols: int
    taps: tuple[tuple[int, int], ...]
    shifts: tuple[tuple[int, int], ...]


def parities(window: Window, height: int, width: int) -> Iterator[Parity]:
    """Yield the parity classes of an input of this size; taps in the order in which their shifts ascend."""
    for y in range(min(window.strides[0], height)):
        for x in range(min(window.strides[1], width)):
            reach = [_reaching(window, axis, start) for axis, start in enumerate((y, x))]
            pairs = [(a, b) for a in reach[0] for b in reach[1]]
            yield Parity(
                y, x, -(-(height - y) // window.strides[0]), -(-(width - x) // window.strides[1]),
                tuple((a[0], b[0]) for a, b in pairs), tuple((a[1], b[1]) for a, b in pairs),
            )  # fmt: skip


def _reaching(window: Window, axis: int, start: int) -> list[tuple[int, int]]:
    """Return (tap, shift) along one axis for input position `start`, by ascending shift."""
    stride, pad, dilation = window.strides[axis], window.pads[axis], window.dilations[axis]
    taps = [t for t in range(window.kernel[axis]) if (start + pad - dilation * t) % stride == 0]
    return sorted(((t, (start + pad - dilation * t) // stride) for t in taps), key=lambda pair: pair[1])


def need_gradient_halo(g: Tensor, parity: Parity) -> None:
    """Widen the halo of g for the taps of a class."""
    for dy, dx in parity.shifts:
        g.need_halo(max(-dy, 0), max(-dx, 0), max(dy + parity.rows - g.height, 0), max(dx + parity.cols - g.width, 0))


def _split(layer: FusedLayer, storage: Storage) -> tuple[int, Array]:
    """Return how many groups run by themselves, and the index array of all of them (dense where it is 1)."""
    index = layer.index
    assert index is not None  # a convolution has a weight
    groups, narrow = layer.groups, storage.pad(1)
    if groups > 1 and (index.shape[1] % narrow or (index.shape[0] // groups) % narrow):
        return 1, dense_index(index, groups)
    return groups, index


def forward(layer: FusedLayer, storage: Storage, x: Tensor, out: Tensor, epilogue: Epilogue) -> list[Row]:
    """Return the rows of the forward pass."""
    window = layer.window
    x.need_halo(*window.input_halo(x.height, x.width))
    groups, index = _split(layer, storage)
    inner = x.pixel if groups == 1 else index.shape[1]
    kh, kw = window.kernel
    dy, dx = window.dilations
    merged = groups == 1 and dx == 1
    taps = [(a * dy, b * dx) for a in range(kh) for b in range(1 if merged else kw)]
    rows = []
    per_group = index.shape[0] // groups
    padded = out.pixel if groups == 1 else per_group
    for group in range(groups):
        part = pad_axis(index[group * per_group : (group + 1) * per_group], 1, inner)
        matrix = pad_axis(part.transpose(2, 3, 1, 0).reshape(-1, per_group), 1, padded)
        source = Place(x, -window.pads[0], -window.pads[1], *window.strides, channel=group * inner)
        target = Place(out, channel=group * per_group)
        bias = epilogue.bias + group * per_group if epilogue.bias >= 0 else -1
        finish = Epilogue(bias, epilogue.aux, epilogue.clamp, epilogue.mask)
        m = winograd_rows.tile_size(layer, storage, x, out)
        if m:
            direct = storage.pack_columns(layer.weight, matrix)
            return winograd_rows.product(storage, m, direct, source, target, (out.height, out.width), finish)
        size = (out.height * out.width, out.width)
        rows += _product(storage, layer.weight, matrix, source, Taps(x, tuple(taps)), target, size, finish)
    return rows


def input_gradient(layer: FusedLayer, storage: Storage, g: Tensor, x_bar: Tensor, epilogue: Epilogue) -> list[Row]:
    """Return the rows of the gradient with respect to the input."""
    window = layer.window
    groups, index = _split(layer, storage)
    if groups == 1 and window.covers(x_bar.height, x_bar.width) and window.kernel != (1, 1):
        return _whole_image_gradient(layer.weight, index, storage, g, x_bar, epilogue)
    rows = []
    per_group = index.shape[0] // groups
    outer = g.pixel if groups == 1 else per_group
    inner = x_bar.pixel if groups == 1 else index.shape[1]
    for parity in parities(window, x_bar.height, x_bar.width):
        need_gradient_halo(g, parity)
        merged = groups == 1 and window.strides[1] == 1 and window.dilations[1] == 1
        starts = parity.shifts[:: window.kernel[1]] if merged else parity.shifts
        for group in range(groups):
            part = index[group * per_group : (group + 1) * per_group]
            chosen = [pad_axis(pad_axis(part[:, :, ky, kx], 0, outer), 1, inner) for ky, kx in parity.taps]
            matrix = np.concatenate(chosen) if chosen else np.zeros((0, inner), np.int64)
            m = winograd_rows.tile_size(layer, storage, g, x_bar)
            if m:
                direct = storage.pack_columns(layer.weight, matrix)
                image = (x_bar.height, x_bar.width)
                corner = Place(g, *parity.shifts[0])
                return winograd_rows.product(storage, m, direct, corner, Place(x_bar), image, epilogue)
            source = Place(g, channel=group * per_group)
            target = Place(x_bar, parity.y, parity.x, *window.strides, channel=group * inner)
            size = (parity.rows * parity.cols, parity.cols)
            rows += _product(storage, layer.weight, matrix, source, Taps(g, starts), target, size, epilogue)
    return rows


def _whole_image_gradient(
    name: str, index: Array, storage: Storage, g: Tensor, x_bar: Tensor, epilogue: Epilogue
) -> list[Row]:
    """Return the rows where the window is the whole image: one product a row of it, all its pixels as channels."""
    rows = []
    padded = pad_axis(pad_axis(index, 1, x_bar.pixel), 0, g.pixel)
    for y in range(x_bar.height):
        matrix = padded[:, :, y].transpose(0, 2, 1).reshape(g.pixel, -1)
        rows += _product(storage, name, matrix, Place(g), Taps(g, ((0, 0),)), Place(x_bar, y), (1, 1), epilogue)
    return rows


def _product(
    storage: Storage, name: str, matrix: Array, source: Place, taps: Taps, target: Place, size: tuple[int, int],
    epilogue: Epilogue,
) -> list[Row]:  # fmt: skip
    """Pack the index matrix (taps x k, channels) of a weight and return the rows of the product with it."""
    run = len(matrix) // max(len(taps.pixels), 1)
    packed = pad_runs(matrix, len(taps.pixels))
    offset = storage.pack_columns(name, packed).offset if len(packed) else 0
    return product_rows(storage, offset, len(packed), packed.shape[1], source, taps, run, target, size, epilogue)


BAND_PIXELS = 512
"""Pixels of the output whose products are summed by themselves, which bounds the rounding error of large images."""


def weight_gradient(layer: FusedLayer, storage: Storage, x: Tensor, g: Tensor) -> list[Row]:
    """Return the rows of the gradient with respect to the weight."""
    m = winograd_rows.tile_size(layer, storage, x, g)
    if m:
        return winograd_rows.weight_gradient(layer, storage, m, x, g)
    window = layer.window
    groups, index = _split(layer, storage)
    per_group = index.shape[0] // groups
    inner = x.pixel if groups == 1 else index.shape[1]
    padded = g.pixel if groups == 1 else per_group
    kh, kw = window.kernel
    merged = groups == 1 and window.dilations[1] == 1
    dy, dx = window.dilations
    taps = Taps(x, tuple((a * dy, b * dx) for a in range(kh) for b in range(1 if merged else kw)))
    run = inner * (kw if merged else 1)
    spans = storage.columns(padded)
    run_rows = gradient_run_rows(storage, run, padded)
    padded_run = math.prod(run_parts(run))
    total = len(taps.pixels) * run_rows
    # Where (i, ky, kx) stands among the padded rows, and (o) among the vector columns.
    ky, kx, i = np.meshgrid(np.arange(kh), np.arange(kw), np.arange(index.shape[1]), indexing="ij")
    runs, within = (ky, kx * inner + i) if merged else (ky * kw + kx, i)
    k = (runs * run_rows + within).transpose(2, 0, 1)  # (I, kh, kw)
    start, stride = column_position(per_group, total, spans)
    position = start[:, None, None, None] + k * stride[:, None, None, None]
    size = padded * total
    real_index = np.full(int(index.max()) + 1, -1, np.int64)
    for group in range(groups):
        elements = index[group * per_group : (group + 1) * per_group]
        real_index[elements[elements >= 0]] = position[elements >= 0] + group * size
    offset = storage.add_accumulator(
        layer.weight, size * groups, real_index, PackedMatrix(0, total, tuple(spans)),
        [(i * run_rows, i * padded_run, run) for i in range(len(taps.pixels))],
    )  # fmt: skip
    rows = []
    band = max(1, BAND_PIXELS // g.width)
    for group in range(groups):
        for y in range(0, g.height, band):
            top = y * window.strides[0] - window.pads[0]
            source = Place(x, top, -window.pads[1], *window.strides, channel=group * inner)
            target = Place(g, y, channel=group * per_group)
            pixels = min(band, g.height - y), g.width
            rows += gradient_rows(
                storage, offset + group * size, padded, source, taps, run, target, pixels, begin=int(y == 0)
            )
    return rows


def bias_gradient(layer: FusedLayer, storage: Storage, g: Tensor) -> list[Row]:
    """Return the rows of the gradient with respect to the bias."""
    offset = storage.add_accumulator(layer.bias, g.pixel, np.arange(g.channels))
    rows = []
    for first, count, width in storage.columns(g.pixel):
        ints = {
            "blocks": count, "channel": first, "rows": g.height, "cols": g.width,
            "out": offset, "begin": 1,
        }  # fmt: skip
        rows.append(Row(KernelName("bias_gradient", WidthTile(width)), ints, {"g": Place(g)}))
    return rows
