"""Linear maps over the pixels of an image that are the same for all channels, as one sparse matrix for each axis.

    y[i, j] = sum_a sum_b rows[i, a] cols[j, b] x[a, b]

Interpolation, padding and means over windows are such maps, and so are their gradients: the transposed matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lieref._types import Array

Tap = tuple[int, float]
"""An input, and its weight."""


class SameWindow(NamedTuple):
    """Outputs that are all the same window: y[i] = weight sum_d x[start + i step + d] over the distances d."""

    start: int
    step: int
    distances: tuple[int, ...]
    weight: float


@dataclass(frozen=True)
class AxisMap:
    """A sparse matrix (outputs, inputs).

    Attributes
    ----------
    taps : tuple of tuple of (int, float)
        For each output the inputs it is a sum of, each once, in ascending order, none with a weight of zero.
    inputs : int
    """

    taps: tuple[tuple[Tap, ...], ...]
    inputs: int

    @classmethod
    def of(cls, indices: Array, weights: Array, inputs: int) -> AxisMap:
        """Return the matrix of rows of indices and weights (outputs, k); an index may come several times."""
        found = []
        for columns, numbers in zip(indices.tolist(), weights.tolist(), strict=True):
            sums: dict[int, float] = {}
            for column, number in zip(columns, numbers, strict=True):
                sums[column] = sums.get(column, 0.0) + number
            found.append(tuple(sorted((column, number) for column, number in sums.items() if number)))
        return cls(tuple(found), inputs)

    @classmethod
    def copies(cls, sources: Sequence[int], inputs: int) -> AxisMap:
        """Return the matrix whose outputs are copies of these inputs, of none where one is below zero."""
        return cls(tuple(((source, 1.0),) if source >= 0 else () for source in sources), inputs)

    @property
    def outputs(self) -> int:
        """Rows of the matrix."""
        return len(self.taps)

    @property
    def count(self) -> int:
        """Taps of all outputs."""
        return sum(map(len, self.taps))

    @property
    def is_identity(self) -> bool:
        """Whether every output is the input of its number."""
        return self == AxisMap.copies(range(self.inputs), self.inputs)

    @property
    def span(self) -> tuple[int, int]:
        """The first output that has taps and the first behind the last that has; (0, 0) where none has."""
        reached = [i for i, taps in enumerate(self.taps) if taps]
        return (reached[0], reached[-1] + 1) if reached else (0, 0)

    @property
    def reach(self) -> tuple[int, int]:
        """The first input that is read and the first behind the last that is."""
        read = [index for taps in self.taps for index, _ in taps]
        return min(read, default=0), max(read, default=-1) + 1

    @property
    def weight(self) -> float | None:
        """The weight of every tap, None where they differ."""
        weights = {weight for taps in self.taps for _, weight in taps}
        return weights.pop() if len(weights) == 1 else None

    @property
    def is_selection(self) -> bool:
        """Whether every output is one input times the same number."""
        return self.weight is not None and all(len(taps) == 1 for taps in self.taps)

    def window(self) -> SameWindow | None:
        """Return the window that all outputs are, None where they are none, or the weights differ."""
        weight = self.weight
        if weight is None or not all(self.taps):
            return None
        starts = [taps[0][0] for taps in self.taps]
        distances = [tuple(index - start for index, _ in taps) for start, taps in zip(starts, self.taps, strict=True)]
        step = starts[1] - starts[0] if len(starts) > 1 else 1
        regular = starts == [starts[0] + i * step for i in range(self.outputs)]
        return SameWindow(starts[0], step, distances[0], weight) if regular and len(set(distances)) == 1 else None

    def part(self, outputs: tuple[int, int], inputs: tuple[int, int]) -> AxisMap:
        """Return the matrix of some outputs, and of inputs among which theirs are, both from one on to before one."""
        first, end = inputs
        taps = self.taps[slice(*outputs)]
        return AxisMap(tuple(tuple((index - first, w) for index, w in own) for own in taps), end - first)

    def transposed(self) -> AxisMap:
        """Return the transposed matrix."""
        found: list[list[Tap]] = [[] for _ in range(self.inputs)]
        for output, taps in enumerate(self.taps):
            for index, weight in taps:
                found[index].append((output, weight))
        return AxisMap(tuple(map(tuple, found)), self.outputs)


@dataclass(frozen=True)
class PixelMap:
    """A map over the pixels of an image.

    Attributes
    ----------
    rows, cols : AxisMap
    fill : float
        What the outputs are that lie before the first or behind the last with taps along one axis or the other.
    """

    rows: AxisMap
    cols: AxisMap
    fill: float = 0.0

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the output; that of the input is the map's own."""
        assert (height, width) == (self.rows.inputs, self.cols.inputs)
        return self.rows.outputs, self.cols.outputs

    def transposed(self) -> PixelMap:
        """Return the map that carries gradients back; a constant has none."""
        return PixelMap(self.rows.transposed(), self.cols.transposed())
