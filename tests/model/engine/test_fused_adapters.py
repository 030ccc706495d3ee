"""Adapters computed inside the engine against factors applied outside it, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.errors import DomainError, ShapeError, UnsupportedError
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.adapter import MAPS
from lieref.model.engine import Adapter, compile_graph
from lieref.model.engine.adapter import FORMS
from tests.model.engine.adapters import BOUND, SLOPES, VALUES, algebra, pull_back
from tests.model.engine.networks import (
    NETS,
    as_float64,
    close,
    draw,
    outputs_first,
    plain_net,
    reference,
)
from tests.model.engine.test_accesses import adapters
from tests.pairs import pairs

SMOOTH = [name for name in NETS if name != "functions"]
"""Networks whose gradients are no more sensitive than their layers: logarithms and roots of whatever the moved weights
give are, and adapt nothing themselves."""


@pytest.mark.parametrize(("name", "form", "map_name", "isa"), pairs(SMOOTH, FORMS, MAPS, isa_module.available()))
def test_fused_adapters_agree_with_factors_applied_outside(name, form, map_name, isa, rng):
    graph = NETS[name]()
    fusable = sorted(adapters(graph, form, map_name))
    outputs = {w: len(outputs_first(graph, w, graph.initializers[w])) for w in fusable}
    scales = {w: rng.uniform(0.5, 2, outputs[w]) for w in fusable[::2]}
    double = as_float64(graph).initializers
    if not fusable:
        pytest.skip("no depthwise convolution in this network")
    rank = 3 if form == "low_rank" else 1
    specs = {w: Adapter(map_name, form, rank, 0.7, scales.get(w), BOUND) for w in fusable}
    canonical = {w: outputs_first(graph, w, double[w]) for w in specs}
    engine = compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], adapters=specs, isa=isa)
    changed, pulls = {}, {}
    for w in specs:
        prefix = f"{w}:"
        factors = {key.removeprefix(prefix): v for key, v in engine.parameters.items() if key.startswith(prefix)}
        for array in factors.values():
            array[...] = 0.3 * rng.standard_normal(array.shape)
        factors = {key: array.astype("f8") for key, array in factors.items()}
        base = canonical[w].reshape(len(canonical[w]), -1)
        rows = 0.7 * scales.get(w, np.ones(len(base)))[:, None]
        xi = algebra(form, factors, rows) + np.zeros_like(base)
        weight = VALUES[map_name](base, xi).reshape(canonical[w].shape)
        changed[w] = outputs_first(graph, w, weight).reshape(double[w].shape)
        pulls[w] = factors, rows, SLOPES[map_name](base, xi)
    x = draw(graph, 5, rng)
    y = rng.integers(0, 4, 5)
    for _ in range(2):  # a second call must not see what the first has left
        loss, z, grads = engine.loss_and_grad(x, y)
    want_loss, want_z, bars = reference(graph.with_initializers(changed), x, y, frozenset(specs), "cross_entropy")
    assert abs(loss - want_loss) <= 5e-6 * max(abs(want_loss), np.abs(want_z).max())
    assert close(z, want_z, 5e-6)
    assert np.array_equal(engine.logits(x), z)
    assert set(grads) == set(engine.parameters)
    for w, (factors, rows, slope) in pulls.items():
        bar = outputs_first(graph, w, bars[w]).reshape(slope.shape) * slope
        sizes = {key: np.abs(array) for key, array in factors.items()}
        bounds = pull_back(form, sizes, rows, np.abs(bar))  # the sums may cancel
        for factor, value in pull_back(form, factors, rows, bar).items():
            error = np.linalg.norm(grads[f"{w}:{factor}"] - value)
            assert error <= 5e-6 * np.linalg.norm(bounds[factor]) + 1e-30, (w, factor)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"map": "cube"}, DomainError, "map"),
        ({"form": "rank"}, DomainError, "form"),
        ({"rank": 0}, DomainError, "rank"),
        ({"form": "rows", "rank": 2}, DomainError, "rank"),
        ({"scaling": float("nan")}, DomainError, "scaling"),
        ({"map": "bounded", "bound": 0.0}, DomainError, "bound"),
    ],
)
def test_an_adapter_that_makes_no_sense_is_refused(options, error, message):
    with pytest.raises(error, match=f"Adapter: `{message}`"):
        Adapter(**{"map": "exp", **options})


def test_an_adapter_that_does_not_fit_its_weight_is_refused():
    graph = plain_net()
    dense, depthwise, grouped = (graph.nodes[i].inputs[1] for i in (0, 2, 3))
    by_channel, bias = Adapter("exp", "channel"), graph.nodes[0].inputs[2]
    for weight, adapter in (
        (grouped, by_channel), (dense, by_channel), (bias, Adapter("exp")), ("nothing", Adapter("exp"))
    ):  # fmt: skip
        with pytest.raises(UnsupportedError, match="must adapt the weight of one layer"):
            compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], adapters={weight: adapter})
    adapters = {depthwise: Adapter("exp", row_scale=np.ones(23))}
    with pytest.raises(ShapeError, match="row_scale"):
        compile_graph(graph, trainable=frozenset(), logits=graph.outputs[0], adapters=adapters)
