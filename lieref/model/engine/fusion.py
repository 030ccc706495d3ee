"""Adapters inside the engine: factors to packed weights before a pass, accumulators to factor gradients after it.

A weight adapted entry by entry is W' = act(map(xi), W0). Every packed layout orders its rows and lanes by the output
channel o and the flattened (in, kernel) index j, so xi is computed where it is needed and W' is never formed in ONNX's
order. The factors are kept in the order of the forward layout. Other layouts are filled from it, square by square
where rows and lanes change places, else by recomputing or by a list of places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lieref._check import check_choice, check_int, check_real
from lieref._types import Array, FloatArray
from lieref.kernel.simd.adapter import MAPS
from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.row import float_bits
from lieref.kernel.simd.tiles import FormTile, NoTile, WidthTile
from lieref.model.engine.packed_matrix import PackedMatrix
from lieref.model.engine.program import Places, Row

FORMS = ("low_rank", "rows", "channel", "dense")


@dataclass(frozen=True)
class Adapter:
    """An adapter of one weight (O, I / groups, ...) whose entries per output channel are J.

    Attributes
    ----------
    map : str
        A name of `MAPS`.
    form : str
        What xi[o, j] is, and the factors it has:

        ========  ===========================  =====================================
        low_rank  s sum_q b[o, q] a[q, j]      ``lora_a`` (rank, J), ``lora_b`` (O, rank)
        rows      s x[o]                       ``xi`` (O,)
        channel   s b[o] a[o, j]               ``lora_a`` (O, J), ``lora_b`` (O, 1); depthwise weights
        dense     s x[o, j]                    ``xi`` (O, J)
        ========  ===========================  =====================================
    rank : int
        At least 1; 1 where the form is not of low rank.
    scaling : float
        s.
    row_scale : array (O,) or None
        A further factor of xi's rows: what a folded BatchNormalization multiplies an added weight with.
    bound : float
        The c of the map `bounded`.
    """

    map: str
    form: str = "low_rank"
    rank: int = 1
    scaling: float = 1.0
    row_scale: FloatArray | None = None
    bound: float = 1.0

    def __post_init__(self) -> None:
        check_choice("Adapter", "map", self.map, MAPS)
        check_choice("Adapter", "form", self.form, FORMS)
        check_int("Adapter", "rank", self.rank, low=1, high=None if self.form == "low_rank" else 1)
        check_real("Adapter", "scaling", self.scaling)
        check_real("Adapter", "bound", self.bound, above=0.0)

    @property
    def kernel(self) -> str:
        """The form in the names of kernels: equal rows are a low rank whose A is one."""
        return "low_rank" if self.form == "rows" else self.form

    @property
    def outer(self) -> bool:
        """Whether xi is an outer product: it can be recomputed in any layout from one number a row and one a lane."""
        return self.form in ("low_rank", "rows")


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
class Factor:
    """Where the elements of one factor are among the factors, in the order of a packed layout.

    Attributes
    ----------
    name : str
        "" for one that is not trained.
    shape : tuple of int
    offset : int
    index : int64 array
        Element of the factor at each place, ZERO or ONE where there is a constant.
    scale : array
        What multiplies the element at each place.
    """

    name: str
    shape: tuple[int, ...]
    offset: int
    index: Array
    scale: FloatArray


ZERO, ONE = -1, -2


def pieces_of(matrix: Array, columns_of_a: Array, width_of_a: int) -> list[Piece]:
    """Return the outer products that make up an index matrix (rows, lanes) of elements o J + j, J = `width_of_a`."""
    real = np.flatnonzero(columns_of_a >= 0)
    where = np.zeros(width_of_a, np.int64)
    where[columns_of_a[real]] = real
    found: list[Piece] = []
    for number, row in enumerate(matrix):
        lanes = np.flatnonzero(row >= 0)
        if len(lanes) == 0:  # padding: it belongs to the rows above, whose factors end in zeros
            if found:
                found[-1] = replace(found[-1], rows=found[-1].rows + 1)
            continue
        out, j = np.divmod(row[lanes], width_of_a)
        transposed = bool(out[0] == out[-1])
        start = int(where[j[0]]) - (int(lanes[0]) if transposed else 0)
        # Lanes follow the rows of the forward layout, or all belong to the one that this row does.
        assert (where[j] == start + (lanes if transposed else 0)).all()
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
    """One adapted weight: its forward layout, and the place of its factors.

    Attributes
    ----------
    adapter : Adapter
    matrix : int64 array (depth, padded channels)
        Element o J + j of the weight at each place of the forward layout, -1 where it is padding.
    forward : PackedMatrix
    channels, width : int
        O and J.
    left, right : int
        Offsets of a and b among the factors.
    """

    adapter: Adapter
    matrix: Array
    forward: PackedMatrix
    channels: int
    width: int
    left: int
    right: int = 0

    def __post_init__(self) -> None:
        depth, padded = self.matrix.shape
        rows = self.adapter.rank * _whole(depth) if self.adapter.outer else _whole(depth * padded)
        self.right = self.left + rows

    @property
    def columns_of_a(self) -> Array:
        """For each row of the forward layout the j it belongs to, -1 where it is padding."""
        real = self.matrix >= 0
        first = self.matrix[np.arange(len(self.matrix)), real.argmax(1)]
        return np.where(real.any(1), first % self.width, -1)

    @property
    def size(self) -> int:
        """Elements of both factors, each padded to whole vectors."""
        return self.right - self.left + self.adapter.rank * _whole(self.matrix.shape[1])

    @property
    def regions(self) -> list[tuple[int, int]]:
        """Where both factors are among all, and how many elements each takes: the second none where there is one."""
        return [(self.left, self.right - self.left), (self.right, self.left + self.size - self.right)]

    def factors(self) -> list[Factor]:
        """Return the factors a and b, those that the form has."""
        form, rank = self.adapter.form, self.adapter.rank
        depth, padded = self.matrix.shape
        scale = np.full(self.channels, self.adapter.scaling)
        if self.adapter.row_scale is not None:
            scale = scale * self.adapter.row_scale
        if self.adapter.outer:
            columns = np.full((rank, _whole(depth)), ZERO, np.int64)
            rows = np.full((rank, _whole(padded)), ZERO, np.int64)
            ranks = np.arange(rank)[:, None]
            of_a = self.columns_of_a
            columns[:, :depth] = np.where(of_a < 0, ZERO, ONE if form == "rows" else ranks * self.width + of_a)
            rows[:, : self.channels] = np.arange(self.channels) * rank + ranks
            b_scale = np.where(rows < 0, 1.0, scale[rows // rank])
            a_name, b_name = ("", "xi") if form == "rows" else ("lora_a", "lora_b")
            shape = (self.channels,) if form == "rows" else (self.channels, rank)
            a = Factor(a_name, (rank, self.width), self.left, columns.ravel(), np.ones(columns.size))
            return [a, Factor(b_name, shape, self.right, rows.ravel(), b_scale.ravel())]
        packed = self.forward.pack(self.matrix)
        shape = (self.channels, self.width)
        if form == "dense":
            entries_scale = np.where(packed < 0, 1.0, scale[packed // self.width])
            return [Factor("xi", shape, self.left, packed, entries_scale)]
        lanes = np.full(_whole(padded), ZERO, np.int64)
        lanes[: self.channels] = np.arange(self.channels)
        lane_scale = np.where(lanes < 0, 1.0, scale[lanes])
        return [
            Factor("lora_a", shape, self.left, packed, np.ones(packed.size)),
            Factor("lora_b", (self.channels, 1), self.right, lanes, lane_scale),
        ]

    def adapt_rows(self, matrix: Array, columns: PackedMatrix, zero: int) -> list[Row]:
        """Return the rows that fill a packed matrix of the weight; `zero` is the place of a zero weight."""
        if columns is self.forward:
            return self._compute(Piece(0, columns.depth, False, 0), columns)
        pieces = pieces_of(matrix, self.columns_of_a, self.width)
        squares = [self._transpose_row(columns, piece) for piece in pieces]
        if not self.adapter.outer and None in squares:
            return [self._permute_row(matrix, columns, zero)]
        found: list[Row] = []
        for piece, square in zip(pieces, squares, strict=True):
            found += [square] if square is not None else self._compute(piece, columns)
        return found

    def _compute(self, piece: Piece, columns: PackedMatrix) -> list[Row]:
        """Return the rows that compute a piece from the factors, one a span of vector columns."""
        found = []
        for first, count, width in columns.spans:
            ints = {
                "blocks": count, "column": columns.depth * width, "rows": piece.rows, "rank": self.adapter.rank,
                "weight": columns.offset + first * columns.depth + piece.row * width,
                "bound": float_bits(self.adapter.bound), **self._factor_fields(first, width, piece),
            }  # fmt: skip
            found.append(Row(self._kernel("adapt", width), ints, {}))
        return found

    def _kernel(self, does: str, width: int) -> KernelName:
        return KernelName(f"{does}_{self.adapter.map}", FormTile(self.adapter.kernel, width))

    def _factor_fields(self, first: int, width: int, piece: Piece) -> dict[str, int]:
        """Return where a and b start for the lanes from channel `first` on and the rows of a piece."""
        depth, padded = self.matrix.shape
        a_rank, b_rank = _whole(depth), _whole(padded)
        if not self.adapter.outer:
            left = self.left + first * depth + piece.start * width
            column = {"left_column": depth * width, "left_rank": 0, "right_rank": 0}
            return {"left": left, "right": self.right + first, **column}
        if piece.transposed:
            ranks = {"left_rank": b_rank, "right_rank": a_rank, "left_column": 0}
            return {"left": self.right, "right": self.left + piece.start + first, **ranks}
        ranks = {"left_rank": a_rank, "right_rank": b_rank, "left_column": 0}
        return {"left": self.left + piece.start, "right": self.right + first, **ranks}

    def _transpose_row(self, columns: PackedMatrix, piece: Piece) -> Row | None:
        """Return the row that fills a piece from the forward layout, if both are made of whole squares."""
        forward = self.forward
        if not piece.transposed or len(columns.spans) != 1 or len(forward.spans) != 1:
            return None
        (_, count, width), (_, blocks, other) = columns.spans[0], forward.spans[0]
        if width != other or piece.rows != blocks * width or piece.start + count * width > forward.depth:
            return None
        ints = {
            "blocks": blocks, "block_in": forward.depth * width, "block_out": width * width,
            "rows": count, "row_in": width * width, "row_out": columns.depth * width,
            "in": forward.offset + piece.start * width, "out": columns.offset + piece.row * width,
        }  # fmt: skip
        return Row(KernelName("transpose", WidthTile(width)), ints, {})

    def _permute_row(self, matrix: Array, columns: PackedMatrix, zero: int) -> Row:
        """Return the row that fills a matrix element by element from the forward layout."""
        packed = self.forward.pack(self.matrix)
        place = np.full(self.channels * self.width, zero, np.int64)
        place[packed[packed >= 0]] = self.forward.offset + np.flatnonzero(packed >= 0)
        wanted = columns.pack(matrix)
        places = np.where(wanted < 0, zero, place[wanted])
        ints = {"count": len(places), "out": columns.offset}
        return Row(KernelName("permute", NoTile()), ints, {}, {"places": Places(tuple(places.tolist()))})

    def collect_rows(self, gradient: PackedMatrix, runs: list[tuple[int, int, int]]) -> list[Row]:
        """Return the rows that turn accumulators into factor gradients; runs are (row there, row here, length)."""
        found = []
        for row, start, length in runs:
            for first, count, width in gradient.spans:
                ints = {
                    "blocks": count, "column": self.forward.depth * width, "gradient_column": gradient.depth * width,
                    "rows": length, "rank": self.adapter.rank, "bound": float_bits(self.adapter.bound),
                    "weight": self.forward.offset + first * self.forward.depth + start * width,
                    "gradient": gradient.offset + first * gradient.depth + row * width,
                    **self._factor_fields(first, width, Piece(start, length, False, start)),
                }  # fmt: skip
                found.append(Row(self._kernel("collect", width), ints, {}))
        return found


def _whole(count: int) -> int:
    """Round up to whole vectors of the widest kind, so that a vector never reaches into the next rank."""
    return -(-count // 16) * 16
