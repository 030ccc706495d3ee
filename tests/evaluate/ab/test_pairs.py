from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lieref.errors import DomainError, FormatError, LierefError, ShapeError
from lieref.evaluate.ab.columns import read_columns
from lieref.evaluate.ab.pairs import check_apart, join_predictions, read_pairs

LABEL, A, B = [0, 1, 2, 2, 1], [0, 1, 1, 2, 0], [0, 1, 2, 1, 1]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def csv_of(path: Path, **columns: list[object]) -> Path:
    rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    return write(path, "\n".join(rows) + "\n")


def test_all_formats_say_the_same(tmp_path: Path) -> None:
    files = [csv_of(tmp_path / "d.csv", label=LABEL, a=A, B=B), write(
        tmp_path / "d.json", json.dumps({"label": LABEL, "a": A, "b": B, "note": "ours"}))]  # fmt: skip
    np.savez(tmp_path / "d.npz", label=np.array(LABEL, np.float32), a=np.array(A, np.uint8), b=np.eye(3)[B])
    for path in (*files, tmp_path / "d.npz"):
        pairs = read_pairs(path)
        assert pairs.right_a.tolist() == [True, True, False, True, False]
        assert pairs.right_b.tolist() == [True, True, True, False, True]
        assert pairs.counts == (2, 2, 1)
        assert len(pairs) == 5


def test_classes_may_be_words(tmp_path: Path) -> None:
    path = csv_of(tmp_path / "d.csv", id=["x", "y", "z"], label=["cat", "dog", "3"], a=["cat", "cat", "3"],
                  b=["cat", "dog", "ant"])  # fmt: skip
    pairs = read_pairs(path)
    assert pairs.counts == (1, 1, 1)
    again = write(tmp_path / "again.csv", pairs.to_csv().decode())
    assert again.read_text() == path.read_text()
    assert read_pairs(again).counts == pairs.counts


def test_two_files_are_matched_by_id_or_by_order(tmp_path: Path) -> None:
    a = csv_of(tmp_path / "a.csv", id=[10, 11, 12, 13, 14], prediction=A)
    b = csv_of(tmp_path / "b.csv", id=[14, 13, 12, 11, 10], prediction=B[::-1])
    labels = csv_of(tmp_path / "l.csv", label=LABEL[::-1], id=[14, 13, 12, 11, 10])
    pairs = join_predictions(a, b, labels)
    assert pairs.counts == (2, 2, 1)
    assert pairs.ids is not None
    assert pairs.ids.values.tolist() == [10, 11, 12, 13, 14]
    plain = csv_of(tmp_path / "p.csv", prediction=A, label=LABEL)
    assert join_predictions(plain, csv_of(tmp_path / "q.csv", prediction=B)).counts == (2, 2, 1)
    both = csv_of(tmp_path / "r.csv", prediction=B, label=LABEL)
    assert join_predictions(plain, both).counts == (2, 2, 1)


def refused(error: type[LierefError], words: str, *paths: Path, **options: object) -> None:
    read = read_pairs if len(paths) == 1 else join_predictions
    with pytest.raises(error, match=words):
        read(*paths, **options)  # type: ignore[operator]


def test_two_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    a = csv_of(tmp_path / "a.csv", id=[10, 11, 12], prediction=[0, 1, 2], label=[0, 1, 2])
    short = csv_of(tmp_path / "s.csv", prediction=[0, 1])
    refused(ShapeError, "the same images; got 3 in .* and 2 in", a, short)
    other = csv_of(tmp_path / "o.csv", id=[10, 11, 13], prediction=[0, 1, 2])
    refused(DomainError, "every image of .*; '12' is missing", a, other)
    twice = csv_of(tmp_path / "t.csv", id=[10, 11, 11], prediction=[0, 1, 2])
    refused(DomainError, "each image once; id '11' comes twice", a, twice)
    labels = csv_of(tmp_path / "l.csv", id=[10, 11, 12], prediction=[0, 1, 2], label=[0, 1, 1])
    refused(DomainError, "the labels of .*l.csv must be those of .*a.csv", a, labels)
    without = csv_of(tmp_path / "w.csv", prediction=[0, 1, 2])
    refused(FormatError, "must have the column label", without, without)
    refused(FormatError, "l.csv must have the column label; got prediction", without, without,
            csv_of(tmp_path / "l.csv", prediction=[0, 1, 2]))  # fmt: skip
    refused(FormatError, "must have the column prediction; got a, b", without,
            csv_of(tmp_path / "n.csv", a=[0, 1, 2], b=[0, 1, 2]))  # fmt: skip
    words = csv_of(tmp_path / "x.csv", prediction=["cat", "dog", "cat"])
    refused(DomainError, "of one kind; got label numbers, a numbers, b words", a, words)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("label,a,b\n0,1,\n", FormatError, "b of row 0 is missing"),
        ("label,a,b\nnan,1,1\n", FormatError, "label of row 0 is missing"),
        ("label,a,b\n-1,1,1\n", DomainError, "label of .* must be classes from 0 on; got -1"),
        ("label,a,b\n0.5,1,1\n", DomainError, "whole numbers or words; got 0.5"),
        ("label,a,b\n0,1\n", FormatError, "row 2 must have 3 cells like the header; got 2"),
        ("label,a,b\n", DomainError, "at least one row"),
        ("", FormatError, "must have a header; it is empty"),
        ("label,a,a,b\n0,0,0,0\n", FormatError, "each column once; got 'a' twice"),
        ("label,a\n0,0\n", FormatError, "label, a .* and b .*; b is missing"),
        ("x,y\n0,0\n", FormatError, "must have columns named id, label"),
        ("label,a,b\n0,1,1\n1,2,2\n", None, ""),
        (f"label,a,b\n{'x' * 201},x,x\n", FormatError, "at most 200 characters long; row 0 has 201"),
        ("label,a,b\n7,1,1\n8,2,2\n", DomainError, "must share a class; no label, such as '7'"),
        ("id,label,a,b\n5,1,1,1\n5,2,2,2\n", DomainError, "id '5' comes twice"),
        ('label,a,b\n"0,1,1\n', FormatError, "readable text file"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, error: type[LierefError] | None, words: str) -> None:
    path = write(tmp_path / "d.csv", text)
    if error is None:
        assert read_pairs(path).counts == (0, 2, 0)
    else:
        refused(error, words, path)


