"""Tensors that are adapted one after the other are those that are adapted together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import lieref
from lieref.model.adapted import TensorsInTurn, tensors_with
from lieref.model.site import Site
from tests.model.nets import residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")


@pytest.mark.parametrize("method", ["liera", "oft", "bias", "affine"])
def test_in_turn_or_together(
    method: str, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = lieref.load(saved(residual_net(), tmp_path)).attach(method)
    for factor in model.parameters().values():
        factor += 0.1 * rng.standard_normal(factor.shape).astype(np.float32)
    statistics = {"bn0.mean": np.full(6, 0.3, np.float32)}
    together = tensors_with(model.sites.values(), model.graph.initializers, statistics)
    counts: dict[str, int] = {}
    adapted = Site.adapted

    def counted(site: Site, base: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        counts[site.tensor] = counts.get(site.tensor, 0) + 1
        return adapted(site, base)

    monkeypatch.setattr(Site, "adapted", counted)
    in_turn = TensorsInTurn(model.sites.values(), model.graph.initializers, statistics)
    assert set(in_turn) == set(together)
    assert len(in_turn) == len(together)
    for site in model.sites.values():
        for name in site.tensors:
            assert np.array_equal(in_turn[name], together[name])
    assert counts == dict.fromkeys(model.sites, 1)
    assert np.array_equal(in_turn["bn0.mean"], statistics["bn0.mean"])
