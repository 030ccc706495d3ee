"""PEFT's kinds of low rank."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lieref._types import Array, FloatArray
from lieref.adapter.exchange.factors import Factors, Place, dense
from lieref.adapter.exchange.peft_options import Options, integer
from lieref.adapter.exchange.peft_tensors import linear, matrix, pair, product, shaped, vector, with_room
from lieref.errors import ShapeError, UnsupportedError
from lieref.param.middle import between


def read_lora(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return LoRA or DoRA, of a grouped convolution where its rows stay within groups."""
    groups = place.layer.groups
    a, b = pair(tensors["lora_A.weight"], tensors["lora_B.weight"], place)
    r = a.shape[0]
    if options.r is not None and options.r != r:
        raise ShapeError(f"import: `r` must be the rank {r} of the tensors; got {options.r}")
    alpha = float(r) if options.alpha is None else float(options.alpha)
    rslora, dora = bool(options.config.get("use_rslora")), "lora_magnitude_vector" in tensors
    method: dict[str, Any] = {"name": "dora" if dora else "rslora" if rslora else "lora", "r": r, "lora_alpha": alpha}
    if "lora_B.bias" in tensors:
        raise UnsupportedError("import: `lora_bias` must be false; a bias of its own in lora_B follows later")
    if groups > 1:
        if dora:
            raise UnsupportedError("import: DoRA of a grouped convolution has no meaning in PEFT")
        a = _within_groups(a, place)
        scale = math.sqrt(groups) if rslora else groups
        method |= {"r": r // groups, "lora_alpha": alpha / scale, "share_groups": False}
        return Factors(method, {"lora_a": a, "lora_b": b}, rows=("lora_b",))
    a, b, note = with_room(a, b)
    if not dora:
        return Factors(method, {"lora_a": a, "lora_b": b}, rows=("lora_b",), notes=note)
    method |= {"detach_norm": True, **({"use_rslora": True} if rslora else {})}
    params = {"lora_a": a, "lora_b": b, "magnitude": vector(tensors["lora_magnitude_vector"], place.layer.shape[0])}
    return Factors(method, params, rows=("lora_b",), lengths=("magnitude",), notes=note)


def _within_groups(a: FloatArray, place: Place) -> FloatArray:
    """Return the rows of A of each conv group, on the channels of that group alone.

    Raises
    ------
    UnsupportedError
        If a row reads channels of another group, as PEFT's rows do once they are trained: the layer is one convolution
        over all channels then, which no weight of a grouped one is.
    """
    groups, n = place.layer.groups, math.prod(place.layer.shape[1:])
    apart = a.reshape(groups, -1, groups, n)
    outside = apart.copy()
    outside[np.arange(groups), :, np.arange(groups)] = 0
    if outside.any():
        raise UnsupportedError(
            f"import: LoRA of the grouped convolution {place.layer.node} must read the channels of its group alone; "
            "PEFT's reads them all, which no weight of a grouped convolution does"
        )
    return apart[np.arange(groups), :, np.arange(groups)].reshape(-1, n)


def read_hira(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return HiRA, which has no alpha."""
    if place.layer.groups > 1:
        raise UnsupportedError("import: HiRA of a grouped convolution has no meaning in PEFT")
    a, b = pair(tensors["hira_A"], tensors["hira_B"], place)
    r = a.shape[0]
    a, b, note = with_room(a, b)
    return Factors({"name": "hira", "r": r}, {"lora_a": a, "lora_b": b}, adds=False, notes=note)


def read_loha(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return LoHa, with cores where it has them, whose outer factors PEFT keeps the other way round."""
    names, cores = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), ("hada_t1", "hada_t2")
    a1, b1, a2, b2 = (matrix(tensors[name], name) for name in names)
    tucker = cores[0] in tensors
    if tucker:
        a1, a2 = a1.T, a2.T
    out, n, r = place.layer.shape[0], math.prod(place.layer.shape[1:]), b1.shape[0]
    columns = place.layer.shape[1] if tucker else n
    if not all(one.shape == (out, r) for one in (a1, a2)) or not all(one.shape == (r, columns) for one in (b1, b2)):
        raise ShapeError(
            f"import: the factors of LoHa must be ({out}, r) and (r, {columns}); got {a1.shape}, {b1.shape}"
        )
    alpha = float(r if options.alpha is None else options.alpha)
    params = dict(zip(names, (a1, b1, a2, b2), strict=True))
    if tucker:
        params |= {name: _core(tensors, name, r, place) for name in cores}
    if r > min(out, n):
        one, two = (
            between(params[a][None], params[t].reshape(1, r, r, -1), params[b][None])[0].reshape(out, n)
            if tucker else params[a].astype(float) @ params[b]
            for a, b, t in ((*names[:2], cores[0]), (*names[2:], cores[1]))
        )  # fmt: skip
        change = alpha / r * one.astype(float) * two
        return dense(change.reshape(place.layer.shape), f"its rank {r} is more than the weight has room for")
    name = "loha-tucker" if tucker else "loha"
    return Factors({"name": name, "r": r, "lora_alpha": alpha, **_shared(place)}, params, rows=(names[0],))


def read_lokr(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return LoKr, w1 whole and w2 whole, of low rank or with a core."""
    notes: tuple[str, ...] = ()
    r = options.r
    if r is None:
        raise ShapeError("import: `r` must be in the configuration of LoKr")
    alpha = float(r if options.alpha is None else options.alpha)
    w1 = tensors.get("lokr_w1")
    if w1 is None:
        w1 = product(tensors, "lokr_w1")
        notes = ("w1 is kept as the product of its two factors",)
    w2 = tensors.get("lokr_w2")
    if w2 is not None and len(place.layer.shape) == 3:
        # torch.kron sets the axes of w1 (a, b) against the last two of w2 (c, d, k), which is not what was meant.
        change = alpha / r * np.kron(w1.astype(float), w2.astype(float))
        return dense(shaped(change, place), "PEFT's LoKr of a 1-D convolution with a whole w2 mixes its axes")
    factor = integer(options.config, "decompose_factor", -1)
    method = {"name": "lokr", "r": r, "lora_alpha": alpha, "factor": None if factor == -1 else factor, **_shared(place)}
    if w2 is not None:
        return Factors(method, {"w1": w1, "w2": w2}, notes=notes)
    params = {"w1": w1, "w2_a": tensors["lokr_w2_a"], "w2_b": tensors["lokr_w2_b"]}
    if "lokr_t2" in tensors:
        core = _core(tensors, "lokr_t2", r, place)
        params |= {"w2_a": matrix(params["w2_a"], "lokr_w2_a").T, "t2": core}
        return Factors(method | {"name": "lokr-tucker"}, params, notes=notes)
    return Factors(method, params, notes=notes)


def read_adalora(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return AdaLoRA's factors; PEFT divides by the rank that they began with, and 1e-5 beside it."""
    if place.layer.groups > 1:
        raise UnsupportedError("import: AdaLoRA of a grouped convolution has no meaning in PEFT")
    a, b = matrix(tensors["lora_A"], "lora_A"), matrix(tensors["lora_B"], "lora_B")
    out, n, r = place.layer.shape[0], math.prod(place.layer.shape[1:]), len(a)
    if a.shape != (r, n) or b.shape != (out, r):
        raise ShapeError(f"import: AdaLoRA must have A (r, {n}) and B ({out}, r); got {a.shape} and {b.shape}")
    e = vector(tensors["lora_E"], r)
    if r == 0:
        a, e, b, r = np.zeros((1, n)), np.zeros(1), np.zeros((out, 1)), 1
    begun = integer(options.config, "init_r", options.r or 0)
    if begun < 1:
        raise ShapeError(f"import: `init_r` must be in the configuration of AdaLoRA; got {begun}")
    alpha = float(options.alpha) if options.alpha is not None and options.alpha > 0 else float(r)
    s = alpha / (begun + 1e-5)
    if r > min(out, n):
        change = s * (b * e.astype(float)) @ a
        return dense(change.reshape(place.layer.shape), f"its rank {r} is more than the weight has room for")
    method = {"name": "lora-svd", "r": r, "lora_alpha": s * r}
    return Factors(method, {"lora_a": a, "lora_e": e, "lora_b": b}, rows=("lora_b",))


def read_delora(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return DeLoRA, whose rows of A and columns of B have one length and whose file has those of the weight."""
    out, n = linear(place)
    a, b = (matrix(tensors[name], name) for name in ("delora_A", "delora_B"))
    r = len(a)
    if r < 1 or a.shape != (r, n) or b.shape != (out, r):
        raise ShapeError(f"import: DeLoRA must have A (r, {n}) and B ({out}, r); got {a.shape} and {b.shape}")
    lengths = [np.maximum(np.linalg.norm(one.astype(np.float64), axis=axis), 1e-4) for one, axis in ((a, 1), (b, 0))]
    scale = float(vector(tensors["delora_lambda"], 1)[0]) / r / (lengths[0] * lengths[1])
    a, b, notes = with_room(a.astype(np.float64) * vector(tensors["delora_w_norm"], n), b * scale)
    said = "DeLoRA's lengths are multiplied into a LoRA, which is free to change them"
    r = len(a)
    return Factors(
        {"name": "lora", "r": r, "lora_alpha": r}, {"lora_a": a, "lora_b": b}, rows=("lora_b",), notes=(*notes, said)
    )


def _core(tensors: Mapping[str, Array], name: str, r: int, place: Place) -> FloatArray:
    core, kernel = tensors[name], place.kernel
    if core.shape[:2] != (r, r) or core.size != r * r * math.prod(kernel):
        raise ShapeError(f"import: {name} must be ({r}, {r}, {', '.join(map(str, kernel))}); got {core.shape}")
    return core.reshape(r, r, *kernel)


def _shared(place: Place) -> dict[str, bool]:
    return {"share_groups": True} if place.layer.groups > 1 else {}
