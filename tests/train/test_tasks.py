"""Metrics and targets of the tasks, by hand, and against every path of a small sequence."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from toy_model import SoftmaxRegression, blobs

from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.train.augment import Augmentation
from lieref.train.ctc import ConnectionistTemporalClassification, edit_distance, greedy_labels
from lieref.train.data import Dataset
from lieref.train.loop import fit
from lieref.train.task import Task
from lieref.train.task_registry import make_task


def measured(task: Task, logits: Any, y: Any) -> dict[str, float]:
    return task.metrics(task.counts(np.asarray(logits, np.float64), np.asarray(y)))


def answered(task: Any, logits: Any, y: Any) -> dict[str, float]:
    return {name: value for name, value in measured(task, logits, y).items() if name != "mean_average_precision"}


def test_f1_and_accuracy_of_several_labels() -> None:
    # Two of three said are right, one yes is missed: f1 = 4 / (4 + 2); 4 of 6 answers are right.
    logits, y = [[1.0, -1.0, 2.0], [3.0, -2.0, -1.0]], [[1, 0, 0], [1, 1, 0]]
    assert answered(make_task("multilabel"), logits, y) == pytest.approx({"f1": 4 / 6, "accuracy": 4 / 6})
    # Without the missed one, three answers of yes or no are left to the first row and two to the second.
    ignoring = make_task("multilabel", ignore_index=-1)
    assert answered(ignoring, logits, [[1, 0, 0], [1, -1, 0]]) == pytest.approx({"f1": 4 / 5, "accuracy": 4 / 5})
    assert measured(ignoring, [[-1.0]], [[0]]) == {"accuracy": 1.0}, "nothing said and nothing there has no f1"


def test_rmse_mae_and_r2() -> None:
    # Errors 1, -1, 3, 1; squares about the means 2 and 4: 2 + 8.
    found = measured(make_task("numbers"), [[2.0, 1.0], [6.0, 7.0]], [[1.0, 2.0], [3.0, 6.0]])
    assert found == pytest.approx({"rmse": math.sqrt(12 / 4), "mae": 6 / 4, "r2": 1 - 12 / 10})
    assert set(measured(make_task("numbers"), [[2.0], [3.0]], [[1.0], [1.0]])) == {"rmse", "mae"}


def test_r2_of_batches_far_from_zero_does_not_cancel() -> None:
    from lieref.train.task import add_counts

    task, rng = make_task("numbers"), np.random.default_rng(0)
    y = 1e8 + rng.standard_normal((90, 2))
    logits = y + 0.5 * rng.standard_normal((90, 2))
    total: Any = {}
    for start in range(0, 90, 7):
        total = add_counts(total, task.counts(logits[start : start + 7], y[start : start + 7]))
    exact = 1 - np.sum(np.square(logits - y)) / np.sum(np.square(y - y.mean(axis=0)))
    assert task.metrics(total)["r2"] == pytest.approx(exact, rel=1e-7)


def test_mean_iou_is_over_the_classes_that_occur() -> None:
    # Of four pixels two are right; class 0: 1 of 2, class 1: 1 of 3, class 2: 0 of 1; class 3 is nowhere.
    logits = np.eye(4)[np.array([[[0, 1], [1, 1]]])].transpose(0, 3, 1, 2)
    found = measured(make_task("dense"), logits, [[[0, 1], [0, 2]]])
    assert found == pytest.approx({"mean_iou": (1 / 2 + 1 / 3 + 0) / 3, "pixel_accuracy": 2 / 4})


def test_classes_of_pixels_may_be_the_last_axis(rng: np.random.Generator) -> None:
    scores, y = rng.standard_normal((7, 4, 5, 6)), rng.integers(0, 4, (7, 5, 6))
    first, last = (make_task("dense", label_smoothing=0.1).fitted(y, shape) for shape in ((4, 5, 6), (5, 6, 4)))
    assert [first.to_dict()["class_axis"], last.to_dict()["class_axis"]] == [1, -1]
    moved = scores.transpose(0, 2, 3, 1).copy()
    assert measured(last, moved, y) == measured(first, scores, y)
    (value, bar), (same, back) = last.loss.value_and_grad(moved, y), first.loss.value_and_grad(scores, y)
    assert value == pytest.approx(same, rel=1e-14)
    np.testing.assert_allclose(bar.transpose(0, 3, 1, 2), back, rtol=1e-13)
    # Where both would fit they are the second axis, and what an adapter has recorded stays.
    assert make_task("dense").fitted(y[:, :5, :5], (5, 5, 5)).to_dict()["class_axis"] == 1
    assert make_task(last).fitted(y, (4, 5, 6)).to_dict()["class_axis"] == -1


def test_masks_of_another_size_name_both_orders() -> None:
    words = r"must have shape \(N, 5, 6\), or \(N, 4, 5\) if the classes are the last axis, .* got \(7, 3, 6\)"
    with pytest.raises(ShapeError, match=words):
        make_task("dense").targets("test", np.zeros(7), np.zeros((7, 3, 6), int), (4, 5, 6))
    with pytest.raises(DomainError, match="`class_axis` must be 1, -1 or None; got 2"):
        make_task("dense", class_axis=2)


def test_perplexity_of_equal_scores_is_the_vocabulary() -> None:
    task = make_task("tokens", ignore_index=0)
    ids = np.array([[3, 1, 2, 0, 0], [4, 4, 0, 0, 0]])
    y = task.targets("test", ids, None, (5, 7))
    np.testing.assert_array_equal(y, [[1, 2, -1, -1, -1], [4, -1, -1, -1, -1]])
    found = measured(task, np.zeros((2, 5, 7)), y)
    assert found == pytest.approx({"perplexity": 7.0, "accuracy": 0.0})
    assert task.loss.value_and_grad(np.zeros((2, 5, 7)), y)[0] == pytest.approx(math.log(7))
    np.testing.assert_array_equal(make_task("tokens").targets("test", ids, None, (5, 7))[0], [1, 2, 0, 0, -1])
    given = np.array([[-1, 2, 5, -1, -1], [-1, -1, 6, -1, -1]])
    np.testing.assert_array_equal(task.targets("test", ids, given, (5, 7)), given)


def test_a_perplexity_that_overflows_is_a_number() -> None:
    logits = np.array([[[0.0, 1e5], [0.0, 0.0]]])
    assert measured(make_task("tokens"), logits, [[0, -1]])["perplexity"] == math.exp(700.0)


@pytest.mark.parametrize(
    ("frames", "labels"),
    [([1, 1, 0, 1, 2, 2], [1, 1, 2]), ([0, 0], []), ([2, 0, 0, 2], [2, 2]), ([1, 2, 1], [1, 2, 1])],
)
def test_greedy_decoding(frames: list[int], labels: list[int]) -> None:
    assert greedy_labels(np.eye(3)[[frames]], blank=0) == [labels]


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("flaw", "lawn", 2), ("a", "a", 0)],
)
def test_edit_distance(a: str, b: str, distance: int) -> None:
    assert edit_distance([*map(ord, a)], [*map(ord, b)]) == distance


def test_edit_distance_rate_and_exact_match() -> None:
    logits = np.eye(4)[np.array([[1, 0, 2], [3, 3, 0]])]
    found = measured(make_task("sequence"), logits, [[1, 2, -1], [3, 1, 2]])
    assert found == pytest.approx({"edit_distance_rate": 2 / 5, "exact_match": 1 / 2})


@pytest.mark.parametrize("blank", [0, 1, 2])
@pytest.mark.parametrize("target", [(), (0,), (2, 2), (0, 2), (2, 0, 2)])
def test_ctc_is_the_sum_over_all_paths(target: tuple[int, ...], blank: int, rng: np.random.Generator) -> None:
    """The definition, [Graves06] eq. 3: of all 3^5 paths those that become the target, with the labels moved around."""
    frames, classes = 5, 3
    labels = [(label + blank + 1) % classes if (label + blank + 1) % classes != blank else (blank + 1) % classes
              for label in target]  # fmt: skip
    logits = rng.standard_normal((2, frames, classes))
    p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    other = (blank + 1) % classes
    y = np.array([[*labels, *[-1] * (3 - len(labels))], [other, -1, -1]])
    want = []
    for sample, goal in enumerate((labels, [other])):
        paths = itertools.product(range(classes), repeat=frames)
        become = (path for path in paths if [k for k, _ in itertools.groupby(path) if k != blank] == goal)
        want.append(-math.log(sum(math.prod(p[sample, t, k] for t, k in enumerate(path)) for path in become)))
    value, _ = ConnectionistTemporalClassification(blank).value_and_grad(logits, y)
    assert value == pytest.approx(np.mean(want), rel=1e-13)


def test_sequences_of_several_lengths_are_filled_up() -> None:
    task = make_task("sequence")
    found = task.targets("test", np.zeros((3, 1)), [[1, 2], [], [3, 1, 1]], (6, 4))
    np.testing.assert_array_equal(found, [[1, 2, -1], [-1, -1, -1], [3, 1, 1]])
    with pytest.raises(DTypeError, match="must be integer labels"):
        task.targets("test", np.zeros((2, 1)), [[1.5, 2.0], [1.0, 1.0]], (6, 4))
    with pytest.raises(DomainError, match="the target at index 1 needs 4"):
        task.targets("test", np.zeros((2, 1)), [[1, 2], [3, 1, 1]], (3, 4))
    with pytest.raises(DomainError, match="behind the end; got 2 at index"):
        task.targets("test", np.zeros((1, 1)), np.array([[1, -1, 2]]), (6, 4))


def test_masks_move_with_their_images() -> None:
    """A model of one pixel's colour learns a mask from flipped images only if the mask is flipped too."""
    from lieref.train.augment import apply, draw
    from lieref.train.epoch import Part

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 3, 6, 5)).astype(np.uint8)
    masks = np.argmax(images, axis=1)
    assert make_task("dense").image_axes(masks, (2, 3)) == (1, 2)
    draws = draw(Augmentation(flip=True, shift=2), 20, 0, 0)
    indices = np.arange(20)
    moved, moved_masks = apply(images, indices, draws, (2, 3)), apply(masks, indices, draws, (1, 2))
    np.testing.assert_array_equal(np.argmax(moved, axis=1), moved_masks)
    assert (moved_masks != masks).any()
    assert len(Part(images, masks, indices)) == 20


