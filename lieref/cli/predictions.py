"""What a network said of samples, as plain JSON and as lines of a table."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from lieref.adapter.strict_json import format_json
from lieref.errors import DomainError, UnsupportedError

if TYPE_CHECKING:
    from lieref._types import Array
    from lieref.cli.console import Progress
    from lieref.cli.predictors import Predictor

COLUMNS = ("file", "sample", "rank", "class", "score")

RANKED = ("classes",)
"""Tasks whose outputs compete."""


def predictions(asked: Predictor, classes: tuple[str, ...] | None, top: int, told: Progress) -> list[dict[str, Any]]:
    """Return what a network says of each sample, plain JSON values.

    Parameters
    ----------
    asked : Predictor
    classes : tuple of str or None
        Names of the outputs; None takes those that the model has.
    top : int
        Classes of a sample, the likeliest first.
    told : callable
        Called with what is done.

    Raises
    ------
    UnsupportedError
        If the network gives anything but a row of numbers a sample.
    DomainError
        If the names are not as many as its outputs, or an output is not finite.
    """
    from lieref.cli.predictors import AT_ONCE

    names, found = classes or asked.classes, []
    total = sum(len(source.samples) for source in asked.sources)
    for source in asked.sources:
        for start in range(0, len(source.samples), AT_ONCE):
            rows = _rows(asked.predict(source.x[start : start + AT_ONCE]))
            if names is not None and len(names) != rows.shape[1]:
                raise DomainError(f"predict: `classes` must name the {rows.shape[1]} outputs; got {len(names)}")
            for (file, number), row in zip(source.samples[start : start + AT_ONCE], rows, strict=True):
                order = np.argsort(-row, kind="stable")[:top] if asked.task in RANKED else np.arange(len(row))
                said = [{"class": names[i] if names else str(i), "score": _number(row[i])} for i in order.tolist()]
                found.append({"file": file, "sample": number, "top": said})
            told(len(found), total, "")
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Return a line a class, with a header, as comma-separated values."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in found:
        for rank, said in enumerate(one["top"], 1):
            sample = "" if one["sample"] is None else one["sample"]
            writer.writerow((one["file"], sample, rank, said["class"], f"{said['score']:.9g}"))
    return text.getvalue()


def format_table(found: list[dict[str, Any]]) -> bytes:
    """Return `table` as a file."""
    return table(found).encode("utf-8")


def format_json_file(report: dict[str, Any]) -> bytes:
    """Return a report as a file."""
    return format_json(report)


def _rows(y: Array) -> Array:
    """Return outputs as (N, C)."""
    if y.ndim != 2 and y.size == len(y) * (y.shape[1] if y.ndim > 1 else 1):
        y = y.reshape(len(y), -1)
    if y.ndim != 2:
        raise UnsupportedError(
            f"predict: the model must give one row of numbers a sample; it gives {y.shape[1:]} (in Python "
            "model.predict returns it)"
        )
    if not np.isfinite(y).all():
        raise DomainError("predict: the outputs must be finite; got a NaN or an infinity")
    return y


def _number(value: Any) -> float:
    """Return a number of float32 as the shortest decimal that is it."""
    return float(f"{value:.9g}")
