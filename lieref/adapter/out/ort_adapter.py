"""ONNX Runtime's adapters: a base whose adapter is a set of inputs with defaults, and a file of values for them.

``base.onnx`` without an adapter computes what the base computes: its weights are the base's bits. With
``adapter.onnx_adapter``, active in a run, they are the adapted ones. Methods of low rank keep their factors, and each
run makes W' of them (`lieref.adapter.out.ort_nodes`); of others the weight itself is the input. Ranks are free axes, so
that adapters of one method and one set of layers share their base, and are swapped between two runs::

    adapter = onnxruntime.LoraAdapter()
    adapter.Load("out/adapter.onnx_adapter")
    options = onnxruntime.RunOptions()
    options.add_active_adapter(adapter)
    session.run(None, {"x": x}, options)

ONNX Runtime folds and packs only weights that are constants: the order of its sums, and so last bits of outputs, may
differ from those of the base's and the merged file, and a run takes longer. Without its optimisations and with
``session.disable_prepacking`` every bit of the outputs is the base's.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lieref._check import check_choice, need
from lieref._types import Array
from lieref.adapter.out.ort_nodes import Formula, formula
from lieref.adapter.out.registry import Exported
from lieref.adapter.out.source import Change, Source
from lieref.errors import UnsupportedError
from lieref.model.attaching import listed
from lieref.model.half import narrowed
from lieref.model.onnx_writer import encode_onnx, replace_tensors
from lieref.model.site import Site

WEIGHTS = ("factors", "merged")
BASE_NAME = "base.onnx"
ADAPTER_NAME = "adapter.onnx_adapter"
FORMAT_VERSION = 1
"""Written as the adapter's version; its model version is the first 31 bits of the sha256 of ``base.onnx``."""


def export_ort_adapter(source: Source, *, weights: str = "factors") -> Exported:
    """Return ``base.onnx`` and ``adapter.onnx_adapter``.

    Parameters
    ----------
    source : Source
    weights : {"factors", "merged"}
        What the inputs are: factors where the method has a form in the graph, small, of which each run makes the
        weights anew; or the merged weights themselves, which take no time but that of the sums.

    Raises
    ------
    DomainError
        If `weights` is neither.
    MissingExtraError
        If onnxruntime is not installed.
    UnsupportedError
        If it knows no adapters, or a name that is needed is taken in the file.
    """
    check_choice("export", "weights", weights, WEIGHTS)
    onnx = need("onnx", "app", "writing ONNX models")
    changes = {change.name: change for change in source.changes}
    computed = {name: change.before for name, change in changes.items() if change.computed}
    proto = replace_tensors(source.model.proto, computed, source.model.graph.made)
    formulas, whole = _formulas(source, changes) if weights == "factors" else ([], list(changes))
    _check_names(proto, formulas)
    _make_overridable(onnx, proto)
    values: dict[str, Array] = {}
    nodes = []
    for each in formulas:
        nodes += _write_formula(onnx, proto, each)
        values |= {name: one.value for name, one in each.nodes.inputs.items()}
    for name in whole:
        holder = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(name, holder.data_type, list(holder.dims)))
        stored = onnx.helper.tensor_dtype_to_np_dtype(holder.data_type)
        values[name] = narrowed("export", name, changes[name].after, np.dtype(stored)).reshape(tuple(holder.dims))
    _put_first(proto, nodes)
    base = encode_onnx(proto)
    adapter = _encode_adapter(values, int(hashlib.sha256(base).hexdigest()[:8], 16) >> 1)
    facts = {
        "inputs": {name: list(value.shape) for name, value in sorted(values.items())},
        "factored_tensors": sorted(name for each in formulas for name in each.made),
        "whole_tensors": sorted(whole),
        "adapter_bytes": len(adapter),
        "base_bytes": len(base),
    }
    return Exported(
        {BASE_NAME: base, ADAPTER_NAME: adapter},
        facts,
        tuple(_said(source, whole if weights == "factors" else [], changes)),
    )


def _formulas(source: Source, changes: dict[str, Change]) -> tuple[list[Formula], list[str]]:
    """Return the formulas of the tensors that have one, and the names of the others."""
    formulas: list[Formula] = []
    for name, site in source.model.sites.items():
        if all(_is_plain(changes[each]) for each in site.tensors if each in changes):
            found = formula(site, changes[name].canonical(changes[name].before).shape) if name in changes else None
            formulas += [] if found is None else [found]
    factored = {name for each in formulas for name in each.made}
    return formulas, [name for name in changes if name not in factored]


