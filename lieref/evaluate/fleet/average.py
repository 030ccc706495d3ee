"""The mean of the adapters of many devices, where one is legitimate, and what bringing it back to a rank costs.

Adapters are means where they are added: in the algebra, xi = sum of w_i xi_i, and exp of it is the weighted geometric
mean of the group elements where they commute. Factors are not added: (sum of w_i B_i)(sum of w_i A_i) has the products
of different devices in it and is not the sum of w_i B_i A_i. Of dense and diagonal factors, in which xi is linear, both
are the same. Of several devices of rank r the mean has a rank of up to their sum; what is kept of it is the nearest of
rank r, by its singular values (Eckart and Young), and the rest is the error reported here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lieref._check import check_choice
from lieref._types import FloatArray, Params, Shape
from lieref.adapter.folder import encode_adapter
from lieref.adapter.merge.merging import STATISTIC
from lieref.adapter.state import canonical_shape
from lieref.errors import DomainError, UnsupportedError
from lieref.evaluate.fleet.device import Files, load_files
from lieref.evaluate.fleet.manifest import MEANS
from lieref.evaluate.problem import Problem
from lieref.model.graph import Graph
from lieref.model.site import Site
from lieref.param.combination import Combination
from lieref.param.combine_factors import FULL_ALGEBRAS
from lieref.param.dense import Dense, Diagonal
from lieref.param.low_rank import LowRank
from lieref.param.method import Method

if TYPE_CHECKING:
    from lieref.adapter.model import Model

WORST_CONDITION = 1e4
"""Of the coordinates of A: beyond, float32 factors lose half of their digits."""


@dataclass(frozen=True)
class Mean:
    """The mean of adapters.

    Attributes
    ----------
    files : dict of str to bytes
        The adapter.
    rank_error : float
        ||xi - its low-rank form|| / ||xi|| over all tensors, Frobenius; 0 where the form is exact.
    factor_error : float
        The same of the mean of each factor by itself: what averaging factors would have cost.
    tensors : dict of str to float
        The error of what is in `files`, tensor by tensor.
    """

    files: Files
    rank_error: float
    factor_error: float
    tensors: dict[str, float]


@dataclass
class _Sum:
    """Sums over devices for one tensor: of w xi, in float64, and of w times each factor."""

    method: Combination
    shape: Shape
    groups: int
    xi: FloatArray
    factors: Params


def mean_adapter(problem: Problem, updates: Iterable[tuple[Files, float]], mean: str = "algebra") -> Mean:
    """Return the mean of adapters of one base and one method; their weights are divided by their sum.

    Sums are taken in float64 in the order of the updates, so that an order by name makes the same bits wherever the
    updates were trained. One adapter at a time is in memory.

    Parameters
    ----------
    problem : Problem
        For its base.
    updates : iterable of (files, weight)
        At least one; weights above 0, such as numbers of samples.
    mean : {"algebra", "factors"}
        "algebra": xi, brought back to the rank; "factors": each factor by itself, for comparison.

    Raises
    ------
    DomainError
        If there is no update, or a weight is not above 0.
    UnsupportedError
        If adapters differ in method or tensors, hold a new head, or have no mean of their form: low-rank factors need a
        group whose algebra holds every low-rank matrix, and all others must be dense or diagonal.

    References
    ----------
    [Pennec13] for means in groups; [McMahan17] for weights by samples.
    """
    check_choice("mean_adapter", "mean", mean, MEANS[:2])
    model = problem.model()
    sums: dict[str, _Sum] = {}
    moments: dict[str, FloatArray] = {}
    total = 0.0
    try:
        for files, weight in updates:
            if not (math.isfinite(weight) and weight > 0):
                raise DomainError(f"mean_adapter: weights must be above 0; got {weight}")
            load_files(model, files)
            check_mean(model)
            _add(sums, model.sites, model.graph, weight, first=total == 0)
            _add_moments(moments, model.statistics, model.graph, weight, total)
            total += weight
        if not total:
            raise DomainError("mean_adapter: `updates` must hold an adapter; got none")
        # The last one is still attached: its factors are replaced by the mean.
        errors = {tensor: _replace(site, sums[tensor], total, mean) for tensor, site in model.sites.items()}
        tensors, config = model.adapter_state()
        for name, value in moments.items():
            tensors[f"{name}{STATISTIC}"] = value.astype(tensors[f"{name}{STATISTIC}"].dtype)
        files = encode_adapter(tensors, config)
    finally:
        model.unload()
    norm = math.sqrt(sum(one.norm**2 for one in errors.values()))
    low, by_factors = (
        math.sqrt(sum(getattr(one, name) ** 2 for one in errors.values())) / (norm or 1.0) for name in ("low", "factor")
    )
    chosen = "low" if mean == "algebra" else "factor"
    each = {tensor: getattr(one, chosen) / (one.norm or 1.0) for tensor, one in errors.items()}
    return Mean(files, low, by_factors, each)


def check_mean(model: Model) -> None:
    """Raise `UnsupportedError` if adapters such as the attached one have no mean of their form."""
    if model.head is not None:
        raise UnsupportedError("mean_adapter: adapters must hold no new head; those have no mean here")
    for tensor, site in model.sites.items():
        _with_mean(site.method, tensor)


@dataclass(frozen=True)
class _Errors:
    """Frobenius norms: of the mean of xi, of what its low-rank form leaves out, of what the mean of factors misses."""

    norm: float
    low: float
    factor: float


def _add(sums: dict[str, _Sum], sites: dict[str, Site], graph: Graph, weight: float, *, first: bool) -> None:
    if not first and sites.keys() != sums.keys():
        other = sorted(sites.keys() ^ sums.keys())[0]
        raise UnsupportedError(f"mean_adapter: adapters must have the same tensors; one lacks {other}")
    for tensor, site in sites.items():
        params: Params = {name: np.asarray(value, np.float64) for name, value in site.params.items()}
        if first:
            method, shape = _with_mean(site.method, tensor), canonical_shape(site, graph)
            zero: Params = {name: np.zeros_like(value) for name, value in params.items()}
            xi = np.zeros_like(method.delta(params, shape, site.groups))
            sums[tensor] = _Sum(method, shape, site.groups, xi, zero)
        one = sums[tensor]
        if site.method != one.method or any(one.factors[n].shape != p.shape for n, p in params.items()):
            raise UnsupportedError(f"mean_adapter: adapters must have the same method and rank; {tensor} has others")
        one.xi += weight * one.method.delta(params, one.shape, one.groups)
        for name, value in params.items():
            one.factors[name] += weight * value


# Derivation.  Samples of n1 and n2 with means m1, m2 and variances v1, v2 have together m = m1 + d n2 / n, d = m2 - m1,
# and v = (n1 v1 + n2 v2) / n + d^2 n1 n2 / n^2.  It is exact for what the first normalisation sees; a later one sees
# what earlier ones make, which differ from device to device.
def _add_moments(
    moments: dict[str, FloatArray], found: dict[str, FloatArray], graph: Graph, weight: float, total: float
) -> None:
    """Join the statistics of a device, of so many samples, to those so far."""
    if total and moments.keys() != found.keys():
        raise UnsupportedError("mean_adapter: adapters must all hold statistics, or none")
    share = weight / (total + weight)
    for node in graph.nodes:
        if node.op != "BatchNormalization" or node.inputs[3] not in found:
            continue
        mean, var = node.inputs[3:5]
        m, v = (found[name].astype(np.float64) for name in (mean, var))
        before_m, before_v = (moments.get(mean, m), moments.get(var, v))
        d = m - before_m
        moments[mean] = before_m + share * d
        moments[var] = before_v + share * (v - before_v) + share * (1 - share) * d**2


def _with_mean(method: Method, tensor: str) -> Combination:
    """Return a method; raise `UnsupportedError` unless the mean of such adapters has their form, but for its rank."""
    if isinstance(method, Combination):
        if isinstance(method.parameterisation, (Dense, Diagonal)):
            return method
        full = method.group in FULL_ALGEBRAS and "*" not in method.action.spec
        if isinstance(method.parameterisation, LowRank) and full:
            return method
    raise UnsupportedError(
        f"mean_adapter: adapters must have low-rank factors in {', '.join(FULL_ALGEBRAS)}, or dense or diagonal ones, "
        f"for their mean to have the same form; got {method.name} (for the tensor {tensor})"
    )


def _replace(site: Site, one: _Sum, total: float, mean: str) -> _Errors:
    """Write the mean into the factors of a site."""
    method = one.method
    xi = one.xi / total
    by_factors: Params = {name: value / total for name, value in one.factors.items()}
    low = by_factors
    if isinstance(method.parameterisation, LowRank):
        low = _low_rank(method, xi, by_factors["lora_a"], one.shape, one.groups)
    found = low if mean == "algebra" else by_factors
    for name, value in found.items():
        site.params[name][...] = value
    missed = [float(np.linalg.norm(method.delta(p, one.shape, one.groups) - xi)) for p in (low, by_factors)]
    return _Errors(float(np.linalg.norm(xi)), *missed)


# Derivation.  xi = P(s M) for each conv group, P only moves entries; M_r = U_k S_k V_k is the nearest to M of rank r,
# k <= r its own rank.  Any pair B T, T^-1 A has the same product, and which one is taken decides what the next steps of
# training do: with both factors small they are short.  Here A stays as near to the mean A_0 of the devices' A as its
# rows allow, which must span V_k: V' are V_k and, of what A_0 has outside it, the r - k largest directions; A is the
# projection A_0 V'^T V' = R V', and B = M_r V'^T R^-1.  Where all A_i are one A, the pair is A and the mean of B_i.
def _low_rank(method: Combination, xi: FloatArray, mean_a: FloatArray, shape: Shape, groups: int) -> Params:
    """Return the factors, of the rank of the method, whose algebra element is nearest to xi."""
    recipe = method.parameterisation
    assert isinstance(recipe, LowRank)
    factor_shape, groups = method._factor_shape(shape, groups)
    groups = recipe.factor_groups(factor_shape, groups)
    one = (factor_shape[0] // groups, *factor_shape[1:])
    matrices = recipe.to_matrix(xi.reshape(groups, *one)) / recipe.scaling
    pairs = [_factors(m, a) for m, a in zip(matrices, mean_a.reshape(groups, -1, mean_a.shape[-1]), strict=True)]
    return {"lora_a": np.concatenate([a for _, a in pairs]), "lora_b": np.concatenate([b for b, _ in pairs])}


def _factors(m: FloatArray, near: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return B (rows, r) and A (r, columns), their product nearest to m, and A near to another of its shape."""
    rank = len(near)
    u, s, vt = np.linalg.svd(m, full_matrices=False)
    k = int((s[:rank] > s[:1] * max(m.shape) * np.finfo(np.float64).eps).sum())
    u, s, vt = u[:, :k], s[:k], vt[:k]
    outside = np.linalg.svd(near - near @ vt.T @ vt, full_matrices=False)[2]
    rows = np.concatenate([vt, outside[: rank - k]])
    r = near @ rows.T
    if np.linalg.cond(r) > WORST_CONDITION:  # as where rows of the mean are zero
        r = np.eye(rank) * (np.linalg.norm(near) / math.sqrt(rank) or 1.0)
    b = np.concatenate([u * s, np.zeros((len(m), rank - k))], axis=1)
    return b @ np.linalg.inv(r), r @ rows
