"""Weight decay in the algebra: what |xi| is as a distance, and runs that it pulls to the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm, logm

import lieref
from lieref.errors import DomainError
from lieref.param.registry import get_method
from lieref.train.history_file import read_epochs, write_history
from tests.model.nets import residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")
RNG = np.random.default_rng(0)


def element(name: str, shape: tuple[int, ...], **options: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """xi, the base weight and the adapted one, away from the start."""
    method, base = get_method(name, **options), RNG.standard_normal(shape)
    params = method.init(shape, 1, RNG, base_weight=base)
    params = {n: p + 0.2 * RNG.standard_normal(p.shape) for n, p in params.items()}
    return method.delta(params, shape), base, method.adapted_weight(params, base)


def test_of_positive_factors_it_is_the_distance_of_logarithms() -> None:
    xi, base, weight = element("liera", (5, 4), r=2)
    assert (xi**2).sum() == pytest.approx((np.log(weight / base) ** 2).sum())
    xi, base, weight = element("scale", (5, 4))
    assert (xi**2).sum() == pytest.approx((np.log(weight / base)[:, 0] ** 2).sum())
    xi, base, weight = element("lora", (5, 4), r=2)
    assert (xi**2).sum() == pytest.approx(((weight - base) ** 2).sum())


def test_of_a_rotation_it_is_the_length_of_the_logarithm_and_of_a_matrix_that_of_a_curve() -> None:
    xi, base, weight = element("so", (5, 5), r=1)
    rotation = weight @ np.linalg.inv(base)
    angles = np.angle(np.linalg.eigvals(rotation))
    assert (xi**2).sum() == pytest.approx((angles**2).sum())  # each angle twice, with both signs
    np.testing.assert_allclose(logm(rotation), xi, atol=1e-10)
    xi, base, weight = element("elra", (5, 5), r=1)
    np.testing.assert_allclose(expm(xi) @ base, weight, atol=1e-12)
    times = np.linspace(0, 1, 2001)
    curve = np.stack([expm(t * xi) for t in times])
    speeds = np.linalg.solve((curve[1:] + curve[:-1]) / 2, np.diff(curve, axis=0))
    assert np.linalg.norm(speeds, axis=(1, 2)).sum() == pytest.approx(np.linalg.norm(xi), rel=1e-6)


def data(model: Any) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.standard_normal((24, *model.input_shape[1:])).astype(np.float32), np.arange(24) % 5


@pytest.mark.parametrize("method", ["liera", "dora", "so"])
def test_more_of_it_ends_nearer_to_the_base(tmp_path: Path, method: str) -> None:
    path, norms = saved(residual_net(), tmp_path), []
    for decay in (None, 1.0, 100.0):
        model = lieref.load(path).attach(method, r=1)
        history = lieref.fit(model, *data(model), epochs=8, batch_size=8, augment=(), algebra_decay=decay)
        norms.append(np.sqrt(sum(value**2 for value in model.algebra_norms().values())))
        assert history.recipe["algebra_decay"] == decay
        recorded = history.epochs[-1].xi_norm
        assert recorded is None if decay is None else recorded == pytest.approx(norms[-1])
    assert norms[0] > norms[1] > norms[2]
    write_history(tmp_path / "run.csv", history)
    assert read_epochs(tmp_path / "run.csv") == history.epochs
    assert "|xi|" in repr(history)


def test_a_step_is_that_of_the_whole_objective(tmp_path: Path) -> None:
    model = lieref.load(saved(residual_net(), tmp_path), dtype="float64").attach("liera", r=1)
    x, y = data(model)
    for array in model.parameters().values():
        array += 0.1 * RNG.standard_normal(array.shape)
    before = {name: array.copy() for name, array in model.parameters().items()}
    _, _, grads = model.loss_and_grad(x, y, lieref.CrossEntropy())
    wanted = {name: before[name] - 0.01 * (grads[name] + 0.5 * bar) for name, bar in model.algebra_grads().items()}
    how: dict[str, Any] = {"batch_size": 24, "augment": (), "schedule": "constant", "learning_rate": 0.01}
    lieref.fit(model, x, y, epochs=1, optimizer=lieref.SGD(momentum=0.0), algebra_decay=0.5, **how)
    for name, array in model.parameters().items():
        np.testing.assert_allclose(array, wanted[name], rtol=0, atol=1e-12)


def test_a_new_head_does_not_decay(tmp_path: Path) -> None:
    model = lieref.load(saved(residual_net(), tmp_path)).attach("lora", r=1, head=lieref.NewHead(3))
    assert not {tensor for tensor in model.head.tensors} & set(model.algebra_norms())
    assert not any(name.partition(":")[0] in model.head.tensors for name in model.algebra_grads())
    assert set(model.algebra_norms()) | set(model.head.tensors) == set(model.sites)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_what_is_no_decay_is_refused(tmp_path: Path, value: float) -> None:
    model = lieref.load(saved(residual_net(), tmp_path)).attach("bias")
    with pytest.raises(DomainError, match="`algebra_decay` must be"):
        lieref.fit(model, *data(model), algebra_decay=value)
