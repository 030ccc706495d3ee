"""Adapters inside the engine: factors to packed weights before a pass, accumulators to factor gradients after it.

A weight adapted entry by entry is W' = act(map(xi), W0). Every packed layout orders its rows and lanes by the output
channel o and the flattened (in, kernel) index j, so xi is computed where it is needed and W' is never formed in ONNX's
order. The factors are kept in the order of the forward layout. Other layouts are filled from it, square by square
where rows and lanes change places, else by recomputing or by a list of places.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from lieref._check import check_choice, check_int, check_real
from lieref._types import FloatArray
from lieref.kernel.simd.adapter import MAPS
from lieref.kernel.simd.kernels import KernelName
from lieref.kernel.simd.row import float_bits
from lieref.kernel.simd.tiles import FormTile, NoTile, WidthTile
from lieref.model.engine.instruction import Instruction
from lieref.model.engine.layout import Layout, WeightAxes

FORMS = ("low_rank", "rows", "channel", "dense")


@dataclass(frozen=True)
class Adapter:
    """An adapter of one weight (O, I / groups, ...) whose entries per output channel are J; G are its groups.

    A depthwise weight counts as one group.

    Attributes
    ----------
    map : str
        A name of `MAPS`.
    form : str
        What xi[o, j] is, and the factors it has:

        ========  ===========================  =====================================
        low_rank  s sum_q b[o, q] a[g, q, j]   ``lora_a`` (G rank, J), ``lora_b`` (O, rank), g the group of o
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
    output : int
        Of a transposed one the place of row 0 in B.
    """

    row: int
    rows: int
    transposed: bool
    start: int
    output: int = 0


class Permutation(NamedTuple):
    """Where each place of the layout `target` has its element in `source`; `zero` for what has none."""

    source: Layout
    target: Layout
    zero: int

    def offsets(self) -> list[int]:
        """Return the offsets in elements."""
        found: list[int] = self.target.arranged(self.source.places(), self.zero).tolist()
        return found


class Run(NamedTuple):
    """Rows of accumulators that are as many rows of the forward layout: those of one tap, or of several."""

    row: int
    forward: int
    rows: int


@dataclass(frozen=True)
class Fused:
    """An adapted weight, or one group of it: its forward layout, and the place of its factors.

    Attributes
    ----------
    adapter : Adapter
    axes : WeightAxes
        (O, I, kh, kw), J = I kh kw.
    forward : Layout
        Of several groups joined to a dense matrix, the blocks of this one.
    left : int
        Offset of a among the factors; b follows it.
    number : int
        Groups of the weight before this one: their factors are stacked along the first axis.
    joined : bool
        Whether the rows between the blocks are those of other groups, not zeros.
    """

    adapter: Adapter
    axes: WeightAxes
    forward: Layout
    left: int
    number: int = 0
    joined: bool = False

    @property
    def right(self) -> int:
        """Offset of b among the factors."""
        rows = self.forward.depth if self.adapter.outer else self.forward.size
        return self.left + (self.adapter.rank if self.adapter.outer else 1) * whole_vectors(rows)

    @property
    def size(self) -> int:
        """Elements of both factors, each padded to whole vectors."""
        return self.right - self.left + self.adapter.rank * whole_vectors(self.forward.lanes)

    @property
    def row_of_tap(self) -> dict[int, int]:
        """The first row of each tap in the forward layout, by the tap's first element of the weight."""
        return {block.start: block.row for block in self.forward.blocks}

    @property
    def regions(self) -> list[tuple[int, int]]:
        """Where both factors are among all, and how many elements each takes: the second none where there is one."""
        return [(self.left, self.right - self.left), (self.right, self.left + self.size - self.right)]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the trained factors by their names; see `Adapter`."""
        o, rank = self.axes.shape[0], self.adapter.rank
        j = self.axes.size // o
        found: dict[str, dict[str, tuple[int, ...]]] = {
            "low_rank": {"lora_a": (rank, j), "lora_b": (o, rank)}, "rows": {"xi": (o,)},
            "channel": {"lora_a": (o, j), "lora_b": (o, 1)}, "dense": {"xi": (o, j)},
        }  # fmt: skip
        return found[self.adapter.form]

    def adapt(self, layout: Layout, zero: int) -> tuple[list[Instruction], bool]:
        """Return the instructions that fill a packed matrix of the weight, and whether they read the base in its place.

        `zero` is the place of a zero weight.
        """
        if layout is self.forward and not self.joined:
            return self._compute(Piece(0, layout.depth, False, 0), layout), True
        pieces = self._pieces(layout)
        squares = [self._transpose(layout, piece) for piece in pieces]
        if not self.adapter.outer and None in squares:
            return [self._permute(layout, zero)], False
        found: list[Instruction] = []
        for piece, square in zip(pieces, squares, strict=True):
            found += [square] if square is not None else self._compute(piece, layout)
        return found, None in squares

    def _pieces(self, layout: Layout) -> list[Piece]:
        """Return the outer products that make up a layout, each with the rows of zeros behind it."""
        found: list[Piece] = []
        row_of_tap, outputs = self.row_of_tap, (self.axes.shape[0] // self.axes.parts, self.axes.strides[0])
        lane_of_tap = {block.start: block.lane for block in self.forward.blocks}
        end = dict(pairwise([*dict.fromkeys(block.row for block in layout.blocks), layout.depth]))
        for block in layout.blocks:
            transposed = (block.rows, block.row_step) == outputs
            start = row_of_tap[block.start] - (block.lane if transposed else 0)
            rows = block.rows if self.joined else end[block.row] - block.row
            piece = Piece(block.row, rows, transposed, start, lane_of_tap[block.start] if transposed else 0)
            last = found[-1] if found else piece
            if piece == last:  # the taps side by side of a whole image follow one another in the forward layout too
                found[-1:] = [piece]
            elif not transposed and (piece.row - last.row, piece.start - last.start) == (last.rows, last.rows):
                found[-1] = replace(last, rows=last.rows + piece.rows)
            else:
                found.append(piece)
        return found

    def _compute(self, piece: Piece, layout: Layout) -> list[Instruction]:
        """Return the instructions that compute a piece from the factors, one a span of panels."""
        found = []
        for first, count, width in layout.spans:
            ints = {
                "blocks": count, "column": layout.depth * width, "rows": piece.rows, "rank": self.adapter.rank,
                "weight": layout.offset + first * layout.depth + piece.row * width,
                "bound": float_bits(self.adapter.bound), **self._factor_fields(first, width, piece),
            }  # fmt: skip
            found.append(Instruction(self._kernel("adapt", width), ints, {}))
        return found

    def _kernel(self, does: str, width: int) -> KernelName:
        return KernelName(f"{does}_{self.adapter.map}", FormTile(self.adapter.kernel, width))

    def _factor_fields(self, first: int, width: int, piece: Piece) -> dict[str, int]:
        """Return where a and b start for the lanes from channel `first` on and the rows of a piece.

        The kernel's left factor has a number a row: a, but b where the piece is transposed.
        """
        depth = self.forward.depth
        a_rank, b_rank = whole_vectors(depth), whole_vectors(self.forward.lanes)
        if not self.adapter.outer:
            left = self.left + first * depth + piece.start * width
            column = {"left_column": depth * width, "left_rank": 0, "right_rank": 0}
            return {"left": left, "right": self.right + first, **column}
        if piece.transposed:
            ranks = {"left_rank": b_rank, "right_rank": a_rank, "left_column": 0}
            return {"left": self.right + piece.output, "right": self.left + piece.start + first, **ranks}
        ranks = {"left_rank": a_rank, "right_rank": b_rank, "left_column": 0}
        return {"left": self.left + piece.start, "right": self.right + first, **ranks}

    def _transpose(self, layout: Layout, piece: Piece) -> Instruction | None:
        """Return the instruction that fills a piece from the forward layout, if both are made of whole squares."""
        forward = self.forward
        if self.joined or not piece.transposed or len(layout.spans) != 1 or len(forward.spans) != 1:
            return None
        (_, count, width), (_, blocks, other) = layout.spans[0], forward.spans[0]
        own = blocks // self.axes.parts  # panels of the outputs that are the rows
        if width != other or piece.rows != own * width or piece.start + count * width > forward.depth:
            return None
        ints = {
            "blocks": own, "block_in": forward.depth * width, "block_out": width * width,
            "rows": count, "row_in": width * width, "row_out": layout.depth * width,
            "in": forward.offset + piece.output * forward.depth + piece.start * width,
            "out": layout.offset + piece.row * width,
        }  # fmt: skip
        return Instruction(KernelName("transpose", WidthTile(width)), ints, {})

    def _permute(self, layout: Layout, zero: int) -> Instruction:
        """Return the instruction that fills a layout element by element from the forward layout."""
        ints = {"count": layout.size, "out": layout.offset}
        return Instruction(
            KernelName("permute", NoTile()), ints, {}, {"places": Permutation(self.forward, layout, zero)}
        )

    def collect(self, sums: Layout) -> list[Instruction]:
        """Return the instructions that add to the factor gradients what follows from accumulators.

        They read the weight, and write the factor gradients, by the forward layout.
        """
        runs: list[Run] = []
        row_of_tap = self.row_of_tap
        for block in sums.blocks:
            run = Run(block.row, row_of_tap[block.start], block.rows)
            last = runs[-1] if runs else run
            if run in runs:  # other lanes of the same rows
                continue
            # Taps join where nothing lies between them: the sums in rows that only pad may be anything.
            if (run.row - last.row, run.forward - last.forward) == (last.rows, last.rows):
                runs[-1] = last._replace(rows=last.rows + run.rows)
            else:
                runs.append(run)
        found = []
        forward = self.forward
        for row, start, rows in runs:
            for first, count, width in sums.spans:
                ints = {
                    "blocks": count, "column": forward.depth * width, "gradient_column": sums.depth * width,
                    "rows": rows, "rank": self.adapter.rank, "bound": float_bits(self.adapter.bound),
                    "weight": forward.offset + first * forward.depth + start * width,
                    "gradient": sums.offset + first * sums.depth + row * width,
                    **self._factor_fields(first, width, Piece(start, rows, False, start)),
                }  # fmt: skip
                found.append(Instruction(self._kernel("collect", width), ints, {}))
        return found


def whole_vectors(count: int) -> int:
    """Round up to whole vectors of the widest kind, so that a vector never reaches into the next rank."""
    return -(-count // 16) * 16