def test_classes_out_of_range_are_refused(tmp_path: Path) -> None:
    path = csv_of(tmp_path / "d.csv", label=[0, 1, 3], a=[0, 1, 2], b=[0, 1, 2])
    assert read_pairs(path).counts == (0, 3, 0)
    refused(DomainError, "label of .* must be a class from 0 to 2; got 3", path, classes=3)
    np.savez(tmp_path / "s.npz", prediction=np.eye(3), label=np.array([0, 1, 3]))
    refused(DomainError, "label of .* must be a class from 0 to 2; got 3", tmp_path / "s.npz", tmp_path / "s.npz")


@pytest.mark.parametrize(
    ("arrays", "error", "words"),
    [
        ({"label": np.array([0.5, 1])}, DomainError, "label of .* must be whole numbers; got 0.5"),
        ({"label": np.array([np.nan, 1])}, DomainError, "label of .* must be whole numbers; got nan"),
        ({"label": np.array([0, 1, 1])}, ShapeError, "one length; got label 3, a 2, b 2"),
        ({"label": np.zeros((2, 2), int)}, ShapeError, r"label of .* got shape \(2, 2\)"),
        ({"a": np.array([[0.1, np.nan], [1, 0]])}, DomainError, "scores a of .* must be finite"),
        ({"label": np.array([-1, 1])}, DomainError, "from 0 on; got -1"),
        ({"label": np.array([True, False])}, DomainError, "must be whole numbers; got True"),
        ({"label": np.array(["x", "y"])}, FormatError, "must hold numbers"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, arrays: dict, error: type[LierefError], words: str) -> None:
    np.savez(tmp_path / "d.npz", **{"label": np.array([0, 1]), "a": np.array([0, 1]), "b": np.array([1, 1]), **arrays})
    refused(error, words, tmp_path / "d.npz")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("d.json", "[1, 2]", "d.json"),
        ("d.json", '{"label": [0, null], "a": [0, 1], "b": [0, 1]}', "label of row 1 is missing"),
        ("d.json", '{"label": 3}', "as a list"),
        ("d.json", '{"label": [true]}', "label 0 must be a whole number or a word; got bool"),
        ("d.json", '{"label": [0], "Label": [0]}', "once, as a list"),
        ("d.txt", "label,a,b\n", "must end in .csv, .json, .npz; got '.txt'"),
        ("d.npz", "label,a,b\n", "must be a whole .npz file"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        read_columns(write(tmp_path / name, text))


def test_missing_files_and_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    for suffix in ("csv", "json", "npz"):
        with pytest.raises(FormatError, match=f"none.{suffix}"):
            read_columns(tmp_path / f"none.{suffix}")
    (tmp_path / "d.csv").write_bytes(b"label,a,b\n\xff,1,1\n")
    with pytest.raises(FormatError, match="UTF-8"):
        read_columns(tmp_path / "d.csv")


def test_an_image_counts_once(tmp_path: Path) -> None:
    one = read_pairs(csv_of(tmp_path / "1.csv", id=["x", "y"], label=[0, 1], a=[0, 1], b=[0, 1]))
    other = read_pairs(csv_of(tmp_path / "2.csv", id=["z", "y"], label=[0, 1], a=[0, 1], b=[0, 1]))
    nameless = read_pairs(csv_of(tmp_path / "3.csv", label=[0, 1], a=[0, 1], b=[0, 1]))
    check_apart("ab look", [("1.csv", one), ("3.csv", nameless), ("3.csv", nameless)])
    with pytest.raises(DomainError, match=r"'y' is in 1.csv and 2.csv"):
        check_apart("ab look", [("1.csv", one), ("2.csv", other)])
