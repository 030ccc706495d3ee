"""Tables: what is read of them, and one clear error for each thing that is no table of numbers."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, FormatError
from lieref.train.data import load_data
from lieref.train.table import read_csv


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "x", "y"),
    [
        ("1,2,0\n3,4,1\n", [[1, 2], [3, 4]], [0, 1]),
        ("1,2,0\r\n3,4,1", [[1, 2], [3, 4]], [0, 1]),
        ("a,b,c\n1,2,0\n\n3,4e1,1", [[1, 2], [3, 40]], [0, 1]),
        ("\ufeffa,label,b\n1,0,2\n3,1,4\n", [[1, 2], [3, 4]], [0, 1]),
        ("0,1,Label\n1,2,0\n3,4,1\n", [[1, 2], [3, 4]], [0, 1]),
        ("0,1,target\n1,2,0\n3,4,1\n", [[1, 2], [3, 4]], [0, 1]),
        ("1,2,0.5\n3,4,1\n", [[1, 2], [3, 4]], [0.5, 1.0]),
        ('"1","2","5"\n', [[1, 2]], [5]),
    ],
)
def test_csv_is_read(text: str, x: Any, y: Any, tmp_path: Path) -> None:
    data = load_data(write(tmp_path / "d.csv", text))
    np.testing.assert_array_equal(data.x, x)
    np.testing.assert_array_equal(data.y, y)
    assert data.y.dtype == np.asarray(y).dtype
    assert data.class_names is None


@pytest.mark.parametrize("header", ["", "a,b,label\n", "a,b,c\n", "0,1,label\n"])
def test_words_are_names_of_classes(header: str, tmp_path: Path) -> None:
    data = load_data(write(tmp_path / "d.csv", header + "1,2,dog\n3,4, cat\n5,6,dog\n"))
    np.testing.assert_array_equal(data.x, [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(data.y, [1, 0, 1])
    assert data.class_names == ("cat", "dog")


def test_words_are_matched_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "1,2,dog\n3,4,e\u0301mu\n")
    data = load_data(path, classes=["dog", "\u00e9mu"])
    np.testing.assert_array_equal(data.y, [0, 1])
    with pytest.warns(UserWarning, match="no sample of 1 of the 3 classes: cat"):
        data = load_data(path, classes=["cat", "\u00e9mu", "dog"])
    np.testing.assert_array_equal(data.y, [2, 1])
    with pytest.raises(DomainError, match=r"d.csv must be among the model's \(cat, dog\); got \u00e9mu"):
        load_data(path, classes=["cat", "dog"])


def test_numbers_are_outputs_whatever_the_names(tmp_path: Path) -> None:
    data = load_data(write(tmp_path / "d.csv", "1,2,7\n3,4,2\n"), classes=["7", "2"])
    np.testing.assert_array_equal(data.y, [7, 2])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("", DomainError, "at least one sample"),
        ("a,b\n", DomainError, "at least one sample"),
        ("\n\n", DomainError, "at least one sample"),
        ("1,2\n3\n", FormatError, "line 2 must have 2 cells; got 1"),
        ("a,b\n1,2\n3,4,5\n", FormatError, "line 3 must have 2 cells; got 3"),
        ("a,b\n1,2\n?,3\n", FormatError, r"line 3, column 1 must be a number; got '\?'"),
        ("1_0,b,0\n1_0,2,3\n", FormatError, "line 2, column 1 must be a number; got '1_0'"),
        ("label,label\n1,2\n", FormatError, "one column named 'label'; got 2"),
        ("1,2,nan\n", DomainError, "`y` must be finite; .*line 1 has 'nan'"),
        ("1,2,0\n1,2,1e400\n", DomainError, "`y` must be finite; .*line 2 has '1e400'"),
        ("1,inf,0\n", DomainError, "line 1, column 2 must be finite; got 'inf'"),
        (f"1,{'9' * 400},0\n", DomainError, "line 1, column 2 must be finite"),
        (f"1,{'9' * 2000},0\n", FormatError, "line 1 must be text of a table; got a cell of 2000 characters"),
        ("1,2,cat\n1,2,\n", FormatError, "line 2 must have a label"),
        ("1,2,cat\n1,2,NaN\n", FormatError, "line 2 must have a label"),
        ("1,2,cat\n1,2,a\0b\n", FormatError, "must be .*text"),
        ('1,2,"cat\n', FormatError, "readable text table"),
        ("1;2;0\n3;4;1\n", FormatError, "separated by commas; got one column, '1;2;0'"),
        ("7\n", FormatError, "features and a target"),
    ],
)
def test_csv_is_refused(text: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        read_csv(write(tmp_path / "d.csv", text))


@pytest.mark.parametrize("data", [b"\xff\xfe\x00\x01", "1,2,0\n".encode("utf-16"), "1,2,\u00e9\n".encode("latin-1")])
def test_csv_that_is_not_utf_8_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(data)
    with pytest.raises(FormatError, match="readable text table in UTF-8"):
        read_csv(tmp_path / "d.csv")


def test_csv_above_the_cap_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "d.csv", "1,2,0\n" * 10)
    with pytest.raises(FormatError, match="at most 59 bytes; got 60"):
        read_csv(tmp_path / "d.csv", max_bytes=59)
    with pytest.raises(FormatError, match="take at most 150 bytes"):
        read_csv(tmp_path / "d.csv", max_bytes=150)
    assert len(read_csv(tmp_path / "d.csv", max_bytes=160)[0]) == 10


def test_a_cell_takes_eight_bytes(tmp_path: Path) -> None:
    """Two characters a cell: the table is four times the file, its growth at most as much again."""
    path = write(tmp_path / "d.csv", (",".join("7" * 201) + "\n") * 1000)
    tracemalloc.start()
    try:
        x, _, _ = read_csv(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert x.nbytes == 8 * 200 * 1000
    assert peak < 2 * x.nbytes + 2**20


def test_a_line_has_an_end(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "1," * 2**23 + "1\n")
    with pytest.raises(FormatError, match="lines of less than 16777216 characters"):
        read_csv(path)
