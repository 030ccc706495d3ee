"""Runs that stay within a distance from the base, and what their record says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.errors import DomainError
from lieref.train.history import History
from tests.model.nets import residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")
PLAIN: dict[str, Any] = {"epochs": 4, "batch_size": 8, "augment": (), "learning_rate": 0.05}


def network(folder: Path, method: str = "liera", **options: Any) -> Any:
    return lieref.load(saved(residual_net(), folder)).attach(method, r=1, **options)


def data(model: Any) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.standard_normal((24, *model.input_shape[1:])).astype(np.float32), np.arange(24) % 5


def test_no_tensor_ends_beyond_the_bound_and_the_steps_are_counted(tmp_path: Path) -> None:
    free, bound = network(tmp_path), network(tmp_path)
    lieref.fit(free, *data(free), **PLAIN)
    radius = float(np.median(list(free.algebra_norms().values())))
    history = lieref.fit(bound, *data(bound), **PLAIN, trust_region=radius)
    norms = bound.algebra_norms()
    assert max(norms.values()) <= radius * (1 + 1e-6)
    assert set(history.held) < set(norms)
    assert all(0 < steps <= 12 for steps in history.held.values())
    assert {tensor for tensor, norm in norms.items() if norm > radius * (1 - 1e-6)} <= set(history.held)
    assert history.epochs[-1].xi_norm == pytest.approx(np.sqrt(sum(norm**2 for norm in norms.values())))
    assert f"the trust region {radius} held " in repr(history)
    assert " of 12 steps\n" in repr(history)
    assert History.from_dict(history.to_dict()) == history


def test_a_wide_bound_changes_no_bit(tmp_path: Path) -> None:
    free, bound = network(tmp_path, "dora"), network(tmp_path, "dora")
    lieref.fit(free, *data(free), **PLAIN)
    history = lieref.fit(bound, *data(bound), **PLAIN, trust_region=1e3)
    assert history.held == {}
    assert all(np.array_equal(array, bound.parameters()[name]) for name, array in free.parameters().items())


def test_a_resumed_run_goes_back_to_the_same_start(tmp_path: Path) -> None:
    whole, stopped, resumed = (network(tmp_path, "lora") for _ in range(3))
    options: dict[str, Any] = {**PLAIN, "trust_region": 0.1}
    wanted = lieref.fit(whole, *data(whole), **options)

    def stop(step: Any) -> None:
        if step.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lieref.fit(stopped, *data(stopped), **options, checkpoint=tmp_path / "run", progress=stop)
    history = lieref.fit(resumed, *data(resumed), **options, checkpoint=tmp_path / "run", resume=True)
    assert history.held == wanted.held != {}
    assert all(np.array_equal(array, resumed.parameters()[name]) for name, array in whole.parameters().items())


def test_a_new_head_goes_where_it_wants(tmp_path: Path) -> None:
    model = network(tmp_path, "lora", head=lieref.NewHead(5))
    before = {tensor: model.adapted_tensors()[tensor].copy() for tensor in model.head.tensors}
    history = lieref.fit(model, *data(model), **PLAIN, trust_region=1e-3)
    assert not set(history.held) & set(model.head.tensors)
    assert max(np.linalg.norm(model.adapted_tensors()[tensor] - array) for tensor, array in before.items()) > 0.1


def test_what_cannot_be_held_is_refused(tmp_path: Path) -> None:
    model = network(tmp_path)
    with pytest.raises(DomainError, match="`trust_region` must be above 0"):
        lieref.fit(model, *data(model), **PLAIN, trust_region=0.0)
    with pytest.raises(DomainError, match="`average` must be False with a trust region"):
        lieref.fit(model, *data(model), **PLAIN, trust_region=1.0, average=True)
    lieref.fit(model, *data(model), **PLAIN)
    before = {name: array.copy() for name, array in model.parameters().items()}
    with pytest.raises(DomainError, match=r"`trust_region` must be at least \|xi\| of each tensor at the start"):
        lieref.fit(model, *data(model), **PLAIN, trust_region=1e-3)
    assert all(np.array_equal(array, before[name]) for name, array in model.parameters().items())


def test_of_many_tensors_those_held_most_are_named() -> None:
    history = History((), 0.1, {"trust_region": 0.5}, held={f"w{k}": k for k in range(1, 8)})
    assert history.held_text() == (
        "the trust region 0.5 held w7 in 7, w6 in 6, w5 in 5, w4 in 4, w3 in 3 and 2 others in 2 or fewer of 0 steps"
    )
