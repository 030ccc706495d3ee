"""Samples that are no array: they are read when they are indexed, so that a set may be larger than the memory."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lieref._types import Array, Shape


class LazySamples(ABC):
    """Samples in a model's layout that become an array where they are indexed, the same one each time.

    All of them are finite numbers. What works on batches takes them as it takes an array: shape, dtype, length, and
    the first axis indexed by a slice or by an array of integers. `numpy.asarray` reads them all.

    Attributes
    ----------
    shape : tuple of int
        The number of samples first.
    dtype : dtype
    """

    shape: Shape
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that all of them take as an array."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def __getitem__(self, index: slice | NDArray[np.int64]) -> Array:
        """Return some samples, (B, ...)."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Return all of them."""
        return np.asarray(self[:], dtype)

    @cached_property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of all of them, in hexadecimal; they are read once for it."""

    @property
    @abstractmethod
    def described(self) -> str:
        """What they are, in a few words for messages."""

    def as_array_type(self) -> Array:
        """Return itself, for what is annotated to take an array and does no more with it than is said above."""
        return cast(Array, self)


class Rows(LazySamples):
    """Some samples of a set, in the order of their indices.

    Parameters
    ----------
    samples : LazySamples
    indices : (N,) array of int
    """

    def __init__(self, samples: LazySamples, indices: NDArray[np.int64]) -> None:
        self._samples, self._indices = samples, indices
        self.shape, self.dtype = (len(indices), *samples.shape[1:]), samples.dtype

    def __getitem__(self, index: slice | NDArray[np.int64]) -> Array:
        return self._samples[self._indices[index]]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the set and of the indices."""
        return hashlib.sha256(self._samples.digest.encode() + self._indices.astype("<i8").tobytes()).hexdigest()

    @property
    def described(self) -> str:
        """What the set is."""
        return self._samples.described


def lazy(x: Any) -> LazySamples | None:
    """Return samples that are no array, None where they are one."""
    return x if isinstance(x, LazySamples) else None


def rows_of(x: Array, index: slice | NDArray[np.int64]) -> Array:
    """Return some samples: of an array those themselves, of others a set that reads them when it is indexed."""
    found = lazy(x)
    return x[index] if found is None else Rows(found, np.arange(len(found))[index]).as_array_type()
