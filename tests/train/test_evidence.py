"""What the base says of the training data: whether it knows them, and whether left and right matter to it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from lieref.train.afterwards import StillFallingWarning
from lieref.train.epoch import Part
from lieref.train.evidence import (
    AtChanceWarning,
    Evidence,
    FlipWarning,
    OneClassWarning,
    gather_evidence,
    warn_one_class,
)
from lieref.train.loop import fit
from tests.train.toy_model import SoftmaxRegression, blobs


class Left(SoftmaxRegression):
    """Compares the left half of an image with the right half: class 0 where the left is brighter, else 1.

    With `rows` it compares the upper half with the lower one, which a mirror leaves alone.
    """

    def __init__(self, *, rows: bool = False) -> None:
        super().__init__((None, 3, 8, 8), 2)
        weights = np.zeros((3, 8, 8, 2), np.float32)
        first, second = (weights[:, :4], weights[:, 4:]) if rows else (weights[:, :, :4], weights[:, :, 4:])
        first[..., 0], second[..., 1] = 1, 1
        self.weights[...] = weights.reshape(-1, 2) / 1000


def halves(count: int, *, rows: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return images that are brighter in one half, and the half."""
    rng = np.random.default_rng(5)
    y = np.arange(count) % 2
    x = rng.integers(0, 20, (count, 3, 8, 8))
    for label in (0, 1):
        half = slice(4 * label, 4 * label + 4)
        x[y == label, :, half if rows else slice(None), slice(None) if rows else half] += 100
    return x.astype(np.uint8), y


