"""A fused layer: what instructions are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lieref._types import Array, FloatArray
from lieref.kernel.simd.epilogue import ADD, BIAS, CLAMP, MASK, ROUND
from lieref.kernel.simd.row import float_bits
from lieref.model.engine.layout import WeightAxes
from lieref.model.engine.pixel_map import PixelMap
from lieref.model.engine.strided import BatchedProduct
from lieref.model.engine.tensor import Place, Tensor
from lieref.model.graph import Node


@dataclass(frozen=True)
class Window:
    """Geometry of a sliding window: kernel, strides, pads (top, left, bottom, right) and dilations."""

    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)

    @property
    def taps(self) -> list[tuple[int, int]]:
        """The taps (ky, kx), row-major."""
        return [(ky, kx) for ky in range(self.kernel[0]) for kx in range(self.kernel[1])]

    @property
    def reach(self) -> tuple[tuple[int, int], ...]:
        """The pixels the taps read, relative to the first."""
        return tuple((ky * self.dilations[0], kx * self.dilations[1]) for ky, kx in self.taps)

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the output; below 1 where the image is smaller than the kernel."""
        return tuple(
            (size + self.pads[i] + self.pads[i + 2] - self.dilations[i] * (self.kernel[i] - 1) - 1) // self.strides[i]
            + 1
            for i, size in enumerate((height, width))
        )  # type: ignore[return-value]

    def input(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the smallest image with so many windows."""
        return tuple(
            (count - 1) * self.strides[i]
            + (self.kernel[i] - 1) * self.dilations[i]
            + 1
            - self.pads[i]
            - self.pads[i + 2]
            for i, count in enumerate((height, width))
        )  # type: ignore[return-value]

    def input_halo(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return the zero pixels the window reads above, left, below and right of an input of this size."""
        out = self.output(height, width)
        beyond = [
            (out[i] - 1) * self.strides[i] - self.pads[i] + (self.kernel[i] - 1) * self.dilations[i] - (size - 1)
            for i, size in enumerate((height, width))
        ]
        return self.pads[0], self.pads[1], max(beyond[0], 0), max(beyond[1], 0)

    def taps_inside(self, axis: int, size: int) -> list[tuple[int, int]]:
        """Return, for each output along an axis of this size, the first tap inside the image and how many there are."""
        found = []
        for i in range(self.output(size, size)[axis]):
            start = i * self.strides[axis] - self.pads[axis]
            inside = [t for t in range(self.kernel[axis]) if 0 <= start + t * self.dilations[axis] < size]
            found.append((inside[0] if inside else 0, len(inside)))
        return found

    def covers(self, height: int, width: int) -> bool:
        """Return whether there is one window and it is the whole image."""
        return self.kernel == (height, width) and not any(self.pads) and self.dilations == (1, 1)


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


def taps_of(classes: Sequence[Parity], window: Window) -> list[tuple[int, int]]:
    """Return the taps of a window: those of its classes, class by class, and then those that reach no pixel."""
    reaching = [tap for parity in classes for tap in parity.taps]
    return reaching + [tap for tap in window.taps if tap not in reaching]


def need_gradient_halo(g: Tensor, parity: Parity) -> None:
    """Widen the halo of g for the taps of a class."""
    for dy, dx in parity.shifts:
        g.need_halo(max(-dy, 0), max(-dx, 0), max(dy + parity.rows - g.height, 0), max(dx + parity.cols - g.width, 0))


@dataclass(frozen=True)
class Affine:
    """The vectors of a x + b, channel by channel, and the initializers they follow from.

    Attributes
    ----------
    kind : str
        "normalise" (scale, shift, mean, var and `epsilon` of a BatchNormalization), or, with a constant c, "multiply"
        (c x), "divide" (x / c), "add" (x + c), "subtract" (x - c), "subtract_from" (c - x).
    names : tuple of str
    epsilon : float
    """

    kind: str
    names: tuple[str, ...]
    epsilon: float = 0.0

    def vectors(self, weights: Mapping[str, FloatArray], channels: int) -> tuple[FloatArray, FloatArray]:
        """Return a and b (channels,) in float64."""
        values = [np.broadcast_to(weights[name].astype(np.float64).ravel(), channels) for name in self.names]
        c, one, zero = values[0], np.ones(channels), np.zeros(channels)
        if self.kind == "normalise":
            scale, shift, mean, var = values
            a = scale / np.sqrt(var + self.epsilon)
            return a, shift - a * mean
        if self.kind == "multiply":
            return c, zero
        if self.kind == "divide":
            return 1 / c, zero
        if self.kind == "subtract_from":
            return -one, c
        return one, c if self.kind == "add" else -c


@dataclass(frozen=True)
class Recurrence:
    """What a recurrent layer has beside the weight of its input.

    Attributes
    ----------
    cell : str
        A name of `lieref.kernel.simd.cell.CELLS`.
    hidden : int
        Numbers of a state.
    reverse : tuple of bool
        Of each direction, whether it walks from the last pixel to the first.
    weight, bias : str
        Initializers: what the states are multiplied with, and the biases of both products, "" for none.
    axes : WeightAxes
        Of that weight; the parts of both are the gates of all directions.
    """

    cell: str
    hidden: int
    reverse: tuple[bool, ...]
    weight: str
    bias: str
    axes: WeightAxes


@dataclass
class FusedLayer:
    """One step of the network with what is fused to it: out = round(clamp(kind(x) + bias + add)).

    Attributes
    ----------
    kind : str
        A key of `KINDS`.
    x, out : str
        Tensor names.
    others : tuple of str
        Further tensors it reads, but for the residual.
    weight, bias : str
        Initializers, "" where there is none.
    axes : WeightAxes or None
        (O, I / groups, kh, kw) in the weight.
    window : Window
        Of a transposed convolution that of the convolution back, from its output to x.
    groups, channels : int
        Groups of a convolution, or of the channels of a normalisation; output channels.
    add : str
        Residual tensor, or "".
    clamp : (low, high) or None
        ReLU is (0, inf).
    step : float
        Of the grid that what has been clamped is rounded to; 0 for none.
    affine : Affine or None
    function : str
        Kernel of an activation, `numbers` being its alpha and beta, of a softmax, or of a normalisation over the
        channels; the first of the numbers of any normalisation is its epsilon, and its weight the scale.
    selected : tuple of int
        Channel that each channel of a selection is, of x and the others side by side.
    each : float
        What each number of an "average" counts, 0 for its share of a mean.
    places : int array (channels, height, width) or None
        Of each number of a move, where it stands in x, or in x and the others one behind the other; of a constant,
        which number of the initializer it is.
    resampling : PixelMap or None
        What a resampling does, which has no window.
    matrices : BatchedProduct or None
        Where the matrices of x, of the other tensor and of the output stand.
    recurrence : Recurrence or None
        Of a recurrent layer, whose pixels are steps, and whose channels are the states of its directions.
    nodes : tuple of Node
        The operators of a reference layer, in order.
    reads : dict of str to (tensor, shape)
        Their inputs that the engine holds, by their names in the graph, and the shape of one sample of each.
    shape : tuple of int
        Shape of one sample of its output.
    reason : str
        Why it has no compiled form.
    """

    kind: str
    x: str
    out: str
    window: Window
    channels: int
    weight: str = ""
    bias: str = ""
    axes: WeightAxes | None = None
    groups: int = 1
    add: str = ""
    clamp: tuple[float, float] | None = None
    step: float = 0.0
    others: tuple[str, ...] = ()
    affine: Affine | None = None
    function: str = ""
    numbers: tuple[float, float] = (0.0, 0.0)
    selected: tuple[int, ...] = ()
    each: float = 0.0
    places: Array | None = None
    resampling: PixelMap | None = None
    matrices: BatchedProduct | None = None
    recurrence: Recurrence | None = None
    nodes: tuple[Node, ...] = ()
    reads: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    reason: str = ""

    @property
    def transposed(self) -> bool:
        """Whether its window is that of the convolution back."""
        return self.kind in ("transposed", "transposed_depthwise")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of its output where that of x is this."""
        if self.transposed:
            return self.window.input(height, width)
        return (self.resampling or self.window).output(height, width)

    @property
    def node(self) -> Node | None:
        """The operator whose output a reference layer gives."""
        return self.nodes[-1] if self.nodes else None

    @property
    def weights(self) -> dict[str, WeightAxes]:
        """Its weights that are packed by their axes, by name."""
        found = {self.weight: self.axes} if self.axes else {}
        r = self.recurrence
        return {**found, r.weight: r.axes} if r else found

    @property
    def trained(self) -> tuple[str, ...]:
        """The initializers whose gradient it gives: weights and biases."""
        r = self.recurrence
        return tuple(name for name in (self.weight, self.bias, *((r.weight, r.bias) if r else ())) if name)

    @property
    def initializers(self) -> tuple[str, ...]:
        """The initializers it is packed from."""
        return self.trained + (self.affine.names if self.affine else ())

    @property
    def fixed(self) -> tuple[str, ...]:
        """The initializers it reads whose gradient it does not give."""
        read = tuple(name for node in self.nodes for name in node.inputs if name and name not in self.reads)
        return read + (self.affine.names if self.affine else ())

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors it reads, once for each time they are read."""
        if self.reads:
            return tuple(name for name, _ in self.reads.values())
        return tuple(name for name in (self.x, self.add, *self.others) if name)


@dataclass(frozen=True)
class Epilogue:
    """What an instruction does with its sums before it stores them.

    Clamp and mask share their limits, so there is one at most.

    Attributes
    ----------
    bias : int
        Offset among the packed weights, -1 for none.
    aux : Tensor or None
        Added.
    clamp : (low, high) or None
    step : float
        Of the grid that what has been clamped is rounded to; 0 for none.
    mask : (Tensor, low, high) or None
        The result is zeroed where the saved output is not strictly between.
    """

    bias: int = -1
    aux: Tensor | None = None
    clamp: tuple[float, float] | None = None
    step: float = 0.0
    mask: tuple[Tensor, float, float] | None = None

    def fields(self, steps: tuple[str, str] = ("row", "pixel")) -> dict[str, int]:
        """Return its integers, given what a kernel calls the steps of a tensor."""
        assert not (self.clamp and self.mask)
        assert self.clamp or not self.step
        low, high = self.clamp or (self.mask[1:] if self.mask else (-math.inf, math.inf))
        flags = (
            (BIAS if self.bias >= 0 else 0)
            | (ADD if self.aux else 0)
            | (CLAMP if self.clamp else 0)
            | (MASK if self.mask else 0)
            | (ROUND if self.step else 0)
        )
        absent = [name for name, tensor in (("aux", self.aux), ("mask", self.mask)) if not tensor]
        nowhere = {name: 0 for each in absent for name in (each, *(f"{each}_{step}" for step in steps))}
        numbers = {
            "bias": max(self.bias, 0),
            "low": float_bits(low),
            "high": float_bits(high),
            "step": float_bits(self.step),
        }
        return {"flags": flags, **numbers, **nowhere}

    def from_channel(self, channel: int) -> Epilogue:
        """Return that of the channels from one on."""
        return replace(self, bias=self.bias + channel) if self.bias >= 0 else self

    def places(self, out: Place) -> dict[str, Place]:
        """Return the places of the output and, at the same pixels, of what is read beside it."""
        found = {"out": out}
        if self.aux:
            found["aux"] = replace(out, tensor=self.aux)
        if self.mask:
            found["mask"] = replace(out, tensor=self.mask[0])
        return found
