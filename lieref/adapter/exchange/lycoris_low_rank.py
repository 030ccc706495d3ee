"""LyCORIS's low-rank algorithms: LoCon (LoRA, with DoRA and the Tucker form), LoHa and LoKr, each in both directions.

LyCORIS adds to the output of a layer what the layer's own operation makes of the change of its weight, so every
algorithm is the weight it makes: the formula above each pair is W' for the multiplier 1. Scalars (`use_scalar`) are
multiplied into a factor when the file is written.
"""

from __future__ import annotations

import math

import numpy as np

from lieref._types import FloatArray, Params
from lieref.adapter.exchange.factors import Factors
from lieref.adapter.exchange.lycoris_form import (
    READ,
    Adapted,
    Target,
    alpha_of,
    as_matrix,
    one_group,
    same_rank,
    whole,
    written,
)
from lieref.errors import FormatError
from lieref.model.local_error import EXTRA_ROUNDINGS
from lieref.param.combination import Combination
from lieref.param.dora import Dora
from lieref.param.hadamard_low_rank import HadamardLowRank
from lieref.param.kronecker import Kronecker, split
from lieref.param.low_rank import LowRank
from lieref.param.tucker import Tucker


def _eps(tensors: Params) -> float:
    """Return what LyCORIS adds to a norm before it divides by it: the step of numbers above 1, of dora_scale's type."""
    return float(np.finfo(tensors["dora_scale"].dtype).eps)


# W' = W + s U D, U (O, r) = lora_up, D (r, I k) = lora_down, s = alpha / r: LoRA with B = U, A = D.
# With a middle M (r, r, *k):  W'[o, i, k] = W + s sum_pq U[o, p] M[p, q, k] D[q, i], the Tucker form with the core M,
# factor_0 = U and factor_1 = D^T.
# With dora_scale m, V = W + s U D:  W'_o = m_o V_o / (||V_o|| + eps). DoRA but for eps, which moves the quotient by
# eps / ||V_o|| in relation to itself. Computing the output, a sum of n products, moves it by up to (n + 9) u S anyway,
# with u = eps / 2 and nine roundings besides, see `lieref.model.error_bound`. Where the first is larger, so for
# ||V_o|| < 2 / (n + 9), the whole difference is taken.
def read_locon(tensors: Params, target: Target) -> Factors:
    """Return LoRA, its Tucker form, or DoRA."""
    shape = target.weight.shape
    up = as_matrix(target, "lora_up.weight", tensors["lora_up.weight"], shape[0], None)
    mid = tensors.get("lora_mid.weight")
    columns = shape[1:] if mid is None else shape[1:2]
    down = as_matrix(target, "lora_down.weight", tensors["lora_down.weight"], None, columns)
    r = same_rank(target, lora_up=up.shape[1], lora_down=len(down))
    option, scale, said = alpha_of(tensors, target, r)
    if mid is not None:
        as_matrix(target, "lora_mid.weight", mid, r, (r, *shape[2:]))
        mid = mid.reshape(r, r, *shape[2:])
    room = min(shape[0], math.prod(shape[1:])) if mid is None else min(shape[:2])
    why, change = f"the rank is {r}, and there is room for {room}", scale * _product(up, down, mid).reshape(shape)
    if "dora_scale" in tensors:
        magnitude, on_out = _magnitude(tensors, target)
        short = min(_filter_norms(target.weight + change).min(), _filter_norms(target.weight).min())
        if mid is not None:
            why = "DoRA around a Tucker form"
        elif not on_out:
            why = "it has lengths of in channels, and DoRA here those of filters"
        elif r <= room and short < 2.0 / (math.prod(shape[1:]) + EXTRA_ROUNDINGS):
            why = f"a filter has the norm {short:.1e}, too near the {_eps(tensors):.1e} that LyCORIS adds"
        elif r <= room:
            config = {"name": "dora", "r": r, **option, **target.shared}
            factors = {"lora_a": down, "lora_b": up, "magnitude": magnitude.reshape(-1)}
            return Factors(config, factors, rows=("lora_b",), lengths=("magnitude",), notes=tuple(said))
        return decomposed(tensors, target, change, said, why)
    if r > room:
        return whole(target, target.weight + change, why, said)
    if mid is None:
        config = {"name": "lora", "r": r, **option, **target.shared}
        return Factors(config, {"lora_a": down, "lora_b": up}, rows=("lora_b",), notes=tuple(said))
    config = {"name": "locon-tucker", "r": r, "scale": scale, **target.shared}
    factors = {"core": mid, "factor_0": up, "factor_1": np.ascontiguousarray(down.T)}
    return Factors(config, factors, rows=("factor_0",), notes=tuple(said))


