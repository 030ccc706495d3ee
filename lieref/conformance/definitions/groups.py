"""Groups of fine-tuning: the algebra, its exponential, and the operations, each from its textbook definition.

Tensor groups hold arrays, matrix groups square matrices. `affine` and `se` are homogeneous matrices [[A, t], [0, 1]].
A product is given by its parts: its elements are the entries of all of them, part after part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lieref.conformance.definitions import matrix
from lieref.conformance.definitions.matrix import identity, matmul, trace
from lieref.conformance.definitions.number import Numbers, each, exp, log, numbers
from lieref.errors import UnsupportedError

TENSOR_GROUPS = ("additive", "hadamard", "scaling")


def _skew(x: Numbers) -> Numbers:
    return (x - x.T) / 2


def _without_trace(x: Numbers) -> Numbers:
    return x - identity(len(x)) * (trace(x) / len(x))


def symplectic_form(n: int) -> Numbers:
    """Return J = [[0, I], [-I, 0]]."""
    half = n // 2
    j = np.zeros((n, n))
    j[:half, half:], j[half:, :half] = np.eye(half), -np.eye(half)
    return numbers(j)


# sp: J X + X^T J = 0. The orthogonal projection is (X + J X^T J) / 2, as J^2 = -I.
def _hamiltonian(x: Numbers) -> Numbers:
    j = symplectic_form(len(x))
    return (x + matmul(matmul(j, x.T), j)) / 2


def _homogeneous(linear: Callable[[Numbers], Numbers]) -> Callable[[Numbers], Numbers]:
    def project(x: Numbers) -> Numbers:
        result = x.copy()
        result[:-1, :-1] = linear(x[:-1, :-1])
        result[-1] = numbers(np.zeros(len(x)))
        return result

    return project


def _strictly_upper(x: Numbers) -> Numbers:
    return x * numbers(np.triu(np.ones(x.shape), 1))


def _same(x: Numbers) -> Numbers:
    return x


PROJECTIONS: dict[str, Callable[[Numbers], Numbers]] = {
    **dict.fromkeys((*TENSOR_GROUPS, "gl"), _same),
    "sl": _without_trace,
    "so": _skew,
    "sp": _hamiltonian,
    "affine": _homogeneous(_same),
    "se": _homogeneous(_skew),
    "unipotent": _strictly_upper,
}
"""Orthogonal projection on the algebra, by group; `product` has that of its parts."""


def _check_known(group: str) -> None:
    if group not in PROJECTIONS:
        known = ", ".join(PROJECTIONS)
        raise UnsupportedError(
            f"groups: `group` must have a definition in conformance/definitions: {known}; got {group!r}"
        )


def project(group: str, x: Numbers) -> Numbers:
    """Return the nearest element of the algebra of one group."""
    _check_known(group)
    return PROJECTIONS[group](x)


def exponential(group: str, x: Numbers) -> Numbers:
    """Return exp(x): x for translations, entry by entry for tensors, the series for matrices."""
    if group == "additive":
        return x
    return each(exp, x) if group in TENSOR_GROUPS else matrix.exponential(x)


def compose(group: str, g: Numbers, h: Numbers) -> Numbers:
    """Return g h."""
    if group == "additive":
        return g + h
    return g * h if group in TENSOR_GROUPS else matmul(g, h)


def inverse(group: str, g: Numbers) -> Numbers:
    """Return g^-1."""
    if group == "additive":
        return -g
    return 1 / g if group in TENSOR_GROUPS else matrix.solve(g, identity(len(g)))


def logarithm(group: str, g: Numbers) -> Numbers:
    """Return the principal logarithm, in the algebra."""
    if group == "additive":
        return g
    return each(log, g) if group in TENSOR_GROUPS else project(group, matrix.logarithm(g))


def adjoint(group: str, g: Numbers, x: Numbers) -> Numbers:
    """Return g x g^-1, in the algebra; x itself in an Abelian group."""
    if group in TENSOR_GROUPS:
        return x
    return project(group, matmul(matmul(g, x), inverse(group, g)))


def bracket(group: str, x: Numbers, y: Numbers) -> Numbers:
    """Return x y - y x, zero in an Abelian group."""
    return numbers(np.zeros(x.shape)) if group in TENSOR_GROUPS else matmul(x, y) - matmul(y, x)


def by_parts(attrs: Mapping[str, Any], operation: Callable[..., Numbers], *elements: Numbers) -> Numbers:
    """Return operation(group, element, ...) for the group of `attrs`, part by part for a product.

    `attrs` holds ``group``, and for a product ``parts``: a list of {"group", "shape", "copies"}.

    Raises
    ------
    UnsupportedError
        If the group has no definition.
    """
    if attrs["group"] != "product":
        _check_known(attrs["group"])
        return operation(attrs["group"], *elements)
    pieces, start = [], 0
    for part in attrs["parts"]:
        size = int(np.prod(part["shape"]))
        for _ in range(part["copies"]):
            members = [x[start : start + size].reshape(part["shape"]) for x in elements]
            pieces.append(operation(part["group"], *members).reshape(-1))
            start += size
    return np.concatenate(pieces)
