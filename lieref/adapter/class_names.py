"""Names of a model's outputs on disk: in the configuration of an adapter, and in the metadata of an ONNX file."""

from __future__ import annotations

import json
from typing import Any

from lieref.adapter.metadata import write_metadata
from lieref.errors import FormatError, LierefError
from lieref.model.ml_operators import label_names
from lieref.train.classes import check_classes

METADATA_KEY = "lieref.classes"
"""Entry of an ONNX file's metadata that holds the names, as a JSON list."""


def parse_classes(value: Any, source: str) -> tuple[str, ...] | None:
    """Return names from plain JSON, None where there are none.

    Raises
    ------
    FormatError
        If it is neither null nor a list of different names.
    """
    if value is None:
        return None
    try:
        return check_classes("load", value)
    except LierefError as error:
        raise FormatError(f"load: the classes in {source} must be a list of different names; {error}") from error


def classes_of_proto(proto: Any, source: str) -> tuple[str, ...] | None:
    """Return the names in a ModelProto's metadata, or those of its labels; None where there are none.

    Raises as `parse_classes` does.
    """
    for entry in proto.metadata_props:
        if entry.key == METADATA_KEY:
            try:
                value = json.loads(entry.value)
            except (ValueError, RecursionError) as error:
                raise FormatError(f"load: the classes in {source} must be a JSON list; {error}") from error
            return parse_classes(value, source)
    return parse_classes(label_names(proto.graph), source)


def write_classes(proto: Any, classes: tuple[str, ...] | None) -> None:
    """Write the names into a ModelProto's metadata, in place of those it has; None takes them out."""
    write_metadata(proto, {METADATA_KEY: None if classes is None else json.dumps(list(classes))})
