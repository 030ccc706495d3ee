"""Against LyCORIS itself: what its modules compute, and that it loads what is written for it."""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import pytest

from lieref.adapter.exchange.factors import Place
from lieref.adapter.exchange.lycoris import parse_lycoris
from lieref.adapter.exchange.lycoris_form import Adapted, Target
from lieref.adapter.exchange.lycoris_writer import write_module
from lieref.model.layer import Layer
from lieref.param.registry import get_method

torch = pytest.importorskip("torch")
pytest.importorskip("lycoris", reason="LyCORIS is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")
U = 2.0**-24

ALGORITHMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("locon", {}), ("locon", {"rs_lora": True}), ("locon", {"use_tucker": True}), ("locon", {"use_scalar": True}),
    ("locon", {"weight_decompose": True}), ("locon", {"weight_decompose": True, "wd_on_out": False}),
    ("loha", {}), ("loha", {"weight_decompose": True}),
    ("lokr", {}), ("lokr", {"lora_dim": 1, "factor": 4}),
    ("lokr", {"lora_dim": 1, "decompose_both": True, "factor": 4}),
    ("lokr", {"unbalanced_factorization": True}), ("lokr", {"weight_decompose": True}),
    ("ia3", {}), ("ia3", {"train_on_input": True}), ("full", {}),
    ("diag-oft", {}), ("diag-oft", {"constraint": 0.01}), ("diag-oft", {"rescaled": True}),
    ("boft", {"lora_dim": 4}), ("boft", {"lora_dim": 4, "rescaled": True}), ("boft", {"lora_dim": 16}),
)  # fmt: skip

LAYERS = {
    "linear": lambda: torch.nn.Linear(12, 16),
    "conv1d": lambda: torch.nn.Conv1d(6, 16, 3, padding=1, dilation=2),
    "conv2d": lambda: torch.nn.Conv2d(6, 16, (3, 2), stride=2, bias=False),
    "conv3d": lambda: torch.nn.Conv3d(4, 16, 2),
    "pointwise": lambda: torch.nn.Conv2d(12, 16, 1),
    "grouped": lambda: torch.nn.Conv2d(12, 16, 3, groups=2),
    "depthwise": lambda: torch.nn.Conv2d(16, 16, 3, padding=1, groups=16),
}


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    logging.getLogger("LyCORIS").setLevel(logging.ERROR)


def made(layer: str, algorithm: str, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return a layer, a module of LyCORIS on a copy of it with numbers of its own, and an input."""
    from lycoris.wrapper import network_module_dict

    torch.manual_seed(0)
    own = LAYERS[layer]()
    on = copy.deepcopy(own)
    module = network_module_dict[algorithm]("lycoris_fc", on, 1.0, **{"lora_dim": 2, "alpha": 1.5, **options})
    if algorithm == "full":
        module.apply_to()  # until then its state dict takes the weight off what is the difference already
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name == "dora_scale":
                parameter.mul_(1 + 0.3 * torch.rand_like(parameter))
            elif algorithm == "full":
                parameter.add_(0.1 * torch.randn_like(parameter))
            else:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    shape = (2, own.weight.shape[1]) if layer == "linear" else (2, own.in_channels, *[6] * (own.weight.dim() - 2))
    return own, module, torch.randn(shape)


def output(own: Any, weight: np.ndarray, bias: np.ndarray | None, x: Any) -> np.ndarray:
    """Return what the layer makes of an input with another weight, float64."""
    layer = copy.deepcopy(own).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(bias))
        return layer(x.double()).numpy()


CASES = [
    (layer, algorithm, options)
    for algorithm, options in ALGORITHMS
    for layer in LAYERS
    # Every option on three layers; each algorithm, without options, on all.
    if layer in ("linear", "conv2d", "grouped") or not options.keys() - {"lora_dim"}
    if not (algorithm == "ia3" and options and layer in ("grouped", "depthwise"))  # LyCORIS raises
]


@pytest.mark.parametrize(("layer", "algorithm", "options"), CASES)
def test_forward(layer: str, algorithm: str, options: dict[str, Any]) -> None:
    own, module, x = made(layer, algorithm, options)
    theirs = module(x).detach().numpy().astype(np.float64)
    state = {f"lycoris_fc.{key}": value.detach().numpy() for key, value in module.state_dict().items()}
    weight = own.weight.detach().numpy().astype(np.float64)
    bias = None if own.bias is None else own.bias.detach().numpy().astype(np.float64)
    groups = getattr(own, "groups", 1)
    place = Place(Layer("fc", "Conv", "fc.weight", None, weight.shape, groups, False, False, False), weight)
    foreign = parse_lycoris(state)
    factors = foreign.modules["fc"](place)
    method = get_method(**factors.method)
    # As an adapter holds them, float32.
    params = {name: np.asarray(value, np.float32) for name, value in factors.params.items()}
    wide = {name: value.astype(np.float64) for name, value in params.items()}
    adapted = method.adapted_weight(wide, weight, groups)
    added = foreign.added.get("fc", {}).get("bias")
    moved = bias if added is None or bias is None else bias + added.astype(np.float64)
    ours = output(own, adapted, moved, x)
    # n u S as in `lieref.model.error_bound`: n products of an output, nine roundings, and 64 for those that make D; S
    # of W, of D and of the largest number of D, for the products it is made of are not here any more.
    spread = np.abs(weight) + np.abs(adapted - weight) + np.abs(adapted - weight).max()
    n = weight[0].size + 9 + 64
    bound = n * U * output(own, spread, None if bias is None else np.abs(bias), x.abs())
    assert (np.abs(ours - theirs) <= bound).all()
    base = output(own, weight, bias, x)
    assert np.abs(theirs - base).max() > 100 * bound.max()

    one = None if added is None else Adapted(get_method("dense+additive+exp"), {"xi": added})
    tensors, _ = write_module(Adapted(method, params), one, Target("fc", weight, bias, groups))
    again = {f"lycoris_fc.{key}": torch.from_numpy(_narrow(value)) for key, value in tensors.items()}
    loaded = _loaded(own, again, algorithm, options)
    if loaded is not None:
        assert (np.abs(loaded(x).detach().numpy().astype(np.float64) - ours) <= bound).all()


def _narrow(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype.kind == "f" else value


def _loaded(own: Any, state: dict[str, Any], algorithm: str, options: dict[str, Any]) -> Any:
    """Return the module that LyCORIS makes of a state dict, its own way; IA3 by a module made for it."""
    from lycoris.modules import get_module, make_module
    from lycoris.wrapper import network_module_dict

    layer = copy.deepcopy(own)
    if "lycoris_fc.on_input" in state:
        module = network_module_dict[algorithm]("lycoris_fc", layer, 1.0, **options)
        module.load_state_dict({key.removeprefix("lycoris_fc."): value for key, value in state.items()})
        return module
    kind, tensors = get_module(state, "lycoris_fc")
    module = make_module(kind, tensors, "lycoris_fc", layer)
    module.multiplier = 1.0
    return module
