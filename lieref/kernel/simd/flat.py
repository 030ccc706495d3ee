"""Kernels on flat arrays: factors to and from the order of the packed layouts, and the sum of the parts of a batch.

gather       factors[i] = theta[factor_index[i]] factor_scale[i]
scatter      theta_bar[j] = factor_gradients[theta_index[j]] theta_scale[j]
sum_parts    gradients[i] = part_0[i] + part_1[i] + ...    in this order, whatever thread computed which part

A scatter is a gather by the inverse order. `gradients` are the accumulators of part 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, access, steps
from lieref.kernel.simd.emit import POINTER, Int, Pointer, Variable
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import NoTile, WidthTile

FLAT_FIELDS = Fields("count")

UNROLL = 4
"""Elements of a gather that are in flight together."""


def gather_accesses(f: Numbers, tile: NoTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses; which of theta is read, the index says: see `Factors`."""
    return _order_accesses(f, "factors", "factor")


def scatter_accesses(f: Numbers, tile: NoTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses; which of the factor gradients is read, the index says: see `Factors`."""
    return _order_accesses(f, "theta_bar", "theta")


def _order_accesses(f: Numbers, target: str, order: str) -> list[Access]:
    count = steps((f["count"], 1))
    read = [one for name in ("index", "scale") for one in access(f"{order}_{name}", "", 0, count)]
    return [*read, *access(target, "", 0, count, written=True)]


def clear_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    return access("factor_gradients", "", 0, steps((f["count"] // tile.width * tile.width, 1)), written=True)


def sum_parts_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses of each part's accumulators."""
    return access("gradients", "", 0, steps((f["count"] // tile.width * tile.width, 1)), written=True)


def emit_gather(module: ir.Module, name: str, dtype: str, tile: NoTile) -> None:
    """Emit factors[i] = theta[index[i]] scale[i]."""
    _emit_gather(module, name, dtype, "theta", "factors", "factor")


def emit_scatter(module: ir.Module, name: str, dtype: str, tile: NoTile) -> None:
    """Emit theta_bar[j] = factor_gradients[index[j]] scale[j]."""
    _emit_gather(module, name, dtype, "factor_gradients", "theta_bar", "theta")


def _emit_gather(module: ir.Module, name: str, dtype: str, source: str, target: str, order: str) -> None:
    """Emit target[i] = source[index[i]] scale[i]; index and scale are the context's `order`_index and `order`_scale."""
    k = Kernel(module, name, dtype, FLAT_FIELDS, 1)
    x, y = k.base(source), k.base(target)
    index, scale = k.base(f"{order}_index"), k.base(f"{order}_scale")

    def move(first: Int, count: int) -> None:
        for i in range(count):
            y.store(first + i, x.real_at(index.int_at(first + i)) * scale.real_at(first + i))

    k.in_tiles(k.field("count"), UNROLL, move)
    k.finish()


def emit_clear(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the zeros that the factor gradients are added to; the array is whole vectors."""
    (width,) = tile
    k = Kernel(module, name, dtype, FLAT_FIELDS, width)
    y, zero = k.base("factor_gradients"), k.vector(0.0, width)
    with k.loop(k.field("count") // width) as vector:
        y.store(vector * width, zero)
    k.finish()


def emit_sum_parts(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the sum of the accumulators of all parts, in the place of the first; the array is whole vectors."""
    (width,) = tile
    k = Kernel(module, name, dtype, FLAT_FIELDS, width)
    parts = k.base("parts")

    def accumulators(number: Int | int) -> Pointer:
        return Pointer(k, k.b.inttoptr(parts.int_at(number).ir, POINTER), k.real)

    count = parts.int_at(0)
    total = accumulators(1)
    with k.when(k.integer(1) < count), k.loop(k.field("count") // width) as vector:
        at = vector * width
        value = Variable(total.vector_at(at, width))
        with k.loop(count - 1) as other:
            value.set(value.get() + accumulators(other + 2).vector_at(at, width))
        total.store(at, value.get())
    k.finish()
