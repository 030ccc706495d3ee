"""Adapted weights in every layout, and the gradients of their factors, within n u S over random layers.

With u the unit roundoff, xi is a sum of rank products and carries (rank + 1) u S_xi; a map adds a few u and turns an
error of xi into a relative one of W'. A cotangent is a sum over pixels, its product with the map's slope, and a sum
over the other index of the factor: its bound is (terms of all three + 10) u times the same sums of absolute values.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.adapter import MAPS
from lieref.kernel.simd.memory import aligned
from lieref.model.engine.adapter import FORMS, Adapter
from lieref.model.engine.factors import ONE, factors_of
from lieref.model.engine.kinds import KINDS
from lieref.model.engine.layer import Epilogue, FusedLayer, Window
from lieref.model.engine.layout import WeightAxes
from lieref.model.engine.weights import Storage
from tests.model.engine.adapters import BOUND, SLOPES, VALUES, algebra, pull_back
from tests.model.engine.rows import OneLayer, define, exchanged, make_tensor, run_on
from tests.pairs import pairs


def run(storage, rows, values, base, factors, isa, dtype):
    """Run all rows; return the packed weights and the gradients of the factors by name."""
    (parts,) = storage.fused.values()
    memory = {
        "weights": aligned(storage.weight_size, dtype),
        "bases": aligned(storage.base_size, dtype), "gradients": aligned(storage.gradient_size, dtype),
        "factors": aligned(storage.factor_size, dtype), "factor_gradients": aligned(storage.factor_size, dtype),
    }  # fmt: skip
    memory["bases"][...] = np.nan
    for pack in storage.packs:
        if pack.copied:
            memory["bases"][pack.layout.offset :][: pack.layout.size] = 0
            pack.layout.pack(base.ravel(), memory["bases"])
    for number, factor in [(part.number, factor) for part in parts for factor in factors_of(part)]:
        own = np.split(factors[factor.name], len(parts))[number] if factor.name else np.zeros(0)
        known = np.append(own, 0)
        chosen = np.where(factor.index == ONE, 1, known[np.maximum(factor.index, -1)])
        memory["factors"][factor.offset : factor.offset + chosen.size] = chosen * factor.scale
    run_on([*storage.prepare, *rows, *storage.collect], storage, memory, values)
    gradients = {name: [] for name in factors}
    for part in parts:
        for factor in factors_of(part):
            if factor.name:
                real = np.flatnonzero(factor.index >= 0)
                found = np.zeros(part.shapes[factor.name])
                found.flat[factor.index[real]] = memory["factor_gradients"][factor.offset + real] * factor.scale[real]
                gradients[factor.name].append(found)
    return memory["weights"], {name: np.concatenate(found) for name, found in gradients.items()}


@pytest.mark.parametrize(
    ("form", "map_name", "isa", "dtype"), pairs(FORMS, MAPS, isa_module.available(), ("float32", "float64"))
)
@settings(max_examples=12)
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 4)), rank=st.integers(1, 6),
    inner=st.sampled_from([1, 3, 8, 16, 17, 32]), outer=st.sampled_from([1, 5, 8, 16, 33]),
    kind=st.sampled_from(["dense", "groups", "depthwise"]), up=st.booleans(), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_adapters_are_within_n_u_s(form, map_name, isa, dtype, kernel, rank, inner, outer, kind, up, seed):
    depthwise = kind == "depthwise" or form == "channel" or (kind, inner, outer) == ("groups", 1, 1)
    if depthwise:
        inner, outer = 1, max(outer, 2)
    rng = np.random.default_rng(seed)
    groups = outer if depthwise else 3 if kind == "groups" else 1
    outer = outer * groups if kind == "groups" and not depthwise else outer
    window, channels = Window(kernel, (2, 3) if up else (1, 1), (1, 0, 0, 1)), groups * inner
    name = ("transposed_depthwise" if up else "depthwise") if depthwise else "transposed" if up else "conv"
    if min(window.output(5, 6)) < 1:
        return
    o, j = outer, inner * kernel[0] * kernel[1]
    rank = rank if form == "low_rank" else 1
    shapes = {
        "low_rank": {"lora_a": (rank if depthwise else groups * rank, j), "lora_b": (o, rank)}, "rows": {"xi": (o,)},
        "channel": {"lora_a": (o, j), "lora_b": (o, 1)}, "dense": {"xi": (o, j)},
    }[form]  # fmt: skip
    factors = {name: (0.4 * rng.standard_normal(shape)).astype(dtype) for name, shape in shapes.items()}
    base = rng.standard_normal((o, inner, *kernel)).astype(dtype)
    adapter = Adapter(map_name, form, rank, 0.7, rng.uniform(0.5, 2, o).astype(dtype), BOUND)
    axes = WeightAxes.row_major(*base.shape, 1 if depthwise else groups)
    if up and not depthwise:
        axes = WeightAxes.inputs_first(*base.shape, groups)
    layer = FusedLayer(name, "x", "y", window, o, "w", "", axes, groups)
    storage = Storage(isa, dtype, frozenset({"w"}), {"w": adapter})
    a, x_bar = (make_tensor(channels, 5, 6, isa, dtype) for _ in range(2))
    out, g = (make_tensor(o, *layer.size(5, 6), isa, dtype) for _ in range(2))
    kind, one = KINDS[layer.kind], OneLayer(storage, {"x": a}, {"x": x_bar})
    rows = [*kind.forward(one, layer, out, Epilogue()), *kind.backward(one, layer, g)]
    x = rng.standard_normal((channels, 5, 6)).astype(dtype)
    bar = rng.standard_normal((o, out.height, out.width)).astype(dtype)
    stored = exchanged(base, groups) if up else base
    packed, gradients = run(storage, rows, {a: x, g: bar}, stored, factors, isa, dtype)

    u = np.finfo(dtype).eps / 2 + np.finfo("f8").eps / 2
    wide = {name: value.astype("f8") for name, value in factors.items()}
    sizes = {name: np.abs(value) for name, value in wide.items()}
    scale, w = (0.7 * adapter.row_scale.astype("f8"))[:, None], base.astype("f8").reshape(o, j)
    xi, size_xi = algebra(form, wide, scale) + np.zeros((o, j)), algebra(form, sizes, scale) + np.zeros((o, j))
    weight = VALUES[map_name](w, xi)
    error_of_xi = (rank + 3) * size_xi
    size = np.abs(w) * np.exp(size_xi)
    off = (size * (error_of_xi + 8) if map_name != "add" else error_of_xi + np.abs(weight)) * u * 1.01
    for pack in storage.packs:
        own = np.arange(base.size).reshape(base.shape)
        element = pack.layout.arranged((exchanged(own, groups) if up else own).ravel(), -1)
        real = element >= 0
        got = packed[pack.layout.offset :][: pack.layout.size]
        assert np.all(np.abs(got[real] - weight.ravel()[element[real]]) <= off.ravel()[element[real]])
        assert not got[~real].any(), "what only fills a vector stays zero"

    def weight_gradient(x, g):
        if not up:
            return define(x, base, g, window, groups)[2].reshape(o, j)
        return exchanged(define(g, stored, x, window, groups)[2], groups).reshape(o, j)

    w_bar, size_bar = (weight_gradient(*(f(v.astype("f8")) for v in (x, bar))) for f in (np.asarray, np.abs))
    want = pull_back(form, wide, scale, w_bar * SLOPES[map_name](w, xi))
    slope = np.ones_like(w) if map_name == "add" else size * (1 + size_xi)
    bounds = pull_back(form, sizes, scale, size_bar * slope * (1 + size_xi))
    terms = max(out.height * out.width, 30) + max(o, j) + rank + 20
    for name, value in want.items():
        assert np.all(np.abs(gradients[name] - value) <= terms * u * bounds[name] * 1.01 + 1e-300), name
