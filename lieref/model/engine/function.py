"""Layers that combine the numbers of up to three tensors of one size, entry by entry: functions, choices, comparisons.

What carries the gradient back to an operand is a kernel too, in the layer's gradient and some of the operands. One that
a comparison, a condition or a function with jumps depends on has the gradient zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lieref.kernel.simd.functions import FUNCTIONS
from lieref.kernel.simd.pointwise import OPERANDS
from lieref.model.engine.channel import no_gradient
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.pointwise import entrywise, pixels_of, spare
from lieref.model.engine.tensor import Place, Tensor

if TYPE_CHECKING:
    from lieref.model.engine.builder import Builder


class Gradient(NamedTuple):
    """How the gradient of an operand follows from that of the layer, g.

    Attributes
    ----------
    kernel : str
        Combines g and some operands; g itself where it is "".
    operands : tuple of int
    """

    kernel: str
    operands: tuple[int, ...] = ()


GRADIENTS: dict[str, tuple[Gradient | None, ...]] = {
    **{name: (Gradient(f"{name}_slope", (0,)),) for name in FUNCTIONS},
    "negative": (Gradient("negative"),),
    "difference": (Gradient(""), Gradient("negative")),
    "quotient": (Gradient("quotient", (1,)), Gradient("divisor_slope", (0, 1))),
    "larger": (Gradient("if_at_least", (0, 1)), Gradient("if_above", (1, 0))),
    "smaller": (Gradient("if_at_least", (1, 0)), Gradient("if_above", (0, 1))),
    "where": (None, Gradient("kept", (0,)), Gradient("dropped", (0,))),
    "where_or_number": (None, Gradient("kept", (0,))),
    "number_or_where": (None, Gradient("dropped", (0,))),
}
"""Of each operand, None where it is zero, as are all of what is not here."""


def forward(b: Builder, layer: FusedLayer, out: Tensor, epilogue: Epilogue) -> list[Instruction]:
    """Return the instructions of out = epilogue(f(x, ...))."""
    read = (layer.x, *layer.others)
    places = {operand: Place(b.tensors[name]) for operand, name in zip(OPERANDS, read, strict=False)}
    return entrywise(layer.function, b.storage, places, out, pixels_of(out), epilogue, layer.numbers)


def backward(b: Builder, layer: FusedLayer, g: Tensor) -> list[Instruction]:
    """Return the instructions of the gradients of all operands; the last one may take the place of g."""
    found: list[Instruction] = []
    read = (layer.x, *layer.others)
    gradients = GRADIENTS.get(layer.function, (None,) * len(read))
    wanted = [(name, how) for name, how in zip(read, gradients, strict=True) if name in b.needed]
    # What is g itself comes last: g is then another tensor's gradient too, and may not be written over.
    wanted.sort(key=lambda pair: pair[1] is not None and not pair[1].kernel)
    for number, (name, how) in enumerate(wanted):
        if how is not None and not how.kernel:
            found += b.add_gradient(name, g)
            continue
        if how is None:
            found += no_gradient(b, name)
            continue
        bar, epilogue = b.target(name, spare(b, layer, g) if number == len(wanted) - 1 else None)
        operands = [g, *(b.tensors[read[i]] for i in how.operands)]
        places = {operand: Place(tensor) for operand, tensor in zip(OPERANDS, operands, strict=False)}
        found += entrywise(how.kernel, b.storage, places, bar, pixels_of(bar), epilogue, layer.numbers)
    return found
