"""The plan of a network: the instructions of its forward pass, of the loss, and of its backward pass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lieref._threads import make_lock
from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.machine_code import Library
from lieref.kernel.simd.tiles import LoadTile, NoTile, OutputTile, Tile, WidthTile
from lieref.model.engine.adapter import Adapter
from lieref.model.engine.builder import Builder
from lieref.model.engine.conv import bias_gradient
from lieref.model.engine.group import alone, grouped
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.kinds import KINDS
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.lowered import LoweredGraph, rows_shape
from lieref.model.engine.memories import Memory
from lieref.model.engine.parts import FLAT_SAMPLES, parts
from lieref.model.engine.program import Program, assemble
from lieref.model.engine.recompute import NOTHING, Pass, Recomputation, Segments, choices, recomputed
from lieref.model.engine.tensor import Place, Tensor
from lieref.model.engine.weights import Storage
from lieref.model.engine.winograd import LEAST_CHANNELS


@dataclass(frozen=True)
class Plan:
    """Programs of one network for one number of samples at once, or, where a sample is an image, for groups of any.

    Attributes
    ----------
    forward : Program
    training : Program or None
        None where nothing is trainable.
    prepare, prepare_training : Program
        What fills packed weights from factors and other weights, for each of the two.
    collect : Program
        What makes the gradients from the sums over the samples of each part: it adds the parts, transforms frequencies,
        and of adapted weights collects the factor gradients and brings them into the caller's order.
    storage : Storage
        What the packed weights and the gradient accumulators hold.
    """

    forward: Program
    training: Program | None
    prepare: Program
    prepare_training: Program
    collect: Program
    storage: Storage


class Plans:
    """The plans of one network, each made when it is first wanted; shared by all who run them.

    Attributes
    ----------
    net : LoweredGraph
    library : Library
    trainable : frozenset of str
        Initializers whose gradient is wanted, but for adapted ones.
    adapters : dict of str to Adapter
    segments : Segments or None
        Layers whose activations are computed again for the gradients; groups of samples are then off. None lets them be
        and computes nothing again.
    """

    def __init__(
        self, net: LoweredGraph, library: Library, trainable: frozenset[str], adapters: dict[str, Adapter],
        winograd: str, segments: Segments | None = None,
    ) -> None:  # fmt: skip
        self.net = net
        self.library = library
        self.trainable = trainable
        self.adapters = adapters
        self._winograd = winograd
        self.segments = segments
        self._lock = make_lock()
        self._plans: dict[int, Plan] = {}

    def get(self, samples: int) -> Plan:
        """Return the plan for this many samples at once."""
        with self._lock:
            if samples not in self._plans:
                plan = make_plan(
                    self.net, self.library, self.trainable, self.adapters, self._winograd, samples, self.segments
                )  # fmt: skip
                # Layouts depend on channels and kernels alone, so that one copy of the weights serves every plan.
                assert all(plan.storage.sizes == known.storage.sizes for known in self._plans.values())
                self._plans[samples] = plan
            return self._plans[samples]

    def program(self, samples: int, training: bool) -> Program:
        """Return the program that runs so many samples at once: where a sample is an image, one serves all numbers."""
        plan = self.get(samples if self.net.flat else 1)
        return plan.training if training and plan.training is not None else plan.forward

    def at_once(self, training: bool) -> int:
        """Return the most samples of a pass."""
        return FLAT_SAMPLES if self.net.flat else self.program(1, training).samples

    def parts(self, samples: int, training: bool) -> list[tuple[int, int]]:
        """Return the parts (begin, end) of a batch."""
        accumulated = self.gradient_size * np.dtype(self.library.dtype).itemsize if training else 0
        shareable = not self.net.flat and not self.program(1, training).functions
        return parts(samples, self.net.flat, accumulated, fewest=1 if shareable else 2)

    def recomputing(self, segments: Segments | None) -> Plans:
        """Return the plans of the same network with other `segments`."""
        return Plans(self.net, self.library, self.trainable, self.adapters, self._winograd, segments)

    def recomputations(self) -> tuple[Recomputation, ...]:
        """Return what may save memory, first nothing, alone where nothing is trained or a sample is a vector."""
        if self.net.flat or not (self.trainable or self.adapters):
            return (NOTHING,)
        b = make_builder(
            self.net, self.library.isa.name, self.library.dtype, self.trainable, self.adapters, self._winograd, 1
        )
        found = choices(b, training_instructions(b))
        return (NOTHING, *found) if self.at_once(True) > 1 else (NOTHING, *found[1:])

    @property
    def gradient_size(self) -> int:
        """Elements of the gradient accumulators of one part."""
        return self.get(1).storage.gradient_size

    def open_kernels(self, bytes_in: bool, loss: str) -> dict[str, int]:
        """Return the addresses of the kernels in `OPEN`, for samples of bytes or of floats and a loss."""
        lanes = self.library.isa.lanes(self.library.dtype)
        load = LoadTile("uint8" if bytes_in else self.library.dtype, lanes)
        tiles: dict[str, Tile] = {"load": load, "load3": load, "output": OutputTile(loss, lanes)}
        return {name: self.library.address(KernelName(name, tile)) for name, tile in tiles.items()}


def make_plan(
    net: LoweredGraph,
    library: Library,
    trainable: frozenset[str],
    adapters: dict[str, Adapter],
    winograd: str,
    samples: int,
    segments: Segments | None = None,
) -> Plan:
    """Return the plan; `samples` at once where a sample is a vector, else 1; `segments` are computed again."""

    def builder() -> Builder:
        return make_builder(net, library.isa.name, library.dtype, trainable, adapters, winograd, samples)

    lanes = WidthTile(library.isa.lanes(library.dtype))

    def flat(family: str, tile: Tile, count: int) -> Instruction:
        return Instruction(KernelName(family, tile), {"count": count}, {})

    def prepare(storage: Storage) -> Program:
        order = [flat("gather", NoTile(), storage.factor_size)] if adapters else []
        return assemble([*order, *storage.prepare], library, storage.memories())

    def collect(storage: Storage) -> Program:
        before, after = [flat("sum_parts", lanes, storage.gradient_size)], []
        if adapters:
            before += [flat("clear", lanes, storage.factor_size)]
            after += [flat("scatter", NoTile(), storage.numbers)]
        return assemble([*before, *storage.collect, *after], library, storage.memories())

    inference = builder()
    forward = _assemble([*forward_instructions(inference), _output(inference, "logits")], inference, library)
    storage, training = inference.storage, None
    if storage.trainable:
        # The same packed forward weights come first in both, so one copy of the weights serves both programs.
        learner = builder()
        instructions = training_instructions(learner)
        if segments:
            instructions = recomputed(Pass(instructions, learner.start, learner.edges), segments)
        training = _assemble(instructions, learner, library, single=segments is not None)
        storage = learner.storage
    return Plan(forward, training, prepare(inference.storage), prepare(storage), collect(storage), storage)


def make_builder(
    net: LoweredGraph, isa: str, dtype: str, trainable: frozenset[str], adapters: dict[str, Adapter], winograd: str,
    samples: int,
) -> Builder:  # fmt: skip
    """Return what the instructions of a network are made with; `isa` is a key of `ISAS`."""
    storage = Storage(isa, dtype, trainable | set(adapters), adapters, winograd=winograd)
    return Builder(net, storage, samples)


def _assemble(instructions: list[Instruction], b: Builder, library: Library, single: bool = False) -> Program:
    """Return the program of samples, `single` ones if so; the caller's arrays are seen from the sample at work on."""
    group = alone(instructions) if b.net.flat or single else grouped(instructions, np.dtype(library.dtype).itemsize)
    samples = b.samples * group.samples
    outputs = samples * b.net.sizes[b.net.logits][0]
    caller = {"images": samples * math.prod(b.net.sizes[b.net.input]), "logits": outputs, "targets": outputs}
    own = {name: Memory(size) for name, size in {**caller, "losses": samples}.items()}
    return assemble(group.instructions, library, {**b.storage.memories(), **own}, group.blocks, group.samples)


