"""Vectors from a table of comma-separated values, row by row: a cell takes eight bytes, never a Python object."""

from __future__ import annotations

import csv
import math
import unicodedata
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from lieref._types import Array
from lieref.errors import DomainError, FormatError
from lieref.train.cap import MAX_BYTES
from lieref.train.classes import number_by_name

LABEL = "label"
"""Name of the column of targets, in any case of its letters."""

_MAX_CELL = 1000
"""Characters of a cell; a number of float64 has at most some 800."""

_MAX_LINE = 2**24
"""Characters of a line, which is held as a list of cells: a colour image of 1,000 x 1,000 has about 12 million."""

_MISSING = ("", "nan", "na", "n/a", "null", "none")


def read_csv(
    path: str | Path, *, classes: Sequence[str] | None = None, max_bytes: int | None = None
) -> tuple[Array, Array, tuple[str, ...] | None]:
    """Read vectors from a table: one sample a row, one number a cell, the target in column `label` or the last one.

    A first row is the header if one of its cells is no number where the column holds numbers, or names the label.
    Targets that are all integers become int64; targets that are words are the names of classes.

    Parameters
    ----------
    path : str or Path
        UTF-8 text, with or without a byte order mark; cells separated by commas.
    classes : sequence of str, optional
        Names of the model's outputs; words are matched with them. Without it they are numbered in sorted order.
    max_bytes : int, optional
        Cap on the size of the file, and of the table in memory; `MAX_BYTES` by default.

    Returns
    -------
    x : (N, F) float64, finite
    y : (N,) int64 or float64, finite
    names : tuple of str or None
        Name of each label, where the targets are words.

    Raises
    ------
    FormatError
        If the file is missing, too large or no such table, a row has another length, or a cell is not a number.
    DomainError
        If there is no sample, a number is not finite, or a word is not among `classes`.
    """
    cap = MAX_BYTES if max_bytes is None else max_bytes
    with _opened(Path(path), cap) as rows:
        x, targets, lines = _parse(rows, path, cap)
    return x, *read_targets("read_csv", targets, lines, path, classes)


def read_features(
    path: str | Path, width: int | None = None, *, max_bytes: int | None = None
) -> tuple[Array, str | None]:
    """Read vectors from a table without targets, or with targets that are left out.

    Left out is the column `label`, or of one cell more than a sample has numbers the last.

    Parameters
    ----------
    path : str or Path
        As for `read_csv`; a first row with a cell that is no number is the header.
    width : int, optional
        Numbers of a sample, where they are known.
    max_bytes : int, optional
        As for `read_csv`.

    Returns
    -------
    x : (N, F) float64, finite
    left : str or None
        Name, or number from 1, of the column that was left out.

    Raises
    ------
    FormatError, DomainError
        As `read_csv` does, but for targets.
    """
    cap = MAX_BYTES if max_bytes is None else max_bytes
    values, count, names, left, cells = array("d"), 0, None, None, 0
    with _opened(Path(path), cap) as rows:
        for line, row in rows:
            if not cells:
                cells = len(row)
                named = [cell.strip().lower() for cell in row]
                only_last = width is not None and cells == width + 1
                left = named.index(LABEL) if LABEL in named else cells - 1 if only_last else None
                if not all(_is_number(cell) for column, cell in enumerate(row) if column != left) or LABEL in named:
                    names = row
                    continue
            if len(row) != cells:
                raise FormatError(f"read_csv: {path}, line {line} must have {cells} cells; got {len(row)}")
            values.extend(_value(cell, path, line, column) for column, cell in enumerate(row) if column != left)
            count += 1
            if 8 * len(values) > cap:
                raise FormatError(f"read_csv: {path} must take at most {cap} bytes (max_bytes raises the cap)")
    if not count or not len(values):
        raise DomainError(f"read_csv: {path} must hold at least one sample; it holds none")
    x = np.frombuffer(values, np.float64).reshape(count, -1)
    return x, None if left is None else (names[left] if names else str(left + 1))


@contextmanager
def _opened(source: Path, cap: int) -> Iterator[Iterator[tuple[int, list[str]]]]:
    """Open a table of at most `cap` bytes; yields its rows."""
    try:
        size = source.stat().st_size
        if size > cap:
            raise FormatError(f"read_csv: {source} must have at most {cap} bytes; got {size}")
        with source.open(newline="", encoding="utf-8-sig") as text:
            yield _rows(text, source)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"read_csv: {source} must be a readable text table in UTF-8; {error}") from error


def read_targets(
    function: str,
    cells: Sequence[str],
    lines: Sequence[int] | NDArray[np.int64],
    path: str | Path,
    classes: Sequence[str] | None,
) -> tuple[Array, tuple[str, ...] | None]:
    """Return targets that were read as text, and the names of the classes where they are words.

    Parameters
    ----------
    function : str
        Name of the caller, for messages.
    cells : sequence of str
    lines : sequence of int
        Line of each.
    path : str or Path
    classes : sequence of str or None
        Names of the model's outputs.

    Raises
    ------
    FormatError
        If one is missing.
    DomainError
        If a number is not finite, or a word is not among `classes`.
    """
    if all(map(_is_number, cells)):
        return _numbers(function, cells, lines, path), None
    return _classes(function, cells, lines, path, classes)


