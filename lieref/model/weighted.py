"""One adapter of a network made of several, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lieref._check import check_real
from lieref.errors import DomainError, LierefError, UnsupportedError
from lieref.model.adapters import Attached
from lieref.model.attaching import share_memory
from lieref.model.graph import Graph
from lieref.model.held import Held
from lieref.model.site import Site
from lieref.param.combine import combine_adapters
from lieref.param.compose import Adapter, add_weighted_adapter
from lieref.param.element import dense_adapter, elements_of
from lieref.rng import stream

FUNCTION = "add_weighted_adapter"


def weighted(
    parts: Sequence[Held],
    weights: Sequence[float],
    graph: Graph,
    combination_type: str | None,
    seed: int,
    **options: Any,
) -> Held:
    """Return the adapter that several of one base make together.

    A tensor that an adapter does not have takes no part in it: it is the identity there, which a mean counts.

    Parameters
    ----------
    parts : sequence of Held
    weights : sequence of float
        One for each.
    graph : Graph
        Of the base.
    combination_type : str or None
        See `lieref.param.combine.combine_adapters`; None for the sum in the algebra, where that is their product.
    seed : int
        For the types that draw.
    **options
        Those of `combine_adapters`.

    Raises
    ------
    DomainError
        If there is no adapter, or another number of weights; and as `combine_adapters` does.
    UnsupportedError
        If one has a new head or statistics, or they name the outputs or their task differently.
    """
    if len(parts) != len(weights) or not parts:
        raise DomainError(f"{FUNCTION}: `weights` must match the adapters; got {len(weights)} and {len(parts)}")
    for weight in weights:
        check_real(FUNCTION, "weights", weight)
    given = [name for name, value in options.items() if value is not None]
    if combination_type is None and given:
        raise DomainError(f"{FUNCTION}: `{given[0]}` must come with a combination_type; got {options[given[0]]!r}")
    if any(part.form is not None for part in parts):
        raise UnsupportedError(f"{FUNCTION}: adapters must hold no new head; those do not add")
    if any(part.statistics for part in parts):
        raise UnsupportedError(f"{FUNCTION}: adapters must hold no statistics; those do not add")
    sites: dict[str, Site] = {}
    for tensor in dict.fromkeys(tensor for part in parts for tensor in part.sites):
        here = [(part.sites[tensor], float(w)) for part, w in zip(parts, weights, strict=True) if tensor in part.sites]
        first = here[0][0]
        shape = graph.initializers[tensor].shape if first.layer is None else first.layer.shape
        adapters: list[Adapter] = [(site.method, site.params) for site, _ in here]
        own = [w for _, w in here]
        try:
            if combination_type is None:
                made = add_weighted_adapter(adapters, own, shape, first.groups)
            else:
                if combination_type == "geodesic_mean" and len(here) < len(parts):
                    adapters.append(_identity(adapters, shape, first.groups))
                    own.append(float(sum(weights)) - sum(own))
                rng = stream(seed, "dare", tensor)
                made = combine_adapters(adapters, own, shape, first.groups, combination_type, rng=rng, **options)
        except LierefError as error:
            raise type(error)(f"{error} (for the tensor {tensor})") from error
        params = {name: value.astype(graph.dtype, copy=False) for name, value in made[1].items()}
        sites[tensor] = Site(tensor, made[0], params, first.groups, first.layer)
    share_memory(sites)
    attached = [entry for part in parts for entry in part.attached]
    if combination_type is not None:
        owners: dict[str, list[Site]] = {}
        for site in sites.values():
            owners.setdefault(site.method.name, []).append(site)
        attached = [Attached(some[0].method, tuple(site.owner for site in some), 0) for some in owners.values()]
    said = {what: _agreed(what, parts) for what in ("classes", "task", "preprocessing")}
    return Held(None, tuple(attached), sites, **said)


def _identity(adapters: list[Adapter], shape: tuple[int, ...], groups: int) -> Adapter:
    """Return the identity of the group of adapters."""
    element = elements_of(FUNCTION, adapters, shape, groups)[0]
    return dense_adapter(element, 0 * element.g, shape, groups)


def _agreed(what: str, parts: Sequence[Held]) -> Any:
    values = [value for part in parts if (value := getattr(part, what)) is not None]
    if any(value != values[0] for value in values):
        said = {
            "classes": "must name the outputs alike; those name them",
            "task": "must be for one task; those are for",
            "preprocessing": "must take images alike; those take them",
        }
        raise UnsupportedError(f"{FUNCTION}: adapters {said[what]} differently")
    return values[0] if values else None
