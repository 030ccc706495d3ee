"""The methods of lieref's that a kind of PEFT's computes, as its tensors; every other one as a whole difference.

A difference D = W' - W of an (out, n) weight is LoRA of full rank, B = D and A = I, or B = I and A = D: PEFT adds
B A = D to the bit. See `peft_kinds` for the forms themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from lieref._types import FloatArray, Params
from lieref.adapter.exchange.factors import Place
from lieref.adapter.exchange.peft_form_added import added_form
from lieref.adapter.exchange.peft_module import Form
from lieref.group.action import ElementWise, ScaleMode
from lieref.group.maps import Cayley, CayleyNeumann, Map, Taylor
from lieref.model.site import Site
from lieref.param.blocks import BlockDiagonal, Butterfly
from lieref.param.combination import Combination
from lieref.param.dora import Dora
from lieref.param.hadamard_low_rank import HadamardLowRank
from lieref.param.kronecker import Kronecker
from lieref.param.low_rank import LowRank
from lieref.param.method import Method
from lieref.param.rotation import BlockRotation, Reflections


def own_form(site: Site, place: Place, bias: bool) -> Form | None:
    """Return an adapter as the kind of PEFT's that computes the same, None where there is none.

    Parameters
    ----------
    site : Site
        Of a layer's weight.
    place : Place
    bias : bool
        Whether the layer has a bias.
    """
    method, kernel = site.method, place.kernel
    plain = not place.padding_mode
    dilated = any(d > 1 and k > 1 for d, k in zip(place.dilations, kernel, strict=True))
    square = not any(len(set(each)) > 1 for each in (kernel, place.strides, place.pads))
    if isinstance(method, Dora):
        return _dora(method, site) if plain and not dilated and site.groups == 1 else None
    if isinstance(method, BlockRotation):
        return _rotation(method, site, place, alone=plain and not dilated and square and site.groups == 1)
    if isinstance(method, Reflections):
        fits = plain and not dilated and square and site.groups == 1 and len(kernel) in (0, 2)
        return _reflections(site) if fits else None
    if not isinstance(method, Combination):
        return None
    recipe = method.parameterisation
    if isinstance(method.action, ScaleMode):
        return _scaling(method, site, bias) if len(kernel) != 1 else None
    if not isinstance(method.action, ElementWise) or not plain:
        return None
    if isinstance(recipe, LowRank) and (recipe.matricisation == "unfold" or len(kernel) < 2):
        if method.action.adds:
            return None if dilated else _low_rank(recipe, site, place)
        first = isinstance(method.map, Taylor) and method.map.degree == 1
        fails = len(kernel) == 3 and kernel[:2] == (1, 1)  # PEFT takes it for a kernel of two axes
        return _hira(recipe, site, place) if first and site.groups == 1 and not fails else None
    if method.action.adds and (form := added_form(recipe, site, place)) is not None:
        return form
    shared = site.groups == 1 or recipe.factor_groups(place.layer.shape, site.groups) == 1
    if not method.action.adds or not shared or len(kernel) == 3:
        return None
    if isinstance(recipe, HadamardLowRank):
        return _hadamard(recipe, site)
    if isinstance(recipe, Kronecker):
        return _kronecker(recipe, site, place)
    return None


def _hadamard(recipe: HadamardLowRank, site: Site) -> Form:
    tensors, cores = dict(site.params), "hada_t1" in site.params
    r = site.params["hada_w1_b"].shape[0]
    if cores:
        tensors |= {name: np.ascontiguousarray(tensors[name].T) for name in ("hada_w1_a", "hada_w2_a")}
        tensors |= {name: _of_two_axes(tensors[name]) for name in ("hada_t1", "hada_t2")}
    alpha = recipe.scaling * r if r != recipe.r else recipe.alpha
    rows = () if cores else ("hada_w1_a",)
    return Form("LOHA", tensors, {"use_effective_conv2d": recipe.tucker}, r, alpha, rows=rows)


def _kronecker(recipe: Kronecker, site: Site, place: Place) -> Form | None:
    if (len(place.kernel) == 1 and "w2" in site.params) or "t2" in site.params:
        return None  # PEFT mixes the axes of the first; of the second torch.kron refuses what PEFT gives it, at times
    tensors = {f"lokr_{name}": factor for name, factor in site.params.items()}
    settings = {"decompose_both": False, "decompose_factor": -1 if recipe.factor is None else recipe.factor,
                "use_effective_conv2d": recipe.tucker}  # fmt: skip
    return Form("LOKR", tensors, settings, recipe.r, recipe.alpha)


def _of_two_axes(core: FloatArray) -> FloatArray:
    """Return a core (r, r, *kernel) with two kernel axes, as PEFT keeps that of a kernel of one."""
    return core.reshape(*core.shape, 1) if core.ndim == 3 else core


def whole_form(difference: FloatArray, place: Place, dtype: np.dtype[Any]) -> Form | None:
    """Return a difference of a weight as LoRA of full rank, None where PEFT's LoRA computes something else.

    Parameters
    ----------
    difference : array
        W' - W of the module, in canonical layout, float64.
    place : Place
    dtype : numpy.dtype
        Of the tensors.
    """
    if place.padding_mode or any(d > 1 and k > 1 for d, k in zip(place.dilations, place.kernel, strict=True)):
        return None
    groups, out = place.layer.groups, place.layer.shape[0] // place.layer.groups
    n = math.prod(place.layer.shape[1:])
    matrices = difference.reshape(groups, out, n)
    rank = min(out, n)
    eye = np.broadcast_to(np.eye(rank), (groups, rank, rank))
    a, b = (matrices, eye) if out < n else (eye, matrices)
    return _lora_form(a.reshape(-1, n), b.reshape(-1, rank), place, float(groups * rank), dtype)


def _low_rank(recipe: LowRank, site: Site, place: Place) -> Form:
    groups = recipe.factor_groups(place.layer.shape, site.groups)
    a, b = site.params["lora_a"], site.params["lora_b"]
    rank = b.shape[1]
    if groups < site.groups:  # every group reads its channels through the same A
        a = np.tile(a, (site.groups, 1))
    total = rank * site.groups
    settings = {"use_rslora": recipe.use_rslora, "use_dora": False}
    alpha = recipe.alpha
    if total != recipe.r:
        alpha = recipe.scaling * (math.sqrt(total) if recipe.use_rslora else total)
    return _lora_form(a, b, place, alpha, a.dtype, settings)


def _lora_form(
    a: FloatArray,
    b: FloatArray,
    place: Place,
    alpha: float,
    dtype: np.dtype[Any],
    settings: Mapping[str, Any] | None = None,
) -> Form:
    """Return LoRA of factors A (groups r, in / groups k) and B (out, r), in the shapes of PEFT's."""
    groups, shape = place.layer.groups, place.layer.shape
    rows = len(a) // groups
    wide = np.zeros((groups, rows, groups, a.shape[1]), dtype)
    wide[np.arange(groups), :, np.arange(groups)] = a.reshape(groups, rows, -1)
    ones = (1,) * len(shape[2:])
    tensors = {
        "lora_A.weight": wide.reshape(groups * rows, shape[1] * groups, *shape[2:]),
        "lora_B.weight": np.asarray(b, dtype).reshape(*b.shape, *ones),
    }
    settings = {"use_rslora": False, "use_dora": False} if settings is None else settings
    return Form("LORA", tensors, settings, groups * rows, alpha, rows=("lora_B.weight",))


