"""How far the merged tensors of two machines can lie apart, entry by entry: a bound on their error in float64.

Two machines run the same formulas on the same numbers and differ in three things: the order of sums, whether a product
and a sum are rounded together, and the last bits of elementary functions. With u = 2^-53, a sum of n products is off by
at most gamma_n = n u / (1 - n u) times the sum of absolute values, in whatever order [Higham02], and a function by 2
units in the last place, 4 u. So each result is within `delta` of the exact one, and two are within twice that.

Let X be the absolute algebra element: what the parameterisation makes of absolute values, every minus a plus. xi is a
sum of products of factors, in at most k roundings one behind the other, so |error of xi| <= k u X, entry by entry.

- W + xi:            delta = u (k + 2) (|W| + X); none where xi is stored as it is, for one sum is rounded alike.
- W exp(xi):         delta = u (k X + 16 + 8 |xi|) |W'|, for d exp = exp d xi; tanh in a bounded map has slope 1.
- W taylor_d(xi), W neumann_d(xi): delta = u (k X + 16 + 8 d) |W| (1 + X)^d, for the sum of absolute terms is below
  (1 + X)^d.
- one number a row or column, as `scale` and `ia3`: the same with the largest X.
- g W, g a matrix:   ||error of g||_F <= u C (n + k) (1 + N) e^(c N), N the Frobenius norm of X, or of the low-rank
  factors B and A the product of theirs, the largest of the blocks. Scaling and squaring: the polynomial of a matrix of
  norm 1 at most is off by (n + k) u times a constant; each of at most log2(N) + 1 squarings doubles that and adds n u,
  all times the norms, whose product is e^N. Projections are orthogonal: c is 1, and 2 where rotations are made of twice
  the factors, and where sl(n) multiplies by the exponential of a trace. An entry of g W is then off by that times the
  norm of its column of W; of a product of matrices on several modes, and of a conjugation, by that with the exponents
  added and the norm of all of W.
- a Cayley map:      the same bound where (I - xi/2)^-1 is below 1 in norm, which is so where xi is skew, and with N
  below 1, where it is below 2.
- neumann_d of a matrix: the same with (1 + N)^d in place of e^N.
- rotations of filters in blocks: the same, over the stages, with the norm of the filter. Where the blocks are no
  rotations, the other stages lengthen the filter, each by at most e^N or (1 + N)^d.
- reflections H(u) H(v), v = u + w: entry j of a filter of length 1 changes by a sum of terms of absolute value at most
  c_j = 2 / |v|^2 ((5 |w| + |w|^2 / |u|) |u_j| + (|u| + 3 |w|) |w_j|), and |v|^2 is one of terms that exceed it
  (|u| + |w|)^2 / |v|^2 times. What was off before is off by c_j times its norm more.
- a length and a direction: W' = m V / |V|, so delta is that of V times m / |V|, plus |W'| times that of |V| over |V|.

C covers the constants in front of n. `tests/adapter/merge/test_margin.py` holds `delta` to definitions in 64 digits: it
is at least twice the error of every method, and above the running error analysis of the definition, which is a bound
for any order of its sums; that of `hra`, which multiplies whole reflections, says more of another formula than of this
one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lieref._types import FloatArray, Params, Shape
from lieref.errors import UnsupportedError
from lieref.group.action import ElementWise, ScaleMode
from lieref.group.maps import Cayley, CayleyNeumann, Exp, Map, Taylor
from lieref.group.mode_action import AffineOnOut, Conjugation, MatrixOnMode, OnModes
from lieref.model.site import Site
from lieref.param._base import Parameterisation
from lieref.param.combination import Combination
from lieref.param.dora import Dora
from lieref.param.method import Method
from lieref.param.rotation import BlockRotation, Reflections

UNIT = 2.0**-53
CONSTANT = 16.0
"""C, see above."""


def margins(site: Site, base: Mapping[str, FloatArray], values: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Return `delta` of each tensor that a site changes, in the layout of the file.

    Parameters
    ----------
    site : Site
        Its factors in float64.
    base, values : mapping of str to float64 array
        The tensors before and after, in the layout of the file.

    Raises
    ------
    UnsupportedError
        If no bound is known for the method.
    """
    weight, after = site.canonical(base[site.tensor]), site.canonical(values[site.tensor])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        delta = np.broadcast_to(_of_weight(site.method, site.params, weight, after, site.groups), weight.shape)
        found = {site.tensor: delta if site.layer is None else site.layer.from_canonical(delta)}
        if site.bias is not None:
            bias = (base[site.bias], values[site.bias])
            found[site.bias] = _of_bias(site.method, site.params, *bias, weight.shape, site.groups)
    return {name: np.where(np.isnan(each), np.inf, each) for name, each in found.items()}


