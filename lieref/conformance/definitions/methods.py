"""What each named method makes of a weight: W' (and b' where it moves the bias) of base weight, factors and options.

Each row is the formula of the publication in `lieref.references`. A name of the form parameterisation+group+map or
parameterisation+group+map+action is the combination it says.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, TypeAlias

import numpy as np

from lieref._types import Shape
from lieref.conformance.definitions import actions, groups, maps
from lieref.conformance.definitions.factors import Factors, Options
from lieref.conformance.definitions.matrix import matmul
from lieref.conformance.definitions.number import Numbers, dot, sqrt
from lieref.conformance.definitions.parameterisations import (
    Places,
    block_size,
    blocks_of,
    butterfly,
    delta,
    givens_tree,
)
from lieref.errors import UnsupportedError

Adapted: TypeAlias = dict[str, Numbers]
"""``weight``, and ``bias`` where there is one."""

Method: TypeAlias = Callable[[Numbers, Numbers | None, Factors, int, Options], Adapted]


def combine(
    parameterisation: str, group: str, map_: str, action: str,
    base: Numbers, bias: Numbers | None, factors: Factors, conv_groups: int, options: Options, **fixed: Any,
) -> Adapted:  # fmt: skip
    """Return map(xi(factors)) acting on the weight and, if the action says so, on the bias."""
    options = {**options, **fixed}
    map_, action = options.get("map", map_), options.get("action", action)
    shape = base.shape
    weight = base.reshape(shape[0], -1) if base.ndim == 1 else base
    element = actions.element_shape(action, weight.shape, conv_groups)
    if action == "element-wise":
        xi = delta(parameterisation, factors, weight.shape, conv_groups, options)
    else:
        count = prod(element[:-2]) if len(element) > 2 else 1
        flat = (count * element[-2], element[-1]) if len(element) > 2 else element
        xi = delta(parameterisation, factors, flat, count, options).reshape(element)
    g = _each_member(partial(_retract, map_), group, action, xi, weight.shape, conv_groups)
    adapted = {"weight": actions.act(action, group == "additive", g, weight, conv_groups).reshape(shape)}
    return adapted if bias is None else {**adapted, "bias": actions.act_on_bias(action, g, bias, conv_groups)}


def _retract(map_: str, group: str, xi: Numbers) -> Numbers:
    return maps.retract(group, map_, xi)


def _each_member(
    function: Callable[[str, Numbers], Numbers], group: str, action: str, xi: Numbers, shape: Shape, conv_groups: int
) -> Numbers:
    """Apply a function of one group element: the whole, each matrix of a stack, or each mode of several."""
    modes = action.split("*")
    if len(modes) == 1:
        if group in groups.TENSOR_GROUPS or xi.ndim == 2:
            return function(group, xi)
        return np.stack([function(group, one) for one in xi])
    names = group.split("*") if "*" in group else [group] * len(modes)
    pieces, start = [], 0
    for name, mode in zip(names, modes, strict=True):
        element = actions.element_shape(mode, shape, conv_groups)
        size = prod(element)
        piece = xi[start : start + size].reshape(element)
        pieces.append(_each_member(function, name, mode, piece, shape, conv_groups).reshape(-1))
        start += size
    return np.concatenate(pieces)


def nothing(base: Numbers, bias: Numbers | None, factors: Factors, conv_groups: int, options: Options) -> Adapted:
    """Return the weight as it is: only statistics are re-estimated [Li16]."""
    return {"weight": base}


# W' = m V / ||V||, the norm over each output filter [Liu24, equation 5]. Its gradient goes through the norm, or holds
# the norm constant [Liu24, section 4.3].
def dora(
    direction: Method, base: Numbers, bias: Numbers | None, factors: Factors, conv_groups: int, options: Options
) -> Adapted:
    """Return the filters of `direction` at the trained lengths."""
    inner = {name: factor for name, factor in factors.items() if name != "magnitude"}
    v = direction(base, None, inner, conv_groups, options)["weight"]
    rows = v.reshape(v.shape[0], -1)
    lengths = [sqrt(dot(row, row)) for row in rows]
    if options.get("detach_norm", False):
        for length in lengths:
            length.parents, length.varies = [], False
    factor = factors["magnitude"] / np.array(lengths, dtype=object)
    return {"weight": (rows * factor[:, None]).reshape(v.shape)}


# z = R x, W' = W R^T on the flattened filters, R block-diagonal of rotations [Qiu23, equation 4]; BOFT multiplies
# butterflies, R = R_m ... R_1 [Liu24B, equation 3], and GOFT trees of pairs [Ma24, equation 4].
def rotate(
    map_: str, places: Places,
    base: Numbers, bias: Numbers | None, factors: Factors, conv_groups: int, options: Options,
) -> Adapted:  # fmt: skip
    """Return the filters times the transpose of the product of the stages."""
    conv_groups = 1 if options.get("share_groups") else conv_groups
    rows = base.reshape(conv_groups, base.shape[0] // conv_groups, -1).copy()
    n = rows.shape[2]
    stacked = factors["blocks"]
    count = len(stacked) // conv_groups
    for number in range(conv_groups):
        own = stacked[number * count : (number + 1) * count]
        b = block_size(own)
        for at, block in zip(places(n, b, count), blocks_of(own, b), strict=True):
            turn = maps.retract("gl", options.get("map", map_), block)
            rows[number][:, at] = matmul(rows[number][:, at], turn.T)
    return {"weight": rows.reshape(base.shape)}


# W' = W H(v_1) H(v_2) ..., H(v) = I - 2 v v^T / (v . v) [Yuan24, equation 2], with v = u, u + w for each pair.
def reflect(base: Numbers, bias: Numbers | None, factors: Factors, conv_groups: int, options: Options) -> Adapted:
    """Return the filters after an even number of reflections."""
    conv_groups = 1 if options.get("share_groups") else conv_groups
    rows = base.reshape(conv_groups, base.shape[0] // conv_groups, -1).copy()
    count = len(factors["u"]) // conv_groups
    for group in range(conv_groups):
        for pair in range(group * count, (group + 1) * count):
            u, w = factors["u"][pair], factors["w"][pair]
            for v in (u, u + w):
                share = [dot(row, v) * 2 / dot(v, v) for row in rows[group]]
                rows[group] = rows[group] - np.array(share, dtype=object)[:, None] * v[None, :]
    return {"weight": rows.reshape(base.shape)}


def _adds(parameterisation: str, **fixed: Any) -> Method:
    return partial(combine, parameterisation, "additive", "exp", "element-wise", **fixed)


def _multiplies(parameterisation: str, map_: str, **fixed: Any) -> Method:
    return partial(combine, parameterisation, "hadamard", map_, "element-wise", **fixed)


def _mixes(group: str) -> Method:
    return partial(combine, "low-rank", group, "exp", "out")


_LORA, _LIERA = _adds("low-rank"), _multiplies("low-rank", "exp")

METHODS: dict[str, Method] = {
    "full": _adds("dense"),
    "head": _adds("dense"),
    "bias": _adds("dense"),
    "norm": _adds("dense"),
    "norm-stats": nothing,
    "scale": partial(combine, "dense", "scaling", "exp", "scaling"),
    "ia3": partial(combine, "dense", "scaling", "taylor1", "scaling+bias"),
    "lora": _LORA,
    "lora-view": _adds("low-rank", matricisation="view"),
    "lora-structured": _adds("low-rank", matricisation="structured"),
    "rslora": _adds("low-rank", use_rslora=True),
    "lora-c": _adds("low-rank", matricisation="view"),
    "locon-tucker": _adds("tucker"),
    "loha": _adds("hadamard-low-rank"),
    "lokr": _adds("kronecker"),
    "convolutional-low-rank-adaptation": _adds("separable"),
    "lora-edge": _adds("tensor-train"),
    "flora": _adds("tucker"),
    "atoms": _adds("filter-atoms"),
    "atoms-recursive": _adds("filter-atoms"),
    "dora": partial(dora, _LORA),
    "pissa": _adds("principal"),
    "olora": _adds("principal"),
    "vera": _adds("shared-random"),
    "dvora": partial(dora, _adds("shared-random")),
    "randlora": _adds("random-bases"),
    "lora-fa": _adds("projected"),
    "fourierft": _adds("fourier"),
    "waveft": _adds("wavelet"),
    "shira": _adds("sparse"),
    "c3a": _adds("circulant"),
    "miss": _adds("shared-blocks"),
    "gralora": _adds("block-low-rank"),
    "lora-svd": _adds("singular-values"),
    "lora-xs": _adds("core"),
    "psoft": _adds("principal-rotation"),
    "cp": _adds("canonical"),
    "tensor-ring": _adds("tensor-ring"),
    "loha-tucker": _adds("hadamard-low-rank"),
    "lokr-tucker": _adds("kronecker"),
    "oft": partial(rotate, "exp", butterfly),
    "oft-cayley": partial(rotate, "cayley", butterfly),
    "oft-cayley-neumann": partial(rotate, "neumann4", butterfly),
    "boft": partial(rotate, "cayley", butterfly),
    "goft": partial(rotate, "exp", givens_tree),
    "qgoft": partial(rotate, "taylor1", givens_tree),
    "hra": reflect,
    "elra": _mixes("gl"),
    "so": _mixes("so"),
    "sl": _mixes("sl"),
    "unitriangular": _mixes("unipotent"),
    "sp": _mixes("sp"),
    "affine": partial(combine, "low-rank", "affine", "exp", "affine"),
    "liera": _LIERA,
    "liera-taylor1": _multiplies("low-rank", "taylor1"),
    "liera-taylor2": _multiplies("low-rank", "taylor2"),
    "liera-bounded": _multiplies("low-rank", "bounded"),
    "liera-tucker": _multiplies("tucker", "exp"),
    "liera-kronecker": _multiplies("kronecker", "exp"),
    "liera-atoms": _multiplies("filter-atoms", "exp"),
    "liera-vera": _multiplies("shared-random", "exp"),
    "liera-shira": _multiplies("sparse", "exp"),
    "liera-cp": _multiplies("canonical", "exp"),
    "liera-miss": _multiplies("shared-blocks", "exp"),
    "hira": _multiplies("low-rank", "taylor1", unscaled=True),
    "boha": _multiplies("block-low-rank", "taylor1"),
    "dora-liera": partial(dora, _LIERA),
    "pissa-liera": _multiplies("principal", "exp"),
}
"""Definition of each named method."""


def adapt(
    name: str, base: Numbers, bias: Numbers | None, factors: Factors, conv_groups: int, options: Options
) -> Adapted:
    """Return the adapted weight, and bias if one is given.

    Raises
    ------
    UnsupportedError
        If the name has no definition.
    """
    if name in METHODS:
        return METHODS[name](base, bias, factors, conv_groups, options)
    parts = name.split("+", 3)
    if len(parts) < 3:
        raise UnsupportedError(f"merge: `method` must have a definition in conformance/definitions; got {name!r}")
    usual = {"additive": "element-wise", "hadamard": "element-wise", "scaling": "scaling"}
    action = parts[3] if len(parts) == 4 else usual.get(parts[1], "affine" if parts[1] in ("affine", "se") else "out")
    return combine(parts[0], parts[1], parts[2], action, base, bias, factors, conv_groups, options)
