"""Max pools. Means over a window are `channel`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.tiles import WidthTile
from lieref.model.engine.channel import sum_nothing
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.tensor import Place, Places, Tensor
from lieref.model.engine.weights import Storage

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


def forward(b: Builder, layer: FusedLayer, out: Tensor, _: Epilogue) -> list[Instruction]:
    """Return the instructions of out[p] = max_t x[s p + d t - pad] over the taps t inside the image."""
    return _maximum("maximum", layer, b.storage, b.tensors[layer.x], {"out": Place(out)}, {})


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions that add g of each output at the first place that has its value."""
    if layer.x not in b.needed:
        return []
    x_bar, epilogue = b.target(layer.x)
    before = epilogue if epilogue.aux else Epilogue()  # the other gradients, or zeros
    found = sum_nothing(b.storage, Place(x_bar), (x_bar.height, x_bar.width), before)
    places = {"out": Place(b.tensors[layer.out]), "g": Place(g), **_first_taps(layer, "g_in", "g_tap", x_bar)}
    masked = Epilogue(mask=epilogue.mask).fields()
    ints = {name: masked[name] for name in ("flags", "low", "high")}
    return [*found, *_maximum("maximum_gradient", layer, b.storage, b.tensors[layer.x], places, ints)]


def _first_taps(layer: FusedLayer, name: str, tap: str, t: Tensor) -> dict[str, Place]:
    """Return the places of the first tap of output pixel (0, 0), and of the taps after it."""
    window = layer.window
    return {name: Place(t, -window.pads[0], -window.pads[1], *window.strides), tap: Place(t, 0, 0, *window.dilations)}


def _maximum(
    kernel: str, layer: FusedLayer, storage: Storage, x: Tensor, places: dict[str, Place], ints: dict[str, int]
) -> list[Instruction]:
    out = places["out"].tensor
    places = {**places, **_first_taps(layer, "in", "tap", x)}
    sides = (("row_taps", 0, x.height), ("col_taps", 1, x.width))
    taps = {
        name: Places(tuple(n for pair in layer.window.taps_inside(axis, size) for n in pair))
        for name, axis, size in sides
    }
    return [
        Instruction(
            KernelName(kernel, WidthTile(width)),
            {"blocks": count, "channel": first, "rows": out.height, "cols": out.width, **ints}, places, taps,
        )
        for first, count, width in storage.columns(out.pixel)
    ]  # fmt: skip
