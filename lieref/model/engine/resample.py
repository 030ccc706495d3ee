"""Resampling: interpolation, padding, and means over windows that the image's edges cut (`PixelMap`).

    out = rows x cols^T, and a constant around,    x_bar = rows^T g cols

A map is made of the cheapest instructions that do it: one where it is the same window everywhere, or where the outputs
along one axis are inputs as they are; else two, one axis after the other, with an image between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.resample import RESAMPLE_LINES
from lieref.kernel.simd.tiles import PixelTile
from lieref.model.engine.channel import sum_nothing, sum_taps
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.pixel_map import AxisMap, PixelMap
from lieref.model.engine.tensor import Place, Places, Table, Taps, Tensor
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return the instructions of out = epilogue(map of x)."""
    assert layer.resampling is not None  # as this kind has
    return _resample(b.storage, layer.resampling, b.tensors[layer.x], out, epilogue)


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions of the gradient of x: the transposed map of g."""
    if layer.x not in b.needed:
        return []
    assert layer.resampling is not None
    x_bar, epilogue = b.target(layer.x)
    return _resample(b.storage, layer.resampling.transposed(), g, x_bar, epilogue)


def _resample(storage: Storage, pixels: PixelMap, x: Tensor, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return the instructions of the pixels that have taps, and of those around them that have none."""
    around = epilogue
    if pixels.fill:
        vector = (pixels.fill,) * out.channels + (0.0,) * (out.pixel - out.channels)
        around = replace(epilogue, bias=storage.fixed(vector))
    ys, xs = pixels.rows.span, pixels.cols.span
    found: list[Instruction] = []
    for place, size in _frame(out, ys, xs):
        found += sum_nothing(storage, place, size, around)
    if ys[0] < ys[1] and xs[0] < xs[1]:
        rows, cols = (axis.part(axis.span, (0, axis.inputs)) for axis in (pixels.rows, pixels.cols))
        found += _inside(storage, rows, cols, x, Place(out, ys[0], xs[0]), epilogue)
    return found


def _frame(out: Tensor, ys: tuple[int, int], xs: tuple[int, int]) -> Iterator[tuple[Place, tuple[int, int]]]:
    """Yield the parts of an image around a rectangle: their places and sizes."""
    for y, x, end_y, end_x in (
        (0, 0, ys[0], out.width), (ys[0], 0, ys[1], xs[0]), (ys[0], xs[1], ys[1], out.width),
        (ys[1], 0, out.height, out.width),
    ):  # fmt: skip
        if y < end_y and x < end_x:
            yield Place(out, y, x), (end_y - y, end_x - x)


def _inside(
    storage: Storage, rows: AxisMap, cols: AxisMap, x: Tensor, target: Place, epilogue: Epilogue
) -> list[Instruction]:
    """Return the instructions of target = epilogue(rows x cols^T)."""
    down, right = rows.window(), cols.window()
    if down is not None and right is not None:
        taps = Taps(x, tuple((dy, dx) for dy in down.distances for dx in right.distances))
        weight = storage.repeated(down.weight * right.weight, len(taps.pixels)), 0
        source = Place(x, down.start, right.start, down.step, right.step)
        return sum_taps(storage, weight, source, taps, target, (rows.outputs, cols.outputs), epilogue)
    if rows.is_selection:
        return _along(storage, rows, cols, False, x, target, epilogue)
    if cols.is_selection:
        return _along(storage, cols, rows, True, x, target, epilogue)
    return _in_turn(storage, rows, cols, x, target, epilogue)


def _in_turn(
    storage: Storage, rows: AxisMap, cols: AxisMap, x: Tensor, target: Place, epilogue: Epilogue
) -> list[Instruction]:
    """Return the instructions of one axis after the other, in the order in which they take less."""
    # A tap is a number read, and what is between both is written.
    (top, bottom), (left, right) = rows.reach, cols.reach
    cols_first = (bottom - top) * (cols.count + cols.outputs) + cols.outputs * rows.count
    rows_first = (right - left) * (rows.count + rows.outputs) + rows.outputs * cols.count
    pixel = min(x.pixel, target.tensor.pixel)
    if cols_first <= rows_first:
        between = Tensor(pixel, bottom - top, cols.outputs, pixel, scratch=True, name="rows resampled")
        first = cols, AxisMap.copies(range(top, bottom), rows.inputs), False
        then = rows.part((0, rows.outputs), rows.reach), AxisMap.copies(range(cols.outputs), cols.outputs), True
    else:
        between = Tensor(pixel, rows.outputs, right - left, pixel, scratch=True, name="columns resampled")
        first = rows, AxisMap.copies(range(left, right), cols.inputs), True
        then = cols.part((0, cols.outputs), cols.reach), AxisMap.copies(range(rows.outputs), rows.outputs), False
    taps, lines, turned = first
    found = _along(storage, lines, taps, turned, x, Place(between), Epilogue())
    taps, lines, turned = then
    return found + _along(storage, lines, taps, turned, between, target, epilogue)


def _along(
    storage: Storage, lines: AxisMap, pixels: AxisMap, turned: bool, source: Tensor, target: Place, epilogue: Epilogue
) -> list[Instruction]:
    """Return the instructions of sums along lines, a selection of the rows, or, where `turned`, of the columns."""
    assert lines.weight is not None  # as a selection has

    def places(positions: list[int], along: bool) -> Taps:
        return Taps(source, tuple((0, i) if along else (i, 0) for i in positions))

    starts = [0]
    for own in pixels.taps:
        starts.append(starts[-1] + len(own))
    tables: dict[str, Table] = {
        "sources": places([taps[0][0] for taps in lines.taps], turned),
        "starts": Places(tuple(starts)),
        "taps": places([index for taps in pixels.taps for index, _ in taps], not turned),
    }
    weight = storage.fixed(tuple(lines.weight * number for taps in pixels.taps for _, number in taps))
    met = {"in": Place(source), **epilogue.places(replace(target, turned=turned))}
    at_once = next(count for count in RESAMPLE_LINES if count <= lines.outputs)
    found = []
    for first, count, width in storage.columns(min(place.tensor.pixel for place in met.values())):
        ints = {
            "blocks": count, "channel": first, "rows": lines.outputs, "cols": pixels.outputs, "weight": weight,
            **epilogue.fields(),
        }  # fmt: skip
        found.append(Instruction(KernelName("resample", PixelTile(at_once, width)), ints, met, tables))
    return found
