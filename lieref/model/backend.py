"""Two ways to run a folded graph: the reference path, operator by operator, and the compiled engine.

Both take the same arguments and return the same things, so the network picks one and thinks no more about it. The
engine runs float32 networks; what it refuses takes the reference path.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lieref._flat import FlatParams
from lieref._threads import make_lock
from lieref._types import Array, FloatArray
from lieref.errors import DomainError, UnsupportedError
from lieref.model import executor
from lieref.model.engine import Engine, compile_graph
from lieref.model.engine.lowered import LoweredGraph, rows_shape
from lieref.model.fusion import FusedSites
from lieref.model.graph import Graph
from lieref.model.simplify import at_size, at_some_size

NONE_FUSED = FusedSites()


class Loss(Protocol):
    """What a network needs of a loss."""

    def value_and_grad(self, logits: FloatArray, y: Array) -> tuple[float, FloatArray]:
        """Return the mean loss and its gradient with respect to the logits (N, ...)."""

    def compiled_form(self, y: Array, shape: tuple[int, ...]) -> tuple[str, Array] | None:
        """Return the loss as the engine evaluates it, (name, rows), or None if it cannot.

        `shape` is that of what the network gives for one sample.
        """


class Backend(Protocol):
    """Runs the folded graph of one network; `graph` may hold other values of the same tensors at each call."""

    def logits(self, graph: Graph, x: Array, threads: int) -> FloatArray:
        """Return the logits of samples (N, ...), float or uint8, in the graph's shape."""

    def loss_and_grad(
        self,
        graph: Graph,
        x: Array,
        y: Array,
        loss: Loss,
        wanted: frozenset[str],
        threads: int,
        fused: FusedSites = NONE_FUSED,
        recomputation: int = 0,
    ) -> tuple[float, FloatArray, dict[str, FloatArray]]:
        """Return the mean loss, the logits, and cotangents.

        They are those of the wanted initializers, and those of the factors of the fused sites, named
        ``<tensor>:<factor>``. The graph holds the base of a fused weight. The engine computes activations again as
        that of its `recomputations` says.
        """


class Reference:
    """The reference path; every operator, float32 and float64."""

    def __init__(self, logits_name: str) -> None:
        self._logits = logits_name

    def logits(self, graph: Graph, x: Array, threads: int) -> FloatArray:  # noqa: D102
        result = executor.run(graph, _as_float(graph, x), until=self._logits, threads=threads)[self._logits]
        _check_outputs(result)
        return result

    def loss_and_grad(  # noqa: D102
        self,
        graph: Graph,
        x: Array,
        y: Array,
        loss: Loss,
        wanted: frozenset[str],
        threads: int,
        fused: FusedSites = NONE_FUSED,
        recomputation: int = 0,
    ) -> tuple[float, FloatArray, dict[str, FloatArray]]:
        values = executor.run(graph, _as_float(graph, x), until=self._logits, threads=threads)
        logits = as_rows(values[self._logits])
        value, logits_bar = loss.value_and_grad(logits, y)
        seeds = {self._logits: logits_bar.reshape(values[self._logits].shape)}
        bars = executor.pull_back(graph, values, seeds, wanted, threads=threads)
        return value, logits, bars


MOST_ENGINES = 4
"""Engines that are kept: one for inference and one for each set of adapters, for each size of samples where a network
takes several; the last used last."""


