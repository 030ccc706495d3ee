"""A graph and the adapters attached to it: what is trained, and the tensors that it makes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from lieref._check import check_int
from lieref._flat import in_place
from lieref._threads import Exclusive, make_lock
from lieref._types import Array, FloatArray
from lieref.errors import DomainError, LierefError
from lieref.model.adapted import changed_names, tensors_with
from lieref.model.algebra_norm import algebra_norm, half_square_grads
from lieref.model.attaching import make_head_sites, make_sites, say_left_out, share_memory
from lieref.model.choice import EngineChoice
from lieref.model.fold import Fold
from lieref.model.form import Form
from lieref.model.graph import Graph
from lieref.model.head import NAME, Head, NewHead, with_new_head
from lieref.model.layer import Layer, find_layers
from lieref.model.pruning import prune
from lieref.model.site import Site
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
    source : str
        Path or name, for messages and reports.
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

    def __init__(self, graph: Graph, source: str) -> None:
        self.source = source
        self._base = self._form = Form.of(graph, source)
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
            base = copy.copy(self._base)
            form = base if self._form is self._base else copy.copy(self._form)
            own = {"_base": base, "_form": form, "sites": self.copied_sites()}
            return {**state, **own, "attached": attached, "statistics": statistics}

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
    def graph(self) -> Graph:
        """Graph of the file in plain form, with a new head in place of its own where there is one; never changed."""
        return self._form.graph

    @property
    def folded(self) -> Graph:
        """What is computed: BatchNormalization in the weights of layers, as far as it goes."""
        return self._form.folded

    @property
    def folds(self) -> tuple[Fold, ...]:
        """What has been folded."""
        return self._form.folds

    @property
    def logits_name(self) -> str:
        """Tensor of `folded` that the losses read."""
        return self._form.logits_name

    @property
    def choice(self) -> EngineChoice:
        """What runs it."""
        return self._form.choice

    @property
    def head(self) -> Head | None:
        """The new head, where there is one."""
        return self._form.head

    @property
    def method_name(self) -> str:
        """Names of the attached methods joined by a plus sign, ``base`` where there is none.

        A new head is one of them, the last.
        """
        names = [entry.method.name for entry in self._methods()]
        return "+".join(names if self.head is None else [*names, NAME.replace("_", "-")]) or "base"

    @property
    def default_learning_rate(self) -> float:
        """Learning rate of the attached method that works without tuning."""
        rates = [e.method.default_learning_rate for e in self._methods() if e.method.scope != "statistics"]
        if self.head is not None and not rates:
            return self.head.learning_rate
        if not rates:
            raise DomainError("fit: a method that trains must be attached first; none is")
        return rates[-1]

    @property
    def rate_factors(self) -> dict[str, float]:
        """What the learning rate is multiplied with, by the names of `parameters`, where that is not one.

        A new head that is trained beside another method has the rate it would have alone.
        """
        if self.head is None:
            return {}
        factor = self.head.learning_rate / self.default_learning_rate
        return {} if factor == 1 else {f"{tensor}:xi": factor for tensor in self.head.tensors}

    @property
    def default_features(self) -> str | None:
        """Tensor of the file that a new head reads by default; None where it must be named."""
        try:
            _, head = with_new_head(self._file_graph(), self._base.graph, NewHead(2))
        except LierefError:
            return None
        return head.features

    @property
    def new_head(self) -> dict[str, Any] | None:
        """What makes the new head again, plain JSON values; None where there is none."""
        return None if self.head is None else self.head.to_dict()

    def _methods(self) -> list[Attached]:
        """Return what is attached beside a new head."""
        return [entry for entry in self.attached if self.head is None or entry.method.scope != "head"]

    def attach(
        self,
        method: Any,
        *,
        target_modules: Any = None,
        head: NewHead | None = None,
        seed: int = 0,
        **config: Any,
    ) -> Self:
        """Attach a fine-tuning method; the network computes the same numbers as before until it is trained.

        Parameters
        ----------
        method : config, Method, str or NewHead
            A configuration such as ``LieRAConfig(r=4, target_modules=["conv2d*"])``, or a method's name with its
            options as keywords, or a new head that is trained alone; ``norm-stats+NAME`` re-estimates the statistics
            first. A rank that a layer has no room for is lowered there, and one warning names the layers.
        target_modules : list of str, optional
            Patterns of nodes, weights and operators, see `lieref.param.targets`, whose other fields are keywords here
            too: ``exclude_modules``, ``layers_to_transform``, ``layers_pattern``. By default all layers the method has
            a meaning for and on which the first output depends; a warning names those left out.
        head : NewHead, optional
            A new last layer, trained along with the method; with the method ``head`` alone. The method adapts what
            lies before it.
        seed : int
            For the factors' initial values.

        Returns
        -------
        Network
            Itself, so that calls can be chained.

        Raises
        ------
        DomainError
            If a pattern matches nothing or reaches no output, or a tensor already carries an adapter; if the features
            of a new head are no tensor of the file, nothing before them can be adapted, or something is attached.
        UnsupportedError, ShapeError
            If the method has no meaning for a target, or for any layer; if the features are not one vector a sample.
        """
        from lieref.param.config import resolve

        if isinstance(method, NewHead):
            if head is not None:
                raise DomainError("attach: `head` must be left out where the method is a new head; got both")
            method, head = "head", method
        chosen, targets, methods_for = resolve(method, target_modules, config)
        check_int("attach", "seed", seed, low=0, high=2**63 - 1)
        with self._alone.take("attach"), self._lock:
            self._begin_change("attach")
            if head is not None and (self.attached or self.head is not None):
                raise DomainError(f"attach: a new head must come first, before {self.method_name}; call unload()")
            form = None if head is None else self._with_head(head)
            graph, new = (self.graph, self.head) if form is None else (form.graph, form.head)
            statistics = chosen.scope == "statistics" or chosen.recipe.statistics_first
            if statistics and not any(node.op == "BatchNormalization" for node in graph.nodes):
                raise DomainError("attach: norm-stats needs a model with BatchNormalization; it has none")
            sites: dict[str, Site] = {}
            if chosen.scope != "statistics" and not (form is not None and chosen.scope == "head"):
                if chosen.scope in ("weight", "all"):
                    say_left_out(graph, self.dropped)
                without = () if new is None else new.tensors
                reached = self._trained_graph() if form is None else graph
                sites = make_sites(reached, chosen, methods_for, targets, self.sites, seed, without)
            if form is not None and new is not None:
                sites |= make_head_sites(graph, new.tensors, seed)
                share_memory(sites)
                self._switch(form)
            self.sites.update(sites)
            self.wants_statistics = self.wants_statistics or statistics
            self.attached.append(Attached(chosen, targets.modules, seed))
        return self

    def _begin_change(self, function: str) -> None:
        """Raise `DomainError` where adapters may not change now."""

    def _trained_graph(self) -> Graph:
        """Return the graph whose first output is all that is trained."""
        return self.graph

    def unload(self) -> Self:
        """Remove every adapter: the network is its base again, bit for bit."""
        with self._alone.take("unload"), self._lock:
            self.attached, self.sites, self.statistics, self.wants_statistics = [], {}, {}, False
            self._switch(self._base)
        return self

    def parameters(self) -> dict[str, FloatArray]:
        """Return the live trainable arrays by name, ``<tensor>:<factor>``; optimisers update them in place."""
        params = {
            f"{tensor}:{factor}": site.params[factor]
            for tensor, site in self.sites.items()
            for factor in site.method.trainable(site.params)
        }
        return in_place(params)

    def frozen_parameters(self) -> dict[str, FloatArray]:
        """Return the factors that are not trained by name, ``<tensor>:<factor>``."""
        return {
            f"{tensor}:{factor}": value
            for tensor, site in self.sites.items()
            for factor, value in site.params.items()
            if factor not in site.method.trainable(site.params)
        }

    def dropout_masks(self, generator: np.random.Generator) -> dict[str, FloatArray]:
        """Return what factors are multiplied with in one step of training, by name; empty where nothing is dropped."""
        return {
            f"{tensor}:{factor}": mask.astype(self.graph.dtype)
            for tensor, site in self.sites.items()
            for factor, mask in site.dropout_masks(self.graph.initializers[tensor], generator).items()
        }

    def algebra_norms(self) -> dict[str, float]:
        """Return |xi| of each adapted tensor, how far it is from the base in its algebra; of a new head, nothing."""
        return {tensor: self.algebra_norm(tensor) for tensor in self._with_base()}

    def algebra_norm(self, tensor: str) -> float:
        """Return |xi| of one of them."""
        return algebra_norm(self.sites[tensor], self.graph.initializers[tensor])

    def algebra_grads(self) -> dict[str, FloatArray]:
        """Return the gradient of half the sum of their squares, by the names of `parameters`."""
        return half_square_grads(self._with_base().values(), self.graph.initializers)

    def _with_base(self) -> dict[str, Site]:
        return {t: site for t, site in self.sites.items() if self.head is None or t not in self.head.tensors}

    def prune_ranks(self) -> dict[str, int]:
        """Store no longer what has no part in an adapted tensor, such as singular values of zero.

        The adapted tensors stay what they are to rounding. Arrays that `parameters` returned before are no longer live.

        Returns
        -------
        dict of str to int
            The rank of every tensor whose method has one that can be lowered so.

        Raises
        ------
        BusyError
            If another thread trains or changes the model.
        """
        with self._alone.take("prune_ranks"), self._lock:
            return prune(self.sites, self.graph.initializers)

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
        from lieref.model.summary import trained

        print(trained(self))

    def __repr__(self) -> str:
        """Return what it is, a row for each layer with what is trained of it, and what is trained of all."""
        from lieref.model.summary import summary_text

        return summary_text(self)

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        from lieref.model.summary import summary_html

        return summary_html(self)

    def adapted_tensors(self) -> dict[str, FloatArray]:
        """Return the tensors that differ from the file, in its layout: adapted ones and re-estimated statistics."""
        with self._alone.take("adapted_tensors"), self._lock:
            tensors = self._current_tensors()
            names = changed_names(tuple(self.sites.values()), self.statistics)
        return {name: tensors[name] for name in tensors if name in names}

    def merged_graph(self) -> Graph:
        """Return the graph with the adapted tensors in place of their bases."""
        return self.graph.with_initializers(self.adapted_tensors())

    def _with_head(self, wanted: NewHead) -> Form:
        """Return the form of the network with a new head in place of its own."""
        graph, head = with_new_head(self._file_graph(), self._base.graph, wanted)
        return Form.of(graph, self.source, head)

    def _file_graph(self) -> Graph:
        """Return the graph as the file has it."""
        return self._base.graph

    def _switch(self, form: Form) -> None:
        """Compute with another form from now on; the lock is held."""
        form.choice.asked = self._form.choice.asked
        self._form = form

    def _current_tensors(self, sites: Sequence[Site] | None = None) -> dict[str, Array]:
        """Return the tensors of the file with these sites adapted, all by default."""
        chosen = tuple(self.sites.values()) if sites is None else sites
        return tensors_with(chosen, self.graph.initializers, self.statistics)

    def _attached(self) -> tuple[object, ...]:
        """Return what is attached; sites and statistics are replaced, never changed."""
        return (*self.sites.values(), *self.statistics.values())