def forward_instructions(b: Builder) -> list[Instruction]:
    """Return the instructions from the sample to the outputs."""
    net = b.net
    readers = [layer for layer in net.layers if net.input in layer.inputs]
    bare = (
        not net.flat
        and net.sizes[net.input][0] < LEAST_CHANNELS
        and all(r.kind == "conv" and r.groups == 1 and r.add != net.input for r in readers)
    )
    b.tensors[net.input] = b.tensor(net.input, bare)
    instructions = [_load(b)]
    b.start = len(instructions)
    for layer in net.layers:
        out = b.tensors[layer.out] = b.tensor(layer.out)
        epilogue = Epilogue(_bias(b, layer, out), b.tensors[layer.add] if layer.add else None, layer.clamp, layer.step)
        instructions += KINDS[layer.kind].forward(b, layer, out, epilogue)
        b.edges.append(len(instructions))
    return instructions


def training_instructions(b: Builder) -> list[Instruction]:
    """Return the instructions from the sample to the gradients."""
    return [*forward_instructions(b), *_backward(b)]


def _backward(b: Builder) -> list[Instruction]:
    """Return the instructions from the outputs to the gradients."""
    b.bars[b.net.logits] = b.tensor(b.net.logits)
    instructions = [_output(b, "logits"), _output(b), *b.start_backward()]
    for layer in reversed(b.net.layers):
        if layer.out not in b.needed:
            continue
        g = b.bars.pop(layer.out)
        instructions += KINDS[layer.kind].backward(b, layer, g)
        if layer.bias in b.storage.trainable:
            instructions += bias_gradient(layer, b.storage, g)
        if layer.add in b.needed:
            instructions += b.add_gradient(layer.add, g)
    return instructions


