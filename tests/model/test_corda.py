"""CorDA's start, against W C = U S V^T with every patch written out."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import lieref
from lieref.errors import DomainError, LierefWarning, UnsupportedError
from lieref.model.layer_inputs import start_from_inputs
from lieref.param.registry import get_method
from tests.model.nets import residual_net, saved
from tests.model.test_layer_inputs import network

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.ManyTrainablesWarning")


def patches(x: np.ndarray, kernel: tuple[int, ...], stride: int, dilation: int) -> np.ndarray:
    """What a convolution multiplies, position by position: (channels, kernel, positions)."""
    reach = [dilation * (k - 1) for k in kernel]
    places = itertools.product(*(range(0, n - r, stride) for n, r in zip(x.shape[2:], reach, strict=True)))
    columns = []
    for place in places:
        window = tuple(slice(at, at + r + 1, dilation) for at, r in zip(place, reach, strict=True))
        columns.append(x[(slice(None), slice(None), *window)])
    return (
        np.stack(columns, -1)
        .astype(float)
        .transpose(1, *range(2, x.ndim), 0, x.ndim)
        .reshape(x.shape[1], int(np.prod(kernel)), -1)
    )


def parts(w: np.ndarray, x: np.ndarray, r: int, *, smallest: bool) -> tuple[np.ndarray, np.ndarray]:
    """The part of W (rows, n) that is adapted with inputs x (n, samples), and its singular values."""
    c = x @ x.T
    c = c * len(c) / np.trace(c) + 0.01 * np.eye(len(c))
    u, s, vt = np.linalg.svd(w @ c)
    at = np.arange(len(s))[-r:] if smallest else np.arange(r)
    return u[:, at] @ np.diag(s[at]) @ vt[at] @ np.linalg.inv(c), s[at]


def is_started(params: dict[str, np.ndarray], w: np.ndarray, read: np.ndarray, r: int, s: float, kpm: bool) -> None:
    """The factors of each block hold the part, in equal shares, and count from there."""
    blocks = len(read)
    a, b = params["lora_a"].reshape(blocks, r, -1), params["lora_b"].reshape(blocks, -1, r)
    for a0, b0, rows, of in zip(a, b, w.reshape(blocks, -1, a.shape[-1]), read, strict=True):
        part, values = parts(rows, of, r, smallest=kpm)
        np.testing.assert_allclose(s * b0 @ a0, part, rtol=0, atol=1e-9 * abs(part).max())
        np.testing.assert_allclose(b0.T @ b0, np.diag(values) / s, rtol=0, atol=1e-9 * values.max())
    for name in "ab":
        assert np.array_equal(params[f"lora_{name}"], params[f"start_{name}"])


# weight, groups, stride, dilation, size of the input, blocks that share their factors
CONVOLUTIONS = {
    "2-D strided and dilated": ((6, 4, 3, 2), 1, 2, 2, (9, 8), 1),
    "grouped": ((6, 2, 3, 3), 2, 1, 1, (6, 5), 2),
    "depthwise": ((4, 1, 3, 2), 4, 1, 1, (6, 5), 1),
    "1-D": ((5, 3, 4), 1, 2, 1, (15,), 1),
    "3-D": ((7, 2, 2, 3, 2), 1, 1, 1, (4, 5, 3), 1),
}


@pytest.mark.parametrize("start", ["corda", "corda_kpm"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_of_a_convolution_it_is_that_of_its_patches(tmp_path: Path, name: str, start: str) -> None:
    shape, groups, stride, dilation, size, blocks = CONVOLUTIONS[name]
    rng = np.random.default_rng(0)
    w, rank = rng.standard_normal(shape).astype(np.float32), len(size)
    x = rng.standard_normal((5, shape[1] * groups, *size)).astype(np.float32)
    x *= np.array([3, 1, 2, 0.5])[: x.shape[1]].reshape(-1, *[1] * rank)
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], name="c", group=groups, strides=[stride] * rank, dilations=[dilation] * rank
    )
    model = network(tmp_path, node, w, ("n", *x.shape[1:]))
    before = model.predict(x)
    model.attach("lora", r=2, lora_alpha=3.0, init_lora_weights=start)
    model.start_from_inputs(x)
    assert model.predict(x).tobytes() == before.tobytes()
    read = patches(x, shape[2:], stride, dilation)
    read = np.hstack(list(read))[None] if name == "depthwise" else read.reshape(blocks, -1, read.shape[-1])
    is_started(model.sites["w"].params, w, read, 2, 1.5, start == "corda_kpm")


def test_of_a_transposed_convolution_a_column_is_a_pixel_at_one_place_of_the_kernel(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    w = rng.standard_normal((4, 3, 2, 2)).astype(np.float32)
    x = rng.standard_normal((3, 4, 5, 6)).astype(np.float32) * np.array([3, 1, 2, 0.5], np.float32)[:, None, None]
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="c", strides=[2, 2])
    model = network(tmp_path, node, w, ("n", *x.shape[1:]))
    model.attach("lora", r=2, init_lora_weights="corda").start_from_inputs(x)
    pixels = x.transpose(1, 0, 2, 3).reshape(4, -1).astype(float)
    is_started(model.sites["w"].params, w.swapaxes(0, 1), np.kron(pixels, np.eye(4))[None], 2, 1.0, kpm=False)


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_of_a_linear_layer_it_is_that_of_its_inputs(tmp_path: Path, op: str) -> None:
    rng = np.random.default_rng(1)
    w, x = rng.standard_normal((8, 5)).astype(np.float32), rng.standard_normal((20, 8)).astype(np.float32)
    model = network(tmp_path, helper.make_node(op, ["x", "w"], ["y"], name="c"), w, ("n", 8))
    model.attach("rslora", r=4, init_lora_weights="corda").start_from_inputs(x)
    is_started(model.sites["w"].params, w.T, x.T[None].astype(float), 4, 2.0, kpm=False)


def test_few_inputs_are_enough_and_those_that_are_white_give_pissa(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    w = rng.standard_normal((5, 8))
    model = network(
        tmp_path, helper.make_node("Gemm", ["x", "w"], ["y"], name="c", transB=1), w.astype(np.float32), ("n", 8)
    )
    model.attach("lora", r=2, init_lora_weights="corda").start_from_inputs(np.ones((1, 8)), final=False)
    params = model.sites["w"].params
    is_started(params, w.astype(np.float32), np.ones((1, 8, 1)), 2, 1.0, kpm=False)  # C has rank 1
    model.start_from_inputs(3.0 * np.eye(8))
    u, s, vt = np.linalg.svd(w.astype(np.float32).astype(float))
    np.testing.assert_allclose(params["lora_b"] @ params["lora_a"], (u[:, :2] * s[:2]) @ vt[:2], atol=1e-12)


def test_filters_of_zeros_are_not_the_smallest_part(tmp_path: Path) -> None:
    w = np.random.default_rng(3).standard_normal((5, 8)).astype(np.float32)
    w[1] = 0.0
    model = network(tmp_path, helper.make_node("Gemm", ["x", "w"], ["y"], name="c", transB=1), w, ("n", 8))
    model.attach("lora", r=2, init_lora_weights="corda_kpm").start_from_inputs(np.eye(8))
    singular = np.linalg.svd(w.astype(float), compute_uv=False)
    product = model.sites["w"].params["lora_b"] @ model.sites["w"].params["lora_a"]
    np.testing.assert_allclose(np.linalg.svd(product, compute_uv=False)[:2], singular[2:4], atol=1e-12)


def data(model: Any) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.standard_normal((24, *model.input_shape[1:])).astype(np.float32), np.arange(24) % 5


PLAIN: dict[str, Any] = {"epochs": 2, "batch_size": 8, "augment": ()}


def test_training_starts_there_and_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    base = saved(residual_net(), tmp_path)

    def make() -> Any:
        return lieref.load(base).attach("lora", r=2, init_lora_weights="corda")

    whole = make()
    x, y = data(whole)
    lieref.fit(whole, x, y, **PLAIN)
    stopped, resumed = make(), make()
    plain = {name: array.copy() for name, array in {**stopped.parameters(), **stopped.frozen_parameters()}.items()}

    def stop(step: Any) -> None:
        if step.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lieref.fit(stopped, x, y, **PLAIN, checkpoint=tmp_path / "run", progress=stop)
    for name, array in {**stopped.parameters(), **stopped.frozen_parameters()}.items():
        assert np.array_equal(array, plain[name]), name  # what failed has changed nothing
    lieref.fit(resumed, x, y, **PLAIN, checkpoint=tmp_path / "run", resume=True)
    assert resumed.predict(x).tobytes() == whole.predict(x).tobytes()
    assert any(not np.array_equal(array, plain[name]) for name, array in resumed.frozen_parameters().items())
    resumed.save_adapter(tmp_path / "adapter")
    assert np.array_equal(lieref.load(base).load_adapter(tmp_path / "adapter").predict(x), whole.predict(x))


def test_inputs_that_were_given_stay_and_what_is_to_be_kept_must_be_given(tmp_path: Path) -> None:
    model = lieref.load(saved(residual_net(), tmp_path)).attach("lora", r=2, init_lora_weights="corda_kpm")
    x, y = data(model)
    assert model.wants_inputs
    with pytest.raises(
        DomainError, match=r"inputs of what it is to keep doing.*call model.start_from_inputs\(x\) first"
    ):
        lieref.fit(model, x, y, **PLAIN)
    model.start_from_inputs(np.tanh(x))
    assert not model.wants_inputs
    started = {name: array.copy() for name, array in model.frozen_parameters().items()}
    lieref.fit(model, x, y, **PLAIN)
    assert all(np.array_equal(array, started[name]) for name, array in model.frozen_parameters().items())


def test_what_cannot_be_read_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = np.random.default_rng(4).standard_normal((8, 5)).astype(np.float32)
    model = network(tmp_path, helper.make_node("MatMul", ["x", "w"], ["y"], name="c"), w, ("n", 8))
    model.attach("lora", r=2, init_lora_weights="corda")
    before = {name: array.copy() for name, array in model.sites["w"].params.items()}
    with pytest.warns(LierefWarning, match="start_from_inputs: c keep the start they had: .* more than 8,192 columns"):
        model.start_from_inputs(np.zeros((3, 8), np.float32), final=False)
    with pytest.raises(DomainError, match="second moment of the inputs of c` must be finite"):
        model.start_from_inputs(np.full((3, 8), 1e200), final=False)
    values = {"x": np.full((3, 8), np.nan)}
    monkeypatch.setattr("lieref.model.executor.run", lambda graph, x, threads: {**graph.initializers, **values})
    with pytest.raises(DomainError, match="inputs of c` must be finite"):
        start_from_inputs(model.graph, model.sites, values["x"], np.random.default_rng(0))
    assert all(np.array_equal(array, before[name]) for name, array in model.sites["w"].params.items())


@pytest.mark.parametrize(
    ("name", "options", "error", "said"),
    [
        ("liera", {"init_lora_weights": "corda"}, DomainError, "of an added low rank that is unfolded"),
        ("lora-view", {"init_lora_weights": "corda"}, DomainError, "of an added low rank that is unfolded"),
        ("dora", {"init_lora_weights": "corda_kpm"}, DomainError, "of an added low rank that is unfolded"),
        ("principal+hadamard+exp", {"start": "corda"}, UnsupportedError, "in the group hadamard"),
        ("principal+hadamard+exp", {"start": "corda", "of_logarithm": True}, DomainError, "`of_logarithm` must be"),
        ("lora", {"init_lora_weights": "corda_ipm"}, DomainError, "'corda', 'corda_kpm'"),
        ("corda", {}, DomainError, 'lora with init_lora_weights="corda"'),
    ],
)  # fmt: skip
def test_where_it_has_no_meaning_it_is_refused(name: str, options: Any, error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        get_method(name, **options)