def said(model: Any, x: np.ndarray, y: np.ndarray, **options: Any) -> tuple[list[Warning], Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", StillFallingWarning)  # of the end of a run, not of the base
        history = fit(model, x, y, **{"epochs": 1, "learning_rate": 1e-6, **options})
    return [w.message for w in caught if isinstance(w.message, Warning)], history.recipe["augmentation"]["flip"]


@pytest.mark.parametrize(
    ("rows", "flips", "words"),
    [
        (
            True,
            True,
            "training images are mirrored, for the base is right on 100.0% of 200 of them mirrored and on 100.0% as "
            "they are; --augment none (in Python augment=()) leaves them as they are",
        ),
        (
            False,
            False,
            "training images are not mirrored, for the base is right on 100.0% of 32 of them but on 0.0% mirrored; "
            "--augment flip (in Python augment=('flip',)) mirrors them all the same",
        ),
    ],
)
def test_auto_flips_where_the_base_recognises_mirrored_images(rows: bool, flips: bool, words: str) -> None:
    notes, flipped = said(Left(rows=rows), *halves(200, rows=rows))
    assert flipped == flips
    assert [type(note) for note in notes] == [FlipWarning]
    assert words in str(notes[0])


def test_a_base_that_knows_nothing_justifies_no_flip() -> None:
    x, y = halves(200, rows=True)
    notes, flipped = said(Left(), x, y)
    assert not flipped
    assert [type(note) for note in notes] == [AtChanceWarning]
    assert "training images are not mirrored, --augment flip" in str(notes[0])


def test_few_classes_that_a_mirror_turns_are_enough() -> None:
    """Ten of 512 lost, none gained; without a mirror's harm as many are gained as lost."""
    assert not Evidence(512, 500, 0.1, 10, lost=10, gained=0).survives_mirror
    assert Evidence(512, 400, 0.1, 10, lost=30, gained=25).survives_mirror
    assert Evidence(512, 400, 0.1, 10, lost=0, gained=0).survives_mirror
    assert not Evidence(512, 55, 0.1, 10, lost=0, gained=0).survives_mirror


@pytest.mark.parametrize("augment", [(), ("flip",), ("shift(1)",)])
def test_what_is_asked_for_is_done_without_a_word(augment: tuple[str, ...]) -> None:
    notes, flipped = said(Left(), *halves(64), augment=augment)
    assert notes == []
    assert flipped == ("flip" in augment)


def test_a_base_at_chance_is_said_once_with_its_likely_reasons() -> None:
    x, y = blobs(120)
    notes, _ = said(SoftmaxRegression(), x, y, epochs=3, validation=0.2)
    assert [type(note) for note in notes] == [AtChanceWarning]
    for words in (
        *("33.3% of 96", "no better than chance (33.3%): nearly always wrong preprocessing", "scaling"),
        *("float32 from -", "order of the features", "numbers"),
    ):
        assert words in str(notes[0])


def test_of_images_the_scaling_and_the_channels_are_named() -> None:
    x, y = halves(200)
    notes, _ = said(Left(), x, 1 - y, epochs=3, augment=())
    assert "uint8 from 0 to 119; check the scaling (--preprocess imagenet, unit or raw), the order of the" in str(
        notes[0]
    )


class Guess(SoftmaxRegression):
    """Answers with the class that the sample's first feature names; counts the samples it predicts."""

    def __init__(self, classes: int) -> None:
        super().__init__((None, 1), classes)
        self.predicted = 0

    def logits(self, x: np.ndarray, *, layout: str | None = None) -> np.ndarray:
        self.predicted += len(x)
        return super().logits(x) + 10 * np.eye(len(self.bias), dtype=np.float32)[x[:, 0].astype(int)]


def answers(model: Guess, x: np.ndarray, y: np.ndarray) -> Evidence:
    return gather_evidence(model, Part(x[:, None].astype(np.float32), y, np.arange(len(y))), 0)


@pytest.mark.parametrize(
    ("share", "classes", "fewest", "most", "at_chance"),
    [
        pytest.param(1.0, 10, 32, 32, False, id="it knows them"),
        pytest.param(0.5, 10, 32, 32, False, id="it knows half of them"),
        pytest.param(0.0, 1000, 64, 64, True, id="it knows none of a thousand classes"),  # 0.9^32 = 3 %, 0.9^64 = 0.1 %
        pytest.param(0.0, 10, 64, 256, True, id="a guess among ten is right now and then"),
        pytest.param(0.04, 2, 256, 512, True, id="hardly better than a guess among two"),
    ],
)
def test_looking_ends_where_the_answer_is_clear(
    share: float, classes: int, fewest: int, most: int, at_chance: bool
) -> None:
    rng = np.random.default_rng(2)
    y, guess = rng.integers(0, classes, (2, 2000))
    model = Guess(classes)
    found = answers(model, np.where(rng.random(2000) < share, y, guess), y)
    assert fewest <= found.samples <= most
    assert found.is_at_chance == at_chance
    assert model.predicted == found.samples


def test_looking_several_times_is_wrong_no_more_often_than_once() -> None:
    """A base at chance passes for one that knows the samples once in 44 times at most, whenever it is looked at."""
    rng = np.random.default_rng(3)
    for classes in (2, 10, 1000):
        passed = 0
        for _ in range(400):
            y, guess = rng.integers(0, classes, (2, 512))
            passed += not answers(Guess(classes), guess, y).is_at_chance
        assert passed <= 400 / 44 + 3 * (400 / 44) ** 0.5


def test_a_run_too_short_for_a_look_judges_the_base_by_its_first_step() -> None:
    x, y = blobs(34)
    model = SoftmaxRegression()
    looked: list[int] = []
    predict = model.logits
    model.logits = lambda x, **options: (looked.append(len(x)), predict(x, **options))[1]  # type: ignore[method-assign]
    notes, _ = said(model, x, y, batch_size=33)
    assert max(looked) == 33  # the first step itself: the toy predicts there
    assert [type(note) for note in notes] == [AtChanceWarning]
    assert "of 33 training samples, which" in str(notes[0])


@pytest.mark.parametrize(("batch", "steps", "samples"), [(8, 4, 32), (9, 4, 34), (31, 2, 34), (1, 32, 32)])
def test_small_batches_need_further_steps(batch: int, steps: int, samples: int) -> None:
    y, guess = np.arange(34) % 3, np.arange(34) // 3 % 3
    notes, _ = said(Guess(3), guess[:, None].astype(np.float32), y, batch_size=batch)
    assert [type(note) for note in notes] == [AtChanceWarning]
    assert f"of {samples} training samples in its first {steps} steps" in str(notes[0])
    assert said(Guess(3), y[:, None].astype(np.float32), y, batch_size=batch)[0] == []


def trained(x: np.ndarray, y: np.ndarray) -> SoftmaxRegression:
    model = SoftmaxRegression()
    fit(model, x, y, epochs=20, batch_size=16)
    return model


@pytest.mark.parametrize("damage", ["labels", "scale"])
def test_a_base_that_knew_the_data_in_another_form_is_at_chance(damage: str) -> None:
    x, y = blobs(300)
    model = trained(x, y)
    assert said(model, x, y)[0] == []
    match damage:
        case "labels":
            y = (y + 1) % 3
        case "scale":
            x = x + 1e4
    assert [type(note) for note in said(trained(*blobs(300)), x, y)[0]] == [AtChanceWarning]


@pytest.mark.parametrize(
    ("count", "classes"), [(31, 3), (60, 1)], ids=["too few samples to tell", "one class to mistake"]
)
def test_nothing_is_said_where_nothing_can_be_told(count: int, classes: int) -> None:
    x, y = blobs(count)
    notes = [type(note) for note in said(SoftmaxRegression(), x, y % classes)[0]]
    assert notes == ([OneClassWarning] if classes == 1 else [])  # nothing of the base


def test_a_guess_is_judged_by_the_classes_it_takes() -> None:
    """A base that always answers the commonest class knows nothing, though it is right nine times in ten."""
    x, _ = blobs(200)
    y = (np.arange(200) % 10 == 0).astype(int)
    model = SoftmaxRegression()
    model.bias[0] = 1
    notes, _ = said(model, x, y)
    assert "right on 90.0% of 200" in str(notes[0])


def test_statistics_may_cure_a_base_and_regressions_have_no_chance() -> None:
    x, y = blobs(120)
    assert said(SoftmaxRegression(wants_statistics=True), x, y)[0] == []
    assert said(SoftmaxRegression(), x, np.eye(3)[y], task="numbers")[1] is False


def test_a_resumed_run_decides_alike_and_says_nothing_twice(tmp_path: Any) -> None:
    x, y = halves(200, rows=True)
    whole = Left(rows=True)
    said(whole, x, y, epochs=2)
    model = Left(rows=True)
    with pytest.raises(KeyboardInterrupt):
        said(model, x, y, epochs=2, checkpoint=tmp_path, progress=_stop_in_second_epoch)
    notes, flipped = said(model, x, y, epochs=2, checkpoint=tmp_path, resume=True)
    assert flipped
    assert {type(note) for note in notes} <= {FlipWarning}
    np.testing.assert_array_equal(model.weights, whole.weights)


def _stop_in_second_epoch(state: Any) -> None:
    if state.epoch == 2:
        raise KeyboardInterrupt


def test_samples_of_one_class_are_said() -> None:
    y = np.full(8, 2)
    with pytest.warns(OneClassWarning, match="all 8 training samples are of class 2, one of 3; data that are sorted"):
        warn_one_class(y, 3)
    for targets, classes in ((y[:1], 3), (y, 1), (np.arange(8) % 2, 3), (np.ones(8, np.float32), 3)):
        warn_one_class(targets, classes)
