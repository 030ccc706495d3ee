"""How far two networks differ in their outputs, measured on samples that are given or drawn."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np

from lieref._types import Array, FloatArray
from lieref.adapter.model import Model
from lieref.errors import DomainError
from lieref.model.graph import TensorInfo
from lieref.model.samples import Samples
from lieref.rng import stream
from lieref.train.npz import npz_names, read_npz

DRAWN = 8
"""Samples that are drawn where none are given."""

FREE = 32
"""What a free axis is in them."""

MOST_READ = 256
"""Samples of a file that are used, the first ones."""


def drawn_samples(model: Model, count: int = DRAWN) -> Samples:
    """Return samples that a network can read: normal numbers, and ids all over its vocabulary.

    They tell how two networks differ in general, not on what they are used for.
    """
    vocabulary = model.vocabulary
    rows = {} if vocabulary is None else {each.name: each.rows for each in (vocabulary, *vocabulary.others)}
    batch = model.inputs[0].shape[0] or count
    made = {info.name: _drawn(info, rows.get(info.name, rows.get("", 2)), batch) for info in model.inputs}
    return made if len(made) > 1 else next(iter(made.values()))


def read_samples(model: Model, path: str | Path) -> Samples:
    """Return the first samples of an ``.npz``: its array ``x``, or one by the name of each input.

    Raises
    ------
    FormatError
        If it cannot be read, or lacks an array.
    """
    held, infos = npz_names(path), model.inputs
    names = {info.name: next((n for n in (f"x_{info.name}", info.name) if n in held), "x") for info in infos}
    arrays = read_npz(path, tuple(dict.fromkeys(names.values())))
    count = model.inputs[0].shape[0] or MOST_READ
    found = {info: arrays[name][:count] for info, name in names.items()}
    return found if len(found) > 1 else next(iter(found.values()))


def scores(model: Model, x: Samples) -> FloatArray:
    """Return the network's scores operator by operator: nothing is compiled for a few samples."""
    own = copy.copy(model)
    own.engine = "reference"
    return own.logits(x)


def compared(base: FloatArray, adapted: FloatArray, other: FloatArray) -> dict[str, Any]:
    """Return the errors of scores beside what the adapter changes: the largest, and root mean squares.

    Raises
    ------
    DomainError
        If one is not finite.
    """
    error, change = (each.astype(np.float64) - adapted for each in (other, base))
    found = {
        "samples": len(adapted),
        "largest_error": float(np.abs(error).max()),
        "largest_change": float(np.abs(change).max()),
        "rms_error": float(np.sqrt(np.mean(error**2))),
        "rms_change": float(np.sqrt(np.mean(change**2))),
    }
    if not np.isfinite([*found.values()]).all():
        raise DomainError("export: `samples` must give finite outputs; they do not")
    return found


def _drawn(info: TensorInfo, rows: int, count: int) -> Array:
    shape = (count, *(extent or FREE for extent in info.shape[1:]))
    generator = stream(0, "samples", info.name)
    if np.dtype(info.dtype).kind == "f":
        return generator.standard_normal(shape).astype(np.float32)
    return generator.integers(0, 2 if info.dtype == "bool" else rows, shape)
