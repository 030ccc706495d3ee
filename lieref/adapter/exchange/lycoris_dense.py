"""LyCORIS's algorithms without a rank: IA3, whole differences, and those of normalisations, in both directions."""

from __future__ import annotations

import numpy as np

from lieref._types import Params
from lieref.adapter.exchange.factors import Factors, dense
from lieref.adapter.exchange.lycoris_form import READ, WRITE, Adapted, Target, number
from lieref.errors import FormatError, UnsupportedError
from lieref.group.action import ScaleMode
from lieref.group.maps import Taylor
from lieref.param.combination import Combination
from lieref.param.dense import Dense


# W'_o = (1 + w_o) W_o, or (1 + w_i) W_i on the in channels; the bias stays, unlike PEFT's IA3. That is (IA)^3 without
# its bias, W (1 + xi): the numbers are the same.
def read_ia3(tensors: Params, target: Target) -> Factors:
    """Return IA3 on the weight alone."""
    weight, shape = tensors["weight"], target.weight.shape
    on_input = number(target, "on_input", tensors["on_input"])
    if on_input not in (0, 1):
        raise FormatError(f"{READ}: `{target.name}.on_input` must be 0 or 1; got {on_input:g}")
    if on_input and target.groups > 1:
        raise UnsupportedError(
            f"{READ}: `{target.name}` must scale the in channels of a layer without conv groups, as LyCORIS computes "
            f"it for no other; got {target.groups} groups"
        )
    size = shape[1] if on_input else shape[0]
    ones = (1,) * (len(shape) - 2)
    if weight.shape not in ((size,), (1, size, *ones)):
        raise FormatError(f"{READ}: `{target.name}.weight` must have shape ({size},); got {weight.shape}")
    action = "scaling(in)" if on_input else "scaling"
    return Factors({"name": "ia3", "action": action}, {"xi": weight.reshape(-1)}, adds=False)


def write_ia3(adapted: Adapted, target: Target) -> tuple[Params, list[str]] | None:
    """Return the tensors of a method that is IA3, and what is to be said; None where it is not."""
    method, said = adapted.method, list[str]()
    if not isinstance(method, Combination) or method.group != "scaling" or not isinstance(method.action, ScaleMode):
        return None
    mode, shape = method.action.mode, target.weight.shape
    if method.moves_bias or mode not in ("out", "in") or (mode == "in" and target.groups > 1):
        return None
    xi = method.delta(adapted.factors, shape, target.groups)
    if isinstance(method.map, Taylor) and method.map.degree == 1:
        w = xi
    else:
        w = method.map.retract_minus_identity(method.group_for(shape, target.groups), xi)
        said.append(f"the factors {method.map.spec}(xi) are written as what they are above 1")
    flat = w.reshape(-1)
    said.append("LyCORIS 4.1.3 loads IA3 into a network made with algo=ia3, not by create_lycoris_from_weights")
    weight = flat if len(shape) == 2 else flat.reshape(1, -1, *(1,) * (len(shape) - 2))
    return {"weight": weight, "on_input": np.asarray(int(mode == "in"), np.int64)}, said


# W' = W + diff; b' = b + diff_b is not of the weight. The same of a normalisation: w_norm, b_norm.
def read_full(tensors: Params, target: Target) -> Factors:
    """Return the difference of the weight as it is."""
    diff = tensors["diff"]
    if diff.shape != target.weight.shape:
        raise FormatError(f"{READ}: `{target.name}.diff` must have shape {target.weight.shape}; got {diff.shape}")
    return dense(diff)


def write_full(weight: Adapted | None, bias: Adapted | None, target: Target, norm: bool) -> tuple[Params, list[str]]:
    """Return the whole differences that any method makes, and what is to be said."""
    names = ("w_norm", "b_norm") if norm else ("diff", "diff_b")
    tensors, said = Params(), list[str]()
    if weight is None:
        tensors[names[0]] = np.zeros_like(target.weight)
        said.append("LyCORIS has no difference of a bias alone: that of the weight is zero")
    elif _adds_itself(weight):
        tensors[names[0]] = weight.factors["xi"].reshape(target.weight.shape)
    else:
        tensors[names[0]] = weight.method.weight_delta(_wide(weight.factors), target.weight, target.groups)
        said.append(f"{weight.method.name} is no algorithm of LyCORIS there: the whole difference is written")
    if bias is None and weight is not None and weight.method.moves_bias and target.bias is not None:
        moved = weight.method.adapted_bias(_wide(weight.factors), target.bias, target.weight.shape, target.groups)
        tensors[names[1]] = moved - target.bias
    elif bias is not None:
        if not _adds_itself(bias):
            raise UnsupportedError(f"{WRITE}: the bias of `{target.name}` must be added to; got {bias.method.name}")
        tensors[names[1]] = bias.factors["xi"]
    return tensors, said


def _wide(factors: Params) -> Params:
    return {name: factor.astype(np.float64) for name, factor in factors.items()}


def _adds_itself(adapted: Adapted) -> bool:
    """Tell whether the one factor of a method is what it adds."""
    method = adapted.method
    return isinstance(method, Combination) and method.group == "additive" and isinstance(method.parameterisation, Dense)
