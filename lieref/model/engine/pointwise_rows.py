"""Rows of what works number by number or moves whole channels: activations, products of tensors, concatenation."""

from __future__ import annotations

from collections.abc import Sequence

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.pointwise import POINTWISE_PIXELS
from lieref.kernel.simd.row import float_bits
from lieref.kernel.simd.tiles import PixelTile, WidthTile
from lieref.model.engine.channel_rows import copy_rows
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.program import Place, Row, Tensor
from lieref.model.engine.weights import Storage


def _rows(
    kernel: str, storage: Storage, places: dict[str, Place], target: Tensor, pixels: tuple[int, int],
    epilogue: Epilogue, numbers: tuple[float, float] = (0.0, 0.0),
) -> list[Row]:  # fmt: skip
    count, cols = pixels
    size = next((p for p in POINTWISE_PIXELS if p <= count), 1)
    alone = {} if "other" in places else {"other": 0, "other_row": 0, "other_pixel": 0}
    rows = []
    all_places = {**places, **epilogue.places(Place(target))}
    for first, blocks, width in storage.columns(min(place.tensor.pixel for place in all_places.values())):
        ints = {
            "blocks": blocks, "channel": first, "count": count, "cols": cols, "alpha": float_bits(numbers[0]),
            "beta": float_bits(numbers[1]), **alone, **epilogue.fields(),
        }  # fmt: skip
        tile = WidthTile(width) if kernel == "dot" else PixelTile(size, width)
        rows.append(Row(KernelName(kernel, tile), ints, all_places))
    return rows


def _pixels(t: Tensor) -> tuple[int, int]:
    return t.height * t.width, t.width


def _beside(t: Tensor, image: Tensor) -> Place:
    """Return where a factor meets the pixels of an image: pixel by pixel, or all at its one."""
    return Place(t) if _pixels(t) == _pixels(image) else Place(t, step_y=0, step_x=0)


def activation_forward(layer: FusedLayer, storage: Storage, x: Tensor, out: Tensor, epilogue: Epilogue) -> list[Row]:
    """Return the rows of out = epilogue(f(x))."""
    return _rows(layer.function, storage, {"in": Place(x)}, out, _pixels(out), epilogue, layer.numbers)


def activation_gradient(
    layer: FusedLayer, storage: Storage, x: Tensor, g: Tensor, x_bar: Tensor, epilogue: Epilogue
) -> list[Row]:
    """Return the rows of x_bar = epilogue(g f'(x))."""
    places = {"in": Place(g), "other": Place(x)}
    return _rows(f"{layer.function}_slope", storage, places, x_bar, _pixels(x_bar), epilogue, layer.numbers)


def multiply_forward(storage: Storage, x: Tensor, factor: Tensor, out: Tensor, epilogue: Epilogue) -> list[Row]:
    """Return the rows of out = epilogue(x factor)."""
    return _rows("product", storage, {"in": Place(x), "other": _beside(factor, x)}, out, _pixels(out), epilogue)


def multiply_gradient(storage: Storage, g: Tensor, other: Tensor, x_bar: Tensor, epilogue: Epilogue) -> list[Row]:
    """Return the rows of x_bar = epilogue(g other), summed over the pixels where x is one factor for all."""
    places = {"in": Place(g), "other": _beside(other, g)}
    kernel = "product" if _pixels(x_bar) == _pixels(g) else "dot"
    return _rows(kernel, storage, places, x_bar, _pixels(g), epilogue)


def _concat_width(storage: Storage, channels: Sequence[int]) -> int:
    """Return the channels of a concatenation with room for the padding of every part, the last one's included."""
    start, widest = 0, 0
    for count in channels:
        widest = max(widest, start + storage.pad(count))
        start += count
    return storage.pad(widest)


def concat_forward(storage: Storage, parts: Sequence[Tensor], out: Tensor) -> list[Row]:
    """Return the rows that copy the parts side by side; the padding of one is overwritten by the next.

    The pixels of `out` are widened to hold the padding of the last one.
    """
    out.pixel = _concat_width(storage, [part.channels for part in parts])
    rows, start = [], 0
    for part in parts:
        target = Place(out, channel=start)
        rows += copy_rows(storage, Place(part), target, Epilogue(), storage.pad(part.channels))
        start += part.channels
    return rows


def concat_gradient(storage: Storage, g: Tensor, start: int, x_bar: Tensor, epilogue: Epilogue) -> list[Row]:
    """Return the rows that copy one part's channels; what comes into its padding meets zero weights only."""
    return copy_rows(storage, Place(g, channel=start), Place(x_bar), epilogue, storage.pad(x_bar.channels))
