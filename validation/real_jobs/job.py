"""One job: what is adapted, to what, and how it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Job:
    """A base and the samples of one seed.

    Attributes
    ----------
    name : str
    base : Path
        ONNX file.
    x, y : (N, ...) array and (N,) int64
        Labelled samples of the field.
    x_test, y_test : (M, ...) array and (M,) int64
        None of them among the labelled ones.
    batch_size : int
    load : mapping
        Options of `lieref.load`.
    options : tuple of str
        The same for ``lieref finetune``.
    """

    name: str
    base: Path
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    batch_size: int = 128
    load: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write the labelled and the test samples as two ``.npz`` files for the command line."""
        train, test = folder / f"{self.name}-train.npz", folder / f"{self.name}-test.npz"
        np.savez(train, x=self.x, y=self.y)
        np.savez(test, x=self.x_test, y=self.y_test)
        return train, test


def balanced(y: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """Return the sorted positions of so many samples, as many of each class as of any other."""
    rng = np.random.default_rng(seed)
    labels = np.unique(y)
    chosen = [rng.choice(np.flatnonzero(y == k), samples // len(labels), replace=False) for k in labels]
    return np.sort(np.concatenate(chosen))
