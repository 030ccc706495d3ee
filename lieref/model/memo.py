"""A value that is kept as long as what it was computed from stays the same."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import numpy as np

from lieref._types import FloatArray

T = TypeVar("T")


class Memo(Generic[T]):
    """Remembers one value, the objects it follows from, and the numbers in live arrays."""

    def __init__(self) -> None:
        self._objects: tuple[object, ...] | None = None
        self._numbers: FloatArray = np.empty(0)
        self._value: T | None = None

    def get(self, objects: tuple[object, ...], compute: Callable[[], T], arrays: Iterable[FloatArray] = ()) -> T:
        """Return the value, computed anew unless the objects are the same ones and the arrays hold the same numbers."""
        flat = [array.ravel() for array in arrays]
        numbers = np.concatenate(flat) if flat else np.empty(0)
        if self._value is None or not self._same(objects, numbers):
            self._value = compute()
            self._objects, self._numbers = objects, numbers
        return self._value

    def _same(self, objects: tuple[object, ...], numbers: FloatArray) -> bool:
        known = self._objects
        same = known is not None and len(objects) == len(known) and all(map(operator.is_, objects, known))
        return same and np.array_equal(numbers, self._numbers)
