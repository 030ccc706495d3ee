"""One number for a whole algebra element: the same factor for every channel, and its gradient."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.group.action import ScaleMode
from lieref.group.maps import Exp
from lieref.param.combination import Combination
from lieref.param.method import Recipe
from lieref.param.uniform import Uniform

METHOD = Combination(Recipe("tied-scale"), Uniform(), "scaling", Exp(), ScaleMode("out", True))


def test_every_channel_has_the_same_factor() -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((5, 3, 2, 4)), rng.standard_normal(5)
    params = METHOD.init(weight.shape, 1, rng, np.float64, weight)
    assert {name: value.shape for name, value in params.items()} == {"xi": (1,)}
    np.testing.assert_array_equal(METHOD.adapted_weight(params, weight), weight)
    params["xi"][...] = 0.3
    np.testing.assert_allclose(METHOD.adapted_weight(params, weight), np.exp(0.3) * weight, rtol=1e-15)
    np.testing.assert_allclose(METHOD.adapted_bias(params, bias, weight.shape), np.exp(0.3) * bias, rtol=1e-15)
    assert METHOD.num_params(weight.shape) == 1


@pytest.mark.parametrize("xi", [0.0, 1e-6, 0.7, -3.0])
def test_the_gradient_is_the_derivative(xi: float) -> None:
    """d/dc <bar, exp(c) W> = exp(c) <bar, W>, and the bias as well."""
    rng = np.random.default_rng(1)
    weight, bar, bias, bias_bar = (rng.standard_normal(shape) for shape in ((4, 6), (4, 6), (4,), (4,)))
    params = {"xi": np.array([xi])}
    found = METHOD.adapted_weight_vjp(params, weight, 1, bar)["xi"]
    through_bias = METHOD.adapted_bias_vjp(params, bias, weight.shape, 1, bias_bar)["xi"]
    np.testing.assert_allclose(found, [np.exp(xi) * (bar * weight).sum()], rtol=1e-13)
    np.testing.assert_allclose(through_bias, [np.exp(xi) * (bias_bar * bias).sum()], rtol=1e-13)
