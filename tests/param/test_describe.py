"""The table of methods says what is true: counts, geometries, and what is preserved."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from lieref.group.action import PRESERVED
from lieref.param._base import LierefWarning
from lieref.param.describe import GEOMETRIES, _smallest, describe, describe_methods
from lieref.param.registry import METHODS
from lieref.references import REFERENCES


def letters(name: str, method: Any, shape: tuple[int, ...], groups: int) -> dict[str, int]:
    """Values of the letters of a formula, from the definitions in words; a depthwise kernel counts as one group."""
    groups = 1 if groups == shape[0] and METHODS[name].parameterisation != "dense" else groups
    out, inner, kernel = shape[0] // groups, shape[1], shape[2:]
    k, rows = math.prod(kernel), kernel[: len(kernel) // 2]
    recipe = getattr(method, "parameterisation", None) or method.direction.parameterisation
    r = getattr(recipe, "r", 0)
    kernel_ranks = [min(2, size) for size in kernel]
    a = next(n for n in range(math.isqrt(out), 0, -1) if out % n == 0)
    b = next(n for n in range(math.isqrt(inner), 0, -1) if inner % n == 0)
    mode = {"out": out, "affine": out, "in": inner, "fan-in": inner * k}.get(METHODS[name].action.split("+")[0], 0)
    values = {
        "G": groups, "O": out, "I": inner, "k": k, "p": math.prod(rows), "q": k // math.prod(rows), "r": r,
        "s": min(r, inner), "t": math.prod(kernel_ranks), "m": getattr(recipe, "m", 0), "n": mode,
        "m1": getattr(recipe, "recursive", None) or 0, "a": a, "b": b, "c": out // a, "d": inner // b,
        "u": sum(size * rank for size, rank in zip(kernel, kernel_ranks, strict=True)),
        "e": min(out, inner * k), "N": -(-min(out, inner * k) // max(1, min(r, out, inner * k))), "w": sum(kernel),
    }  # fmt: skip
    # Without a kernel filters are blocks of about 4 x 4; 8 and 6 divide into 4 and 3.
    values |= {"f": k, "v": inner} if k > 1 else {"f": 4 * 3, "v": 2}
    if hasattr(recipe, "size_for"):
        values["b"] = recipe.size_for(mode)
        values["m"] = len(recipe.positions(mode)) * values["b"] // mode
    return values


@pytest.mark.parametrize("name", METHODS)
def test_formula_counts_the_trainables(name: str) -> None:
    row = describe(name)
    if row["parameterisation"] is None:
        assert row["formula"] == "0"
        return
    method = _smallest(name)
    for kind in row["geometry"]:
        shape, groups = GEOMETRIES[kind]
        values = letters(name, method, shape, groups)
        counts = [eval(f.replace("·", "*"), {}, values) for f in row["formula"].split(" or ")]
        assert method.num_params(shape, groups) in counts, (kind, counts)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.filterwarnings(f"ignore::{LierefWarning.__module__}.{LierefWarning.__name__}")
def test_preserved_signs_support_norms_and_angles_are_kept(name: str, rng: np.random.Generator) -> None:
    """What can be seen on a weight is checked on a weight; the actions' own tests check every claim."""
    row = describe(name)
    assert set(row["preserves"]) <= set(PRESERVED)
    for kind in row["geometry"]:
        shape, groups = GEOMETRIES[kind]
        method = _smallest(name)
        base = rng.standard_normal(shape)
        params = method.init(shape, groups, rng, base_weight=base)
        trained = method.trainable(params)
        params = {n: p + 0.4 * rng.standard_normal(p.shape) * (n in trained) for n, p in params.items()}
        weight = method.adapted_weight(params, base, groups)
        before, after = base.reshape(groups, shape[0] // groups, -1), weight.reshape(groups, shape[0] // groups, -1)
        n0, n1 = (np.linalg.norm(w, axis=2, keepdims=True) for w in (before, after))
        if "signs" in row["preserves"]:
            assert np.array_equal(np.sign(weight), np.sign(base))
        if "filter norms" in row["preserves"]:
            np.testing.assert_allclose(n1, n0, rtol=1e-13)
        if "filter angles" in row["preserves"]:
            cosines = [(w / n) @ np.swapaxes(w / n, 1, 2) for w, n in ((before, n0), (after, n1))]
            np.testing.assert_allclose(cosines[1], cosines[0], atol=1e-13)


def test_table_is_plain_data_with_known_references() -> None:
    rows = json.loads(json.dumps(describe_methods()))
    assert [row["name"] for row in rows] == list(METHODS)
    for row in rows:
        assert all(key.strip("[]") in REFERENCES for key in row["reference"].split()), row["reference"]
        assert row["scope"] in {"weight", "head", "bias", "norm", "all", "statistics"}
        assert row["geometry"] or row["parameterisation"] is None
