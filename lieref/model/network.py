"""A network with adapters: the object a user trains, evaluates and merges."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np

from lieref._check import check_int
from lieref._threads import Use
from lieref._types import Array, FloatArray
from lieref.errors import UnsupportedError
from lieref.model import executor
from lieref.model.adapted import adapted_graph, changed_names, factor_gradients, refolded
from lieref.model.arithmetic import BATCH
from lieref.model.attaching import share_memory
from lieref.model.backend import Loss, Reference, as_rows
from lieref.model.division import Division, divide
from lieref.model.earlier import Earlier
from lieref.model.engine.lowered import rows_shape
from lieref.model.engine.recompute import Recomputation
from lieref.model.form import Form
from lieref.model.graph import Graph
from lieref.model.layer_inputs import start_from_inputs, waiting, waiting_for_others
from lieref.model.lazy_samples import rows_of
from lieref.model.memo import Memo
from lieref.model.memory import recomputations, training_memory
from lieref.model.outputs import shapes_of_others
from lieref.model.reading import Readable
from lieref.model.samples import Samples, as_numbers, batches, check_apart, for_backend, wrong_batch
from lieref.model.shapes import infer_specs
from lieref.model.site import Site
from lieref.model.statistics import reestimated
from lieref.rng import stream


class Network(Readable):
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
    recomputation : int
        Which of `recomputations` a training step uses; the numbers do not depend on it.
    outputs : tuple of str
        The file's names of the outputs; the first is what `predict` returns and losses read.
    output_weights : dict of str to float
        The outputs that whoever loaded the network has asked for, and the factors of their losses; they are the first.
    task : dict or None
        What the adapters were trained for: a task's name and settings; `fit` sets it, and adapters carry it.
    preprocessing : dict or None
        How the images that it takes become numbers, `lieref.Preprocess.to_dict`; adapters and merged models carry it.
    """

    task: dict[str, Any] | None = None
    preprocessing: dict[str, Any] | None = None
    _tools = Readable._tools | {"_current"}

    def __init__(self, graph: Graph, proto: Any, source: str, base_sha256: str) -> None:
        super().__init__(graph, source)
        self.proto = proto
        self.base_sha256 = base_sha256
        self.threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.recomputation = 0

    def _make_tools(self) -> None:
        """Make what is no state: what has been computed, and locks."""
        super()._make_tools()
        self._current: Memo[Graph] = Memo()

    # One thread at a time

    def training(self, doing: str) -> Use:
        """Return a context for a thread that trains; other threads predict with the network as it is now.

        Raises
        ------
        BusyError
            If another thread trains or changes the network.
        """
        with self._lock:
            return self._alone.take(doing, Earlier(self._graph_of, self.copied_sites(), {**self.statistics}))

    # What the network is

    @property
    def undecided(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs behind the first, of one sample, where nobody has said that the first is meant."""
        if self.output_weights or self.head is not None or len(self.outputs) == 1:
            return {}
        return shapes_of_others(self.graph, self.outputs)

    @property
    def scores_shape(self) -> tuple[int, ...] | None:
        """Shape of one sample of `logits`; None where only a prediction tells: of a fixed batch, or a free size."""
        shape = infer_specs(self.folded, BATCH)[self.logits_name].shape
        sample = tuple(extent for extent in shape[1:] if extent is not None)
        return None if self._fixed_batch or len(sample) < max(len(shape) - 1, 1) else rows_shape(sample)

    @property
    def engine(self) -> str:
        """How the network is run.

        Set it to "f2" (default: compiled, with the Winograd transform F(2x2, 3x3), as accurate as the direct sum), "f4"
        (F(4x4, 3x3), faster, but several times the rounding error), "direct" (without a transform) or "reference"
        (operator by operator). It reads "mixed" where a compiled network calls some operators back, sample by sample,
        or predicts compiled and trains operator by operator, which the first training step tells. It reads "reference"
        where the engine cannot take the network: in float64, with an operator that mixes samples, or where compiled
        code is switched off. A `SlowPathWarning` says once what stands in the way and what would help, where that takes
        a tenth of the time or more. A network for images of any size is compiled for each size that comes.
        """
        return self.choice.name(self._known_division())

    @engine.setter
    def engine(self, name: str) -> None:
        self.choice.ask(name)

    @property
    def arithmetic(self) -> dict[str, str | int]:
        """What, besides its numbers, the bits of its training depend on: the engine, its version and instructions."""
        return self.choice.arithmetic

    @property
    def configuration(self) -> dict[str, Any]:
        """How it was loaded, and what is attached to each tensor: plain JSON values."""
        return {
            "dtype": self.dtype.name,
            "outputs": dict(self.output_weights or {self.outputs[0]: 1.0}),
            "padding_id": self.padding_id,
            "derived_inputs": list(self.derived_inputs),
            "input_shapes": {name: list(shape) for name, shape in self.input_shapes.items()},
            "seeds": [entry.seed for entry in self.attached],
            "tensors": {tensor: site.method.config() for tensor, site in self.sites.items()},
        }

    @property
    def compiles_first(self) -> bool:
        """Whether the engine has to make its machine code first, which takes seconds once after installation."""
        return self.choice.compiles_first

    @property
    def slow_reasons(self) -> tuple[str, ...]:
        """What keeps the network, or some of its operators, from being run compiled: one line a node.

        From the first training step on also what keeps its steps, or the adapters of some layers, from it.
        """
        return self.choice.reasons(self._known_division())

    # Numbers

    def logits(self, x: Samples, *, batch_size: int = 256, layout: str | None = None) -> FloatArray:
        """Return the network's scores before a final Softmax, (N, ...); (N, C, 1, 1) comes as (N, C).

        Raises as `as_input` does.
        """
        return as_rows(self._scores(x, batch_size, layout)[0])

    def predict(self, x: Samples, *, batch_size: int = 256, layout: str | None = None) -> FloatArray:
        """Return the network's output as ONNX Runtime would: probabilities where the graph ends in Softmax.

        Raises as `as_input` does, and `DomainError` if a network mixes the samples of a batch and more come than
        `batch_size`.
        """
        scores, form = self._scores(x, batch_size, layout, first=True)
        return executor.finish(form.folded, form.scores, np.moveaxis(scores, 0, form.samples_axis))

    def __call__(self, x: Samples, *, batch_size: int = 256, layout: str | None = None) -> FloatArray:
        """Return `predict` of the samples."""
        return self.predict(x, batch_size=batch_size, layout=layout)

    def _scores(
        self, x: Samples, batch_size: int, layout: str | None, *, first: bool = False
    ) -> tuple[FloatArray, Form]:
        """Return logits in the graph's shape, of the first output alone if asked, and the form that computes them."""
        check_int("predict", "batch_size", batch_size, low=1)
        x = self.arranged("predict", x, layout)
        if self._fixed_batch:
            batch_size = self._fixed_batch
            if len(x) % batch_size:
                raise wrong_batch(batch_size, len(x))
        with self._lock:  # another thread may attach a new head, or let the losses read another tensor
            form, graph = self._first() if first else self._form, self.current_graph()
        backend, _ = form.choice.backend(frozenset(), self.threads)
        form.choice.say_slow()
        own = (for_backend(part, self.graph.inputs[0], self.dtype) for part in batches(x, batch_size))
        parts = [backend.logits(graph, part, self.threads) for part in own]
        if len(parts) > 1 and isinstance(backend, Reference) and not self._fixed_batch:  # compiled samples stay apart
            pair = for_backend(x[[0, batch_size]], self.graph.inputs[0], self.dtype)
            check_apart(parts, backend.logits(graph, pair, self.threads), batch_size, len(x))
        return (parts[0] if len(parts) == 1 else np.concatenate(parts)), form

    def division(self) -> Division:
        """Return who computes which adapter in a training step: the backend all that it can, or none."""
        return self._divided.get(
            self._divides(),
            lambda: divide(
                tuple(self.sites.values()),
                self.folds,
                self.folded,
                self.graph.initializers | self.statistics,
                lambda wanted, fused: self.choice.backend(wanted, self.threads, fused),
            ),
        )

    def _known_division(self) -> Division | None:
        """Return the division if a step has been made with what is attached now."""
        return self._divided.known(self._divides())

    def _divides(self) -> tuple[object, ...]:
        """Return what the division follows from."""
        return self._form, self.choice.asked, self.threads, *self._attached()

    # Derivation.  l(theta) = loss(N(F(A(theta)))): factors -> adapted tensors -> folded tensors -> logits -> loss.
    # The chain rule from the right: logits_bar from the loss, folded_bar by the graph in reverse, tensor_bar by each
    # fold, and theta_bar by each method.  A tensor outside every fold is read by the graph itself.
    def loss_and_grad(
        self, x: Samples, y: Array, loss: Loss, *, layout: str | None = None
    ) -> tuple[float, FloatArray, dict[str, FloatArray]]:
        """Return the mean loss of a batch, its logits, and the gradient of every trainable array.

        Parameters
        ----------
        x : (N, ...) array, or dict of them
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
        samples = for_backend(self.arranged("loss_and_grad", x, layout), self.graph.inputs[0], self.dtype)
        with self._alone.take("loss_and_grad"):
            division = self.division()
            self.choice.say_training(division, self.graph.initializers, len(samples))
            tensors = self._current_tensors(division.outside)
            moved = division.moved_biases(self.graph.initializers)
            tensors |= moved
            changed = changed_names(division.outside, self.statistics) | moved.keys()
            graph = refolded(self.folded, self.folds, tensors, changed)
            value, logits, bars = division.backend.loss_and_grad(
                graph, samples, y, loss, division.wanted, self.threads, division.fused, self.recomputation
            )
            if not division.wanted:
                return value, logits, bars
            factors = {name: bar for name, bar in bars.items() if name not in division.wanted}
            for name, bar in division.bias_gradients(self.graph.initializers, bars).items():
                factors[name] = factors[name] + bar
            found = factor_gradients(division.outside, self.folds, self.graph.initializers, tensors, bars)
            return value, logits, {**factors, **found}

    @property
    def recomputations(self) -> tuple[Recomputation, ...]:
        """Ways to compute activations of a training step again instead of keeping them; the first is not to."""
        return recomputations(self.choice, self.division(), self.threads)

    def training_memory(
        self, samples: int, threads: int, *, predicts: bool = True, recomputation: int = 0
    ) -> dict[str, int]:
        """Return the bytes that training steps take, by what they are for, beside data, file and optimiser.

        Parameters
        ----------
        samples, threads : int
            Of a batch, and at work.
        predicts : bool
            Whether the network predicts between the steps.
        recomputation : int
            Which of `recomputations` is used.

        Raises
        ------
        UnsupportedError
            If the steps are not compiled: what NumPy takes then is not known ahead.
        """
        how = self.choice, self.division(), self.graph
        return training_memory(*how, samples, threads, predicts=predicts, recomputation=recomputation)

    @property
    def probability_node(self) -> str | None:
        """Name of the node that makes probabilities of the scores where `logits` cannot leave it out, else None."""
        return None if self._form.probabilities is None else self._form.probabilities.name

    def _check_loss(self, loss: Loss) -> None:
        """Raise `UnsupportedError` if a loss of scores would be computed on probabilities."""
        node = self._form.probabilities if getattr(loss, "takes_scores", False) else None
        if node is not None:
            raise UnsupportedError(
                f"fit: the loss must read scores (logits); node {node.name} ({node.op}) makes probabilities of them, "
                f"and cannot be left out: export the network without it, or with {self.reading or 'Softmax'} at its end"
            )

    def estimate_statistics(
        self, x: Samples, *, batch_size: int = 256, max_samples: int = 2000, layout: str | None = None
    ) -> None:
        """Re-estimate the mean and variance of every BatchNormalization on `x`, layer by layer, without labels.

        Each layer sees the data through the layers before it with their new statistics. The variance is the biased one,
        as in training.

        Parameters
        ----------
        x : (N, ...) array, or dict of them
            See `as_input`.
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
        x = self.arranged("estimate_statistics", x, layout)
        x = rows_of(x, slice(None, None, -(-len(x) // max_samples))) if len(x) > max_samples else x
        if self._fixed_batch:
            batch_size = self._fixed_batch
            if len(x) < batch_size:
                raise wrong_batch(batch_size, len(x))
            x = rows_of(x, slice(len(x) - len(x) % batch_size))
        with self.training("estimate_statistics"):
            found = reestimated(
                self.graph,
                self._current_tensors(),
                lambda: (as_numbers(part, self.graph.inputs[0], self.dtype) for part in batches(x, batch_size)),
                self.threads,
            )
            self.statistics = {**self.statistics, **found}
            self.wants_statistics = False

    @property
    def wants_inputs(self) -> bool:
        """Whether adapters are to start from what their layers read: ``init_lora_weights="eva"`` or ``"corda"``."""
        return bool(waiting(self.sites.values()))

    @property
    def wants_other_inputs(self) -> tuple[str, ...]:
        """The layers among them that are to start from inputs of another task: ``init_lora_weights="corda_kpm"``."""
        return tuple(site.owner for site in waiting_for_others(self.sites.values()))

    def start_from_inputs(
        self, x: Samples, *, max_samples: int = 64, layout: str | None = None, final: bool = True
    ) -> dict[str, int]:
        """Start low ranks that wait for it from the inputs of their layers; the network stays its base, bit for bit.

        Of ``"eva"`` the rows of A become the largest inputs, and B stays zero. Of ``"corda"`` and ``"corda_kpm"`` both
        become a part of the weight, and count from there. `lieref.fit` calls it with training samples where nobody has.

        Parameters
        ----------
        x : (N, ...) array, or dict of them
            See `as_input`. One batch of them is read.
        max_samples : int
            At most so many, evenly spread.
        layout : {"NCHW", "NHWC"}, optional
            Of `x`; needed only where both fit the model.
        final : bool
            Whether these inputs are the ones, so that `lieref.fit` does not start from others.

        Returns
        -------
        dict of str to int
            The rank of every tensor whose rank moves (``init_lora_weights="eva_rho_N"``); 0 where it has no adapter any
            more. Where there is one, arrays that `parameters` returned before are no longer live.

        Raises
        ------
        DomainError
            If what a layer reads is not finite. Nothing has changed then.
        """
        check_int("start_from_inputs", "max_samples", max_samples, low=1)
        x = self.arranged("start_from_inputs", x, layout)
        most = self._fixed_batch or max_samples
        if self._fixed_batch and len(x) < most:
            raise wrong_batch(most, len(x))
        x = x[:: -(-len(x) // most)] if len(x) > most and not self._fixed_batch else x[:most]
        with self.training("start_from_inputs"):
            graph = self.graph.with_initializers(self._current_tensors())
            part = as_numbers(x, self.graph.inputs[0], self.dtype)
            begun = {site.tensor for site in waiting(self.sites.values())} if final else set()
            drawn = stream(0, "eva")
            ranks, moved = start_from_inputs(graph, self.sites, part, drawn, threads=self.threads)
            if ranks:
                share_memory(moved)
            sites = moved if ranks else dict(self.sites)
            with self._lock:
                self.sites = {name: replace(s, started=True) if name in begun else s for name, s in sites.items()}
        return ranks

    # The graphs it stands for

    def current_graph(self) -> Graph:
        """Return the folded graph with the adapted tensors: what the network computes with in this thread."""
        with self._lock:
            use = self._alone.of_another()
            if use is not None and use.before is not None:
                return cast(Earlier, use.before).graph
            factors = (factor for site in self.sites.values() for factor in site.params.values())
            known = (self._form, *self._attached())
            return self._current.get(known, lambda: self._graph_of(self.sites, self.statistics), factors)

    def _graph_of(self, sites: Mapping[str, Site], statistics: Mapping[str, FloatArray]) -> Graph:
        return adapted_graph(self.folded, self.folds, self.graph.initializers, sites.values(), statistics)

    def bias_spread(self) -> dict[str, FloatArray]:
        """Return, for each folded bias, |a b0| + |a mean| + |shift|: what an evaluation that does not fold sums."""
        tensors = self._current_tensors()
        return {each.folded_bias: each.bias_spread(tensors) for each in self.folds}
