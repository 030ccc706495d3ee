"""Numbers beside a bound on how far what a kernel computes may lie from them.

The standard model: fl(a op b) = (a op b)(1 + d), |d| <= u. So an operation adds u times the largest result that its
operands' errors allow, and a sum of n terms in any order, fused with their products or not, adds at most g S, where
g = n u / (1 - n u) and S is the sum of the terms' sizes. The values are computed here in float64, whose own rounding is
part of u.
"""

from __future__ import annotations

import numpy as np

UNIT = {"float32": 2.0**-24 + 2.0**-53, "float64": 2.0**-52}
"""u of a kernel's element type, and that of the values here."""

TINY = {"float32": 2.0**-149, "float64": 2.0**-1074}
"""What underflow loses at most of a product."""


class Bounded:
    """An array of numbers and the bounds of their errors.

    Attributes
    ----------
    value, error : float64 array
    dtype : str
        The element type of the kernel that computes them.
    """

    __array_ufunc__ = None

    def __init__(self, value, error, dtype):
        self.value = np.asarray(value, float)
        self.error = np.asarray(error, float)
        self.dtype = dtype

    def _new(self, value, error):
        return Bounded(value, error, self.dtype)

    def _of(self, other):
        return other if isinstance(other, Bounded) else self._new(other, 0.0)

    def rounded(self, error, operations=1):
        """These values after so many roundings, `error` being that of exact operations; an infinity is not rounded."""
        size = np.where(np.isfinite(self.value), np.abs(self.value), 0.0)
        return self._new(self.value, error + _growth(operations, self.dtype) * (size + error))

    def __add__(self, other):
        other = self._of(other)
        return self._new(self.value + other.value, 0.0).rounded(self.error + other.error)

    def __sub__(self, other):
        return self + -self._of(other)

    def __rsub__(self, other):
        return self._of(other) - self

    def __neg__(self):
        return self._new(-self.value, self.error)

    def __mul__(self, other):
        other = self._of(other)
        error = np.abs(self.value) * other.error + self.error * (np.abs(other.value) + other.error)
        found = self._new(self.value * other.value, 0.0).rounded(error)
        return self._new(found.value, found.error + TINY[self.dtype] * (found.value != 0))

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other):
        other = self._of(other)
        value = self.value / other.value
        error = (self.error + np.abs(value) * other.error) / (np.abs(other.value) - other.error)
        return self._new(value, 0.0).rounded(error)

    def __rtruediv__(self, other):
        return self._of(other) / self

    def __getitem__(self, index):
        return self._new(self.value[index], np.broadcast_to(self.error, self.value.shape)[index])

    def clip(self, low, high):
        """Each number, or the nearer end of an interval."""
        return self._new(np.clip(self.value, low, high), self.error)

    def where(self, chosen, other=0.0):
        """Each number where it is chosen, else another."""
        other = self._of(other)
        return self._new(np.where(chosen, self.value, other.value), np.where(chosen, self.error, other.error))

    def reshape(self, *shape):
        """The same numbers in another shape."""
        return self._new(self.value.reshape(shape), np.broadcast_to(self.error, self.value.shape).reshape(shape))

    def turned(self):
        """The transposed matrix."""
        return self._new(self.value.T, np.broadcast_to(self.error, self.value.shape).T)

    def exp(self):
        """The exponential, right to 2 ulp: 4 u."""
        value = np.exp(self.value)
        return self._new(value, value * np.expm1(self.error)).rounded(value * np.expm1(self.error), 4)

    def tanh(self):
        """The hyperbolic tangent, right to 8 ulp; its slope is at most 1."""
        return self._new(np.tanh(self.value), 0.0).rounded(self.error, 16)

    def sqrt(self):
        """The square root of positive numbers, correctly rounded."""
        value = np.sqrt(self.value)
        return self._new(value, 0.0).rounded(self.error / np.sqrt(self.value - self.error) / 2)

    def spread(self, axis):
        """The same numbers along one more axis."""
        return self._new(np.expand_dims(self.value, axis), np.expand_dims(self.error + 0 * self.value, axis))

    def log(self):
        """The logarithm, right to an ulp."""
        return self._new(np.log(self.value), 0.0).rounded(self.error / (self.value - self.error), 2)

    def narrowed(self, dtype):
        """The numbers rounded to an element type; those of it stay as they are."""
        found = Bounded(self.value, self.error, dtype)
        return found if dtype == self.dtype else found.rounded(self.error)


def _growth(operations, dtype):
    u = UNIT[dtype]
    return operations * u / (1 - operations * u)


def total(terms, axis, start=None):
    """The sum along an axis, or axes, in any order, with one more term from the start."""
    size, error = (np.abs(terms.value) + terms.error).sum(axis), (terms.error + 0 * terms.value).sum(axis)
    value = terms.value.sum(axis)
    count = terms.value.size // max(value.size, 1) - 1
    if start is not None:
        value, error, count = value + start.value, error + start.error, count + 1
        size = size + np.abs(start.value) + start.error
    return Bounded(value, error + _growth(max(count, 0), terms.dtype) * size, terms.dtype)


def dot(a, b, start=None):
    """The matrix product a @ b of exact numbers, sums in any order, with one more term from the start."""
    assert not np.any(a.error)
    assert not np.any(b.error)
    value, size, terms = a.value @ b.value, np.abs(a.value) @ np.abs(b.value), a.value.shape[-1]
    error = 0.0
    if start is not None:
        value, error, terms = value + start.value, start.error, terms + 1
        size = size + np.abs(start.value) + start.error
    return Bounded(value, error + _growth(terms, a.dtype) * size + terms * TINY[a.dtype] * (size != 0), a.dtype)


def product(matrix, x, other):
    """The products matrix @ x @ other^T of exact squares x with constants that are rounded to the type.

    Each of both products has a rounding for a constant, one for its factor, and fewer than n for the sum of n terms,
    whatever sums and differences are shared, as long as no term is added that is taken off again.
    """
    value = matrix @ x.value @ other.T
    size = np.abs(matrix) @ np.abs(x.value) @ np.abs(other).T
    operations = matrix.shape[1] + other.shape[1] + 2
    return Bounded(value, _growth(operations, x.dtype) * size, x.dtype)
