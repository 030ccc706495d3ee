"""AdaLoRA's training against its formulas, and on a network from attaching to a merged file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.errors import DomainError
from lieref.train.adalora import AdaLoRA
from lieref.train.optimizer_registry import make_optimizer
from tests.model.nets import residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.ManyTrainablesWarning")

SIZES = {"one": (2, 3, 5, 4), "two": (1, 2, 3, 6)}
"""Conv groups, rank, rows and columns of two tensors."""


def factors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    found = {}
    for name, (g, r, o, i) in SIZES.items():
        shapes = {"lora_a": (g * r, i), "lora_e": (g * r,), "lora_b": (g * o, r)}
        found |= {f"{name}:{factor}": rng.standard_normal(shape) for factor, shape in shapes.items()}
    return found


def split(params: dict[str, np.ndarray], name: str) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """e, A and B of every conv group."""
    g, r, o, _ = SIZES[name]
    a, e, b = (params[f"{name}:lora_{factor}"] for factor in "aeb")
    return [(e[n * r : (n + 1) * r], a[n * r : (n + 1) * r], b[n * o : (n + 1) * o]) for n in range(g)]


def penalty(params: dict[str, np.ndarray]) -> Any:
    """Its value, a polynomial, so that a complex step gives its derivative to rounding."""
    found = 0.0
    for name, (_, r, _, _) in SIZES.items():
        for _, a, b in split(params, name):
            found += ((b.T @ b - np.eye(r)) ** 2).sum() + ((a @ a.T - np.eye(r)) ** 2).sum()
    return found


def penalty_gradient(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    bars = {}
    for name, array in params.items():
        bars[name] = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            moved = {n: p.astype(complex) for n, p in params.items()}
            moved[name][place] += 1e-100j
            bars[name][place] = penalty(moved).imag / 1e-100
    return bars


def test_steps_are_those_of_the_algorithm() -> None:
    """Written again number by number from [Zhang23A]: Adam, scores, and which triplets a step has room for."""
    rng = np.random.default_rng(2)
    settings = {"keep": 0.4, "warmup": 0.2, "final": 0.2, "orthogonality": 0.03, "beta3": 0.8, "beta4": 0.6}
    total, begin, end, rate = 20, 4, 16, 0.05
    live = factors(rng)
    optimizer = AdaLoRA(**settings)
    optimizer.plan(live, total)
    mine = {name: array.copy() for name, array in live.items()}
    slots: dict[str, dict[str, Any]] = {slot: {n: 0.0 for n in mine} for slot in ("m", "v", "mean", "spread")}
    triplets = [(name, n, q) for name, (g, r, _, _) in SIZES.items() for n in range(g) for q in range(r)]
    rooms = []
    for t in range(1, total + 1):
        grads = {name: rng.standard_normal(array.shape) for name, array in live.items()}
        optimizer.step(live, grads, rate)
        pull = penalty_gradient(mine)
        off = [one for one in triplets if split(mine, one[0])[one[1]][0][one[2]] == 0.0]
        for name in mine:
            g = grads[name] + settings["orthogonality"] * pull[name]
            importance = abs(mine[name] * g)
            mean = slots["mean"][name] = 0.8 * slots["mean"][name] + 0.2 * importance
            slots["spread"][name] = 0.6 * slots["spread"][name] + 0.4 * abs(importance - mean)
            m = slots["m"][name] = 0.9 * slots["m"][name] + 0.1 * g
            v = slots["v"][name] = 0.999 * slots["v"][name] + 0.001 * g * g
            mine[name] = mine[name] - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        gone = off if t > end else []
        if begin < t <= end:
            score = {}
            products = {name: slots["mean"][name] * slots["spread"][name] for name in mine}
            for name, n, q in triplets:
                e, a, b = split(products, name)[n]
                score[name, n, q] = e[q] + sum(a[q]) / len(a[q]) + sum(b[:, q]) / len(b)
            left = round(0.4 * len(triplets))
            room = left + round((len(triplets) - left) * (1 - (t - begin) / (end - begin)) ** 3)
            rooms.append(room)
            gone = sorted(triplets, key=lambda one: -score[one])[room:]
        for name, n, q in gone:
            split(mine, name)[n][0][q] = 0.0
        for name, array in mine.items():
            np.testing.assert_allclose(live[name], array, rtol=0, atol=1e-11)
    assert rooms[0] < len(triplets)
    assert rooms[-1] == 3
    assert sum(np.count_nonzero(live[f"{name}:lora_e"]) for name in SIZES) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"keep": 0.0}, "`keep`"), ({"keep": 1.5}, "`keep` must be at most 1"), ({"warmup": -0.1}, "`warmup`"),
     ({"warmup": 0.5, "final": 0.5}, "must leave a part of the run"), ({"every": 0}, "`every`"),
     ({"orthogonality": -1.0}, "`orthogonality`"), ({"beta3": 1.0}, "`beta3`"), ({"beta4": math.nan}, "`beta4`")],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(DomainError, match=said):
        AdaLoRA(**settings)


def test_a_run_that_is_not_known_is_refused() -> None:
    params = factors(np.random.default_rng(0))
    before = {name: array.copy() for name, array in params.items()}
    with pytest.raises(DomainError, match=r"call plan\(params, total\) first"):
        AdaLoRA().step(params, before, 0.1)
    assert all(np.array_equal(params[name], before[name]) for name in params)
    assert make_optimizer("adalora") == AdaLoRA()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return saved(residual_net(), tmp_path)


def samples(model: Any) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((40, *model.input_shape[1:])).astype(np.float32)
    return x, rng.integers(0, model.predict(x[:1]).shape[1], 40)


@pytest.mark.parametrize("method", ["lora-svd", "singular-values+hadamard+exp"])
def test_ranks_that_are_left_are_saved_loaded_and_merged(base: Path, tmp_path: Path, method: str) -> None:
    model = lieref.load(base).attach(method, r=3, target_modules=["*"])
    x, y = samples(model)
    before = model.num_trainable()
    triplets = sum(array.size for name, array in model.parameters().items() if name.endswith(":lora_e"))
    history = lieref.fit(model, x, y, epochs=5, batch_size=8, augment=(), optimizer=AdaLoRA(keep=0.3), seed=1)
    values = {n.rpartition(":")[0]: e for n, e in model.parameters().items() if n.endswith(":lora_e")}
    assert sum(np.count_nonzero(e) for e in values.values()) == round(0.3 * triplets)
    for tensor, rank in history.ranks.items():  # that of the conv group with most
        used = np.count_nonzero(values[tensor].reshape(-1, rank), axis=1)
        assert rank == max(1, used.max())
    assert history.ranks.keys() == values.keys()
    assert model.num_trainable() < before
    wanted = model.predict(x)
    model.save_adapter(tmp_path / "adapter")
    again = lieref.load(base)
    again.load_adapter(tmp_path / "adapter")
    assert np.array_equal(again.predict(x), wanted)
    lieref.fit(model, x, y, epochs=1, batch_size=8, augment=())  # with the ranks that are left
    again.merge_and_unload().save(tmp_path / "merged.onnx")
    np.testing.assert_allclose(lieref.load(tmp_path / "merged.onnx").predict(x), wanted, rtol=0, atol=1e-5)


def test_a_resumed_run_has_the_same_bits(base: Path, tmp_path: Path) -> None:
    def run(stop: int | None, **where: Any) -> Any:
        model = lieref.load(base).attach("lora-svd", r=3)

        def progress(state: Any) -> None:
            if (state.epoch, state.step) == (3, stop):
                raise KeyboardInterrupt

        optimizer = AdaLoRA(keep=0.5)
        lieref.fit(
            model, *samples(model), epochs=4, batch_size=8, augment=(), optimizer=optimizer, progress=progress, **where
        )
        return {name: array.tobytes() for name, array in model.parameters().items()}

    with pytest.raises(KeyboardInterrupt):
        run(12, checkpoint=tmp_path / "run")
    assert run(None, checkpoint=tmp_path / "run", resume=True) == run(None)


def test_what_has_no_singular_values_is_refused_before_anything_is_done(base: Path) -> None:
    model = lieref.load(base).attach("lora", r=2)
    before = {name: array.tobytes() for name, array in model.parameters().items()}
    with pytest.raises(DomainError, match="allocates the ranks of lora-svd"):
        lieref.fit(model, *samples(model), epochs=1, optimizer="adalora")
    assert {name: array.tobytes() for name, array in model.parameters().items()} == before


def test_an_average_would_bring_ranks_back_and_is_refused(base: Path) -> None:
    model = lieref.load(base).attach("lora-svd", r=2)
    with pytest.raises(DomainError, match="`average` must be False with the optimizer adalora"):
        lieref.fit(model, *samples(model), epochs=1, optimizer="adalora", average=True)
