"""What every format is written from: a base, an adapter of it, and the tensors that both make."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lieref._check import need
from lieref._types import Array, FloatArray, Params
from lieref.adapter.folder import CONFIG_NAME, TENSORS_NAME, read_adapter
from lieref.adapter.model import Model, load
from lieref.errors import DomainError
from lieref.model.layer import Layer
from lieref.model.site import Site


@dataclass(frozen=True)
class Change:
    """One tensor that an adapter changes, laid out as in the network's file.

    Attributes
    ----------
    name : str
        Its name there.
    before, after : float32 or float64 array
        W0 and W' as base and merged file hold them; what is float16 there in float32.
    difference : float64 array
        W' - W0 computed from the factors in float64, without the cancellation of that difference.
    layer : Layer or None
        The layer whose weight it is; None for biases, and for the vectors of a normalisation.
    stored : float array
        W0 in the type of the file.
    computed : bool
        Whether the base's file holds no such tensor, but computes it from others.
    """

    name: str
    before: FloatArray
    after: FloatArray
    difference: FloatArray
    layer: Layer | None
    stored: FloatArray
    computed: bool

    def canonical(self, stored: Array) -> Array:
        """Return a tensor of this layout as (out, in / groups, *kernel), (out, in) or (n,)."""
        return stored if self.layer is None else self.layer.to_canonical(stored)


@dataclass(frozen=True)
class Source:
    """A base with one adapter.

    Attributes
    ----------
    model : Model
        The base with the adapter attached; not changed by any format.
    config : dict
        The adapter's configuration as it was read.
    base, adapter : Path
        The base's file and the adapter's folder.
    """

    model: Model
    config: dict[str, Any]
    base: Path
    adapter: Path

    @property
    def digests(self) -> dict[str, str]:
        """Digests that say what was exported: of the base's file, of the network in it, of the adapter's tensors."""
        return {
            "base_sha256": self.model.base_sha256,
            "network_sha256": self.config["lieref"].get("network_sha256") or self.model.network_sha256,
            "adapter_sha256": self.config["lieref"]["tensors_sha256"],
        }

    @cached_property
    def merged(self) -> Model:
        """The plain model with the adapted weights."""
        return copy.copy(self.model).merge_and_unload()

    @cached_property
    def proto(self) -> Any:
        """The merged file, an onnx.ModelProto that nobody may write to."""
        return self.merged.proto

    @cached_property
    def changes(self) -> tuple[Change, ...]:
        """What the adapter changes, in the order of the network's tensors.

        Raises
        ------
        DomainError
            If that is nothing.
        """
        model, graph = self.model, self.model.graph
        names = {*model.statistics}.union(*(site.tensors for site in model.sites.values()))
        before = _tensors_of(model.proto, names)
        before |= {name: graph.initializers[name].astype(graph.made[name].dtype) for name in names & graph.made.keys()}
        after = {name: value.reshape(before[name].shape) for name, value in _tensors_of(self.proto, names).items()}
        differences = {name: part for site in model.sites.values() for name, part in _differences(site, before).items()}
        for name, value in model.statistics.items():
            differences[name] = value.astype(np.float64) - before[name].astype(np.float64)
        layers = {site.tensor: site.layer for site in model.sites.values()}
        changes = tuple(
            Change(name, _wide(before[name]), _wide(after[name]), differences[name], layers.get(name), before[name],
                   name in graph.made)
            for name in graph.initializers
            if name in differences
        )  # fmt: skip
        if not changes:
            raise DomainError(
                f"export: `adapter` must change a tensor of the network; got {self.adapter}, which does not"
            )
        return changes


def _tensors_of(proto: Any, names: set[str]) -> dict[str, FloatArray]:
    """Return initializers of a file by these names, in its types."""
    onnx = need("onnx", "app", "reading ONNX models")
    return {each.name: onnx.numpy_helper.to_array(each) for each in proto.graph.initializer if each.name in names}


def _wide(array: FloatArray) -> FloatArray:
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _differences(site: Site, base: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return W' - W0 of a site's tensors in float64, laid out as in the file."""
    method = site.method
    params: Params = {name: factor.astype(np.float64) for name, factor in site.params.items()}
    weight = site.canonical(base[site.tensor]).astype(np.float64)
    delta = method.weight_delta(params, weight, site.groups)
    found = {site.tensor: delta if site.layer is None else site.layer.from_canonical(delta)}
    if site.bias is not None:
        bias: FloatArray = base[site.bias].astype(np.float64)
        found[site.bias] = method.adapted_bias(params, bias, weight.shape, site.groups) - bias
    return found


def read_source(adapter: str | Path, base: str | Path) -> Source:
    """Read an adapter and its base.

    Parameters
    ----------
    adapter : path
        Folder with ``adapter_model.safetensors`` and ``adapter_config.json``.
    base : path
        The ONNX file that it was made for, or another file of the same network.

    Raises
    ------
    FormatError, VerificationError, DomainError
        As `load` and `Model.load_adapter` do.
    """
    config = read_adapter(adapter)[1]
    section = config["lieref"]
    model = load(base, input_shapes=section.get("input_shapes"), padding_id=section.get("padding_id"))
    model.load_adapter(adapter)
    return Source(model, config, Path(base), Path(adapter))


ADAPTER_FILES = (TENSORS_NAME, CONFIG_NAME)
"""Names of the files of an adapter's folder."""
