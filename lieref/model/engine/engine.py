"""Run a network's plans: weights in, outputs, losses and gradients out, for any number of callers at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property

import numpy as np

from lieref._check import check_choice, check_int, check_shape
from lieref._threads import Exclusive, make_lock
from lieref._types import Array, FloatArray
from lieref.errors import ShapeError, UnsupportedError
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.isa import available
from lieref.kernel.simd.machine_code import Library
from lieref.kernel.simd.machine_code import library as load_library
from lieref.model.engine import reference
from lieref.model.engine.adapter import Adapter
from lieref.model.engine.border import Border, check_numbers
from lieref.model.engine.describe import ProgramSizes, sizes_of
from lieref.model.engine.factors import Factors
from lieref.model.engine.footprint import Footprint, footprint
from lieref.model.engine.lower import lower
from lieref.model.engine.lowered import LoweredGraph
from lieref.model.engine.packed_weights import Contents, PackedWeights
from lieref.model.engine.plan import Plans
from lieref.model.engine.recompute import Recomputation
from lieref.model.engine.session import FORWARD, Session, Task, gradients_of
from lieref.model.engine.winograd import WINOGRAD
from lieref.model.graph import Graph

SHARED: AbstractContextManager[object] = nullcontext()
"""What calls work in that any number of threads may make at once."""

BUILT_IN = ("cross_entropy", "cross_entropy_last", "mean_squared_error", "binary_cross_entropy")
"""Losses that a compiled step computes."""

MOST_IDLE = 8
"""Sessions that are kept for later callers; where more threads than that run at once, some make theirs anew."""

BY_CHANNEL = frozenset({"depthwise", "transposed_depthwise"})
"""Kinds of layers whose weight any adapter may be of."""

ADAPTED = BY_CHANNEL | {"conv", "transposed", "embedding", "recurrent"}
"""Kinds of layers whose weight one of another form than "channel" may be of."""


def compile_graph(
    graph: Graph,
    *,
    trainable: frozenset[str],
    logits: str,
    adapters: dict[str, Adapter] | None = None,
    threads: int = 1,
    winograd: str = "f2",
    dtype: str = "float32",
    isa: str | None = None,
) -> Engine:
    """Return the engine of a network. A BatchNormalization that is not folded must have constant statistics.

    Parameters
    ----------
    graph : Graph
    trainable : frozenset of str
        Initializers whose gradient is wanted: weights and biases of layers, scales and biases of normalisations.
    logits : str
        Tensor that is the result, (N, ...); the engine gives its numbers as rows (N, classes).
    adapters : dict of str to Adapter, optional
        Weights adapted inside the engine: their factors are `Engine.parameters`, their gradients come back in the place
        of the weight's.
    threads : int
        At most this many threads; the result has the same bits for any number.
    winograd : "f2", "f4" or "direct"
        Transform for 3x3 convolutions of stride 1: "f2" is as accurate as the direct sum.
    dtype : "float32" or "float64"
    isa : str, optional
        Instruction set, the CPU's widest by default.

    Raises
    ------
    UnsupportedError
        If an operator without a compiled form works on several samples at once, the network does not go from one input
        (N, ...) of floats to an output of at most three axes a sample, `trainable` or `adapters` names what the engine
        cannot train, or compiled code is switched off (NUMBA_DISABLE_JIT=1).
    DomainError
        If `winograd`, `dtype` or `isa` is unknown, or this CPU does not have that instruction set.
    ShapeError
        If an adapter's `row_scale` does not have one number for each output channel.
    """
    check_choice("compile_graph", "winograd", winograd, tuple(WINOGRAD))
    check_choice("compile_graph", "dtype", dtype, ("float32", "float64"))
    check_int("compile_graph", "threads", threads, low=1)
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        raise UnsupportedError("compile_graph: compiled code must be allowed; got NUMBA_DISABLE_JIT=1")
    net = lower(graph, logits)
    adapters = adapters or {}
    known = {name for layer in net.layers for name in layer.trained}
    fixed = net.folded.union(*(layer.fixed for layer in net.layers))
    refused = trainable & fixed | trainable - known
    if refused:
        rule = "weights or biases of layers, and read by nothing else"
        raise UnsupportedError(f"compile_graph: `trainable` must be {rule}; got {sorted(refused)}")
    for name, adapter in adapters.items():
        layers = [layer for layer in net.layers if name in (*layer.trained, *layer.fixed)]
        axes = layers[0].weights.get(name) if len(layers) == 1 and name not in net.folded else None
        if axes is None or layers[0].kind not in (BY_CHANNEL if adapter.form == "channel" else ADAPTED):
            rule = 'adapt the weight of one layer, that of form "channel" a depthwise one'
            raise UnsupportedError(f"compile_graph: `adapters` must {rule}; got {name!r}")
        if adapter.row_scale is not None:
            outputs = axes.shape[0] if layers[0].recurrence else layers[0].channels
            check_shape("compile_graph", f"row_scale of {name}", adapter.row_scale, (outputs,))
    library = load_library(check_choice("compile_graph", "isa", isa or isa_module.best().name, available()), dtype)
    return Engine(net, library, trainable - set(adapters), adapters, threads, winograd)


class Engine:
    """Computes outputs, losses and gradients of one network.

    Any number of threads may use one engine at once: each call works in a session, memory of its own, on programs and
    packed weights that all share. An engine that computes adapters has one set of factors: a second thread is refused.

    Attributes
    ----------
    parameters : FlatParams
        Live factors of the fused adapters, ``<weight>:<factor>``, zero until written; see `Adapter` for shapes.
    threads : int
        At most so many; may be changed between calls.
    classes : int
        Outputs of one sample.
    output_shape : tuple of int
        Their shape in the graph, such as (classes,), or that of an image.
    """

    def __init__(
        self, net: LoweredGraph, library: Library, trainable: frozenset[str], adapters: dict[str, Adapter],
        threads: int, winograd: str,
    ) -> None:  # fmt: skip
        self.threads = threads
        self.classes = net.sizes[net.logits][0]
        self.output_shape = net.output_shape
        self._dtype = np.dtype(library.dtype)
        self._border = Border.of(net, self._dtype)
        self._plans = Plans(net, library, trainable, adapters, winograd)
        self._recomputing = {0: self._plans}
        storage = self._plans.get(1).storage
        self._factors = Factors(storage.fused, library.dtype)
        self.parameters = self._factors.parameters
        initializers = net.graph.initializers
        constants = {name for layer in net.layers for name in reference.constants(layer, net.graph)}
        given = {name: initializers[name] for layer in net.layers for name in (*layer.initializers, *constants)}
        self._packed = PackedWeights(storage, Contents.of(given, self._dtype))
        self._folded = {name: initializers[name] for name in net.folded}
        self._lock = make_lock()  # for the packed weights, and the sessions
        self._idle: list[Session] = []
        self._alone = Exclusive("the engine's adapters")

    @property
    def lowered(self) -> LoweredGraph:
        """The layers that it runs."""
        return self._plans.net

    @property
    def sizes(self) -> ProgramSizes:
        """What its programs take."""
        return sizes_of(self._plans, self._plans_of(len(self.recomputations) - 1))

    @cached_property
    def recomputations(self) -> tuple[Recomputation, ...]:
        """What computing activations again for the gradients may save, nothing first, then ever less memory."""
        return self._plans.recomputations()

    def recompute(self, number: int) -> None:
        """Do so from now on as one of `recomputations` says, the last where there are fewer; no result changes."""
        with self._lock:
            plans = self._plans_of(number)
            if plans is not self._plans:
                self._plans = plans
                self._recomputing = {min(number, len(self.recomputations) - 1): plans}
                self._idle.clear()

    def _plans_of(self, number: int) -> Plans:
        """Return the plans of one of `recomputations`."""
        number = min(number, len(self.recomputations) - 1) if number else 0
        if number not in self._recomputing:
            segments = self.recomputations[number].segments
            self._recomputing[number] = self._plans.recomputing(segments)
        return self._recomputing[number]

    def footprint(self, samples: int, threads: int, *, training: bool, recomputation: int = 0) -> Footprint:
        """Return what memory a caller takes for batches of so many samples on so many threads."""
        return footprint(self._plans_of(recomputation), samples, threads, training)

    @property
    def weights(self) -> Mapping[str, FloatArray]:
        """The initializers in use, those that reference rows read included: of an adapted weight, its base."""
        return self._packed.values

    def set_weights(self, weights: Mapping[str, FloatArray]) -> None:
        """Replace initializers (ONNX layout); the others keep their values, and calls under way all of theirs.

        An array of the engine's own type is kept as it is, so it must not be written to afterwards.

        Raises
        ------
        ShapeError, DTypeError
            If a name is unknown, a shape differs or a value is not numeric.
        UnsupportedError
            If the program was made from one of them, as from the limits of a Clip: `changed` says which.
        """
        for name, value in weights.items():
            check_numbers("set_weights", name, value)
            known = self.weights.get(name)
            if known is None or known.shape != np.shape(value):
                want = "a weight or bias of a layer" if known is None else f"of shape {known.shape}"
                raise ShapeError(f"set_weights: `{name}` must be {want}; got shape {np.shape(value)}")
        self._check_folded(weights)
        with self._lock:
            self._packed = self._packed.changed(dict(weights))

    def changed(self, weights: Mapping[str, Array]) -> list[str]:
        """Return which of these initializers are others than the program was made from: it cannot take them."""
        own = ((name, weights.get(name, kept), kept) for name, kept in self._folded.items())
        return [name for name, value, kept in own if value is not kept and not _same(value, kept)]

    def _check_folded(self, weights: Mapping[str, Array]) -> None:
        if changed := self.changed(weights):
            raise UnsupportedError(f"set_weights: {changed} must be what the network was compiled with")

    def logits(self, x: Array, weights: Mapping[str, Array] | None = None) -> FloatArray:
        """Return the outputs (N, classes) for samples (N, ...), float or uint8.

        Parameters
        ----------
        x : array (N, ...)
        weights : mapping of str to array, optional
            Initializers, by `set_weights` from now on: those that are other arrays than were given last.

        Raises
        ------
        ShapeError, DTypeError
            If the samples do not fit the network.
        BusyError
            If the engine computes adapters and another thread is using it.
        """
        x = self._border.samples("logits", x)
        out = np.empty((len(x), self.classes), self._dtype)

        with self._use("logits"):
            session = self._take(False, weights)
            if len(x):
                session.run(x, out, out, None, FORWARD)
            self._give_back(session)
        return out

    def loss_and_grad(
        self,
        x: Array,
        y: Array,
        loss: str | Callable[[FloatArray, Array], tuple[float, FloatArray]] = "cross_entropy",
        weights: Mapping[str, Array] | None = None,
    ) -> tuple[float, FloatArray, dict[str, FloatArray]]:
        """Return the mean loss of a batch, its outputs, and the gradient of each trainable initializer.

        Parameters
        ----------
        x : array (N, ...)
        y : int array (N,) or float array (N, classes)
            Labels or rows of targets. Rows of targets are weights of -log softmax, already divided by N for the mean:
            they carry label smoothing and class weights.
        loss : "cross_entropy", "cross_entropy_last", "mean_squared_error", "binary_cross_entropy", or callable
            Where a sample has several axes, the classes of a cross entropy are the first, or the last.
            "mean_squared_error" is the mean over all entries of (output - y)^2. Rows of "binary_cross_entropy" are
            signed weights, positive for yes, already divided by the number of answers. A callable takes (outputs, y)
            and returns the loss and its gradient with respect to the outputs; it costs a second forward pass.
        weights : mapping of str to array, optional
            See `logits`.

        Returns
        -------
        value : float
        outputs : (N, classes) array
        gradients : dict of str to array
            By initializer, and by ``<weight>:<factor>`` for adapters.

        Raises
        ------
        ShapeError, DTypeError, DomainError
            If samples, targets or loss do not fit.
        UnsupportedError
            If nothing is trainable.
        BusyError
            If the engine computes adapters and another thread is using it.
        """
        x = self._border.samples("loss_and_grad", x)
        if not (self._plans.trainable or self._plans.adapters):
            raise UnsupportedError("loss_and_grad: the engine must have trainable weights; got none")
        out, losses = np.empty((len(x), self.classes), self._dtype), np.zeros(len(x))
        given = None if callable(loss) else self._built_in(loss, y, out)

        value, total = None, None
        with self._use("loss_and_grad"):
            session = self._take(True, weights)
            if given is not None:
                targets, task = given
            else:
                assert callable(loss)  # else it is built in
                if len(x):
                    session.run(x, out, out, None, FORWARD)
                value, bar = loss(out, y)
                targets, task = self._fitting(bar, out), Task("given", True)
            if len(x):
                total = session.run(x, targets, out, losses, task)
            gradients = self._gradients(total)
            self._give_back(session)
        return float(losses.sum()) if value is None else value, out, gradients

    def _built_in(self, loss: str, y: Array, out: Array) -> tuple[FloatArray, Task]:
        """Return the rows of targets of a loss that the engine has, and what to do with them."""
        check_choice("loss_and_grad", "loss", loss, BUILT_IN)
        rows = self._targets(y, len(out)) if loss == "cross_entropy" else check_numbers("loss_and_grad", "y", y)
        scale = 1.0 / max(out.size, 1) if loss == "mean_squared_error" else 1.0
        return self._fitting(rows, out), Task(loss, True, scale)

    def _fitting(self, targets: Array, out: Array) -> FloatArray:
        """Return rows of targets as the kernels read them."""
        targets = np.ascontiguousarray(targets, self._dtype)
        if targets.shape != out.shape:
            raise ShapeError(f"loss_and_grad: `y` must have shape {out.shape}; got {targets.shape}")
        return targets

    def _targets(self, y: Array, samples: int) -> FloatArray:
        """Return rows of targets: those given, or 1 / N at each label."""
        y = np.asarray(y)
        if y.dtype.kind == "f":
            return y
        if y.shape != (samples,) or y.dtype.kind not in "iu":
            raise ShapeError(f"loss_and_grad: `y` must be {samples} labels; got {y.dtype} of shape {y.shape}")
        if y.size and y.astype(np.uint64).max() >= self.classes:  # a negative one wraps to a huge one
            raise ShapeError(f"loss_and_grad: `y` must lie in 0..{self.classes - 1}; got {y.min()}..{y.max()}")
        targets = np.zeros((samples, self.classes), self._dtype)
        targets[np.arange(samples), y] = 1.0 / max(samples, 1)
        return targets

    def _use(self, function: str) -> AbstractContextManager[object]:
        """Return the context of a call: for this thread alone where there are adapters."""
        return self._alone.take(function) if self._plans.adapters else SHARED

    # A session is given back where all went well: one that failed is left to the threads that may still be in it.
    def _take(self, training: bool, weights: Mapping[str, Array] | None) -> Session:
        """Return a session that nobody uses, on the weights in use, the given ones from now on."""
        with self._lock:
            self._check_folded(weights or {})
            changed = self._packed.differing(weights) if weights is not None else {}
            if changed:
                self.set_weights(changed)
            packed = self._packed
            packed.fill()
            session = next((one for one in self._idle if one.threads == self.threads), None)
            if session is not None:
                self._idle.remove(session)
                session.use(packed)
            else:
                self._idle.clear()  # what was made for other threads
                session = Session(self._plans, packed, self._factors.addresses, self.threads)
            if not (packed.prepared[training] or self._plans.adapters):
                session.prepare(training)
                packed.prepared[training] = True
            packed.users += 1
            return session

    def _give_back(self, session: Session) -> None:
        with self._lock:
            session.packed.users -= 1
            if len(self._idle) < MOST_IDLE and session.plans is self._plans:  # `recompute` may have been called since
                self._idle.append(session)

    def _gradients(self, total: Array | None) -> dict[str, FloatArray]:
        """Return each gradient in ONNX layout, zero for an empty batch."""
        if total is None:
            self._factors.theta_bar.fill(0)
        found = gradients_of(self._plans, self.weights, total)
        factors = self._factors.gradients()
        return {**found, **factors} if found else factors


def _same(a: Array, b: Array) -> bool:
    return np.array_equal(a, b, equal_nan=np.asarray(b).dtype.kind == "f")
