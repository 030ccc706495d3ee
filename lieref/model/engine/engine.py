"""Run a plan: weights in, outputs, losses and gradients out, over threads that share nothing."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from lieref._check import check_choice, check_int
from lieref._types import Array, FloatArray
from lieref.errors import DTypeError, ShapeError, UnsupportedError
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.machine_code import Library
from lieref.kernel.simd.machine_code import library as load_library
from lieref.kernel.simd.row import float_bits
from lieref.model.engine import reference_rows
from lieref.model.engine.factors import Factors
from lieref.model.engine.fusion import LowRank
from lieref.model.engine.lower import Network, by_channel, lower
from lieref.model.engine.plan import make_plan
from lieref.model.engine.workspace import Span, Workspace, aligned
from lieref.model.graph import Graph

CHUNKS = 8
"""Most parts a batch is cut into; each has its own gradient accumulators."""

CHUNK_BYTES = 1 << 25
"""Most memory of all parts' accumulators, unless two parts need more."""

CHUNK_SAMPLES = 8
"""Fewest samples of a part, so that adding its accumulators stays cheap; two parts may have half as many."""

FLAT_SAMPLES = 32
"""Where a sample is a vector: the fewest samples of a part, and how many a pass takes at once."""


def compile_graph(
    graph: Graph,
    *,
    trainable: frozenset[str],
    logits: str,
    adapters: dict[str, LowRank] | None = None,
    threads: int = 1,
    winograd: str = "f2",
    dtype: str = "float32",
    isa: str | None = None,
) -> Engine:
    """Return the engine of a network whose BatchNormalization is folded.

    Parameters
    ----------
    graph : Graph
    trainable : frozenset of str
        Initializers whose gradient is wanted: weights and biases of Conv, Gemm and MatMul.
    logits : str
        Tensor that is the result, (N, classes).
    adapters : dict of str to LowRank, optional
        Weights adapted inside the engine: their factors are `Engine.parameters`, their gradients come back in the place
        of the weight's.
    threads : int
        At most this many threads; the result has the same bits for any number.
    winograd : "f2", "f4" or "off"
        Transform for 3x3 convolutions of stride 1: "f2" is as accurate as the direct sum.
    dtype : "float32" or "float64"
    isa : str, optional
        Instruction set, the CPU's widest by default.

    Raises
    ------
    UnsupportedError
        If an operator has no compiled form, or compiled code is switched off (NUMBA_DISABLE_JIT=1).
    DomainError
        If `winograd` or `dtype` is unknown.
    """
    check_choice("compile_graph", "winograd", winograd, ("f2", "f4", "off"))
    check_choice("compile_graph", "dtype", dtype, ("float32", "float64"))
    check_int("compile_graph", "threads", threads, low=1)
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        raise UnsupportedError("compile_graph: compiled code must be allowed; got NUMBA_DISABLE_JIT=1")
    net = lower(graph.with_initializers({}), logits)  # its tensors are the engine's own: `set_weights` changes them
    unknown = trainable - {name for layer in net.layers for name in (layer.weight, layer.bias)}
    if unknown:
        raise UnsupportedError(f"compile_graph: `trainable` must be weights or biases of layers; got {sorted(unknown)}")
    adapters = adapters or {}
    for name in adapters:
        layers = [layer for layer in net.layers if layer.weight == name]
        if len(layers) != 1 or not (layers[0].groups == 1 or by_channel(layers[0], net)):
            rule = "adapt the weight of one layer that is dense or depthwise"
            raise UnsupportedError(f"compile_graph: `adapters` must {rule}; got {name!r}")
    library = load_library(isa or isa_module.best().name, dtype)
    return Engine(net, library, trainable - set(adapters), adapters, threads, winograd)


