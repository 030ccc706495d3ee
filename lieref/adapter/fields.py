"""The fields of an adapter's configuration: which there must be, and of what type each is.

A configuration comes from anywhere, so that every field is checked before any is used. What is not listed here is
anyone's own and passes through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from lieref.errors import FormatError

_Test = Callable[[Any], bool]
_Rules = Mapping[str, tuple[str, _Test]]

MOST_AXES = 64
"""Axes of a NumPy array at most."""


def is_text(value: Any) -> bool:
    """Tell whether a value of JSON is text."""
    return isinstance(value, str)


def is_size(value: Any) -> bool:
    """Tell whether a value of JSON is an integer that can count bytes."""
    # `type` and not `isinstance`: true and false are integers to Python, not to JSON.
    return type(value) is int and 0 <= value < 2**63


def is_sha256(value: Any) -> bool:
    """Tell whether a value of JSON is a SHA-256 in hexadecimal."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def is_number(value: Any) -> bool:
    """Tell whether a value of JSON is a finite number."""
    return (type(value) is int and abs(value) < 2**63) or (isinstance(value, float) and math.isfinite(value))


def is_list(value: Any, test: _Test, most: int | None = None) -> bool:
    """Tell whether a value of JSON is a list whose items pass a test."""
    return isinstance(value, list) and (most is None or len(value) <= most) and all(map(test, value))


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


_PEFT: _Rules = {
    "peft_type": ("text", is_text),
    "r": ("a positive integer or null", lambda v: v is None or (is_size(v) and v > 0)),
    "lora_alpha": ("a number or null", lambda v: v is None or is_number(v)),
    "target_modules": ("text, a list of text, or null", lambda v: v is None or is_text(v) or is_list(v, is_text)),
    "base_model_name_or_path": ("text or null", lambda v: v is None or is_text(v)),
}
_SECTION: _Rules = {
    "network_sha256": ("64 hexadecimal digits", is_sha256),
    "task": ("an object with a name or null", lambda v: v is None or (isinstance(v, dict) and is_text(v.get("name")))),
    "output": (
        "an object of numbers or null",
        lambda v: v is None or (isinstance(v, dict) and is_list([*v.values()], is_number)),
    ),
    "methods": ("a list of objects", lambda v: is_list(v, lambda item: isinstance(item, dict))),
    "statistics": ("a list of different names", lambda v: is_list(v, is_text) and len(set(v)) == len(v)),
    "head": ("an object or null", lambda v: v is None or isinstance(v, dict)),
    "input_shapes": (
        "an object of lists of sizes",
        lambda v: isinstance(v, dict) and is_list([*v.values()], lambda item: is_list(item, is_size, MOST_AXES)),
    ),
    "padding_id": ("an integer from 0 or null", lambda v: v is None or is_size(v)),
    "sites": ("an object of objects", lambda v: isinstance(v, dict) and is_list([*v.values()], _is_object)),
}
_METHOD: _Rules = {
    "config": ("an object with a name", lambda v: isinstance(v, dict) and is_text(v.get("name"))),
    "target_modules": ("a list of text or null", lambda v: v is None or is_list(v, is_text)),
    "seed": ("an integer from 0", is_size),
}
_SITE: _Rules = {
    "method": ("an object with a name", lambda v: isinstance(v, dict) and is_text(v.get("name"))),
    "shape": ("a list of sizes", lambda v: is_list(v, is_size, MOST_AXES)),
}
_HEAD: _Rules = {
    "classes": ("an integer from 2", lambda v: is_size(v) and v >= 2),
    "features": ("text", is_text),
    "size": ("an integer from 0", is_size),
    "pool": ("true or false", lambda v: isinstance(v, bool)),
    "weight": ("text", is_text),
    "bias": ("text", is_text),
}
_SECTION_3: _Rules = {
    "classes": ("a list of different names or null", lambda v: v is None or isinstance(v, list)),
    "head": ("an object or null", lambda v: v is None or isinstance(v, dict)),
    "preprocessing": ("an object or null", lambda v: v is None or isinstance(v, dict)),
    "tokenizer_sha256": ("64 hexadecimal digits or null", lambda v: v is None or is_sha256(v)),
    "integers": ("an object or null", lambda v: v is None or isinstance(v, dict)),
    "tensors": ("an object of objects", lambda v: isinstance(v, dict) and is_list([*v.values()], _is_object)),
    **{name: _SECTION[name] for name in ("task", "output", "methods", "statistics", "input_shapes", "sites")},
}
_SITE_3: _Rules = {
    **_SITE,
    "weight": ("true or false", lambda v: isinstance(v, bool)),
    "groups": ("an integer from 1", lambda v: is_size(v) and v > 0),
    "transposed": ("true or false", lambda v: isinstance(v, bool)),
    "directions": ("an integer from 0", is_size),
    "bias": ("text or null", lambda v: v is None or is_text(v)),
}
_TENSOR: _Rules = {
    "dtype": ("float16, float32 or float64", lambda v: v in ("float16", "float32", "float64")),
    "shape": ("a list of sizes", lambda v: is_list(v, is_size, MOST_AXES)),
    "source": ("file, zeros or computed", lambda v: v in ("file", "zeros", "computed")),
}
FORMAT_3 = "lieref-adapter/3"
"""The format in which every place is there, null where it is not used, and every tensor that changes is described."""
FIELDS = tuple(_PEFT)
"""The fields of PEFT that a configuration must have."""


def check_fields(function: str, config: Mapping[str, Any], what: str, *, complete: bool = False) -> None:
    """Raise `FormatError` unless each field is of its type; `what` is named in the message.

    The section ``lieref`` must be there; of its fields those that are there are checked. In format 3, and with
    `complete`, all of them must be there.
    """
    missing = [name for name in FIELDS if name not in config]
    if missing:
        raise FormatError(f"{function}: {what} must have the fields {', '.join(FIELDS)}; got no {missing[0]}")
    section = config.get("lieref")
    if not isinstance(section, Mapping):
        raise FormatError(f"{function}: {what} must have a section lieref; got {shown(section)}")
    _check(function, config, _PEFT, what)
    _check(function, section, _SECTION, f"{what}, lieref")
    complete = complete or section.get("format") == FORMAT_3
    if complete:
        _check(function, section, _SECTION_3, f"{what}, lieref", required=True)
    if section.get("head") is not None:
        _check(function, section["head"], _HEAD, f"{what}, lieref.head", required=True)
    for number, entry in enumerate(section.get("methods", ())):
        _check(function, entry, _METHOD, f"{what}, lieref.methods[{number}]", required=True)
    for name, entry in section.get("sites", {}).items():
        rules = _SITE_3 if complete else _SITE
        _check(function, entry, rules, f"{what}, lieref.sites[{shown(name)}]", required=True)
    for name, entry in section["tensors"].items() if complete else ():
        _check(function, entry, _TENSOR, f"{what}, lieref.tensors[{shown(name)}]", required=True)


def shown(value: Any, length: int = 80) -> str:
    """Return a value for a message, cut to a length that a line can hold."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = f"a {type(value).__name__} of too many digits"
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _check(function: str, fields: Mapping[str, Any], rules: _Rules, what: str, *, required: bool = False) -> None:
    for name, (rule, holds) in rules.items():
        if name not in fields and required:
            raise FormatError(f"{function}: {what} must have the fields {', '.join(rules)}; got no {name}")
        if name in fields and not holds(fields[name]):
            raise FormatError(f"{function}: {name} of {what} must be {rule}; got {shown(fields[name])}")
