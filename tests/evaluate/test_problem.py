"""A problem is what it holds: its digest, its folds, and the network it gives."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest

import lieref
from lieref.errors import DomainError, UnsupportedError
from lieref.evaluate.problem import Problem, fold_of, make_problem, samples_digest, taken
from tests.cli.helpers import small_network
from tests.evaluate.jobs import problem, samples


def test_digest_tells_whatever_differs() -> None:
    x, y = samples(30, 0)
    first = problem().digest
    assert problem().digest == first
    other_x, other_y = x.copy(), y.copy()
    other_x[3, 0, 0, 0] += 1
    other_y[3] = (other_y[3] + 1) % 3
    changed = [
        problem(x=other_x), problem(y=other_y), problem(y=y.astype(np.int32)), problem(x_test=None, y_test=None),
        problem(classes=("a", "b", "c")), problem(load={"padding_id": 0}), problem(x_unlabelled=x),
        problem(base=small_network(1).SerializeToString()), problem(task=lieref.make_task("classes", ignore_index=2)),
        problem(start={"adapter_config.json": b"{}"}),
    ]  # fmt: skip
    assert len({first, *(each.digest for each in changed)}) == 1 + len(changed)


def test_digest_of_samples_of_every_form() -> None:
    forms = [None, np.zeros(2), np.zeros((2, 1)), np.zeros(2, int), [[1, 2], [3]], {"a": np.zeros(2)}, np.zeros(0)]
    assert len({samples_digest(form) for form in forms}) == len(forms)
    assert samples_digest(np.arange(6).reshape(2, 3).T) == samples_digest(np.array([[0, 3], [1, 4], [2, 5]]))


def test_a_problem_goes_to_a_worker_whole() -> None:
    here = problem()
    there = pickle.loads(pickle.dumps(here))
    assert there.digest == here.digest
    np.testing.assert_array_equal(there.model().predict(here.x_test), here.model().predict(here.x_test))


def test_model_is_the_base_again_whatever_was_done_with_it() -> None:
    job = problem()
    before = job.model().logits(job.x_test)
    model = job.model().attach("norm-stats+liera", r=1)
    lieref.fit(model, job.x, job.y, epochs=1)
    assert np.any(model.logits(job.x_test) != before)
    again = job.model()
    assert again.attached == []
    assert again.task is None
    assert again.threads == 1
    np.testing.assert_array_equal(again.logits(job.x_test), before)


def test_folds_hold_every_class_alike_and_do_not_depend_on_training() -> None:
    y = np.repeat([0, 1, 2], [20, 10, 5])
    x = np.zeros((35, 2, 6, 5), np.float32)
    folds = fold_of(problem(x=x, y=y), 5, 0)
    for label, each in ((0, 4), (1, 2), (2, 1)):
        np.testing.assert_array_equal(np.bincount(folds[y == label], minlength=5), each)
    np.testing.assert_array_equal(folds, fold_of(problem(x=x, y=y), 5, 0))
    assert np.any(folds != fold_of(problem(x=x, y=y), 5, 1))


@pytest.mark.parametrize("folds", [1, 31])
def test_folds_without_samples_are_refused(folds: int) -> None:
    with pytest.raises(DomainError, match="`folds` must be 2 to the number of samples, 30"):
        fold_of(problem(), folds, 0)


def test_taken_of_every_form() -> None:
    some = np.array([2, 0])
    assert taken([[1], [2, 3], [4]], some) == [[4], [1]]
    np.testing.assert_array_equal(taken({"a": np.arange(3)}, some)["a"], some)
    assert taken(None, some) is None


def test_make_problem_reads_the_file_as_the_model_was(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(small_network(), path)
    model = lieref.load(path, output="logits")
    x, y = samples(6, 0)
    job = make_problem(path, model, x, y, classes=("a", "b", "c"))
    assert job.model().output_weights == {"logits": 1.0}
    assert job.model().classes == ("a", "b", "c")
    np.testing.assert_array_equal(job.model().logits(x), model.logits(x))


def test_tensors_outside_the_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(small_network(), path, save_as_external_data=True, location="net.bin", size_threshold=0)
    with pytest.raises(UnsupportedError, match="must hold its tensors itself"):
        make_problem(path, lieref.load(path), *samples(6, 0))


def test_targets_without_samples_are_refused() -> None:
    with pytest.raises(DomainError, match="`x_test` must be given"):
        problem(x_test=None)
    with pytest.raises(DomainError, match="as many samples as targets; got 30 and 4"):
        Problem(b"", np.zeros((30, 1)), np.zeros(4))
