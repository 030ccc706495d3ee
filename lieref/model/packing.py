"""Networks of several inputs: the numbers of a sample side by side, as one input of floats.

Behind the reader a network has one input. One of several gets a first tensor (N, S) that holds, of each sample, the
numbers of all inputs, in the order of the file; a Slice, a Reshape and where it is no float a Cast make each input of
it. Floats hold 8-bit numbers, booleans and every integer up to 2^24 exactly. The file, and what is merged into it,
keeps its inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lieref._check import check_finite, check_int
from lieref._types import Array
from lieref.errors import DomainError, DTypeError, LierefError, ShapeError, UnsupportedError
from lieref.model.graph import Graph, Node, TensorInfo
from lieref.model.samples import arrange, check_samples, readable
from lieref.op.axes import MOST_IN_A_SAMPLE, check_size
from lieref.op.cast import DTYPES

PACKED = "all inputs"
"""Name of the tensor that holds them, unless the file has one of that name."""

MOST_EXACT = 2**24
"""Integers up to that are floats of 32 bits."""

IMAGE_AXES = 4
"""An input of so many axes may come in another layout; one of fewer has the shape that is declared."""


@dataclass(frozen=True)
class Part:
    """An input in the packed samples.

    Attributes
    ----------
    info : TensorInfo
        The input.
    places : slice
        Which numbers of a sample are its own.
    """

    info: TensorInfo
    places: slice


def parts_of(inputs: Sequence[TensorInfo]) -> tuple[Part, ...]:
    """Return the inputs of a packed graph with their places."""
    found, start = [], 0
    for info in inputs:
        end = start + math.prod(extent or 0 for extent in info.shape[1:])
        found.append(Part(info, slice(start, end)))
        start = end
    return tuple(found)


def bound(inputs: Sequence[TensorInfo], shapes: Mapping[str, Sequence[int]], source: str) -> tuple[TensorInfo, ...]:
    """Return the inputs with the axes that are free in the file as long as was asked for.

    Parameters
    ----------
    inputs : sequence of TensorInfo
    shapes : mapping of str to sequence of int
        Shapes of one sample, by the name of the input.
    source : str
        Name of the file, for messages.

    Raises
    ------
    DomainError
        If there is no input of that name, or an extent is not positive.
    ShapeError
        If a shape contradicts the file.
    """
    for name in shapes:
        if name not in (info.name for info in inputs):
            names = ", ".join(info.name for info in inputs)
            raise DomainError(f"load: `input_shapes` must name inputs of {source}, {names}; got {name!r}")
    found = []
    for info in inputs:
        if info.name in shapes:
            given = tuple(check_int("load", f"input_shapes of {info.name}", n, low=1) for n in shapes[info.name])
            fits = len(given) == len(info.shape) - 1 and all(
                n in (None, m) for n, m in zip(info.shape[1:], given, strict=True)
            )
            if not fits:
                raise ShapeError(
                    f"load: `input_shapes` of {info.name} must fit the input, {readable(info.shape)}; got {given}"
                )
            info = replace(info, shape=(*info.shape[:1], *given))
        found.append(info)
    return tuple(found)


def packed(graph: Graph, source: str) -> Graph:
    """Return the graph whose one input holds the numbers of all its inputs.

    Parameters
    ----------
    graph : Graph
        As read, of several inputs.
    source : str
        Name of the file, for messages.

    Raises
    ------
    UnsupportedError
        If an input has no axis of samples, not as many as the others, a free size or a type without numbers.
    DomainError
        If a sample is larger than any that a network needs.
    """
    for info in graph.inputs:
        _check_input(info, graph.inputs[0], source)
    parts = parts_of(graph.inputs)
    check_size(f"load: the inputs of {source}", [parts[-1].places.stop], MOST_IN_A_SAMPLE)
    held: dict[str, Array] = {}
    taken = {*graph.initializers, *(i.name for i in graph.inputs), *(out for n in graph.nodes for out in n.outputs)}
    named = {node.name for node in graph.nodes}
    whole = _free(PACKED, taken)
    floats = {part.info.dtype for part in parts if np.dtype(part.info.dtype).kind == "f"}
    dtype = "float64" if "float64" in floats else "float32"
    nodes: list[Node] = []
    for part in parts:
        name = part.info.name
        limits = []
        for what, value in (("start", part.places.start), ("end", part.places.stop), ("axis", 1)):
            limits.append(_free(f"{name}.{what}", taken))
            held[limits[-1]] = np.array([value], np.int64)
        numbers, shape = _free(f"{name}.numbers", taken), _free(f"{name}.shape", taken)
        held[shape] = np.array([-1, *part.info.shape[1:]], np.int64)
        cast = part.info.dtype != dtype
        shaped = _free(f"{name}.shaped", taken) if cast else name
        nodes.append(Node(numbers, "Slice", (whole, *limits), (numbers,)))
        nodes.append(Node(shaped, "Reshape", (numbers, shape), (shaped,)))
        if cast:
            to = next(number for number, known in DTYPES.items() if np.dtype(known) == part.info.dtype)
            nodes.append(Node(name, "Cast", (shaped,), (name,), {"to": to}))
    nodes = [replace(node, name=_free(node.name, named)) for node in nodes]
    info = TensorInfo(whole, (graph.inputs[0].shape[0], parts[-1].places.stop), dtype)
    return replace(
        graph,
        nodes=(*nodes, *graph.nodes),
        inputs=(info,),
        initializers={**graph.initializers, **held},
        parts=graph.inputs,
    )


def _free(name: str, taken: set[str]) -> str:
    """Return a name that nothing has yet, and take it."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _check_input(info: TensorInfo, first: TensorInfo, source: str) -> None:
    """Raise `UnsupportedError` if an input cannot stand beside others."""
    if not info.shape:
        raise UnsupportedError(f"load: the input {info.name} of {source} must have an axis of samples; got shape ()")
    if info.shape[0] != first.shape[0]:
        raise UnsupportedError(
            f"load: the inputs of {source} must have the samples on their first axis, all as many; got "
            f"{first.name} of {first.shape[0] or 'any number'} and {info.name} of {info.shape[0] or 'any number'}"
        )
    if None in info.shape[1:]:
        raise UnsupportedError(
            f"load: the input {info.name} of {source} must have one size, for it stands beside others; got "
            f"{readable(info.shape)} (input_shapes says that of a sample)"
        )
    if np.dtype(info.dtype) not in (np.dtype(known) for known in DTYPES.values()):
        raise UnsupportedError(f"load: the input {info.name} of {source} must hold numbers; got {info.dtype}")