def _bias(b: Builder, layer: FusedLayer, out: Tensor) -> int:
    """Return where the bias of a layer is packed, -1 for none."""
    if layer.affine is not None:
        return b.storage.add_derived(layer.affine, 1, layer.channels, out.pixel)
    return b.storage.add_bias(layer.bias, layer.channels, out.pixel) if layer.bias else -1


def _load(b: Builder) -> Instruction:
    """Return the instruction that copies a sample, or several vectors, into the arena."""
    image = b.tensors[b.net.input]
    channels, height, width = b.net.sizes[b.net.input]
    ints = {"samples": 1, "sample": channels * height * width, "channels": channels, "rows": height, "cols": width}
    ints |= {"image": 0, "out_sample": 0}
    if b.net.flat:  # a sample is contiguous on both sides
        ints |= {"samples": b.samples, "channels": 1, "cols": channels, "out_pixel": 1, "out_sample": image.pixel}
    name = "load3" if channels == image.pixel == 3 and not b.net.flat else "load"
    return Instruction(KernelName(name, None), ints, {"out": Place(image)})


def _output(b: Builder, loss: str = "") -> Instruction:
    """Return what reads the outputs: "logits" for their copy to the caller, by default the loss of the run."""
    z, g = b.tensors[b.net.logits], b.bars.get(b.net.logits)
    shape = rows_shape(b.net.output_shape)
    ints = {"samples": b.samples, "image": 0, "classes": z.channels, "first": shape[0], "last": shape[-1]}
    ints["in_sample"] = z.pixel
    ints["g_sample"] = g.pixel if g else 0
    tile = OutputTile(loss, b.storage.lanes) if loss else None
    places = {"in": Place(z), "g": Place(g)} if g else {"in": Place(z)}
    return Instruction(KernelName("output", tile), ints if g else {**ints, "g": 0}, places)
