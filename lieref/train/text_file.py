"""Sentences and their targets from a table or from lines of JSON, line by line; every refusal names the line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lieref._check import check_int
from lieref.errors import DomainError, FormatError

TEXT_FIELD, LABEL_FIELD = "text", "label"
"""Names of the column, or key, of the sentences and of the targets where no others are given."""

SUFFIXES = (".csv", ".jsonl", ".tsv")
"""Kinds of files that may hold sentences."""

MAX_TEXT_BYTES = 2**26
"""Size of a file of sentences that is read without being asked for: 64 MiB, twenty times SST-2, chosen. Text takes some
fifty times its size while it becomes ids."""

MAX_LINE = 2**20
"""Bytes of a line: a novel in one of them is a file of another kind."""


@dataclass(frozen=True)
class Texts:
    """Sentences as a file has them.

    Attributes
    ----------
    texts : list of str
        None of them empty.
    cells : list of str or None
        Target of each as it is written; None where none were asked for.
    lines : list of int
        Line of each, from 1.
    """

    texts: list[str]
    cells: list[str] | None
    lines: list[int]


def read_texts(
    path: str | Path,
    *,
    text: str = TEXT_FIELD,
    label: str | None = LABEL_FIELD,
    max_bytes: int | None = None,
) -> Texts:
    """Read sentences with their targets.

    Parameters
    ----------
    path : str or Path
        UTF-8 with or without a byte order mark. ``.tsv``: a header, then cells separated by tabs, quotes as any other
        character. ``.csv``: the same with commas, cells in quotes where they hold one. ``.jsonl``: an object a line.
        Empty lines are passed over.
    text : str
        Column or key of the sentences.
    label : str or None
        Of the targets, words or numbers; None where there are to be none.
    max_bytes : int, optional
        Cap on the size of the file; `MAX_TEXT_BYTES` by default.

    Returns
    -------
    Texts

    Raises
    ------
    FormatError
        If the file is missing, too large, of another kind or broken, or lacks a column or key.
    DomainError
        If there is no sentence, or one is empty.
    """
    source = Path(path)
    cap = MAX_TEXT_BYTES if max_bytes is None else check_int("load_data", "max_bytes", max_bytes, low=1)
    read = _json_rows if source.suffix.lower() == ".jsonl" else _table_rows
    found = Texts([], None if label is None else [], [])
    try:
        size = source.stat().st_size
        if size > cap:
            raise FormatError(
                f"load_data: {path} must have at most {cap} bytes of text; got {size} (max_bytes raises the cap)"
            )
        with source.open("rb") as file:
            for line, sentence, target in read(file, path, text, label):
                if not sentence.strip():
                    raise DomainError(f"load_data: {path}, line {line} must hold a text; got an empty one")
                found.texts.append(sentence)
                found.lines.append(line)
                if found.cells is not None:
                    found.cells.append(target)
    except OSError as error:
        raise FormatError(f"load_data: {path} must be a readable file of text; {error}") from error
    if not found.texts:
        raise DomainError(f"load_data: {path} must hold at least one text; it holds none")
    return found


def _lines(file: BinaryIO, path: str | Path) -> Iterator[tuple[int, str]]:
    """Return the lines as text, each with its number, from 1."""
    number = 0
    while raw := file.readline(MAX_LINE + 1):
        number += 1
        if len(raw) > MAX_LINE:
            raise FormatError(f"load_data: {path}, line {number} must have at most {MAX_LINE} bytes")
        if b"\0" in raw:
            raise FormatError(f"load_data: {path}, line {number} must be text; got a NUL byte")
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(f"load_data: {path}, line {number} must be UTF-8; {error.reason}") from error


def _table_rows(file: BinaryIO, path: str | Path, text: str, label: str | None) -> Iterator[tuple[int, str, str]]:
    """Return line, sentence and target of the rows of a table; the target is "" where there is to be none."""
    cells = _csv_cells(file, path) if Path(path).suffix.lower() == ".csv" else _tsv_cells(file, path)
    header: list[str] | None = None
    places: list[int] = []
    for line, row in cells:
        if header is None:
            header = [cell.strip() for cell in row]
            places = [_place(header, name, path) for name in (text, label) if name is not None]
            continue
        if len(row) != len(header):
            raise FormatError(f"load_data: {path}, line {line} must have {len(header)} cells; got {len(row)}")
        yield line, row[places[0]], row[places[1]] if len(places) > 1 else ""


def _place(header: list[str], name: str, path: str | Path) -> int:
    """Return which column has the name, the only one."""
    if header.count(name) != 1:
        held = ", ".join(header)
        what = "more than one" if name in header else f"the columns {held:.100}"
        raise FormatError(f"load_data: the header of {path} must have one column {name!r}; got {what}")
    return header.index(name)


def _tsv_cells(file: BinaryIO, path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Return the cells of each line; a quote means nothing, as sentences begin with them."""
    for number, line in _lines(file, path):
        if line.strip("\r\n"):
            yield number, line.rstrip("\r\n").split("\t")


def _csv_cells(file: BinaryIO, path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Return the cells of each row, with the number of its last line; a cell in quotes may hold line breaks."""
    reader = csv.reader((line for _, line in _lines(file, path)), strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise FormatError(f"load_data: {path}, line {reader.line_num} must be a row of a table; {error}") from error
        if row is None:
            return
        if row:
            yield reader.line_num, row


def _json_rows(file: BinaryIO, path: str | Path, text: str, label: str | None) -> Iterator[tuple[int, str, str]]:
    """Return line, sentence and target of lines of JSON; the target is "" where there is to be none."""
    for number, line in _lines(file, path):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"load_data: {path}, line {number} must be JSON; {error}") from error
        wanted = [name for name in (text, label) if name is not None]
        if not isinstance(item, dict) or any(name not in item for name in wanted):
            held = f"the keys {', '.join(item):.100}" if isinstance(item, dict) else type(item).__name__
            raise FormatError(
                f"load_data: {path}, line {number} must be an object with {' and '.join(map(repr, wanted))}; got {held}"
            )
        sentence = item[text]
        if not isinstance(sentence, str):
            kind = type(sentence).__name__
            raise FormatError(f"load_data: {path}, line {number} must have a string {text!r}; got {kind}")
        if any("\ud800" <= letter <= "\udfff" or letter == "\0" for letter in sentence):
            raise FormatError(f"load_data: {path}, line {number} must be text; got a NUL or half a character")
        yield number, sentence, "" if label is None else _json_target(item[label], path, number, label)


def _json_target(value: Any, path: str | Path, line: int, label: str) -> str:
    """Return a target as a table would have it."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        kind = "null" if value is None else type(value).__name__
        raise FormatError(f"load_data: {path}, line {line} must have a word or a number as {label!r}; got {kind}")
    return value if isinstance(value, str) else repr(value)
