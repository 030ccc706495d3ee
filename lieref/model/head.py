"""A new last layer: scores of other classes, from a tensor of the network that holds one vector a sample.

The network ends there. What lay behind the tensor is gone, unless another output needs it, and a Gemm with a weight
(K, F) and a bias (K,) makes the scores; a Softmax follows where the network ended in one, so that probabilities stay
probabilities. The graph holds zeros for both: what is trained is added to them, and so is the weight itself.

They start at zero, as in [Kolesnikov20]: every class then has the same score, whatever the scale of the features, and
the first step moves no adapter, for the gradient that reaches the features is W^T y_bar = 0. On ResNet-8
with five new classes a uniform start within 1 / sqrt(F) gave 0.1 points less to 1 more on 500 images (three seeds, a
spread of 1), and 0.4 to 0.7 less on 5,000.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lieref._check import check_bool, check_int
from lieref._text import close_names
from lieref._types import Array
from lieref.errors import DomainError, DTypeError, LierefError, ShapeError
from lieref.model.graph import Graph, Node
from lieref.model.layer import LINEAR_OPERATORS
from lieref.model.packing import own_names
from lieref.model.scores import logits_name
from lieref.model.shapes import infer_specs
from lieref.model.simplify import batches_of, drop_unread, in_dtype, simplify
from lieref.op.registry import resolve_attributes
from lieref.op.spec import TensorSpec

NAME = "new_head"
"""Of its node; its tensors begin with it."""

LEARNING_RATE = 0.8
"""Times 1 / sqrt(F), the learning rate: F weights that move by h each move a score by about h sqrt(F) times a feature.

Measured on a ladder of six rates, with AdamW and 80 to 630 steps: the best rates lie around 1 for 32 features of
ResNet-8; for 64 of them at 0.03 to 0.3 alone and at 0.1 beside LieRA or LoRA, where 0.3 cost 2.6 points with 5,000
images and lost the base with 500; at 0.01 to 0.03 for 784 pixels of digits and for 4,096 features.
"""

MOST_SHOWN = 5
"""So many tensors are named in an error."""


@dataclass(frozen=True)
class NewHead:
    """A new last layer for other classes, which `Model.attach` puts in the place of the network's own.

    It makes scores W f + b of the features f, with a weight (K, F) and a bias (K,) that start at zero [Kolesnikov20];
    a Softmax follows where the network ended in one.

    Parameters
    ----------
    classes : int or sequence of str
        How many classes, at least 2, or their names.
    features : str, optional
        The tensor of the file that it reads, with one vector a sample: (N, F), or with further axes of one entry. By
        default the input of the last linear layer.
    pool : bool
        Read a tensor (N, F, *positions), such as an image, too: averaged over its positions.

    Raises
    ------
    DTypeError, DomainError
        If an argument is of the wrong kind, or there are fewer than two classes.
    """

    classes: int | Sequence[str]
    features: str | None = None
    pool: bool = False

    def __post_init__(self) -> None:
        check_bool("NewHead", "pool", self.pool)
        if self.features is not None and not isinstance(self.features, str):
            raise DTypeError(f"NewHead: `features` must be the name of a tensor; got {self.features!r}")
        names = self.names
        if names is None:
            check_int("NewHead", "classes", self.classes, low=2)
        elif len(names) < 2 or len(set(names)) < len(names):
            raise DomainError(f"NewHead: `classes` must be two or more different names; got {list(names)}")

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the classes, None where only their number is known."""
        if isinstance(self.classes, (int, np.integer)):
            return None
        named = isinstance(self.classes, Sequence) and not isinstance(self.classes, str)
        if not named or not all(isinstance(name, str) for name in self.classes):
            raise DTypeError(f"NewHead: `classes` must be a number or a sequence of names; got {self.classes!r}")
        return tuple(self.classes)

    @property
    def count(self) -> int:
        """Number of classes."""
        return int(self.classes) if isinstance(self.classes, (int, np.integer)) else len(self.classes)


