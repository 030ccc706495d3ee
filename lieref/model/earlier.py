"""A network as it was when a thread began to change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from lieref._types import FloatArray
from lieref.model.graph import Graph
from lieref.model.site import Site


class Earlier:
    """What other threads predict with while one changes the adapters.

    Its tensors are made when the first of them asks: most runs are alone, and are spared a copy of all adapted weights.

    Parameters
    ----------
    make : callable
        Returns the graph for sites and statistics.
    sites : mapping of str to Site
        With factors of their own.
    statistics : mapping of str to array
    """

    def __init__(
        self,
        make: Callable[[Mapping[str, Site], Mapping[str, FloatArray]], Graph],
        sites: Mapping[str, Site],
        statistics: Mapping[str, FloatArray],
    ) -> None:
        self._make = make
        self._sites = sites
        self._statistics = statistics

    @cached_property
    def graph(self) -> Graph:
        """The folded graph with all tensors adapted."""
        return self._make(self._sites, self._statistics)
