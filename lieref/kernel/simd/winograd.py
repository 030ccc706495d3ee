"""Winograd's minimal filtering for 3x3 kernels: the transforms around products taken one frequency at a time.

    Y = A^T [ (G w G^T) * (B^T x B) ] A                         [Lavin16], equation 8, * entry by entry, summed over in
    w_bar = G^T [ sum_tiles (B^T x B) * (A g A^T) ] G            its adjoint in w

The adjoint, with V = B^T x B: <g, A^T [(G w G^T) * V] A> = <(A g A^T) * V, G w G^T> = <G^T [(A g A^T) * V] G, w>. The
gradient in x is a 3x3 convolution of g with the kernel turned, so it goes the first way.

F(m x m, 3 x 3) makes m x m outputs from (m + 2)^2 products instead of 9 m^2: 2.25 times fewer for m = 2, 4 times for
m = 4. A transform acts on a square of vectors, so all channels of a vector go through it at once; its coefficients are
constants in the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from llvmlite import ir

from lieref._types import FloatArray
from lieref.kernel.simd.access import Access, Numbers, access, steps
from lieref.kernel.simd.emit import Int, Pointer, Real, Variable
from lieref.kernel.simd.epilogue import EPILOGUE_FIELDS, emit_epilogue, epilogue_accesses
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import TransformTile

INPUT: dict[int, FloatArray] = {
    2: np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], float),
    4: np.array(
        [
            [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
        ],
        float,
    ),
}  # fmt: skip
"""B^T of F(m x m, 3 x 3), by m: the points 0, 1, -1 and infinity, for m = 4 also 2 and -2."""

WEIGHT: dict[int, FloatArray] = {
    2: np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
    4: np.array([
        [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
    ]),
}  # fmt: skip
"""G."""

OUTPUT: dict[int, FloatArray] = {
    2: np.array([[1, 1, 1, 0], [0, 1, -1, -1]], float),
    4: np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], float),
}
"""A^T."""

TILE_FIELDS = Fields(
    "tile_rows", "tile_cols", "blocks",  # tiles, and vectors of channels
    "in", "in_row", "in_pixel", "in_tile_row", "in_tile_pixel",
    "out", "out_row", "out_pixel",  # row: from one frequency to the next; pixel: from one tile to the next
)  # fmt: skip

OUTPUT_TILE_FIELDS = Fields(
    "tile_rows", "tile_cols", "blocks",
    "in", "in_row", "in_pixel",
    *EPILOGUE_FIELDS,
)  # fmt: skip

WEIGHT_FIELDS = Fields(
    "blocks", "rows",  # vector columns and their rows
    "in", "in_column", "in_step",  # step: from one tap or frequency to the next
    "out", "out_column", "out_step",
)  # fmt: skip

Square = list[list[Real]]


def combine(terms: list[tuple[float, Real]]) -> Real:
    """Return the sum of coefficient times vector, skipping multiplications by one."""
    total: Real | None = None
    for c, v in sorted(terms, key=lambda term: (abs(term[0]) != 1, term[0] < 0)):
        if total is None:
            total = v if c == 1 else -v if c == -1 else v * c
        else:
            total = total + v if c == 1 else total - v if c == -1 else v.muladd(c, total)
    assert total is not None  # no row of these matrices is zero
    return total


def apply(matrix: FloatArray, x: list[Real]) -> list[Real]:
    """Return M x for a list of vectors, with the sums and differences that the points +p and -p share computed once.

    Where two columns of M differ by signs alone, their vectors enter as sum and difference. Where two rows differ by
    the signs of every other column, they are the sum and the difference of two half rows.
    """
    rows = [{j: float(c) for j, c in enumerate(row) if c} for row in matrix]
    vectors = dict(enumerate(x))
    pairs = _mirrored(matrix.T)
    for j, k in pairs:
        total, difference = len(vectors), len(vectors) + 1
        vectors[total], vectors[difference] = vectors[j] + vectors[k], vectors[j] - vectors[k]
        for row in rows:
            if j in row:
                c, other = row.pop(j), row.pop(k)
                row[total if c == other else difference] = c
    found: dict[int, Real] = {}
    for r, s in _mirrored(matrix) if not pairs else []:
        same = [(c, vectors[j]) for j, c in rows[r].items() if rows[s][j] == c]
        turned = [(c, vectors[j]) for j, c in rows[r].items() if rows[s][j] == -c]
        half, other_half = combine(same), combine(turned)
        found[r], found[s] = half + other_half, half - other_half
    return [found.get(r) or combine([(c, vectors[j]) for j, c in row.items()]) for r, row in enumerate(rows)]


def _mirrored(lines: FloatArray) -> list[tuple[int, int]]:
    """Return disjoint pairs of lines that are equal up to signs, some of them equal and some opposite."""
    pairs: list[tuple[int, int]] = []
    for r in range(len(lines) - 1):
        taken = {i for pair in pairs for i in pair}
        a, b = lines[r], lines[r + 1]
        if r not in taken and np.array_equal(np.abs(a), np.abs(b)) and (a != b).any() and (a != -b).any():
            pairs.append((r, r + 1))
    return pairs


def transform(matrix: FloatArray, x: Square) -> Square:
    """Return M X M^T for a square of vectors."""
    columns = [apply(matrix, [line[j] for line in x]) for j in range(len(x))]
    return [apply(matrix, [column[i] for column in columns]) for i in range(len(matrix))]


def _transform_accesses(f: Numbers, width: int, into: int, size: int) -> list[Access]:
    """Return what the transform of squares of `size` into `into` frequencies accesses."""
    rows, cols, channels = f["tile_rows"], f["tile_cols"], steps((f["blocks"] * width, 1))
    tiles = steps((rows, f["in_tile_row"]), (cols, f["in_tile_pixel"]))
    square = steps((size, f["in_row"]), (size, f["in_pixel"]))
    found = steps((rows * cols, f["out_pixel"]), (into, f["out_row"]))
    return [
        *access("arena", "in", f["in"], tiles, square, channels),
        *access("arena", "out", f["out"], found, channels, written=True),
    ]


def input_accesses(f: Numbers, tile: TransformTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the transform of inputs accesses."""
    return _transform_accesses(f, tile.width, (tile.m + 2) ** 2, tile.m + 2)