@dataclass(frozen=True)
class Head:
    """A new head in its place.

    Attributes
    ----------
    features : str
        Tensor of the file that it reads.
    size : int
        F, numbers of a sample in it.
    classes : int
        K.
    names : tuple of str or None
    pool : bool
        As it was asked for.
    positions : tuple of int or None
        Extents that are averaged over, empty where none are.
    replaces : tuple of str
        Linear layers of the file that are gone.
    weight, bias : str
        Initializers, (K, F) and (K,).
    nodes : tuple of Node
        From the features, by their name in the file, to the output.
    dtype : numpy.dtype
        Of the features in the file.
    renamed : str
        What the file's first output is called inside, where it is still computed; else empty.
    """

    features: str
    size: int
    classes: int
    names: tuple[str, ...] | None
    pool: bool
    positions: tuple[int | None, ...]
    replaces: tuple[str, ...]
    weight: str
    bias: str
    nodes: tuple[Node, ...] = field(repr=False)
    dtype: np.dtype[Any]
    renamed: str = ""

    @property
    def tensors(self) -> tuple[str, str]:
        """Names of the initializers."""
        return self.weight, self.bias

    @property
    def learning_rate(self) -> float:
        """Learning rate for AdamW that works without tuning."""
        return LEARNING_RATE / math.sqrt(self.size)

    def initializers(self) -> dict[str, Array]:
        """Return them in the type of the file, zeros."""
        weight, bias = (self.classes, self.size), (self.classes,)
        return {self.weight: np.zeros(weight, self.dtype), self.bias: np.zeros(bias, self.dtype)}

    def to_dict(self) -> dict[str, Any]:
        """Return what makes it again, plain JSON values."""
        return {
            "classes": self.classes,
            "features": self.features,
            "size": self.size,
            "pool": self.pool,
            "weight": self.weight,
            "bias": self.bias,
        }

    def describe(self) -> str:
        """Return a line on what it reads and replaces."""
        over = " x ".join("any" if n is None else str(n) for n in self.positions)
        averaged = f", averaged over {over} positions" if self.positions else ""
        behind = f", in place of {', '.join(self.replaces)}" if self.replaces else ""
        return f"{self.classes} classes from {self.features} ({self.size} numbers a sample{averaged}){behind}"


def with_new_head(raw: Graph, plain: Graph, wanted: NewHead) -> tuple[Graph, Head]:
    """Return the graph in plain form that ends in a new head, and the head.

    Parameters
    ----------
    raw : Graph
        As read from the file.
    plain : Graph
        The same in plain form, its floats in the type it computes in.
    wanted : NewHead

    Raises
    ------
    DomainError
        If there is no such tensor, it does not depend on the samples, or there is no last layer.
    ShapeError
        If it is not one vector a sample.
    """
    name = wanted.features or default_features(raw, plain)
    _check_name(raw, plain, name)
    first, *others = raw.outputs
    cut = drop_unread(replace(raw, outputs=(name, *others)))
    gone = {node.name for node in raw.nodes if node.op in LINEAR_OPERATORS} - {node.name for node in cut.nodes}
    linear = [node.name for node in plain.nodes if node.name in gone]
    taken = {cut.inputs[0].name, *cut.initializers, *raw.outputs, *(out for node in cut.nodes for out in node.outputs)}
    renamed = _free(taken, f"{first}_") if any(first in node.outputs for node in cut.nodes) else ""
    if renamed:
        cut = _rename(cut, first, renamed)
    cut = simplify(cut)
    features, positions = _vector(cut, plain, name, wanted.pool)
    softmax = logits_name(plain) != plain.outputs[0]
    read = renamed if name == first and renamed else name
    plainly = _nodes(read, first, features.ndim, bool(positions), softmax, taken, {node.name for node in raw.nodes})
    nodes = tuple(replace(node, attrs=resolve_attributes(node.op, node.attrs, raw.opset)) for node in plainly)
    gemm = next(node for node in nodes if node.op == "Gemm")
    head = Head(
        name, int(features.shape[1] or 0), wanted.count, wanted.names, wanted.pool, positions, tuple(linear),
        gemm.inputs[1], gemm.inputs[2], nodes, features.dtype, renamed,
    )  # fmt: skip
    return _joined(cut, head, plain.dtype), head


def default_features(raw: Graph, plain: Graph) -> str:
    """Return the tensor of the file that the last linear layer reads.

    Raises
    ------
    DomainError
        If there is none, more than one, or the file has no such tensor.
    """
    reaching = plain.ancestors(plain.outputs[0])
    linear = {
        node.name: [name for name in node.inputs[:2] if name not in plain.initializers]
        for node in plain.nodes
        if node.op in LINEAR_OPERATORS and node.name in reaching and set(node.inputs[:2]) & set(plain.initializers)
    }
    last = [name for name in linear if not plain.descendants(name) & set(linear)]
    read = {name for node in last for name in linear[node]}
    known = {raw.inputs[0].name, *(out for node in raw.nodes for out in node.outputs)} - own_names(raw)
    if len(read) != 1 or not read <= known:
        why = f"the last layers are {', '.join(last)}" if len(read) > 1 else "the model has no last linear layer"
        raise DomainError(f"attach: `features` must name the tensor a new head reads, for {why}; {_vectors(plain)}")
    return read.pop()


