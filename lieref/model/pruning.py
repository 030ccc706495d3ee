"""Ranks of adapters that have no part in their tensors any more, taken away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lieref._types import Array
from lieref.model.attaching import share_memory
from lieref.model.site import Site


def prune(sites: dict[str, Site], stored: Mapping[str, Array]) -> dict[str, int]:
    """Put sites without unused ranks in the place of sites; return the ranks of those that may have unused ones.

    `stored` are the tensors of the file.
    """
    ranks = {}
    for tensor, site in sites.items():
        found = site.method.pruned(site.params, site.canonical(stored[tensor]).shape, site.groups)
        if found is not None:
            method, params = found
            sites[tensor] = replace(site, method=method, params=params)
            ranks[tensor] = method.rank or 0
    if ranks:
        share_memory(sites)
    return ranks
