"""The bound on the error of merged tensors: above the error that 64 digits show, and above what any order may make."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from lieref.adapter.merge.margin import UNIT, margins
from lieref.conformance.definitions.evaluate import merge
from lieref.conformance.definitions.number import numbers
from lieref.model.layer import Layer
from lieref.model.site import Site
from lieref.param.registry import METHODS, get_method
from lieref.param.written import written_out

WEIGHTS = [((4, 3, 2, 2), 1), ((4, 2, 2), 2), ((4, 6), 1)]
OTHERS = ["low-rank+gl+taylor2+in", "low-rank+so+cayley+out", "dense+so*gl+exp+out*in", "low-rank+hadamard+taylor3",
          "low-rank+hadamard+neumann5", "low-rank+gl+neumann4+in"]  # fmt: skip
NAMES = [name for name, row in METHODS.items() if row.scope == "weight"] + OTHERS


def of(
    name: str, shape: tuple[int, ...], groups: int, size: float, rng: np.random.Generator
) -> tuple[Site, np.ndarray]:
    method = get_method(name, **({"m": 2} if "atoms" in name else {}))
    weight = rng.standard_normal(shape)
    params = method.start(shape, groups, rng, np.float64, weight)
    moved = method.trainable(params)
    params = {key: value + size * rng.standard_normal(value.shape) * (key in moved) for key, value in params.items()}
    layer = Layer("w", "", "w", "b" if method.moves_bias else None, shape, groups, False, False, False)
    return Site("w", method, params, groups, layer), weight


def ratio(error: list[float], delta: np.ndarray) -> float:
    sizes = np.reshape(error, delta.shape)
    return float(np.divide(sizes, delta, out=np.zeros_like(delta), where=sizes > 0).max())


@pytest.mark.parametrize("name", NAMES)
def test_the_bound_holds_for_any_order_of_the_sums(name: str, rng: np.random.Generator) -> None:
    tried = 0
    for shape, groups in WEIGHTS:
        if get_method(name).supports(shape, groups) is not None:
            continue
        for size in (0.01, 0.4):
            site, weight = of(name, shape, groups, size, rng)
            base = {"w": weight, "b": rng.standard_normal(shape[0])}
            values = site.adapted(base)
            delta = margins(site, base, values)
            exact = merge(
                {**{key: numbers(array) for key, array in site.params.items()}, "base_weight": numbers(weight),
                 "bias": numbers(base["b"])},
                {"method": name, "groups": groups, "options": written_out(site.method, shape, groups)},
            )  # fmt: skip
            for tensor, value in values.items():
                true = exact["weight" if tensor == "w" else "bias"].ravel()
                with mpmath.workdps(60):
                    error = [abs(float(t.value - mpmath.mpf(float(v)))) for t, v in zip(true, value.flat, strict=True)]
                assert ratio(error, delta[tensor]) < 0.5
                # the running error analysis of the definition itself; that of `hra` multiplies whole reflections
                if name != "hra":
                    assert ratio([UNIT * number.rounding for number in true], delta[tensor]) < 1
                assert delta[tensor].max() < (1e-11 if size < 0.1 else 1e-8)
            tried += 1
    assert tried


@pytest.mark.parametrize("scope", ["full", "head", "bias", "norm"])
def test_one_sum_is_rounded_alike_everywhere(scope: str, rng: np.random.Generator) -> None:
    weight = rng.standard_normal((4, 6))
    site = Site("w", get_method(scope), {"xi": rng.standard_normal((4, 6))}, 1, None)
    values = site.adapted({"w": weight})
    assert (values["w"] == weight + site.params["xi"]).all()
    assert not margins(site, {"w": weight}, values)["w"].any()