class Compiled:
    """The engine, for any number of threads at once.

    Packed weights are kept, so that only tensors that changed since the last call are packed again.
    """

    def __init__(self, logits_name: str, winograd: str) -> None:
        self._logits = logits_name
        self._winograd = winograd
        self._lock = make_lock()
        self._engines: dict[object, Engine] = {}

    @property
    def lowered(self) -> LoweredGraph | None:
        """The layers of the network, where an engine has been made for its one size; None where there is none."""
        with self._lock:
            return next((engine.lowered for engine in self._engines.values()), None)

    def refusal(self, graph: Graph, wanted: frozenset[str], threads: int, fused: FusedSites = NONE_FUSED) -> str:
        """Return why the engine does not run the graph, give these gradients or compute these adapters; "" if it does.

        What it does not refuse is compiled.
        """
        try:
            self.engine(graph, wanted, threads, fused)
        except UnsupportedError as error:
            return str(error).removeprefix("compile_graph: ")
        return ""

    def engine(
        self, graph: Graph, wanted: frozenset[str], threads: int, fused: FusedSites = NONE_FUSED,
        size: tuple[int, ...] | None = None,
    ) -> Engine:  # fmt: skip
        """Return the engine for these gradients, adapters and samples, made on first use.

        Parameters
        ----------
        size : tuple of int, optional
            Of one sample, where the graph takes any; a usual one by default.

        Raises
        ------
        UnsupportedError
            If it refuses them.
        """
        if size is None:
            graph = at_some_size(graph)
        fixed = None not in graph.inputs[0].shape[1:]
        key = (wanted, fused.key, graph.inputs[0].shape[1:] if fixed else size)
        with self._lock:
            found = self._engines.pop(key, None)
            if found is None or found.changed(graph.initializers):
                if len(self._engines) == MOST_ENGINES:
                    self._engines.pop(next(iter(self._engines)))
                found = compile_graph(
                    graph if fixed or size is None else at_size(graph, size),
                    trainable=wanted,
                    logits=self._logits,
                    adapters={site.weight: site.adapter for site in fused.sites},
                    threads=threads,
                    winograd=self._winograd,
                )
            self._engines[key] = found
            found.threads = threads
            return found

    def logits(self, graph: Graph, x: Array, threads: int) -> FloatArray:  # noqa: D102
        engine = self.engine(graph, frozenset(), threads, NONE_FUSED, x.shape[1:])
        result = engine.logits(x, graph.initializers)
        _check_outputs(result)
        return result.reshape(-1, *engine.output_shape)

    def loss_and_grad(  # noqa: D102
        self,
        graph: Graph,
        x: Array,
        y: Array,
        loss: Loss,
        wanted: frozenset[str],
        threads: int,
        fused: FusedSites = NONE_FUSED,
        recomputation: int = 0,
    ) -> tuple[float, FloatArray, dict[str, FloatArray]]:
        engine = self.engine(graph, wanted, threads, fused, x.shape[1:])
        engine.recompute(recomputation)
        if fused.sites:
            fused.fill(engine.parameters)
        shape = rows_shape(engine.output_shape)
        form = loss.compiled_form(y, shape)
        if form is None:

            def rows_loss(outputs: FloatArray, targets: Array) -> tuple[float, FloatArray]:
                value, bar = loss.value_and_grad(outputs.reshape(-1, *shape), targets)
                return value, bar.reshape(outputs.shape)

            value, logits, bars = engine.loss_and_grad(x, y, rows_loss, graph.initializers)
        else:
            kind, rows = form
            value, logits, bars = engine.loss_and_grad(x, np.asarray(rows, np.float32), kind, graph.initializers)
        logits = logits.reshape(-1, *shape)
        _check_outputs(logits)
        _check_gradients(value, bars)
        found = {name: bars[name] for name in wanted}
        factors = fused.pull_back(bars)
        return value, logits, {**found, **factors} if found else factors


def _as_float(graph: Graph, x: Array) -> Array:
    """Return uint8 samples in the dtype of the graph's weights."""
    if x.dtype != np.uint8 or np.dtype(graph.inputs[0].dtype).kind != "f":
        return x
    return x.astype(graph.dtype, order="C")


def as_rows(logits: FloatArray) -> FloatArray:
    """Return logits as the losses read them: with one axis of scores, as (N, C, 1, 1) or (N, 1, C), they are (N, C)."""
    return logits.reshape(len(logits), *rows_shape(logits.shape[1:]))


def _check_outputs(logits: FloatArray) -> None:
    if not np.isfinite(logits).all():
        raise DomainError("predict: the network's outputs must be finite; its weights or inputs are too large")


def _check_gradients(value: float, bars: dict[str, FloatArray]) -> None:
    arrays = [bars.flat] if isinstance(bars, FlatParams) else bars.values()
    if not (np.isfinite(value) and all(np.isfinite(bar).all() for bar in arrays)):
        raise DomainError("loss_and_grad: loss and gradients must be finite; outputs or targets are too large")
