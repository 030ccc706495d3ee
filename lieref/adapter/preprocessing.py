"""How a model's images become numbers, in the metadata of its ONNX file."""

from __future__ import annotations

import json
from typing import Any

from lieref.adapter.metadata import write_metadata
from lieref.errors import FormatError
from lieref.train.preprocess import Preprocess

METADATA_KEY = "lieref.preprocessing"
"""Entry of an ONNX file's metadata that holds the fields of `Preprocess`, as a JSON object."""

_RANGES = {
    "NominalRange_0_255": "raw", "Normalized_0_1": "unit", "Normalized_1_1": "scale=127.5,mean=1",
}  # fmt: skip
_RANGE, _FORMAT = "Image.NominalPixelRange", "Image.BitmapPixelFormat"
"""ONNX's own entries for networks of images; its formats end in the bits of a channel."""


def preprocessing_of_proto(proto: Any, source: str) -> dict[str, Any] | None:
    """Return lieref's entry in a ModelProto's metadata, as `Preprocess.to_dict` does; None where there is none.

    Raises
    ------
    FormatError
        If it is no such object.
    """
    for entry in proto.metadata_props:
        if entry.key != METADATA_KEY:
            continue
        try:
            value = json.loads(entry.value)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"load: the preprocessing in {source} must be a JSON object; {error}") from error
        return Preprocess.from_dict(value, source).to_dict()
    return None


def of_image_metadata(proto: Any) -> Preprocess | None:
    """Return what ONNX's own entries for images say in a ModelProto's metadata, None where nothing."""
    entries = {} if proto is None else {entry.key: entry.value for entry in proto.metadata_props}
    text = _RANGES.get(entries.get(_RANGE, ""))
    if text is None:
        return None
    bgr = entries.get(_FORMAT, "").lower().startswith("bgr")
    return Preprocess.from_text(f"{text},channels=bgr" if bgr else text)


def write_preprocessing(proto: Any, preprocessing: dict[str, Any] | None) -> None:
    """Write it into a ModelProto's metadata, in place of what is there; None takes it out."""
    write_metadata(proto, {METADATA_KEY: None if preprocessing is None else json.dumps(preprocessing)})
