"""Tensors of one module of PEFT's, held against the shape of its layer."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lieref._types import Array, FloatArray
from lieref.adapter.exchange.factors import Place
from lieref.errors import ShapeError


def pair(a: Array, b: Array, place: Place) -> tuple[FloatArray, FloatArray]:
    """Return the factors of a low rank as matrices: A (r, in k), B (out, r / groups)."""
    shape, groups = place.layer.shape, place.layer.groups
    wanted = (shape[1] * groups, *shape[2:])
    ones = (1,) * len(shape[2:])
    fits = a.ndim == len(shape) and b.ndim == a.ndim and tuple(a.shape[1:]) == wanted
    if not fits or not len(a) or b.shape != (shape[0], a.shape[0] // groups, *ones) or a.shape[0] % groups:
        raise ShapeError(
            f"import: a low rank must have A (r, {', '.join(map(str, wanted))}) and B ({shape[0]}, r, ...), r "
            f"at least 1; got {a.shape} and {b.shape}"
        )
    return a.reshape(a.shape[0], -1), b.reshape(b.shape[:2])


def with_room(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """Return factors with the same product and no more rank than the matrix has rows or columns."""
    (r, n), out = a.shape, len(b)
    if r <= min(out, n):
        return a, b, ()
    product = b.astype(np.float64) @ a
    note = (f"its rank {r} is more than the weight has room for: kept at {min(out, n)}, of the same product",)
    return (product, np.eye(out), note) if out < n else (np.eye(n), product, note)


def vector(tensor: Array, size: int) -> FloatArray:
    """Return a tensor that must have `size` numbers as a vector."""
    if tensor.size != size:
        raise ShapeError(f"import: a vector must have {size} numbers; got {tensor.shape}")
    return tensor.reshape(size)


def matrix(tensor: Array, name: str) -> FloatArray:
    """Return a tensor that must be a matrix."""
    if tensor.ndim != 2:
        raise ShapeError(f"import: {name} must be a matrix; got {tensor.shape}")
    return tensor


def product(tensors: Mapping[str, Array], name: str) -> FloatArray:
    """Return the product of the two factors of a matrix, float64."""
    a, b = matrix(tensors[f"{name}_a"], name), matrix(tensors[f"{name}_b"], name)
    if a.shape[1] != b.shape[0]:
        raise ShapeError(f"import: the factors of {name} must have a product; got {a.shape} and {b.shape}")
    product: FloatArray = a.astype(np.float64) @ b
    return product


def shaped(change: FloatArray, place: Place) -> FloatArray:
    """Return a change in the shape of the weight."""
    if change.size != math.prod(place.layer.shape):
        raise ShapeError(f"import: a change must have the {place.layer.shape} of its weight; got {change.shape}")
    return change.reshape(place.layer.shape)


def linear(place: Place) -> tuple[int, int]:
    """Return (out, in) of a layer that must be linear, as all are that PEFT adapts by most of its kinds."""
    if len(place.layer.shape) != 2:
        raise ShapeError(f"import: {place.layer.node} must be a linear layer; its weight is {place.layer.shape}")
    return place.layer.shape[0], place.layer.shape[1]
