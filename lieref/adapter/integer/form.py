"""The form of an update of a quantised file on disk: the names of its two files, and what the one of text must say.

Read with NumPy and the standard library alone: a device has no reader of networks. There it is `places` that says where
in the file the numbers belong; see `lieref.adapter.integer.places`.
"""

from __future__ import annotations

from typing import Any

from lieref.adapter.fields import is_list, is_sha256, is_size, is_text, shown
from lieref.adapter.strict_json import parse_json
from lieref.errors import FormatError

BIN_NAME, JSON_NAME = "integer_update.bin", "integer_update.json"
FORMAT = "lieref-integer-update-1"
MAX_BYTES = 2**28
"""Cap on either file."""

ENCODINGS = ("finished", "codes")
BIAS_RULES = ("stay", "follow", "given")

_FIELDS = {
    "format": (FORMAT, lambda value: value == FORMAT),
    "method": ("text", is_text),
    "base_sha256": ("64 hexadecimal digits", is_sha256),
    "base_bytes": ("an integer from 0", is_size),
    "result_sha256": ("64 hexadecimal digits or empty", lambda value: value == "" or is_sha256(value)),
    "bias_rule": (f"one of {', '.join(BIAS_RULES)}", lambda value: is_text(value) and value in BIAS_RULES),
    "encoding": (f"one of {', '.join(ENCODINGS)}", lambda value: is_text(value) and value in ENCODINGS),
    "layers": ("a list", lambda value: isinstance(value, list)),
    "weight_differences": ("an integer from 0", is_size),
    "payload_bytes": ("an integer from 0", is_size),
    "payload_sha256": ("64 hexadecimal digits", is_sha256),
}
PREPROCESSING = "preprocessing"
_WHERE_KNOWN = {PREPROCESSING: ("an object", lambda value: isinstance(value, dict))}
"""What an update says where it is known: the fields of `lieref.train.preprocess.Preprocess`, of its images."""
PLACES, SELF_TEST = "places", "self_test"
_OF_A_BUNDLE = {
    PLACES: ("a list of lists of integers", lambda value: is_list(value, lambda row: is_list(row, is_size))),
    SELF_TEST: ("an object", lambda value: isinstance(value, dict)),
}
"""What a bundle says beside: where the numbers belong, and a self-test."""


def parse_update(text: bytes, source: str) -> dict[str, Any]:
    """Return what the file of text says; every field of its type.

    Raises
    ------
    FormatError
        If it is anything else; `source` is named.
    """
    said = parse_json(text, source)
    if said.get("format") != FORMAT:
        raise FormatError(
            f"read_update: {source} must be an update of format {FORMAT}; got {shown(said.get('format'))}"
        )
    if not set(_FIELDS) <= set(said) <= {*_FIELDS, *_WHERE_KNOWN, *_OF_A_BUNDLE}:
        raise FormatError(f"read_update: {source} must have the fields {', '.join(_FIELDS)}; got {shown(sorted(said))}")
    for name, value in said.items():
        rule, holds = _FIELDS.get(name) or _WHERE_KNOWN.get(name) or _OF_A_BUNDLE[name]
        if not holds(value):
            raise FormatError(f"read_update: {name} of {source} must be {rule}; got {shown(value)}")
    return said
