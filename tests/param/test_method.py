"""What every method refuses: names and switches of the wrong type, cotangents that are not those of the weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, LierefError, ShapeError
from lieref.param.registry import get_method

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")

SHAPE = (4, 6, 3, 2)


@pytest.mark.parametrize("name", [None, 3, b"liera", ["liera"]])
def test_name_that_is_no_text(name: Any) -> None:
    with pytest.raises(DTypeError, match="get_method: `name` must be text"):
        get_method(name)


def test_an_unknown_name_is_met_with_those_that_are_close() -> None:
    with pytest.raises(DomainError, match=r"must be a method, such as liera or .*; got 'lierra'"):
        get_method("lierra")
    with pytest.raises(
        DomainError, match=r"must be one of full, head, .*, or parameterisation\+group\+map\[\+action\]; got 'qqq'"
    ):
        get_method("qqq")


@pytest.mark.parametrize("option", ["strict", "use_rslora", "share_groups"])
@pytest.mark.parametrize("value", ["no", 1, None])
def test_switch_that_is_neither_true_nor_false(option: str, value: Any) -> None:
    if option == "share_groups" and value is None:
        assert get_method("liera", share_groups=None).supports(SHAPE) is None  # shared where groups have one row each
        return
    with pytest.raises(DTypeError, match=f"get_method: `{option}` must be True or False"):
        get_method("liera", **{option: value})


@pytest.mark.parametrize("name", ["full", "liera", "dora", "oft", "boft", "hra", "elra"])
@pytest.mark.parametrize(
    ("bar", "error"),
    [
        (np.full(SHAPE, np.nan), DomainError),
        (np.full(SHAPE, -np.inf), DomainError),
        (np.ones(SHAPE, np.float32), DTypeError),
        (np.ones(SHAPE, np.int64), DTypeError),
        (np.ones(SHAPE[:-1]), ShapeError),
    ],
    ids=["nan", "infinite", "float32", "integers", "shape"],
)
def test_cotangent_that_is_not_the_weights(
    name: str, bar: np.ndarray, error: type[LierefError], rng: np.random.Generator
) -> None:
    method, base = get_method(name), rng.standard_normal(SHAPE)
    params = method.init(SHAPE, 1, rng, base_weight=base)
    with pytest.raises(error, match=r"`?weight_bar"):
        method.adapted_weight_vjp(params, base, 1, bar)


@pytest.mark.parametrize("name", ["full", "dora", "oft", "affine", "norm-stats"])
def test_cotangent_in_the_place_it_had_before(name: str, rng: np.random.Generator) -> None:
    """It was the third argument; now it is the last, as in every other VJP."""
    method, base = get_method(name), rng.standard_normal(SHAPE)
    params = method.init(SHAPE, 1, rng, base_weight=base)
    weight_bar, bias, bias_bar = rng.standard_normal(SHAPE), *rng.standard_normal((2, SHAPE[0]))
    found = method.adapted_weight_vjp(params, base, 1, weight_bar)
    through = method.adapted_bias_vjp(params, bias, SHAPE, 1, bias_bar)
    old: Any = method
    calls = [
        (found, lambda: old.adapted_weight_vjp(params, base, weight_bar)),
        (found, lambda: old.adapted_weight_vjp(params, base, weight_bar, 1)),
        (found, lambda: old.adapted_weight_vjp(params, base, weight_bar, groups=1)),
        (through, lambda: old.adapted_bias_vjp(params, bias, bias_bar, SHAPE)),
        (through, lambda: old.adapted_bias_vjp(params, bias, bias_bar, SHAPE, 1)),
    ]
    for wanted, call in calls:
        with pytest.warns(DeprecationWarning, match="_bar` is now the last argument") as seen:
            again = call()
        assert seen[0].filename == __file__
        assert again.keys() == wanted.keys()
        for key, value in wanted.items():
            np.testing.assert_array_equal(again[key], value)
