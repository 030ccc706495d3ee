"""A network with adapters: the object a user trains, evaluates and merges."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from lieref._check import check_choice, check_finite, check_int
from lieref._flat import in_place
from lieref._threads import Exclusive, Use, make_lock
from lieref._types import Array, FloatArray
from lieref.errors import DomainError, ShapeError, UnsupportedError
from lieref.model import executor
from lieref.model.backend import NONE_FUSED, Backend, Compiled, Loss, Reference, as_rows
from lieref.model.division import Division, divide
from lieref.model.engine import WINOGRAD
from lieref.model.fold import fold_batch_norm
from lieref.model.fusion import FusedSites
from lieref.model.graph import Graph
from lieref.model.layer import Layer, find_layers, unadaptable
from lieref.model.memo import Memo
from lieref.model.samples import arrange, batches, check_samples
from lieref.model.scores import logits_name, probabilities
from lieref.model.site import Site, SkippedLayersWarning, listed, make_sites, share_memory
from lieref.model.speed import Speed, assess, say_slow
from lieref.model.statistics import channel_moments
from lieref.param._base import LierefWarning
from lieref.param.method import Method

TOOLS = frozenset({"_reference", "_compiled", "_divided", "_current", "_lock", "_alone"})
"""What every network makes for itself."""


@dataclass(frozen=True)
class Attached:
    """A method attached to a network, as it was asked for."""

    method: Method
    target_modules: tuple[str, ...] | None
    seed: int


class Network:
    """A graph, the adapters attached to it, and its gradients.

    The tensors of the file are never changed: an adapted tensor is computed from its base and its factors whenever it
    is needed, so that removing the adapters restores every bit.

    Any number of threads may predict at once. One at a time trains, attaches, loads, merges or saves; what another
    tries meanwhile raises `BusyError`. While a thread is in `lieref.fit` or `estimate_statistics`, the others predict
    with the network as it was before; while it attaches or loads, they wait. Between calls, the arrays of `parameters`
    are the caller's: who writes into them while another thread predicts gives it a mixture of numbers.

    A copy, by `copy.copy`, `copy.deepcopy` or pickle, has adapters of its own.

    Parameters
    ----------
    graph : Graph
        As read from the file; float tensors all float32 or all float64.
    proto : onnx.ModelProto or None
        The model the graph was read from; needed for saving only.
    source : str
        Path or name, for messages and reports.
    base_sha256 : str
        Digest of the file the tensors come from.

    Attributes
    ----------
    threads : int
        Threads of the kernels, all cores by default; the numbers do not depend on it.
    dropped : tuple of str
        Names of the layers of the file that no output depends on; they are no part of the graph.
    """

    dropped: tuple[str, ...] = ()

    def __init__(self, graph: Graph, proto: Any, source: str, base_sha256: str) -> None:
        self.graph = graph
        self.proto = proto
        self.source = source
        self.base_sha256 = base_sha256
        self.attached: list[Attached] = []
        self.sites: dict[str, Site] = {}
        self.statistics: dict[str, FloatArray] = {}
        self.wants_statistics = False
        self.threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.folded, self.folds = fold_batch_norm(graph)
        self.logits_name = logits_name(self.folded)
        self._probabilities = probabilities(self.folded)
        self._engine = "f2"
        self._speed: Speed | None = None
        self._said_slow = False
        self._make_tools()

    def _make_tools(self) -> None:
        """Make what is no state: engines, what has been computed, locks."""
        self._reference = Reference(self.logits_name)
        self._compiled = {name: Compiled(self.logits_name, name) for name in WINOGRAD}
        self._divided: Memo[Division] = Memo()
        self._current: Memo[Graph] = Memo()
        self._lock = make_lock()  # held while adapters and statistics change, and while they are read together
        self._alone = Exclusive("the model")

    # One thread at a time

    def training(self, doing: str) -> Use:
        """Return a context for a thread that trains; other threads predict with the network as it is now.

        Raises
        ------
        BusyError
            If another thread trains or changes the network.
        """
        with self._lock:
            return self._alone.take(doing, self.current_graph())

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy starts with: adapters of its own, and none of the tools."""
        with self._alone.take("copy"), self._lock:
            state = {name: value for name, value in vars(self).items() if name not in TOOLS}
            sites = {
                tensor: replace(site, params={name: factor.copy() for name, factor in site.params.items()})
                for tensor, site in self.sites.items()
            }
            return {**state, "attached": [*self.attached], "statistics": {**self.statistics}, "sites": sites}

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

    # What the network is

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """Shape of the input; None where an axis is free, the batch first."""
        return self.graph.inputs[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type of the network's weights: float32 or float64."""
        return self.graph.dtype

    @property
    def engine(self) -> str:
        """How the network is run.

        Set it to "f2" (default: compiled, with the Winograd transform F(2x2, 3x3), as accurate as the direct sum), "f4"
        (F(4x4, 3x3), faster, but several times the rounding error), "direct" (without a transform) or "reference"
        (operator by operator). It reads "mixed" where a compiled network calls some operators back, sample by sample,
        and "reference" where the engine cannot take the network: in float64, with a free image size, or with an
        operator that mixes samples. A `SlowPathWarning` then says what stands in the way.
        """
        speed = self._assess()
        return self._engine if speed.kind == "compiled" else speed.kind

    @engine.setter
    def engine(self, name: str) -> None:
        self._engine = check_choice("engine", "engine", name, (*WINOGRAD, "reference"))
        self._speed = None

    @property
    def slow_reasons(self) -> tuple[str, ...]:
        """What keeps the network, or some of its operators, from being run compiled: one line a node."""
        return self._assess().reasons

    def _assess(self) -> Speed:
        if self._speed is None:
            plain = self._engine == "reference" or self.dtype != np.float32
            self._speed = Speed("reference") if plain else assess(self.folded, self.logits_name)
        return self._speed

    def _say_slow(self, refusal: str = "") -> None:
        """Say once that the network is not run compiled though it could be asked to."""
        if refusal and not self._assess().reasons:
            self._speed = Speed("reference", (refusal,))
        if not self._said_slow and self._assess().reasons:
            self._said_slow = True
            say_slow(self.source, self._assess())

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

    # Adapters

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
                self._say_left_out(chosen.scope)
                self.sites.update(make_sites(self.graph, chosen, methods_for, patterns, self.sites, seed))
            self.wants_statistics = self.wants_statistics or statistics
            self.attached.append(Attached(chosen, None if patterns is None else tuple(patterns), seed))
        return self

    def _say_left_out(self, scope: str) -> None:
        """Name, once, the layers whose weights no method can adapt."""
        if self.dropped and scope in ("weight", "all"):
            text = f"attach: leaves {listed(self.dropped)} alone: no output depends on it"
            warnings.warn(text, SkippedLayersWarning, stacklevel=3)
        left_out = unadaptable(self.graph)
        if left_out and scope in ("weight", "all"):
            reasons = listed([f"{name}: {why}" for name, why in left_out.items()], separator="; ")
            warnings.warn(f"attach: {len(left_out)} layers stay as they are: {reasons}", LierefWarning, stacklevel=3)

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
            names = set(self.statistics).union(*(site.tensors for site in self.sites.values()))
        return {name: tensors[name] for name in tensors if name in names}

    # Numbers

    def as_input(self, x: Array, layout: str | None = None) -> FloatArray:
        """Return a batch in the network's dtype and layout.

        Parameters
        ----------
        x : (N, ...) array
            Integers, booleans or floats; images in the model's layout, with the channels at the other end, or without
            the axis of a single channel.
        layout : {"NCHW", "NHWC"}, optional
            Of `x`; needed only where both fit the model.

        Raises
        ------
        ShapeError
            If the shape does not fit the model.
        DTypeError
            If it is not numeric.
        DomainError
            If the batch is empty, holds a NaN or an infinity or a number beyond that dtype, or fits in both layouts
            and none is given.
        """
        return self._cast(self._arranged("predict", x, layout))

    def _arranged(self, function: str, x: Any, layout: str | None) -> Array:
        """Return samples checked and in the network's layout, their dtype as it came."""
        return arrange(check_samples(function, x), self.input_shape, layout, function=function)

    def _cast(self, x: Array) -> FloatArray:
        """Return arranged samples in the network's dtype."""
        wanted = np.dtype(self.graph.inputs[0].dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.ascontiguousarray(x, dtype=self.dtype if wanted.kind == "f" else wanted)
        if x.dtype.kind == found.dtype.kind == "f" and found.itemsize < x.dtype.itemsize:
            check_finite("predict", f"x as {found.dtype}", found)
        if wanted.kind != "f" and x.dtype != wanted and not np.array_equal(found, x):
            raise DomainError(f"predict: `x` must hold numbers of the model's input type, {wanted}; "
                              f"got {x.dtype} from {x.min():.4g} to {x.max():.4g}")  # fmt: skip
        return found

    @property
    def _fixed_batch(self) -> int | None:
        """The one number of samples that the network takes at a time, None where any will do."""
        return self.input_shape[0] if self.input_shape else None

    def _wrong_batch(self, samples: int) -> ShapeError:
        return ShapeError(
            f"predict: the batch must be of {self._fixed_batch} samples, which the network is made for; got {samples} "
            "(export it with a free batch axis)"
        )

    def _samples(self, x: Array) -> Array:
        """Return arranged samples as the backends take them: uint8 or the network's dtype."""
        if len(x) != (self._fixed_batch or len(x)):
            raise self._wrong_batch(len(x))
        return x if x.dtype == np.uint8 else self._cast(x)

    def logits(self, x: Array, *, batch_size: int = 256, layout: str | None = None) -> FloatArray:
        """Return the network's scores before a final Softmax, (N, ...); (N, C, 1, 1) comes as (N, C).

        Raises as `as_input` does.
        """
        return as_rows(self._scores(x, batch_size, layout))

    def predict(self, x: Array, *, batch_size: int = 256, layout: str | None = None) -> FloatArray:
        """Return the network's output as ONNX Runtime would: probabilities where the graph ends in Softmax.

        Raises as `as_input` does.
        """
        return executor.finish(self.folded, self.logits_name, self._scores(x, batch_size, layout))

    def _scores(self, x: Array, batch_size: int, layout: str | None) -> FloatArray:
        """Return the logits in the graph's shape."""
        check_int("predict", "batch_size", batch_size, low=1)
        x = self._arranged("predict", x, layout)
        if self._fixed_batch:
            batch_size = self._fixed_batch
            if len(x) % batch_size:
                raise self._wrong_batch(len(x))
        graph = self.current_graph()
        backend = self._backend(frozenset())
        self._say_slow()
        parts = [backend.logits(graph, self._samples(x_), self.threads) for x_ in batches(x, batch_size)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _backend(self, wanted: frozenset[str], fused: FusedSites = NONE_FUSED) -> Backend:
        """Return what runs the network for these gradients and adapters."""
        if self._engine == "reference" or self.dtype != np.float32:
            return self._reference
        compiled = self._compiled[self._engine]
        return compiled if compiled.supports(self.folded, wanted, self.threads, fused) else self._reference

    def _division(self) -> Division:
        """Return who computes which adapter in a training step: the backend all that it can, or none."""
        division = self._divided.get(
            (self._engine, self.threads, *self._attached()),
            lambda: divide(
                tuple(self.sites.values()),
                self.folds,
                self.folded,
                self.graph.initializers | self.statistics,
                self._backend,
            ),
        )
        compiled = self._engine != "reference" and self.dtype == np.float32
        refused = compiled and isinstance(division.backend, Reference)
        self._say_slow(self._compiled[self._engine].refusal if refused else "")
        return division

    def _attached(self) -> tuple[object, ...]:
        """Return what is attached; sites and statistics are replaced, never changed."""
        return (*self.sites.values(), *self.statistics.values())

    # Derivation.  l(theta) = loss(N(F(A(theta)))): factors -> adapted tensors -> folded tensors -> logits -> loss.
    # The chain rule from the right: logits_bar from the loss, folded_bar by the graph in reverse, tensor_bar by each
    # fold, and theta_bar by each method.  A tensor outside every fold is read by the graph itself.
    def loss_and_grad(
        self, x: Array, y: Array, loss: Loss, *, layout: str | None = None
    ) -> tuple[float, FloatArray, dict[str, FloatArray]]:
        """Return the mean loss of a batch, its logits, and the gradient of every trainable array.

        Parameters
        ----------
        x : (N, ...) array
            See `as_input`.
        y : (N, ...) array
            Targets, as the loss wants them.
        loss : Loss
        layout : {"NCHW", "NHWC"}, optional
            Of `x`; needed only where both fit the model.

        Returns
        -------
        value : float
        logits : (N, ...) array
        grads : dict of str to array
            The keys of `parameters`.

        Raises
        ------
        BusyError
            If another thread trains or changes the network.
        """
        self._check_loss(loss)
        samples = self._samples(self._arranged("loss_and_grad", x, layout))
        with self._alone.take("loss_and_grad"):
            division = self._division()
            tensors = self._current_tensors(division.outside)
            value, logits, bars = division.backend.loss_and_grad(
                self._refold(tensors, division.outside), samples, y, loss, division.wanted, self.threads, division.fused
            )
            if not division.outside:
                return value, logits, bars
            factors = {name: bar for name, bar in bars.items() if name not in division.wanted}
            return value, logits, {**factors, **self._factor_gradients(tensors, bars, division.outside)}

    @property
    def probability_node(self) -> str | None:
        """Name of the node that makes probabilities of the scores where `logits` cannot leave it out, else None."""
        return None if self._probabilities is None else self._probabilities.name

    def _check_loss(self, loss: Loss) -> None:
        """Raise `UnsupportedError` if a loss of scores would be computed on probabilities."""
        node = self._probabilities if getattr(loss, "classifies", False) else None
        if node is not None:
            raise UnsupportedError(
                f"fit: the loss must read scores (logits); node {node.name} ({node.op}) makes probabilities of them, "
                "and what follows cannot be left out: export the network without it, or with a Softmax at its end"
            )

    def estimate_statistics(
        self, x: Array, *, batch_size: int = 256, max_samples: int = 2000, layout: str | None = None
    ) -> None:
        """Re-estimate the mean and variance of every BatchNormalization on `x`, layer by layer, without labels.

        Each layer sees the data through the layers before it with their new statistics. The variance is the biased one,
        as in training.

        Parameters
        ----------
        x : (N, ...) array
        batch_size : int
            At least 1.
        max_samples : int
            At most so many samples are read, evenly spread. More bring nothing: on ResNet-8 under a JPEG shift the
            accuracy is the same from 500 to 10,000 images within 0.1 points.
        layout : {"NCHW", "NHWC"}, optional
            Of `x`; needed only where both fit the model.

        Raises
        ------
        DomainError
            If a variance comes out as zero: one sample, or a dead channel in a model whose epsilon is zero.
        """
        check_int("estimate_statistics", "batch_size", batch_size, low=1)
        check_int("estimate_statistics", "max_samples", max_samples, low=1)
        x = self._arranged("estimate_statistics", x, layout)
        with self.training("estimate_statistics"):
            self._estimate_statistics(x, batch_size, max_samples)

    def _estimate_statistics(self, x: Array, batch_size: int, max_samples: int) -> None:
        x = x[:: -(-len(x) // max_samples)] if len(x) > max_samples else x
        if self._fixed_batch:
            batch_size = self._fixed_batch
            if len(x) < batch_size:
                raise self._wrong_batch(len(x))
            x = x[: len(x) - len(x) % batch_size]
        before = dict(self.statistics)
        try:
            for node in self.graph.nodes:
                if node.op == "BatchNormalization" and all(n in self.graph.initializers for n in node.inputs[3:5]):
                    graph = self.graph.with_initializers(self._current_tensors())
                    values = (
                        executor.run(graph, self._cast(x_), until=node.inputs[0], threads=self.threads)[node.inputs[0]]
                        for x_ in batches(x, batch_size)
                    )
                    mean, var = channel_moments(values)
                    self.statistics[node.inputs[3]] = mean.astype(self.dtype)
                    self.statistics[node.inputs[4]] = var.astype(self.dtype)
        except BaseException:
            self.statistics = before
            raise
        self.wants_statistics = False

    # The graphs it stands for

    def current_graph(self) -> Graph:
        """Return the folded graph with the adapted tensors: what the network computes with in this thread."""
        with self._lock:
            use = self._alone.of_another()
            if use is not None and use.before is not None:
                before: Graph = use.before
                return before
            factors = (factor for site in self.sites.values() for factor in site.params.values())
            return self._current.get(self._attached(), lambda: self._refold(self._current_tensors()), factors)

    def bias_spread(self) -> dict[str, FloatArray]:
        """Return, for each folded bias, |a b0| + |a mean| + |shift|: what an evaluation that does not fold sums."""
        tensors = self._current_tensors()
        return {fold_.folded_bias: fold_.bias_spread(tensors) for fold_ in self.folds}

    def merged_graph(self) -> Graph:
        """Return the graph with the adapted tensors in place of their bases."""
        return self.graph.with_initializers(self.adapted_tensors())

    # Inside

    def _current_tensors(self, sites: Iterable[Site] | None = None) -> dict[str, Array]:
        """Return the tensors of the file with these sites adapted, all by default."""
        tensors: dict[str, Array] = {**self.graph.initializers, **self.statistics}
        for site in self.sites.values() if sites is None else sites:
            tensors.update(site.adapted(self.graph.initializers))
        return tensors

    def _refold(self, tensors: dict[str, Array], sites: Iterable[Site] | None = None) -> Graph:
        """Return the folded graph with these tensors, which differ from the file's at the sites and in statistics."""
        adapted = (site.tensors for site in (self.sites.values() if sites is None else sites))
        names = set(self.statistics).union(*adapted)
        changed = {name: tensors[name] for name in names}
        for fold_ in self.folds:
            if not names.isdisjoint(fold_.sources()):
                changed.update(fold_.apply(tensors))
        return self.folded.with_initializers(changed)

    def _factor_gradients(
        self, tensors: dict[str, Array], bars: dict[str, FloatArray], sites: Iterable[Site]
    ) -> dict[str, FloatArray]:
        """Return the gradients of the sites' factors from the cotangents of the folded tensors."""
        tensor_bars = dict(bars)
        for fold_ in self.folds:
            if fold_.folded_weight in bars:
                for name, bar in fold_.pull_back(tensors, bars).items():
                    tensor_bars[name] = tensor_bars[name] + bar if name in tensor_bars else bar
        grads: dict[str, FloatArray] = {}
        for site in sites:
            for factor, bar in site.pull_back(self.graph.initializers, tensor_bars).items():
                grads[f"{site.tensor}:{factor}"] = bar
        return grads
