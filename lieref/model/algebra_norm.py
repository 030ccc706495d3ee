"""How far adapters are from the base in the algebras of their groups: |xi| of each tensor, and its gradient.

The norm is Frobenius', the root of the sum of the squares of all entries of `Method.delta`, in float64. What it is as a
distance is derived in `lieref.train.algebra_decay`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from lieref._types import Array, FloatArray, Params, Shape
from lieref.errors import DomainError
from lieref.model.site import Site


def algebra_norm(site: Site, stored: Array) -> float:
    """Return |xi| of a site, whose tensor the file holds as `stored`.

    Raises
    ------
    DomainError
        If it is not finite.
    """
    return _norm(site, site.method.delta(site.params, _shape(site, stored), site.groups))


# Derivation.  d(|xi|^2 / 2) = <xi, dxi>, so xi is its own cotangent, and the rest is the VJP of xi.
def half_square_grads(sites: Iterable[Site], stored: Mapping[str, Array]) -> Params:
    """Return the gradient of the sum of |xi|^2 / 2 in the trainable factors, ``<tensor>:<factor>``.

    Raises
    ------
    DomainError
        As `algebra_norm`.
    """
    grads: Params = {}
    for site in sites:
        shape = _shape(site, stored[site.tensor])
        xi = site.method.delta(site.params, shape, site.groups)
        _norm(site, xi)
        bars = site.method.delta_vjp(site.params, shape, site.groups, xi)
        grads |= {f"{site.tensor}:{name}": bar for name, bar in bars.items()}
    return grads


def _norm(site: Site, xi: FloatArray) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        flat = xi.ravel()
        norm = math.sqrt(np.einsum("i,i->", flat, flat, dtype=np.float64))
    if not np.isfinite(norm):
        raise DomainError(f"the norm of xi of {site.owner} is {norm}")
    return norm


def _shape(site: Site, stored: Array) -> Shape:
    """Return the shape of the tensor as the method sees it."""
    return stored.shape if site.layer is None else site.layer.shape