def _product(up: FloatArray, down: FloatArray, mid: FloatArray | None) -> FloatArray:
    """Return U D, or U M D with the kernel axes last, in float64."""
    up, down = up.astype(np.float64), down.astype(np.float64)
    if mid is None:
        return up @ down
    core = mid.astype(np.float64).reshape(len(mid), len(mid), -1)
    product: FloatArray = np.einsum("op,pqk,qi->oik", up, core, down)
    return product


def _filter_norms(weight: FloatArray) -> FloatArray:
    norms: FloatArray = np.linalg.norm(weight.astype(np.float64).reshape(len(weight), -1), axis=1)
    return norms


def write_locon(adapted: Adapted, target: Target) -> tuple[Params, list[str]] | None:
    """Return the tensors of a method that is LoCon, and what is to be said; None where it is not."""
    method, factors = adapted.method, dict(adapted.factors)
    tensors, said = Params(), list[str]()
    if isinstance(method, Dora):
        tensors["dora_scale"] = factors.pop("magnitude").reshape(-1, *(1,) * (target.weight.ndim - 1))
        method = method.direction
    if not isinstance(method, Combination) or method.group != "additive" or target.weight.ndim < 2:
        return None
    form, shape = method.parameterisation, target.weight.shape
    if isinstance(form, Tucker) and not form.kernel_factors and not tensors:
        core = factors["core"]
        if form.factor_groups(shape, target.groups) > 1 or core.shape[0] != core.shape[1] or math.prod(shape[2:]) == 1:
            return None
        r = len(core)
        return {
            "lora_up.weight": _convolved(factors["factor_0"], shape),
            "lora_down.weight": _convolved(np.ascontiguousarray(factors["factor_1"].T), shape),
            "lora_mid.weight": core,
            "alpha": written(form.scale * r, core),
        }, said
    if not isinstance(form, LowRank) or (form.matricisation != "unfold" and math.prod(shape[2:]) > 1):
        return None
    joined = one_group(form, factors, target, ("lora_b",))
    if joined is None:
        return None
    one, groups = joined
    up, down = one["lora_b"], one["lora_a"]
    if groups > 1:
        said.append(f"the factors of {groups} conv groups are those of one matrix of rank {len(down)}")
    tensors["lora_up.weight"] = _convolved(up, shape)
    tensors["lora_down.weight"] = down.reshape(-1, *shape[1:])
    tensors["alpha"] = written(form.scaling * len(down), up)
    return tensors, said


def decomposed(tensors: Params, target: Target, change: FloatArray, said: list[str], why: str) -> Factors:
    """Return the difference that a change, float64, makes under `dora_scale`: LyCORIS's but for rounding."""
    magnitude, on_out = _magnitude(tensors, target)
    v = target.weight + change
    axes = tuple(axis for axis in range(v.ndim) if axis != (0 if on_out else 1))
    norms = np.sqrt(np.sum(v * v, axis=axes, keepdims=True)) + _eps(tensors)
    return whole(target, v * (magnitude.astype(np.float64) / norms), why, said, linear=False)


def _magnitude(tensors: Params, target: Target) -> tuple[FloatArray, bool]:
    """Return dora_scale with the axes of the weight, and whether it holds lengths of filters or of in channels."""
    given, ones = tensors["dora_scale"], (1,) * (target.weight.ndim - 2)
    for on_out, wanted in ((True, (len(target.weight), 1, *ones)), (False, (1, target.weight.shape[1], *ones))):
        if given.shape == wanted or (on_out and given.shape == wanted[:1]):
            return given.reshape(wanted), on_out
    raise FormatError(
        f"{READ}: `{target.name}.dora_scale` must have one number for each out or in channel of {target.weight.shape}; "
        f"got {given.shape}"
    )


