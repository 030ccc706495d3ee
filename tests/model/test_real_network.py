"""The pretrained networks of MLPerf Tiny: what they compute and how they are differentiated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import lieref
from lieref.train.loss import CrossEntropy
from tests.model.torch_twin import torch_logits, torch_tensors

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")


@pytest.fixture(scope="module")
def resnet(data_dir: Path) -> Path:
    return data_dir / "mlperf_tiny" / "resnet8.onnx"


def images(data_dir: Path, n: int) -> tuple[np.ndarray, np.ndarray]:
    with np.load(data_dir / "cifar10" / "jpeg75_test.npz") as file:
        return file["x"][:n], file["y"][:n]


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v1_025_vww", "autoencoder_ad"])
@pytest.mark.parametrize("engine", ["f2", "f4", "direct", "reference"])
def test_outputs_are_onnxruntimes(data_dir: Path, rng: np.random.Generator, name: str, engine: str) -> None:
    ort = pytest.importorskip("onnxruntime")
    path = data_dir / "mlperf_tiny" / f"{name}.onnx"
    model = lieref.load(path)
    model.engine = engine
    x = rng.uniform(0, 255 if name == "resnet8" else 1, (3, *model.input_shape[1:])).astype(np.float32)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: x})[0]
    # Two float32 evaluations of the same net: a thousandth of the size of the outputs would be a wrong operator.
    assert np.abs(model.predict(x) - expected).max() <= 2e-4 * np.abs(expected).max()


def test_accuracy_is_the_published_one(data_dir: Path, resnet: Path) -> None:
    x, y = images(data_dir, 10_000)
    assert np.mean(lieref.load(resnet).logits(x).argmax(axis=1) == y) == pytest.approx(0.7548, abs=1e-9)


@pytest.mark.parametrize("method", ["full", "liera", "lora"])
def test_gradient_is_that_of_torch_autograd(
    data_dir: Path, resnet: Path, rng: np.random.Generator, method: str
) -> None:
    torch = pytest.importorskip("torch")
    x, y = images(data_dir, 4)
    model = lieref.load(resnet, dtype="float64").attach(method)
    for array in model.parameters().values():
        array += 0.02 * rng.standard_normal(array.shape)
    loss, _, grads = model.loss_and_grad(x, y, CrossEntropy())
    proto = onnx.load(resnet)
    tensors = torch_tensors(torch, proto)
    with torch.no_grad():
        for name, value in model.adapted_tensors().items():
            tensors[name].copy_(torch.tensor(value))
    logits = torch_logits(torch, proto, tensors, torch.tensor(model.as_input(x)))
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(y.astype(np.int64)))
    expected.backward()
    assert abs(loss - expected.item()) <= 1e-12 * loss
    gradients = {name: value.grad.numpy() for name, value in tensors.items() if value.grad is not None}
    for tensor, site in model.sites.items():
        for factor, value in site.pull_back(model.graph.initializers, gradients).items():
            error = np.linalg.norm(grads[f"{tensor}:{factor}"] - value)
            assert error <= 1e-12 * np.linalg.norm(value), (tensor, factor, error / np.linalg.norm(value))
