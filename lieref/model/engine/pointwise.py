"""What works number by number or moves whole channels: activations, products of tensors, copies, concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import FAMILIES, KernelName
from lieref.kernel.simd.pointwise import OPERANDS, POINTWISE_PIXELS
from lieref.kernel.simd.row import float_bits
from lieref.kernel.simd.tiles import PixelTile, WidthTile
from lieref.model.engine.channel import copy_pixels
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.tensor import Place, Tensor
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def entrywise(
    kernel: str, storage: Storage, places: dict[str, Place], target: Tensor, pixels: tuple[int, int],
    epilogue: Epilogue, numbers: tuple[float, float] = (0.0, 0.0),
) -> list[Instruction]:  # fmt: skip
    """Return the instructions of a kernel on the pixels of the tensors at `places`; `numbers` are alpha and beta."""
    count, cols = pixels
    own = FAMILIES[kernel].fields.names  # some write zeros into the padding, and are told where it begins
    absent = [name for name in OPERANDS if name in own and name not in places]
    alone = {f"{name}{end}": 0 for name in absent for end in ("", "_row", "_pixel")}
    found = []
    all_places = {**places, **epilogue.places(Place(target))}
    channels = min(place.tensor.pixel for place in all_places.values())
    real = target.channels if "real" in own else channels
    if kernel != "dot" and real == channels and all(_in_lines(place, channels) for place in all_places.values()):
        count, cols, channels, real = count // cols, 1, cols * channels, cols * channels
    if "real" in own:
        alone["real"] = real
    again = target in [place.tensor for place in places.values()]  # a tile must not read what the one before it wrote
    size = 1 if again or channels >= LINE * storage.lanes else next(p for p in POINTWISE_PIXELS if p <= count)
    for first, blocks, width in storage.columns(channels):
        ints = {
            "blocks": blocks, "channel": first, "count": count, "cols": cols, "alpha": float_bits(numbers[0]),
            "beta": float_bits(numbers[1]), **alone, **epilogue.fields(),
        }  # fmt: skip
        tile = WidthTile(width) if kernel == "dot" else PixelTile(size, width)
        found.append(Instruction(KernelName(kernel, tile), ints, all_places))
    return found


LINE = 4
"""Vectors of a pixel from which on it is worked at alone, so that memory passes in order: silu on 144 x 56 x 56 pixels
that are not in the cache takes 0.4 of the time of four pixels at once, silu in the cache of 16 channels 1.25 of it."""


def _in_lines(place: Place, channels: int) -> bool:
    """Return whether the pixels of a row are one piece of memory, so that it can be worked at as one pixel."""
    return place.step_x == 1 and place.tensor.step == channels


def pixels_of(t: Tensor) -> tuple[int, int]:
    """Return how many pixels a tensor has, and how many of them in a row."""
    return t.height * t.width, t.width


def _beside(t: Tensor, image: Tensor) -> Place:
    """Return where a factor meets the pixels of an image: pixel by pixel, or all at its one."""
    return Place(t) if pixels_of(t) == pixels_of(image) else Place(t, step_y=0, step_x=0)


def spare(b: Builder, layer: FusedLayer, g: Tensor) -> Tensor | None:
    """Return the gradient of a layer's sums if the layer itself is its last reader, which may write over it."""
    return None if layer.add in b.needed else g


def activation_forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return the instructions of out = epilogue(f(x))."""
    places = {"in": Place(b.tensors[layer.x])}
    return entrywise(layer.function, b.storage, places, out, pixels_of(out), epilogue, layer.numbers)


def activation_backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions of x_bar = g f'(x), in the place of g where nothing else reads that."""
    if layer.x not in b.needed:
        return []
    x_bar, epilogue = b.target(layer.x, spare(b, layer, g))
    places = {"in": Place(g), "other": Place(b.tensors[layer.x])}
    return entrywise(f"{layer.function}_slope", b.storage, places, x_bar, pixels_of(x_bar), epilogue, layer.numbers)


def product_forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return the instructions of out = epilogue(x factor), the factor another tensor or one number for each channel."""
    x, factor = b.tensors[layer.x], b.tensors[layer.others[0]]
    return entrywise("product", b.storage, {"in": Place(x), "other": _beside(factor, x)}, out, pixels_of(out), epilogue)


def product_backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return those that give each factor g times the other, summed over the pixels where it is one for all."""
    found: list[Instruction] = []
    x, factor = layer.x, layer.others[0]
    # That of x, which has as many pixels as g, comes last and may take its place.
    for name, other, over in ((factor, x, None), (x, factor, spare(b, layer, g))):
        if name in b.needed:
            bar, epilogue = b.target(name, over)
            places = {"in": Place(g), "other": _beside(b.tensors[other], g)}
            kernel = "product" if pixels_of(bar) == pixels_of(g) else "dot"
            found += entrywise(kernel, b.storage, places, bar, pixels_of(g), epilogue)
    return found


def identity_forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return the instructions of out = epilogue(x)."""
    return copy_pixels(b.storage, Place(b.tensors[layer.x]), Place(out), epilogue)


def identity_backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Pass the gradient on as it is."""
    return b.add_gradient(layer.x, g) if layer.x in b.needed else []


def _concat_width(storage: Storage, channels: Sequence[int]) -> int:
    """Return the channels of a concatenation with room for the padding of every tensor, the last one's included."""
    start, widest = 0, 0
    for count in channels:
        widest = max(widest, start + storage.pad(count))
        start += count
    return storage.pad(widest)


def concat_forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Instruction]:
    """Return the instructions that copy tensors side by side; the padding of one is overwritten by the next.

    The pixels of `out` are widened to hold the padding of the last one. What was written where it belongs stays.
    """
    joined = [b.tensors[name] for name in (layer.x, *layer.others)]
    out.pixel = _concat_width(b.storage, [x.channels for x in joined])
    found, start = [], 0
    for x in joined:
        target = Place(out, channel=start)
        if Place(x).in_whole() != target.in_whole():
            found += copy_pixels(b.storage, Place(x), target, Epilogue(), b.storage.pad(x.channels))
        start += x.channels
    return found


def concat_backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return those that give each tensor its channels of g: as they are, or, where they are no whole vectors, a copy.

    What comes into the padding of a copy meets zero weights only.
    """
    found: list[Instruction] = []
    start = 0
    names = (layer.x, *layer.others)
    whole = all(b.tensors[name].channels % b.storage.pad(1) == 0 for name in names)
    for name in names:
        channels = b.tensors[name].channels
        if name in b.needed and whole:
            found += b.add_gradient(name, g.slice(channels, start, f"gradient of {name}"))
        elif name in b.needed:
            x_bar, epilogue = b.target(name)
            found += copy_pixels(b.storage, Place(g, channel=start), Place(x_bar), epilogue, b.storage.pad(channels))
        start += channels
    return found
