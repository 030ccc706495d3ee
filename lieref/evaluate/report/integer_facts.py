"""What is particular to the update of a quantised file: what it writes, and how often the file's ranges cut."""

from __future__ import annotations

from typing import Any

from lieref.evaluate.clipping_text import layers_text, whole_text
from lieref.evaluate.report.content import Block
from lieref.evaluate.report.environment import facts
from lieref.evaluate.report.numbers import percent, whole


def integer_blocks(values: dict[str, Any]) -> tuple[Block, ...]:
    """Return facts of the report of a quantised file's update; none of another."""
    changed, clipping = values.get("changed"), values.get("clipping")
    if changed is None or clipping is None:
        return ()
    simulated = values.get("simulated") or {}
    found = {
        "form of the file": values.get("file_format"),
        "measured in the integers of": values.get("semantics"),
        "in real numbers, base": _share(simulated.get("base_accuracy")),
        "in real numbers, adapted": _share(simulated.get("accuracy")),
        "bytes of the file": changed["file_bytes"],
        "bytes of the update's numbers": values.get("payload_bytes"),
        "bytes of the file that are others now": changed["bytes_that_differ"],
        "integers of weights that are others now": whole(changed["weights"]),
        "clipped to the file's ranges, base": _clipped(clipping["base"]),
        "clipped to the file's ranges, adapted": _clipped(clipping["updated"]),
        "SHA-256 of the new file": values.get("result_sha256"),
    }
    return (facts("", found),)


def _share(value: float | None) -> str | None:
    return None if value is None else percent(value)


def _clipped(found: dict[str, Any]) -> str:
    return f"{whole_text(found)} of the numbers; {layers_text(found)}"
