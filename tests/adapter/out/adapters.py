"""Adapters of small networks with numbers in all their factors, for the tests of every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

import lieref
from lieref.adapter.model import Model
from lieref.adapter.out.source import Source, read_source
from tests.model.nets import residual_net, saved


def perturbed(model: Model, scale: float = 0.2, seed: int = 0) -> Model:
    """Return the model with numbers added to all that is trained, so that no factor is zero."""
    rng = np.random.default_rng(seed)
    for array in model.parameters().values():
        array += scale * rng.standard_normal(array.shape).astype(array.dtype)
    return model


def adapter_of(
    folder: Path, method: str, *, net: onnx.ModelProto | None = None, name: str = "adapter", scale: float = 0.2,
    seed: int = 0, **options: Any,
) -> Source:  # fmt: skip
    """Write a base and an adapter of it into a folder, and return both as they are read for an export."""
    path = saved(residual_net() if net is None else net, folder)
    model = perturbed(lieref.load(path).attach(method, **options), scale, seed)
    model.save_adapter(folder / name)
    return read_source(folder / name, path)
