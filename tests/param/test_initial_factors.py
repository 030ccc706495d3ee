"""How the factors that do not start at zero are drawn: the spreads of the published codes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lieref.param.registry import get_method

OUT, IN, K = 24, 40, 6
SHAPE = (OUT, IN, 2, 3)


def kaiming(fan_in: int) -> float:
    """Standard deviation of U(-1/sqrt(f), 1/sqrt(f)), PyTorch's ``kaiming_uniform_(a=sqrt(5))``."""
    return 1 / math.sqrt(3 * fan_in)


SPREADS = [
    ("lora", {"r": 4}, "lora_a", kaiming(IN * K)),
    ("lora-view", {"r": 4}, "lora_a", kaiming(IN * 3)),
    ("locon-tucker", {"r": 4}, "core", kaiming(4 * K)),
    ("locon-tucker", {"r": 4}, "factor_1", kaiming(IN)),
    ("loha", {"r": 4}, "hada_w1_a", kaiming(4)),
    ("loha", {"r": 4}, "hada_w1_b", kaiming(IN * K)),
    ("loha", {"r": 4}, "hada_w2_a", kaiming(4)),
    ("lokr", {"r": 10, "factor": 2}, "w2", kaiming(IN // 2 * K)),
    ("lokr", {"r": 1, "factor": 2}, "w2_a", kaiming(1)),
    ("lokr", {"r": 1, "factor": 2}, "w2_b", kaiming(IN // 2 * K)),
    ("convolutional-low-rank-adaptation", {}, "pointwise", math.sqrt(6 / (IN + OUT)) / math.sqrt(3)),  # Glorot, uniform
    ("flora", {"r": 4}, "factor_0", math.sqrt(2 / (1 + 3) / 4)),  # kaiming_normal_(a=sqrt(3)), fan in the rank
    ("flora", {"r": 4}, "factor_1", math.sqrt(2 / (1 + 3) / 4)),
    ("flora", {"r": 4}, "factor_3", math.sqrt(2 / (1 + 3) / 2)),
    ("atoms-recursive", {"recursive": 3}, "mixture", math.sqrt(2 / 3)),  # kaiming_normal_, fan in m1
    ("hra", {"r": 8}, "u", 1 / math.sqrt(IN * K)),  # vectors of length near 1
]


@pytest.mark.parametrize(("name", "config", "factor", "spread"), SPREADS)
def test_spread(name: str, config: dict[str, Any], factor: str, spread: float, rng: np.random.Generator) -> None:
    method, base = get_method(name, **config), np.random.default_rng(1).standard_normal(SHAPE)
    draws = 1 if name == "atoms-recursive" else 400
    values = np.concatenate([method.init(SHAPE, 1, rng, base_weight=base)[factor].reshape(-1) for _ in range(draws)])
    # The mean square of n draws has a relative deviation of at most sqrt(2 / n).
    assert abs(np.mean(values**2) / spread**2 - 1) < 6 * math.sqrt(2 / values.size)


@pytest.mark.parametrize(("name", "power"), [("atoms", 1), ("atoms-recursive", 1), ("liera-atoms", 0)])
def test_coefficients_of_atoms_have_the_scale_of_what_they_change(name: str, power: int) -> None:
    """An added xi is as large as the weight, a factor exp(xi) does not depend on it."""
    shape, base = (6, 4, 2, 3), np.random.default_rng(2).standard_normal((6, 4, 2, 3))
    one, ten = (
        get_method(name, m=3).init(shape, 1, np.random.default_rng(3), base_weight=scale * base)["coefficients"]
        for scale in (1.0, 16.0)
    )
    np.testing.assert_allclose(ten, 16.0**power * one, rtol=1e-12)


def test_pissa_of_the_logarithm_counts_a_zero_weight_with_the_mean(rng: np.random.Generator) -> None:
    shape = (6, 4, 2, 3)
    base = rng.standard_normal(shape)
    base[0, 0] = 0.0
    params = get_method("pissa-liera", r=4).init(shape, 1, rng, base_weight=base)
    logs = np.log(np.abs(base[base != 0]))
    filled = np.where(base == 0, logs.mean(), np.log(np.abs(np.where(base == 0, 1.0, base))))
    u, s, vt = np.linalg.svd(filled.reshape(6, -1), full_matrices=False)
    np.testing.assert_allclose(params["start_b"] @ params["start_a"], (u[:, :4] * s[:4]) @ vt[:4], atol=1e-13)
    nothing = get_method("pissa-liera", r=2).init(shape, 1, rng, base_weight=np.zeros(shape))
    assert not any((factor @ factor.T).any() for factor in nothing.values())
