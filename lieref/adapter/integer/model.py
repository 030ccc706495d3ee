"""A quantised network that can be fine-tuned: what it computes is simulated in real numbers, what is kept is its file.

The simulation has the file's ranges as clamps and, unless it is asked for, no rounding between layers; which kernels
a device has decides about the last steps. What is trained ends as an `IntegerUpdate`: other scales and biases for the
same bytes, and where the method is `liera-int8` a few other integers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from lieref._check import check_choice
from lieref._types import Array, FloatArray
from lieref.adapter.integer.methods import INTEGER_METHODS, sites_of
from lieref.adapter.integer.update import IntegerUpdate, update_of
from lieref.adapter.model import Model
from lieref.errors import DomainError, LierefError, UnsupportedError
from lieref.model.integer.as_float import as_float
from lieref.model.integer.executor import run
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.layers import integer_layers
from lieref.model.integer.reader import read_integer
from lieref.model.integer.real_samples import as_real, check_unit, quantised_input
from lieref.model.integer.samples import IntegerSamples, own_layout, to_integers
from lieref.model.simplify import in_dtype, simplify
from lieref.op.integer.semantics import SEMANTICS

ROUNDINGS = ("clamp", "straight-through")


def load_integer(path: str | Path, *, rounding: str = "clamp") -> IntegerModel:
    """Read a quantised network: .tflite, or ONNX in the QDQ or the QOperator form.

    Parameters
    ----------
    path : str or Path
    rounding : {"clamp", "straight-through"}
        See `IntegerModel`.

    Raises
    ------
    FormatError, UnsupportedError, MissingExtraError
        As `read_integer` does; and where something in it cannot be trained.
    """
    return IntegerModel(read_integer(path), str(path), rounding)


class IntegerModel(Model):
    """A quantised network in real numbers, with adapters that its file can take.

    Samples are real numbers, or the integers of the network's input: see `lieref.model.integer.real_samples`.

    Parameters
    ----------
    integer : IntegerGraph
    source : str
        Path or name, for messages and reports.
    rounding : {"clamp", "straight-through"}
        What is simulated of the integers between layers: their range; or that every number is one of them too, with
        the gradient passed through as if it were not (`lieref.op.fake_quantize`).

    Raises
    ------
    UnsupportedError
        If it has several inputs or outputs, or an operation that cannot be trained.

    Attributes
    ----------
    integer : IntegerGraph
        The file, never changed.
    integer_layers : tuple of IntegerLayer
        Those that an update can change.
    rounding_rule : str
    integer_method : str or None
        What is attached: a name of `INTEGER_METHODS`.
    """

    integer_method: str | None = None

    def __init__(self, integer: IntegerGraph, source: str, rounding: str = "clamp") -> None:
        if len(integer.inputs) != 1 or len(integer.outputs) != 1:
            got = f"{', '.join(integer.inputs)} and {', '.join(integer.outputs)}"
            raise UnsupportedError(
                f"load: {source} must have one input and one output to be trained, as a quantised network; got {got}"
            )
        self.integer = integer
        self.rounding_rule = check_choice("load_integer", "rounding", rounding, ROUNDINGS)
        self.integer_layers = integer_layers(integer)
        graph = in_dtype(
            simplify(as_float(integer, rounds=rounding == "straight-through"), "float32"), np.dtype(np.float32)
        )
        super().__init__(graph, None, source, integer.digest)

    @property
    def configuration(self) -> dict[str, Any]:
        """What a run depends on, as of every model, and the rounding."""
        return {**super().configuration, "rounding": self.rounding_rule}

    @property
    def method_name(self) -> str:
        """Name of the method that is attached, ``base`` where there is none."""
        return self.integer_method or "base"

    def arranged(self, function: str, x: Any, layout: str | None = None) -> Array:
        """Return samples in the network's layout and in real numbers."""
        tensor = self.integer.tensors[self.integer.inputs[0]]
        real = as_real(super().arranged(function, x, layout), tensor)
        if tensor.quantisation is None:
            check_unit(real, quantised_input(self.integer))
        return real

    def attach(
        self, method: Any, *, target_modules: Any = None, head: Any = None, seed: int = 0, **config: Any
    ) -> Self:
        """Attach a method whose result the file can take.

        Parameters
        ----------
        method : {"tied-scale", "scale", "bias", "liera-int8"}
            See `INTEGER_METHODS`.
        **config
            Of `liera-int8` r, the rank; nothing else.

        Raises
        ------
        DomainError
            If it is another, comes with other options, something is attached already, or the file has no bytes of
            their own for what it trains.
        UnsupportedError
            If the network has no layer with weights.
        """
        name = check_choice("attach", "method", method, tuple(INTEGER_METHODS))
        known = {"r"} if INTEGER_METHODS[name].moves else set()
        if target_modules is not None or head is not None or config.keys() - known:
            raise DomainError(f"attach: {name} of a quantised network must come without targets, head and options")
        if self.attached:
            raise DomainError(f"attach: a quantised network must carry one method; it carries {self.method_name}")
        if not self.integer_layers:
            raise UnsupportedError(
                "attach: the quantised network must have a layer whose weights are in the file; it has none, so that "
                "there is nothing to train"
            )
        for each, patterns in sites_of(name, self.integer_layers, config.get("r")):
            super().attach(each, target_modules=None if patterns is None else list(patterns), seed=seed)
        self.integer_method = name
        try:
            self._untrained()  # what cannot be written into the file is refused before it is trained
        except LierefError:
            self.unload()
            raise
        return self

    def _untrained(self) -> IntegerUpdate:
        """Return the update of what is attached as it begins; where integers may move, that of their scales."""
        assert self.integer_method is not None
        if not INTEGER_METHODS[self.integer_method].moves:
            return self.update()
        nothing = {layer.weight.name: np.zeros(layer.factors) for layer in self.integer_layers}
        return update_of(self.integer, "scale", nothing, {})

    def unload(self) -> Self:
        """Remove what is attached: the network is its file again."""
        super().unload()
        self.integer_method = None
        return self

    def logarithms(self) -> dict[str, FloatArray]:
        """Return the logarithm of the factor of each weight scale, float64, by the weight's name."""
        found: dict[str, FloatArray] = {}
        for layer in self.integer_layers:
            site = self.sites.get(layer.weight.name)
            if site is not None:
                found[layer.weight.name] = site.params["xi"].astype(np.float64)
        return found

    def update(self, encoding: str = "finished") -> IntegerUpdate:
        """Return what has been trained as an update of the file.

        Parameters
        ----------
        encoding : {"finished", "codes"}
            Scales and biases as the file holds them; or one byte for each scale, its factor in equal steps of the
            logarithm, biases following from them.

        Raises
        ------
        DomainError
            If nothing is attached, biases were trained and are to be written as codes, or integers have to be chosen:
            see `lieref.adapter.integer.settle.settled`.
        """
        if self.integer_method is None:
            raise DomainError("update: the model must have a method attached; call attach(...) first")
        if INTEGER_METHODS[self.integer_method].moves:
            raise DomainError(
                f"update: {self.integer_method} must see samples to choose integers; call settled(model, x)"
            )
        biases = {}
        if self.integer_method == "bias":
            trained = self.adapted_tensors()
            names = {layer.bias.name for layer in self.integer_layers if layer.bias is not None}
            biases = {name: trained[name].astype(np.float64) for name in names & trained.keys()}
        return update_of(self.integer, self.integer_method, self.logarithms(), biases, encoding)

    def taken(self, x: Array, layout: str | None = None) -> IntegerSamples:
        """Return samples as the file's own input takes them, its integers or float32, in its layout."""
        tensor, arranged = self.integer.tensors[self.integer.inputs[0]], self.arranged("predict", x, layout)
        # samples that stand for themselves may still be integers
        found = to_integers(arranged if arranged.dtype.kind == "f" else arranged.astype(np.float32), tensor)
        last = len(tensor.shape) == 4 and own_layout(self.integer) == "NHWC"
        return replace(found, x=np.ascontiguousarray(found.x.transpose(0, 2, 3, 1) if last else found.x))

    def fed(self, x: Array, layout: str | None = None) -> Array:
        """Return the arrays of `taken`."""
        return self.taken(x, layout).x

    def predict(
        self, x: Any, *, batch_size: int = 256, layout: str | None = None, semantics: str | None = None
    ) -> FloatArray:
        """Return the network's output, real numbers (N, ...).

        Parameters
        ----------
        x : (N, ...) array
        batch_size : int
            Of the simulation.
        layout : {"NCHW", "NHWC"}, optional
            Of x.
        semantics : str, optional
            A key of `lieref.op.integer.semantics.SEMANTICS`: what the integers of the file say there, in the file's own
            order of axes. By default what training sees, the simulation in real numbers.

        Raises
        ------
        DomainError
            If there are no such semantics, or what is attached has integers to be chosen yet: see `update`.
        UnsupportedError
            If an operation of the file has no integer reference.
        """
        if semantics is None:
            return super().predict(x, batch_size=batch_size, layout=layout)
        how = check_choice("predict", "semantics", semantics, tuple(SEMANTICS))
        graph = self.update().patched(self.integer)[0] if self.attached else self.integer
        output, found = graph.tensors[graph.outputs[0]], run(graph, self.fed(x, layout), how)
        return found if output.quantisation is None else output.quantisation.real(found).astype(np.float32)

    def patched(self, update: IntegerUpdate) -> IntegerModel:
        """Return the network with an update in its file."""
        return IntegerModel(update.patched(self.integer)[0], self.source, self.rounding_rule)

    def save_adapter(self, folder: str | Path) -> None:
        """Refuse: what a quantised network learns is an update of its file; see `update`."""
        raise UnsupportedError("save_adapter: a quantised network must be saved as an update; call update()")

    def merge_and_unload(self) -> Model:
        """Refuse: there is nothing to merge into real weights; see `update`."""
        raise UnsupportedError("merge_and_unload: a quantised network must be changed by an update; call update()")
