"""Max pooling: the largest of the taps, and its gradient to the first tap that attained it.

out[p, c] = max_t x[offset[t] + pixel[p], c]
g_x[offset[t*] + pixel[p], c] += g[p, c],   t* the first t with x = out     (the taps' order is row-major)
"""

from __future__ import annotations

from llvmlite import ir

from lieref.kernel.simd.emit import Bool, Variable
from lieref.kernel.simd.row import Fields, Kernel

MAXIMUM_FIELDS = Fields(
    "blocks", "rows", "cols",
    "in", "in_row", "in_pixel",
    "taps", "tap_count",
    "out", "out_row", "out_pixel",
    "g", "g_row", "g_pixel",
    "g_in", "g_in_row", "g_in_pixel", "g_taps",  # gradient of the input, zero before the first row that adds to it
)  # fmt: skip


def emit_maximum(module: ir.Module, name: str, dtype: str, width: int) -> None:
    """Emit the forward pass, a pixel and a vector at a time."""
    k = Kernel(module, name, dtype, MAXIMUM_FIELDS, width)
    arena, table = k.base("arena"), k.base("table", "taps")
    with k.loop(k.field("blocks")) as block, k.loop(k.field("rows")) as y, k.loop(k.field("cols")) as x:
        source = arena + (k.field("in") + block * width + y * k.field("in_row") + x * k.field("in_pixel"))
        largest = Variable(source.vector_at(table.int_at(0), width))
        with k.loop(k.field("tap_count")) as tap:
            largest.set(largest.get().max(source.vector_at(table.int_at(tap), width)))
        target = k.field("out") + block * width + y * k.field("out_row") + x * k.field("out_pixel")
        arena.store(target, largest.get())
    k.finish()


def emit_maximum_gradient(module: ir.Module, name: str, dtype: str, width: int) -> None:
    """Emit the gradient, added to `g_in`; windows may overlap."""
    k = Kernel(module, name, dtype, MAXIMUM_FIELDS, width)
    arena, table, g_table = k.base("arena"), k.base("table", "taps"), k.base("table", "g_taps")
    with k.loop(k.field("blocks")) as block, k.loop(k.field("rows")) as y, k.loop(k.field("cols")) as x:
        source = arena + (k.field("in") + block * width + y * k.field("in_row") + x * k.field("in_pixel"))
        target = arena + (k.field("g_in") + block * width + y * k.field("g_in_row") + x * k.field("g_in_pixel"))
        out = arena + (k.field("out") + block * width + y * k.field("out_row") + x * k.field("out_pixel"))
        g = arena + (k.field("g") + block * width + y * k.field("g_row") + x * k.field("g_pixel"))
        largest, zero = out.vector_at(0, width), k.vector(0.0, width)
        left = Variable(g.vector_at(0, width))  # zero in the lanes that have found their tap
        found = Variable(zero.above(1.0))
        with k.loop(k.field("tap_count")) as tap:
            value = source.vector_at(table.int_at(tap), width)
            here = Bool(k, k.b.not_(k.b.or_(value.below(largest).ir, found.get().ir)))
            place = target + g_table.int_at(tap)
            place.store(0, place.vector_at(0, width) + k.where(here, left.get(), zero))
            found.set(Bool(k, k.b.or_(found.get().ir, here.ir)))
    k.finish()
