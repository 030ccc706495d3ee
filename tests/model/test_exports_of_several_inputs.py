"""Networks of two inputs as both of PyTorch's exporters write them: agreement, gradients, training and merging."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.train.loss import CrossEntropy
from tests.pairs import EVERYTHING

torch: Any = pytest.importorskip("torch")
runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
nn, F = torch.nn, torch.nn.functional

pytestmark = pytest.mark.filterwarnings("ignore")  # that some nodes are not compiled, that random weights know nothing
SAMPLES, CLASSES, PLACES = 6, 3, 7


class Siamese(nn.Module):
    """One branch on two images, and the difference of its results."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(nn.Conv2d(2, 5, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.end = nn.Linear(5, CLASSES)

    def forward(self, a: Any, b: Any) -> Any:
        return self.end(torch.abs(self.branch(a) - self.branch(b)))


class Masked(nn.Module):
    """A transformer encoder with the mask of its padding as an input, the mean over what is none.

    Of 16 numbers a head the scale of attention, and its root, are exact in float32, in which exporters write them.
    """

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 2, 12, batch_first=True, dropout=0.0)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.end = nn.Linear(32, CLASSES)

    def forward(self, x: Any, padding: Any) -> Any:
        read = self.layers(x, src_key_padding_mask=padding)
        kept = (~padding).to(x.dtype).unsqueeze(2)
        return self.end((read * kept).sum(1) / kept.sum(1))


NETS: dict[str, Callable[[], Any]] = {"siamese": Siamese, "masked": Masked}
BOTH = ("dynamo", "script")
CASES = [(name, one) for n, name in enumerate(NETS) for one in (BOTH if EVERYTHING else (BOTH[n % 2],))]
"""Each network by one of the exporters in turn."""


def inputs(name: str) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    if name == "siamese":
        return {each: torch.randn(SAMPLES, 2, 6, 5, generator=generator) for each in ("a", "b")}
    padding = torch.arange(PLACES) >= torch.randint(2, PLACES, (SAMPLES, 1), generator=generator)
    return {"x": torch.randn(SAMPLES, PLACES, 32, generator=generator), "padding": padding}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Any]:
    """What was exported so far: it takes seconds each."""
    return {"folder": tmp_path_factory.mktemp("exports")}


def exported(name: str, exporter: str, files: dict[Any, Any]) -> tuple[Any, dict[str, Any], Path]:
    """Return a network with numbers all different, samples for it, and its file."""
    key = name, exporter
    if key not in files:
        files[key] = export(name, exporter, files["folder"] / f"{len(files)}.onnx")
    return files[key]


def export(name: str, exporter: str, file: Path) -> tuple[Any, dict[str, Any], Path]:
    torch.manual_seed(len(name))
    module, given = NETS[name]().eval(), inputs(name)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    before = logging.root.manager.disable
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            if exporter == "dynamo":
                free: dict[str, Any] = {"dynamic_shapes": tuple({0: torch.export.Dim("n")} for _ in given)}
                options = {"dynamo": True, "external_data": False, "input_names": list(given), **free}
            else:
                free = {"dynamic_axes": {each: {0: "n"} for each in given}}
                options = {"dynamo": False, "input_names": list(given), **free}
            torch.onnx.export(module, tuple(given.values()), file, **options)
        finally:
            logging.disable(before)
    return module, given, file


def in_numpy(given: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: x.numpy() for name, x in given.items()}


def in_onnx_runtime(file: Path, given: dict[str, Any]) -> np.ndarray:
    (scores,) = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"]).run(None, in_numpy(given))
    return scores


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_predictions_are_those_of_onnx_runtime(name: str, exporter: str, files: dict[Any, Any]) -> None:
    _, given, file = exported(name, exporter, files)
    net = lieref.load(file)
    assert [info.name for info in net.inputs] == list(given)
    # a few hundred roundings of numbers of order one
    bound = 300 * np.finfo(np.float32).eps
    np.testing.assert_allclose(net.logits(in_numpy(given)), in_onnx_runtime(file, given), rtol=0, atol=bound)


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_gradients_are_those_of_autograd(name: str, exporter: str, files: dict[Any, Any]) -> None:
    module, given, file = exported(name, exporter, files)
    module, y = copy.deepcopy(module).double(), np.arange(SAMPLES) % CLASSES
    F.cross_entropy(
        module(*(x.double() if x.is_floating_point() else x for x in given.values())), torch.tensor(y)
    ).backward()
    # Files hold the numbers of the network in other orders and places, but the same numbers, all different.
    values = np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])
    grads = np.concatenate([p.grad.numpy().ravel() for p in module.parameters()])
    order = np.argsort(values)
    net = lieref.load(file, dtype="float64").attach("full")
    _, _, found = net.loss_and_grad(in_numpy(given), y, CrossEntropy())
    compared = set()
    for tensor, site in net.sites.items():
        base, bar = net.graph.initializers[tensor], found[f"{tensor}:xi"]
        mine = bar if site.layer is None else site.layer.from_canonical(bar)
        places = order[np.minimum(np.searchsorted(values[order], base), len(order) - 1)]
        assert (values[places] == base).all()
        assert np.abs(mine - grads[places]).max() <= 1e-11 * np.abs(grads).max()
        compared.update(places.ravel().tolist())
    assert len(compared) >= sum(p.numel() for p in module.parameters() if p.ndim > 1)


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_it_is_trained_and_merged(name: str, exporter: str, files: dict[Any, Any], tmp_path: Path) -> None:
    _, given, file = exported(name, exporter, files)
    net, y = lieref.load(file).attach("lora", r=2), np.arange(SAMPLES) % CLASSES
    history = lieref.fit(net, in_numpy(given), y, epochs=20, learning_rate=0.02, batch_size=4)
    assert history.epochs[-1].loss < 0.9 * history.epochs[0].loss
    adapted = net.logits(in_numpy(given))
    net.merge_and_unload().save(tmp_path / "merged.onnx")
    found = in_onnx_runtime(tmp_path / "merged.onnx", given)
    np.testing.assert_allclose(found, adapted, rtol=0, atol=300 * np.finfo(np.float32).eps * np.abs(adapted).max())
