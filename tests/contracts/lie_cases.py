"""Members of the registries in four regimes: what the laws run on. A new registry entry is found here by itself."""

from collections.abc import Iterator

import numpy as np

from lieref.algebra.base import Algebra
from lieref.algebra.registry import ALGEBRAS
from lieref.errors import ShapeError, UnsupportedError
from lieref.group.action import Action
from lieref.group.base import Group
from lieref.group.maps import Map
from lieref.group.registry import ACTIONS, GROUPS, MAPS, make_group

REGIMES = ("zero", "tiny", "generic", "singular")

# O, I/groups and kernel sizes differ, except where a claim needs a square.
GEOMETRIES = {
    "linear": ((6, 4), 1),
    "square": ((4, 4), 1),
    "conv1d": ((6, 4, 2), 1),
    "conv2d": ((6, 4, 2, 3), 1),
    "conv3d": ((5, 2, 3, 1, 4), 1),
    "grouped": ((8, 6, 2, 3), 2),
    "grouped square": ((8, 4), 2),
    "depthwise": ((6, 1, 2, 4), 6),
}


def algebras() -> list[Algebra]:
    return [member for cls in ALGEBRAS.values() for member in cls.examples()]


def groups() -> list[Group]:
    return [member for cls in GROUPS.values() for member in cls.examples()]


def maps() -> list[Map]:
    return [member for cls in MAPS.values() for member in cls.examples()]


def actions() -> list[Action]:
    return [member for cls in ACTIONS.values() for member in cls.examples()]


def name_of(value: object) -> str:
    return str(value).replace(" ", "")


def settings(action: Action) -> Iterator[tuple[Group, tuple, int]]:
    """Every group that can act so, with every geometry that it can act on."""
    for name in GROUPS:
        if name == "product":
            continue
        for shape, conv_groups in GEOMETRIES.values():
            try:
                yield make_group(name, action, shape, conv_groups), shape, conv_groups
            except (ShapeError, UnsupportedError):
                continue


def algebra_element(algebra: Algebra, rng: np.random.Generator, regime: str, batch: tuple = ()) -> np.ndarray:
    """Zero; entries near 1e-9; of norm 1; or as large as the principal logarithm (matrices) and exp allow."""
    xi = algebra.hat(rng.standard_normal((*batch, algebra.dimension)))
    if regime == "zero":
        return 0 * xi
    axes = tuple(range(xi.ndim - len(algebra.shape), xi.ndim))
    if len(algebra.shape) == 2 and algebra.shape[0] == algebra.shape[1]:
        norm = np.linalg.norm(xi, 2, axis=axes, keepdims=True)
    else:
        norm = np.sqrt(np.sum(xi**2, axis=axes, keepdims=True))
    return xi / norm * {"tiny": 1e-9, "generic": 1.0, "singular": 3.1}[regime]


def gap(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference, relative to the largest entry of either."""
    largest = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0), np.finfo(float).tiny)
    return float(np.abs(a - b).max(initial=0.0) / largest)
