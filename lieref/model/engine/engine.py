"""Run a plan: weights in, outputs, losses and gradients out, over threads that write no memory of another."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from lieref._check import check_choice, check_int, check_shape
from lieref._types import Array, FloatArray
from lieref.errors import DTypeError, ShapeError, UnsupportedError
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.isa import available
from lieref.kernel.simd.machine_code import Library
from lieref.kernel.simd.machine_code import library as load_library
from lieref.kernel.simd.memory import address_of, aligned
from lieref.kernel.simd.row import float_bits
from lieref.model.engine import reference_rows
from lieref.model.engine.factors import Factors
from lieref.model.engine.fusion import Adapter
from lieref.model.engine.lower import lower
from lieref.model.engine.lowered import LoweredGraph
from lieref.model.engine.parts import parts, passes
from lieref.model.engine.plan import Plan, make_plan
from lieref.model.engine.script import Runner, Script
from lieref.model.engine.winograd_rows import WINOGRAD
from lieref.model.engine.workspace import ONCE, Entry, PackedWeights, Workspace
from lieref.model.graph import Graph

MOST_JOBS = 32
"""Scripts that are kept, the last made: one for each batch size, element type and loss, with and without gradients."""


@dataclass(frozen=True)
class Job:
    """What a run does, written down for one number of samples.

    Attributes
    ----------
    prepare : Script
        Fills the packed weights that are computed from others.
    stages : list of list of Script
        One stage after the other, the scripts of a stage on a thread each: the samples of each thread, what makes
        gradients of their sums.
    accumulators : int64 array
        How many parts, and where the accumulators of each are.
    """

    prepare: Script
    stages: list[list[Script]]
    accumulators: Array


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
        Initializers whose gradient is wanted: weights and biases of Conv, Gemm and MatMul.
    logits : str
        Tensor that is the result, (N, classes).
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
        (N, ...) of floats to one row of outputs a sample, `trainable` or `adapters` names what the engine cannot train,
        or compiled code is switched off (NUMBA_DISABLE_JIT=1).
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
    net = lower(graph.with_initializers({}), logits)  # its tensors are the engine's own: `set_weights` changes them
    adapters = adapters or {}
    known = {name for layer in net.layers for name in (layer.weight, layer.bias)}
    refused = (trainable - known) | {name for layer in net.layers for name in layer.fixed if name in trainable}
    if refused:
        rule = "weights or biases of layers, and read by nothing else"
        raise UnsupportedError(f"compile_graph: `trainable` must be {rule}; got {sorted(refused)}")
    for name, adapter in adapters.items():
        layers = [layer for layer in net.layers if name in (layer.weight, layer.bias, *layer.fixed)]
        kind = layers[0].kind if len(layers) == 1 and layers[0].weight == name else ""
        if not (kind == "depthwise" or (kind == "conv" and layers[0].groups == 1 and adapter.form != "channel")):
            rule = "adapt the weight of one layer that is dense or depthwise"
            raise UnsupportedError(f"compile_graph: `adapters` must {rule}; got {name!r}")
        if adapter.row_scale is not None:
            check_shape("compile_graph", f"row_scale of {name}", adapter.row_scale, (layers[0].channels,))
    library = load_library(check_choice("compile_graph", "isa", isa or isa_module.best().name, available()), dtype)
    return Engine(net, library, trainable - set(adapters), adapters, threads, winograd)


class Engine:
    """Computes outputs, losses and gradients of one network.

    One engine is used by one caller at a time; its own threads are its business.

    Attributes
    ----------
    weights : dict of str to array
        The initializers in use, as `set_weights` left them, those that reference rows read included: of an adapted
        weight, its base.
    parameters : FlatParams
        Live factors of the fused adapters, ``<weight>:<factor>``, zero until written; see `Adapter` for shapes.
    threads : int
        At most so many; may be changed before the first call.
    classes : int
        Outputs of one sample.
    output_shape : tuple of int
        Their shape in the graph: (classes,), or (classes, 1, 1) of an image of one pixel.
    """

    def __init__(
        self, net: LoweredGraph, library: Library, trainable: frozenset[str], adapters: dict[str, Adapter],
        threads: int, winograd: str,
    ) -> None:  # fmt: skip
        self._net = net
        self._trainable = trainable
        self._adapters = adapters
        self._library = library
        self._dtype = np.dtype(library.dtype)
        self._winograd = winograd
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._process = os.getpid()
        self._others: list[Future[None]] = []
        self._at_work: tuple[Array | None, ...] = ()  # what the threads may still use after an interruption
        self._plans: dict[int, Workspace] = {}
        self._accumulators: list[Array] = []
        self._jobs: dict[tuple[int, bool, str, bool], Job] = {}
        self._runner = Runner(library)
        self._loads = [
            {name: library.address(f"{name}_{source}") for name in ("load", "load3")}
            for source in (library.dtype, "uint8")
        ]
        self._losses = {name: library.address(name) for name in ("logits", "cross_entropy", "squared_error", "given")}
        initializers = net.graph.initializers
        constants = {name for layer in net.layers for name in reference_rows.constants(layer, net.graph)}
        names = {name for layer in net.layers for name in layer.initializers} | constants
        self.weights = {name: np.array(initializers[name], self._dtype) for name in names}
        initializers.update({name: self.weights[name] for name in constants})
        self.classes = net.sizes[net.logits][0]
        self.output_shape = net.output_shape
        self._shape = net.graph.inputs[0].shape[1:]
        plan = self._make_plan(1)
        self._factors = Factors(plan.storage.fused, library.dtype)
        self._packed = PackedWeights(plan, library.dtype, self._factors.addresses)
        self._packed.pack(self.weights, self.weights)
        self._plans[1] = Workspace(plan, library.dtype, self._packed)
        self.parameters = self._factors.parameters

    def set_weights(self, weights: dict[str, FloatArray]) -> None:
        """Replace initializers (ONNX layout); the others keep their values.

        Raises
        ------
        ShapeError, DTypeError
            If a name is unknown, a shape differs or a value is not numeric.
        """
        for name, value in weights.items():
            _check_numbers("set_weights", name, value)
            known = self.weights.get(name)
            if known is None or known.shape != np.shape(value):
                want = "a weight or bias of a layer" if known is None else f"of shape {known.shape}"
                raise ShapeError(f"set_weights: `{name}` must be {want}; got shape {np.shape(value)}")
        for name, value in weights.items():
            self.weights[name][...] = value
        self._packed.pack(self.weights, weights)

    def logits(self, x: Array) -> FloatArray:
        """Return the outputs (N, classes) for samples (N, ...), float or uint8.

        Raises
        ------
        ShapeError, DTypeError
            If the samples do not fit the network.
        """
        x = self._samples("logits", x)
        out = np.empty((len(x), self.classes), self._dtype)
        self._pass(x, out, out, None, "logits", 1.0, False)
        return out

    def loss_and_grad(
        self, x: Array, y: Array, loss: str | Callable[[FloatArray, Array], tuple[float, FloatArray]] = "cross_entropy"
    ) -> tuple[float, FloatArray, dict[str, FloatArray]]:
        """Return the mean loss of a batch, its outputs, and the gradient of each trainable initializer.

        Parameters
        ----------
        x : array (N, ...)
        y : int array (N,) or float array (N, classes)
            Labels or rows of targets. Rows of targets are weights of -log softmax, already divided by N for the mean:
            they carry label smoothing and class weights.
        loss : "cross_entropy", "mse", or callable
            "mse" is the mean over all entries of (output - y)^2. A callable takes (outputs, y) and returns the loss
            and its gradient with respect to the outputs; it costs a second forward pass.

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
        """
        x = self._samples("loss_and_grad", x)
        out = np.empty((len(x), self.classes), self._dtype)
        value: float | None = None
        scale = 1.0
        if callable(loss):
            self._pass(x, out, out, None, "logits", 1.0, False)
            value, bar = loss(out, y)
            targets, kernel = np.ascontiguousarray(bar, self._dtype), "given"
        elif check_choice("loss_and_grad", "loss", loss, ("cross_entropy", "mse")) == "mse":
            y = _check_numbers("loss_and_grad", "y", y)
            targets, kernel, scale = np.ascontiguousarray(y, self._dtype), "squared_error", 1.0 / max(out.size, 1)
        else:
            targets, kernel = self._targets(y, len(x)), "cross_entropy"
        if targets.shape != out.shape:
            raise ShapeError(f"loss_and_grad: `y` must have shape {out.shape}; got {targets.shape}")
        losses = np.zeros(len(x))
        gradients = self._pass(x, out, targets, losses, kernel, scale, True)
        return float(losses.sum()) if value is None else value, out, gradients

    def _targets(self, y: Array, samples: int) -> FloatArray:
        """Return rows of targets: those given, or 1 / N at each label."""
        y = np.asarray(y)
        if y.dtype.kind == "f":
            return np.ascontiguousarray(y, self._dtype)
        if y.shape != (samples,) or y.dtype.kind not in "iu":
            raise ShapeError(f"loss_and_grad: `y` must be {samples} labels; got {y.dtype} of shape {y.shape}")
        if y.size and y.astype(np.uint64).max() >= self.classes:  # a negative one wraps to a huge one
            raise ShapeError(f"loss_and_grad: `y` must lie in 0..{self.classes - 1}; got {y.min()}..{y.max()}")
        targets = np.zeros((samples, self.classes), self._dtype)
        targets[np.arange(samples), y] = 1.0 / max(samples, 1)
        return targets

    def _samples(self, function: str, x: Array) -> Array:
        """Return the samples contiguous, native, and float or uint8."""
        x = _check_numbers(function, "x", x)
        if x.shape[1:] != self._shape:
            raise ShapeError(f"{function}: `x` must have shape (N, {', '.join(map(str, self._shape))}); got {x.shape}")
        return np.ascontiguousarray(x, None if x.dtype == np.uint8 else self._dtype)

    def _pass(
        self, x: Array, out: Array, targets: Array, losses: Array | None, kernel: str, scale: float, training: bool
    ) -> dict[str, FloatArray]:
        """Run all samples through a program, in fixed parts, and return the gradients."""
        if training and not (self._trainable or self._adapters):
            raise UnsupportedError("loss_and_grad: the engine must have trainable weights; got none")
        if len(x) == 0:
            return self._gradients(None) if training else {}
        key = len(x), x.dtype == np.uint8, kernel, training
        job = self._jobs.get(key)
        if job is None:
            if len(self._jobs) >= MOST_JOBS:
                self._jobs.pop(next(iter(self._jobs)))
            job = self._jobs[key] = self._make_job(*key)
        if self._others:
            self._wait()
        self._at_work = x, out, targets, losses
        self._runner.request[:] = (
            address_of(x), address_of(targets), address_of(out), 0 if losses is None else address_of(losses),
            float_bits(scale),
        )  # fmt: skip
        if not self._adapters and not self._packed.prepared[training]:
            job.prepare()
            self._packed.prepared[training] = True
        for scripts in job.stages:
            self._share(scripts)
        return self._gradients(self._accumulators[0]) if training else {}

    def _make_job(self, samples: int, bytes_in: bool, kernel: str, training: bool) -> Job:
        """Return the scripts for a number of samples, their element type and a loss."""
        kernels = {**self._loads[bytes_in], "loss": self._losses[kernel]}
        gradient_bytes = self._workspace(1).plan.storage.gradient_size * self._dtype.itemsize
        edges = parts(samples, self._net.flat, gradient_bytes)
        spans = [passes(begin, end, self._net.flat) for begin, end in edges]
        sums = [address_of(self._sums(part)) if training else 0 for part in range(len(edges))]
        accumulators = np.array([len(edges), *sums], np.int64)
        workers = min(self.threads, len(edges))
        work: list[list[Entry]] = []
        for worker in range(workers):
            mine = [(span, sums[part]) for part in range(worker, len(edges), workers) for span in spans[part]]
            calls = [self._workspace(span[2]).call(worker, training) for span, _ in mine]
            work.append([call.entry(span, kernels, where) for call, (span, where) in zip(calls, mine, strict=True)])
        prepare = [self._packed.prepare[training].entry(ONCE)]
        finish = [self._packed.finish.entry(ONCE, None, sums[0], address_of(accumulators))] if training else []
        first = prepare if self._adapters else []  # factors change before every run, other weights seldom
        # One thread goes through all of it at once; several meet before and after the samples.
        stages = [[[*first, *work[0], *finish]]] if workers == 1 else [[first], work, [finish]]
        scripts = [[Script(self._runner, entries) for entries in stage if entries] for stage in stages]
        return Job(Script(self._runner, prepare), [stage for stage in scripts if stage], accumulators)

    def _share(self, scripts: list[Script]) -> None:
        """Run each script on a thread, the first on this one."""
        if len(scripts) == 1:
            scripts[0]()
            return
        if self._pool is None or self._process != os.getpid():  # a fork has no threads of its parent
            self._pool, self._process = ThreadPoolExecutor(self.threads - 1), os.getpid()
        self._others = [self._pool.submit(script) for script in scripts[1:]]
        try:
            scripts[0]()
        finally:
            others = self._wait()
        for other in others:
            other.result()

    def _wait(self) -> list[Future[None]]:
        """Wait for the other threads, those that an interrupted run has left too, and return what they did."""
        wait(self._others)
        others, self._others = self._others, []
        return others

    def _sums(self, part: int) -> Array:
        """Return the gradient accumulators of a part."""
        while part >= len(self._accumulators):
            self._accumulators.append(aligned(self._workspace(1).plan.storage.gradient_size + 64, self._dtype.name))
        return self._accumulators[part]

    def _make_plan(self, samples: int) -> Plan:
        return make_plan(self._net, self._library, self._trainable, self._adapters, self._winograd, samples)

    def _workspace(self, samples: int) -> Workspace:
        """Return the plan for this many samples at once, made on first use."""
        if samples not in self._plans:
            plan = self._make_plan(samples)
            first = self._plans[1].plan.storage
            # Layouts depend on channels and kernels alone, so that one copy of the weights serves every plan.
            assert plan.storage.sizes == first.sizes
            self._plans[samples] = Workspace(plan, self._dtype.name, self._packed)
        return self._plans[samples]

    def _gradients(self, total: Array | None) -> dict[str, FloatArray]:
        """Return each gradient in ONNX layout, zero for an empty batch."""
        found: dict[str, FloatArray] = {}
        for accumulator in self._workspace(1).plan.storage.accumulators:
            shape = self.weights[accumulator.name].shape
            part = np.zeros(shape, self._dtype) if total is None else total[accumulator.index].reshape(shape)
            found[accumulator.name] = found[accumulator.name] + part if accumulator.name in found else part
        if total is None:
            self._factors.theta_bar.fill(0)
        factors = self._factors.gradients()
        return {**found, **factors} if found else factors


def _check_numbers(function: str, name: str, value: Array) -> Array:
    """Return the value as an array; raise `DTypeError` unless it holds numbers."""
    value = np.asarray(value)
    if value.dtype.kind not in "fiu":
        raise DTypeError(f"{function}: `{name}` must be numbers; got {value.dtype}")
    return value
