"""Parameterisations beside PEFT's layers of the same names: the change of a weight, and the gradients of the factors.

    python -m validation.against_peft.forms

Needs peft 0.21.2 and torch. Every layer gets lieref's factors and lieref's frozen numbers, in float64, on a weight of
zeros, so that what it computes for unit vectors is the change itself. Both sides sum the same products in other orders:
each entry may be off by n u S, with n the terms of the longest sum and S the sum of the absolute products
(`Parameterisation.terms`, `magnitude`); a gradient the same of its own products, which a matrix of ones and absolute
factors gives. What divides by r + 1e-5 in PEFT is compared after that factor is taken out, and said. Writes
validation/results/against_peft.json.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import peft
import torch
from torch import nn

from lieref._types import FloatArray, Params
from lieref.param.registry import PARAMETERISATIONS, get_method
from validation.record import environment, write_result

UNIT, SINGLE = 2.0**-53, 2.0**-24
ROUNDINGS = 16
"""Of one product, its scale and its conversion on both sides, beside those of the sums."""

Put = Callable[[Any, Params, Any, tuple[int, ...]], dict[str, tuple[Any, Callable[[FloatArray], FloatArray]]]]
"""Writes factors into a layer, and returns by factor the peer's parameter and how its gradient becomes the factor's."""


@dataclass(frozen=True)
class Form:
    """One parameterisation, the configuration of its peer, and what is different by design."""

    method: str
    options: dict[str, Any]
    config: Any
    put: Put
    shape: tuple[int, ...] = (6, 8)
    ratio: float = 1.0
    said: str = ""
    gradients: bool = True
    unit: float = UNIT
    normwise: bool = False
    layer: Callable[[tuple[int, ...]], nn.Module] = field(
        default=lambda shape: nn.Linear(shape[1], shape[0], bias=False)
    )


def _set(parameter: Any, value: FloatArray) -> Any:
    with torch.no_grad():
        parameter.data = torch.from_numpy(np.ascontiguousarray(value))
    return parameter


def _same(bar: FloatArray) -> FloatArray:
    return bar


def _vera(layer: Any, params: Params, recipe: Any, shape: tuple[int, ...]) -> Any:
    b, a = recipe._bases(shape, params["vera_lambda_b"])
    layer.vera_A["default"], layer.vera_B["default"] = torch.from_numpy(a.copy()), torch.from_numpy(b.copy())
    return {
        "vera_lambda_b": (_set(layer.vera_lambda_b["default"], params["vera_lambda_b"]), _same),
        "vera_lambda_d": (_set(layer.vera_lambda_d["default"], params["vera_lambda_d"]), _same),
    }


def _randlora(layer: Any, params: Params, recipe: Any, shape: tuple[int, ...]) -> Any:
    b, a = recipe._bases(shape, params["randlora_gamma"])
    terms = params["randlora_gamma"].shape[0]
    layer.randlora_A["default"] = torch.from_numpy(a[:, None].copy())
    # Column c of PEFT's B meets rank c div N of term c mod N, whatever its shape (m, N, r) says.
    order = b.reshape(len(b), terms, -1).swapaxes(1, 2).reshape(len(b), terms, -1)
    layer.randlora_B["default"] = torch.from_numpy(order.copy())
    return {
        "randlora_lambda": (_set(layer.randlora_lambda["default"], params["randlora_lambda"]), _same),
        "randlora_gamma": (_set(layer.randlora_gamma["default"], params["randlora_gamma"]), _same),
    }


def _at_places(values: str, indices: str, factor: str) -> Put:
    def put(layer: Any, params: Params, recipe: Any, shape: tuple[int, ...]) -> Any:
        places = recipe.places(math.prod(shape), params[factor].size)
        held = getattr(layer, indices)
        held["default"] = torch.from_numpy(np.stack(np.divmod(places, shape[1])).astype(np.int64))
        return {factor: (_set(getattr(layer, values)["default"], params[factor]), _same)}

    return put


def _c3a(layer: Any, params: Params, recipe: Any, shape: tuple[int, ...]) -> Any:
    return {"kernel": (_set(layer.c3a_kernel["default"], params["kernel"]), _same)}


def _miss(layer: Any, params: Params, recipe: Any, shape: tuple[int, ...]) -> Any:
    return {"miss_block": (_set(layer.miss_block["default"], params["miss_block"].T), np.transpose)}


def _gralora(layer: Any, params: Params, recipe: Any, shape: tuple[int, ...]) -> Any:
    a, b = params["gralora_a"], params["gralora_b"]
    k, _, rank, columns = a.shape
    rows = b.shape[2]
    return {
        "gralora_a": (
            _set(layer.gralora_A["default"], a.transpose(0, 3, 1, 2).reshape(k, columns, k * rank)),
            lambda bar: bar.reshape(k, columns, k, rank).transpose(0, 2, 3, 1),
        ),
        "gralora_b": (
            _set(layer.gralora_B["default"], b.transpose(0, 1, 3, 2).reshape(k, k * rank, rows)),
            lambda bar: bar.reshape(k, k, rank, rows).transpose(0, 1, 3, 2),
        ),
    }


def _adalora(layer: Any, params: Params, recipe: Any, shape: tuple[int, ...]) -> Any:
    return {
        "lora_a": (_set(layer.lora_A["default"], params["lora_a"]), _same),
        "lora_e": (_set(layer.lora_E["default"], params["lora_e"][:, None]), lambda bar: bar[:, 0]),
        "lora_b": (_set(layer.lora_B["default"], params["lora_b"]), _same),
    }


def _psoft(layer: Any, params: Params, recipe: Any, shape: tuple[int, ...]) -> Any:
    turn = layer.psoft_R["default"]
    layer._psoft_A_cache["default"] = torch.from_numpy(params["right"].copy())
    layer._psoft_B_cache["default"] = torch.from_numpy(params["left"].copy())
    return {
        "skew": (_set(turn.weight, params["skew"]), _same),
        "stretch_a": (_set(turn.vector_a, 1 + params["stretch_a"]), _same),
        "stretch_b": (_set(turn.vector_b, 1 + params["stretch_b"]), _same),
    }


def _loha(layer: Any, params: Params, recipe: Any, shape: tuple[int, ...]) -> Any:
    return {
        name: (
            _set(getattr(layer, name)["default"], params[name].T if name.endswith("_a") else params[name]),
            np.transpose if name.endswith("_a") else _same,
        )
        for name in params
    }


def _lokr(layer: Any, params: Params, recipe: Any, shape: tuple[int, ...]) -> Any:
    return {
        name: (
            _set(getattr(layer, f"lokr_{name}")["default"], params[name].T if name == "w2_a" else params[name]),
            np.transpose if name == "w2_a" else _same,
        )
        for name in params
    }


def _conv(shape: tuple[int, ...]) -> nn.Module:
    return nn.Conv2d(shape[1], shape[0], shape[2:], bias=False)


_ON = {"target_modules": ["0"]}

FORMS = (
    Form("vera", {"r": 3}, lambda: peft.VeraConfig(r=3, **_ON), _vera),
    Form("randlora", {"r": 2, "lora_alpha": 5.0}, lambda: peft.RandLoraConfig(r=2, randlora_alpha=5, **_ON), _randlora),
    Form("randlora", {"r": 2, "lora_alpha": 5.0}, lambda: peft.RandLoraConfig(r=2, randlora_alpha=5, **_ON), _randlora,
         shape=(8, 6)),
    Form("fourierft", {"n_frequency": 9, "scale": 30.0},
         lambda: peft.FourierFTConfig(n_frequency=9, scaling=30.0, **_ON),
         _at_places("fourierft_spectrum", "indices", "spectrum"), unit=SINGLE, said="PEFT computes in float32"),
    Form("waveft", {"n_frequency": 9, "scale": 3.0}, lambda: peft.WaveFTConfig(n_frequency=9, scaling=3.0, **_ON),
         _at_places("waveft_spectrum", "waveft_indices", "spectrum")),
    Form("waveft", {"n_frequency": 9, "scale": 3.0}, lambda: peft.WaveFTConfig(n_frequency=9, scaling=3.0, **_ON),
         _at_places("waveft_spectrum", "waveft_indices", "spectrum"), shape=(5, 7)),
    Form("shira", {"r": 1}, lambda: peft.ShiraConfig(r=1, **_ON),
         _at_places("shira_weight", "shira_indices", "values")),
    Form("c3a", {"block_size": 2}, lambda: peft.C3AConfig(block_size=2, **_ON), _c3a,
         unit=SINGLE, normwise=True, said="PEFT computes in float32, by a transform: errors follow the largest entry"),
    Form("miss", {"r": 3}, lambda: peft.MissConfig(r=3, **_ON), _miss, said="D is stored transposed"),
    Form("gralora", {"r": 4, "lora_alpha": 6.0}, lambda: peft.GraloraConfig(r=4, alpha=6, gralora_k=2, **_ON),
         _gralora),
    Form("lora-svd", {"r": 3, "lora_alpha": 6.0},
         lambda: peft.AdaLoraConfig(init_r=3, target_r=3, lora_alpha=6, total_step=10, **_ON), _adalora,
         ratio=3 / (3 + 1e-5), said="PEFT divides by r + 1e-5, which is taken out here"),
    Form("psoft", {"r": 3}, lambda: peft.PsoftConfig(r=3, psoft_alpha=3, use_cayley_neumann=False, **_ON), _psoft,
         said="PEFT stores a and b, lieref a - 1 and b - 1"),
    Form("loha-tucker", {"r": 2, "lora_alpha": 6.0},
         lambda: peft.LoHaConfig(r=2, alpha=6, use_effective_conv2d=True, **_ON), _loha, shape=(6, 5, 3, 3),
         gradients=False, said="PEFT's gradients of its Tucker form are wrong: exchange.defects, loha_gradient",
         layer=_conv),
    Form("lokr-tucker", {"r": 1, "lora_alpha": 2.0},
         lambda: peft.LoKrConfig(r=1, alpha=2, use_effective_conv2d=True, **_ON), _lokr, shape=(6, 5, 3, 3),
         layer=_conv),
)  # fmt: skip


def compare(form: Form, seed: int) -> dict[str, Any]:
    """Return the largest errors of the change and of the gradients, in units of their bounds."""
    rng = np.random.default_rng(seed)
    recipe = get_method(form.method, **form.options).parameterisation  # type: ignore[attr-defined]
    params = recipe.init(form.shape, 1, rng, base_weight=rng.standard_normal(form.shape))
    params = {
        name: factor + 0.3 * rng.standard_normal(factor.shape) * (name not in recipe.frozen)
        for name, factor in params.items()
    }
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = peft.get_peft_model(nn.Sequential(form.layer(form.shape)), form.config()).double()
    layer = net.base_model.model[0]
    nn.init.zeros_(layer.get_base_layer().weight)
    held = form.put(layer, params, recipe, form.shape)
    wide = math.prod(form.shape[1:])
    out = layer(torch.eye(wide, dtype=torch.float64).reshape(wide, *form.shape[1:]))
    change = out.reshape(wide, form.shape[0]).T
    bar = rng.standard_normal((form.shape[0], wide))
    change.backward(torch.from_numpy(bar))
    xi = recipe.delta(params, form.shape).reshape(bar.shape)
    terms = recipe.terms({name: factor.shape for name, factor in params.items()})
    size = recipe.magnitude(params, form.shape).reshape(bar.shape)
    bound = (terms + ROUNDINGS) * form.unit * np.maximum(size.max() if form.normwise else size, 1e-300)
    error = np.abs(change.detach().numpy() / form.ratio - xi) / bound
    found = {"method": form.method, "shape": form.shape, "change": float(error.max()), "said": form.said}
    if form.gradients:
        ours = recipe.delta_vjp(params, form.shape, 1, bar.reshape(form.shape))
        longest = bar.size + terms + ROUNDINGS
        worst = 0.0
        for name, (parameter, back) in held.items():
            theirs = back(parameter.grad.numpy()) / form.ratio
            scale = np.abs(bar).sum() * size.max() / np.abs(params[name]).max()
            worst = max(worst, float(np.abs(theirs - ours[name]).max() / (longest * form.unit * scale)))
        found["gradients"] = worst
    return found


def main() -> int:
    rows = []
    for form in FORMS:
        assert get_method(form.method).parameterisation.name in PARAMETERISATIONS  # type: ignore[attr-defined]
        tried = [compare(form, seed) for seed in range(5)]
        rows.append({**tried[0], **{k: max(t[k] for t in tried) for k in ("change", "gradients") if k in tried[0]}})
        row = rows[-1]
        print(f"{row['method']:12} {row['shape']!s:14} change {row['change']:8.3f}   "
              f"gradients {row.get('gradients', math.nan):8.3f}   {row['said']}")  # fmt: skip
    write_result("against_peft", {**environment(), "peft": peft.__version__, "unit": "n u S", "rows": rows})
    wrong = [row["method"] for row in rows if max(row["change"], row.get("gradients", 0.0)) > 1]
    print("equal to PEFT within n u S" if not wrong else f"NOT equal: {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
