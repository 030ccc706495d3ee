"""Adapters inside the engine: factors to packed weights before a pass, accumulators to factor gradients after it.

A weight adapted by low rank is W' = act(xi, W0), xi[o, j] = s B[o] A[j] with j the flattened (in, kernel). Every
packed layout orders its rows and lanes by o and j, so xi is computed where it is needed and W' is never formed in
ONNX's order. A is kept in the order (kernel row, kernel column, in) of the forward layout, B by rank.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lieref._check import check_choice
from lieref._types import Array, FloatArray
from lieref.kernel.simd.low_rank import ADAPT_FIELDS, COLLECT_FIELDS, MAPS, TRANSPOSE_FIELDS
from lieref.model.engine.program import Row


@dataclass(frozen=True)
class LowRank:
    """A low-rank adapter of one weight (O, I / groups, ...).

    Attributes
    ----------
    map : "exp", "taylor1" or "add"
    rank : int
    scaling : float
        The s of xi = s B A.
    row_scale : array (O,) or None
        A further factor of xi's rows: what a folded BatchNormalization multiplies an added weight with.
    """

    map: str
    rank: int
    scaling: float = 1.0
    row_scale: FloatArray | None = None

    def __post_init__(self) -> None:
        check_choice("LowRank", "map", self.map, MAPS)


@dataclass(frozen=True)
class Piece:
    """Rows of a packed matrix whose xi is one outer product.

    Attributes
    ----------
    row, rows : int
        First row and how many.
    transposed : bool
        False: row i belongs to column `start` + i of A and the lanes to B (forward layouts). True: row i belongs to
        row i of B and the lanes to the columns of A from `start` on (backward layouts).
    start : int
    """

    row: int
    rows: int
    transposed: bool
    start: int


@dataclass(frozen=True)
class Columns:
    """Where a packed matrix is: its offset, its rows, and its vector columns (first channel, count, width)."""

    offset: int
    depth: int
    spans: tuple[tuple[int, int, int], ...]


def pieces_of(matrix: Array, columns_of_a: Array, width_of_a: int) -> list[Piece]:
    """Return the outer products that make up an index matrix (rows, lanes) of elements o J + j, J = `width_of_a`."""
    where = {int(j): place for place, j in enumerate(columns_of_a) if j >= 0}
    found: list[Piece] = []
    for number, row in enumerate(matrix):
        lanes = np.flatnonzero(row >= 0)
        if len(lanes) == 0:  # padding: it belongs to the rows above, whose factors end in zeros
            if found:
                found[-1] = replace(found[-1], rows=found[-1].rows + 1)
            continue
        out, j = np.divmod(row[lanes], width_of_a)
        transposed = bool(out[0] == out[-1])
        start = where[int(j[0])] - (int(lanes[0]) if transposed else 0)
        last = found[-1] if found else None
        follows = (
            last is not None
            and last.transposed == transposed
            and ((start == last.start and int(out[0]) == last.rows) if transposed else start == last.start + last.rows)
        )
        if last is not None and follows:
            found[-1] = replace(last, rows=last.rows + 1)
        else:
            found.append(Piece(number, 1, transposed, start))
    return found


@dataclass
class Fused:
    """One adapted weight's place in the factor buffers.

    Attributes
    ----------
    adapter : LowRank
    columns_of_a : int64 array
        For each column of A in engine order, the column in ONNX order, -1 where it is padding.
    channels, padded : int
        Rows of B, and rows with padding.
    a, b : int
        Offsets of both factors among the factors.
    """

    adapter: LowRank
    columns_of_a: Array
    channels: int
    padded: int
    a: int = 0
    b: int = 0
    forward: Columns | None = None

    @property
    def size(self) -> int:
        """Elements of both factors, each padded to whole vectors."""
        return self.adapter.rank * (_whole(len(self.columns_of_a)) + _whole(self.padded))

    @property
    def columns(self) -> int:
        """Columns of A without padding."""
        return int(self.columns_of_a.max()) + 1

    @property
    def numbers(self) -> int:
        """Elements of both factors without padding."""
        return self.adapter.rank * (self.columns + self.channels)

    def place(self, offset: int) -> None:
        """Put both factors from `offset` on."""
        self.a = offset
        self.b = offset + self.adapter.rank * _whole(len(self.columns_of_a))

    def indices(self) -> tuple[Array, Array]:
        """Return for both factors which element of theirs stands at each place of the buffer, -1 for padding."""
        ranks = np.arange(self.adapter.rank)[:, None]
        width = self.columns
        a = np.full((self.adapter.rank, _whole(len(self.columns_of_a))), -1, np.int64)
        a[:, : len(self.columns_of_a)] = np.where(self.columns_of_a < 0, -1, ranks * width + self.columns_of_a)
        b = np.full((self.adapter.rank, _whole(self.padded)), -1, np.int64)
        b[:, : self.channels] = np.arange(self.channels) * self.adapter.rank + ranks
        return a.ravel(), b.ravel()

    def adapt_rows(self, matrix: Columns, pieces: list[Piece]) -> list[Row]:
        """Return the rows that fill a packed matrix."""
        a_rank, b_rank = _whole(len(self.columns_of_a)), _whole(self.padded)
        found = []
        for piece in pieces:
            square = self._transpose_row(matrix, piece)
            if square is not None:
                found.append(square)
                continue
            for first, count, width in matrix.spans:
                ints = {
                    "blocks": count, "column": matrix.depth * width, "rows": piece.rows, "rank": self.adapter.rank,
                    "weight": matrix.offset + first * matrix.depth + piece.row * width,
                }  # fmt: skip
                if piece.transposed:
                    ints |= {"left": self.b, "left_rank": b_rank, "right_rank": a_rank}
                    ints["right"] = self.a + piece.start + first
                else:
                    ints |= {"left": self.a + piece.start, "left_rank": a_rank, "right_rank": b_rank}
                    ints["right"] = self.b + first
                found.append(Row(f"adapt_{self.adapter.map}_w{width}", ADAPT_FIELDS, ints, {}))
        return found

    def _transpose_row(self, matrix: Columns, piece: Piece) -> Row | None:
        """Return the row that fills a piece from the forward layout, if both are made of whole squares."""
        forward = self.forward
        if not piece.transposed or forward is None or len(matrix.spans) != 1 or len(forward.spans) != 1:
            return None
        (_, count, width), (_, columns, other) = matrix.spans[0], forward.spans[0]
        if width != other or piece.rows != columns * width or piece.start + count * width > forward.depth:
            return None
        ints = {
            "blocks": columns, "block_in": forward.depth * width, "block_out": width * width,
            "rows": count, "row_in": width * width, "row_out": matrix.depth * width,
            "in": forward.offset + piece.start * width, "out": matrix.offset + piece.row * width,
        }  # fmt: skip
        return Row(f"transpose_w{width}", TRANSPOSE_FIELDS, ints, {})

    def collect_rows(self, gradient: Columns, runs: list[tuple[int, int, int]]) -> list[Row]:
        """Return the rows that turn accumulators into factor gradients; runs are (row there, column of A, length)."""
        forward = self.forward
        assert forward is not None  # the forward pass packs every weight
        found = []
        for row, start, length in runs:
            for first, count, width in gradient.spans:
                ints = {
                    "blocks": count, "column": forward.depth * width, "gradient_column": gradient.depth * width,
                    "rows": length, "rank": self.adapter.rank,
                    "weight": forward.offset + first * forward.depth + start * width,
                    "gradient": gradient.offset + first * gradient.depth + row * width,
                    "left": self.a + start, "left_rank": _whole(len(self.columns_of_a)),
                    "right": self.b + first, "right_rank": _whole(self.padded),
                }  # fmt: skip
                found.append(Row(f"collect_{self.adapter.map}_w{width}", COLLECT_FIELDS, ints, {}))
        return found


def _whole(count: int) -> int:
    """Round up to whole vectors of the widest kind, a spare one against reading past the last rank."""
    return -(-count // 16) * 16