def _of_weight(method: Method, params: Params, base: FloatArray, after: FloatArray, groups: int) -> FloatArray:
    if isinstance(method, Combination):
        return _combined(method, params, base, after, groups)
    if isinstance(method, Dora):
        return _of_length_and_direction(method, params, base, after, groups)
    if isinstance(method, BlockRotation):
        return _rotated(method, params, base, groups)
    if isinstance(method, Reflections):
        return _reflected(method, params, base, groups)
    raise UnsupportedError(f"margins: {method.name} must be a method whose rounding errors have a bound; it has none")


def _of_bias(
    method: Method, params: Params, bias: FloatArray, after: FloatArray, shape: Shape, groups: int
) -> FloatArray:
    """Return `delta` of a bias that moves with its weight."""
    if not isinstance(method, Combination):
        raise UnsupportedError(f"margins: the bias of {method.name} must have a bound on its rounding errors")
    if isinstance(method.action, ScaleMode):
        return _scaled(method, params, bias, after, shape, groups)
    delta = _of_matrix(method, params, shape, groups) * (1.0 + np.linalg.norm(bias))
    return np.broadcast_to(delta, bias.shape)


def _combined(method: Combination, params: Params, base: FloatArray, after: FloatArray, groups: int) -> FloatArray:
    action, shape = method.action, base.shape
    if isinstance(action, ScaleMode):
        return _scaled(method, params, base, after, shape, groups)
    if isinstance(action, ElementWise):
        k, x = _size_of_element(method, params, shape, groups)
        if action.adds:
            stored = method.parameterisation.name == "dense"
            return np.zeros(shape) if stored else UNIT * (k + 2) * (np.abs(base) + x)
        return _multiplied(method, k, x, base, after)
    matrix = _of_matrix(method, params, shape, groups)
    if isinstance(action, (MatrixOnMode, AffineOnOut)):
        on = action if isinstance(action, MatrixOnMode) else MatrixOnMode()
        columns = np.linalg.norm(on.unfoldings(base if base.ndim > 1 else base[:, None], groups), axis=1)
        return np.asarray(matrix * columns.max(initial=0.0))
    return np.asarray(matrix * np.linalg.norm(base))


def _multiplied(method: Combination, k: int, x: FloatArray | float, base: FloatArray, after: FloatArray) -> FloatArray:
    """Return `delta` of a weight each number of which is multiplied by a map of a number of size up to `x`."""
    if isinstance(method.map, (Taylor, CayleyNeumann)):
        degree = method.map.degree
        return np.asarray(UNIT * (k * x + 16 + 8 * degree) * np.abs(base) * (1.0 + x) ** degree)
    if isinstance(method.map, Cayley):
        # (1 + x/2) / (1 - x/2) has the slope 1 / (1 - x/2)^2
        near = np.where(np.asarray(x) < 2, 1.0 - 0.5 * np.asarray(x), 0.0)
        return np.asarray(UNIT * (k * x + 16) * np.abs(base) * 2.0 / near**2)
    return np.asarray(UNIT * (k * x + 16 + 8 * x) * np.abs(after))


def _scaled(
    method: Combination, params: Params, base: FloatArray, after: FloatArray, shape: Shape, groups: int
) -> FloatArray:
    k, x = _size_of_element(method, params, shape, groups)
    return _multiplied(method, k, float(x.max(initial=0.0)), base, after)


def _of_matrix(method: Combination, params: Params, shape: Shape, groups: int) -> float:
    """Return the bound on ||error of g||_F, and of what multiplies with several."""
    k, x = _size_of_element(method, params, shape, groups)
    action = method.action
    if isinstance(action, Conjugation) and not isinstance(method.map, Exp):
        raise UnsupportedError(f"margins: {method.name} must have the map exp for a bound on its inverse")
    pieces = action.split(x, shape, groups) if isinstance(action, OnModes) else [x]
    norms = [float(np.sqrt((each**2).sum(axis=(-2, -1))).max()) for each in pieces]
    n, norm, parts = sum(each.shape[-1] for each in pieces), sum(norms), 4 if isinstance(action, Conjugation) else 1
    if (form := method._low_rank()) is not None:
        b, a = form[1].scaled_factors(params, *method._factor_shape(shape, groups))
        norm = float((np.linalg.norm(b, axis=(1, 2)) * np.linalg.norm(a, axis=(1, 2))).max())
        n += 4 * b.shape[-1]
    if isinstance(method.map, Cayley) and method.group != "so" and norm >= 1:
        raise _far_from_identity(method.name, norm)
    # from factors, so(n) takes twice of them, and sl(n) multiplies by another exponential
    parts *= 2 if form is not None and method.group in ("so", "sl") else 1
    bound: float = parts * UNIT * CONSTANT * (n + k) * (1.0 + norm) * _growth(method.map, norm, parts)
    return bound