def _is_plain(change: Change) -> bool:
    """Tell whether the file has a tensor as the network computes with it."""
    return change.stored.dtype == np.float32 and not change.computed


def _said(source: Source, whole: list[str], changes: dict[str, Change]) -> list[str]:
    head = source.model.new_head
    tensors = {name: site for site in source.model.sites.values() for name in site.tensors}
    in_head = set() if source.model.head is None else {*source.model.head.tensors}
    weights = [name for name in whole if changes[name].layer is not None and name not in in_head]
    notes = []
    if weights:
        why = sorted({_why(tensors[name], changes[name]) for name in weights})
        notes.append(f"the weight itself is the input, not factors, of {listed(weights)}: {'; '.join(why)}")
    if head is not None:
        notes.append(f"without an adapter the scores of {BASE_NAME} are zero: its new head's weights are the adapter's")
    return notes


def _why(site: Site, change: Change) -> str:
    if change.computed:
        return "the base's file computes it from others"
    if change.stored.dtype != np.float32:
        return f"it is {change.stored.dtype} in the file"
    return f"{site.method.name} has no form in the graph"


def _check_names(proto: Any, formulas: Iterable[Formula]) -> None:
    """Refuse a file in which a name that is needed stands for something else."""
    own = {node.name for node in proto.graph.node} | {value.name for value in proto.graph.input}
    own |= {name for node in proto.graph.node for name in node.output} | {t.name for t in proto.graph.initializer}
    for each in formulas:
        names = {
            *each.nodes.inputs,
            *each.nodes.constants,
            *each.base.values(),
            *(node[2] for node in each.nodes.nodes),
        }
        if taken := own & names:
            raise UnsupportedError(f"export: the base must not use the name {min(taken)!r}, which ort-adapter needs")


def _make_overridable(onnx: Any, proto: Any) -> None:
    """Let inputs with defaults mean what they say: in older files every initializer is listed as an input."""
    proto.ir_version = max(proto.ir_version, 4)
    constants = {tensor.name for tensor in proto.graph.initializer}
    for value in [each for each in proto.graph.input if each.name in constants]:
        proto.graph.input.remove(value)


def _write_formula(onnx: Any, proto: Any, found: Formula) -> list[Any]:
    """Add inputs and constants of a formula to the graph; return its nodes."""
    helper, graph = onnx.helper, proto.graph
    for holder in graph.initializer:
        holder.name = found.base.get(holder.name, holder.name)
    for name, value in found.nodes.constants.items():
        graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    for name, one in found.nodes.inputs.items():
        dims = [f"{name}#{axis}" if axis in one.free else size for axis, size in enumerate(one.value.shape)]
        graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims))
        graph.initializer.append(onnx.numpy_helper.from_array(one.default, name))
    # What is made takes the name of the tensor, so that its readers stay as they are.
    renamed = {made: name for name, made in found.made.items()}
    return [
        helper.make_node(
            op, [renamed.get(name, name) for name in inputs], [renamed.get(output, output)], output, **attrs
        )
        for op, inputs, output, attrs in found.nodes.nodes
    ]


def _put_first(proto: Any, nodes: Collection[Any]) -> None:
    """Put nodes before those that read what they make."""
    rest = [*proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes, *rest])


def _encode_adapter(values: dict[str, Array], model_version: int) -> bytes:
    """Return the file of ONNX Runtime's format, its values sorted by name."""
    ort = need("onnxruntime", "ort", "writing ONNX Runtime's adapters")
    if not hasattr(ort, "AdapterFormat"):
        raise UnsupportedError(f"export: onnxruntime must be 1.20 or later to know adapters; got {ort.__version__}")
    made = ort.AdapterFormat()
    made.set_adapter_version(FORMAT_VERSION)
    made.set_model_version(model_version)
    made.set_parameters(
        {name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(values[name])) for name in sorted(values)}
    )
    with tempfile.TemporaryDirectory() as folder:
        made.export_adapter(str(Path(folder).resolve() / ADAPTER_NAME))
        return (Path(folder) / ADAPTER_NAME).read_bytes()
