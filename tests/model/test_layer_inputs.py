"""Low ranks that start along the largest inputs of their layers, against the singular vectors of those inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from onnx import helper

import lieref
from lieref.errors import LierefError, LierefWarning, UnsupportedError
from lieref.model import layer_inputs
from lieref.param.registry import get_method
from tests.model.nets import residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.ManyTrainablesWarning")
X = np.random.default_rng(3).standard_normal((6, 4, 9, 8)).astype(np.float32) * np.array([3, 1, 2, 0.5])[:, None, None]


def network(folder: Path, node: Any, weight: np.ndarray, shape: tuple[Any, ...]) -> Any:
    value = helper.make_tensor_value_info
    end = helper.make_node("Flatten", ["y"], ["z"], name="end")
    graph = helper.make_graph(
        [node, end],
        "g",
        [value("x", 1, shape)],
        [value("z", 1, ("n", "m"))],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    path = folder / "net.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    )
    return lieref.load(path, dtype="float64")


def patches(x: np.ndarray, kernel: int, stride: int, dilation: int, pads: tuple[int, int]) -> np.ndarray:
    """What a convolution multiplies, by definition: (columns, positions) for each channel."""
    wide = np.pad(x.astype(float), ((0, 0), (0, 0), pads, pads))
    reach = dilation * (kernel - 1) + 1
    windows = sliding_window_view(wide, (reach, reach), axis=(2, 3))[:, :, ::stride, ::stride, ::dilation, ::dilation]
    return windows.transpose(1, 4, 5, 0, 2, 3).reshape(x.shape[1], kernel * kernel, -1)


def is_span(a: np.ndarray, of: np.ndarray) -> None:
    """The rows are the largest left singular vectors: of orthonormal ones the projection on these is the identity."""
    u = np.linalg.svd(of, full_matrices=False)[0][:, : len(a)]
    np.testing.assert_allclose(a @ a.T, np.eye(len(a)), atol=1e-9)
    np.testing.assert_allclose(np.abs(a @ u), np.eye(len(a)), atol=1e-5)


@pytest.fixture(autouse=True)
def converged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_inputs, "ROUNDS", 60)


@pytest.mark.parametrize("groups", [1, 2])
def test_of_a_convolution_they_are_those_of_its_patches(tmp_path: Path, groups: int) -> None:
    weight = np.random.default_rng(0).standard_normal((6, 4 // groups, 3, 3)).astype(np.float32)
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], name="c", group=groups, strides=[2, 2], dilations=[2, 2], pads=[1, 1, 2, 2]
    )
    model = network(tmp_path, node, weight, ("n", 4, 9, 8)).attach("liera", r=2, init_lora_weights="eva")
    model.start_from_inputs(X)
    a = model.sites["w"].params["lora_a"].reshape(groups, 2, -1)
    read = patches(X, 3, 2, 2, (1, 2)).reshape(groups, 4 // groups * 9, -1)
    for one, of in zip(a, read, strict=True):
        is_span(one, of)


def test_a_depthwise_kernel_shares_the_directions_of_all_channels(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 1, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="c", group=4)
    model = network(tmp_path, node, weight, ("n", 4, 9, 8)).attach("lora", r=2, init_lora_weights="eva")
    model.start_from_inputs(X)
    is_span(model.sites["w"].params["lora_a"], np.hstack(list(patches(X, 3, 1, 1, (0, 0)))))


def test_of_a_transposed_convolution_each_pixel_is_a_column(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3, 2, 2)).astype(np.float32)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="c", strides=[2, 2])
    model = network(tmp_path, node, weight, ("n", 4, 9, 8)).attach("lora", r=2, init_lora_weights="eva")
    model.start_from_inputs(X)
    a = model.sites["w"].params["lora_a"].reshape(2, 4, 2, 2)
    # One output pixel reads one entry of the kernel, so C is the pixels' second moment at each of the four: its largest
    # vector stands at any of them, and in any mixture.
    u = np.linalg.svd(X.transpose(1, 0, 2, 3).reshape(4, -1).astype(float))[0][:, 0]
    np.testing.assert_allclose((np.einsum("riuv,i->ruv", a, u) ** 2).sum(axis=(1, 2)), 1.0, atol=1e-9)
    np.testing.assert_allclose(a.reshape(2, -1) @ a.reshape(2, -1).T, np.eye(2), atol=1e-9)


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_of_a_linear_layer_they_are_those_of_its_inputs(tmp_path: Path, op: str) -> None:
    weight = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
    x = X.reshape(-1, 8)
    model = network(tmp_path, helper.make_node(op, ["x", "w"], ["y"], name="c"), weight, ("n", 8))
    model.attach("dora", r=3, init_lora_weights="eva")
    model.start_from_inputs(x, max_samples=len(x))
    is_span(model.sites["w"].params["lora_a"], x.T)


def test_training_starts_there_once_and_nothing_else_changes(tmp_path: Path) -> None:
    base = saved(residual_net(), tmp_path)
    model = lieref.load(base).attach("lora", r=2, init_lora_weights="eva")
    rng = np.random.default_rng(5)
    x = rng.standard_normal((40, *model.input_shape[1:])).astype(np.float32)
    y = rng.integers(0, model.predict(x[:1]).shape[1], 40)
    before = {name: array.copy() for name, array in model.parameters().items()}
    wanted = model.predict(x)
    assert model.wants_inputs
    model.start_from_inputs(x)
    after = model.parameters()
    assert all((after[n] != a).any() == n.endswith("lora_a") for n, a in before.items())
    assert np.array_equal(model.predict(x), wanted)
    options: dict[str, Any] = {"epochs": 2, "batch_size": 8, "augment": ()}
    lieref.fit(model, x, y, **options)
    assert not model.wants_inputs  # trained: another A would change what it computes
    other = lieref.load(base).attach("lora", r=2, init_lora_weights="eva")
    lieref.fit(other, x, y, **options)  # from the same start: of 40 samples all are read, in another order
    plain = lieref.load(base).attach("lora", r=2)
    lieref.fit(plain, x, y, **options)
    assert not np.array_equal(other.predict(x), plain.predict(x))
    other.save_adapter(tmp_path / "adapter")
    again = lieref.load(base)
    again.load_adapter(tmp_path / "adapter")
    assert np.array_equal(again.predict(x), other.predict(x))


def test_a_layer_that_reads_zeros_keeps_its_start_and_is_named(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
    model = network(tmp_path, helper.make_node("MatMul", ["x", "w"], ["y"], name="c"), weight, ("n", 8))
    model.attach("lora", r=2, init_lora_weights="eva")
    before = model.sites["w"].params["lora_a"].copy()
    with pytest.warns(LierefWarning, match="start_from_inputs: c keep"):
        model.start_from_inputs(np.zeros((3, 8), np.float32))
    assert np.array_equal(model.sites["w"].params["lora_a"], before)


@pytest.mark.parametrize("name", ["lora-view", "elra", "so"])
def test_factors_that_read_no_inputs_are_refused(name: str) -> None:
    with pytest.raises((UnsupportedError, LierefError), match=r"do(es)? not read the inputs of a layer"):
        get_method(name, r=2, init_lora_weights="eva")
