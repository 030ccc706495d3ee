"""Self-training on a small network: what it learns, what it refuses, and that it is the same run whatever happens."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import lieref
from lieref.errors import DomainError, DTypeError, LierefError, UnsupportedError
from lieref.evaluate.unlabelled.pseudo_labels import LeftOutWarning, judge
from lieref.evaluate.unlabelled.self_training import folds, self_train
from lieref.train.epoch import Progress
from tests.cli.helpers import CLASSES, small_network

OPTIONS: dict[str, Any] = {"epochs": 6, "batch_size": 16, "learning_rate": 0.05, "augment": (), "threads": 1}


def samples(count: int, seed: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Images whose mean is their class."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % CLASSES
    return (spread * rng.normal(size=(count, 2, 6, 5)) + 2 * y[:, None, None, None]).astype(np.float32), y


@pytest.fixture
def model(tmp_path: Path) -> lieref.Model:
    onnx.save(small_network(), tmp_path / "base.onnx")
    return lieref.load(tmp_path / "base.onnx").attach("full")


def parameters(model: lieref.Model) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in (*model.parameters().items(), *model.statistics.items())}


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def train(model: lieref.Model, **changes: Any) -> Any:
    x, y = samples(45, 0)
    return self_train(model, x, y, samples(90, 1)[0], **{**OPTIONS, "teachers": 3, **changes})


def test_it_learns_from_what_teachers_are_sure_of(model: lieref.Model) -> None:
    done = train(model, confidence=0.5)
    labels = done.labels
    assert (labels.samples, labels.judged, labels.teachers, labels.left_out) == (90, 45, 3, "")
    assert sum(labels.balance) == labels.confident > 30
    assert labels.statistics
    # The student has seen the labelled samples and the confident ones.
    steps = -(-(45 + labels.confident) // 16)
    assert done.history.recipe["task"]["name"] == "soft-classes"
    assert len(done.history.epochs) == 6
    assert steps > -(-45 // 16)
    assert model.task is not None
    assert model.task["name"] == "classes"
    x, y = samples(150, 2)
    assert np.mean(model.predict(x).argmax(axis=1) == y) > 0.8
    assert f"{labels.confident} have a pseudo-label" in labels.describe()
    assert done.labels.to_dict()["balance"] == list(labels.balance)


def test_statistics_are_those_of_all_samples(model: lieref.Model, tmp_path: Path) -> None:
    train(model)
    plain = lieref.load(tmp_path / "base.onnx")
    both = np.concatenate([samples(45, 0)[0], samples(90, 1)[0]])
    plain.estimate_statistics(both)
    for name, value in plain.statistics.items():
        # 135 samples, all of them, each once, in another order: sums of 135 * 30 numbers.
        np.testing.assert_allclose(model.statistics[name], value, rtol=135 * 30 * 2**-24, atol=1e-6)


def test_the_same_call_gives_the_same_bits_and_another_seed_others(model: lieref.Model, tmp_path: Path) -> None:
    train(model)
    first = parameters(model)
    again = lieref.load(tmp_path / "base.onnx").attach("full")
    train(again, threads=2)
    assert_same(first, parameters(again))
    other = lieref.load(tmp_path / "base.onnx").attach("full")
    train(other, seed=1)
    assert any(np.any(first[name] != value) for name, value in other.parameters().items())


@pytest.mark.parametrize("stop", [("teacher 2", 2), ("student", 3)])
def test_an_interrupted_run_changes_nothing_and_goes_on_to_the_same_bits(
    model: lieref.Model, tmp_path: Path, stop: tuple[str, int]
) -> None:
    def interrupt(event: Progress) -> None:
        if event.phase.startswith(stop[0]) and event.epoch == stop[1]:
            raise KeyboardInterrupt

    before = parameters(model)
    with pytest.raises(KeyboardInterrupt):
        train(model, checkpoint=tmp_path / "run", progress=interrupt)
    assert_same(before, parameters(model))
    seen: list[str] = []
    train(model, checkpoint=tmp_path / "run", resume=True, progress=lambda event: seen.append(event.phase))
    assert not any(phase.startswith("teacher 1") for phase in seen)
    whole = lieref.load(tmp_path / "base.onnx").attach("full")
    train(whole)
    assert_same(parameters(whole), parameters(model))


def test_validation_samples_have_their_own_labels(model: lieref.Model) -> None:
    done = train(model, validation=0.2)
    assert done.labels.judged == 36
    assert done.history.best_epoch is not None
    x, y = samples(30, 3)
    assert train(model, validation=(x, y)).history.epochs[-1].validation_metrics["accuracy"] > 0.5


def test_labels_no_better_than_chance_are_left_out(model: lieref.Model, tmp_path: Path) -> None:
    x, y = samples(60, 0)
    wrong = np.random.default_rng(5).permutation(y)
    with pytest.warns(LeftOutWarning, match="no better than chance"):
        done = self_train(model, x, wrong, samples(90, 1)[0], **{**OPTIONS, "teachers": 3, "learning_rate": 1e-3})
    assert done.labels.confident == 0
    assert "no pseudo-labels" in done.labels.describe()
    assert done.history.recipe["task"]["name"] == "classes"
    # What is left is a run on the labelled samples, with the statistics of all.
    plain = lieref.load(tmp_path / "base.onnx").attach("full")
    plain.statistics = model.statistics
    lieref.fit(plain, x, wrong, **{**OPTIONS, "learning_rate": 1e-3})
    assert_same(parameters(plain), parameters(model))


def test_nothing_sure_is_left_out(model: lieref.Model) -> None:
    with pytest.warns(LeftOutWarning, match=r"largest mean probability of 3 teachers is 0\.\d\d, and 0.999 is asked"):
        done = train(model, confidence=0.999)
    assert done.labels.confident == 0


def test_statistics_alone(tmp_path: Path) -> None:
    onnx.save(small_network(), tmp_path / "base.onnx")
    model = lieref.load(tmp_path / "base.onnx").attach("norm-stats")
    done = train(model)
    assert "norm-stats trains nothing" in done.labels.describe()
    assert model.statistics
    assert not model.wants_statistics


def test_what_the_base_is_told_once(model: lieref.Model) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(model, augment="auto")
    texts = [str(warning.message) for warning in caught]
    assert sum("chance" in text for text in texts) <= 1


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"task": "numbers"}, UnsupportedError, "`task` must be 'classes' .* got 'numbers'"),
        ({"task": lieref.make_task("classes", ignore_index=0)}, UnsupportedError, "no ignore_index"),
        ({"teachers": 1}, DomainError, "`teachers` must be at least 2"),
        ({"teachers": 46}, DomainError, "at most the 45 labelled samples; got 46"),
        ({"confidence": 1.0}, DomainError, "below 1"),
        ({"epochs": 0}, DomainError, "`epochs`"),
    ],
)
def test_bad_options_change_nothing(
    model: lieref.Model, changes: dict[str, Any], error: type[LierefError], words: str
) -> None:
    before = parameters(model)
    with pytest.raises(error, match=words):
        train(model, **changes)
    assert_same(before, parameters(model))


def test_bad_samples_change_nothing(model: lieref.Model) -> None:
    (x, y), before = samples(45, 0), parameters(model)
    with pytest.raises(DTypeError, match=r"must be floats in the units of `x`, float32 .* got uint8 from 0 to 0"):
        self_train(model, x, y, np.zeros((4, 2, 6, 5), np.uint8), **OPTIONS)
    with pytest.raises(LierefError, match="`y` must have one entry"):
        self_train(model, x, y[1:], x, **OPTIONS)
    with pytest.raises(LierefError, match="fit the model's input"):
        self_train(model, x, y, np.zeros((4, 2, 7, 5), np.float32), **OPTIONS)
    with pytest.raises(DomainError, match="method attached"):
        self_train(model.unload(), x, y, x, **OPTIONS)
    assert list(before) != list(parameters(model))


def test_folds_hold_equal_shares_of_every_class() -> None:
    y = np.array([0] * 10 + [1] * 5 + [2] * 5)
    fold = folds(y, 5, seed=3)
    assert sorted(np.bincount(fold)) == [4] * 5
    for label, share in ((0, 2), (1, 1), (2, 1)):
        assert sorted(np.bincount(fold[y == label])) == [share] * 5


def test_what_is_judged_is_counted() -> None:
    sure, half = [0.9, 0.1], [0.4, 0.6]
    answers = [np.array([sure, half, half]), np.array([sure, sure, half])]
    y = np.arange(40) % 2
    held_out = np.where(y[:, None] == 0, sure, half)  # right on all, sure on the even ones
    labels, confident = judge(answers, held_out, y, 0.7, statistics=False)
    # Mean probabilities of the likeliest class: 0.9, 0.65, 0.6.
    assert confident.tolist() == [True, False, False]
    assert (labels.right, labels.judged, labels.right_confident, labels.judged_confident) == (40, 40, 20, 20)
    assert labels.agreement == pytest.approx(2 / 3)
    assert labels.balance == (1, 0)


def test_no_labelled_sample_may_be_as_sure() -> None:
    y = np.arange(40) % 2
    held_out = np.where(y[:, None] == 0, [0.6, 0.4], [0.4, 0.6])
    labels, _ = judge([np.array([[0.9, 0.1]])], held_out, y, 0.7, statistics=False)
    assert labels.judged_confident == 0
    assert labels.describe().endswith("right on 100.0% of 40 labelled samples that they had not seen")
