"""Maps from an algebra to its group: the exponential and what methods put in its place."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from lieref.conformance.definitions import groups, matrix
from lieref.conformance.definitions.number import Numbers, each, tanh, total
from lieref.errors import UnsupportedError

NAMES: Final = ("exp", "taylor", "cayley", "bounded")


def retract(group: str, spec: str, x: Numbers) -> Numbers:
    """Return the group element of x, projected on the algebra first.

    ``exp``; ``taylor<k>`` I + x + ... + x^k / k!; ``cayley`` (I - x/2)^-1 (I + x/2); ``bounded(<c>)``
    exp(c tanh(x / c)), tanh entry by entry, c = 1 by default. Products are entry by entry in a tensor group. For
    translations exp is the identity map and the others, which are its approximants, are too.
    """
    x = groups.project(group, x)
    match = re.fullmatch(r"(exp|cayley|taylor(?P<k>\d+)|bounded(\((?P<c>[^()]+)\))?)", spec)
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
    return _entrywise_taylor(x, degree) if group in groups.TENSOR_GROUPS else matrix.taylor(x, degree)


def _entrywise_taylor(x: Numbers, degree: int) -> Numbers:
    terms = [x * 0 + 1]
    for j in range(1, degree + 1):
        terms.append(terms[-1] * x / j)
    result = np.empty(x.shape, dtype=object)
    for index in np.ndindex(x.shape):
        result[index] = total(term[index] for term in terms)
    return result
