"""Arrays by name in one memory: what treats all of them alike does so in one operation.

A small network has twenty factors of a few hundred numbers, and a NumPy call costs more than the numbers do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np

from lieref._types import FloatArray, Params, Shape

Shapes = tuple[tuple[str, Shape], ...]
"""Names and shapes, in the order of the memory."""


class FlatParams(dict[str, FloatArray]):
    """Arrays by name that are the successive parts of one array.

    Parameters
    ----------
    flat : (n,) float array
    shapes : Shapes
        Of arrays that have n entries together.
    """

    def __init__(self, flat: FloatArray, shapes: Shapes) -> None:
        super().__init__()
        self.flat = flat
        self.shapes = shapes
        self._memory = flat if flat.base is None else flat.base
        for (name, shape), part in zip(shapes, _slices(shapes), strict=True):
            self[name] = flat[part].reshape(shape)

    def renamed(self, shapes: Shapes) -> FlatParams:
        """Return the same memory under other names; shapes may differ, sizes not."""
        if [shape for _, shape in shapes] != [shape for _, shape in self.shapes]:
            return FlatParams(self.flat, shapes)
        found = FlatParams(self.flat, ())
        found.shapes = shapes
        found.update(zip((name for name, _ in shapes), self.values(), strict=True))
        return found

    def whole(self) -> bool:
        """Tell whether `flat` still is what the names stand for: a dict may have been given other arrays."""
        return len(self) == len(self.shapes) and all(array.base is self._memory for array in self.values())


@lru_cache(maxsize=64)
def _slices(shapes: Shapes) -> tuple[slice, ...]:
    """Return where each array lies in the memory."""
    edges = list(accumulate((math.prod(shape) for _, shape in shapes), initial=0))
    return tuple(slice(*pair) for pair in pairwise(edges))


def gather(params: Params) -> FlatParams:
    """Return copies of the arrays, of one dtype, in one memory."""
    shapes = tuple((name, array.shape) for name, array in params.items())
    return FlatParams(np.concatenate([array.ravel() for array in params.values()]), shapes)


def in_place(params: Params) -> Params:
    """Return the same live arrays, as `FlatParams` where they are successive parts of one array."""
    arrays = list(params.values())
    memory = arrays[0].base if arrays else None
    if not isinstance(memory, np.ndarray) or not _successive(memory, arrays):
        return params
    start = (arrays[0].ctypes.data - memory.ctypes.data) // memory.itemsize
    size = sum(array.size for array in arrays)
    return FlatParams(memory[start : start + size], tuple((name, array.shape) for name, array in params.items()))


def _successive(memory: FloatArray, arrays: Iterable[FloatArray]) -> bool:
    """Tell whether the arrays are views of a contiguous memory, each behind the one before."""
    expected = None
    for array in arrays:
        if array.base is not memory or array.dtype != memory.dtype or not array.flags.c_contiguous:
            return False
        if expected not in (None, array.ctypes.data):
            return False
        expected = array.ctypes.data + array.nbytes
    return memory.ndim == 1 and memory.flags.c_contiguous
