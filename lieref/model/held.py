"""One of several adapters of a network: all that is attached under one name, held while others are computed with."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lieref._types import FloatArray
from lieref.errors import DomainError, UnsupportedError
from lieref.model.adapters import Attached
from lieref.model.attaching import share_memory
from lieref.model.form import Form
from lieref.model.site import Site


@dataclass(frozen=True)
class Held:
    """An adapter of a network, all that is attached under one name.

    Attributes
    ----------
    form : Form or None
        What is computed with it; None for the base's own graph, a form for a new head.
    attached : tuple of Attached
    sites : dict of str to Site
    statistics : dict of str to array
    wants_statistics : bool
    classes : tuple of str or None
        Names of the outputs that it says.
    task, preprocessing : dict or None
    """

    form: Form | None = None
    attached: tuple[Attached, ...] = ()
    sites: dict[str, Site] = field(default_factory=dict)
    statistics: dict[str, FloatArray] = field(default_factory=dict)
    wants_statistics: bool = False
    classes: tuple[str, ...] | None = None
    task: dict[str, Any] | None = None
    preprocessing: dict[str, Any] | None = None

    def has_structure_of(self, other: Held) -> bool:
        """Tell whether tensors, methods, shapes and head are those of another, so that numbers alone differ."""
        heads = [None if held.form is None else held.form.head for held in (self, other)]
        if heads[0] != heads[1] or self.sites.keys() != other.sites.keys():
            return False
        pairs = [(self.sites[tensor], other.sites[tensor]) for tensor in self.sites]
        return all(a.method == b.method and _shapes(a) == _shapes(b) for a, b in pairs)


@dataclass(frozen=True)
class Merged:
    """What has been merged into the weights that are computed with.

    Attributes
    ----------
    names : tuple of str
    base_sha256 : str
        Of the base's tensors when it was done.
    """

    names: tuple[str, ...]
    base_sha256: str


def _shapes(site: Site) -> dict[str, tuple[object, ...]]:
    return {name: (factor.shape, factor.dtype) for name, factor in site.params.items()}


def copied(held: Held, copies: dict[int, Site], forms: dict[int, Form]) -> Held:
    """Return what is held with sites and forms of its own; those that have a copy already get that one."""
    sites: dict[str, Site] = {}
    for tensor, site in held.sites.items():
        params = {name: factor.copy() for name, factor in site.params.items()}
        sites[tensor] = copies.setdefault(id(site), replace(site, params=params))
    form = None if held.form is None else forms.setdefault(id(held.form), copy.copy(held.form))
    return replace(held, form=form, sites=sites, statistics={**held.statistics})


def together(function: str, several: Mapping[str, Held], live: dict[str, Site]) -> Held:
    """Return several adapters as one; with one name that adapter itself, with none the base.

    Sites that are live already keep their memory.
    """
    if len(several) < 2:
        return next(iter(several.values()), Held())
    owners: dict[str, str] = {}
    for name, held in several.items():
        if held.form is not None:
            raise UnsupportedError(f"{function}: adapters must have no new head to be active together; {name} has one")
        for tensor in (*held.statistics, *(tensor for site in held.sites.values() for tensor in site.tensors)):
            if tensor in owners:
                raise DomainError(
                    f"{function}: adapters must adapt different tensors to be active together; {owners[tensor]} and "
                    f"{name} share {tensor} (add_weighted_adapter combines them)"
                )
            owners[tensor] = name
    said = {}
    for what in ("classes", "task", "preprocessing"):
        values: list[Any] = [value for held in several.values() if (value := getattr(held, what)) is not None]
        if any(value != values[0] for value in values):
            raise UnsupportedError(
                f"{function}: adapters must agree on their {what} to be active together; those of "
                f"{', '.join(several)} differ"
            )
        said[what] = values[0] if values else None
    sites = {tensor: site for held in several.values() for tensor, site in held.sites.items()}
    if sites.keys() == live.keys() and all(sites[tensor] is live[tensor] for tensor in sites):
        sites = live
    else:
        share_memory(sites)
    return Held(
        None,
        tuple(entry for held in several.values() for entry in held.attached),
        sites,
        {key: value for held in several.values() for key, value in held.statistics.items()},
        any(held.wants_statistics for held in several.values()),
        **said,
    )
