"""Other numbers in the same bytes of a file: new scales and biases of layers, and how to take them back.

A patch is a list of places and what stands there. The file keeps its length, and every byte outside of the places.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError, UnsupportedError
from lieref.model.integer.graph import ByteRange, IntegerGraph, IntegerTensor

SMALLEST, LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
"""Range of a scale: kernels flush subnormal numbers to zero."""


@dataclass(frozen=True)
class Patch:
    """Bytes and where they go, sorted, none over another.

    Attributes
    ----------
    pieces : tuple of (ByteRange, bytes)
    """

    pieces: tuple[tuple[ByteRange, bytes], ...]

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.pieces))
        for place, data in ordered:
            if len(place) != len(data):
                raise DomainError(f"Patch: `pieces` must fill their places; got {len(data)} bytes for {place}")
        for (before, _), (after, _) in itertools.pairwise(ordered):
            if after.start < before.stop:
                raise UnsupportedError(f"Patch: places must not overlap; got {before} and {after}")
        object.__setattr__(self, "pieces", ordered)

    @property
    def places(self) -> tuple[ByteRange, ...]:
        """The places, in the order of the file."""
        return tuple(place for place, _ in self.pieces)

    def apply(self, content: bytes) -> bytes:
        """Return a file with the patch in it.

        Raises
        ------
        DomainError
            If a place is not in the file.
        """
        result = bytearray(content)
        for place, data in self.pieces:
            if place.stop > len(content):
                raise DomainError(f"Patch: `content` must have the bytes {place}; got {len(content)} bytes")
            result[place.start : place.stop] = data
        return bytes(result)

    def inverse(self, content: bytes) -> Patch:
        """Return the patch that brings back what `content` has in these places."""
        return Patch(tuple((place, content[place.start : place.stop]) for place in self.places))


def make_patch(graph: IntegerGraph, scales: Mapping[str, Array], integers: Mapping[str, Array]) -> Patch:
    """Return the patch that puts new scales and integers into a network's file.

    Parameters
    ----------
    graph : IntegerGraph
    scales : mapping of str to (C,) float32 array
        By tensor: as many as it has, positive, finite and not subnormal.
    integers : mapping of str to array
        By constant: of its shape and within its type.

    Raises
    ------
    DomainError
        If a number is out of range, or an array of another shape.
    UnsupportedError
        If the file has no bytes of its own for a tensor, or two tensors share them.
    """
    return Patch((*_scales(graph, scales), *_integers(graph, integers)))


def with_content(graph: IntegerGraph, content: bytes) -> IntegerGraph:
    """Return the network of a patched file without parsing it: its tensors hold what their places do.

    Parameters
    ----------
    graph : IntegerGraph
    content : bytes
        What `Patch.apply` returns for the graph's file, and a patch of `make_patch`.
    """
    tensors = {name: _current(tensor, graph.content, content) for name, tensor in graph.tensors.items()}
    return replace(graph, tensors=tensors, content=content)


def _current(tensor: IntegerTensor, before: bytes, content: bytes) -> IntegerTensor:
    """Return a tensor with the numbers that stand in its places now."""
    said, data, dtype = tensor.quantisation, tensor.data, np.dtype(tensor.dtype)
    if said is not None and tensor.scale_at is not None and _differ(tensor.scale_at, before, content):
        said = replace(said, scale=_bytes_at(content, tensor.scale_at, np.dtype(np.float32)))
    if data is not None and tensor.data_at is not None and _differ(tensor.data_at, before, content):
        data = _bytes_at(content, tensor.data_at, dtype).reshape(data.shape)
    return replace(tensor, quantisation=said, data=data)


def _differ(place: ByteRange, before: bytes, content: bytes) -> bool:
    return before[place.start : place.stop] != content[place.start : place.stop]


def _bytes_at(content: bytes, place: ByteRange, dtype: np.dtype[Any]) -> Array:
    return np.frombuffer(content[place.start : place.stop], dtype.newbyteorder("<")).astype(dtype)


def _scales(graph: IntegerGraph, scales: Mapping[str, Array]) -> Iterator[tuple[ByteRange, bytes]]:
    for name, given in scales.items():
        tensor, new = graph.tensors[name], np.asarray(given)
        old = None if tensor.quantisation is None else tensor.quantisation.scale
        if old is None or tensor.scale_at is None:
            raise _nowhere(f"the scale of {name}")
        if new.shape != old.shape or new.dtype != np.float32:
            raise DomainError(
                f"make_patch: scales of {name} must be float32 of shape {old.shape}; got {new.dtype} {new.shape}"
            )
        wrong = ~((new >= SMALLEST) & (new <= LARGEST))
        if wrong.any():
            raise DomainError(
                f"make_patch: scales of {name} must be normal positive numbers of float32; got {new[wrong][0]}"
            )
        yield tensor.scale_at, new.astype("<f4").tobytes()


def _integers(graph: IntegerGraph, integers: Mapping[str, Array]) -> Iterator[tuple[ByteRange, bytes]]:
    for name, given in integers.items():
        tensor, new = graph.tensors[name], np.asarray(given)
        if tensor.data is None or tensor.data_at is None:
            raise _nowhere(name)
        low, high = tensor.limits
        if new.shape != tensor.data.shape or new.dtype.kind not in "iu":
            raise DomainError(
                f"make_patch: {name} must be integers of shape {tensor.data.shape}; got {new.dtype} {new.shape}"
            )
        if new.size and (int(new.min()) < low or int(new.max()) > high):
            raise DomainError(
                f"make_patch: {name} must lie in {low} to {high} ({tensor.dtype}); got {new.min()} to {new.max()}"
            )
        dtype = np.dtype(tensor.dtype)
        yield tensor.data_at, new.astype(dtype.newbyteorder("<")).tobytes()


def _nowhere(what: str) -> UnsupportedError:
    return UnsupportedError(
        f"make_patch: {what} must be stored in the file as plain bytes, which can be written over; it is packed, or "
        "beside the file"
    )
