"""A graph and the adapters attached to it: what is trained, and the tensors that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from lieref._check import check_int
from lieref._flat import in_place
from lieref._threads import Exclusive, make_lock
from lieref._types import Array, FloatArray
from lieref.errors import DomainError
from lieref.model.adapted import changed_names, tensors_with
from lieref.model.graph import Graph
from lieref.model.layer import Layer, find_layers
from lieref.model.site import Site, make_sites, say_left_out, share_memory
from lieref.param.method import Method

TOOLS = frozenset({"_lock", "_alone"})
"""What is no state: every copy makes its own."""


@dataclass(frozen=True)
class Attached:
    """A method attached to a network, as it was asked for."""

    method: Method
    target_modules: tuple[str, ...] | None
    seed: int


class Adapters:
    """What is attached to a graph. A copy, by `copy.copy`, `copy.deepcopy` or pickle, has adapters of its own.

    Attributes
    ----------
    graph : Graph
        Of the file; never changed.
    attached : list of Attached
        In order.
    sites : dict of str to Site
        Adapted tensors by name; replaced, never changed.
    statistics : dict of str to array
        Re-estimated statistics of BatchNormalization by tensor; replaced, never changed.
    wants_statistics : bool
        Whether they are to be estimated before training.
    dropped : tuple of str
        Names of the layers of the file that no output depends on; they are no part of the graph.
    """

    dropped: tuple[str, ...] = ()
    _tools = TOOLS

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.attached: list[Attached] = []
        self.sites: dict[str, Site] = {}
        self.statistics: dict[str, FloatArray] = {}
        self.wants_statistics = False
        self._make_tools()

    def _make_tools(self) -> None:
        """Make what is no state."""
        self._lock = make_lock()  # held while adapters and statistics change, and while they are read together
        self._alone = Exclusive("the model")

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy starts with: adapters of its own, and none of the tools."""
        with self._alone.take("copy"), self._lock:
            state = {name: value for name, value in vars(self).items() if name not in self._tools}
            attached, statistics = [*self.attached], {**self.statistics}
            return {**state, "attached": attached, "statistics": statistics, "sites": self.copied_sites()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become a copy."""
        vars(self).update(state)
        share_memory(self.sites)
        self._make_tools()

    def __copy__(self) -> Self:
        """Return a copy that shares the base, which is never changed, and has adapters of its own."""
        new = type(self).__new__(type(self))
        new.__setstate__(self.__getstate__())
        return new

    def copied_sites(self) -> dict[str, Site]:
        """Return the sites with factors of their own."""
        return {
            tensor: replace(site, params={name: factor.copy() for name, factor in site.params.items()})
            for tensor, site in self.sites.items()
        }

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers whose weights can be adapted, in graph order."""
        return find_layers(self.graph)

    @property
    def method_name(self) -> str:
        """Names of the attached methods joined by a plus sign, ``base`` where there is none."""
        return "+".join(entry.method.name for entry in self.attached) or "base"

    @property
    def default_learning_rate(self) -> float:
        """Learning rate of the attached method that works without tuning."""
        rates = [e.method.default_learning_rate for e in self.attached if e.method.scope != "statistics"]
        if not rates:
            raise DomainError("fit: a method that trains must be attached first; none is")
        return rates[-1]

    def attach(self, method: Any, *, target_modules: Any = None, seed: int = 0, **config: Any) -> Self:
        """Attach a fine-tuning method; the network computes the same numbers as before until it is trained.

        Parameters
        ----------
        method : config, Method or str
            A configuration such as ``LieRAConfig(r=4, target_modules=["conv2d*"])``, or a method's name with its
            options as keywords; ``norm-stats+NAME`` re-estimates the statistics first. A rank that a layer has no
            room for is lowered there, and one warning names the layers.
        target_modules : list of str, optional
            Names or shell patterns of nodes, weights and operators. By default all layers the method has a meaning for
            and on which the first output depends; a warning names those left out.
        seed : int
            For the factors' initial values.

        Returns
        -------
        Network
            Itself, so that calls can be chained.

        Raises
        ------
        DomainError
            If a pattern matches nothing or reaches no output, or a tensor already carries an adapter.
        UnsupportedError, ShapeError
            If the method has no meaning for a target, or for any layer.
        """
        from lieref.param.config import resolve

        chosen, patterns, methods_for = resolve(method, target_modules, config)
        check_int("attach", "seed", seed, low=0, high=2**63 - 1)
        with self._alone.take("attach"), self._lock:
            statistics = chosen.scope == "statistics" or chosen.recipe.statistics_first
            if statistics and not any(node.op == "BatchNormalization" for node in self.graph.nodes):
                raise DomainError("attach: norm-stats needs a model with BatchNormalization; it has none")
            if chosen.scope != "statistics":
                if chosen.scope in ("weight", "all"):
                    say_left_out(self.graph, self.dropped)
                self.sites.update(make_sites(self.graph, chosen, methods_for, patterns, self.sites, seed))
            self.wants_statistics = self.wants_statistics or statistics
            self.attached.append(Attached(chosen, None if patterns is None else tuple(patterns), seed))
        return self

    def unload(self) -> Self:
        """Remove every adapter: the network is its base again, bit for bit."""
        with self._alone.take("unload"), self._lock:
            self.attached, self.sites, self.statistics, self.wants_statistics = [], {}, {}, False
        return self

    def parameters(self) -> dict[str, FloatArray]:
        """Return the live trainable arrays by name, ``<tensor>:<factor>``; optimisers update them in place."""
        params = {
            f"{tensor}:{factor}": site.params[factor]
            for tensor, site in self.sites.items()
            for factor in site.method.trainable(site.params)
        }
        return in_place(params)

    def num_trainable(self) -> int:
        """Return how many numbers are trained."""
        return sum(array.size for array in self.parameters().values())

    def fixed_points(self) -> dict[str, int]:
        """Return, by tensor, how many weights the attached method can never move: zeros that it multiplies."""
        counts = {}
        for tensor, site in self.sites.items():
            count = site.method.fixed_points(site.canonical(self.graph.initializers[tensor]))
            if count:
                counts[tensor] = count
        return counts

    def print_trainable_parameters(self) -> None:
        """Print how many numbers are trained, of how many the network has."""
        everything = sum(v.size for v in self.graph.initializers.values() if v.dtype.kind == "f")
        trained = self.num_trainable()
        print(f"trainable: {trained:,} | all: {everything:,} | {100 * trained / max(everything, 1):.2f} %")

    def adapted_tensors(self) -> dict[str, FloatArray]:
        """Return the tensors that differ from the file, in its layout: adapted ones and re-estimated statistics."""
        with self._alone.take("adapted_tensors"), self._lock:
            tensors = self._current_tensors()
            names = changed_names(tuple(self.sites.values()), self.statistics)
        return {name: tensors[name] for name in tensors if name in names}

    def merged_graph(self) -> Graph:
        """Return the graph with the adapted tensors in place of their bases."""
        return self.graph.with_initializers(self.adapted_tensors())

    def _current_tensors(self, sites: Sequence[Site] | None = None) -> dict[str, Array]:
        """Return the tensors of the file with these sites adapted, all by default."""
        chosen = tuple(self.sites.values()) if sites is None else sites
        return tensors_with(chosen, self.graph.initializers, self.statistics)

    def _attached(self) -> tuple[object, ...]:
        """Return what is attached; sites and statistics are replaced, never changed."""
        return (*self.sites.values(), *self.statistics.values())
