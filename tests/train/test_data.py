"""Data sets: what is accepted, how they are split, and one clear error for each thing that is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, FormatError, ShapeError
from lieref.train.data import Dataset, load_data, split
from lieref.train.npz import read_npz


@pytest.mark.parametrize("name", ["no.npz", "no.csv", "no.txt", "no"])
def test_missing_source_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="`path` must exist; there is no"):
        load_data(tmp_path / name)


def test_unknown_kind_of_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text("1,2")
    with pytest.raises(
        FormatError, match=r"must be an .npz, a .csv or a folder of images, or sentences .*; got .*data.txt"
    ):
        load_data(tmp_path / "data.txt")
    with pytest.raises(FormatError, match="must exist; there is no such file"):
        read_npz(tmp_path / "data.npz")


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.zeros((0, 3)), np.zeros(0, int), DomainError, "at least one sample"),
        (np.zeros((2, 0)), np.zeros(2, int), ShapeError, "at least one value a sample"),
        (np.zeros(4), np.zeros(4, int), ShapeError, r"must have shape \(N, ...\); got \(4,\)"),
        (np.zeros((2, 3), complex), np.zeros(2, int), FormatError, "must hold numbers"),
        (np.array([[0.0, np.nan]]), np.zeros(1, int), DomainError, r"must be finite; got nan at index \(0, 1\)"),
        (np.array([[0.0, -np.inf]]), np.zeros(1, int), DomainError, r"must be finite; got -inf"),
        (np.zeros((2, 3)), np.zeros(3, int), ShapeError, "one entry for each of 2 samples"),
        (np.zeros((1, 3)), np.array(0), ShapeError, "one entry for each of 1 samples"),
    ],
)
def test_dataset_refuses(x: Any, y: Any, error: type[Exception], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=x, y=y)
    with pytest.raises(error, match=message):
        load_data(tmp_path / "d.npz")


def test_split_is_stratified_disjoint_and_repeatable() -> None:
    y = np.repeat([0, 1, 2], [50, 30, 20])
    kept, held = split(y, 0.2, 7, "validation", stratified=True)
    np.testing.assert_array_equal(np.bincount(y[held]), [10, 6, 4])
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(100))
    again = split(y, 0.2, 7, "validation", stratified=True)
    np.testing.assert_array_equal(held, again[1])
    assert not np.array_equal(held, split(y, 0.2, 8, "validation", stratified=True)[1])
    assert not np.array_equal(held, split(y, 0.2, 7, "learning-rate", stratified=True)[1])


def test_split_of_a_regression_is_not_stratified() -> None:
    kept, held = split(np.linspace(0, 1, 40), 0.25, 0, "validation", stratified=False)
    assert (len(kept), len(held)) == (30, 10)


@pytest.mark.parametrize("fraction", [0.0, 1.0, 0.1, -0.5, 1.5, float("nan")])
def test_split_refuses_an_empty_side(fraction: float) -> None:
    with pytest.raises(DomainError):
        split(np.array([0, 0, 1, 1]), fraction, 0, stratified=True)


def test_dataset_keeps_what_it_was_given() -> None:
    x = np.zeros((2, 3), np.uint8)
    assert Dataset(x, np.zeros(2, int)).x is x


def test_samples_of_several_inputs_are_read_by_name(tmp_path: Path) -> None:
    a, b, y = np.arange(12.0).reshape(4, 3), np.arange(4), np.arange(4) % 2
    np.savez(tmp_path / "d.npz", a=a, b=b, y=y, other=np.zeros(9))
    data = load_data(tmp_path / "d.npz", input_name=("a", "b"))
    assert len(data) == 4
    np.testing.assert_array_equal(data.x["a"], a)
    np.testing.assert_array_equal(data.x["b"], b)
    np.testing.assert_array_equal(data.y, y)
    np.savez(tmp_path / "d.npz", x_a=a, a=-a, x_y=b, y=y)
    data = load_data(tmp_path / "d.npz", input_name=("a", "y"))
    np.testing.assert_array_equal(data.x["a"], a)
    np.testing.assert_array_equal(data.x["y"], b)
    np.savez(tmp_path / "d.npz", x_y_p=b, a=a, y_p=y, y_q=y)
    data = load_data(tmp_path / "d.npz", input_name=("a", "y_p"), outputs=("p", "q"))
    np.testing.assert_array_equal(data.x["y_p"], b)
    with pytest.raises(FormatError, match="must hold the array 'c'; it holds"):
        load_data(tmp_path / "d.npz", input_name=("a", "c"), outputs=("p", "q"))


@pytest.mark.parametrize("name", ["d.csv", "folder"])
def test_samples_of_several_inputs_are_in_an_npz(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "d.csv").write_text("a,label\n1,0\n")
    with pytest.raises(FormatError, match=rf"the samples of a, b must be in an .npz, .*{name}"):
        load_data(tmp_path / name, input_name=("a", "b"))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"a": np.zeros((3, 2)), "b": np.full(3, np.nan)}, "`b` must be finite"),
        ({"a": np.zeros((3, 2)), "b": np.zeros((3, 0))}, "`b` must hold at least one value a sample"),
        ({"a": np.zeros((4, 2)), "b": np.zeros(4)}, "one entry for each of 4 samples"),
    ],
)
def test_a_dataset_of_several_inputs_refuses(x: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises((DomainError, ShapeError), match=message):
        Dataset(x, np.zeros(3, int))


def test_a_set_shows_its_samples_and_classes_in_one_line() -> None:
    x = np.zeros((6, 4, 4, 3), np.uint8)
    assert repr(Dataset(x, np.array([0, 0, 1, 1, 2, 2]))) == "Dataset(6 samples: x 4x4x3 uint8, 3 classes of 2 samples)"
    assert repr(Dataset(x, np.array([0, 0, 0, 1, 2, 2]))).endswith("3 classes of 1 to 3 samples)")
    assert repr(Dataset(x, np.zeros((6, 2), np.float32))) == "Dataset(6 samples: x 4x4x3 uint8, targets 2)"
    assert repr(Dataset({"a": x[:, 0], "b": x[:, 0, 0, 0]}, None)) == "Dataset(6 samples: a 4x3 uint8, b number uint8)"