def _dora(method: Dora, site: Site) -> Form | None:
    inner = method.direction.parameterisation
    adds = isinstance(method.direction.action, ElementWise) and method.direction.action.adds
    if not isinstance(inner, LowRank) or inner.matricisation != "unfold" or not adds or site.layer is None:
        return None
    factors = {name: value for name, value in site.params.items() if name != "magnitude"}
    plain = _low_rank(
        inner, Site(site.tensor, method, factors, site.groups, site.layer), Place(site.layer, np.empty(0))
    )
    shape = site.layer.shape
    magnitude = site.params["magnitude"]
    if len(shape) > 2:
        magnitude = magnitude.reshape(1, -1, *(1,) * len(shape[2:]))
    tensors = {**plain.tensors, "lora_magnitude_vector": magnitude}
    settings = {"use_rslora": inner.use_rslora, "use_dora": True}
    return Form("LORA", tensors, settings, plain.r, plain.alpha, True, ("lora_B.weight",), ("lora_magnitude_vector",))


def _hira(recipe: LowRank, site: Site, place: Place) -> Form:
    form = _lora_form(site.params["lora_a"], site.params["lora_b"], place, 1.0, site.params["lora_a"].dtype)
    b = form.tensors["lora_B.weight"]
    tensors = {"hira_A": form.tensors["lora_A.weight"], "hira_B": b if recipe.scaling == 1 else recipe.scaling * b}
    return Form("HIRA", tensors, {}, form.r, adds=False)


