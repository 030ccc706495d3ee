"""Where the factors of a low rank start: PEFT's choices, from their definitions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.errors import DomainError, DTypeError, LierefWarning, ShapeError, UnsupportedError
from lieref.param.config import LoraConfig
from lieref.param.low_rank import LowRank
from lieref.param.principal import Principal
from lieref.param.registry import get_method
from lieref.param.starts import REFUSED
from tests.model.nets import residual_net, saved

SHAPE, GROUPS, R, ALPHA = (8, 5, 2, 3), 2, 2, 5.0
STARTS = ("pissa", "pissa_niter_8", "olora", "orthogonal")


def weight() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(SHAPE)


def started(init: Any, **options: Any) -> tuple[Any, dict[str, np.ndarray]]:
    method = get_method("lora", r=R, init_lora_weights=init, **options)
    return method, method.init(SHAPE, GROUPS, np.random.default_rng(1), base_weight=weight())


def products(params: dict[str, np.ndarray], b: str = "lora_b", a: str = "lora_a") -> list[np.ndarray]:
    """B A of each conv group."""
    rows = SHAPE[0] // GROUPS
    return [params[b][g * rows : (g + 1) * rows] @ params[a][g * R : (g + 1) * R] for g in range(GROUPS)]


@pytest.mark.parametrize("use_rslora", [False, True])
@pytest.mark.parametrize("start", STARTS)
def test_the_weight_is_what_peft_trains_a_frozen_rest_and_the_branch(start: str, use_rslora: bool) -> None:
    method, params = started(start, lora_alpha=ALPHA, use_rslora=use_rslora)
    s = ALPHA / (math.sqrt(R) if use_rslora else R)
    assert method.scaling == s
    base = weight()
    rest = base - s * np.concatenate(products(params)).reshape(SHAPE)  # as PEFT changes the base once
    rng = np.random.default_rng(2)
    moved = {n: v + (0.3 * rng.standard_normal(v.shape) if n.startswith("lora") else 0) for n, v in params.items()}
    wanted = rest + s * np.concatenate(products(moved)).reshape(SHAPE)
    np.testing.assert_allclose(method.adapted_weight(moved, base, GROUPS), wanted, rtol=0, atol=1e-12)
    assert method.adapted_weight(params, base, GROUPS).tobytes() == base.tobytes()


@pytest.mark.parametrize("alpha", [None, ALPHA])
def test_pissa_starts_at_the_best_approximation_of_its_rank(alpha: float | None) -> None:
    method, params = started("pissa", lora_alpha=alpha)
    for product, matrix in zip(products(params), weight().reshape(GROUPS, 4, -1), strict=True):
        rest = np.linalg.svd(matrix - method.scaling * product, compute_uv=False)
        np.testing.assert_allclose(rest[: 4 - R], np.linalg.svd(matrix, compute_uv=False)[R:], atol=1e-12)
    # The singular values are shared out in equal parts.
    np.testing.assert_allclose(
        np.linalg.norm(params["lora_b"][:4], axis=0), np.linalg.norm(params["lora_a"][:R], axis=1), rtol=1e-12
    )


def test_more_iterations_bring_a_subspace_closer_to_the_best_one() -> None:
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((30, 50))
    best = math.sqrt((np.linalg.svd(matrix, compute_uv=False)[4:] ** 2).sum())
    excess = []
    for iterations in (0, 4, 64):
        method = get_method("lora", r=4, init_lora_weights=f"pissa_niter_{iterations}")
        params = method.init((30, 50), 1, np.random.default_rng(4), base_weight=matrix)
        excess.append(np.linalg.norm(matrix - params["lora_b"] @ params["lora_a"]) / best - 1)
    assert excess[0] > 4 * excess[1] > 16 * excess[2] > 0
    assert excess[2] < 1e-3


def test_olora_starts_at_the_first_columns_and_rows_of_a_qr_decomposition() -> None:
    _, params = started("olora", lora_alpha=ALPHA)
    for g, matrix in enumerate(weight().reshape(GROUPS, 4, -1)):
        q, upper = params["lora_b"][4 * g : 4 * g + 4], params["lora_a"][R * g : R * g + R]
        np.testing.assert_allclose(q.T @ q, np.eye(R), atol=1e-13)
        assert np.array_equal(upper[1:, :1], np.zeros((R - 1, 1)))
        # Modified Gram-Schmidt spans the same columns, and leaves the same rest of them.
        rest = matrix.copy()
        for k in range(R):
            direction = rest[:, k] / np.linalg.norm(rest[:, k])
            rest -= np.outer(direction, direction @ rest)
        np.testing.assert_allclose(matrix - q @ upper, rest, atol=1e-12)
    by_name = get_method("olora", r=R, lora_alpha=ALPHA).init(
        SHAPE, GROUPS, np.random.default_rng(9), base_weight=weight()
    )
    assert all(np.array_equal(by_name[name], params[name]) for name in params)


def test_orthogonal_factors_are_random_and_their_product_is_zero() -> None:
    _, params = started("orthogonal")
    for product in products(params):
        assert abs(product).max() < 1e-16
    assert np.linalg.matrix_rank(params["lora_b"][:4]) == np.linalg.matrix_rank(params["lora_a"][:R]) == R // 2
    method = get_method("lora", r=6, init_lora_weights="orthogonal")
    large = method.init((200, 300), 1, np.random.default_rng(5), base_weight=np.zeros((200, 300)))
    for factor in (large["lora_a"], large["lora_b"]):
        # A sum of r / 2 products of normal numbers with entries of an orthogonal matrix, 1 / r in the mean square.
        spread = 0.1 * math.sqrt(3 / 6)
        assert abs(np.mean(factor**2) / spread**2 - 1) < 0.25


def test_gaussian_draws_have_the_deviation_of_one_over_the_rank() -> None:
    method = get_method("lora", r=4, init_lora_weights="gaussian")
    params = method.init((30, 5000), 1, np.random.default_rng(6))
    assert not params["lora_b"].any()
    assert abs(np.mean(params["lora_a"] ** 2) * 16 - 1) < 6 * math.sqrt(2 / 20_000)
    assert abs(params["lora_a"]).max() > 3 / 4  # a uniform draw would end at sqrt(3) / 4


def test_false_draws_both_factors_and_says_so(tmp_path: Path) -> None:
    method = get_method("lora", r=4, init_lora_weights=False)
    params = method.init((5000, 50), 1, np.random.default_rng(7))
    for factor, fan_in in ((params["lora_a"], 50), (params["lora_b"], 4)):
        assert abs(factor).max() <= 1 / math.sqrt(fan_in)
        assert abs(np.mean(factor**2) * 3 * fan_in - 1) < 6 * math.sqrt(2 / factor.size)
    assert not method.starts_at_base
    model = lieref.load(saved(residual_net(), tmp_path))
    x = np.random.default_rng(8).normal(size=(2, 3, 9, 8)).astype(np.float32)
    before = model.predict(x)
    with pytest.warns(LierefWarning, match="does not start at the base: down, head compute other numbers at once"):
        model.attach("lora", r=2, init_lora_weights=False, target_modules=["head", "down"])
    assert not np.array_equal(model.predict(x), before)


@pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")
@pytest.mark.parametrize("start", [*STARTS, "gaussian", True])
def test_a_network_is_its_base_at_every_other_start_and_learns(start: Any, tmp_path: Path) -> None:
    path = saved(residual_net(), tmp_path)
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(12, 3, 9, 8)).astype(np.float32), np.arange(12) % 5
    model = lieref.load(path)
    before = model.predict(x)
    model.attach(LoraConfig(r=2, init_lora_weights=start))
    np.testing.assert_array_equal(model.predict(x), before)
    history = lieref.fit(model, x, y, epochs=6, batch_size=4, augment=())
    assert history.epochs[-1].loss < history.epochs[0].loss
    trained = model.predict(x)
    model.save_adapter(tmp_path / "adapter")
    again = lieref.load(path).load_adapter(tmp_path / "adapter")
    np.testing.assert_array_equal(again.predict(x), trained)
    again.unload()
    np.testing.assert_array_equal(again.predict(x), before)


def test_the_start_decides_the_parameterisation() -> None:
    assert isinstance(get_method("lora", init_lora_weights="gaussian").parameterisation, LowRank)
    method = get_method("rslora", r=4, init_lora_weights="olora")
    assert isinstance(method.parameterisation, Principal)
    assert (method.scaling, method.name, method.default_learning_rate) == (2.0, "rslora", 1e-3)
    assert get_method(**method.config()) == method
    assert get_method("lora", init_lora_weights="pissa").parameterisation == get_method("pissa").parameterisation


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_data_or_a_quantised_base_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UnsupportedError, match=f"`init_lora_weights` must not be '{name}': .*(needs|quantising)"):
        get_method("lora", init_lora_weights=name)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", {"init_lora_weights": "pisa"}), ("lora", {"init_lora_weights": None}),
        ("lora", {"init_lora_weights": 1}), ("lora", {"init_lora_weights": "pissa_niter_"}),
        ("lora", {"init_lora_weights": "olora", "matricisation": "view"}), ("liera", {"init_lora_weights": "pissa"}),
        ("dora", {"init_lora_weights": "olora"}), ("lora", {"init_lora_weights": "orthogonal", "r": 3}),
    ],
)  # fmt: skip
def test_starts_that_there_are_not(method: str, options: dict[str, Any]) -> None:
    with pytest.raises(DomainError, match=r"`(init_lora_weights|r)` must be"):
        get_method(method, **options)


def test_starts_of_the_parameterisation_itself() -> None:
    with pytest.raises(DomainError, match="`start` must be one of"):
        Principal(start="svd")
    with pytest.raises(DTypeError, match="`start` must be text"):
        Principal(start=True)  # type: ignore[arg-type]
    with pytest.raises(DomainError, match="`of_logarithm` must be False"):
        Principal(start="orthogonal", of_logarithm=True)
    with pytest.raises(ShapeError, match="room for an even rank"):
        Principal(start="orthogonal").num_params((5, 1))
