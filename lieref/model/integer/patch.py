"""New scales and biases in the same file: its length and every other byte stay.

A patch holds old and new bytes of each range, and the digests of both files, so that it is applied to its own file
alone, and taken back to the bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError, DTypeError, LierefError, ShapeError, VerificationError
from lieref.model.integer.graph import LEAST_SCALE, MOST_SCALE, ByteRange, IntegerGraph, IntegerTensor, Quantisation
from lieref.model.integer.types import check_types


@dataclass(frozen=True)
class Change:
    """One range of bytes, as it was and as it becomes.

    Attributes
    ----------
    tensor, what : str
        Name of the tensor, and "scale", "bias" or "weight".
    place : ByteRange
    old, new : bytes
        Of the same length.
    """

    tensor: str
    what: str
    place: ByteRange
    old: bytes
    new: bytes


@dataclass(frozen=True)
class Patch:
    """The difference between two files of one length.

    Attributes
    ----------
    base, changed : str
        SHA-256 of the files without and with the changes.
    changes : tuple of Change
        Sorted by place; no two overlap.
    """

    base: str
    changed: str
    changes: tuple[Change, ...]

    @property
    def places(self) -> tuple[ByteRange, ...]:
        """The byte ranges outside of which both files are equal."""
        return tuple(change.place for change in self.changes)

    def __len__(self) -> int:
        return sum(len(change.new) for change in self.changes)

    def apply(self, content: bytes) -> bytes:
        """Return the file with the changes.

        Raises
        ------
        VerificationError
            If `content` is not the file that the patch was made for.
        """
        return self._moved(content, self.base, self.changed, undo=False)

    def undo(self, content: bytes) -> bytes:
        """Return the file without the changes, equal to the base in every byte.

        Raises
        ------
        VerificationError
            If `content` is not the file that `apply` made.
        """
        return self._moved(content, self.changed, self.base, undo=True)

    def _moved(self, content: bytes, expected: str, result: str, *, undo: bool) -> bytes:
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise VerificationError(f"Patch: the file must have SHA-256 {expected}; got {found}")
        moved = bytearray(content)
        for change in self.changes:
            moved[change.place.start : change.place.stop] = change.old if undo else change.new
        if hashlib.sha256(moved).hexdigest() != result:
            raise VerificationError("Patch: its changes must lead to the file that it names; got another")
        return bytes(moved)


def patch(
    graph: IntegerGraph,
    scales: Mapping[str, Array] | None = None,
    biases: Mapping[str, Array] | None = None,
    weights: Mapping[str, Array] | None = None,
) -> tuple[IntegerGraph, Patch]:
    """Return the network with other scales and biases, and where asked for weights, and the patch that leads there.

    Parameters
    ----------
    graph : IntegerGraph
        Not changed.
    scales : mapping of tensor name to (1,) or (C,) float32, optional
        As many as the tensor has; positive, 2^-126 to 2^30.
    biases : mapping of tensor name to integer array, optional
        Values of constant int32 or int64 tensors.
    weights : mapping of tensor name to integer array, optional
        Values of constant int8 or uint8 tensors.

    Raises
    ------
    DomainError
        If a tensor is unknown or its values do not stand in the file, if a scale or an integer is out of its range, or
        if their bytes are read for something else too.
    FormatError
        If the scales do not go together any more.
    ShapeError, DTypeError
        If values do not have the shape or kind of those in the file.
    """
    changes, tensors = [], dict(graph.tensors)
    for name, scale in (scales or {}).items():
        tensor = _known(graph, name)
        new = _new_scale(tensor, scale)
        changes.append(_change(graph, tensor, "scale", tensor.scale_at, new.astype("<f4").tobytes()))
        q = tensor.quantisation
        assert q is not None
        tensors[name] = replace(tensors[name], quantisation=Quantisation(new, q.zero_point, q.axis))
    for given, what, dtypes in ((biases, "bias", ("int32", "int64")), (weights, "weight", ("int8", "uint8"))):
        for name, values in (given or {}).items():
            tensor = _known(graph, name)
            new = _new_integers(tensor, values, dtypes)
            raw = new.astype(new.dtype.newbyteorder("<")).tobytes()
            changes.append(_change(graph, tensor, what, tensor.data_at, raw))
            tensors[name] = replace(tensors[name], data=new)
    _check_apart(graph, changes)
    content = bytearray(graph.content)
    for change in changes:
        content[change.place.start : change.place.stop] = change.new
    changed = replace(graph, tensors=tensors, content=bytes(content))
    check_types(changed)
    _check_read_back(changed)
    return changed, Patch(graph.digest, changed.digest, tuple(sorted(changes, key=lambda change: change.place)))


def _known(graph: IntegerGraph, name: str) -> IntegerTensor:
    if name not in graph.tensors:
        raise DomainError(f"patch: every tensor must be one of the network; got {name!r}")
    return graph.tensors[name]


def _new_scale(tensor: IntegerTensor, scale: Array) -> Array:
    q = tensor.quantisation
    new = np.asarray(scale)
    if q is None:
        raise DomainError(f"patch: tensor {tensor.name} must have scales; got none")
    if new.dtype.kind != "f":
        raise DTypeError(f"patch: scales of {tensor.name} must be floats; got {new.dtype}")
    if new.shape != q.scale.shape:
        raise ShapeError(f"patch: scales of {tensor.name} must have shape {q.scale.shape}; got {new.shape}")
    new = new.astype(np.float32)
    sane = (new >= LEAST_SCALE) & (new <= MOST_SCALE)
    if not sane.all():
        raise DomainError(f"patch: scales of {tensor.name} must be positive, 2^-126 to 2^30; got {new[~sane][0]}")
    return new


def _new_integers(tensor: IntegerTensor, values: Array, dtypes: tuple[str, str]) -> Array:
    new = np.asarray(values)
    if tensor.data is None or tensor.dtype not in dtypes:
        raise DomainError(f"patch: {tensor.name} must be an {' or '.join(dtypes)} constant; got {tensor}")
    if new.dtype.kind not in "iu":
        raise DTypeError(f"patch: values of {tensor.name} must be integers; got {new.dtype}")
    if new.shape != tensor.shape:
        raise ShapeError(f"patch: values of {tensor.name} must have shape {tensor.shape}; got {new.shape}")
    low, high = tensor.limits
    if new.size and not (int(new.min()) >= low and int(new.max()) <= high):
        raise DomainError(f"patch: values of {tensor.name} must fit {tensor.dtype}; got {new.min()} to {new.max()}")
    return new.astype(tensor.dtype)


def _change(graph: IntegerGraph, tensor: IntegerTensor, what: str, place: ByteRange | None, new: bytes) -> Change:
    if place is None:
        raise DomainError(
            f"patch: the {what} of {tensor.name} must have its own bytes in the file, in one piece; got one that is "
            "stored in another way, or that something else reads too"
        )
    return Change(tensor.name, what, place, graph.content[place.start : place.stop], new)


def _check_apart(graph: IntegerGraph, changes: list[Change]) -> None:
    """Check that what changes is read for nothing else."""
    taken = [
        (place, tensor.name, what)
        for tensor in graph.tensors.values()
        for place, what in ((tensor.scale_at, "scale"), (tensor.zero_point_at, "zero point"), (tensor.data_at, "data"))
        if place is not None
    ]
    for change in changes:
        for place, name, what in taken:
            mine = name == change.tensor and (what == "scale") == (change.what == "scale") and what != "zero point"
            if not mine and place.start < change.place.stop and change.place.start < place.stop:
                raise DomainError(
                    f"patch: the {change.what} of {change.tensor} must have its own bytes; got some that {name} has too"
                )


def _check_read_back(changed: IntegerGraph) -> None:
    """Check that the changed file, read again, is the network that was meant: offsets may point into its numbers.

    The parts of an ONNX file lie one behind the other by its form.
    """
    if changed.format != "tflite":
        return
    from lieref.model.integer.tflite_reader import read_tflite

    try:
        again = read_tflite(changed.content)
        apart = again.nodes != changed.nodes or (again.inputs, again.outputs) != (changed.inputs, changed.outputs)
        apart = apart or again.tensors.keys() != changed.tensors.keys()
        apart = apart or not all(_equal(tensor, again.tensors[name]) for name, tensor in changed.tensors.items())
    except LierefError:
        apart = True
    if apart:
        raise DomainError(
            "patch: scales, biases and weights must have their own bytes in the file; got some that it reads for "
            "something else too: it is damaged, or was written by a faulty tool"
        )


def _equal(one: IntegerTensor, other: IntegerTensor) -> bool:
    """Tell whether two tensors are the same in the file's eyes."""
    p, q = one.quantisation, other.quantisation
    same = (one.dtype, one.shape, one.data is None, p is None) == (
        other.dtype, other.shape, other.data is None, q is None,
    )  # fmt: skip
    if same and p is not None and q is not None:
        same = np.array_equal(p.scale, q.scale) and np.array_equal(p.zero_point, q.zero_point) and p.axis == q.axis
    if same and one.data is not None and other.data is not None:
        same = np.array_equal(one.data, other.data)
    return same
