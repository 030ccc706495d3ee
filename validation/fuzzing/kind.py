"""What every kind of file has: whole ones to damage, and all that is done with one that is still accepted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np

from validation.fuzzing import mutate

Files = dict[str, bytes]


class Kind(ABC):
    """A kind of file. `seeds` are whole files, each a mapping of relative path to bytes."""

    name: str
    spare_bytes: int
    """Memory that reading one may take beyond twice its size."""

    seeds: list[Files]

    @abstractmethod
    def make(self, rng: np.random.Generator) -> Files:
        """Return damaged files."""

    @abstractmethod
    def read(self, folder: Path, rng: np.random.Generator) -> None:
        """Read what `make` gave, and use it as its user would."""

    def choose(self, rng: np.random.Generator) -> Files:
        """Return one of the seeds."""
        return self.seeds[int(rng.integers(len(self.seeds)))]

    def one(self, rng: np.random.Generator, structured: Callable[[bytes, np.random.Generator], bytes]) -> Files:
        """Return a seed of one file damaged in its structure, in its bytes, or in both."""
        ((path, data),) = self.choose(rng).items()
        way = int(rng.integers(4))
        if way > 0:
            data = structured(data, rng)
        if way < 2:
            data = mutate.damage(data, next(iter(self.choose(rng).values())), rng)
        return {path: data}
