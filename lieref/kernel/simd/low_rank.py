"""Low-rank adapters on packed weights: the adapted weight from its factors, and their gradients.

With a (R, k) and b (R, lanes) the factors in the order of a packed layout, and xi[k] = sum_q a[q, k] b[q]:

    exp       W' = W0 exp(xi)        xi_bar = W'_bar W'
    taylor1   W' = W0 (1 + xi)       xi_bar = W'_bar W0
    add       W' = W0 + xi           xi_bar = W'_bar

    a_bar[q, k] = sum_lanes xi_bar[k] b[q]        b_bar[q] = sum_k a[q, k] xi_bar[k]
"""

from __future__ import annotations

from llvmlite import ir

from lieref.kernel.simd.elementary import exp
from lieref.kernel.simd.emit import Int, Real, Variable
from lieref.kernel.simd.row import Fields, Kernel

MAPS = ("exp", "taylor1", "add")

ADAPT_FIELDS = Fields(
    "blocks", "column",  # vector columns; elements between them
    "rows", "weight",  # rows of the layout; where they start, the same place in W0 and W'
    "rank",
    "left", "left_rank",  # factor with one number a row; elements between its ranks
    "right", "right_rank",  # factor with one number a lane
)  # fmt: skip

COLLECT_FIELDS = Fields(
    "blocks", "column", "gradient_column",
    "rows", "weight", "gradient",
    "rank",
    "left", "left_rank",
    "right", "right_rank",
)  # fmt: skip

TRANSPOSE_FIELDS = Fields(
    "blocks", "block_in", "block_out",  # squares one way, elements between them in both layouts
    "rows", "row_in", "row_out",  # the same the other way
    "in", "out",
)  # fmt: skip

TILE = 4
"""Rows worked at once: their exponentials overlap, and their lane sums share the shuffles."""


def emit_adapt(module: ir.Module, name: str, dtype: str, map_name: str, width: int) -> None:
    """Emit the adapted weight."""
    k = Kernel(module, name, dtype, ADAPT_FIELDS, width)
    left, left_rank = k.base("factors", "left"), k.field("left_rank")
    rows = k.field("rows")
    with k.loop(k.field("blocks")) as block:
        shift = block * k.field("column")
        base, out = k.base("bases", "weight") + shift, k.base("weights", "weight") + shift
        right = k.base("factors", "right") + block * width

        def some(first: Int, count: int) -> None:
            xi = [Variable(k.vector(0.0, width)) for _ in range(count)]
            with k.loop(k.field("rank")) as q:
                b = right.vector_at(q * k.field("right_rank"), width)
                for i, cell in enumerate(xi):
                    a = k.splat(left.real_at(q * left_rank + first + i), width)
                    cell.set(a.muladd(b, cell.get()))
            for i, cell in enumerate(xi):
                place = (first + i) * width
                w = base.vector_at(place, width)
                out.store(place, _act(k, map_name, w, cell.get()))

        with k.loop(rows // TILE) as part:
            some(part * TILE, TILE)
        done = rows // TILE * TILE
        with k.loop(rows - done) as rest:
            some(done + rest, 1)
    k.finish()


def _act(k: Kernel, map_name: str, w: Real, xi: Real) -> Real:
    if map_name == "exp":
        return w * exp(k, xi)
    return xi.muladd(w, w) if map_name == "taylor1" else w + xi


def emit_collect(module: ir.Module, name: str, dtype: str, map_name: str, width: int) -> None:
    """Emit the gradients of both factors, added to buffers laid out as the factors."""
    k = Kernel(module, name, dtype, COLLECT_FIELDS, width)
    left, left_rank = k.base("factors", "left"), k.field("left_rank")
    left_bar = k.base("factor_gradients", "left")
    rows, right_rank = k.field("rows"), k.field("right_rank")
    with k.loop(k.field("blocks")) as block:
        w = k.base("weights" if map_name == "exp" else "bases", "weight") + block * k.field("column")
        w_bar = k.base("gradients", "gradient") + block * k.field("gradient_column")
        right = k.base("factors", "right") + block * width
        right_bar = k.base("factor_gradients", "right") + block * width

        def some(first: Int, count: int) -> None:
            xi_bar = []
            for i in range(count):
                place = (first + i) * width
                bar = w_bar.vector_at(place, width)
                xi_bar.append(bar if map_name == "add" else bar * w.vector_at(place, width))
            with k.loop(k.field("rank")) as q:
                b = right.vector_at(q * right_rank, width)
                total = right_bar.vector_at(q * right_rank, width)
                at = q * left_rank + first
                for i, bar in enumerate(xi_bar):
                    total = k.splat(left.real_at(at + i), width).muladd(bar, total)
                right_bar.store(q * right_rank, total)
                sums = k.lane_sums([bar * b for bar in xi_bar])
                if count == 1:
                    left_bar.store(at, left_bar.real_at(at) + sums)
                else:
                    left_bar.store(at, left_bar.vector_at(at, count) + sums)

        with k.loop(rows // TILE) as part:
            some(part * TILE, TILE)
        done = rows // TILE * TILE
        with k.loop(rows - done) as rest:
            some(done + rest, 1)
    k.finish()


def emit_transpose(module: ir.Module, name: str, dtype: str, width: int) -> None:
    """Emit the transposition of squares of packed weights: a backward layout from the forward one, without an exp."""
    k = Kernel(module, name, dtype, TRANSPOSE_FIELDS, width)
    weights = k.base("weights")
    with k.loop(k.field("blocks")) as block, k.loop(k.field("rows")) as row:
        source = weights + (k.field("in") + block * k.field("block_in") + row * k.field("row_in"))
        target = weights + (k.field("out") + block * k.field("block_out") + row * k.field("row_out"))
        lines = [source.vector_at(i * width, width) for i in range(width)]
        # Lines a and b of a pair exchange the odd and even blocks of `half` lanes; after all halves rows are columns.
        half = 1
        while half < width:
            low = [i for block_start in range(0, width, 2 * half) for i in range(block_start, block_start + half)]
            left = [lane if lane % (2 * half) < half else width + lane - half for lane in range(width)]
            right = [lane + half if lane % (2 * half) < half else width + lane for lane in range(width)]
            for i in low:
                a, b = lines[i], lines[i + half]
                lines[i], lines[i + half] = k.shuffle(a, b, left), k.shuffle(a, b, right)
            half *= 2
        for i, line in enumerate(lines):
            target.store(i * width, line)
    k.finish()
