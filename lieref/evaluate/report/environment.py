"""Where a result was made: machine and versions."""

from __future__ import annotations

from typing import Any

from lieref.evaluate.report.content import Block, Facts

KNOWN = ("lieref", "numpy", "scipy", "numba", "python")
"""Versions that a report of a run has at its top."""


def facts(title: str, values: dict[str, Any]) -> Facts:
    """Return facts of plain values, those that are None or empty left out."""
    return Facts(title, tuple((name.replace("_", " "), said(value)) for name, value in values.items() if _says(value)))


def said(value: Any) -> str:
    """Return a plain value as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name} {said(each)}" for name, each in value.items() if _says(each))
    if isinstance(value, list):
        return ", ".join(map(said, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def environment(values: dict[str, Any]) -> tuple[Block, ...]:
    """Return machine, versions and commit, as far as they are recorded."""
    versions = values.get("versions") or {name: values[name] for name in KNOWN if name in values}
    machine = dict(values.get("machine") or {})
    # The same versions stand in both.
    machine = {name: value for name, value in machine.items() if name not in versions}
    found = {**machine, **versions, "commit": values.get("commit")}
    for name in ("engine", "threads", "slow"):
        found[name] = values.get(name)
    return (facts("", found),)


def _says(value: Any) -> bool:
    return value is not None and value not in ("", [], {})
