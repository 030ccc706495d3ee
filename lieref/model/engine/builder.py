"""A program under construction: its tensors, and the gradients that have come together so far.

Backward, every tensor receives contributions from the layers that read it: a gradient computed by instructions, or,
through a residual sum, another tensor's gradient as it is. The last contribution also applies the derivative of the
tensor's own clamp, so what is stored is the gradient before the activation.

A tensor that a concatenation reads may be a slice of its output: written where it comes to stand, never copied.
"""

from __future__ import annotations

from itertools import accumulate

from lieref.model.engine.channel import copy_pixels
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layer import Epilogue, FusedLayer
from lieref.model.engine.lowered import LoweredGraph
from lieref.model.engine.tensor import Place, Tensor
from lieref.model.engine.weights import Storage


class Builder:
    """What the instructions of a program are made with.

    Attributes
    ----------
    net : LoweredGraph
    storage : Storage
    samples : int
        How many a pass takes at once.
    tensors : dict of str to Tensor
        Those of the forward pass.
    bars : dict of str to Tensor
        Sum of the gradients that have reached a tensor; after the last, the gradient before its own clamp. Those of
        tensors whose layers have passed theirs on are not in it.
    needed : set of str
        Tensors that depend on a trainable weight: those whose gradient is wanted.
    start : int
        Instructions of the forward pass before those of the first layer.
    edges : list of int
        How many there are up to the end of each layer.
    """

    def __init__(self, net: LoweredGraph, storage: Storage, samples: int) -> None:
        self.net = net
        self.storage = storage
        self.samples = samples
        self.tensors: dict[str, Tensor] = {}
        self.bars: dict[str, Tensor] = {}
        self.needed: set[str] = set()
        self.start = 0
        self.edges: list[int] = []
        for layer in net.layers:
            if set(layer.inputs) & self.needed or storage.trainable.intersection(layer.trained):
                self.needed.add(layer.out)
        readers = [name for layer in net.layers if layer.out in self.needed for name in layer.inputs]
        self._unread = {name: readers.count(name) for name in self.needed}
        self._clamps = {layer.out: layer.clamp for layer in net.layers}
        self._joined: dict[str, tuple[str, int]] = {}
        self._wholes: dict[str, Tensor] = {}
        for layer in net.layers:
            if layer.kind == "concat":
                self._join(layer)

    def _join(self, layer: FusedLayer) -> None:
        """Let the layers before a concatenation write where their outputs come to stand in it.

        Only where all are whole vectors, for a layer writes its padding too. The input and the output of the network
        stay what they are; what is joined twice is copied the second time. Where nothing else reads them and all
        have one clamp, its derivative is applied to the gradient of the whole.
        """
        names = (layer.x, *layer.others)
        channels = [self.net.sizes[name][0] for name in names]
        if any(count % self.storage.pad(1) for count in channels):
            return
        own = {one.out: one for one in self.net.layers}
        alone = {name for name in own if name != self.net.logits and self._writes_itself_alone(own[name])}
        free = alone - self._joined.keys()
        for name, first in zip(names, accumulate(channels, initial=0), strict=False):
            if name in free - self._joined.keys():
                self._joined[name] = layer.out, first
        read = [name for one in self.net.layers for name in one.inputs]
        clamps = {self._clamps.get(name) for name in names}
        if len(clamps) == 1 and all(name in free and read.count(name) == 1 for name in names):
            self._clamps |= {layer.out: clamps.pop(), **dict.fromkeys(names, None)}

    def _writes_itself_alone(self, layer: FusedLayer) -> bool:
        """Return whether a layer of whole vectors writes no more than them in each pixel.

        A concatenation of others does: the padding of its parts. A constant is copied in lines of pixels.
        """
        parts = [self.net.sizes[name][0] for name in (layer.x, *layer.others)] if layer.kind == "concat" else []
        return layer.kind != "constant" and not any(count % self.storage.pad(1) for count in parts)

    def tensor(self, name: str, bare: bool = False) -> Tensor:
        """Return a tensor of the size of `name`, new or a slice of what it is joined to; a bare one has no padding.

        A gradient has the pixels of its tensor, so that all layouts of a weight order its inputs in one way.
        """
        channels, height, width = self.net.sizes[name]
        known = self.tensors.get(name)
        if known is None and name in self._wholes:
            return self._wholes[name]
        if known is None and name in self._joined:
            into, first = self._joined[name]
            self._wholes[into] = whole = self.tensor(into)
            return whole.slice(channels, first, name)
        pixel = known.pixel if known else channels if bare else self.storage.pad(channels)
        width = self.samples if self.net.flat else width
        return Tensor(channels, height, width, pixel, name=f"gradient of {name}" if known else name)

    def target(self, name: str, over: Tensor | None = None) -> tuple[Tensor, Epilogue]:
        """Return a tensor for the gradient of `name`, and what adds what there is of it so far.

        It is a new one, or `over`, a gradient that no later instruction reads: where no other tensor's is it too and it
        has the same pixels, it may be overwritten, pixel by pixel, and takes no more memory through the cache.
        """
        epilogue = Epilogue(aux=self.bars.get(name), mask=self._mask(name))
        if over is None or over.pixel != self.tensors[name].pixel or any(map(over.meets, self.bars.values())):
            over = self.tensor(name)
        self.bars[name] = over
        return over, epilogue

    def own_gradient(self, name: str, g: Tensor) -> Tensor | None:
        """Return the gradient of `name` so far, to which another is then added in its place, number by number of g.

        None where there is none yet, it is another tensor's too, or g itself, or the derivative of a clamp is due.
        """
        found, last = self.bars.get(name), self._unread[name] == 1
        others = [g, *(bar for other, bar in self.bars.items() if other != name)]
        if found is None or (last and self._clamps[name]) or any(map(found.meets, others)):
            return None
        self._unread[name] -= 1
        return found

    def add_gradient(self, name: str, g: Tensor) -> list[Instruction]:
        """Return the instructions that add g itself to the gradient of a tensor; none where it is the only summand.

        One with other pixels than the tensor's is copied: the tensor's may have room for what joins it to others.
        """
        mask, aux = self._mask(name), self.bars.get(name)
        if mask is None and aux is None and g.pixel == self.tensors[name].pixel:
            self.bars[name] = g
            return []
        target = self.bars[name] = self.tensor(name)
        return copy_pixels(self.storage, Place(g), Place(target), Epilogue(aux=aux, mask=mask))

    def start_backward(self) -> list[Instruction]:
        """Return the instructions that apply the derivative of the outputs' own clamp to the gradient of the loss."""
        name = self.net.logits
        clamp = self._clamps[name]
        if not clamp:
            return []
        g, self.bars[name] = self.bars[name], self.tensor(name)
        mask = (self.tensors[name], *clamp)
        return copy_pixels(self.storage, Place(g), Place(self.bars[name]), Epilogue(mask=mask))

    def _mask(self, name: str) -> tuple[Tensor, float, float] | None:
        """Return what applies the clamp's derivative, on the last contribution to a tensor."""
        self._unread[name] -= 1
        clamp = self._clamps[name]
        return (self.tensors[name], *clamp) if clamp and self._unread[name] == 0 else None