def own_names(graph: Graph) -> frozenset[str]:
    """Return the tensors of a graph that packing has made and the file has not; none where nothing is packed."""
    if not graph.parts:
        return frozenset()
    parts = {info.name for info in graph.parts}
    making = set[str]().union(*(graph.ancestors(name) for name in parts))
    outputs = {out for node in graph.nodes if node.name in making for out in node.outputs}
    return frozenset((outputs | {info.name for info in graph.inputs}) - parts)


def pack(
    function: str, given: Mapping[str, Any], inputs: Sequence[TensorInfo], dtype: np.dtype[Any], layout: str | None
) -> Array:
    """Return samples as the packed input takes them.

    Parameters
    ----------
    function : str
        Name of the caller, for messages.
    given : mapping of str to (N, ...) array
        One for each input, by its name: numbers for one of floats, integers for one of integers, booleans or 0 and 1
        for one of booleans.
    inputs : sequence of TensorInfo
        In their order.
    dtype : dtype
        Of the packed input.
    layout : {"NCHW", "NHWC"}, optional
        Of the images; needed only where both fit.

    Returns
    -------
    (N, S) array
        uint8 where all of them are 8-bit images or booleans, else of `dtype`.

    Raises
    ------
    LierefError
        Of the class that says what is wrong with the first array that does not fit: the message names its input.
    """
    check_names(function, given, [info.name for info in inputs])
    columns = [_numbers(function, given[info.name], info, dtype, layout) for info in inputs]
    for info, column in zip(inputs, columns, strict=True):
        if len(column) != len(columns[0]):
            raise ShapeError(
                f"{function}: all inputs must have as many samples as `{inputs[0].name}`, {len(columns[0])}; got "
                f"{len(column)} of `{info.name}`"
            )
    small = all(column.dtype in (np.bool_, np.uint8) for column in columns)
    return np.concatenate([column.astype(np.uint8 if small else dtype, copy=False) for column in columns], axis=1)


def check_names(function: str, given: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise `DomainError` unless there is an array for each input, and no other."""
    missing = [name for name in names if name not in given]
    unknown = [str(name) for name in given if name not in names]
    if missing or unknown:
        what = f"no {missing[0]!r}" if missing else f"{unknown[0]!r}"
        raise DomainError(f"{function}: `x` must hold an array for each input, {', '.join(names)}; got {what}")


def needs_names(function: str, inputs: Sequence[TensorInfo], got: tuple[int, ...]) -> LierefError:
    """Return the error for samples without names of a network of several inputs."""
    wanted = ", ".join(f"{info.name} {readable(info.shape)}" for info in inputs)
    return ShapeError(f"{function}: `x` must be a dict with an array for each input, {wanted}; got one array {got}")


def _numbers(function: str, given: Any, info: TensorInfo, dtype: np.dtype[Any], layout: str | None) -> Array:
    """Return the (N, ...) array of one input as (N, numbers of a sample), checked, its values exact."""
    vector = len(info.shape) == 1
    array = np.asarray(given) if vector else given
    x = check_samples(function, array[:, np.newaxis] if vector and array.ndim == 1 else array, info.name)
    if len(info.shape) >= IMAGE_AXES:
        x = arrange(x, info.shape, layout, function=function, name=info.name)
    elif x.shape[1:] != (info.shape[1:] or (1,)):
        got = np.shape(given)
        raise ShapeError(f"{function}: `{info.name}` must have shape {readable(info.shape)}; got {got}")
    wanted = np.dtype(info.dtype)
    if wanted.kind == "f":
        with np.errstate(over="ignore"):
            found = x if x.dtype == np.uint8 or x.dtype.kind == "b" else x.astype(dtype)
        if x.dtype.kind == "f" and found.itemsize < x.itemsize:
            check_finite(function, f"{info.name} as {dtype}", found)
    else:
        _check_integers(function, x, info.name, wanted)
        found = x
    return found.reshape(len(x), -1)


def _check_integers(function: str, x: Array, name: str, wanted: np.dtype[Any]) -> None:
    """Raise unless the numbers are integers, or booleans, of a type that a float holds exactly."""
    if x.dtype.kind not in "iub":
        raise DTypeError(f"{function}: `{name}` must be of integers, for the input is of {wanted}; got {x.dtype}")
    low, high = (0, 1) if wanted.kind == "b" else (np.iinfo(wanted).min, np.iinfo(wanted).max)
    low, high = max(low, 1 - MOST_EXACT), min(high, MOST_EXACT - 1)
    least, most = int(x.min()), int(x.max())
    if least < low or most > high:
        raise DomainError(
            f"{function}: `{name}` must be {low} to {high}, for the input is of {wanted} and integers up to 2^24 are "
            f"exact beside floats; got {least} to {most}"
        )
