"""Matrix products of several small matrices at once, one matrix in each SIMD lane.

A workspace is a flat array of slots; a slot holds `LANES[dtype]` square matrices as [row][column][lane], so that one
vector instruction does the same step of the same product for all of them. A lane never sees another lane and each
entry is one chain of fused multiply-adds over k = 0 .. n-1: the result does not depend on the batch or the vector
width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from lieref._jit import njit

VECTOR_BYTES = 64
"""Bytes of one vector: a register of AVX-512, two of AVX2, four of NEON."""

LANES = {np.dtype(t): VECTOR_BYTES // np.dtype(t).itemsize for t in (np.float32, np.float64)}
"""Matrices in one slot: 16 in float32, 8 in float64."""


def _make_tile(rows: int, columns: int) -> Callable[..., None]:
    """Return the intrinsic that computes `rows` x `columns` entries of a product, held in registers over k."""

    @intrinsic
    def tile(typing: Any, work: Any, c: Any, a: Any, b: Any, n: Any, i: Any, j: Any, accumulate: Any) -> Any:
        """Set or add to C[i:i+rows, j:j+columns] the same entries of A B; c, a, b are slot starts in vectors."""
        integer = types.int64
        signature = types.void(work, integer, integer, integer, integer, integer, integer, types.boolean)

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            work, c, a, b, n, i, j, accumulate = arguments
            scalar = context.get_data_type(signature.args[0].dtype)
            item_size = signature.args[0].dtype.bitwidth // 8
            vector = ir.VectorType(scalar, VECTOR_BYTES // item_size)
            data = context.make_array(signature.args[0])(context, builder, work).data
            base = builder.bitcast(data, vector.as_pointer())
            suffix = f"v{vector.count}f{8 * item_size}"
            fma = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.{suffix}"
            )
            alloca: Callable[..., Any] = cgutils.alloca_once_value
            zero = ir.Constant(vector, [0.0] * vector.count)

            def pointer(slot: Any, row: Any, column: Any) -> Any:
                return builder.gep(base, [builder.add(slot, builder.add(builder.mul(row, n), column))])

            def load(at: Any) -> Any:
                value = builder.load(at)
                value.align = item_size
                return value

            def offset(start: Any, by: int) -> Any:
                return builder.add(start, ir.Constant(start.type, by))

            cells = [(p, q) for p in range(rows) for q in range(columns)]
            target = {(p, q): pointer(c, offset(i, p), offset(j, q)) for p, q in cells}
            sums = {cell: alloca(builder, zero) for cell in cells}
            for cell in cells:
                builder.store(zero, sums[cell])
            with builder.if_then(accumulate):
                for cell in cells:
                    builder.store(load(target[cell]), sums[cell])
            with cgutils.for_range(builder, n) as loop:
                left = [load(pointer(a, offset(i, p), loop.index)) for p in range(rows)]
                right = [load(pointer(b, loop.index, offset(j, q))) for q in range(columns)]
                for p, q in cells:
                    total = builder.call(fma, [left[p], right[q], builder.load(sums[p, q])])
                    builder.store(total, sums[p, q])
            for cell in cells:
                builder.store(builder.load(sums[cell]), target[cell]).align = item_size
            return context.get_dummy_value()

        return signature, generate

    return tile


_tile_2x4 = _make_tile(2, 4)
_tile_2x1 = _make_tile(2, 1)
_tile_1x4 = _make_tile(1, 4)
_tile_1x1 = _make_tile(1, 1)


@njit
def lane_matmul(work: Any, c: int, a: int, b: int, n: int, accumulate: bool) -> None:
    """Set slot `c` to the product of slots `a` and `b`, or add the product to it; `c` differs from `a` and `b`."""
    size = n * n
    i = 0
    while i + 2 <= n:
        j = 0
        while j + 4 <= n:
            _tile_2x4(work, c * size, a * size, b * size, n, i, j, accumulate)
            j += 4
        while j < n:
            _tile_2x1(work, c * size, a * size, b * size, n, i, j, accumulate)
            j += 1
        i += 2
    if i < n:
        j = 0
        while j + 4 <= n:
            _tile_1x4(work, c * size, a * size, b * size, n, i, j, accumulate)
            j += 4
        while j < n:
            _tile_1x1(work, c * size, a * size, b * size, n, i, j, accumulate)
            j += 1
