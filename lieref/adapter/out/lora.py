"""Any adapter as one of LoRA factors: exactly where it adds a low rank, else the nearest of that rank.

The nearest matrix of rank r in the Frobenius norm is the truncated singular value decomposition; what is lost is the
root of the sum of the squares of the singular values left out [Eckart36]. It is nearest in the weights: how far the
outputs differ is measured.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lieref._check import check_int
from lieref._types import FloatArray, Params
from lieref.adapter.folder import encode_adapter
from lieref.adapter.model import Model
from lieref.adapter.out.delta_file import summing
from lieref.adapter.out.outputs import compared, drawn_samples, read_samples, scores
from lieref.adapter.out.registry import Exported
from lieref.adapter.out.source import Change, Source
from lieref.errors import DomainError, LierefError
from lieref.group.action import ElementWise
from lieref.model.adapters import Attached
from lieref.model.attaching import listed, share_memory
from lieref.model.samples import Samples
from lieref.model.site import Site
from lieref.param._base import stack
from lieref.param.combination import Combination
from lieref.param.low_rank import LowRank
from lieref.param.method import Method
from lieref.param.principal import Principal
from lieref.param.registry import get_method

DEFAULT_RANK = 8
"""For a method that has no rank of its own."""

ROUNDING = 2.0**-20
"""A relative error that is no more than what float32 factors round."""


@dataclass(frozen=True)
class _Factored:
    """A weight's difference as factors."""

    site: Site
    own: bool  # the adapter's own factors
    lost: float  # Frobenius norm of what they leave of the difference
    size: float  # of the difference

    @property
    def rank(self) -> int:
        return int(self.site.params["lora_b"].shape[1])

    @property
    def relative_error(self) -> float:
        return self.lost / self.size if self.size else 0.0


def export_lora(source: Source, *, rank: int | None = None, data: Any = None) -> Exported:
    """Return the folder of an adapter of the method ``lora``.

    Biases, vectors of normalisations, statistics and a new head are no matrices and are kept as they are, dense.

    Parameters
    ----------
    source : Source
    rank : int, optional
        Of the factors of each layer, as far as it has room for it. By default an adapter's own, and 8 for one that has
        none.
    data : path, optional
        An ``.npz`` of samples on which the error of the outputs is measured; by default it is measured on drawn ones.

    Raises
    ------
    DomainError
        If the rank is below 1, or the adapter changes no weight of a layer.
    """
    if rank is not None:
        check_int("export", "rank", rank, low=1)
    model, head = source.model, set() if source.model.head is None else {*source.model.head.tensors}
    layers = [name for name, site in model.sites.items() if site.layer is not None and name not in head]
    if not layers:
        raise DomainError(
            f"export: `adapter` must change the weight of a layer to become lora; {model.method_name} does not"
        )
    changes = {change.name: change for change in source.changes}
    found = {name: _factored(model.sites[name], changes[name], rank) for name in layers}
    dense = [name for name, c in changes.items() if name not in {*found, *head} and name not in model.statistics]
    sites = {name: each.site for name, each in found.items()}
    sites |= {name: _dense(changes[name], model.dtype) for name in dense}
    sites |= {name: site for name, site in model.copied_sites().items() if name in head}
    made = _with_sites(model, sites, max(each.rank for each in found.values()))
    tensors, config = made.adapter_state()
    lost, size = (np.sqrt(sum(getattr(each, part) ** 2 for each in found.values())) for part in ("lost", "size"))
    facts: dict[str, Any] = {
        "layers": {
            name: {"rank": each.rank, "own_factors": each.own, "relative_error": each.relative_error}
            for name, each in found.items()
        },
        "relative_error": float(lost / size) if size else 0.0,
        "dense_tensors": [*dense, *head],
    }
    measured, notes = _measured(source, made, data)
    return Exported(encode_adapter(tensors, config), {**facts, "outputs": measured}, (*_said(facts, found), *notes))


def _factored(site: Site, change: Change, rank: int | None) -> _Factored:
    """Return the factors of a weight: its own, or the nearest."""
    difference = change.canonical(change.difference)
    made = _own_factors(site, difference.shape)
    own = made is not None and (rank is None or made[1]["lora_b"].shape[1] <= rank)
    if made is None or not own:
        made = _nearest(difference, rank or site.method.rank or DEFAULT_RANK, site.groups)
    method, params = made
    wide: Params = {name: factor.astype(np.float64) for name, factor in params.items()}
    lost = np.linalg.norm(method.delta(wide, difference.shape, site.groups) - difference)
    new = Site(site.tensor, method, params, site.groups, site.layer)
    return _Factored(new, own, float(lost), float(np.linalg.norm(difference)))


