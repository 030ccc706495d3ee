"""A network on its way into the engine: fused layers, the sizes of the tensors between them, and how both grow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import UnsupportedError
from lieref.model.engine.layer import FusedLayer
from lieref.model.graph import Graph, Node

Size = tuple[int, int, int]
"""Channels, height and width of one sample."""

TRIED = 3
"""Samples that a node is tried with, to see whether they go through it one by one: no usual slice, axis or factor of
the batch. Numbers are compared with those of each sample alone (`lower_reference`), places with those of the first,
moved on by whole samples (`lower_views`)."""


@dataclass(frozen=True)
class View:
    """A tensor of the graph whose numbers stand elsewhere in one that the engine holds.

    Attributes
    ----------
    base : str
        Name of that tensor.
    places : int array
        Of one sample: for each number its place in the base, row by row of (channels, height, width). It has the shape
        of a sample where the samples are the first axis, else one axis.
    step : int
        Numbers of one sample of the base.
    full : int array or None
        Where the samples are not the first axis: the places of `TRIED` samples in the shape of the tensor, those of
        each `step` behind those of the one before.
    """

    base: str
    places: Array
    step: int
    full: Array | None = None

    @classmethod
    def of(cls, base: str, full: Array, step: int) -> View | None:
        """Return the view of the places of `TRIED` samples, None where the samples do not stand in one way."""
        if full.size and full.ndim > 1 and len(full) == TRIED:  # the samples are the first axis, as of most
            one = full[0].copy()  # and not the places of all samples
            apart = all(np.array_equal(full[sample], one + step * sample) for sample in range(1, TRIED))
            if apart and one.min() >= 0 and one.max() < step:
                return cls(base, one, step)
        samples, flat = full.ravel() // step, full.ravel()
        each = [flat[samples == sample] - step * sample for sample in range(TRIED)]
        if not full.size or sum(len(one) for one in each) != full.size:
            return None
        if any(not np.array_equal(one, each[0]) for one in each):
            return None
        return cls(base, each[0], step, full)

    @property
    def size(self) -> int:
        """Numbers of one sample."""
        return self.places.size

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor, with `TRIED` samples."""
        return (TRIED, *self.places.shape) if self.full is None else self.full.shape

    @property
    def all_places(self) -> Array:
        """The places of `TRIED` samples, whatever axis they are."""
        if self.full is not None:
            return self.full
        return self.places + self._samples(TRIED, self.places.ndim)

    def places_of(self, count: int) -> Array | None:
        """Return the places of another number of samples, None where they do not follow from those of `TRIED`.

        They do where the samples are an axis, or a factor of one: that is (before, samples, behind) then.
        """
        if self.full is None:
            return self.places + self._samples(count, self.places.ndim)
        shape, samples = self.full.shape, self.full // self.step
        axes = [axis for axis in range(len(shape)) if (samples != samples.take([0], axis)).any()]
        if len(axes) != 1:
            return None
        (axis,) = axes
        along = np.moveaxis(samples, axis, 0).reshape(shape[axis], -1)[:, 0]
        behind = int(np.argmax(along != along[0]))
        if shape[axis] % (TRIED * behind):
            return None
        apart = self.full.reshape(*shape[:axis], -1, TRIED, behind, *shape[axis + 1 :])
        one, rest = apart.take([0], axis + 1), len(shape) - axis
        if not np.array_equal(apart, one + self._samples(TRIED, rest)):
            return None
        return (one + self._samples(count, rest)).reshape(*shape[:axis], -1, *shape[axis + 1 :])

    def _samples(self, count: int, behind: int) -> Array:
        """Return how far samples are from the first, along an axis that has so many behind it."""
        return self.step * np.arange(count).reshape(-1, *[1] * behind)

    @property
    def in_order(self) -> bool:
        """Whether the numbers of a sample stand in the order of the graph, all of them."""
        return (
            self.full is None and self.size == self.step and np.array_equal(self.places.ravel(), np.arange(self.size))
        )

    def elsewhere(self, base: str, places: Array, step: int) -> View:
        """Return the view of another tensor, the numbers of a sample, in the order of the graph, at other places."""
        if self.full is None:
            return View(base, places.reshape(self.places.shape), step)
        full, samples = np.empty(self.full.shape, np.int64), self.full // self.step
        for sample in range(TRIED):
            full[samples == sample] = places.ravel() + sample * step
        return View(base, places.ravel(), step, full)

    def rows(self) -> View | None:
        """Return the first number of each row along the last axis, None where a row is not of one sample."""
        if self.full is None:
            return View(self.base, self.places[..., 0], self.step) if self.places.ndim else None
        samples = self.full // self.step
        if not samples.ndim or (samples != samples[..., :1]).any():
            return None
        return View.of(self.base, self.full[..., 0], self.step)


