"""A graph with adapters, and the samples that it takes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from lieref._types import Array, FloatArray
from lieref.model.adapters import Adapters
from lieref.model.graph import TensorInfo
from lieref.model.mask_inputs import check_given
from lieref.model.packing import check_names, needs_names, pack
from lieref.model.samples import Samples, arrange, as_numbers, check_samples
from lieref.model.vocabulary import Vocabulary, vocabulary


class Fed(Adapters):
    """A graph with adapters, and the samples that it takes.

    Attributes
    ----------
    padding_id : int or None
        Id that an input ``attention_mask`` of the file leaves out.
    derived_inputs : tuple of str
        Inputs of the file that are computed from the ids of tokens: the mask, and the kinds of sentences.
    input_shapes : dict of str to tuple of int
        Shapes of one sample that `load` was given, by input; adapters carry them.
    """

    padding_id: int | None = None
    derived_inputs: tuple[str, ...] = ()
    input_shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({})

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of the input; None where an axis is free, the batch first."""
        return self.graph.inputs[0].shape

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The inputs that samples are given for, one array each, by name where they are several."""
        return self.graph.fed

    @property
    def vocabulary(self) -> Vocabulary | None:
        """What it says of the ids of tokens that it reads; None where it reads no ids."""
        return vocabulary(self.graph)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the network's weights: float32 or float64."""
        return self.graph.dtype

    def as_input(self, x: Samples, layout: str | None = None) -> FloatArray:
        """Return a batch in the network's dtype and layout.

        Parameters
        ----------
        x : (N, ...) array, or dict of them
            Integers, booleans or floats; images in the model's layout, with the channels at the other end, or without
            the axis of a single channel. By the names of `inputs` where they are several; the batch that is returned is
            then (N, S), the numbers of a sample side by side, and may be given in place of the dict.
        layout : {"NCHW", "NHWC"}, optional
            Of `x`; needed only where both fit the model.

        Raises
        ------
        ShapeError
            If the shape does not fit the model.
        DTypeError
            If it is not numeric.
        DomainError
            If the batch is empty, holds a NaN or an infinity or a number beyond that dtype, or fits in both layouts
            and none is given.
        """
        return as_numbers(self.arranged("predict", x, layout), self.graph.inputs[0], self.dtype)

    def arranged(self, function: str, x: Any, layout: str | None = None) -> Array:
        """Return samples checked and in the network's layout, their dtype as it came; those of several inputs packed.

        `function` is the caller's name, for messages. Raises as `as_input` does.
        """
        if isinstance(x, Mapping):
            if self.graph.parts:
                return pack(function, x, self.inputs, np.dtype(self.graph.inputs[0].dtype), layout)
            x = self._one(function, x)
        samples = check_samples(function, x)
        if self.graph.parts and samples.shape[1:] != self.input_shape[1:]:
            raise needs_names(function, self.inputs, samples.shape)
        return arrange(samples, self.input_shape, layout, function=function)

    def _one(self, function: str, given: Mapping[str, Any]) -> Any:
        """Return the samples of the one input from a dict, which may hold what follows from it."""
        name = self.graph.inputs[0].name
        check_names(function, {key: x for key, x in given.items() if key not in self.derived_inputs}, [name])
        for other in self.derived_inputs:
            if other in given:
                check_given(function, other, given[other], np.asarray(given[name]), self.padding_id, "`x`")
        return given[name]

    @property
    def _fixed_batch(self) -> int | None:
        """The one number of samples that the network takes at a time, None where any will do."""
        return self.input_shape[0] if self.input_shape else None
