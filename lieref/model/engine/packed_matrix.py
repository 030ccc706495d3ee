"""The layout of a matrix of packed weights: vector columns one after the other, each depth x width."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lieref._types import Array


@dataclass(frozen=True)
class PackedMatrix:
    """Where a packed matrix is: its offset, its rows, and its vector columns (first channel, count, width)."""

    offset: int
    depth: int
    spans: tuple[tuple[int, int, int], ...]

    def pack(self, matrix: Array) -> Array:
        """Return a matrix (depth, channels) in the order of the packed one: vector column after vector column."""
        return np.concatenate(
            [
                matrix[:, first + i * width : first + (i + 1) * width].ravel()
                for first, count, width in self.spans
                for i in range(count)
            ]
        )
