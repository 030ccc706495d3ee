"""Kernels on flat arrays: factors to and from the order of the packed layouts, and the sum of the parts of a batch.

factors[i] = theta[factor_index[i]] factor_scale[i]           theta_bar[j] = gradients[theta_index[j]] theta_scale[j]
accumulators[i] = part_0[i] + part_1[i] + ...                 in this order, whatever thread computed which part
"""

from __future__ import annotations

from llvmlite import ir

from lieref.kernel.simd.emit import POINTER, Int, Pointer, Variable
from lieref.kernel.simd.row import Fields, Kernel

FLAT_FIELDS = Fields("count")

UNROLL = 4
"""Elements of a gather that are in flight together."""


def emit_gather(module: ir.Module, name: str, dtype: str, source: str, target: str, order: str) -> None:
    """Emit target[i] = source[index[i]] scale[i]; index and scale are the context's `order`_index and `order`_scale."""
    k = Kernel(module, name, dtype, FLAT_FIELDS, 1)
    x, y = k.base(source), k.base(target)
    index, scale = k.base(f"{order}_index"), k.base(f"{order}_scale")

    def move(first: Int, count: int) -> None:
        for i in range(count):
            y.store(first + i, x.real_at(index.int_at(first + i)) * scale.real_at(first + i))

    k.in_tiles(k.field("count"), UNROLL, move)
    k.finish()


def emit_clear(module: ir.Module, name: str, dtype: str, width: int) -> None:
    """Emit the zeros that the factor gradients are added to; the array is whole vectors."""
    k = Kernel(module, name, dtype, FLAT_FIELDS, width)
    y, zero = k.base("factor_gradients"), k.vector(0.0, width)
    with k.loop(k.field("count") // width) as part:
        y.store(part * width, zero)
    k.finish()


def emit_sum_parts(module: ir.Module, name: str, dtype: str, width: int) -> None:
    """Emit the sum of the accumulators of all parts, in the place of the first; the array is whole vectors."""
    k = Kernel(module, name, dtype, FLAT_FIELDS, width)
    parts = k.base("parts")

    def accumulators(number: Int | int) -> Pointer:
        return Pointer(k, k.b.inttoptr(parts.int_at(number).ir, POINTER), k.real)

    count = parts.int_at(0)
    total = accumulators(1)
    with k.when(k.integer(1) < count), k.loop(k.field("count") // width) as part:
        at = part * width
        value = Variable(total.vector_at(at, width))
        with k.loop(count - 1) as other:
            value.set(value.get() + accumulators(other + 2).vector_at(at, width))
        total.store(at, value.get())
    k.finish()
