"""lieref's methods, groups, losses, optimiser details and layers as a backend: the operations made from registries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np

from lieref._types import FloatArray
from lieref.group.base import Group
from lieref.group.product import Product
from lieref.group.registry import GROUPS, make_action, make_map
from lieref.kernel import pool as pooling
from lieref.model.fold import fold, fold_vjp
from lieref.numerics.matrix_maps import logm
from lieref.numerics.phi import matrix_phi, matrix_phi_vjp, phi
from lieref.op.gemm import gemm, gemm_vjp
from lieref.param.low_rank_group import LowRankForm, low_rank_form
from lieref.param.method import Method
from lieref.param.registry import get_method
from lieref.train.clip import clip_by_global_norm
from lieref.train.loss import Loss
from lieref.train.loss_registry import LOSSES
from lieref.train.schedule import learning_rate_factor

Arrays: TypeAlias = dict[str, FloatArray]
Attrs: TypeAlias = dict[str, Any]

_NOT_FACTORS: Final = ("base_weight", "bias", "weight_bar", "bias_bar")
_FOLD: Final = ("weight", "bias", "scale", "shift", "mean", "var")
_GEMM: Final = ("alpha", "beta", "transA", "transB")
_POOL: Final = ("strides", "pads", "dilations", "ceil_mode")


def _method(x: Arrays, attrs: Attrs) -> tuple[Method, Arrays]:
    factors = {name: value for name, value in x.items() if name not in _NOT_FACTORS}
    return get_method(attrs["method"], **attrs["options"]), factors


def _merge(x: Arrays, attrs: Attrs) -> Arrays:
    method, factors = _method(x, attrs)
    base, groups = x["base_weight"], attrs["groups"]
    merged = {"weight": method.adapted_weight(factors, base, groups)}
    if "bias" in x:
        merged["bias"] = method.adapted_bias(factors, x["bias"], base.shape, groups)
    return merged


def _merge_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    method, factors = _method(x, attrs)
    base, groups = x["base_weight"], attrs["groups"]
    bars = method.adapted_weight_vjp(factors, base, groups, x["weight_bar"])
    if "bias" in x:
        through = method.adapted_bias_vjp(factors, x["bias"], base.shape, groups, x["bias_bar"])
        bars = {name: bar + through[name] for name, bar in bars.items()}
    return {f"{name}_bar": bar for name, bar in bars.items()}


def _group(attrs: Attrs, shape: tuple[int, ...]) -> Group:
    if attrs["group"] != Product.name:
        return GROUPS[attrs["group"]].for_shape(shape)
    parts = attrs["parts"]
    members = tuple(GROUPS[part["group"]].for_shape(tuple(part["shape"])) for part in parts)
    return Product(members, tuple(part["copies"] for part in parts))


def _retract(x: Arrays, attrs: Attrs) -> Arrays:
    return {"g": make_map(attrs["map"]).retract(_group(attrs, x["xi"].shape), x["xi"])}


def _retract_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    group, map_ = _group(attrs, x["xi"].shape), make_map(attrs["map"])
    return {"xi_bar": map_.retract_vjp(group, x["xi"], map_.retract(group, x["xi"]), x["g_bar"])}


def _group_log(x: Arrays, attrs: Attrs) -> Arrays:
    return {"xi": _group(attrs, x["g"].shape).log(x["g"])}


def _group_compose(x: Arrays, attrs: Attrs) -> Arrays:
    return {"gh": _group(attrs, x["g"].shape).compose(x["g"], x["h"])}


def _group_inverse(x: Arrays, attrs: Attrs) -> Arrays:
    return {"g_inverse": _group(attrs, x["g"].shape).inverse(x["g"])}


def _group_adjoint(x: Arrays, attrs: Attrs) -> Arrays:
    return {"eta": _group(attrs, x["g"].shape).adjoint(x["g"], x["xi"])}


def _group_bracket(x: Arrays, attrs: Attrs) -> Arrays:
    return {"zeta": _group(attrs, x["xi"].shape).algebra.bracket(x["xi"], x["eta"])}


def _act(x: Arrays, attrs: Attrs) -> Arrays:
    action, groups = make_action(attrs["action"], attrs["group"]), attrs["groups"]
    moved = {"weight": action.act(x["g"], x["base_weight"], groups)}
    if "bias" in x:
        moved["bias"] = action.act_bias(x["g"], x["bias"], groups)
    return moved


def _act_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    action, groups = make_action(attrs["action"], attrs["group"]), attrs["groups"]
    g_bar = action.act_vjp(x["g"], x["base_weight"], groups, x["weight_bar"])
    if "bias" in x:
        g_bar = g_bar + action.act_bias_vjp(x["g"], x["bias"], groups, x["bias_bar"])
    return {"g_bar": g_bar}


def _form(attrs: Attrs) -> LowRankForm:
    form = low_rank_form(attrs["group"], make_map(attrs["map"]))
    if form is None:
        raise NotImplementedError("low_rank_retract")
    return form


def _low_rank_retract(x: Arrays, attrs: Attrs) -> Arrays:
    return {"g": _form(attrs).element(x["lora_b"], x["lora_a"])}


def _low_rank_retract_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    b_bar, a_bar = _form(attrs).element_vjp(x["lora_b"], x["lora_a"], x["g_bar"])
    return {"lora_b_bar": b_bar, "lora_a_bar": a_bar}


def _logm(x: Arrays, attrs: Attrs) -> Arrays:
    return {"x": logm(x["a"])}


def _phi(x: Arrays, attrs: Attrs) -> Arrays:
    return {"y": phi(x["x"], attrs["k"])}


def _matrix_phi(x: Arrays, attrs: Attrs) -> Arrays:
    return {"y": matrix_phi(x["a"], attrs["k"])}


def _matrix_phi_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    return {"a_bar": matrix_phi_vjp(x["a"], attrs["k"], x["y_bar"])}


def _loss_of(x: Arrays, attrs: Attrs) -> tuple[Loss, Any]:
    settings = {name: value for name, value in attrs.items() if name not in ("loss", "labels")}
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    return LOSSES[attrs["loss"]](**settings), x["targets"] if "targets" in x else np.array(attrs["labels"])


def _loss(x: Arrays, attrs: Attrs) -> Arrays:
    loss, targets = _loss_of(x, attrs)
    return {"loss": np.asarray(loss.value_and_grad(x["logits"], targets)[0], x["logits"].dtype)}


def _loss_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    loss, targets = _loss_of(x, attrs)
    return {"logits_bar": loss.value_and_grad(x["logits"], targets)[1]}


def _clip_gradients(x: Arrays, attrs: Attrs) -> Arrays:
    return clip_by_global_norm(x, attrs["max_norm"])


def _learning_rate(x: Arrays, attrs: Attrs) -> Arrays:
    steps = attrs["total_steps"]
    factors = [learning_rate_factor(attrs["schedule"], t, steps, attrs["warmup_steps"]) for t in range(steps)]
    return {"rates": (float(x["rate"]) * np.array(factors)).astype(x["rate"].dtype)}


def _fold_batch_normalization(x: Arrays, attrs: Attrs) -> Arrays:
    weight, bias = fold(x["weight"], x["bias"], x["scale"], x["shift"], x["mean"], x["var"], attrs["epsilon"])
    return {"weight": weight, "bias": bias}


def _fold_batch_normalization_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    bars = fold_vjp(
        x["weight"], x["bias"], x["scale"], x["shift"], x["mean"], x["var"], attrs["epsilon"], x["weight_bar"],
        x["bias_bar"],
    )  # fmt: skip
    return dict(zip((f"{name}_bar" for name in _FOLD), bars, strict=True))


def _gemm(x: Arrays, attrs: Attrs) -> Arrays:
    return {"y": gemm(x["a"], x["b"], x.get("c"), **{name: attrs[name] for name in _GEMM})}


def _gemm_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    settings = {name: attrs[name] for name in _GEMM}
    y = gemm(x["a"], x["b"], x.get("c"), **settings)
    bars = gemm_vjp(x["a"], x["b"], x.get("c"), y=y, y_bar=x["y_bar"], **settings)
    return {f"{name}_bar": bar for name, bar in zip("abc", bars, strict=True) if bar is not None}


def _pool_settings(attrs: Attrs) -> dict[str, Any]:
    settings = {name: attrs[name] for name in _POOL}
    return settings if attrs["kind"] == "max" else {**settings, "count_include_pad": attrs["count_include_pad"]}


def _pool(x: Arrays, attrs: Attrs) -> Arrays:
    run = pooling.max_pool if attrs["kind"] == "max" else pooling.average_pool
    return {"y": run(x["x"], attrs["kernel_shape"], **_pool_settings(attrs))}


def _pool_vjp(x: Arrays, attrs: Attrs) -> Arrays:
    run = pooling.max_pool_vjp if attrs["kind"] == "max" else pooling.average_pool_vjp
    return {"x_bar": run(x["x"], attrs["kernel_shape"], x["y_bar"], **_pool_settings(attrs))}


REGISTRY_OPERATIONS: Final[dict[str, Callable[[Arrays, Attrs], Arrays]]] = {
    function.__name__[1:]: function
    for function in (
        _merge, _merge_vjp, _retract, _retract_vjp, _group_log, _group_compose, _group_inverse, _group_adjoint,
        _group_bracket, _act, _act_vjp, _low_rank_retract, _low_rank_retract_vjp, _logm, _phi, _matrix_phi,
        _matrix_phi_vjp, _loss, _loss_vjp, _clip_gradients, _learning_rate, _fold_batch_normalization,
        _fold_batch_normalization_vjp, _gemm, _gemm_vjp, _pool, _pool_vjp,
    )
}  # fmt: skip
"""Operation -> lieref's function."""