def test_images_as_targets_have_the_axes_of_the_samples() -> None:
    task, y = make_task("numbers"), np.zeros((7, 6, 5, 3))
    assert (task.image_axes(y, (1, 2)), task.image_axes(y, (2, 3))) == ((1, 2), (2, 3))
    assert task.image_axes(np.zeros((7, 4, 1, 1)), (2, 3)) is None
    assert task.image_axes(np.zeros((7, 4)), (2, 3)) is None


def test_an_ignored_label_is_no_part_of_the_accuracy_or_of_what_the_base_knows() -> None:
    x, y = blobs(60)
    marked = np.where(np.arange(60) % 4 == 0, 9, y)
    task = make_task("classes", ignore_index=9)
    model = SoftmaxRegression()
    history = fit(model, x, marked, task=task, epochs=6, batch_size=8, validation=0.25)
    kept = marked != 9
    assert np.mean(model.logits(x[kept]).argmax(axis=1) == y[kept]) > 0.9
    assert history.epochs[-1].accuracy is not None
    assert history.epochs[-1].accuracy > 0.9
    # What was ignored had no influence: other samples in its place train to the same bits.
    twin = SoftmaxRegression()
    fit(twin, np.where(kept[:, None], x, 0 * x), marked, task=task, epochs=6, batch_size=8, validation=0.25)
    np.testing.assert_array_equal(twin.weights, model.weights)


@pytest.mark.parametrize(("task", "shape"), [("dense", (3, 2, 2)), ("tokens", (2, 5))])
def test_targets_of_several_lengths_are_refused(task: str, shape: tuple[int, ...]) -> None:
    x, ragged = np.zeros((2, *shape), np.float32), [[0, 1], [1]]
    with pytest.raises(ShapeError, match="`y` must hold targets of one shape"):
        make_task(task).targets("fit", x, ragged, shape)


def test_targets_of_a_data_set_may_be_lists() -> None:
    with pytest.raises(ShapeError, match=r"one entry for each of 2 samples; got \(3,\)"):
        Dataset(np.zeros((2, 4), np.float32), [0, 1, 2])
    with pytest.raises(ShapeError, match="one shape"):
        Dataset(np.zeros((2, 4), np.float32), [[0], [0, 1]])
