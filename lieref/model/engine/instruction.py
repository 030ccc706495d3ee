"""Instructions: a kernel, its integers, and the places where it meets tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from lieref._types import Array
from lieref.kernel.simd.kernels import FAMILIES, KernelName
from lieref.kernel.simd.row import Fields
from lieref.model.engine.tensor import Place, Table, Tensor

SUMMING = (
    "gradient", "bias_gradient", "depthwise_gradient", "embedding_gradient", "layer_normalization_scale",
    "rms_normalization_scale",
)  # fmt: skip
"""Families that add to the accumulators, or set them where their field ``fresh`` and the context say so."""

NO_FIELDS = Fields()


Callback = Callable[[Array, Mapping[str, Array]], None]
"""An instruction that is a Python function: it is given the arena and the initializers in use."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: its kernel, its integers, and the tensors it works on.

    With a `function` instead of a kernel it is a call back to Python.
    """

    kernel: KernelName | None
    ints: dict[str, int]
    places: dict[str, Place]
    taps: Mapping[str, Table] = field(default_factory=dict)
    function: Callback | None = None

    def __post_init__(self) -> None:
        """Name whole tensors, for they are what has a place and a lifetime."""
        object.__setattr__(self, "places", {name: met.in_whole() for name, met in self.places.items()})

    @property
    def fields(self) -> Fields:
        """Names of its integers."""
        return NO_FIELDS if self.kernel is None else FAMILIES[self.kernel.family].fields

    def tensors(self) -> list[Tensor]:
        """Return the tensors it reads or writes."""
        return [met.tensor for met in self.places.values()]

    @property
    def sums(self) -> bool:
        """Whether it adds to the accumulators, which the first sample alone of a group may set."""
        return self.kernel is not None and self.kernel.family in SUMMING

    @property
    def joint(self) -> bool:
        """Whether it works at all samples of a group."""
        return self.kernel is not None and FAMILIES[self.kernel.family].joint

    def steps(self) -> dict[str, int]:
        """Return what is added to its integers for each further sample of a group."""
        known = self.fields.names
        found = {name: met.tensor.pitch for name, met in self.places.items() if name in known}
        return found | {"image": 1} if "image" in known else found

    def of_sample(self, sample: int) -> Instruction:
        """Return the same on the tensors of another sample of a group."""
        moved = {t: replace(t, offset=t.offset + sample * t.pitch) for t in self.tensors()}
        return replace(self, places={name: replace(met, tensor=moved[met.tensor]) for name, met in self.places.items()})


def lives(steps: Iterable[Iterable[Instruction]]) -> dict[Tensor, tuple[int, int]]:
    """Return the first and the last step that names each tensor; a step is an instruction by itself, or several."""
    found: dict[Tensor, tuple[int, int]] = {}
    for number, step in enumerate(steps):
        for instruction in step:
            for tensor in instruction.tensors():
                found[tensor] = found.get(tensor, (number, number))[0], number
    return found
