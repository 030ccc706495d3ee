"""Parameterisations whose frozen numbers are made anew from a seed, and never stored.

The seed and the version of the generator are options, so that an adapter's configuration says all that its factors do
not. One seed serves every layer: the numbers of a small layer are a corner of those of a large one, and all conv groups
share them.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, ClassVar

from lieref import rng
from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import Array, FloatArray
from lieref.errors import DomainError
from lieref.param._base import Parameterisation

COLUMNS, ROWS, PLACES = 1, 2, 3
"""Purposes of the numbers: of a matrix on the side of the inputs, of one on the side of the outputs, and where the
entries of a sparse matrix are."""


@dataclass(frozen=True)
class Seeded(Parameterisation):
    """What these parameterisations share.

    Parameters
    ----------
    frozen_seed : int
        0 to 2**63 - 1; what the frozen numbers are made of.
    generator : int
        Version of the generator, one of `lieref.rng.GENERATORS`.
    """

    must_be_saved: ClassVar[tuple[str, ...]] = ("frozen_seed", "generator")

    frozen_seed: int = 0
    generator: int = rng.GENERATORS[-1]

    def __post_init__(self) -> None:
        check_int(type(self).__name__, "frozen_seed", self.frozen_seed, low=0, high=2**63 - 1)
        check_int(type(self).__name__, "generator", self.generator, low=1)
        if self.generator not in rng.GENERATORS:
            known = ", ".join(map(str, rng.GENERATORS))
            raise DomainError(
                f"{self.name}: `generator` must be a version that this lieref has, {known}; got {self.generator}, "
                "whose numbers a later one makes"
            )

    def normalised(self, purpose: int, rows: int, columns: int, like: FloatArray) -> FloatArray:
        """Return a matrix of uniform numbers of mean 0 and variance 1 in the dtype of an array; read only."""
        return _matrix(self.frozen_seed, purpose, rows, columns, like.real.dtype.char)

    def places(self, among: int, count: int) -> Array:
        """Return `count` of the integers below `among`, read only; see `lieref.rng.places`."""
        return _places(self.frozen_seed, among, count)


@lru_cache(maxsize=256)
def _matrix(seed: int, purpose: int, rows: int, columns: int, dtype: Any) -> FloatArray:
    # U(-sqrt(3), sqrt(3)) has the variance 1.
    numbers = math.sqrt(3.0) * (2.0 * rng.uniform_rows(seed, purpose, rows, columns) - 1.0)
    return _read_only(numbers.astype(dtype))


@lru_cache(maxsize=256)
def _places(seed: int, among: int, count: int) -> Array:
    return _read_only(rng.places(seed, PLACES, among, count))


def _read_only(array: Array) -> Array:
    array.setflags(write=False)
    return array