def _lines(text: TextIO, path: str | Path) -> Iterator[str]:
    """Return the lines of a text, none longer than `_MAX_LINE`."""
    while line := text.readline(_MAX_LINE):
        if len(line) == _MAX_LINE and line[-1] not in "\r\n":
            raise FormatError(f"read_csv: {path} must have lines of less than {_MAX_LINE} characters")
        yield line


def _rows(text: TextIO, path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Return the rows that are not empty, each with its line number."""
    reader = csv.reader(_lines(text, path), strict=True)
    for row in reader:
        if row:
            longest = max(map(len, row))
            if longest > _MAX_CELL or any("\0" in cell for cell in row):
                what = f"a cell of {longest} characters" if longest > _MAX_CELL else "a NUL"
                raise FormatError(f"read_csv: {path}, line {reader.line_num} must be text of a table; got {what}")
            yield reader.line_num, row


def _parse(
    rows: Iterator[tuple[int, list[str]]], path: str | Path, cap: int
) -> tuple[Array, list[str], NDArray[np.int64]]:
    """Return the features (N, F), the targets as text, and the line of each."""
    first_line, first = next(rows, (0, []))
    second = next(rows, None)
    if not first or (second is None and _is_header(first, None)):
        raise DomainError(f"read_csv: {path} must hold at least one sample; it holds none")
    width, label = len(first), len(first) - 1
    if _is_header(first, None if second is None else second[1]):
        names = [cell.strip().lower() for cell in first]
        if names.count(LABEL) > 1:
            raise FormatError(f"read_csv: {path} must have one column named 'label'; got {names.count(LABEL)}")
        label = names.index(LABEL) if LABEL in names else label
        waiting = [] if second is None else [second]
    else:
        waiting = [(first_line, first)] + ([] if second is None else [second])
    if width < 2:
        raise FormatError(
            f"read_csv: {path} must have features and a target, separated by commas; got one column, {first[0]!r:.60}"
        )
    values, targets, lines = array("d"), [], array("q")
    words: dict[str, str] = {}
    while waiting or (found := next(rows, None)):
        line, row = waiting.pop(0) if waiting else found  # type: ignore[misc]
        if len(row) != width:
            raise FormatError(f"read_csv: {path}, line {line} must have {width} cells; got {len(row)}")
        values.extend(_value(cell, path, line, column) for column, cell in enumerate(row) if column != label)
        targets.append(words.setdefault(row[label], row[label]))
        lines.append(line)
        if 8 * len(values) > cap:
            raise FormatError(f"read_csv: {path} must take at most {cap} bytes (max_bytes raises the cap)")
    x = np.frombuffer(values, np.float64).reshape(len(targets), width - 1)
    return x, targets, np.frombuffer(lines, np.int64)


def _value(cell: str, path: str | Path, line: int, column: int) -> float:
    """Return the number in a cell."""
    if not _is_number(cell):
        raise FormatError(f"read_csv: {path}, line {line}, column {column + 1} must be a number; got {cell!r:.60}")
    value = float(cell)
    if not math.isfinite(value):
        raise DomainError(
            f"read_csv: {path}, line {line}, column {column + 1} must be finite; got {cell.strip()!r:.60}"
        )
    return value


def _is_header(first: Sequence[str], second: Sequence[str] | None) -> bool:
    """Return whether the first row names the columns.

    A target may be a word, so that the last cell alone makes no header: only where the row below has a number there.
    """
    if any(not _is_number(cell) for cell in first[:-1]) or first[-1].strip().lower() == LABEL:
        return True
    return not _is_number(first[-1]) and (
        second is None or (_is_number(second[-1]) and math.isfinite(float(second[-1])))
    )


def _is_number(cell: str) -> bool:
    """Return whether a cell is written as a number; NaN and infinity are, and are refused later by name."""
    try:
        float(cell)
    except ValueError:
        return False
    # Python reads 1_000 as a number, a table does not mean it.
    return "_" not in cell


def _numbers(
    function: str, targets: Sequence[str], lines: Sequence[int] | NDArray[np.int64], path: str | Path
) -> Array:
    """Return targets that are numbers, as int64 where all are whole."""
    y = np.array([float(cell) for cell in targets])
    finite = np.isfinite(y)
    if not finite.all():
        where = int(np.argmin(finite))
        raise DomainError(f"{function}: `y` must be finite; {path}, line {lines[where]} has {targets[where].strip()!r}")
    is_whole = bool(np.all((y == np.rint(y)) & (np.abs(y) < 2**53)))
    return y.astype(np.int64) if is_whole else y


def _classes(
    function: str,
    targets: Sequence[str],
    lines: Sequence[int] | NDArray[np.int64],
    path: str | Path,
    classes: Sequence[str] | None,
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the labels of targets that are words, and the names they count in."""
    for cell, line in zip(targets, lines, strict=True):
        # A missing entry, however the writer of the table spells it, is no class.
        if cell.strip().lower() in _MISSING:
            raise FormatError(f"{function}: {path}, line {line} must have a label; got {cell!r}")
    of_cell = {cell: unicodedata.normalize("NFC", cell.strip()) for cell in set(targets)}
    found = tuple(sorted(set(of_cell.values())))
    index = {name: label for label, name in enumerate(found)}
    labels = np.array([index[of_cell[cell]] for cell in targets], dtype=np.int64)
    if classes is None:
        return labels, found
    return number_by_name(function, found, labels, classes, str(path)), tuple(classes)