def _scaling(method: Combination, site: Site, bias: bool) -> Form | None:
    action = method.action
    assert isinstance(action, ScaleMode)  # the caller has looked
    if site.layer is None or action.mode not in ("out", "in") or (action.mode == "out" and bias != action.with_bias):
        return None
    shape = site.layer.shape
    factor = method.group_element(site.params, shape, site.groups)
    if len(shape) > 2:
        tensor = factor.reshape(1, -1, *(1,) * len(shape[2:]))
    else:
        tensor = factor.reshape(1, -1) if action.mode == "in" else factor.reshape(-1, 1)
    return Form("IA3", {"ia3_l": tensor}, adds=False, inputs=action.mode == "in")


def _rotation(method: BlockRotation, site: Site, place: Place, *, alone: bool) -> Form | None:
    recipe, kernel, n = method.parameterisation, place.kernel, math.prod(place.layer.shape[1:])
    exact, terms = isinstance(method.map, Cayley), _neumann_terms(method.map)
    if not isinstance(recipe, BlockDiagonal) or not recipe.skew or len(kernel) not in (0, 2) or not (exact or terms):
        return None
    upper, b = (-0.5 if exact else 0.5) * site.params["blocks"], recipe.size_for(n)
    if isinstance(recipe, Butterfly):
        if not alone or not exact:
            return None
        rows, columns = np.triu_indices(b, 1)
        stages = len(upper) * b // n
        blocks = np.zeros((len(upper), b, b), upper.dtype)
        blocks[:, rows, columns], blocks[:, columns, rows] = upper, -upper
        out = place.layer.shape[0]
        scale = np.ones((1, out) if kernel else (out, 1), upper.dtype)
        settings = {"boft_block_size": b, "boft_block_num": 0, "boft_n_butterfly_factor": stages}
        return Form("BOFT", {"boft_R": blocks.reshape(stages, n // b, b, b), "boft_s": scale}, settings, adds=False)
    apart = site.groups == 1 or recipe.factor_groups(place.layer.shape, site.groups) == site.groups
    if any(k > 1 for k in kernel) or not apart:
        return None
    settings = {"oft_block_size": b, "r": 0, "use_cayley_neumann": not exact, "coft": False, "block_share": False}
    if terms:
        settings["num_cayley_neumann_terms"] = terms
    return Form("OFT", {"oft_R.weight": upper}, settings, adds=False)


def _neumann_terms(map_: Map) -> int:
    """Return the terms that PEFT counts of a polynomial, 0 where it has none like it: see `peft_kinds`."""
    if isinstance(map_, Taylor) and map_.degree == 1:
        return 2
    return map_.degree + 1 if isinstance(map_, CayleyNeumann) and map_.degree > 2 else 0


def _reflections(site: Site) -> Form:
    u, w = site.params["u"], site.params["w"]
    pairs = np.stack([u, u + w], axis=1).reshape(-1, u.shape[1])
    return Form("HRA", {"hra_u": np.ascontiguousarray(pairs.T)}, {"r": len(pairs), "apply_GS": False}, adds=False)


def difference_of(method: Method, params: Params, weight: FloatArray, groups: int) -> FloatArray:
    """Return W' - W in float64."""
    wide: Params = {name: factor.astype(np.float64) for name, factor in params.items()}
    return method.weight_delta(wide, weight, groups)


def scaled(form: Form, scales: FloatArray) -> Form:
    """Return a form for the module whose out channels the file has multiplied by `scales`, none of them zero."""
    tensors = dict(form.tensors)
    for names, a in ((form.rows, scales), (form.lengths, np.abs(scales))):
        for name in names:
            tensor = tensors[name]
            column = a.reshape(tensor.shape) if name in form.lengths else a.reshape(-1, *(1,) * (tensor.ndim - 1))
            tensors[name] = (tensor.astype(np.float64) / column).astype(tensor.dtype)
    return replace(form, tensors=tensors)
