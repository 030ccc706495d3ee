"""Certified expected values for any inputs of any operation, with the error bounds of functions of matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from lieref._types import Array, FloatArray
from lieref.conformance.case import Expected, expected_from
from lieref.conformance.operations import OPERATIONS
from lieref.errors import UnsupportedError
from lieref.numerics.certified_array import Certified, certify
from lieref.numerics.certified_exp import expm, expm_frechet, norm1

LARGEST_ENTRYWISE_NORM: Final = 3.5
"""Up to this 1-norm the entry-wise bounds of functions of matrices are known to hold for good ports."""


def truth(op: str, inputs: Mapping[str, Array], attrs: Mapping[str, Any]) -> dict[str, Expected]:
    """Return the expected outputs of an operation on given inputs.

    Parameters
    ----------
    op : str
        A key of `OPERATIONS`.
    inputs : dict of str to ndarray, float32 or float64
        Taken as exact.
    attrs : dict

    Returns
    -------
    dict of str to Expected

    Raises
    ------
    UnsupportedError
        If there is no such operation.
    ShapeError, DTypeError, DomainError
        If the inputs do not fit the operation.
    """
    if op not in OPERATIONS:
        raise UnsupportedError(f"truth: `op` must be one of {', '.join(OPERATIONS)}; got {op!r}")
    exact = {name: certify(value) for name, value in inputs.items()}
    outputs = OPERATIONS[op](exact, attrs)
    if op in MATRIX_OPERATIONS:
        return {name: _matrix_expected(inputs, value) for name, value in outputs.items()}
    return {name: expected_from(value) for name, value in outputs.items()}


MATRIX_OPERATIONS: Final = frozenset({"expm", "expm_delta", "expm_frechet", "expm_vjp"})


def _matrix_expected(inputs: Mapping[str, Array], value: Certified) -> Expected:
    """Return the expected value of a function of a matrix or of a batch of them: bounds slice by slice."""
    a = np.asarray(inputs["a"], dtype=np.float64)
    direction = next((np.asarray(x, dtype=np.float64) for name, x in inputs.items() if name != "a"), None)
    rounding, conversion, floor = value.rounding.copy(), value.conversion.copy(), np.zeros(value.shape)
    entrywise = True
    for index in np.ndindex(a.shape[:-2]):
        norm = norm1(a[index])
        if norm > LARGEST_ENTRYWISE_NORM:
            rounding[index] = conversion[index] = normwise_bound(a[index], value.hi[index])
            entrywise = False
        else:
            # A backward error u norm in A, and for the derivative also u norm(E) in E.
            size = norm if direction is None else norm1(direction[index]) * (1.0 + norm)
            floor[index] = 4.0 * size * np.exp(norm)
    counted = replace(value, rounding=rounding, conversion=conversion, count=value.count if entrywise else 1)
    return expected_from(counted, floor)


def normwise_bound(a: FloatArray, value: FloatArray) -> float:
    """Return 2 (n + 4) (kappa + 1) times the Frobenius norm of the value, for exp or its derivative at A.

    A forward error of (n + 4) kappa u is what stable implementations reach; they have been seen to come within a
    factor of two of it, hence the 2. The result is rounded up to three digits: nothing depends on the platform.
    """
    bound = 2.0 * (len(a) + 4) * (condition_number(a) + 1.0) * float(np.sqrt(np.sum(value * value)))
    digits = 10.0 ** (np.floor(np.log10(bound)) - 2) if bound > 0 else 1.0
    return float(np.ceil(bound / digits) * digits)


def condition_number(a: FloatArray) -> float:
    """Return the relative condition number of exp at A in the Frobenius norm, from the full Kronecker form."""
    n = len(a)
    columns = []
    for i, j in np.ndindex(n, n):
        unit = np.zeros((n, n))
        unit[i, j] = 1.0
        columns.append(expm_frechet(a, unit).hi.reshape(-1))
    derivative = float(np.linalg.norm(np.array(columns), 2))
    return derivative * float(np.linalg.norm(a)) / float(np.linalg.norm(expm(a).hi))
