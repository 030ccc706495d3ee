"""Columns of predictions and labels from a file: .csv, .json or .npz.

    .csv    UTF-8, a header, cells separated by commas; a class is a whole number or a word
    .json   one object of lists, {"label": [3, 7], "a": [3, 1], "b": [3, 7]}
    .npz    arrays of whole numbers; a prediction may be an (N, C) array of scores, the greatest of which counts

Names of columns, in any case of their letters: `label`, `id` (an image, once), `prediction` of one classifier, or `a`
and `b` of two; others are left alone.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref._types import Array
from lieref.adapter.strict_json import parse_json
from lieref.errors import DomainError, FormatError, ShapeError
from lieref.train.cap import MAX_BYTES
from lieref.train.npz import npz_names, read_npz

NAMES = ("id", "label", "prediction", "a", "b")
SUFFIXES = (".csv", ".json", ".npz")
_MISSING = {"", "nan", "na", "n/a", "null", "none"}
_MOST_DIGITS = 18
_MOST_LETTERS = 200
"""Of a word: the longest decides how much memory all of them take."""


@dataclass(frozen=True)
class Column:
    """Classes or names of images, one a row.

    Attributes
    ----------
    values : (N,) int64 or str
        Whole numbers at least 0 where all of them are (in `id` also below 0), else words.
    classes : int or None
        How many classes there are, where scores tell.
    """

    values: NDArray[Any]
    classes: int | None = None

    @property
    def is_words(self) -> bool:
        """Return whether the values are words."""
        return self.values.dtype.kind == "U"


def read_columns(path: str | Path) -> dict[str, Column]:
    """Return the columns of a file by name, all of one length.

    Raises
    ------
    FormatError
        If the file is missing, damaged, too large or of another kind, or a value is missing.
    DomainError, ShapeError
        If there is no row, a class is below 0 or no whole number, or the columns differ in length.
    """
    source = Path(path)
    suffix = source.suffix.lower()
    if suffix not in SUFFIXES:
        raise FormatError(f"read_columns: {path} must end in {', '.join(SUFFIXES)}; got {suffix or 'no ending'!r}")
    found = _of_npz(source) if suffix == ".npz" else {
        name: _column(name, values, source) for name, values in _of_text(source, suffix).items()
    }  # fmt: skip
    lengths = {name: len(column.values) for name, column in found.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ShapeError(f"read_columns: the columns of {path} must have one length; got {told}")
    if not lengths:
        raise FormatError(f"read_columns: {path} must have columns named {', '.join(NAMES)}; got none of them")
    if 0 in lengths.values():
        raise DomainError(f"read_columns: {path} must have at least one row; got none")
    return found


def _of_text(path: Path, suffix: str) -> dict[str, list[str]]:
    """Return the columns of a text file as text."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise FormatError(f"read_columns: {path} must have at most {MAX_BYTES} bytes; got {size}")
        if suffix == ".json":
            return _of_json(path)
        with path.open(newline="", encoding="utf-8-sig") as text:
            return _of_rows(csv.reader(text, strict=True), path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise FormatError(f"read_columns: {path} must be a readable text file in UTF-8; {reason}") from error


def _of_rows(rows: Iterable[list[str]], path: Path) -> dict[str, list[str]]:
    kept = [(number, row) for number, row in enumerate(rows, 1) if row]
    if not kept:
        raise FormatError(f"read_columns: {path} must have a header; it is empty")
    header = [cell.strip().lower() for cell in kept[0][1]]
    for name in NAMES:
        if header.count(name) > 1:
            raise FormatError(f"read_columns: {path} must have each column once; got {name!r} twice")
    for number, row in kept[1:]:
        if len(row) != len(header):
            raise FormatError(
                f"read_columns: {path}, row {number} must have {len(header)} cells like the header; got {len(row)}"
            )
    return {
        name: [row[place].strip() for _, row in kept[1:]] for place, name in enumerate(header) if name in NAMES
    }  # fmt: skip


def _of_json(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, values in parse_json(path.read_bytes(), str(path)).items():
        name = key.strip().lower()
        if name not in NAMES:
            continue
        if name in found or not isinstance(values, list):
            raise FormatError(f"read_columns: {path} must hold {name!r} once, as a list")
        for place, value in enumerate(values):
            if isinstance(value, (bool, list, dict)):
                raise FormatError(
                    f"read_columns: {path}, {name} {place} must be a whole number or a word; got {type(value).__name__}"
                )
        found[name] = ["" if value is None else str(value).strip() for value in values]
    return found


def _column(name: str, texts: list[str], path: Path) -> Column:
    """Return numbers where all of the texts are whole numbers, else words."""
    for place, text in enumerate(texts):
        if text.lower() in _MISSING:
            raise FormatError(f"read_columns: {path} must have a value in every row; {name} of row {place} is missing")
        if len(text) > _MOST_LETTERS:
            raise FormatError(
                f"read_columns: {name} of {path} must be at most {_MOST_LETTERS} characters long; row {place} has "
                f"{len(text)}"
            )
    numbers = [_whole(text) for text in texts]
    if any(number is None for number in numbers):
        odd = next((text for text, number in zip(texts, numbers, strict=True) if number is None and _is_real(text)), "")
        if odd and name != "id":
            raise DomainError(f"read_columns: {name} of {path} must be whole numbers or words; got {odd[:40]}")
        return Column(np.array(texts, dtype=np.str_))
    return _checked(name, np.array(numbers, dtype=np.int64), path)


def _of_npz(path: Path) -> dict[str, Column]:
    wanted = {name.lower(): name for name in npz_names(path) if name.lower() in NAMES}
    arrays = read_npz(path, tuple(wanted.values()))
    return {name: _of_array(name, arrays[held], path) for name, held in wanted.items()}


def _of_array(name: str, array: Array, path: Path) -> Column:
    if array.ndim == 2 and name in ("prediction", "a", "b") and array.shape[1] > 1:
        if not np.isfinite(array).all():
            raise DomainError(f"read_columns: scores {name} of {path} must be finite; got a NaN or an infinity")
        return Column(np.argmax(array, axis=1).astype(np.int64), array.shape[1])
    if array.ndim != 1:
        raise ShapeError(
            f"read_columns: {name} of {path} must have one number a row, or a prediction one score a class; "
            f"got shape {array.shape}"
        )
    if array.dtype.kind not in "iu":
        odd = array[~(np.isfinite(array) & (array == np.floor(array)))] if array.dtype.kind == "f" else array[:1]
        if odd.size:
            raise DomainError(f"read_columns: {name} of {path} must be whole numbers; got {odd[0]}")
    return _checked(name, array.astype(np.int64), path)


def _checked(name: str, numbers: NDArray[np.int64], path: Path) -> Column:
    if name != "id" and len(numbers) and numbers.min() < 0:
        raise DomainError(f"read_columns: {name} of {path} must be classes from 0 on; got {numbers.min()}")
    return Column(numbers)


def _whole(text: str) -> int | None:
    digits = text[1:] if text[:1] in "+-" else text
    whole, _, zeros = digits.partition(".")
    if not (whole.isascii() and whole.isdigit()) or zeros.strip("0") or len(whole) > _MOST_DIGITS:
        return None
    return int(text.partition(".")[0])


def _is_real(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
