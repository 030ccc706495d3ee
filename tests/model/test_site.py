"""An adapted tensor of a network and the bias that moves with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lieref.model.onnx_reader import read_onnx
from lieref.model.site import Site, make_sites
from lieref.param.method import Method
from lieref.param.registry import METHODS, get_method
from tests.model.nets import residual_net, saved

MOVERS = [
    method
    for method in (get_method(name) for name in METHODS if METHODS[name].scope == "weight")
    if method.moves_bias
] + [get_method("elra", r=2, action="out+bias")]  # fmt: skip
# The head is so small that affine has more numbers than it.
pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")
every_mover = pytest.mark.parametrize("method", MOVERS, ids=lambda method: method.name)


def sites_of(method: Method, folder: Path, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], list[Site]]:
    """The base tensors and the sites on a stem and a head with a bias, in float64, away from the start."""
    graph, _, _ = read_onnx(saved(residual_net(), folder))
    base = {name: array.astype(np.float64) for name, array in graph.initializers.items()}
    made = make_sites(
        graph.with_initializers(base), method, lambda layers: [method] * len(layers), ["stem", "head"], {}, 0
    )
    for site in made.values():
        for name in method.trainable(site.params):
            site.params[name] += 0.2 * rng.standard_normal(site.params[name].shape)
    return base, list(made.values())


@every_mover
def test_output_of_the_layer_moves_as_a_whole(method: Method, tmp_path: Path, rng: np.random.Generator) -> None:
    """y = W x + b becomes A y + t: on every input, so also on 0, where the bias alone shows."""
    base, sites = sites_of(method, tmp_path, rng)
    for site in sites:
        assert site.tensors == (site.tensor, site.bias)
        new = site.adapted(base)
        weight, moved = (t[site.tensor].reshape(len(base[site.bias]), -1) for t in (base, new))
        x = rng.standard_normal((weight.shape[1], 9))
        x[:, 0] = 0
        before, after = weight @ x + base[site.bias][:, None], moved @ x + new[site.bias][:, None]
        g = method.group_element(site.params, base[site.tensor].shape)  # type: ignore[attr-defined]
        g, n = np.diag(g) if g.ndim == 1 else g, len(before)  # ia3 has one factor an output
        wanted = g[:n, :n] @ before + g[:n, n:].sum(axis=1, keepdims=True)  # no column n: no shift
        np.testing.assert_allclose(after, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
        assert np.abs(new[site.bias] - base[site.bias]).max() > 1e-3


@every_mover
def test_gradient_comes_through_weight_and_bias(method: Method, tmp_path: Path, rng: np.random.Generator) -> None:
    base, sites = sites_of(method, tmp_path, rng)
    for site in sites:
        bars = {name: rng.standard_normal(array.shape) for name, array in site.adapted(base).items()}
        only_bias = {name: bar * (name == site.bias) for name, bar in bars.items()}
        for seeds in (bars, only_bias):
            factor_bars = site.pull_back(base, seeds)
            for name, bar in factor_bars.items():
                direction, h, ends = rng.standard_normal(bar.shape), 1e-6, []
                for sign in (1, -1):
                    params = {**site.params, name: site.params[name] + sign * h * direction}
                    new = Site(site.tensor, site.method, params, site.groups, site.layer).adapted(base)
                    ends.append(sum(np.sum(seeds[tensor] * new[tensor]) for tensor in seeds))
                slope, wanted = (ends[0] - ends[1]) / (2 * h), np.sum(bar * direction)
                # truncation h^2 and rounding u / h are below 1e-9 of terms of order 10
                assert abs(slope - wanted) <= 1e-7 * (1 + abs(wanted)), (site.tensor, name)
            assert any(np.abs(bar).max() > 1e-3 for bar in factor_bars.values())
