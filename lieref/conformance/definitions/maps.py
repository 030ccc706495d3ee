"""Maps from an algebra to its group: the exponential and what methods put in its place."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import numpy as np

from lieref.conformance.definitions import groups, matrix
from lieref.conformance.definitions.number import Numbers, each, tanh, total
from lieref.errors import UnsupportedError

NAMES: Final = ("exp", "taylor", "cayley", "neumann", "bounded")


def retract(group: str, spec: str, x: Numbers) -> Numbers:
    """Return the group element of x, projected on the algebra first.

    ``exp``; ``taylor<k>`` I + x + ... + x^k / k!; ``cayley`` (I - x/2)^-1 (I + x/2); ``neumann<k>``
    (I + q) (I + q + ... + q^(k-1)) = I + 2 q + ... + 2 q^(k-1) + q^k, q = x/2 [Qiu25, section 3.3]; ``bounded(<c>)``
    exp(c tanh(x / c)), tanh entry by entry, c = 1 by default. Products are entry by entry in a tensor group. For
    translations exp is the identity map and the others, which are its approximants, are too.
    """
    x = groups.project(group, x)
    match = re.fullmatch(r"(exp|cayley|(taylor|neumann)(?P<k>\d+)|bounded(\((?P<c>[^()]+)\))?)", spec)
    if match is None:
        raise UnsupportedError(f"retract: `map` must be one of {', '.join(NAMES)}; got {spec!r}")
    if spec.startswith("bounded"):
        c = float(match["c"] or 1.0)
        return groups.exponential(group, groups.project(group, each(tanh, x / c) * c))
    if spec == "exp" or group == "additive":
        return groups.exponential(group, x)
    if spec == "cayley":
        return (1 + x / 2) / (1 - x / 2) if group in groups.TENSOR_GROUPS else matrix.cayley(x)
    degree = int(match["k"])
    if spec.startswith("neumann"):
        return _neumann(x, degree, np.multiply if group in groups.TENSOR_GROUPS else matrix.matmul)
    return _entrywise_taylor(x, degree) if group in groups.TENSOR_GROUPS else matrix.taylor(x, degree)


def _neumann(x: Numbers, degree: int, product: Callable[[Numbers, Numbers], Numbers]) -> Numbers:
    powers = [x * 0 + 1 if product is np.multiply else matrix.identity(len(x))]
    for _ in range(degree):
        powers.append(product(powers[-1], x / 2))
    return _summed([powers[0], *(power * 2 for power in powers[1:-1]), powers[-1]])


def _entrywise_taylor(x: Numbers, degree: int) -> Numbers:
    terms = [x * 0 + 1]
    for j in range(1, degree + 1):
        terms.append(terms[-1] * x / j)
    return _summed(terms)


def _summed(terms: list[Numbers]) -> Numbers:
    result = np.empty(terms[0].shape, dtype=object)
    for index in np.ndindex(result.shape):
        result[index] = total(term[index] for term in terms)
    return result