def _convolved(matrix: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return a matrix as the weight of a pointwise convolution of as many axes as the weight has."""
    return matrix.reshape(*matrix.shape, *(1,) * (len(shape) - 2))


# W' = W + s (w1_a w1_b) * (w2_a w2_b), each product (O, r) (r, I k): the product of two low ranks, name by name.
def read_loha(tensors: Params, target: Target) -> Factors:
    """Return LoHa."""
    shape = target.weight.shape
    columns = math.prod(shape[1:])
    factors = {
        name: as_matrix(target, name, tensors[name], *((shape[0], None) if name[-1] == "a" else (None, (columns,))))
        for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    }
    r = same_rank(target, **{name: factor.shape[name[-1] == "a"] for name, factor in factors.items()})
    option, scale, said = alpha_of(tensors, target, r)
    if r <= min(shape[0], columns) and "dora_scale" not in tensors:
        config = {"name": "loha", "r": r, **option, **target.shared}
        return Factors(config, factors, rows=("hada_w1_a",), notes=tuple(said))
    wide = {name: factor.astype(np.float64) for name, factor in factors.items()}
    product = (wide["hada_w1_a"] @ wide["hada_w1_b"]) * (wide["hada_w2_a"] @ wide["hada_w2_b"])
    change = scale * product.reshape(shape)
    if "dora_scale" in tensors:
        return decomposed(tensors, target, change, said, "DoRA around LoHa")
    why = f"the rank is {r}, and there is room for {min(shape[0], columns)}"
    return whole(target, target.weight + change, why, said)


def write_loha(adapted: Adapted, target: Target) -> tuple[Params, list[str]] | None:
    """Return the tensors of a method that is LoHa, and what is to be said; None where it is not."""
    method = adapted.method
    form = method.parameterisation if isinstance(method, Combination) and method.group == "additive" else None
    if not isinstance(form, HadamardLowRank):
        return None
    joined = one_group(form, adapted.factors, target, ("hada_w1_a", "hada_w2_a"))
    if joined is None:
        return None
    tensors, groups = joined
    r = len(tensors["hada_w1_b"])
    said = [] if groups == 1 else [f"the factors of {groups} conv groups are those of one matrix of rank {r}"]
    return {**tensors, "alpha": written(form.scaling * r, tensors["hada_w1_a"])}, said


# W' = W + s w1 (x) w2, w1 (a, b), w2 (c, d, *k), O = a c, I = b d: the Kronecker product. Either may be a product of
# two matrices, w2 = w2_a w2_b as here; w1 = w1_a w1_b, which is multiplied out. s = 1 where both are whole; the rank is
# not in the file then, and alpha says nothing.
def read_lokr(tensors: Params, target: Target) -> Factors:
    """Return LoKr."""
    shape, said = target.weight.shape, list[str]()
    ranks: dict[str, int] = {}
    w1 = tensors.get("lokr_w1")
    if w1 is None:
        left = as_matrix(target, "lokr_w1_a", tensors["lokr_w1_a"], None, None)
        right = as_matrix(target, "lokr_w1_b", tensors["lokr_w1_b"], None, None)
        ranks |= {"lokr_w1_a": left.shape[1], "lokr_w1_b": len(right)}
        same_rank(target, **ranks)
        w1 = (left.astype(np.float64) @ right.astype(np.float64)).astype(left.dtype)
        said.append("lokr_w1_a and lokr_w1_b are multiplied out")
    w1 = as_matrix(target, "lokr_w1", w1, None, None)
    (a, b), (o, i), kernel = w1.shape, shape[:2], shape[2:]
    if o % a or i % b:
        raise FormatError(f"{READ}: `{target.name}.lokr_w1` must have sizes that divide {(o, i)}; got {w1.shape}")
    c, d = o // a, i // b
    if "lokr_w2" in tensors:
        w2 = as_matrix(target, "lokr_w2", tensors["lokr_w2"], c, (d, *kernel)).reshape(c, d, *kernel)
        factors, wide = {"w1": w1, "w2": w2}, w2.astype(np.float64)
    else:
        w2_a = as_matrix(target, "lokr_w2_a", tensors["lokr_w2_a"], c, None)
        w2_b = as_matrix(target, "lokr_w2_b", tensors["lokr_w2_b"], None, (d * math.prod(kernel),))
        ranks |= {"lokr_w2_a": w2_a.shape[1], "lokr_w2_b": len(w2_b)}
        factors = {"w1": w1, "w2_a": w2_a, "w2_b": w2_b}
        wide = (w2_a.astype(np.float64) @ w2_b.astype(np.float64)).reshape(c, d, *kernel)
    if ranks:
        r = same_rank(target, **ranks)
        option, scale, more = alpha_of(tensors, target, r)
        said += more
    else:
        r, option, scale = max(1, (max(c, d) + 1) // 2), {}, 1.0
        said.append("alpha of a LoKr whose factors are both whole has no effect, and is not kept")
    factor = _factor(o, i, a, b)
    config = {"name": "lokr", "r": r, **option, **(factor or {}), **target.shared}
    fits = factor is not None and "dora_scale" not in tensors
    if fits and "w2" in factors:
        while 2 * r < max(c, d):  # w2 is whole from that rank on; powers of two leave alpha / r as it is
            r *= 2
            config |= {"r": r, "lora_alpha": scale * r}
    if fits and ("w2" in factors or 2 * r < max(c, d)):
        # The out channel (a, c) is one of w1's rows where c is 1, one of w2's where a is; else of neither.
        rows = ("w1",) if c == 1 else tuple({"w2", "w2_a"} & factors.keys()) if a == 1 else ()
        return Factors(config, factors, rows=rows, notes=tuple(said))
    change = scale * np.einsum("ab,cdk->acbdk", w1.astype(np.float64), wide.reshape(c, d, -1)).reshape(shape)
    if "dora_scale" in tensors:
        return decomposed(tensors, target, change, said, "DoRA around LoKr")
    why = f"sizes ({a}, {c}) and ({b}, {d}), which no factor gives" if factor is None else f"a w2 of the rank {r}"
    return whole(target, target.weight + change, why, said)


def write_lokr(adapted: Adapted, target: Target) -> tuple[Params, list[str]] | None:
    """Return the tensors of a method that is LoKr, and what is to be said; None where it is not."""
    method = adapted.method
    form = method.parameterisation if isinstance(method, Combination) and method.group == "additive" else None
    if not isinstance(form, Kronecker) or form.factor_groups(target.weight.shape, target.groups) > 1:
        return None
    factors, said = adapted.factors, list[str]()
    w1 = factors["w1"]
    if "w2_a" in factors:
        if not _loads(w1.shape, (len(factors["w2_a"]), factors["w2_b"].shape[1]), target.weight.shape):
            return None
        pairs = {"lokr_w1": w1, "lokr_w2_a": factors["w2_a"], "lokr_w2_b": factors["w2_b"]}
        return {**pairs, "alpha": written(form.scaling * form.r, w1)}, said
    if not _loads(w1.shape, factors["w2"].shape, target.weight.shape):
        return None
    if form.scaling != 1:
        w1 = (form.scaling * w1.astype(np.float64)).astype(w1.dtype)
        said.append(f"the scale {form.scaling:g} is multiplied into lokr_w1, which LyCORIS does not scale there")
    return {"lokr_w1": w1, "lokr_w2": factors["w2"], "alpha": written(form.r, w1)}, said


def _factor(o: int, i: int, a: int, b: int) -> dict[str, int] | None:
    """Return the option with which `split` gives a of O and b of I, empty for its default; None where none does."""
    for n in (None, *range(1, max(a, b) + 1)):
        if (split(o, n)[0], split(i, n)[0]) == (a, b):
            return {} if n is None else {"factor": n}
    return None


def _loads(w1: tuple[int, ...], w2: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    """Tell whether LyCORIS makes a module of these sizes again from the file: it has to guess its factor.

    It reads the columns of a w2_b as in channels, kernel and all, so that its guess is wrong for some convolutions.
    """
    balanced = [_balanced(w1[axis] * w2[axis], None)[0] for axis in (0, 1)] == [*w1]
    if balanced:
        factor = None
    else:
        read = (w1[0] * w2[0], w1[1] * w2[1])
        tried = [max(w1), max(w2[:2])]
        fits = [n for n in tried if not (read[0] % n or read[1] % n) and n in (w1[0], w2[0]) and n in (w1[1], w2[1])]
        factor = fits[0] if fits else min(tried)
    return [_balanced(weight[axis], factor)[0] for axis in (0, 1)] == [*w1]


def _balanced(size: int, factor: int | None) -> tuple[int, int]:
    """Return LyCORIS's two factors of a size, the smaller first."""
    small, large = sorted(split(size, factor))
    return small, large
