"""Numbers to other places: copies along two inner loops of fixed steps, from each pair of starts in a table.

    move       out[o_s + a o_a + b o_b]  = in[i_s + a i_a + b i_b]
    add_moved  out[o_s + a o_a + b o_b] += in[i_s + a i_a + b i_b]     its gradient, where a number is taken twice

The table holds the steps i_a, o_a, i_b, o_b, then the starts i_s, o_s of each pair; pairs are worked at in their order.
`move_runs` and `add_moved_runs` are the same where the inner steps are 1: whole vectors, and the rest one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, Range, access, entries, steps
from lieref.kernel.simd.emit import Int, Pointer
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import NoTile, WidthTile

MOVE_FIELDS = Fields(
    "count",  # pairs of starts
    "outer", "inner",  # turns of the two loops
    "in", "out",
    "moves",  # where the steps and the starts are, in the table
)  # fmt: skip

STEPS = 4
"""Entries of the table before the starts."""

UNROLL = 4
"""Numbers that are in flight together."""


def move_accesses(f: Numbers, tile: NoTile | WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    start, count = f["moves"], f["count"]
    found = access("table", "moves", start, steps((STEPS + 2 * count, 1)))
    in_a, out_a, in_b, out_b = (table[start + i] if 0 <= start + i < len(table) else 0 for i in range(STEPS))
    for operand, turn, a, b in (("in", 0, in_a, in_b), ("out", 1, out_a, out_b)):
        walked = steps((f["outer"], a), (f["inner"], b))
        found += access("arena", operand, f[operand], _starts(table, start + STEPS + turn, count), walked,
                        written=operand == "out")  # fmt: skip
    return found


def _starts(table: Sequence[int], first: int, count: int) -> Range | None:
    """Return the least and the largest of every other entry."""
    return entries(table[first : first + 2 * count : 2], 0, count)


def emit_move(module: ir.Module, name: str, dtype: str, tile: NoTile) -> None:
    """Emit the copy, number by number."""
    _emit_numbers(module, name, dtype, lambda x, y: x)


def emit_add_moved(module: ir.Module, name: str, dtype: str, tile: NoTile) -> None:
    """Emit the sum, number by number."""
    _emit_numbers(module, name, dtype, lambda x, y: y + x)


def emit_move_runs(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the copy of neighbours."""
    _emit_runs(module, name, dtype, tile, lambda x, y: x)


def emit_add_moved_runs(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the sum of neighbours."""
    _emit_runs(module, name, dtype, tile, lambda x, y: y + x)


Store = Callable[..., object]
"""What is stored, of the number that is moved and the one that was there."""


def _emit_numbers(module: ir.Module, name: str, dtype: str, stored: Store) -> None:
    k = Kernel(module, name, dtype, MOVE_FIELDS, 1)

    def inner(x: Pointer, y: Pointer, in_b: Int, out_b: Int) -> None:
        def some(first: Int, count: int) -> None:
            for i in range(count):
                at = y + (first + i) * out_b
                at.store(0, stored(x.real_at((first + i) * in_b), at.real_at(0)))  # type: ignore[arg-type]

        k.in_tiles(k.field("inner"), UNROLL, some)

    _emit_loops(k, inner)


def _emit_runs(module: ir.Module, name: str, dtype: str, tile: WidthTile, stored: Store) -> None:
    (width,) = tile
    k = Kernel(module, name, dtype, MOVE_FIELDS, width)

    def inner(x: Pointer, y: Pointer, in_b: Int, out_b: Int) -> None:
        def whole(vector: Int) -> None:
            at = vector * width
            y.store(at, stored(x.vector_at(at, width), y.vector_at(at, width)))  # type: ignore[arg-type]

        whole_vectors = k.field("inner") // width
        with k.loop(whole_vectors) as vector:
            whole(vector)
        done = whole_vectors * width
        with k.loop(k.field("inner") - done) as rest:
            at = done + rest
            y.store(at, stored(x.real_at(at), y.real_at(at)))  # type: ignore[arg-type]

    _emit_loops(k, inner)


def _emit_loops(k: Kernel, inner: Callable[[Pointer, Pointer, Int, Int], None]) -> None:
    """Emit the loop over pairs of starts and the outer one of the two."""
    moves, source, target = k.base("table", "moves"), k.base("arena", "in"), k.base("arena", "out")
    in_a, out_a, in_b, out_b = (moves.int_at(i) for i in range(STEPS))
    with k.loop(k.field("count")) as pair:
        starts = moves + (pair * 2 + STEPS)
        x, y = source + starts.int_at(0), target + starts.int_at(1)
        with k.loop(k.field("outer")) as a:
            inner(x + a * in_a, y + a * out_a, in_b, out_b)
    k.finish()
