"""Networks as both of PyTorch's exporters write them: predictions of ONNX Runtime, gradients of autograd."""

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

SAMPLES, CLASSES = 3, 4


class UNet(nn.Module):
    """One step down, one up, and the wire across; pixels are classified and averaged."""

    def __init__(self, up: str) -> None:
        super().__init__()
        self.up = up
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1, stride=2), nn.InstanceNorm2d(8, affine=True), nn.ReLU())
        self.lift = nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2) if up == "transposed" else nn.Conv2d(8, 6, 1)
        self.end = nn.Conv2d(12, CLASSES, 1)

    def forward(self, x: Any) -> Any:
        wide = self.first(x)
        lifted = self.lift(self.down(wide))
        if self.up != "transposed":
            lifted = F.interpolate(lifted, scale_factor=2, mode=self.up)
        return self.end(torch.cat([wide, lifted], 1)).mean((2, 3))


class Tagger(nn.Module):
    """A recurrent layer whose outputs at all times are classified and averaged."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.recurrent = getattr(nn, kind)(5, 4, batch_first=True, bidirectional=True)
        self.end = nn.Linear(8, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.end(self.recurrent(x)[0]).mean(1)


class LastState(nn.Module):
    """A recurrent layer whose last state is classified."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(5, 4, batch_first=True)
        self.end = nn.Linear(8, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.end(torch.cat([state[-1] for state in self.recurrent(x)[1]], 1))


class Encoder(nn.Module):
    """Two layers of a transformer with a causal mask of minus infinities."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(6))
        self.end = nn.Linear(8, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.end(self.layers(x, mask=self.mask, is_causal=False).mean(1))


class Patches(nn.Module):
    """A vision transformer of one block on four patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.token, self.place = (nn.Parameter(torch.randn(1, n, 8)) for n in (1, 5))
        options = {"batch_first": True, "norm_first": True, "activation": "gelu", "dropout": 0.0}
        self.block = nn.TransformerEncoderLayer(8, 2, 16, **options)
        self.norm, self.end = nn.LayerNorm(8), nn.Linear(8, CLASSES)

    def forward(self, x: Any) -> Any:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.end(self.norm(self.block(x))[:, 0])


class Normalised(nn.Module):
    """Convolutions along one axis or two, behind each a normalisation over the pixels, with a scale or without."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        conv, instance = (getattr(nn, f"{name}{axes}d") for name in ("Conv", "InstanceNorm"))
        exact = {"eps": 2.0**-10}  # a file has it in float32
        self.layers = nn.Sequential(
            conv(3, 8, 2), nn.GroupNorm(2, 8, **exact), nn.ReLU(), conv(8, 10, 2, stride=2),
            instance(10, affine=True, **exact), nn.ReLU(), conv(10, 9, 1), nn.GroupNorm(3, 9, affine=False, **exact),
            nn.Sigmoid(), conv(9, 9, 1), instance(9, **exact), nn.Tanh(),
        )  # fmt: skip
        self.end = nn.Linear(9, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.end(self.layers(x).flatten(2).mean(2))


IMAGE, SEQUENCE = (3, 8, 8), (6, 5)
NETS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "u-net with transposed convolution": (lambda: UNet("transposed"), IMAGE),
    "u-net with bilinear resizing": (lambda: UNet("bilinear"), IMAGE),
    "normalised line": (lambda: Normalised(1), (3, 11)),
    "normalised image": (lambda: Normalised(2), (3, 7, 6)),
    "lstm tagger": (lambda: Tagger("LSTM"), SEQUENCE),
    "gru tagger": (lambda: Tagger("GRU"), SEQUENCE),
    "last states of an lstm": (LastState, SEQUENCE),
    "transformer encoder": (Encoder, (6, 8)),
    "vision transformer": (Patches, IMAGE),
}
IN_FLOAT64 = ("transformer encoder", "vision transformer")
"""Networks in whose files a constant of the exporter's, the scale of attention, is rounded to their type."""

SCRIPTED = tuple(NETS) if EVERYTHING else ("u-net with transposed convolution", "lstm tagger", "transformer encoder")
"""Networks that the older exporter writes too; `validation.exporters` has both of many."""

CASES = [*((name, "dynamo") for name in NETS), *((name, "script") for name in SCRIPTED)]
DIFFERENTIATED = [case for case in CASES if case != ("transformer encoder", "script")]
"""All but the one whose mask the older exporter takes in float32 only."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Any]:
    """What was exported so far: it takes seconds each."""
    return {"folder": tmp_path_factory.mktemp("exports")}


def exported(name: str, exporter: str, dtype: Any, files: dict[Any, Any]) -> tuple[Any, Any, Path]:
    """Return a network with numbers all different, samples for it, and its file."""
    key = name, exporter, dtype
    if key not in files:
        files[key] = export(name, exporter, dtype, files["folder"] / f"{len(files)}.onnx")
    return files[key]


def export(name: str, exporter: str, dtype: Any, file: Path) -> tuple[Any, Any, Path]:
    torch.manual_seed(len(name))
    make, shape = NETS[name]
    module = make().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    module = module.to(dtype)
    x = torch.randn(SAMPLES, *shape, dtype=dtype)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            if exporter == "dynamo":
                free = ({0: torch.export.Dim("n")},)
                torch.onnx.export(module, (x,), file, dynamo=True, external_data=False, dynamic_shapes=free)
            else:
                names = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
                torch.onnx.export(module, (x,), file, dynamo=False, **names)
        finally:
            logging.disable(before)
    return module, x, file


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_predictions_are_those_of_onnx_runtime(name: str, exporter: str, files: dict[Any, Any]) -> None:
    _, x, file = exported(name, exporter, torch.float32, files)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0]
    wanted = session.run(None, {feed.name: x.numpy()})[0]
    net = lieref.load(file)
    assert net.graph.inputs[0].shape[0] is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that some nodes are not compiled
        logits = net.logits(x.numpy())
    # a few hundred roundings of numbers of order one
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=300 * np.finfo(np.float32).eps)


@pytest.mark.parametrize("exporter", ["dynamo", "script"])
@pytest.mark.parametrize("name", ["normalised line", "normalised image"])
def test_normalisations_over_pixels_are_compiled(name: str, exporter: str, files: dict[Any, Any]) -> None:
    _, x, file = exported(name, exporter, torch.float32, files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are many trained numbers
        net = lieref.load(file).attach("full")
    found = [node.op for node in net.graph.nodes if node.op.endswith("Normalization")]
    assert found == [f"{kind}Normalization" for kind in ("Group", "Instance", "Group", "Instance")]
    net.loss_and_grad(x.numpy(), np.arange(SAMPLES) % CLASSES, CrossEntropy())
    assert net.engine == "f2"


@pytest.mark.parametrize(("name", "exporter"), DIFFERENTIATED)
def test_gradients_are_those_of_autograd(name: str, exporter: str, files: dict[Any, Any]) -> None:
    dtype = torch.float64 if name in IN_FLOAT64 else torch.float32
    module, x, file = exported(name, exporter, dtype, files)
    module, x = copy.deepcopy(module).double(), x.double()
    y = np.arange(SAMPLES) % CLASSES
    F.cross_entropy(module(x), torch.tensor(y)).backward()
    # Files hold the numbers of the network in other orders and places, but the same numbers, all different.
    values = np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])
    grads = np.concatenate([p.grad.numpy().ravel() for p in module.parameters()])
    order = np.argsort(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = lieref.load(file, dtype="float64").attach("full")
        _, _, found = net.loss_and_grad(x.numpy(), y, CrossEntropy())
    compared = set()
    for tensor, site in net.sites.items():
        base, bar = net.graph.initializers[tensor], found[f"{tensor}:xi"]
        mine = bar if site.layer is None else site.layer.from_canonical(bar)
        places = order[np.minimum(np.searchsorted(values[order], base), len(order) - 1)]
        if (values[places] != base).all():
            continue  # a constant of the exporter's
        assert (values[places] == base).all()
        assert np.abs(mine - grads[places]).max() <= 1e-11 * max(1, np.abs(grads).max())
        compared.update(places.ravel().tolist())
    linear = [p for p in module.parameters() if p.ndim > 1 and p.ndim != 3]
    assert len(compared) >= sum(p.numel() for p in linear)
