"""An update of a quantised file: new scales, biases and, where asked for, integers, in the bytes of the old ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from lieref._check import check_choice
from lieref._types import Array, FloatArray
from lieref.adapter.integer.codes import decode, encode
from lieref.adapter.integer.form import BIAS_RULES, ENCODINGS
from lieref.adapter.integer.methods import INTEGER_METHODS
from lieref.errors import DomainError, VerificationError
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.layers import IntegerLayer, integer_layers
from lieref.model.integer.patch import Patch, patch

_EXACT = 1 << 53
"""Whole numbers are exact in float64 as far as this; a bias of int64 has 48 bits in the kernels."""
_METHOD = r"[A-Za-z0-9][A-Za-z0-9_.+(),= -]{0,127}"
"""Names go into comments of C: nothing in them may end one."""


class Codes(NamedTuple):
    """Scales as one byte each; see `lieref.adapter.integer.codes`."""

    ratio: np.float32
    of: dict[str, Array]


@dataclass(frozen=True, eq=False)
class IntegerUpdate:
    """What changes in the file of a quantised network.

    Attributes
    ----------
    method : str
        What made it: letters, digits and _.+(),=- of at most 128.
    base_sha256, base_bytes : str, int
        Digest and length of the file it is for.
    bias_rule : {"stay", "follow", "given"}
        What becomes of the integers of a bias whose unit changes: they stay, so that the factor multiplies the bias
        too; they are made anew so that the real bias stays, to the nearest integer, halves to even; or they are
        `biases`.
    scales : dict of str to (C,) float32 array
        By weight: finished scales. Empty where there are codes.
    codes : Codes or None
    biases : dict of str to integer array
        By bias.
    integers : dict of str to integer array
        By weight: integers that are others, where an adapter was requantised.
    result_sha256 : str
        Digest of the file with the update in it; empty where it is not known yet.
    preprocessing : dict or None
        How the images that it was made with became numbers, as `lieref.train.preprocess.Preprocess.to_dict` says it.
    """

    method: str
    base_sha256: str
    base_bytes: int
    bias_rule: str
    scales: dict[str, Array] = field(default_factory=dict)
    codes: Codes | None = None
    biases: dict[str, Array] = field(default_factory=dict)
    integers: dict[str, Array] = field(default_factory=dict)
    result_sha256: str = ""
    preprocessing: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_choice("IntegerUpdate", "bias_rule", self.bias_rule, BIAS_RULES)
        if not re.fullmatch(_METHOD, self.method):
            raise DomainError(
                "IntegerUpdate: `method` must be a name of letters, digits and _.+(),=- of at most 128; got "
                f"{self.method[:128]!r}"
            )

    def patched(self, graph: IntegerGraph) -> tuple[IntegerGraph, Patch]:
        """Return the network with the update in its file, and what was written where.

        The file keeps its length, and every byte outside the places of the patch.

        Raises
        ------
        VerificationError
            If the file is another one than the update is for, or the result not what the update says.
        DomainError, ShapeError, DTypeError, FormatError
            As `lieref.model.integer.patch.patch` does.
        """
        self._check_base(graph)
        layers = {layer.weight.name: layer for layer in integer_layers(graph)}
        strange = sorted({*self._changed(), *self.integers} - layers.keys())
        if strange:
            raise DomainError(f"patched: {strange[0]} must be the weight of a layer of the file; it is none")
        scales, biases = self._new_scales(layers), dict(self.biases)
        stored: dict[str, Array] = {}
        for name, new in scales.items():
            layer = layers[name]
            if layer.bias is None:
                continue
            said = layer.bias.quantisation
            if said is not None and layer.bias.scale_at is not None and new.size in (1, said.scale.size):
                stored[layer.bias.name] = _stored_unit(layer, new)
            if self.bias_rule == "follow" and (new != layer.scales).any():
                biases[layer.bias.name] = requantised_bias(layer, layer.real_bias(), new)
        changed, made = patch(graph, {**scales, **stored}, biases, self.integers)
        if self.result_sha256 and made.changed != self.result_sha256:
            raise VerificationError(
                f"patched: the file must become {self.result_sha256[:16]}...; got {made.changed[:16]}...: nothing is "
                "written"
            )
        return changed, made

    def apply(self, graph: IntegerGraph) -> bytes:
        """Return the file with the update in it; raises as `patched` does."""
        return self.patched(graph)[0].content

    def sealed(self, graph: IntegerGraph) -> IntegerUpdate:
        """Return the update with the digest of what it makes of its file."""
        return replace(self, result_sha256=replace(self, result_sha256="").patched(graph)[1].changed)

    def _changed(self) -> set[str]:
        return {*self.scales, *(self.codes.of if self.codes is not None else ())}

    def _new_scales(self, layers: Mapping[str, IntegerLayer]) -> dict[str, Array]:
        if self.codes is None:
            return self.scales
        return {name: decode(layers[name].scales, codes, self.codes.ratio) for name, codes in self.codes.of.items()}

    def _check_base(self, graph: IntegerGraph) -> None:
        if graph.digest != self.base_sha256:
            raise VerificationError(
                f"patched: the update must be used with the file it is for, sha256 {self.base_sha256[:16]}...; got "
                f"{graph.digest[:16]}..."
            )


def update_of(
    graph: IntegerGraph,
    method: str,
    logarithms: Mapping[str, FloatArray],
    biases: Mapping[str, FloatArray],
    encoding: str = "finished",
) -> IntegerUpdate:
    """Return the update that a method of `INTEGER_METHODS` has trained.

    Parameters
    ----------
    graph : IntegerGraph
    method : str
    logarithms : mapping of str to array
        By weight: of the factor of each scale.
    biases : mapping of str to array
        By bias: real numbers, where they were trained.
    encoding : {"finished", "codes"}

    Raises
    ------
    DomainError
        If a result is out of the range of the file's numbers, or biases are asked for as codes.
    """
    check_choice("update_of", "encoding", encoding, ENCODINGS)
    chosen = INTEGER_METHODS[method]
    layers = integer_layers(graph)
    rule = "stay" if chosen.ties else "follow" if chosen.scales else "given"
    if encoding == "codes":
        if not chosen.scales:
            raise DomainError(f"update_of: `encoding` must be finished for {method}, which moves biases; got codes")
        update = IntegerUpdate(method, graph.digest, len(graph.content), rule, codes=Codes(*encode(logarithms)))
        return update.sealed(graph)
    scales, integers = {}, {}
    for layer in layers:
        if layer.weight.name in logarithms:
            factors = np.exp(logarithms[layer.weight.name].astype(np.float64))
            scales[layer.weight.name] = (layer.scales.astype(np.float64) * factors).astype(np.float32)
        if layer.bias is None:
            continue
        if layer.bias.name in biases:
            integers[layer.bias.name] = requantised_bias(layer, biases[layer.bias.name], layer.scales)
        elif rule == "follow" and layer.weight.name in scales:
            integers[layer.bias.name] = requantised_bias(layer, layer.real_bias(), scales[layer.weight.name])
    rule = "stay" if chosen.ties else "given"
    update = IntegerUpdate(method, graph.digest, len(graph.content), rule, scales, biases=integers)
    return update.sealed(graph)


def update_between(base: IntegerGraph, changed: IntegerGraph, method: str) -> IntegerUpdate:
    """Return the update that leads from one file to another whose scales and biases alone are others.

    Raises
    ------
    VerificationError
        If anything else differs.
    """
    scales, biases = {}, {}
    for old, new in zip(integer_layers(base), integer_layers(changed), strict=True):
        if (old.scales != new.scales).any():
            scales[old.weight.name] = new.scales
        before, after = (None if layer.bias is None else layer.bias.data for layer in (old, new))
        if old.bias is not None and before is not None and after is not None and (before != after).any():
            biases[old.bias.name] = after
    found = IntegerUpdate(method, base.digest, len(base.content), "given", scales, biases=biases)
    found = replace(found, result_sha256=changed.digest)
    found.patched(base)  # raises where it is not so
    return found


def requantised_bias(layer: IntegerLayer, real: FloatArray, scales: Array) -> Array:
    """Return the integers next to a real bias in the unit of these weight scales, halves to even.

    Raises
    ------
    DomainError
        If one does not fit the type of the bias.
    """
    assert layer.bias is not None  # the callers ask
    low, high = (min(max(end, -_EXACT), _EXACT) for end in layer.bias.limits)
    found = np.rint(real.astype(np.float64) / layer.bias_unit(scales))
    if not ((found >= low) & (found <= high)).all():
        raise DomainError(
            f"requantised_bias: the bias {layer.bias.name} must fit {layer.bias.dtype}; got {np.abs(found).max():.6g} "
            "steps: its unit, the scales of input and weight multiplied, is too small for it"
        )
    return found.astype(np.int64)


def _stored_unit(layer: IntegerLayer, scales: Array) -> Array:
    """Return the scale that the file stores for a bias, as many numbers as it has."""
    assert layer.bias is not None
    assert layer.bias.quantisation is not None
    unit = (np.float32(layer.input_scale) * scales).astype(np.float32)
    return np.broadcast_to(unit, layer.bias.quantisation.scale.shape).copy()