class Engine:
    """Computes outputs, losses and gradients of one network.

    One engine is used by one caller at a time; its own threads are its business.

    Attributes
    ----------
    weights : dict of str to array
        The initializers in use, as `set_weights` left them, those that reference rows read included: of an adapted
        weight, its base.
    parameters : dict of str to array
        Live factors of the fused adapters, ``<weight>:lora_a`` (rank, I k_h k_w) and ``<weight>:lora_b`` (O, rank):
        views of one flat array, zero until they are written. Gradients under these names are views that the next call
        overwrites.
    theta, theta_bar : flat arrays
        All factors and all their gradients.
    """

    def __init__(
        self, net: Network, library: Library, trainable: frozenset[str], adapters: dict[str, LowRank], threads: int,
        winograd: str,
    ) -> None:  # fmt: skip
        self._net = net
        self._trainable = trainable
        self._adapters = adapters
        self._library = library
        self._dtype = np.dtype(library.dtype)
        self._winograd = winograd
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._plans: dict[int, Workspace] = {}
        self._accumulators: list[Array] = []
        self._addresses: list[int] = []
        self._loads = [
            {name: library.address(f"{name}_{source}") for name in ("load", "load3")}
            for source in (library.dtype, "uint8")
        ]
        self._losses = {name: library.address(name) for name in ("logits", "cross_entropy", "squared_error", "given")}
        self._run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(library.address("run"))
        initializers = net.graph.initializers
        constants = {name for layer in net.layers for name in reference_rows.constants(layer, net.graph)}
        names = {name for layer in net.layers for name in (layer.weight, layer.bias) if name} | constants
        self.weights = {name: np.array(initializers[name], self._dtype) for name in names}
        initializers.update({name: self.weights[name] for name in constants})
        self.classes = net.sizes[net.logits][0]
        self._shape = net.graph.inputs[0].shape[1:]
        self._factors = Factors(self._workspace(1).plan.storage.fused, library.dtype)
        self.parameters = self._factors.parameters
        self.theta, self.theta_bar = self._factors.theta, self._factors.theta_bar

    def set_weights(self, weights: dict[str, FloatArray]) -> None:
        """Replace initializers (ONNX layout); the others keep their values.

        Raises
        ------
        ShapeError
            If a name is unknown or a shape differs.
        """
        for name, value in weights.items():
            known = self.weights.get(name)
            if known is None or known.shape != np.shape(value):
                want = "a weight or bias of a layer" if known is None else f"of shape {known.shape}"
                raise ShapeError(f"set_weights: `{name}` must be {want}; got shape {np.shape(value)}")
        for name, value in weights.items():
            self.weights[name][...] = value
        for workspace in self._plans.values():
            workspace.pack(self.weights, weights)

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

        Raises
        ------
        ShapeError, DTypeError, DomainError
            If samples, targets or loss do not fit.
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
        if y.size and (y.min() < 0 or y.max() >= self.classes):
            raise ShapeError(f"loss_and_grad: `y` must lie in 0..{self.classes - 1}; got {y.min()}..{y.max()}")
        targets = np.zeros((samples, self.classes), self._dtype)
        targets[np.arange(samples), y] = 1.0 / max(samples, 1)
        return targets

    def _samples(self, function: str, x: Array) -> Array:
        """Return the samples contiguous, native, and float or uint8."""
        x = np.asarray(x)
        if x.dtype.kind not in "fiu":
            raise DTypeError(f"{function}: `x` must be numbers; got {x.dtype}")
        if x.shape[1:] != self._shape:
            raise ShapeError(f"{function}: `x` must have shape (N, {', '.join(map(str, self._shape))}); got {x.shape}")
        return np.ascontiguousarray(x, None if x.dtype == np.uint8 else self._dtype)

    def _pass(
        self, x: Array, out: Array, targets: Array, losses: Array | None, kernel: str, scale: float, training: bool
    ) -> dict[str, FloatArray]:
        """Run all samples through a program, in fixed parts, and return the gradients."""
        if training and not (self._trainable or self._adapters):
            raise UnsupportedError("loss_and_grad: the engine must have trainable weights; got none")
        memory = {
            "images": x.ctypes.data, "targets": targets.ctypes.data, "logits": out.ctypes.data,
            "losses": losses.ctypes.data if losses is not None else 0, "scale": float_bits(scale),
        }  # fmt: skip
        kernels = {**self._loads[x.dtype == np.uint8], "loss": self._losses[kernel]}
        jobs = [
            (self._spans(begin, end), self._sums(number) if training else 0)
            for number, (begin, end) in enumerate(self._parts(len(x)))
        ]
        if self._adapters:
            self._factors.gather()
        for size in {span[2] for spans, _ in jobs for span in spans}:
            self._workspace(size).prepare(self._factors.address, training)

        def work(worker: int, workers: int) -> None:
            for spans, sums in jobs[worker::workers]:
                for span in spans:
                    call = self._workspace(span[2]).call(worker, training)
                    call.set({**memory, "gradients": sums})
                    call(span, kernels)

        self._share(work, min(self.threads, len(jobs)))
        if not training:
            return {}
        workspace = self._workspace(jobs[0][0][0][2] if jobs else 1)
        return self._gradients(workspace, tree_sum(self._accumulators[: len(jobs)]))

    def _share(self, work: Callable[[int, int], None], workers: int) -> None:
        """Call work(number, workers) for each worker, the first on this thread."""
        if workers > 1 and self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads - 1)
        others = [self._pool.submit(work, number, workers) for number in range(1, workers)] if self._pool else []
        if workers:
            work(0, workers)
        for other in others:
            other.result()

    def _parts(self, samples: int) -> list[tuple[int, int]]:
        """Return the fixed parts (begin, end) of a batch: they depend on its size and the network alone."""
        smallest = FLAT_SAMPLES if self._net.flat else CHUNK_SAMPLES
        size = self._workspace(1).plan.storage.gradient_size * self._dtype.itemsize
        most = min(CHUNKS, max(2, CHUNK_BYTES // max(size, 1)))
        halves = 0 if self._net.flat else min(2, 2 * samples // smallest)
        count = max(1, min(most, max(samples // smallest, halves)))
        edges = [i * samples // count for i in range(count + 1)]
        return [(a, b) for a, b in pairwise(edges) if b > a]

    def _spans(self, begin: int, end: int) -> list[Span]:
        """Return the passes of a part; their plans exist afterwards."""
        step = FLAT_SAMPLES if self._net.flat else 1
        whole = begin + (end - begin) // step * step
        spans = [(begin, whole, step, 1), (whole, end, end - whole, int(whole == begin))]
        spans = [span for span in spans if span[1] > span[0]]
        for span in spans:
            self._workspace(span[2])
        return spans

    def _sums(self, part: int) -> int:
        """Return the address of the gradient accumulators of a part."""
        while part >= len(self._accumulators):
            self._accumulators.append(aligned(self._workspace(1).plan.storage.gradient_size + 64, self._dtype.name))
            self._addresses.append(self._accumulators[-1].ctypes.data)
        return self._addresses[part]

    def _workspace(self, samples: int) -> Workspace:
        """Return the plan for this many samples at once, made on first use."""
        found = self._plans.get(samples)
        if found is None:
            plan = make_plan(self._net, self._library, self._trainable, self._adapters, self._winograd, samples)
            found = self._plans[samples] = Workspace(plan, self._dtype.name, self._run)
            found.pack(self.weights, self.weights)
        return found

    def _gradients(self, workspace: Workspace, total: Array | None) -> dict[str, FloatArray]:
        """Return each gradient in ONNX layout, zero for an empty batch."""
        factors = self._factors
        factors.gradient_values.fill(0)
        if total is not None:
            workspace.collect({"gradients": self._addresses[0], **factors.addresses})
        found: dict[str, FloatArray] = {}
        for accumulator in workspace.plan.storage.accumulators:
            shape = self.weights[accumulator.name].shape
            part = np.zeros(shape, self._dtype) if total is None else total[accumulator.index].reshape(shape)
            found[accumulator.name] = found[accumulator.name] + part if accumulator.name in found else part
        if self._adapters:
            factors.scatter()
        return found | factors.gradients


def tree_sum(parts: list[Array]) -> Array | None:
    """Return the sum in a fixed tree of neighbours, in place of the first; None for no parts."""
    while len(parts) > 1:
        for a, b in zip(parts[::2], parts[1::2], strict=False):
            np.add(a, b, out=a)
        parts = parts[::2]
    return parts[0] if parts else None