def _check_name(raw: Graph, plain: Graph, name: str) -> None:
    """Raise `DomainError` unless the file has a tensor of that name that depends on the samples."""
    fed = {raw.inputs[0].name}
    for node in raw.nodes:
        if fed.intersection(node.inputs):
            fed.update(node.outputs)
    fed -= own_names(raw)
    if name in fed:
        return
    gives = {node.name: node.outputs[0] for node in raw.nodes}
    if name in raw.initializers:
        what = f"{name!r}, which is a constant"
    elif name in gives:
        what = f"the node {name!r}, which gives {gives[name]!r}"
    else:
        close = close_names(name, sorted(fed), MOST_SHOWN, alike=0.5)
        what = f"{name!r}" + (f", close to {', '.join(close)}" if close else f"; {_vectors(plain)}")
    raise DomainError(f"attach: `features` must name a tensor that the model computes of a sample; got {what}")


def _vector(cut: Graph, plain: Graph, name: str, pool: bool) -> tuple[TensorSpec, tuple[int | None, ...]]:
    """Return what the features are, the cut graph's output, and the extents that are averaged over.

    Raises
    ------
    ShapeError
        If they are not one vector a sample.
    """
    sizes = batches_of(cut)
    few, many = (infer_specs(cut, size)[cut.outputs[0]] for size in sizes)
    sample = few.shape[1:]
    apart = (few.shape[:1], many.shape[:1]) == ((sizes[0],), (sizes[1],)) and sample == many.shape[1:]
    shown = " x ".join("any" if n is None else str(n) for n in (sample if apart else few.shape))
    if few.dtype.kind != "f":
        raise ShapeError(f"attach: `features` must hold floats; {name} holds {few.dtype}")
    flat = apart and len(sample) > 0 and sample[0] is not None
    if flat and all(extent == 1 for extent in sample[1:]):
        return few, ()
    if not (flat and pool):
        image = f"; pool=True, --pool, averages its {sample[0]} channels" if flat and len(sample) > 2 else ""
        raise ShapeError(
            f"attach: `features` must be one vector a sample; {name} is {shown or 'one number'}{image}; "
            f"{_vectors(plain)}"
        )
    return few, tuple(sample[1:])


def _vectors(plain: Graph) -> str:
    """Return which tensors hold one vector a sample, in words, the last ones first."""
    try:
        specs = infer_specs(plain, batches_of(plain)[0])
    except LierefError:
        return "name it by features=, --features"
    made = [node.outputs[0] for node in reversed(plain.nodes)]
    floats = [(name, specs[name].shape) for name in made if specs[name].dtype.kind == "f"]
    found = [f"{name} ({shape[1]})" for name, shape in floats if len(shape) == 2 and None not in shape]
    return f"vectors are {', '.join(found[:MOST_SHOWN])}" if found else "the model has no tensor that is"


def _nodes(
    features: str, output: str, ndim: int, pooled: bool, softmax: bool, taken: set[str], names: set[str]
) -> list[Node]:
    """Return the nodes of a head, from the features to the output; `taken` are tensors, `names` nodes of the file."""
    nodes, read = [], features

    def add(op: str, part: str, out: str, *more: str, **attrs: int) -> None:
        nonlocal read
        nodes.append(Node(_free(names, f"{NAME}.{part}" if part else NAME), op, (read, *more), (out,), dict(attrs)))
        read = out

    if pooled:
        add("GlobalAveragePool", "pool", _free(taken, f"{NAME}.pooled"))
    if ndim > 2:
        add("Flatten", "flatten", _free(taken, f"{NAME}.features"), axis=1)
    tensors = (_free(taken, f"{NAME}.weight"), _free(taken, f"{NAME}.bias"))
    add("Gemm", "", _free(taken, f"{NAME}.scores") if softmax else output, *tensors, transB=1)
    if softmax:
        add("Softmax", "softmax", output, axis=1)
    return nodes


def _joined(cut: Graph, head: Head, dtype: np.dtype[np.floating]) -> Graph:
    """Return a graph in plain form, which gives the features first, with a head behind it."""
    first, *rest = head.nodes
    # In plain form the features may have the name of what they are a copy of.
    nodes = (replace(first, inputs=(cut.outputs[0], *first.inputs[1:])), *rest)
    joined = replace(
        cut,
        nodes=(*cut.nodes, *nodes),
        outputs=(nodes[-1].outputs[0], *cut.outputs[1:]),
        initializers={**cut.initializers, **head.initializers()},
    )
    return in_dtype(joined, dtype)


def _rename(graph: Graph, old: str, new: str) -> Graph:
    """Return the graph with a tensor that it computes called otherwise."""

    def called(names: Iterable[str]) -> tuple[str, ...]:
        return tuple(new if name == old else name for name in names)

    nodes = tuple(replace(node, inputs=called(node.inputs), outputs=called(node.outputs)) for node in graph.nodes)
    return replace(graph, nodes=nodes, outputs=called(graph.outputs))


def _free(taken: set[str], name: str) -> str:
    """Return a name that is not taken, the given one if it can be, and take it."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
