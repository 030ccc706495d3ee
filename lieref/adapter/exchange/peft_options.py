"""What a configuration of PEFT's says of one module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lieref.adapter.exchange.pattern import matches
from lieref.adapter.fields import shown
from lieref.errors import FormatError


@dataclass(frozen=True)
class Options:
    """What a configuration says of one module.

    Attributes
    ----------
    r, alpha : number or None
        With the patterns applied.
    config : mapping
        The whole of ``adapter_config.json``.
    feedforward : bool
        Of IA3: whether the inputs are multiplied.
    """

    r: int | None
    alpha: float | None
    config: Mapping[str, Any]
    feedforward: bool = False


def options_of(kind: str, config: Mapping[str, Any], path: str) -> Options:
    """Return what the configuration of a kind says of the module of a path."""
    alpha = config.get("lora_alpha" if kind in ("LORA", "ADALORA") else "alpha")
    ranks = None if kind == "ADALORA" else config.get("rank_pattern")
    return Options(
        _patterned(ranks, path, config.get("r")),
        _patterned(config.get("alpha_pattern"), path, alpha),
        config,
        _is_feedforward(config.get("feedforward_modules"), path),
    )


LARGEST = 1e30
"""Of a number of a configuration; what factors are multiplied with must leave float32 room."""


def number(config: Mapping[str, Any], name: str, default: float) -> float:
    """Return a field of a configuration that must be a number."""
    value = config.get(name, default)
    if not _is_number(value):
        raise FormatError(f"import: {name} must be a number of at most {LARGEST:g}; got {shown(value)}")
    return float(value)


def integer(config: Mapping[str, Any], name: str, default: int) -> int:
    """Return a field of a configuration that must be an integer."""
    value = config.get(name, default)
    if not isinstance(value, int) or not _is_number(value):
        raise FormatError(f"import: {name} must be an integer of at most {LARGEST:g}; got {shown(value)}")
    return value


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and abs(value) <= LARGEST


def _patterned(patterns: Any, path: str, default: Any) -> Any:
    """Return what the first pattern that ends a path says, as PEFT reads rank_pattern and alpha_pattern."""
    if patterns is not None and not isinstance(patterns, Mapping):
        raise FormatError(f"import: a pattern must be an object of numbers; got {shown(patterns)}")
    value = default
    for pattern, number in (patterns or {}).items():
        if matches(pattern, path, before=r"(.*\.)?"):
            value = number
            break
    if value is not None and not _is_number(value):
        raise FormatError(f"import: r and alpha must be numbers of at most {LARGEST:g}; got {shown(value)}")
    return value


def _is_feedforward(names: Any, path: str) -> bool:
    """Tell whether IA3 multiplies the inputs of a module, by PEFT's rule."""
    if names is None:
        return False
    if isinstance(names, str):
        return matches(names, path)
    if not isinstance(names, (list, tuple)):
        raise FormatError(f"import: feedforward_modules must be text or a list of text; got {shown(names)}")
    return any(path.endswith(name) for name in names if isinstance(name, str))
