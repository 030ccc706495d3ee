"""The plan of a network: its forward rows, the row of the loss, its backward rows.

Backward, every tensor collects contributions from the layers that read it: a gradient computed by rows, or, through a
residual sum, another tensor's gradient as it is. The last contribution also applies the derivative of the tensor's
own clamp, so what is stored is the gradient before the activation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lieref.kernel.simd.flat import FLAT_FIELDS
from lieref.kernel.simd.machine_code import Library
from lieref.kernel.simd.sample import LOAD_FIELDS, OUTPUT_FIELDS
from lieref.model.engine import channel_rows, conv_rows, pointwise_rows, reference_rows, winograd_rows
from lieref.model.engine.fusion import Adapter
from lieref.model.engine.layer import Epilogue, Layer
from lieref.model.engine.lowered import Network, by_channel
from lieref.model.engine.program import Place, Program, Row, Tensor, assemble
from lieref.model.engine.tiling import pad_channels
from lieref.model.engine.weights import Storage


@dataclass(frozen=True)
class Plan:
    """Programs of one network for one number of samples at once.

    Attributes
    ----------
    forward : Program
    training : Program or None
        None where nothing is trainable.
    prepare, prepare_training, finish : Program
        What fills packed weights from factors and other weights for each of the two, and what makes the gradients from
        the sums over the samples of each part.
    storage : Storage
        What the packed weights and the gradient accumulators hold.
    """

    forward: Program
    training: Program | None
    prepare: Program
    prepare_training: Program
    finish: Program
    storage: Storage


def make_plan(
    net: Network, library: Library, trainable: frozenset[str], adapters: dict[str, Adapter], winograd: str, samples: int
) -> Plan:
    """Return the plan; `samples` at once where a sample is a vector, else 1."""

    def builder() -> _Builder:
        names = trainable | set(adapters)
        indices = {layer.weight: layer.index for layer in net.layers if layer.index is not None}
        storage = Storage(library.isa.name, library.dtype, names, adapters, indices, winograd=winograd)
        return _Builder(net, storage, samples)

    def flat(kernel: str, count: int) -> Row:
        return Row(kernel, FLAT_FIELDS, {"count": count}, {})

    def prepare(storage: Storage) -> Program:
        order = [flat("gather", storage.factor_size)] if adapters else []
        return assemble([*order, *storage.prepare], library)

    def finish(storage: Storage) -> Program:
        rows = [flat("sum_parts", storage.gradient_size), *storage.finish]
        if adapters:
            numbers = sum(math.prod(f.shape) for fused in storage.fused.values() for f in fused.factors() if f.name)
            rows += [flat("clear", storage.factor_size), *storage.collect, flat("scatter", numbers)]
        return assemble(rows, library)

    inference = builder()
    forward = assemble([*inference.forward(), inference.output("logits")], library)
    storage, training = inference.storage, None
    if storage.trainable:
        # The same packed forward weights come first in both, so one copy of the weights serves both programs.
        learner = builder()
        training = assemble([*learner.forward(), *learner.backward()], library)
        storage = learner.storage
    return Plan(forward, training, prepare(inference.storage), prepare(storage), finish(storage), storage)


class _Builder:
    """Makes the rows of one program."""

    def __init__(self, net: Network, storage: Storage, samples: int) -> None:
        self.net = net
        self.storage = storage
        self.samples = samples
        self.tensors: dict[str, Tensor] = {}
        self.bars: dict[str, Tensor] = {}  # sum of the contributions so far; at the end, before the activation
        self.clamps = {layer.out: layer.clamp for layer in net.layers}
        self.needed = self._tensors_with_trainable_weights()
        readers = [name for layer in net.layers if layer.out in self.needed for name in layer.inputs]
        self.unread = {name: readers.count(name) for name in self.needed}

    def _tensors_with_trainable_weights(self) -> set[str]:
        """Return the tensors that depend on a trainable weight."""
        needed: set[str] = set()
        for layer in self.net.layers:
            if set(layer.inputs) & needed or {layer.weight, layer.bias} & self.storage.trainable:
                needed.add(layer.out)
        return needed

    def _tensor(self, name: str, bare: bool = False) -> Tensor:
        """Return a new tensor of the size of `name`; a bare one has no padded channels."""
        channels, height, width = self.net.sizes[name]
        pixel = channels if bare else pad_channels(channels, self.storage.isa, self.storage.dtype)
        return Tensor(channels, height, self.samples if self.net.flat else width, pixel)

    def _concat_tensor(self, layer: Layer) -> Tensor:
        """Return a new tensor for a concatenation."""
        t = self._tensor(layer.out)
        t.pixel = pointwise_rows.concat_width(self.storage, [self.net.sizes[name][0] for name in layer.inputs])
        return t

    def output(self, kernel: str) -> Row:
        """Return the row that reads the outputs: their copy to the caller or the loss."""
        z, g = self.tensors[self.net.logits], self.bars.get(self.net.logits)
        ints = {"samples": self.samples, "classes": z.channels, "in_sample": z.pixel, "g_sample": g.pixel if g else 0}
        return Row(kernel, OUTPUT_FIELDS, ints, {"in": Place(z), **({"g": Place(g)} if g else {})})

    def forward(self) -> list[Row]:
        """Return the rows from the sample to the outputs."""
        net = self.net
        readers = [layer for layer in net.layers if net.input in layer.inputs]
        bare = net.sizes[net.input][0] < winograd_rows.LEAST_CHANNELS and all(
            r.kind == "conv" and r.groups == 1 and r.add != net.input for r in readers
        )
        self.tensors[net.input] = self._tensor(net.input, bare)
        found = [self._load()]
        for layer in net.layers:
            x = self.tensors[layer.x]
            out = self._concat_tensor(layer) if layer.kind == "concat" else self._tensor(layer.out)
            self.tensors[layer.out] = out
            epilogue = Epilogue(self._bias(layer, out), self.tensors[layer.add] if layer.add else None, layer.clamp)
            if layer.kind == "reference":
                found.append(reference_rows.forward(layer, net.graph, self.tensors, out, net.flat))
            elif layer.kind == "maximum":
                found += channel_rows.maximum_forward(layer, self.storage, x, out)
            elif layer.kind == "identity":
                found += channel_rows.identity_rows(self.storage, x, out, epilogue)
            elif layer.kind == "activation":
                found += pointwise_rows.activation_forward(layer, self.storage, x, out)
            elif layer.kind == "product":
                found += pointwise_rows.multiply_forward(self.storage, x, self.tensors[layer.others[0]], out)
            elif layer.kind == "concat":
                found += pointwise_rows.concat_forward(self.storage, [self.tensors[n] for n in layer.inputs], out)
            elif by_channel(layer, self.net):
                found += channel_rows.forward(layer, self.storage, x, out, epilogue)
            else:
                found += conv_rows.forward(layer, self.storage, x, out, epilogue)
        return found

    def _bias(self, layer: Layer, out: Tensor) -> int:
        """Return where the bias of a layer is packed, -1 for none."""
        if layer.affine is not None:
            return self.storage.add_derived(layer.affine, 1, layer.channels, out.pixel)
        return self.storage.add_bias(layer.bias, layer.channels, out.pixel) if layer.bias else -1

    def _load(self) -> Row:
        image = self.tensors[self.net.input]
        channels, height, width = self.net.sizes[self.net.input]
        ints = {"samples": 1, "sample": channels * height * width, "channels": channels, "rows": height, "cols": width}
        if self.net.flat:  # a sample is contiguous on both sides
            ints |= {"samples": self.samples, "channels": 1, "cols": channels, "out_pixel": 1}
            ints["out_sample"] = image.pixel
        name = "load3" if channels == image.pixel == 3 and not self.net.flat else "load"
        return Row(name, LOAD_FIELDS, ints, {"out": Place(image)})

    def backward(self) -> list[Row]:
        """Return the rows from the outputs to the gradients."""
        name = self.net.logits
        self.bars[name] = self._tensor(name)
        found = [self.output("logits"), self.output("loss")]
        clamp = self.clamps[name]
        if clamp:
            before = self._tensor(name)
            mask = (self.tensors[name], *clamp)
            found += channel_rows.identity_rows(self.storage, self.bars[name], before, Epilogue(mask=mask))
            self.bars[name] = before
        for layer in reversed(self.net.layers):
            if layer.out in self.needed:
                found += self._layer_backward(layer)
        return found

    def _layer_backward(self, layer: Layer) -> list[Row]:
        """Return the rows of one layer: gradients of its weight and bias, contributions to what it reads."""
        found: list[Row] = []
        x, g = self.tensors[layer.x], self.bars[layer.out]
        if layer.kind == "reference":
            return self._add_reference_gradient(layer, g)
        if layer.weight in self.storage.trainable:
            rows = channel_rows if by_channel(layer, self.net) else conv_rows
            found += rows.weight_gradient(layer, self.storage, x, g)
        if layer.bias in self.storage.trainable:
            found += conv_rows.bias_gradient(layer, self.storage, g)
        if layer.add in self.needed:
            found += self._add_gradient(layer.add, g)
        if layer.kind in ("product", "concat"):
            return found + self._add_gradients_of_several(layer, g)
        if layer.x in self.needed:
            found += self._add_layer_gradient(layer, g)
        return found

    def _target(self, name: str) -> tuple[Tensor, Epilogue]:
        """Return a new tensor for the gradient of `name`, and what adds what there is of it so far."""
        epilogue = Epilogue(aux=self.bars.get(name), mask=self._mask(name))
        self.bars[name] = self._tensor(name)
        return self.bars[name], epilogue

    def _add_gradients_of_several(self, layer: Layer, g: Tensor) -> list[Row]:
        """Return the rows that carry g to each tensor a product or a concatenation reads."""
        found: list[Row] = []
        start = 0
        for name, other in zip(layer.inputs, reversed(layer.inputs), strict=True):
            if name in self.needed:
                target, epilogue = self._target(name)
                if layer.kind == "product":
                    found += pointwise_rows.multiply_gradient(self.storage, g, self.tensors[other], target, epilogue)
                else:
                    found += pointwise_rows.concat_gradient(self.storage, g, start, target, epilogue)
            start += self.net.sizes[name][0]
        return found

    def _add_layer_gradient(self, layer: Layer, g: Tensor) -> list[Row]:
        """Return the rows that carry g through a layer to the tensor it reads."""
        name, out = layer.x, self.tensors[layer.out]
        if layer.kind == "identity":
            return self._add_gradient(name, g)
        if layer.kind == "maximum":
            target = self._tensor(name)
            rows = channel_rows.maximum_gradient(layer, self.storage, self.tensors[name], out, g, target)
            return [*rows, *self._add_gradient(name, target)]
        target, epilogue = self._target(name)
        if layer.kind == "activation":
            return pointwise_rows.activation_gradient(layer, self.storage, self.tensors[name], g, target, epilogue)
        if by_channel(layer, self.net):
            return channel_rows.input_gradient(layer, self.storage, g, target, epilogue)
        return conv_rows.input_gradient(layer, self.storage, g, target, epilogue)

    def _add_reference_gradient(self, layer: Layer, g: Tensor) -> list[Row]:
        """Return the row that calls the operator's VJP, and those that add its results to the gradients."""
        targets = {i: self._tensor(name) for i, (name, _) in layer.reads.items() if name in self.needed}
        out = self.tensors[layer.out]
        found = [reference_rows.gradient(layer, self.net.graph, self.tensors, out, g, targets, self.net.flat)]
        for position, target in targets.items():
            found += self._add_gradient(layer.reads[position][0], target)
        return found

    def _add_gradient(self, name: str, g: Tensor) -> list[Row]:
        """Return the rows that add g itself to the gradient of a tensor; none where it is the only summand."""
        mask, aux = self._mask(name), self.bars.get(name)
        if mask is None and aux is None:
            self.bars[name] = g
            return []
        target = self.bars[name] = self._tensor(name)
        return channel_rows.identity_rows(self.storage, g, target, Epilogue(aux=aux, mask=mask))

    def _mask(self, name: str) -> tuple[Tensor, float, float] | None:
        """Return what applies the clamp's derivative, on the last contribution to a tensor."""
        self.unread[name] -= 1
        clamp = self.clamps[name]
        return (self.tensors[name], *clamp) if clamp and self.unread[name] == 0 else None