def _own_factors(site: Site, shape: tuple[int, ...]) -> tuple[Method, Params] | None:
    """Return the adapter's own factors where it adds B A with rows out and columns in k_h k_w; None elsewhere."""
    method = site.method
    if not isinstance(method, Combination) or not (isinstance(method.action, ElementWise) and method.action.adds):
        return None
    recipe, groups = method.parameterisation, method.parameterisation.factor_groups(shape, site.groups)
    one = (shape[0] // groups, *shape[1:])
    if isinstance(recipe, LowRank) and recipe.factor_shapes(one)["lora_b"][0] == one[0]:
        options: dict[str, Any] = {"r": recipe.r, "lora_alpha": recipe.alpha, "use_rslora": recipe.use_rslora}
        if recipe.share_groups is not None:
            options["share_groups"] = recipe.share_groups
        params = {name: factor.copy() for name, factor in site.params.items()}
        # Where there is less room than r, a rank of its own would change s = alpha / r.
        return get_method("lora", **options), params
    if isinstance(recipe, Principal):
        return _from_start(recipe, recipe.split(site.params, shape, site.groups), one)
    return None


# (B - B0) A + B0 (A - A0) is one product of twice the rank: [B - B0, B0] [A; A - A0].
def _from_start(recipe: Principal, params: Params, one: tuple[int, ...]) -> tuple[Method, Params] | None:
    """Return factors that do not start at the weight as ones that do, where there is room for twice the rank."""
    a, b, a0, b0 = (params[name] for name in ("lora_a", "lora_b", "start_a", "start_b"))
    rank = 2 * a.shape[1]
    options = {"share_groups": recipe.share_groups} if recipe.share_groups is not None else {}
    if rank > min(one[0], int(np.prod(one[1:]))):
        return None
    joined = {"lora_a": np.concatenate([a, a - a0], axis=1), "lora_b": np.concatenate([b - b0, b0], axis=2)}
    method = get_method("lora", r=rank, lora_alpha=recipe.scaling * rank, **options)
    return method, {name: np.ascontiguousarray(stack(factor)) for name, factor in joined.items()}


def _nearest(difference: FloatArray, rank: int, groups: int) -> tuple[Method, Params]:
    """Return the nearest factors of a rank, each with half of every singular value, in float32."""
    method = get_method("lora", r=rank)
    assert isinstance(method, Combination)
    groups = method.parameterisation.factor_groups(difference.shape, groups)
    matrices = difference.reshape(groups, difference.shape[0] // groups, -1)
    u, s, vt = np.linalg.svd(matrices, full_matrices=False)
    rank = min(rank, s.shape[1])
    u, s, vt = u[:, :, :rank], s[:, :rank], vt[:, :rank]
    # The sign of a singular pair is free: the largest entry of each left one is positive, on every machine.
    largest = np.take_along_axis(u, np.abs(u).argmax(axis=1)[:, None, :], axis=1)
    signs = np.where(largest < 0, -1.0, 1.0)
    root = np.sqrt(s)
    factors = {"lora_a": root[:, :, None] * vt * signs.transpose(0, 2, 1), "lora_b": u * signs * root[:, None, :]}
    return method, {name: np.ascontiguousarray(stack(factor), np.float32) for name, factor in factors.items()}


def _dense(change: Change, dtype: np.dtype[Any]) -> Site:
    """Return a site that adds the difference itself to a vector."""
    delta, _ = summing(change.before.astype(dtype), change.after.astype(dtype), change.difference)
    return Site(change.name, get_method("full"), {"xi": delta}, 1, None)


def _with_sites(model: Model, sites: Mapping[str, Site], rank: int) -> Model:
    """Return the model with other sites, in the place of all that is attached but a new head and statistics."""
    made = copy.copy(model)
    own = {name: sites[name] for name in sites}
    share_memory(own)
    made.sites = own
    made.attached = [Attached(get_method("lora", r=rank), None, 0)]
    made.attached += [entry for entry in model.attached if model.head is not None and entry.method.scope == "head"][:1]
    return made


def _measured(source: Source, made: Model, data: Any) -> tuple[dict[str, Any] | None, list[str]]:
    """Return how far the outputs are off, with the line that says it."""
    model = source.model
    where = "drawn samples" if data is None else f"samples of {data}"
    try:
        x: Samples = drawn_samples(model) if data is None else read_samples(model, data)
        plain = copy.copy(model)
        plain.unload()
        base = scores(plain, x) if model.head is None else np.zeros_like(scores(model, x))
        found = compared(base, scores(model, x), scores(made, x))
    except LierefError as error:
        if data is not None:
            raise
        return None, [f"the error of the outputs is not measured, for no samples can be drawn: {error}; give --data"]
    ratio = found["rms_error"] / found["rms_change"] if found["rms_change"] else 0.0
    return found, [
        f"outputs on {found['samples']} {where} are off by up to {found['largest_error']:.3g}, rms "
        f"{found['rms_error']:.3g}: {ratio:.2%} of the rms {found['rms_change']:.3g} that the adapter changes them by"
    ]


def _said(facts: Mapping[str, Any], found: Mapping[str, _Factored]) -> list[str]:
    """Return what there is to say of the weights, and of what is no matrix."""
    notes = []
    off = sorted((name for name in found if not found[name].own), key=lambda name: -found[name].relative_error)
    if off and found[off[0]].relative_error <= ROUNDING:
        notes.append(f"the nearest factors are the weights' change, but for rounding: {facts['relative_error']:.2g}")
    elif off:
        each = listed([f"{name} {found[name].relative_error:.2g} (rank {found[name].rank})" for name in off])
        notes.append(
            f"the nearest factors leave {facts['relative_error']:.2g} of the weights' change: {each}; "
            "a larger rank leaves less"
        )
    if facts["dense_tensors"]:
        notes.append(f"kept dense beside the factors, for they are no weights: {listed(facts['dense_tensors'])}")
    return notes