@dataclass
class LoweredGraph:
    """The layers of a network and the sizes of the tensors between them.

    Attributes
    ----------
    graph : Graph
        What is lowered.
    input : str
        Name of the tensor that is fed.
    logits : str
        Name of the tensor that is the result, after renaming by fusion.
    output_shape : tuple of int
        Shape of one sample of it, as ONNX sees it.
    layers : list of FusedLayer
    sizes : dict of str to (channels, height, width)
    shapes : dict of str to tuple of int
        Shape of one sample of every tensor of the graph, as ONNX sees it.
    alias : dict of str to str
        Tensors that another one stands for, after fusion and reshaping.
    views : dict of str to View
        Tensors whose numbers stand in other places of another one, as long as no layer wants them in theirs.
    unheld : dict of str to UnsupportedError
        Tensors that the engine cannot hold, and why: they are computed again for each tensor behind them.
    flat : bool
        Whether a sample is a vector, and every layer works at each by itself: the samples of a batch are then the
        pixels of one image.
    types : mapping of str to dtype
        Of the tensors of the graph. Integers and truth values are held as floats, exactly.
    known : dict of str to (array, array)
        Tensors that depend on the number of samples alone, for `TRIED` of them and for one more.
    arrangements : dict
        What has been moved to where: the tensors that hold it.
    joined : set of str
        Outputs of nodes that joined the layer of another.
    looked_up : list of (int array, int)
        Numbers of a sample that are numbers of rows of a table, and how many rows it has.
    folded : set of str
        Initializers whose numbers the layers have been made from: others would make other layers.
    """

    graph: Graph
    input: str = ""
    logits: str = ""
    output_shape: tuple[int, ...] = ()
    layers: list[FusedLayer] = field(default_factory=list)
    sizes: dict[str, Size] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    alias: dict[str, str] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    unheld: dict[str, UnsupportedError] = field(default_factory=dict)
    flat: bool = False
    types: Mapping[str, np.dtype[Any]] = field(default_factory=dict)
    known: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    arrangements: dict[tuple[object, ...], str] = field(default_factory=dict)
    joined: set[str] = field(default_factory=set)
    looked_up: list[tuple[Array, int]] = field(default_factory=list)
    folded: set[str] = field(default_factory=set)

    def is_float(self, name: str) -> bool:
        """Return whether a tensor of the graph holds floats."""
        return self.types.get(name, self.graph.dtype).kind == "f"

    def forget_places(self) -> None:
        """Forget where numbers stand, once all layers are there: of long sequences these take much memory."""
        self.alias.update((name, seen.base) for name, seen in self.views.items() if name != seen.base)
        self.views.clear()
        self.arrangements.clear()
        self.known.clear()

    def view(self, name: str) -> View | None:
        """Return a tensor of the graph as a view of one that the engine holds, None where it holds none."""
        if name in self.views:
            seen = self.views[name]
            return replace(seen, base=self.resolve(seen.base))
        base = self.resolve(name)
        if base not in self.sizes or name not in self.shapes:
            return None
        shape = self.shapes[name]
        size = math.prod(shape)
        return View(base, np.arange(size).reshape(shape), size)

    def base(self, name: str) -> str:
        """Return the tensor of the engine that a tensor of the graph is, or is a view of."""
        return self.resolve(self.views[name].base if name in self.views else name)

    def resolve(self, name: str) -> str:
        """Return the tensor that carries `name`, through fusion and reshaping."""
        while name in self.alias:
            name = self.alias[name]
        return name

    def constant(self, node: Node, position: int) -> Array | None:
        """Return a constant input of a node, or None where it is absent."""
        if position >= len(node.inputs) or not node.inputs[position]:
            return None
        found = self.graph.initializers.get(node.inputs[position])
        if found is None:
            raise unsupported(node, f"input {position} must be a constant")
        return found

    def fold(self, node: Node, position: int) -> Array | None:
        """Return a constant input of a node whose numbers a layer is made from, or None where it is absent."""
        found = self.constant(node, position)
        if found is not None:
            self.folded.add(node.inputs[position])
        return found

    def producer(self, name: str) -> FusedLayer | None:
        """Return the layer that writes a tensor, or None for the input."""
        return next((layer for layer in self.layers if layer.out == name), None)

    def size(self, node: Node, position: int = 0) -> tuple[str, Size]:
        """Return the tensor that an input of the node stands for and its size.

        Raises
        ------
        UnsupportedError
            If the engine does not hold that tensor.
        """
        name = self.resolve(node.inputs[position])
        if name not in self.sizes:
            raise unsupported(node, f"input {node.inputs[position]!r} must be a tensor that the engine holds")
        return name, self.sizes[name]

    def append(self, layer: FusedLayer, shape: tuple[int, ...]) -> None:
        """Add a layer whose output has, for one sample, this shape as ONNX sees it.

        Raises
        ------
        UnsupportedError
            If there is no number in it.
        """
        height, width = layer.size(*self.sizes[layer.x][1:])
        if min(layer.channels, height, width) < 1:
            raise UnsupportedError(f"compile_graph: tensor {layer.out!r} must hold numbers; got shape {shape}")
        self.layers.append(layer)
        self.sizes[layer.out] = (layer.channels, height, width)
        self.shapes[layer.out] = shape

    def give(self, layer: FusedLayer, node: Node, like: View) -> None:
        """Add a layer that computes the output of a node, its numbers in the order of `like`, which has their shape."""
        (out,) = node.outputs
        layer.out = out if _as_the_graph(like, layer.channels) else f"{out}.rows"
        self.append(layer, ())
        del self.shapes[layer.out]
        self.name(out, replace(like, base=layer.out))

    def name(self, out: str, seen: View) -> None:
        """Let a tensor of the graph be a view."""
        if seen.full is None:
            self.shapes[out] = seen.places.shape
        if seen.base == out:
            return
        if _as_the_graph(seen, self.sizes[seen.base][0]):
            self.alias[out] = seen.base
        else:
            self.views[out] = seen

    def read_only_by(self, name: str, node: Node) -> bool:
        """Return whether `node` is the only reader of a tensor of the engine."""
        readers = [n for n in self.graph.nodes if any(self.base(i) == name for i in n.inputs if i)]
        others = [n for n in readers if all(self.base(o) != name for o in n.outputs if o)]  # not what joined it
        return others == [node] and all(self.base(out) != name for out in self.graph.outputs)

    def free(self, name: str) -> str:
        """Return a name for a tensor that none has had."""
        number = 0
        while (found := f"{name}{number or ''}") in self.sizes or found in self.alias:
            number += 1
        return found

    def take(self, name: str) -> bool:
        """Let a tensor that was moved for a node alone become another one; return whether it is such."""
        keys = [key for key, held in self.arrangements.items() if held == name]
        if not keys or any(name in layer.inputs for layer in self.layers):
            return False
        for key in keys:
            del self.arrangements[key]
        return True

    def rename(self, layer: FusedLayer, node: Node, like: View) -> None:
        """Let a layer write the output of a node, its numbers in the order of `like`, and not what it wrote."""
        (out,) = node.outputs
        new = out if _as_the_graph(like, layer.channels) else f"{out}.rows"
        self.alias[layer.out] = new
        self.joined.add(out)
        self.sizes[new] = self.sizes.pop(layer.out)
        layer.out = new
        self.name(out, replace(like, base=new))


def _as_the_graph(seen: View, channels: int) -> bool:
    """Return whether numbers stand in the graph's order, its first axis, where there are several, being channels."""
    shape = seen.places.shape
    return seen.in_order and (len(shape) < 2 or channels == shape[0])


def unsupported(node: Node, rule: str) -> UnsupportedError:
    """Return the error for a node the engine has no compiled form of."""
    return UnsupportedError(f"compile_graph: node {node.name!r} ({node.op}): {rule}")


def rows_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of what losses read of one sample: where all numbers are along one axis, that alone.

    (C, 1, 1) and (1, C) are (C,); one number without an axis is (1,).
    """
    count = math.prod(shape)
    return (count,) if count == max(shape, default=1) else shape


def as_size(shape: tuple[int, ...]) -> Size:
    """Return (channels, height, width) of one sample (F,), (C, L) or (C, H, W); axes between these are rows."""
    return (shape[0], 1, 1) if len(shape) == 1 else (shape[0], math.prod(shape[1:-1]), shape[-1])
