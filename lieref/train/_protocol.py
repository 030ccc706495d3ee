"""What training needs of a model; `lieref.model.network.Network` has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from lieref._types import Array, FloatArray, Params
from lieref.model.vocabulary import Vocabulary
from lieref.train.loss import Loss


class Method(Protocol):
    """A fine-tuning method."""

    def config(self) -> dict[str, Any]:
        """Return its settings, plain JSON values."""


class Attached(Protocol):
    """A method attached to a model, as it was asked for."""

    @property
    def method(self) -> Method:
        """The method."""

    @property
    def target_modules(self) -> tuple[str, ...] | None:
        """Patterns of the layers it adapts, None for all."""


class Recomputation(Protocol):
    """Activations that are computed again."""

    @property
    def layers(self) -> int:
        """How many layers are computed twice."""

    @property
    def cost(self) -> float:
        """Share of a step's time that this adds."""


class Trainable(Protocol):
    """A network with adapters.

    Attributes
    ----------
    base_sha256 : str
        Digest of the file the frozen tensors come from.
    statistics : dict of str to array
        BatchNormalization statistics re-estimated so far; replaced, never written in place.
    wants_statistics : bool
        Whether `estimate_statistics` is to run before training.
    threads : int
        Threads of the kernels; the numbers do not depend on it.
    recomputation : int
        Which of `recomputations` a step uses; the numbers do not depend on it.
    reading : str
        The final operator that `logits` and the losses leave out: "Softmax", "Sigmoid", or "" for none.
    task : dict or None
        What it was trained for: the task's name and settings.
    preprocessing : dict or None
        How the images that it takes become numbers.
    """

    base_sha256: str
    sites: Any
    """What is adapted, kept to be put back; another object where ranks have moved."""
    statistics: dict[str, FloatArray]
    wants_statistics: bool
    threads: int
    recomputation: int
    reading: str
    task: dict[str, Any] | None
    preprocessing: dict[str, Any] | None

    @property
    def vocabulary(self) -> Vocabulary | None:
        """What it says of the ids of tokens that it reads; None where it reads no ids."""

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of the input, the batch first; None where an axis is free."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs; the first is trained."""

    @property
    def output_weights(self) -> Mapping[str, float]:
        """The outputs that were asked for, and the factors of their losses; empty where nobody has asked."""

    def output_shapes(self, sample: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of what `logits` holds of each of them, for one sample of this shape."""

    @property
    def undecided(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the outputs behind the first, of one sample, where nobody has said that the first is meant."""

    @property
    def scores_shape(self) -> tuple[int, ...] | None:
        """Shape of one sample of `logits`; None where only a prediction tells."""

    @property
    def arithmetic(self) -> Mapping[str, str | int]:
        """What, besides its numbers, the bits of its training depend on, and as ``program`` the version of that."""

    @property
    def configuration(self) -> Mapping[str, Any]:
        """How it was loaded, and what is attached to each tensor: plain JSON values."""

    @property
    def compiles_first(self) -> bool:
        """Whether machine code has to be made before the first step, which takes seconds."""

    @property
    def attached(self) -> Sequence[Attached]:
        """The methods attached, in order."""

    @property
    def default_learning_rate(self) -> float:
        """Learning rate of the attached method that works without tuning."""

    @property
    def rate_factors(self) -> Mapping[str, float]:
        """What the learning rate of single arrays of `parameters` is multiplied with."""

    @property
    def new_head(self) -> Mapping[str, Any] | None:
        """What makes its head again, plain JSON values, where that is new and knows nothing before training."""

    def training(self, doing: str) -> AbstractContextManager[object]:
        """Return a context in which no other thread trains or changes the model; `doing` names the caller."""

    def parameters(self) -> Params:
        """Return the live trainable arrays by name: what is written into them changes the model."""

    def frozen_parameters(self) -> Params:
        """Return the arrays by name that belong to the methods and are not trained."""

    def dropout_masks(self, generator: np.random.Generator) -> Params:
        """Return what arrays of `parameters` are multiplied with in one step, by name, drawn anew at each call."""

    def algebra_norms(self) -> Mapping[str, float]:
        """Return how far each adapted tensor that has a base is from it: |xi|, by tensor."""

    def algebra_norm(self, tensor: str) -> float:
        """Return |xi| of one of them."""

    def algebra_grads(self) -> Params:
        """Return the gradient of half the sum of their squares, by the names of `parameters`."""

    def prune_ranks(self) -> Mapping[str, int]:
        """Store no longer what has no part in an adapted tensor, and return the ranks of those that have one."""

    def logits(self, x: Array, *, layout: str | None = None) -> FloatArray:
        """Return what the losses read for a batch of any numeric dtype, in this layout: (N, ...)."""

    def loss_and_grad(
        self, x: Array, y: Array, loss: Loss, *, layout: str | None = None
    ) -> tuple[float, FloatArray, Params]:
        """Return the mean loss of a batch, its logits, and the gradient of every array of `parameters`."""

    def estimate_statistics(self, x: Array, *, layout: str | None = None) -> None:
        """Re-estimate the statistics of every BatchNormalization on `x`, without labels."""

    @property
    def wants_inputs(self) -> bool:
        """Whether `start_from_inputs` is to run before training."""

    @property
    def wants_other_inputs(self) -> Sequence[str]:
        """The layers for which it is to have run before, on inputs of another task."""

    def start_from_inputs(self, x: Array, *, layout: str | None = None, final: bool = True) -> Mapping[str, int]:
        """Let adapters start from what their layers read of `x`; of no other inputs later where that is final.

        Return the ranks of those whose ranks move.
        """

    @property
    def recomputations(self) -> Sequence[Recomputation]:
        """Ways to compute activations again instead of keeping them, ever more of them; the first is not to."""

    def training_memory(
        self, samples: int, threads: int, *, predicts: bool = True, recomputation: int = 0
    ) -> dict[str, int]:
        """Return the bytes that steps of so many samples take, by what they are for."""
