"""Dense differences of weights, W' - W0, as a folder: see `lieref.adapter.out.delta_file` for the files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.adapter.out.delta_file import CONFIG_NAME, FORMAT, TENSORS_NAME, stored_digest, summing
from lieref.adapter.out.registry import Exported
from lieref.adapter.out.source import Source
from lieref.adapter.strict_json import format_json, path_text
from lieref.adapter.tensor_file import encode_tensors
from lieref.model.attaching import listed
from lieref.model.half import narrowed


def export_delta(source: Source) -> Exported:
    """Return ``delta.safetensors`` and ``delta.json``.

    The difference is computed from the factors in float64, so that a change far below its weight keeps its digits, and
    moved by a unit in its last place where W0 + delta would round to another number than W'.
    """
    tensors: dict[str, Array] = {}
    rows: dict[str, dict[str, Any]] = {}
    missed: dict[str, int] = {}
    for change in source.changes:
        name, before, after = change.name, change.before, change.after
        delta, wrong = summing(before, after, change.difference)
        tensors[f"{name}:delta"] = delta
        if wrong.any():
            missed[name] = int(wrong.sum())
            places = np.flatnonzero(wrong)
            tensors[f"{name}:places"] = places.astype(np.int64)
            tensors[f"{name}:values"] = after.reshape(-1)[places]
        dtype = change.stored.dtype
        rows[name] = {
            "dtype": dtype.name,
            "shape": list(before.shape),
            "before_sha256": stored_digest(change.stored),
            "after_sha256": stored_digest(narrowed("export", name, after, dtype)),
        }
    data = encode_tensors(tensors, {"format": FORMAT})
    head = source.model.new_head
    config = {
        "format": FORMAT,
        "method": source.model.method_name,
        "base": path_text(Path(source.model.source).name),
        **source.digests,
        "head": head,
        "delta_sha256": hashlib.sha256(data).hexdigest(),
        "delta_bytes": len(data),
        "tensors": rows,
    }
    notes = []
    if missed:
        said = listed([f"{name} ({count})" for name, count in missed.items()])
        notes.append(f"no delta adds up to some merged numbers, which are stored themselves: {said}")
    computed = [change.name for change in source.changes if change.computed]
    if computed:
        notes.append(f"the base's file computes {listed(computed)}: take W0 from lieref.load(BASE).graph.initializers")
    if head is not None:
        notes.append(
            f"W0 of the new head's {head['weight']} and {head['bias']} is zero: the base's file has no such head"
        )
    facts = {"changed_tensors": list(rows), "replaced_numbers": sum(missed.values())}
    return Exported({TENSORS_NAME: data, CONFIG_NAME: format_json(config)}, facts, tuple(notes))
