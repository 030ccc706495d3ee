"""What of a model is written as its adapter: the trained arrays, and a configuration that leaves nothing open.

The configuration describes every tensor that changes, so that a device can merge without a graph: where the numbers
before the change come from, their type and shape, how a layer stores its weight, and every option of its method.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lieref._types import Array
from lieref.adapter.merge.merging import COMPUTED, FILE, STATISTIC, ZEROS
from lieref.adapter.strict_json import path_text
from lieref.adapter.weights import decode_weights
from lieref.errors import DomainError
from lieref.model.graph import Graph
from lieref.model.site import Site
from lieref.param.written import written_out
from lieref.train.classes import check_classes

if TYPE_CHECKING:
    from lieref.adapter.model import Model


def state_of(model: Model) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return a model's adapters: their arrays, and their configuration of format 3.

    Raises
    ------
    DomainError
        If nothing is attached.
    """
    if not model.attached:
        raise DomainError("save_adapter: a method must be attached first; none is")
    # What PEFT's fields can say is of one method: the last that trains.
    last = next((e for e in reversed(model.attached) if e.method.scope != "statistics"), model.attached[-1])
    config: dict[str, Any] = {
        "peft_type": model.method_name.upper(),
        "base_model_name_or_path": path_text(Path(model.source).name),
        "target_modules": None if last.target_modules is None else list(last.target_modules),
        "r": last.method.rank,
        "lora_alpha": last.method.alpha,
        "lieref": {
            "base_sha256": model.base_sha256,
            "network_sha256": model.network_sha256,
            "task": model.task,
            "output": model.output_weights or ({model.outputs[0]: 1.0} if len(model.outputs) > 1 else None),
            "classes": None if model.classes is None else list(check_classes("save_adapter", model.classes)),
            "head": None if model.head is None else model.head.to_dict(),
            "preprocessing": model.preprocessing,
            "tokenizer_sha256": None,
            "integers": None,
            "input_shapes": {name: list(shape) for name, shape in model.input_shapes.items()},
            **({"padding_id": model.padding_id} if model.derived_inputs or model.padding_id is not None else {}),
            "methods": [
                {
                    "config": written_out(entry.method),
                    "target_modules": None if entry.target_modules is None else list(entry.target_modules),
                    "seed": entry.seed,
                }
                for entry in model.attached
            ],
            "statistics": sorted(model.statistics),
            "sites": {tensor: _site(site, model.graph) for tensor, site in model.sites.items()},
            "tensors": {
                name: {"dtype": array.dtype.name, "shape": list(array.shape), "source": source}
                for name, (source, array) in base_of(model).items()
            },
        },
    }
    return arrays_of(model), config


def arrays_of(model: Model) -> dict[str, Array]:
    """Return the statistics and factors of a model's adapters by the names they have in a file."""
    tensors: dict[str, Array] = {f"{name}{STATISTIC}": value for name, value in model.statistics.items()}
    for tensor, site in model.sites.items():
        tensors.update({f"{tensor}:{factor}": value for factor, value in site.params.items()})
    return tensors


def base_of(model: Model) -> dict[str, tuple[str, Array]]:
    """Return, of every tensor that a model's adapters change, where it comes from and its numbers before, by name.

    The numbers are in the type of the file, and those of the file where it has them: a network in float32 of a file in
    float64 holds rounded ones.
    """
    proto = model._file_proto()
    held: Mapping[str, Array] = {} if proto is None else decode_weights(proto.SerializeToString(), "the model")
    new = {} if model.head is None else model.head.initializers()
    found = {}
    for name in sorted({*model.statistics, *(name for site in model.sites.values() for name in site.tensors)}):
        value = model.graph.initializers[name]
        if name in new:
            found[name] = (ZEROS, new[name])
        elif name in held and _is(held[name], value):
            found[name] = (FILE, held[name])
        else:
            made = model.graph.made.get(name)
            found[name] = (COMPUTED, value if made is None else value.astype(made.dtype))
    return found


def canonical_shape(site: Site, graph: Graph) -> tuple[int, ...]:
    """Return the shape of an adapted tensor as its method sees it."""
    return site.layer.shape if site.layer is not None else graph.initializers[site.tensor].shape


def _is(held: Array, value: Array) -> bool:
    """Tell whether a tensor of the file is one of the graph, in whatever type of floats."""
    if held.dtype.kind != "f" or held.shape != value.shape:
        return False
    with np.errstate(over="ignore"):
        return np.array_equal(held.astype(value.dtype), value)


def _site(site: Site, graph: Graph) -> dict[str, Any]:
    shape, layer = canonical_shape(site, graph), site.layer
    return {
        "method": written_out(site.method, shape, site.groups),
        "shape": list(shape),
        "weight": layer is not None,
        "groups": site.groups,
        "transposed": layer is not None and layer.transposed,
        "directions": 0 if layer is None else layer.directions,
        "bias": site.bias,
    }
