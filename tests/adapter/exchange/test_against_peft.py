"""Adapters that PEFT itself makes and loads, where it is installed; on more networks: validation.exchange.peft."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref._types import Array
from lieref.adapter.exchange.build import attach_foreign
from lieref.adapter.exchange.peft import read
from lieref.adapter.exchange.peft_write import write_peft
from lieref.adapter.model import load
from tests.adapter.exchange.network import state, write
from tests.adapter.exchange.network_norms import write_norms

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning"),
]

KINDS = {
    "lora": ("LoraConfig", {"r": 2, "lora_alpha": 3, "target_modules": ["conv", "low"]}),
    "dora": ("LoraConfig", {"r": 2, "lora_alpha": 3, "use_dora": True, "target_modules": ["conv", "low"]}),
    "loha": ("LoHaConfig", {"r": 2, "alpha": 3, "target_modules": ["conv", "mix", "low"]}),
    "lokr": ("LoKrConfig", {"r": 1, "alpha": 3, "target_modules": ["conv", "mix", "low"]}),
    "ia3": ("IA3Config", {"target_modules": ["conv", "mix", "low"], "feedforward_modules": ["mix"]}),
    "oft": ("OFTConfig", {"oft_block_size": 4, "use_cayley_neumann": False, "target_modules": ["low"]}),
    "oft-cayley-neumann": ("OFTConfig", {"oft_block_size": 4, "target_modules": ["low"]}),
    "oft-cayley-neumann, three terms": (
        "OFTConfig",
        {"oft_block_size": 2, "num_cayley_neumann_terms": 3, "target_modules": ["low"]},
    ),
    "hra": ("HRAConfig", {"r": 2, "target_modules": ["conv", "low"]}),
    "hira": ("HiraConfig", {"r": 2, "target_modules": ["conv", "low"]}),
    "adalora": (
        "AdaLoraConfig",
        {"init_r": 3, "target_r": 2, "lora_alpha": 5, "total_step": 10, "target_modules": ["conv", "low"]},
    ),
    "delora": ("DeloraConfig", {"r": 2, "target_modules": ["low", "head"]}),
    "vera": ("VeraConfig", {"r": 3, "target_modules": ["low", "head"]}),
    "randlora": ("RandLoraConfig", {"r": 3, "target_modules": ["low", "head"]}),
    "waveft": ("WaveFTConfig", {"n_frequency": 9, "target_modules": ["low", "head"]}),
    "shira": ("ShiraConfig", {"r": 1, "target_modules": ["low", "head"]}),
    "miss": ("MissConfig", {"r": 3, "target_modules": ["low", "head"]}),
}
OWN = ("lora", "dora", "loha", "lokr", "ia3", "oft", "oft-cayley-neumann", "hra", "hira", "adalora", "miss")
"""Kinds that come back as themselves."""


@pytest.fixture(scope="module")
def net() -> Any:
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 6, 3, padding=1)

    class Net(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(Block())
            self.mix, self.low, self.head = nn.Conv2d(6, 8, 1, groups=2, bias=False), nn.Linear(8, 5), nn.Linear(5, 7)

        def forward(self, x: Any) -> Any:
            x = self.mix(torch.relu(self.block[0].conv(x)))
            return self.head(self.low(x.mean((2, 3))))

    made = Net().eval()
    made.load_state_dict({name: torch.from_numpy(value) for name, value in state().items()})
    return made.double()


@pytest.mark.parametrize("kind", KINDS)
def test_scores_agree_both_ways(tmp_path: Path, net: Any, kind: str) -> None:
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    name, options = KINDS[kind]
    torch.manual_seed(0)
    theirs = peft.get_peft_model(copy.deepcopy(net), getattr(peft, name)(**options)).double().eval()
    for path, parameter in theirs.named_parameters():
        if parameter.requires_grad and "ranknum" not in path:  # of AdaLoRA, and not saved
            parameter.data += 0.3 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path / "peft")
    x = np.random.default_rng(0).standard_normal((3, 4, 5, 5))

    def scores(module: Any) -> Array:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(x)).numpy())

    model = load(write(tmp_path / "base.onnx", state()), dtype="float64")
    attach_foreign(model, read(tmp_path / "peft"))
    expected, base = scores(theirs), scores(net)
    # The numbers of the base are float32 in both; sums of 40 products in three layers, in float64.
    limit = 2.0**-53 * 400 * np.abs(expected).max()
    assert np.abs(expected - base).max() > 1e-3
    assert np.abs(model.logits(x) - expected).max() <= limit

    made = write_peft(model)
    (tmp_path / "again").mkdir()
    for file, data in made.files.items():
        (tmp_path / "again" / file).write_bytes(data)
    assert made.kind == kind.partition("-")[0].upper().replace("DORA", "LORA")
    loaded = peft.PeftModel.from_pretrained(copy.deepcopy(net), tmp_path / "again", autocast_adapter_dtype=False)
    assert np.abs(scores(loaded.double().eval()) - expected).max() <= limit


def test_butterfly_of_several_stages_is_pefts(tmp_path: Path, net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    layer = pytest.importorskip("peft.tuners.boft.layer")
    # Several stages need PEFT's CUDA extension, whose one function is this.
    monkeypatch.setattr(layer, "get_fbd_cuda", lambda: True)
    blocks = staticmethod(lambda x: torch.stack([torch.block_diag(*one) for one in x]))
    monkeypatch.setattr(layer.FastBlockDiag, "apply", blocks)
    config = peft.BOFTConfig(boft_block_size=2, boft_n_butterfly_factor=3, target_modules=["low"])
    theirs = peft.get_peft_model(copy.deepcopy(net), config).double().eval()
    torch.manual_seed(0)
    theirs.base_model.model.low.boft_R["default"].data.normal_(0, 0.3)
    theirs.save_pretrained(tmp_path / "peft")
    model = load(write(tmp_path / "base.onnx", state()), dtype="float64")
    made = attach_foreign(model, read(tmp_path / "peft"))
    x = np.random.default_rng(0).standard_normal((3, 4, 5, 5))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
    assert made.methods == {"low": "boft"}
    assert np.abs(model.logits(x) - expected).max() <= 2.0**-53 * 400 * np.abs(expected).max()


def test_normalisations_go_out_as_peft_reads_them(tmp_path: Path) -> None:
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.low, self.norm = nn.Linear(4, 6), nn.LayerNorm(6)

        def forward(self, x: Any) -> Any:
            return self.norm(self.low(x))

    model = load(write_norms(tmp_path / "norms.onnx"), dtype="float64")
    base = Net().double()
    base.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in model.graph.initializers.items()})
    model.attach("norm")
    generator = np.random.default_rng(0)
    for array in model.parameters().values():
        array += generator.standard_normal(array.shape)
    (tmp_path / "out").mkdir()
    for file, data in write_peft(model).files.items():
        (tmp_path / "out" / file).write_bytes(data)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "out", autocast_adapter_dtype=False).double().eval()
    x = generator.standard_normal((3, 4))
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x)).numpy()
    assert np.abs(model.logits(x) - expected).max() <= 2.0**-53 * 400 * np.abs(expected).max()
