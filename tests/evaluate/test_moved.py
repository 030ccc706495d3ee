"""What moved, and answers counted by class, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.errors import ShapeError
from lieref.evaluate.class_counts import class_counts
from lieref.evaluate.moved import moved


def test_moved_by_hand() -> None:
    base = {"w": np.array([[3.0, 0.0, -4.0]], np.float32), "left": np.ones(2, np.float32)}
    (found,) = moved(base, {"w": np.array([[3.0, 2.0, 0.0]], np.float32)})
    assert found == {
        "tensor": "w", "numbers": 3, "base_norm": 5.0, "change_norm": pytest.approx(20**0.5), "nonzero": 2,
        "signs_kept": 1, "zeros": 1, "zeros_after": 1,
    }  # fmt: skip


def test_moved_refuses_another_shape() -> None:
    with pytest.raises(ShapeError, match="moved: `adapted` must have the shapes"):
        moved({"w": np.ones(3)}, {"w": np.ones((3, 1))})


def test_class_counts_by_hand() -> None:
    found = class_counts(np.array([0, 1, 1, 2, 2]), np.array([0, 1, 2, 2, 0]), 4)
    assert found == {
        "samples": [2, 1, 2, 0],
        "right": [1, 1, 1, 0],
        "confusion": [[1, 0, 1, 0], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]],
    }


def test_class_counts_of_many_classes_have_no_matrix() -> None:
    labels = np.arange(40)
    found = class_counts(labels, labels, 40)
    assert found is not None
    assert found["confusion"] is None
    assert found["right"] == [1] * 40
    assert class_counts(labels, labels, 1001) is None
