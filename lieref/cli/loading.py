"""The model of a command that reads samples: what these say of its inputs is known when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lieref.adapter.model import Model
    from lieref.cli.text_options import TextOptions


def load_for(
    base: Path, data: Path, text: TextOptions, outputs: dict[str, float] | None, known: Mapping[str, Any] | None = None
) -> Model:
    """Return the model with which samples are read: free sizes of several inputs are theirs, or those of an adapter."""
    from lieref.adapter.model import load
    from lieref.cli.text_options import padding_for
    from lieref.model.integer.reader import is_integer_file

    if is_integer_file(base) and not outputs:
        return load(base)
    shapes = _sample_shapes(base, data, derive=not text.given_masks) or (known or {}).get("input_shapes")
    return load(base, output=outputs, padding_id=padding_for(text), input_shapes=shapes, derive=not text.given_masks)


def _sample_shapes(base: Path, data: Path, *, derive: bool) -> dict[str, tuple[int, ...]]:
    """Return the shapes that samples in an ``.npz`` give the free inputs of a network of several, by name."""
    from lieref.model.mask_inputs import ids_among
    from lieref.model.onnx_reader import declared_inputs
    from lieref.train.npz import npz_shapes

    held = npz_shapes(data)
    inputs = declared_inputs(base) if len(held) > 1 and set(held) != {"x", "y"} else ()
    if len(inputs) < 2 or (derive and ids_among(inputs) is not None):
        return {}
    found = {}
    for info in inputs:
        shape = held.get(f"x_{info.name}", held.get(info.name, ()))
        fits = all(n in (None, m) for n, m in zip(info.shape[1:], shape[1:], strict=False))
        if None in info.shape[1:] and len(shape) == len(info.shape) and fits and 0 not in shape:
            found[info.name] = shape[1:]
    return found
