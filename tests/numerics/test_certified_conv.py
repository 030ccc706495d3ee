"""Certified convolution against exact rational sums."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.errors import DomainError, ShapeError
from lieref.numerics.certified_conv import ConvGeometry, conv, conv_vjp

pytest.importorskip("flint")
from validation.against_flint import exact
from validation.against_flint.certificates import conv_misses, random_geometry

SAME = ConvGeometry((1, 1), (1, 1, 1, 1), (1, 1))


def test_random_geometries_stay_inside_their_certificates() -> None:
    assert sum(map(conv_misses, range(250))) == 0


def test_random_geometries_cover_every_option() -> None:
    geometries = [random_geometry(np.random.default_rng(i))[2] for i in range(250)]
    assert {len(g.strides) for g in geometries} == {1, 2, 3}
    for name in ("strides", "dilations", "pads"):
        assert {v for g in geometries for v in getattr(g, name)} >= {1, 2}
    assert {g.groups for g in geometries} == {1, 2, 3}


def test_bias_and_its_gradient(rng: np.random.Generator) -> None:
    x, w, b = (rng.standard_normal(s) for s in ((2, 3, 4, 5), (4, 3, 3, 3), (4,)))
    with_bias, without = conv(x, w, b, SAME), conv(x, w, None, SAME)
    truth = exact.rational(without.hi) + exact.rational(without.lo) + exact.rational(b)[:, None, None]
    assert (np.abs(exact.rational(with_bias.hi) + exact.rational(with_bias.lo) - truth).max()) < 1e-28
    bias_bar = conv_vjp(x, w, with_bias.hi, SAME)[2]
    assert exact.misses(bias_bar, exact.rational(with_bias.hi).sum(axis=(0, 2, 3))) == 0
    assert (bias_bar.conversion == 0).all()
    assert with_bias.conversion == pytest.approx(without.conversion)
    assert with_bias.count == without.count + 1


def test_untouched_input_has_an_exact_zero_gradient(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((1, 1, 8)), rng.standard_normal((1, 1, 2))
    y_bar = rng.standard_normal((1, 1, 2))
    x_bar = conv_vjp(x, w, y_bar, ConvGeometry((4,), (0, 0), (1,)))[0]
    for part in (x_bar.hi, x_bar.radius, x_bar.rounding):
        assert (part[0, 0, [2, 3, 6, 7]] == 0).all()
        assert (part[0, 0, [0, 1, 4, 5]] != 0).all()


def test_counts_are_those_of_the_longest_sum(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((2, 6, 5, 7)), rng.standard_normal((4, 3, 3, 3))
    geometry = ConvGeometry((1, 1), (1, 1, 1, 1), (1, 1), groups=2)
    y = conv(x, w, None, geometry)
    x_bar, weight_bar, bias_bar = conv_vjp(x, w, y.hi, geometry)
    assert (y.count, x_bar.count, weight_bar.count, bias_bar.count) == (27, 18, 70, 70)
    assert conv(x, w, w[:, 0, 0, 0], geometry).count == 28


def test_bad_geometry() -> None:
    x, w = np.ones((1, 3, 4, 4)), np.ones((2, 3, 3, 3))
    with pytest.raises(ShapeError, match="must have 3 to 5 axes"):
        conv(np.ones((1, 3)), w, None, SAME)
    with pytest.raises(ShapeError, match="must fit 2 spatial axes"):
        conv(x, w, None, ConvGeometry((1,), (0, 0), (1,)))
    with pytest.raises(ShapeError, match="channels must fit 2 groups"):
        conv(x, w, None, ConvGeometry((1, 1), (0, 0, 0, 0), (1, 1), 2))
    with pytest.raises(ShapeError, match="must not be empty"):
        conv(x, w, None, ConvGeometry((1, 1), (0, 0, 0, 0), (4, 4)))
    with pytest.raises(DomainError, match="`strides` must be at least 1"):
        conv(x, w, None, ConvGeometry((0, 1), (0, 0, 0, 0), (1, 1)))
    with pytest.raises(ShapeError, match="`bias` must have shape"):
        conv(x, w, np.ones(3), SAME)
    with pytest.raises(ShapeError, match="`y_bar` must have shape"):
        conv_vjp(x, w, np.ones((1, 2, 3, 3)), SAME)
