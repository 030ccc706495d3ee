"""Views of original images, against SciPy's interpolation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lieref.errors import DomainError, ShapeError
from lieref.train.training_views import TrainingViews, _sampled, parse_views


def test_turned_and_moved_as_scipy_does() -> None:
    image = np.random.default_rng(0).random((2, 7, 9))
    for angle, move in ((0.0, (0.0, 0.0)), (0.3, (0.0, 0.0)), (-2.5, (1.25, -3.5)), (0.0, (2.0, 1.0))):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = np.array([3.0, 4.0])
        offset = centre - turn @ centre + move
        want = [ndimage.affine_transform(each, turn, offset, order=1, mode="nearest") for each in image]
        np.testing.assert_allclose(_sampled(image, angle, np.array(move)), want, atol=1e-12)


def test_views_are_in_their_bounds() -> None:
    x = np.arange(3 * 1 * 5 * 6, dtype=np.uint8).reshape(3, 1, 5, 6)
    assert np.array_equal(TrainingViews().of(x), x)
    many = np.repeat(x[:1], 200, axis=0)
    mirrored = [np.array_equal(each, x[0, :, :, ::-1]) for each in TrainingViews(flip=True).of(many)]
    assert 70 < sum(mirrored) < 130
    # A ramp that is moved by m down and n right has its middle at the middle plus 6 m + n.
    moved = TrainingViews(shift=1.0).of(many)[:, 0, 2, 2] - x[0, 0, 2, 2]
    assert 5 < np.abs(moved).max() <= 7
    assert np.array_equal(TrainingViews(shift=1.0).of(many), TrainingViews(shift=1.0).of(many))
    assert not np.array_equal(TrainingViews(shift=1.0).of(many), TrainingViews(shift=1.0).of(many, seed=1))


def test_what_is_said_is_read_or_refused() -> None:
    assert parse_views("rotate(15), shift(3.2),flip") == TrainingViews(15.0, 3.2, True)
    for text in ("", "turn(3)", "rotate", "flip,flip", "rotate(-1)", "shift()", "rotate(181)"):
        with pytest.raises(DomainError, match="parse_views"):
            parse_views(text)
    with pytest.raises(ShapeError, match="images"):
        TrainingViews(15.0).of(np.zeros((2, 3)))
    with pytest.raises(DomainError, match="below 5"):
        TrainingViews(shift=5.0).of(np.zeros((2, 1, 5, 6)))
    with pytest.raises(ShapeError, match="2 x 2"):
        TrainingViews(15.0).of(np.zeros((2, 1, 1, 6)))
