"""Augmentation: what it does to pixels, and that it depends on seed, epoch and index alone."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.errors import DomainError, UnsupportedError
from lieref.train.augment import Augmentation, Draws, apply, draw, image_axes, make_augmentation

PIXELS = np.arange(2 * 1 * 3 * 4).reshape(2, 1, 3, 4)
STILL = np.zeros((2, 2), dtype=np.int64)


def test_flip_mirrors_the_width_of_the_drawn_images_only() -> None:
    result = apply(PIXELS, np.array([0, 1]), Draws(np.array([False, True]), STILL), (2, 3))
    np.testing.assert_array_equal(result[0], PIXELS[0])
    np.testing.assert_array_equal(result[1, 0], [[15, 14, 13, 12], [19, 18, 17, 16], [23, 22, 21, 20]])
    np.testing.assert_array_equal(PIXELS.ravel(), np.arange(24))


def test_shift_moves_down_and_right_and_repeats_the_border() -> None:
    draws = Draws(np.zeros(2, bool), np.array([[1, -2], [0, 0]]))
    result = apply(PIXELS, np.array([0, 1]), draws, (2, 3))
    np.testing.assert_array_equal(result[0, 0], [[2, 3, 3, 3], [2, 3, 3, 3], [6, 7, 7, 7]])
    np.testing.assert_array_equal(result[1], PIXELS[1])


def test_a_shift_larger_than_the_image_gives_its_border() -> None:
    draws = Draws(np.zeros(2, bool), np.array([[9, 9], [-9, -9]]))
    result = apply(PIXELS, np.array([0, 1]), draws, (2, 3))
    assert set(result[0].ravel()) == {0}
    assert set(result[1].ravel()) == {23}


def test_channels_last_gives_the_same_pixels(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (6, 3, 5, 7), dtype=np.uint8)
    indices = np.array([4, 0, 2, 1, 5, 3])
    draws = draw(Augmentation(flip=True, shift=2), 6, seed=3, epoch=1)
    first = apply(images, indices, draws, (2, 3))
    last = apply(np.moveaxis(images, 1, -1), indices, draws, (1, 2))
    np.testing.assert_array_equal(first, np.moveaxis(last, -1, 1))
    assert first.dtype == np.uint8


def test_an_image_is_treated_alike_in_every_batch(rng: np.random.Generator) -> None:
    images = rng.integers(0, 256, (9, 3, 5, 7), dtype=np.uint8)
    draws = draw(Augmentation(flip=True, shift=2), 9, seed=3, epoch=1)
    whole = apply(images, np.arange(9), draws, (2, 3))
    order = rng.permutation(9)
    for part in (order[:4], order[4:]):
        np.testing.assert_array_equal(apply(images[part], part, draws, (2, 3)), whole[part])


def test_draws_repeat_for_one_epoch_and_differ_between_epochs_and_seeds() -> None:
    both = Augmentation(flip=True, shift=2)
    one = draw(both, 200, seed=3, epoch=1)
    again = draw(both, 200, seed=3, epoch=1)
    np.testing.assert_array_equal(one.flips, again.flips)
    np.testing.assert_array_equal(one.shifts, again.shifts)
    for other in (draw(both, 200, seed=3, epoch=2), draw(both, 200, seed=4, epoch=1)):
        assert not np.array_equal(one.flips, other.flips)
        assert not np.array_equal(one.shifts, other.shifts)
    # Adding the shift does not change which images are flipped.
    np.testing.assert_array_equal(one.flips, draw(Augmentation(flip=True), 200, seed=3, epoch=1).flips)


def test_draws_are_fair() -> None:
    draws = draw(Augmentation(flip=True, shift=2), 10000, seed=0, epoch=0)
    # Four standard deviations of a binomial: 4 sqrt(10000 / 4) = 200, and 4 sqrt(10000 * 0.16) = 160.
    assert abs(np.count_nonzero(draws.flips) - 5000) < 200
    for axis in range(2):
        values, counts = np.unique(draws.shifts[:, axis], return_counts=True)
        np.testing.assert_array_equal(values, [-2, -1, 0, 1, 2])
        assert np.all(np.abs(counts - 2000) < 160)


@pytest.mark.parametrize(
    ("names", "input_shape", "expected"),
    [
        ("auto", (None, 3, 32, 32), Augmentation(flip=True)),
        ("auto", (None, 32, 32, 3), Augmentation(flip=True)),
        ("auto", (None, 1, 28, 28), Augmentation()),
        ("auto", (None, 3, 128), Augmentation()),
        ("auto", (None, 3), Augmentation()),
        ((), (None, 3, 32, 32), Augmentation()),
        (("shift(2)",), (None, 1, 8, 8), Augmentation(shift=2)),
        (("shift(2)", "flip"), (None, 1, 8, 8), Augmentation(flip=True, shift=2)),
    ],
)
def test_make_augmentation(names: tuple[str, ...], input_shape: tuple[int | None, ...], expected: Augmentation) -> None:
    assert make_augmentation(names, input_shape, classifies=True) == expected


def test_regression_targets_are_not_mirrored_unless_asked() -> None:
    assert not make_augmentation("auto", (None, 3, 32, 32), classifies=False)
    assert make_augmentation(("flip",), (None, 3, 32, 32), classifies=False).flip


@pytest.mark.parametrize("names", ["flip", ("rotate",), ("shift",), ("shift(0)",), ("shift(-1)",), ("shift(2) ",)])
def test_unknown_augmentation_is_refused(names: str | tuple[str, ...]) -> None:
    with pytest.raises(DomainError, match="`augment` must"):
        make_augmentation(names, (None, 3, 8, 8), classifies=True)


def test_images_only() -> None:
    with pytest.raises(UnsupportedError, match="not an image"):
        make_augmentation(("flip",), (None, 12), classifies=True)
    assert image_axes((None, 12)) is None
    assert image_axes((None, 3, None, None)) == (2, 3)
    assert image_axes((None, 8, 9, 1)) == (1, 2)
