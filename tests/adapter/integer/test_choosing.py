"""Moves towards a trained row: their gains against the quadratic form itself, and against all that could be done."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lieref._types import Array, FloatArray
from lieref.adapter.integer.choosing import Rows, best_scales, find_moves, moved
from lieref.adapter.integer.curvature import Curvature

ENDS = np.array([[-127]]), np.array([[127]])


def layer(rng: np.random.Generator, out: int, width: int, groups: int = 1, spread: float = 0.4) -> Rows:
    q = rng.integers(-20, 21, (out, width))
    scales = rng.uniform(0.01, 0.03, out)
    inputs = rng.standard_normal((groups, 3 * width, width)) + 0.5
    gram = np.einsum("gni,gnj->gij", inputs, inputs)
    target = scales[:, None] * q * np.exp(spread * rng.standard_normal(q.shape) / 3)
    return Rows(q, target, scales, Curvature(gram, rng.uniform(0.5, 2, out)), *ENDS)


def cost(rows: Rows, q: Array, scales: FloatArray) -> float:
    """d^T F d / 2 of all rows, from its definition."""
    total = 0.0
    for o in range(len(q)):
        rest = rows.target[o] - np.broadcast_to(scales, len(q))[o] * q[o]
        gram = rows.curvature.gram[o * len(rows.curvature.gram) // len(q)]
        total += 0.5 * rows.curvature.rows[o] * rest @ gram @ rest
    return float(total)


@pytest.mark.parametrize("groups", [1, 2])
def test_gains_add_up_to_what_the_cost_falls(groups: int, rng: np.random.Generator) -> None:
    rows = layer(rng, 4, 9, groups)
    moves = find_moves(rows)
    assert len(moves.gain) > 4
    q, gone = rows.q.copy(), 0.0
    fell = []
    for row, column, step in zip(moves.row, moves.column, moves.step, strict=True):
        before = cost(rows, q, moves.scales)
        q[row, column] += step
        fell.append(before - cost(rows, q, moves.scales))
        gone += fell[-1]
    assert all(each > 0 for each in fell)
    # What is reported is no more than any gain before it in the row, and nothing is invented.
    assert (moves.gain <= np.array(fell) + 1e-9 * gone).all()
    for row in range(4):
        assert (np.diff(moves.gain[moves.row == row]) <= 0).all()
    np.testing.assert_array_equal(moved(rows, moves, 0.0), q)
    np.testing.assert_array_equal(moved(rows, moves, np.inf), rows.q)
    at = float(np.median(moves.gain))
    some = cost(rows, moved(rows, moves, at), moves.scales)
    assert cost(rows, q, moves.scales) < some < cost(rows, rows.q, moves.scales)


def test_nothing_more_pays_at_the_end(rng: np.random.Generator) -> None:
    rows = layer(rng, 3, 7)
    moves = find_moves(rows)
    q = moved(rows, moves, 0.0)
    best = cost(rows, q, moves.scales)
    for row, column, step in itertools.product(range(3), range(7), (-1, 1)):
        other = q.copy()
        other[row, column] += step
        if np.sign(other[row, column]) == np.sign(q[row, column]) and q[row, column]:
            assert cost(rows, other, moves.scales) >= best - 1e-9


def test_small_changes_that_agree_are_not_lost() -> None:
    """A constant input and a third of a step in each of ten weights: rounding loses it all, moves keep it."""
    q, scale = np.array([[30, -30] * 5]), np.array([0.02])  # whose sum is zero, so that the scale cannot take it
    target = 0.02 * (q + 1 / 3)
    gram = np.ones((1, 10, 10)) + 1e-3 * np.eye(10)
    rows = Rows(q, target, scale, Curvature(gram, np.ones(1)), *ENDS)
    new = moved(rows, find_moves(rows), 0.0)
    scales = best_scales(rows, new)
    assert np.abs((scales[:, None] * new - target).sum()) < 0.02 / 2
    assert np.abs(new - q).sum() == 3
    np.testing.assert_array_equal(np.rint(target / 0.02), q)


def test_zeros_signs_and_ends_stay(rng: np.random.Generator) -> None:
    rows = layer(rng, 5, 8, spread=3.0)
    rows.q[:, 0], rows.q[:, 1] = 0, 127
    rows.target[:, 0], rows.target[:, 1] = 5.0, 9.0
    new = moved(rows, find_moves(rows), 0.0)
    np.testing.assert_array_equal(np.sign(new), np.sign(rows.q))
    assert new.max() <= 127


@pytest.mark.parametrize("single", [False, True])
def test_scales_are_the_minimum(single: bool, rng: np.random.Generator) -> None:
    rows = layer(rng, 3, 6)
    rows = rows._replace(scales=rows.scales[:1]) if single else rows
    best = best_scales(rows, rows.q)
    assert best.shape == rows.scales.shape
    least = cost(rows, rows.q, best)
    for factor in (0.99, 1.01):
        for i in range(len(best)):
            other = best.copy()
            other[i] *= factor
            assert cost(rows, rows.q, other) > least
