"""Schedules against their closed forms, and gradient clipping."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from lieref.errors import DomainError
from lieref.train.clip import clip_by_global_norm, global_norm
from lieref.train.schedule import learning_rate_factor


def test_cosine_starts_at_one_is_half_in_the_middle_and_heads_for_zero() -> None:
    factors = [learning_rate_factor("cosine", step, 8) for step in range(8)]
    r = math.sqrt(0.5)
    eighth = math.sqrt((1 + r) / 2)  # cos(pi / 8)
    half_up = [1.0, (1 + eighth) / 2, (1 + r) / 2]
    np.testing.assert_allclose(factors[:3], half_up, rtol=4e-16)
    assert factors[4] == pytest.approx(0.5, abs=1e-16)
    assert factors[7] == pytest.approx((1 - eighth) / 2, abs=1e-16)
    assert all(a > b for a, b in itertools.pairwise(factors))


def test_cosine_matches_torch() -> None:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=11)
    for step in range(11):
        # PyTorch multiplies from step to step, so its rounding grows with the step.
        assert learning_rate_factor("cosine", step, 11) == pytest.approx(schedule.get_last_lr()[0], abs=1e-14)
        optimizer.step()
        schedule.step()


def test_warm_up_is_linear_and_then_the_schedule_starts() -> None:
    constant = [learning_rate_factor("constant", step, 7, warmup_steps=4) for step in range(7)]
    assert constant == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0]
    cosine = [learning_rate_factor("cosine", step, 7, warmup_steps=4) for step in range(7)]
    np.testing.assert_allclose(cosine, [0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.25], rtol=1e-15)


def test_warm_up_over_the_whole_run_never_reaches_the_cosine() -> None:
    assert learning_rate_factor("cosine", 2, 3, warmup_steps=3) == 1.0


@pytest.mark.parametrize(
    "arguments", [("linear", 0, 1), ("cosine", 3, 3), ("cosine", -1, 3), ("cosine", 0, 0), ("cosine", 0, 3, 4)]
)
def test_schedule_refuses_arguments_out_of_range(arguments: tuple[str, int, int]) -> None:
    with pytest.raises(DomainError):
        learning_rate_factor(*arguments)


def test_clipping_scales_all_gradients_by_one_factor() -> None:
    grads = {"a": np.array([3.0, 0.0]), "b": np.array([[4.0]])}
    assert global_norm(grads) == 5.0
    clipped = clip_by_global_norm(grads, 2.5)
    np.testing.assert_array_equal(clipped["a"], [1.5, 0.0])
    np.testing.assert_array_equal(clipped["b"], [[2.0]])
    np.testing.assert_array_equal(grads["a"], [3.0, 0.0])


def test_clipping_leaves_short_gradients_as_they_are() -> None:
    grads = {"a": np.array([3.0, 4.0], np.float32)}
    assert clip_by_global_norm(grads, 5.0)["a"] is grads["a"]
    assert clip_by_global_norm(grads, 4.0)["a"].dtype == np.float32


@pytest.mark.parametrize("scale", [0.0, 1e-200, 1e200])
def test_global_norm_neither_overflows_nor_vanishes(scale: float) -> None:
    assert global_norm({"a": scale * np.array([3.0, -4.0]), "b": np.zeros(0)}) == pytest.approx(5.0 * scale, rel=1e-15)


def test_clipping_refuses_nan_and_a_norm_of_zero() -> None:
    with pytest.raises(DomainError, match="`gradient of a` must be finite"):
        clip_by_global_norm({"a": np.array([math.nan])}, 1.0)
    with pytest.raises(DomainError, match="`max_norm` must be above 0"):
        clip_by_global_norm({"a": np.ones(1)}, 0.0)
