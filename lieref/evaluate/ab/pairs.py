"""Right or wrong of two classifiers on the same images, from what they predicted and what was right."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lieref.errors import DomainError, FormatError, ShapeError
from lieref.evaluate.ab.columns import Column, read_columns

_ID_DIGITS = 16
"""Of 64 bits: among a million images two have the same by chance once in 37 million tests (n^2 / 2^65)."""


@dataclass(frozen=True)
class Pairs:
    """Two classifiers on the same images.

    Attributes
    ----------
    label, a, b : Column
        What is right, and what the base and the new classifier said; of one length.
    ids : Column or None
        Names of the images, each once.
    """

    label: Column
    a: Column
    b: Column
    ids: Column | None = None

    def __len__(self) -> int:
        return len(self.label.values)

    @property
    def right_a(self) -> NDArray[np.bool_]:
        """Where the base is right."""
        right: NDArray[np.bool_] = self.a.values == self.label.values
        return right

    @property
    def right_b(self) -> NDArray[np.bool_]:
        """Where the new classifier is right."""
        right: NDArray[np.bool_] = self.b.values == self.label.values
        return right

    @property
    def counts(self) -> tuple[int, int, int]:
        """Images that only the new classifier has right, that say nothing, and that only the base has right."""
        won, lost = int((self.right_b & ~self.right_a).sum()), int((self.right_a & ~self.right_b).sum())
        return won, len(self) - won - lost, lost

    @property
    def columns(self) -> dict[str, Column]:
        """Return the columns by the names that they have in a file."""
        named = {"id": self.ids, "label": self.label, "a": self.a, "b": self.b}
        return {name: column for name, column in named.items() if column is not None}

    def to_csv(self) -> bytes:
        """Return the columns as text, which `read_pairs` reads."""
        columns = {name: column.values.tolist() for name, column in self.columns.items()}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return text.getvalue().encode()


def read_pairs(path: str | Path, *, classes: int | None = None) -> Pairs:
    """Return two classifiers from one file with the columns `label`, `a` and `b`, and perhaps `id`.

    Parameters
    ----------
    path : str or Path
        See `columns`.
    classes : int, optional
        How many there are: no number may reach it.

    Raises
    ------
    FormatError, DomainError, ShapeError
        As `read_columns` does, or if a column lacks, a class is out of range or an image comes twice.
    """
    found = read_columns(path)
    lacking = [name for name in ("label", "a", "b") if name not in found]
    if lacking:
        raise FormatError(
            f"read_pairs: {path} must have the columns label, a (the base) and b (the new one); {lacking[0]} is missing"
        )
    pairs = Pairs(found["label"], found["a"], found["b"], found.get("id"))
    return _checked("read_pairs", pairs, str(path), classes)


def join_predictions(
    a: str | Path, b: str | Path, labels: str | Path | None = None, *, classes: int | None = None
) -> Pairs:
    """Return two classifiers from a file of predictions for each.

    Parameters
    ----------
    a, b : str or Path
        With the column `prediction`; see `columns`. Images are matched by `id` where both have it, else they are in one
        order.
    labels : str or Path, optional
        File with the column `label`; by default one of the two has it, or both have the same.
    classes : int, optional
        As for `read_pairs`.

    Raises
    ------
    FormatError, DomainError, ShapeError
        As `read_columns` and `read_pairs` do, or if the files do not have the same images.
    """
    function = "join_predictions"
    one, other = read_columns(a), read_columns(b)
    for path, found in ((a, one), (b, other)):
        if "prediction" not in found:
            raise FormatError(f"{function}: {path} must have the column prediction; got {', '.join(found)}")
        _check_ids(function, found.get("id"), str(path))
    other = _in_order_of(one, other, str(a), str(b))
    told = [(path, found["label"]) for path, found in ((a, one), (b, other)) if "label" in found]
    if labels is not None:
        given = read_columns(labels)
        if "label" not in given:
            raise FormatError(f"{function}: {labels} must have the column label; got {', '.join(given)}")
        _check_ids(function, given.get("id"), str(labels))
        told.append((labels, _in_order_of(one, given, str(a), str(labels))["label"]))
    if not told:
        raise FormatError(f"{function}: {a} or {b} must have the column label, or a file of labels be given; got none")
    for path, column in told[1:]:
        if column.is_words != told[0][1].is_words or not np.array_equal(column.values, told[0][1].values):
            raise DomainError(f"{function}: the labels of {path} must be those of {told[0][0]}; got others")
    pairs = Pairs(told[-1][1], one["prediction"], other["prediction"], one.get("id") or other.get("id"))
    return _checked(function, pairs, f"{a} and {b}", classes)


def right_answers(path: str | Path, *, classes: int | None = None) -> tuple[int, int]:
    """Return how many answers of one classifier are right, and of how many images.

    Parameters
    ----------
    path : str or Path
        With the columns `prediction` and `label`; see `columns`.
    classes : int, optional
        As for `read_pairs`.

    Raises
    ------
    FormatError, DomainError, ShapeError
        As `join_predictions` does.
    """
    pairs = join_predictions(path, path, classes=classes)
    return int(pairs.right_a.sum()), len(pairs)


def ids_of(digests: Sequence[bytes]) -> Column:
    """Return an id for each image from the digest of its samples: the same image on another day has the same.

    What comes more than once among them has its number behind the digest, for an id stands once in a file.
    """
    seen: dict[bytes, int] = {}
    names = []
    for digest in digests:
        seen[digest] = seen.get(digest, 0) + 1
        # A word, whatever its digits: 12e45678 would be read as a number.
        names.append(f"x{digest.hex()[:_ID_DIGITS]}" + ("" if seen[digest] == 1 else f".{seen[digest]}"))
    return Column(np.array(names, dtype=np.str_))


def check_files_apart(function: str, files: Sequence[str | Path]) -> None:
    """Raise `DomainError` if a file is given twice, by its path or by what it holds.

    Raises
    ------
    FormatError
        If a file cannot be read.
    """
    seen: dict[str, str | Path] = {}
    for path in files:
        try:
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError as error:
            raise FormatError(f"{function}: {path} must be a readable file; {error.strerror}") from error
        if digest in seen:
            first = seen[digest]
            same = Path(first).resolve() == Path(path).resolve()
            got = f"{path} twice" if same else f"{first} and {path}, which hold the same"
            raise DomainError(f"{function}: each file must be given once, for its images count once; got {got}")
        seen[digest] = path


def check_apart(function: str, days: Sequence[tuple[str, Pairs]]) -> None:
    """Raise `DomainError` if an image with an id is in two files, or twice in one."""
    seen: dict[str, str] = {}
    for source, pairs in days:
        for name in () if pairs.ids is None else pairs.ids.values.tolist():
            if str(name) in seen:
                raise DomainError(
                    f"{function}: each image must count once; {str(name)[:60]!r} is in {seen[str(name)]} and {source}"
                )
            seen[str(name)] = source


def _in_order_of(one: dict[str, Column], other: dict[str, Column], first: str, second: str) -> dict[str, Column]:
    """Return the other columns with their rows in the order of the first, by their ids where both have them."""
    function = "join_predictions"
    rows, others = (len(next(iter(found.values())).values) for found in (one, other))
    if rows != others:
        raise ShapeError(
            f"{function}: both files must have the same images; got {rows:,} in {first} and {others:,} in {second}"
        )
    if "id" not in one or "id" not in other:
        return other
    place = {str(name): row for row, name in enumerate(other["id"].values.tolist())}
    missing = [str(name) for name in one["id"].values.tolist() if str(name) not in place]
    if missing:
        raise DomainError(f"{function}: {second} must have every image of {first}; {missing[0][:60]!r} is missing")
    order = np.array([place[str(name)] for name in one["id"].values.tolist()])
    return {name: Column(column.values[order], column.classes) for name, column in other.items()}


def _check_ids(function: str, ids: Column | None, source: str) -> None:
    if ids is None:
        return
    values, counts = np.unique(ids.values, return_counts=True)
    if counts.max() > 1:
        raise DomainError(
            f"{function}: {source} must have each image once; id {str(values[counts.argmax()])[:60]!r} comes twice"
        )


def _checked(function: str, pairs: Pairs, source: str, classes: int | None) -> Pairs:
    """Return the pairs if their classes can be compared and are in range."""
    _check_ids(function, pairs.ids, source)
    columns = {"label": pairs.label, "a": pairs.a, "b": pairs.b}
    if len({column.is_words for column in columns.values()}) > 1:
        kinds = ", ".join(f"{name} {'words' if column.is_words else 'numbers'}" for name, column in columns.items())
        raise DomainError(f"{function}: labels and predictions of {source} must be of one kind; got {kinds}")
    known = [count for count in (classes, pairs.a.classes, pairs.b.classes) if count is not None]
    if known and not pairs.label.is_words:
        for name, column in columns.items():
            if column.values.max() >= min(known):
                raise DomainError(
                    f"{function}: {name} of {source} must be a class from 0 to {min(known) - 1}; "
                    f"got {column.values.max()}"
                )
    if not np.isin(pairs.label.values, np.concatenate([pairs.a.values, pairs.b.values])).any():
        raise DomainError(
            f"{function}: labels and predictions of {source} must share a class; no label, such as "
            f"{str(pairs.label.values[0])[:60]!r}, is ever predicted"
        )
    return pairs
