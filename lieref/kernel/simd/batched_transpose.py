"""Matrices that are activations, copied to where their columns are neighbours: out[m, k, j] = in[m, k, j].

A product takes the numbers of its right factor by vectors. Where the rows k are neighbours instead, as of a transposed
matrix, squares are turned in registers: of a square of n, in log2(n) rounds, halves of vectors are exchanged between
those that are a power of two apart. Squares of one number serve what is left over, whatever its steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, access, steps
from lieref.kernel.simd.emit import Real
from lieref.kernel.simd.epilogue import tile_starts
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import SquareTile

TRANSPOSE_FIELDS = Fields(
    "matrices", "rows", "columns",
    "in", "in_matrix", "in_row", "in_column",  # in_row is 1 for squares of more than one number
    "out", "out_matrix", "out_row",
)  # fmt: skip

SQUARES = (8, 4, 1)
"""Sides of the squares."""


def batched_transpose_accesses(f: Numbers, tile: SquareTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    matrices, rows, columns = f["matrices"], f["rows"], f["columns"]
    source = steps((matrices, f["in_matrix"]), (rows, f["in_row"]), (columns, f["in_column"]))
    target = steps((matrices, f["out_matrix"]), (rows, f["out_row"]), (columns, 1))
    return [*access("arena", "in", f["in"], source), *access("arena", "out", f["out"], target, written=True)]


def emit_batched_transpose(module: ir.Module, name: str, dtype: str, tile: SquareTile) -> None:
    """Emit the kernel for squares of a side; the last of a row or a column overlaps the one before."""
    (side,) = tile
    k = Kernel(module, name, dtype, TRANSPOSE_FIELDS, side)
    with k.loop(k.field("matrices")) as matrix:
        source = k.base("arena", "in") + matrix * k.field("in_matrix")
        target = k.base("arena", "out") + matrix * k.field("out_matrix")
        with tile_starts(k, k.field("columns"), side) as column, tile_starts(k, k.field("rows"), side) as row:
            place = source + (row * k.field("in_row") + column * k.field("in_column"))
            lines = [place.vector_at(k.field("in_column") * i, side) for i in range(side)]
            for i, line in enumerate(_turned(k, lines)):
                target.store((row + i) * k.field("out_row") + column, line)
    k.finish()


# Let s halve from n / 2 to 1. Vectors i and i + s, where i has no s in it, give for their lanes j and j + s
#     (a[j], b[j])  and  (a[j + s], b[j + s]),
# so that bit s of the vector's number and of the lane's change places: after all rounds, all bits have.
def _turned(k: Kernel, lines: list[Real]) -> list[Real]:
    """Return the columns of a square of vectors."""
    side = len(lines)
    step = side // 2
    while step:
        first = [j - step + side if j & step else j for j in range(side)]  # lanes of the second are numbered on
        second = [j + step for j in first]
        turned = list(lines)
        for i in range(side):
            if not i & step:
                turned[i] = k.shuffle(lines[i], lines[i + step], first)
                turned[i + step] = k.shuffle(lines[i], lines[i + step], second)
        lines = turned
        step //= 2
    return lines