def _growth(map_: Map, norm: float, times: int = 1) -> float:
    """Return what the product of so many sums of the absolute terms of a map is at most."""
    exponent = times * (map_.degree * math.log1p(norm) if isinstance(map_, CayleyNeumann) else norm)
    return math.exp(exponent) if exponent < 700 else math.inf


def _far_from_identity(name: str, norm: float) -> UnsupportedError:
    return UnsupportedError(
        f"margins: {name} must be near the identity for a bound on its inverse; its element has a norm of {norm:.3g}"
    )


def _size_of_element(method: Combination, params: Params, shape: Shape, groups: int) -> tuple[int, FloatArray]:
    """Return k and X for an element of the algebra, in its shape."""
    factor_shape, factor_groups = method._factor_shape(shape, groups)
    k, x = _size(method.parameterisation, params, factor_shape, factor_groups)
    return k, x.reshape(shape if isinstance(method.action, ElementWise) else method._algebra_shape(shape, groups))


def _size(parameterisation: Parameterisation, params: Params, shape: Shape, groups: int) -> tuple[int, FloatArray]:
    """Return k and X of a parameterisation."""
    split = parameterisation.split(params, shape, groups)
    terms = parameterisation.terms({name: factor.shape[1:] for name, factor in split.items()})
    return 8 + 2 * terms, parameterisation.magnitude(params, shape, groups)


def _of_length_and_direction(
    method: Dora, params: Params, base: FloatArray, after: FloatArray, groups: int
) -> FloatArray:
    inner, lengths = method._split(params, base.shape)
    v = method.direction.adapted_weight(inner, base, groups)
    rows, entries = v.reshape(len(v), -1), math.prod(v.shape[1:])
    delta = np.broadcast_to(_combined(method.direction, inner, base, v, groups), v.shape).reshape(rows.shape)
    norms = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    off = np.sqrt((delta**2).sum(axis=1, keepdims=True)) / norms + UNIT * (entries + 8)
    found = delta * np.abs(lengths[:, None]) / norms + np.abs(after.reshape(rows.shape)) * off
    return np.asarray(found.reshape(base.shape))


def _rotated(method: BlockRotation, params: Params, base: FloatArray, groups: int) -> FloatArray:
    shape, rotations = method._factor_shape(base.shape, groups)
    factors = method.parameterisation.split(params, shape, rotations)
    n = math.prod(base.shape[1:])
    blocks = method.parameterisation.full_blocks(factors["blocks"], n)
    norm = float(np.sqrt((blocks**2).sum(axis=(-2, -1))).max())
    stages = len(method.parameterisation.stages_for(n))
    if isinstance(method.map, Cayley) and method.group != "so" and norm >= 1:
        raise _far_from_identity(method.name, norm)
    growth = _growth(method.map, norm, 1 if method.group == "so" else stages)
    return np.asarray(stages * UNIT * CONSTANT * (blocks.shape[-1] + 8) * (1.0 + norm) * growth * _lengths(base))


def _reflected(method: Reflections, params: Params, base: FloatArray, groups: int) -> FloatArray:
    shape, rotations = method._factor_shape(base.shape, groups)
    factors = method.parameterisation.split(params, shape, rotations)
    relative = UNIT * (2 * shape[-1] + 16)
    off = np.zeros((rotations, shape[-1]))
    for number in range(factors["u"].shape[1]):
        u, w = factors["u"][:, number], factors["w"][:, number]
        length, move, both = (np.linalg.norm(each, axis=-1, keepdims=True) for each in (u, w, u + w))
        change = (5 * move + move**2 / length) * np.abs(u) + (length + 3 * move) * np.abs(w)
        change *= 2.0 / both**2
        cancelled = 1.0 + ((length + move) / both) ** 2
        off += change * (relative * cancelled + np.linalg.norm(off, axis=-1, keepdims=True)) + UNIT * change
    whole = np.repeat(off, len(base) // rotations, axis=0).reshape(base.shape) * _lengths(base)
    return np.asarray(whole + 2 * UNIT * np.abs(base))


def _lengths(base: FloatArray) -> FloatArray:
    """Return the length of each filter, to be multiplied with what is of the shape of the weight."""
    norms = np.linalg.norm(base.reshape(len(base), -1), axis=1)
    return np.asarray(norms).reshape(-1, *(1,) * (base.ndim - 1))
