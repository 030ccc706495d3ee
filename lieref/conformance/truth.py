"""Certified expected values for any inputs of any operation, with the error bounds of functions of matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from lieref._types import Array, FloatArray
from lieref.conformance.case import Expected, expected_from
from lieref.conformance.exact.operations import EXACT_OPERATIONS
from lieref.conformance.operations import OPERATIONS
from lieref.errors import DomainError, LierefError, ShapeError, UnsupportedError
from lieref.numerics.certified_array import Certified, certify
from lieref.numerics.certified_exp import expm, expm_frechet, norm1

LARGEST_ENTRYWISE_NORM: Final = 3.5
"""Up to this 1-norm the entry-wise bounds of functions of matrices are known to hold for good ports."""


def truth(op: str, inputs: Mapping[str, Array], attrs: Mapping[str, Any]) -> dict[str, Expected]:
    """Return the expected outputs of an operation on given inputs, with certified errors.

    Parameters
    ----------
    op : str
        A key of `OPERATIONS`, or of `EXACT_OPERATIONS` for quantised operators.
    inputs : dict of str to ndarray, float32 or float64
        Taken as exact. Quantised operators take integers, and float32 for scales.
    attrs : dict

    Returns
    -------
    dict of str to Expected

    Raises
    ------
    UnsupportedError
        If there is no such operation.
    ShapeError, DTypeError, DomainError
        If the inputs do not fit the operation or each other, or if a value or an error bound overflows in float64.
    """
    if op in EXACT_OPERATIONS:
        return {
            name: Expected.exact(value) for name, value in _fitting(op, EXACT_OPERATIONS[op], inputs, attrs).items()
        }
    if op not in OPERATIONS:
        raise UnsupportedError(f"truth: `op` must be one of {', '.join(OPERATIONS)}; got {op!r}")
    exact = {name: certify(value) for name, value in inputs.items()}
    outputs = _fitting(op, OPERATIONS[op], exact, attrs)
    with np.errstate(over="ignore", invalid="ignore"):
        if op in MATRIX_OPERATIONS:
            expected = {name: _matrix_expected(inputs, value) for name, value in outputs.items()}
        else:
            expected = {name: expected_from(value) for name, value in outputs.items()}
    for name, value in expected.items():
        for part in (value.bound, value.conversion, value.floor):
            if part is not None and not np.isfinite(part).all():
                raise DomainError(f"truth: the error bounds of `{name}` must be finite; got an overflow in float64")
    return expected


def _fitting(
    op: str, operation: Callable[[Any, Any], dict[str, Any]], inputs: Mapping[str, Any], attrs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the outputs of an operation, or raise what is wrong with its inputs."""
    try:
        return operation(inputs, attrs)
    except LierefError:
        raise
    except KeyError as error:
        raise DomainError(f"truth: inputs and attributes of {op} must hold {error}; got {[*inputs, *attrs]}") from error
    except (ValueError, IndexError, TypeError) as error:
        # Every operation is a few lines of array algebra: what does not fit together fails in one of them.
        shapes = ", ".join(f"{name} {value.shape}" for name, value in inputs.items())
        raise ShapeError(f"truth: inputs and attributes of {op} must fit together; got {shapes}: {error}") from error


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
    bound = 2.0 * (len(a) + 4) * (condition_number(a) + 1.0) * _norm(value)
    if not 0.0 < bound < np.inf:
        return bound
    digits = max(10.0 ** (np.floor(np.log10(bound)) - 2), 5e-324)
    return float(np.ceil(bound / digits) * digits)


def condition_number(a: FloatArray) -> float:
    """Return the relative condition number of exp at A in the Frobenius norm, from the full Kronecker form."""
    n = len(a)
    columns = []
    for i, j in np.ndindex(n, n):
        unit = np.zeros((n, n))
        unit[i, j] = 1.0
        columns.append(expm_frechet(a, unit).hi.reshape(-1))
    # One power of two takes the derivative and the value from the ends of the range, where squares leave it.
    value = expm(a)
    if np.abs(value.hi).max() <= 2.0 * value.radius.max():
        raise DomainError("condition_number: `a` must have an exponential above its radius; got an underflow beside I")
    shift = -int(np.frexp(np.abs(value.hi).max())[1])
    derivative = float(np.linalg.norm(np.ldexp(columns, shift), 2))
    return derivative * float(np.linalg.norm(a)) / float(np.linalg.norm(np.ldexp(value.hi, shift)))


def _norm(value: FloatArray) -> float:
    """Return the Frobenius norm, without overflow or underflow on the way."""
    shift = int(np.frexp(np.abs(value).max(initial=0.0))[1])
    return float(np.ldexp(np.sqrt(np.sum(np.ldexp(value, -shift) ** 2)), shift))
