"""Optimisers against hand calculations and PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lieref._flat import gather
from lieref.errors import DomainError, DTypeError, FormatError, ShapeError
from lieref.train.optimizer import SGD, AdamW, Optimizer
from lieref.train.optimizer_registry import OPTIMIZERS, make_optimizer

ALL = [
    SGD(momentum=0.0),
    SGD(),
    SGD(momentum=0.8, nesterov=True, weight_decay=0.1),
    AdamW(),
    AdamW(beta1=0.7, beta2=0.95, epsilon=1e-4, weight_decay=0.1),
]


def test_sgd_with_momentum_by_hand() -> None:
    # v: 2, 0.5*2 + 4 = 5, 0.5*5 - 1 = 1.5; w = 1 - 0.1 (2 + 5 + 1.5).
    w = {"w": np.array([1.0])}
    sgd = SGD(momentum=0.5)
    for g in (2.0, 4.0, -1.0):
        sgd.step(w, {"w": np.array([g])}, 0.1)
    np.testing.assert_allclose(w["w"], [0.15], rtol=0, atol=1e-15)


def test_sgd_with_nesterov_and_decay_by_hand() -> None:
    # One step: g = 2 + 0.5 * 1 = 2.5, v = 2.5, w = 1 - 0.1 (2.5 + 0.8 * 2.5).
    w = {"w": np.array([1.0])}
    SGD(momentum=0.8, nesterov=True, weight_decay=0.5).step(w, {"w": np.array([2.0])}, 0.1)
    np.testing.assert_allclose(w["w"], [0.55], rtol=0, atol=1e-15)


def test_adamw_three_steps_by_hand() -> None:
    # beta1 = beta2 = 1/2, lr 0.1, decay 1, gradients 1, -1, 3, start 2.
    # m: 1/2, -1/4, 11/8; corrections 1/2, 3/4, 7/8 -> 1, -1/3, 11/7
    # v: 1/2, 3/4, 39/8; corrected -> 1, 1, 39/7
    w = 2.0
    for direction in (1.0, -1.0 / 3.0, (11.0 / 7.0) / math.sqrt(39.0 / 7.0)):
        w = 0.9 * w - 0.1 * direction
    params = {"w": np.array([2.0])}
    adamw = AdamW(beta1=0.5, beta2=0.5, epsilon=1e-300, weight_decay=1.0)
    for g in (1.0, -1.0, 3.0):
        adamw.step(params, {"w": np.array([g])}, 0.1)
    np.testing.assert_allclose(params["w"], [w], rtol=4e-15)
    assert adamw.steps == 3


def torch_twin(optimizer: Optimizer, torch: Any, params: list[Any]) -> Any:
    if isinstance(optimizer, AdamW):
        betas = (optimizer.beta1, optimizer.beta2)
        return torch.optim.AdamW(
            params, lr=0.1, betas=betas, eps=optimizer.epsilon, weight_decay=optimizer.weight_decay
        )
    assert isinstance(optimizer, SGD)
    return torch.optim.SGD(
        params,
        lr=0.1,
        momentum=optimizer.momentum,
        nesterov=optimizer.nesterov,
        weight_decay=optimizer.weight_decay,
    )


@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_trajectory_matches_torch(optimizer: Optimizer, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    start = {"a": rng.standard_normal((3, 2)), "b": rng.standard_normal(5)}
    ours = {name: value.copy() for name, value in start.items()}
    theirs = {name: torch.tensor(value, requires_grad=True) for name, value in start.items()}
    twin = torch_twin(optimizer, torch, list(theirs.values()))
    optimizer = optimizer.fresh()
    for step in range(25):
        rate = 0.1 / (step + 1)
        grads = {name: rng.standard_normal(value.shape) for name, value in start.items()}
        grads["b"][0] = 0.0
        optimizer.step(ours, grads, rate)
        for name, tensor in theirs.items():
            tensor.grad = torch.tensor(grads[name])
        twin.param_groups[0]["lr"] = rate
        twin.step()
    for name, value in ours.items():
        # 25 steps of about ten roundings of numbers no larger than ten.
        np.testing.assert_allclose(value, theirs[name].detach().numpy(), rtol=0, atol=2500 * np.finfo(float).eps)


@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_resumed_optimiser_takes_the_same_steps_to_the_bit(optimizer: Optimizer, rng: np.random.Generator) -> None:
    grads = [{"a": rng.standard_normal((2, 3)).astype(np.float32)} for _ in range(6)]
    start = rng.standard_normal((2, 3)).astype(np.float32)
    whole, first, halves = optimizer.fresh(), optimizer.fresh(), {"a": start.copy()}
    through = {"a": start.copy()}
    for g in grads:
        whole.step(through, g, 0.01)
    for g in grads[:3]:
        first.step(halves, g, 0.01)
    second = optimizer.fresh()
    second.load_state(first.state())
    for g in grads[3:]:
        second.step(halves, g, 0.01)
    np.testing.assert_array_equal(through["a"], halves["a"])
    assert through["a"].dtype == np.float32
    assert second.steps == 6


@pytest.mark.parametrize("optimizer", ALL, ids=repr)
def test_zero_gradient_without_decay_changes_nothing(optimizer: Optimizer) -> None:
    w = {"w": np.array([1.0, -2.0])}
    plain = type(optimizer)()
    plain.step(w, {"w": np.zeros(2)}, 0.1)
    np.testing.assert_array_equal(w["w"], [1.0, -2.0])


@pytest.mark.parametrize(
    ("grads", "error", "message"),
    [
        ({"a": np.zeros(2)}, ShapeError, r"names of `params`; got a difference in \['b'\]"),
        ({"a": np.zeros(2), "b": np.zeros(4)}, ShapeError, r"`b` must have shape \(3,\); got \(4,\)"),
        ({"a": np.zeros(2), "b": np.zeros(3, np.float32)}, DTypeError, "share one dtype"),
        ({"a": np.ones(2), "b": np.array([0.0, np.nan, 0.0])}, DomainError, "`gradient of b` must be finite; got nan"),
    ],
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_refused_step_changes_nothing(
    name: str, grads: dict[str, np.ndarray], error: type[Exception], message: str
) -> None:
    params = {"a": np.ones(2), "b": np.ones(3)}
    optimizer = make_optimizer(name)
    with pytest.raises(error, match=message):
        optimizer.step(params, grads, 0.1)
    np.testing.assert_array_equal(params["a"], np.ones(2))
    np.testing.assert_array_equal(params["b"], np.ones(3))
    assert optimizer.steps == 0


def test_load_state_refuses_another_optimisers_state() -> None:
    adamw, sgd = AdamW(), SGD()
    params = {"w": np.ones(2)}
    adamw.step(params, {"w": np.ones(2)}, 0.1)
    with pytest.raises(FormatError, match="`state` must be of this optimiser"):
        sgd.load_state(adamw.state())
    with pytest.raises(FormatError):
        sgd.load_state({})
    assert sgd.steps == 0


@pytest.mark.parametrize(
    "build",
    [
        lambda: SGD(momentum=1.0),
        lambda: SGD(momentum=-0.1),
        lambda: SGD(weight_decay=-1.0),
        lambda: SGD(momentum=0.0, nesterov=True),
        lambda: AdamW(beta1=1.0),
        lambda: AdamW(beta2=math.nan),
        lambda: AdamW(epsilon=0.0),
        lambda: AdamW(weight_decay=-0.1),
        lambda: make_optimizer("lion"),
        lambda: AdamW().step({}, {}, -1.0),
    ],
)
def test_settings_out_of_range_are_refused(build: Any) -> None:
    with pytest.raises(DomainError):
        build()


def test_make_optimizer_returns_settings_without_state() -> None:
    used = AdamW(beta1=0.5)
    used.step({"w": np.ones(1)}, {"w": np.ones(1)}, 0.1)
    fresh = make_optimizer(used)
    assert fresh.to_dict() == {"name": "adamw", "beta1": 0.5, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0}
    assert fresh.steps == 0
    assert list(fresh.state()) == ["steps"]
    assert {name: type(make_optimizer(name)) for name in OPTIMIZERS} == OPTIMIZERS


@pytest.mark.parametrize("optimizer", ALL, ids=str)
@pytest.mark.parametrize("flat", [True, False])
def test_a_factor_is_a_learning_rate_of_its_own(optimizer: Optimizer, flat: bool) -> None:
    """Together, with factors, the parameters move as each would alone at its own rate."""
    rng = np.random.default_rng(0)
    shapes = {"a": (2, 3), "b": (4,), "c": (3,), "d": (2, 2)}
    start = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    factors = {"b": 30.0, "c": 30.0, "d": 0.25}
    together = gather(start) if flat else {name: array.copy() for name, array in start.items()}
    alone = {name: {name: array.copy()} for name, array in start.items()}
    one, each = optimizer.fresh(), {name: optimizer.fresh() for name in shapes}
    for _ in range(3):
        grads = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
        one.step(together, gather(grads) if flat else grads, 0.1, factors)
        for name in shapes:
            each[name].step(alone[name], {name: grads[name]}, 0.1 * factors.get(name, 1.0))
    for name in shapes:
        np.testing.assert_array_equal(together[name], alone[name][name])
