"""A training run in a file, written anew after every epoch: a table (.csv), JSON (.json), or JSON lines (.jsonl).

Each writing replaces the whole file at once, so that a run that is killed leaves the epochs that were done. The table
has one line an epoch: epoch, steps, samples, loss, the metrics, ``validation_`` loss and metrics where there is such a
set, xi_norm where it was looked at, learning_rate, seconds, training_seconds and samples_per_second. JSON has the whole
record, as `History.to_dict` gives it, and JSON lines its epochs.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lieref._atomic import write_file
from lieref.errors import DomainError, FormatError
from lieref.train.history import EpochRecord, History

ENDINGS = (".csv", ".json", ".jsonl")
MOST_BYTES = 2**26
"""Of a file that is read: some hundred thousand epochs."""

_COUNTS = ("epoch", "steps", "samples")
_AFTER = ("learning_rate", "seconds", "training_seconds", "samples_per_second")
_NEEDED = ("epoch", "loss", "learning_rate", "seconds")
_OWN = {*_COUNTS, "loss", "validation_loss", "xi_norm", *_AFTER}
_OTHER_SET = "validation_"


def check_ending(function: str, name: str, path: str | Path) -> str:
    """Return the ending of a history file, in small letters.

    Raises
    ------
    DomainError
        If it is none of `ENDINGS`.
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise DomainError(f"{function}: `{name}` must end in {', '.join(ENDINGS)}; got {path}")
    return ending


def write_history(path: str | Path, history: History) -> None:
    """Write a run, in place of what the file held.

    Raises
    ------
    DomainError
        If the ending is unknown, or the path is a folder.
    OSError
        If it cannot be written; the file is then what it was.
    """
    ending = check_ending("write_history", "path", path)
    if ending == ".json":
        text = history.to_json()
    elif ending == ".jsonl":
        text = "".join(json.dumps(dataclasses.asdict(r), allow_nan=False) + "\n" for r in history.epochs)
    else:
        text = _table(history.epochs)
    write_file(path, text.encode())


def read_epochs(path: str | Path) -> tuple[EpochRecord, ...]:
    """Return the epochs in a file that `write_history` wrote.

    Raises
    ------
    DomainError
        If the ending is unknown.
    FormatError
        If the file is no record of a run, or a damaged one.
    OSError
        If it cannot be read.
    """
    ending = check_ending("read_epochs", "path", path)
    with open(path, "rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise FormatError(f"read_epochs: {path} must have at most {MOST_BYTES} bytes; it has more")
    try:
        text = data.decode()
        if ending == ".csv":
            return _checked(_of_table(text))
        if ending == ".json":
            return _checked(History.from_dict(_parse(text)).epochs)
        return _checked([_record(_parse(line)) for line in text.splitlines() if line.strip()])
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, csv.Error) as error:
        why = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise FormatError(f"read_epochs: {path} must be the record of a training run; got {why:.200}") from error


def _parse(text: str) -> dict[str, Any]:
    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} where a finite number belongs")

    values = json.loads(text, parse_constant=refuse)
    if not isinstance(values, dict):
        raise TypeError(f"{values!r:.60} where an object belongs")
    return values


def _record(values: dict[str, Any]) -> EpochRecord:
    needed = [f.name for f in dataclasses.fields(EpochRecord) if f.default is dataclasses.MISSING]
    for name in needed:
        if name not in values:
            raise KeyError(name)
    return EpochRecord(**values)


def _checked(epochs: Sequence[EpochRecord]) -> tuple[EpochRecord, ...]:
    """Return the epochs if they are those of one run, of finite numbers."""
    found = History.from_dict(dataclasses.asdict(History(tuple(epochs), None))).epochs
    for record in found:
        values = dataclasses.asdict(record)
        metrics = [value for name in ("metrics", "validation_metrics") for value in (values.pop(name) or {}).values()]
        for value in (*values.values(), *metrics):
            if value is not None and not math.isfinite(value):
                raise ValueError(f"{value} where a finite number belongs")
    return found


def _table(epochs: Sequence[EpochRecord]) -> str:
    metrics = list(dict.fromkeys(name for record in epochs for name in record.metrics))
    judged = list(dict.fromkeys(name for record in epochs for name in record.validation_metrics or {}))
    has_set = any(record.validation_loss is not None for record in epochs)
    columns = [*_COUNTS, "loss", *metrics]
    columns += ["validation_loss", *(_OTHER_SET + name for name in judged)] if has_set else []
    columns += ["xi_norm"] if any(record.xi_norm is not None for record in epochs) else []
    out = io.StringIO()
    writer = csv.DictWriter(out, [*columns, *_AFTER], restval="", lineterminator="\n")
    writer.writeheader()
    for record in epochs:
        own = {name: getattr(record, name) for name in _OWN if name in (*columns, *_AFTER)}
        other = {_OTHER_SET + name: value for name, value in (record.validation_metrics or {}).items()}
        writer.writerow({**record.metrics, **other, **own})
    return out.getvalue()


def _of_table(text: str) -> list[EpochRecord]:
    rows = csv.DictReader(io.StringIO(text), strict=True)
    names = list(rows.fieldnames or ())
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise ValueError(f"a table without the column {missing[0]}")
    if len(set(names)) < len(names):
        raise ValueError("a table with a column twice")
    records = []
    for row in rows:
        if None in row or None in row.values():
            raise ValueError(f"line {rows.line_num} of another length than the first")
        values: dict[str, Any] = {name: _number(name, text) for name, text in row.items() if text}
        has_set = values.get("validation_loss") is not None
        metrics = {name: value for name, value in values.items() if name not in _OWN}
        judged = {name.removeprefix(_OTHER_SET): metrics.pop(name) for name in list(metrics) if _is_judged(name)}
        own = {name: value for name, value in values.items() if name in _OWN and name != "samples_per_second"}
        own.setdefault("validation_loss", None)
        records.append(EpochRecord(**own, metrics=metrics, validation_metrics=judged if has_set else None))
    return records


def _is_judged(name: str) -> bool:
    return name.startswith(_OTHER_SET)


def _number(name: str, text: str) -> float:
    return int(text) if name in _COUNTS else float(text)
