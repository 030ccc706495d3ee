"""Convolution cases: every option value in one to three dimensions, and adversarial data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lieref._types import FloatArray, Shape
from lieref.conformance.data import Draw, tosa
from lieref.conformance.families.spec import Spec
from lieref.numerics.certified_conv import ConvGeometry


@dataclass(frozen=True)
class Layout:
    """Shapes and attributes of a convolution."""

    name: str
    x: Shape
    weight: Shape
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int = 1
    flags: tuple[str, ...] = ()
    family: str = "conv"

    @property
    def attrs(self) -> dict[str, object]:
        """ONNX's attributes, as plain lists."""
        lists = {name: list(getattr(self, name)) for name in ("strides", "pads", "dilations")}
        return {**lists, "groups": self.groups}

    @property
    def y(self) -> Shape:
        """Shape of the output."""
        geometry = ConvGeometry(self.strides, self.pads, self.dilations, self.groups)
        return geometry.output_shape(self.x, self.weight)


SQUARE = Layout("3x3 same", (2, 3, 5, 6), (4, 3, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), flags=("KernelFlip",))
LAYOUTS = (
    SQUARE,
    Layout("1-D", (2, 3, 11), (4, 3, 5), (1,), (2, 2), (1,), flags=("KernelFlip", "TailChannel")),
    Layout("1-D, all options", (1, 4, 13), (6, 2, 3), (3,), (1, 0), (2,), 2,
           ("AsymPad", "StrideRemainder", "DilationEdge", "GroupEdge")),
    Layout("2-D, all options", (1, 4, 9, 8), (6, 2, 3, 2), (2, 3), (1, 0, 2, 1), (1, 2), 2,
           ("AsymPad", "StrideRemainder", "GroupEdge", "KernelFlip")),
    Layout("1x1", (2, 5, 6, 4), (3, 5, 1, 1), (1, 1), (0, 0, 0, 0), (1, 1), flags=("TailChannel",)),
    Layout("2-D, dilated into the padding", (1, 3, 8, 7), (4, 3, 3, 5), (2, 1), (2, 1, 0, 3), (3, 1), 1,
           ("AsymPad", "DilationEdge", "KernelFlip")),
    Layout("1x1 with stride", (1, 3, 8, 7), (4, 3, 1, 1), (3, 2), (0, 0, 0, 0), (1, 1), 1, ("StrideRemainder",)),
    Layout("kernel larger than the input", (1, 2, 2, 3), (3, 2, 4, 5), (1, 1), (2, 2, 1, 2), (1, 1), 1, ("AsymPad",)),
    Layout("3-D, all options", (1, 2, 4, 5, 6), (3, 2, 2, 3, 2), (1, 2, 1), (1, 0, 1, 0, 1, 0), (1, 1, 2), 1,
           ("AsymPad", "StrideRemainder", "KernelFlip")),
    Layout("3-D with groups", (1, 4, 3, 4, 5), (4, 2, 2, 2, 3), (1, 1, 1), (0, 0, 0, 0, 0, 0), (1, 1, 1), 2,
           ("GroupEdge", "KernelFlip")),
    Layout("depthwise", (2, 5, 6, 7), (5, 1, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 5, ("Depthwise",), "depthwise"),
    Layout("depthwise, multiplier 2", (1, 3, 9, 7), (6, 1, 3, 5), (2, 1), (1, 2, 0, 1), (1, 2), 3,
           ("Depthwise", "AsymPad", "StrideRemainder"), "depthwise"),
    Layout("1-D depthwise, multiplier 2", (1, 4, 12), (8, 1, 3), (2,), (1, 1), (1,), 4, ("Depthwise",), "depthwise"),
    Layout("3-D depthwise", (1, 3, 4, 3, 5), (3, 1, 2, 3, 2), (1, 1, 2), (0, 1, 0, 1, 1, 1), (1, 1, 1), 3,
           ("Depthwise", "AsymPad"), "depthwise"),
)  # fmt: skip
LARGE = (
    Layout("64 channels", (1, 64, 16, 16), (64, 64, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 1, ("KernelFlip",)),
    Layout("32 channels, stride 2", (2, 32, 15, 17), (48, 32, 3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1,
           ("StrideRemainder",)),
    Layout("8 groups", (2, 40, 11, 13), (24, 5, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), 8, ("GroupEdge", "TailChannel")),
    Layout("7x7 depthwise", (2, 24, 14, 15), (24, 1, 7, 7), (1, 1), (3, 3, 3, 3), (1, 1), 24, ("Depthwise",),
           "depthwise"),
    Layout("3-D, 16 channels", (1, 16, 6, 7, 8), (12, 16, 3, 3, 3), (1, 1, 1), (1,) * 6, (1, 1, 1), 1,
           ("KernelFlip",)),
)  # fmt: skip
DEEP = Layout("K = 576", (1, 64, 3, 4), (3, 64, 3, 3), (1, 1), (1, 1, 1, 1), (1, 1), flags=("KernelFlip",))

# Kind of data -> the flag of the trap it sets.
KINDS = {
    "normal": None,
    "positive": None,
    "integer": "IntegerExact",
    "wide": "WideRange",
    "cancelling": "Cancellation",
    "trap": "TF32Trap",
    "tiny": "ScaleTiny",
    "subnormal": "SubnormalOut",
    "S0": "ZeroProduct",
    "S1": "ExponentExtremes",
    "S2": "SmallOnLarge",
    "S3": "SmallOnLarge",
    "S4": "HalfUlp",
    "S5": "FullRange",
}


def operands(kind: str, layout: Layout, draw: Draw) -> tuple[FloatArray, FloatArray]:
    """Return (x, weight) of one kind of data."""
    shapes = (layout.x, layout.weight)
    if kind.startswith("S"):
        return tosa(int(kind[1]), 0, layout.x), tosa(int(kind[1]), 1, layout.weight)
    if kind == "integer":
        return draw.integers(layout.x, -8, 8), draw.integers(layout.weight, -8, 8)
    if kind == "wide":
        return draw.wide(layout.x), draw.wide(layout.weight)
    if kind == "trap":
        return draw.trap(layout.x), draw.trap(layout.weight)
    x, weight = (draw.normal(shape) for shape in shapes)
    if kind == "positive":
        return np.abs(x) + 0.5, np.abs(weight) + 0.5
    if kind == "tiny":
        return x * 1e-6, weight
    if kind == "subnormal":
        return x * 2.0**-70, weight * 2.0**-68
    if kind == "cancelling":
        # Neighbouring channels carry the same data and nearly opposite weights.
        pairs = 2 * (layout.weight[1] // 2)
        weight[:, 1:pairs:2] = -weight[:, 0:pairs:2] * (1.0 + 2.0**-9)
        x[:, 1::2] = x[:, : x.shape[1] - 1 : 2]
    return x, weight


def specs_for(layout: Layout, kind: str, dtype: str = "f32", amplify: bool = False) -> Iterator[Spec]:
    """Return the forward and the backward case of one layout on one kind of data."""
    draw = Draw("conv", layout.name, kind)
    x, weight = operands(kind, layout, draw)
    bias = draw.integers((layout.weight[0],), -8, 8) if kind == "integer" else draw.normal((layout.weight[0],))
    if kind in ("tiny", "subnormal"):
        bias = bias * np.abs(x).max() * np.abs(weight).max()
    y_bar = draw.integers(layout.y, -8, 8) if kind == "integer" else draw.normal(layout.y)
    if kind == "trap":
        y_bar = draw.trap(layout.y)
    if kind == "subnormal":
        y_bar = y_bar * 2.0**-68
    flags = layout.flags + ((flag,) if (flag := KINDS[kind]) else ())
    zero_mean = kind in ("normal", "tiny")
    comment = f"{layout.name}, {kind} data"
    if not amplify:
        inputs = {"x": x, "weight": weight, "bias": bias}
        yield Spec(layout.family, "conv", inputs, layout.attrs, dtype, comment, flags, zero_mean=zero_mean)
    elif kind == "normal":
        y_bar, flags, comment = y_bar * 2.0**16, (*flags, "AmpScale"), f"{comment}, gradient times 2**16"
    inputs = {"x": x, "weight": weight, "y_bar": y_bar}
    family = f"{layout.family}_vjp"
    if kind == "S0":
        return
    yield Spec(family, "conv_vjp", inputs, layout.attrs, dtype, comment, flags, zero_mean=zero_mean)


def core() -> Iterator[Spec]:
    """Return the cases of the core set."""
    for layout in LAYOUTS:
        yield from specs_for(layout, "normal")
    for kind in KINDS:
        if kind != "normal":
            yield from specs_for(SQUARE, kind)
    yield from specs_for(SQUARE, "normal", amplify=True)
    for layout in (LAYOUTS[2], LAYOUTS[3], LAYOUTS[8], LAYOUTS[11]):
        yield from specs_for(layout, "normal", "f64")
    for kind in ("integer", "wide", "cancelling", "tiny"):
        yield from specs_for(SQUARE, kind, "f64")
    for kind in ("normal", "positive", "trap", "cancelling"):
        yield next(specs_for(DEEP, kind))
    yield from invalid()


def full() -> Iterator[Spec]:
    """Return the cases beyond the core set: every layout with every kind of data, and large layouts."""
    for layout in (*LAYOUTS[1:], *LARGE):
        for kind in KINDS:
            if kind != "normal" or layout in LARGE:
                yield from specs_for(layout, kind)
    for layout in LAYOUTS:
        yield from specs_for(layout, "trap", "f64")


def invalid() -> Iterator[Spec]:
    """Return inputs that a convolution must refuse."""
    ones = np.ones
    attrs = SQUARE.attrs
    bad = (
        ("channels of x and weight differ", ones((1, 4, 5, 6)), ones((4, 3, 3, 3)), attrs),
        ("groups do not divide the channels", ones((1, 3, 5, 6)), ones((4, 3, 3, 3)), {**attrs, "groups": 2}),
        ("the kernel does not fit", ones((1, 3, 2, 2)), ones((4, 3, 7, 7)), attrs),
    )
    for comment, x, weight, given in bad:
        inputs = {"x": x, "weight": weight, "bias": ones(weight.shape[0])}
        yield Spec("conv", "conv", inputs, given, "f32", comment, ("BadShapes",), "invalid")