def gradient_accesses(f: Numbers, tile: TransformTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the transform of gradients of outputs accesses."""
    return _transform_accesses(f, tile.width, (tile.m + 2) ** 2, tile.m)


def output_accesses(f: Numbers, tile: TransformTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the transform into outputs accesses."""
    rows, cols, channels = f["tile_rows"], f["tile_cols"], steps((f["blocks"] * tile.width, 1))
    source = steps((rows * cols, f["in_pixel"]), ((tile.m + 2) ** 2, f["in_row"]))
    return [
        *access("arena", "in", f["in"], source, channels),
        *epilogue_accesses(
            f, channels, lambda t: steps((rows * tile.m, f[f"{t}_row"]), (cols * tile.m, f[f"{t}_pixel"]))
        ),
    ]


def _weight_accesses(f: Numbers, width: int, memory: str, taken: int, made: int) -> list[Access]:
    rows = f["rows"] * width
    source = steps((f["blocks"], f["in_column"]), (taken, f["in_step"]), (rows, 1))
    target = steps((f["blocks"], f["out_column"]), (made, f["out_step"]), (rows, 1))
    return [
        *access(memory, "in", f["in"], source),
        *access(memory, "out", f["out"], target, written=True),
    ]


def weight_accesses(f: Numbers, tile: TransformTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the transform of weights accesses."""
    return _weight_accesses(f, tile.width, "weights", 9, (tile.m + 2) ** 2)


def weight_back_accesses(f: Numbers, tile: TransformTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the transform of weight gradients accesses."""
    return _weight_accesses(f, tile.width, "gradients", (tile.m + 2) ** 2, 9)


def emit_tile_transform(module: ir.Module, name: str, dtype: str, matrix: FloatArray, width: int) -> None:
    """Emit the transform of every tile of an image into frequencies: B^T x B of inputs, A g A^T of gradients."""
    k = Kernel(module, name, dtype, TILE_FIELDS, width)
    n, p = matrix.shape[1], matrix.shape[0]
    arena = k.base("arena")
    cols = k.field("tile_cols")
    with k.loop(k.field("tile_rows")) as ty, k.loop(cols) as tx, k.loop(k.field("blocks")) as block:
        source = arena + (k.field("in") + ty * k.field("in_tile_row") + tx * k.field("in_tile_pixel") + block * width)
        target = arena + (k.field("out") + (ty * cols + tx) * k.field("out_pixel") + block * width)
        x = [
            [source.vector_at(k.field("in_row") * i + k.field("in_pixel") * j, width) for j in range(n)]
            for i in range(n)
        ]
        y = transform(matrix, x)
        for i in range(p):
            for j in range(p):
                target.store(k.field("out_row") * (i * p + j), y[i][j])
    k.finish()


def emit_output_transform(module: ir.Module, name: str, dtype: str, m: int, width: int) -> None:
    """Emit A^T M A and the epilogue of a convolution, tile by tile."""
    k = Kernel(module, name, dtype, OUTPUT_TILE_FIELDS, width)
    matrix = OUTPUT[m]
    p = matrix.shape[1]
    arena = k.base("arena")
    cols = k.field("tile_cols")
    with k.loop(k.field("tile_rows")) as ty, k.loop(cols) as tx, k.loop(k.field("blocks")) as block:
        channel = block * width
        source = arena + (k.field("in") + (ty * cols + tx) * k.field("in_pixel") + channel)
        frequencies = [[source.vector_at(k.field("in_row") * (i * p + j), width) for j in range(p)] for i in range(p)]
        y = transform(matrix, frequencies)
        tile = [[Variable(y[i][j])] for i in range(m) for j in range(m)]
        emit_epilogue(k, tile, channel, partial(square_pixels, k, ty * m, tx * m, m))
    k.finish()


def square_pixels(k: Kernel, y: Int, x: Int, size: int, tensor: str) -> list[Int]:
    """Return the offsets of the pixels of a square, row by row, whose first is (y, x)."""
    row, pixel = k.field(f"{tensor}_row"), k.field(f"{tensor}_pixel")
    corner = k.field(tensor) + y * row + x * pixel
    return [corner + row * i + pixel * j for i in range(size) for j in range(size)]


def emit_weight_transform(
    module: ir.Module, name: str, dtype: str, matrix: FloatArray, width: int, memory: str
) -> None:
    """Emit the transform of packed 3x3 weights into frequencies (G w G^T), or of gradients back (G^T . G)."""
    k = Kernel(module, name, dtype, WEIGHT_FIELDS, width)
    n, p = matrix.shape[1], matrix.shape[0]
    base = k.base(memory)
    with k.loop(k.field("blocks")) as block, k.loop(k.field("rows")) as row:
        source: Pointer = base + (k.field("in") + block * k.field("in_column") + row * width)
        target: Pointer = base + (k.field("out") + block * k.field("out_column") + row * width)
        x = [[source.vector_at(k.field("in_step") * (i * n + j), width) for j in range(n)] for i in range(n)]
        y = transform(matrix, x)
        for i in range(p):
            for j in range(p):
                target.store(k.field("out_step") * (i * p + j), y[i][j])
    k.finish()


def emit_input(module: ir.Module, name: str, dtype: str, tile: TransformTile) -> None:
    """Emit the transform of inputs."""
    emit_tile_transform(module, name, dtype, INPUT[tile.m], tile.width)


def emit_gradient(module: ir.Module, name: str, dtype: str, tile: TransformTile) -> None:
    """Emit the transform of gradients of outputs; that of weight gradients is `emit_weight_back`."""
    emit_tile_transform(module, name, dtype, OUTPUT[tile.m].T, tile.width)


def emit_output(module: ir.Module, name: str, dtype: str, tile: TransformTile) -> None:
    """Emit the transform into outputs."""
    emit_output_transform(module, name, dtype, tile.m, tile.width)


def emit_weight(module: ir.Module, name: str, dtype: str, tile: TransformTile) -> None:
    """Emit the transform of weights."""
    emit_weight_transform(module, name, dtype, WEIGHT[tile.m], tile.width, "weights")


def emit_weight_back(module: ir.Module, name: str, dtype: str, tile: TransformTile) -> None:
    """Emit the transform of weight gradients."""
    emit_weight_transform(module, name, dtype, WEIGHT[tile.m].T, tile.width, "gradients")
