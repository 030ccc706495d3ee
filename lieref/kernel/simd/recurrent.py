"""Recurrent layers along a sequence: one walk over its steps, forward, and one back through time.

What the input gives to all steps, z = W x + bias, is there before; a walk adds what each step gives to the next:

    forward     a[t] = z[t] + R h[t-1] + bias,   h[t] = cell(a[t], state of t-1)
    backward    a_bar[t] = cell's chain rule of h_bar[t] + carry,   carry = R^T a_bar[t] + what passes the gates by

A block is one number for each hidden unit, `vectors` whole vectors; the blocks of a pixel are those of the gates in
ONNX's order. Packed, R has a row for each hidden unit and the lanes of all gates, R^T the reverse. A pixel is a step,
the one before it is where the walk comes from: a reverse direction has negative steps from pixel to pixel, and the
state before the first step is what stands in the pixel there, the zeros of a halo. What a cell does with its sums is in
`cell`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, Range, access, steps
from lieref.kernel.simd.cell import CELLS, Backward, Forward, Step
from lieref.kernel.simd.emit import Int, Pointer, Real, Variable
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import WidthTile

Pixels = dict[str, Pointer]
"""Where the pixels of a step are, by tensors."""


def _fields(*names: str) -> Fields:
    tensors = [field for name in names for field in (name, f"{name}_pixel")]
    return Fields("count", "vectors", *tensors, "weight", "column")


def forward_fields(cell: str) -> Fields:
    """Return the fields of a walk: steps, vectors of a block, tensors, packed R with its columns, and the bias."""
    kept = ("kept",) if CELLS[cell].kept else ()
    return Fields(*_fields("in", "out", *kept).names[1:], "bias")


def backward_fields(cell: str) -> Fields:
    """Return the fields of a walk back; `carry` is a pixel of working memory, `before` the h before each step."""
    return Fields(*_fields("g", *CELLS[cell].read, "out", *CELLS[cell].sides).names[1:], "carry")


SUMS = 4
"""Vectors whose sums are made at once, at most: a sum waits for the product before it, so each has two chains."""


def forward_accesses(name: str, f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what a walk accesses."""
    cell, size = CELLS[name], f["vectors"] * tile.width
    walk = {t: steps((f["count"], f[f"{t}_pixel"])) for t in ("in", "out", *(("kept",) if cell.kept else ()))}
    all_gates, one = steps((cell.gates * size, 1)), steps((size, 1))
    found = [
        *access("arena", "in", f["in"], walk["in"], all_gates),
        *access("arena", "out", f["out"] - f["out_pixel"], one),  # before the first step; all others it has written
        *access("arena", "out", f["out"], walk["out"], one, written=True),
        *access("weights", "weight", f["weight"], _matrix(f, cell.gates * f["vectors"], size * tile.width)),
        *access("weights", "bias", f["bias"], all_gates),
    ]
    if cell.kept:
        found += access("arena", "kept", f["kept"], walk["kept"], steps((cell.kept * size, 1)), written=True)
    for block in cell.before:
        found += access("arena", "kept", f["kept"] - f["kept_pixel"] + block * size, one)
    return found


def backward_accesses(name: str, f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what a walk back accesses."""
    cell, size = CELLS[name], f["vectors"] * tile.width
    walk = {t: steps((f["count"], f[f"{t}_pixel"])) for t in ("g", *cell.read, "out", *cell.sides)}
    all_gates, one = steps((cell.gates * size, 1)), steps((size, 1))
    found = [
        *access("arena", "g", f["g"], walk["g"], one),
        *access("weights", "weight", f["weight"], _matrix(f, f["vectors"], cell.gates * size * tile.width)),
        *access("arena", "carry", f["carry"], steps((cell.carried * size, 1)), written=True),
    ]
    for tensor in ("out", *cell.sides):
        found += access("arena", tensor, f[tensor], walk[tensor], all_gates, written=True)
    for tensor in cell.read:
        blocks = cell.recalled if tensor == "kept" else 1
        found += access("arena", tensor, f[tensor], walk[tensor], steps((blocks * size, 1)))
    for block in cell.before:
        found += access("arena", "kept", f["kept"] + f["kept_pixel"] + block * size, walk["kept"], one)
    return found


def _matrix(f: Numbers, columns: int, elements: int) -> Range | None:
    return steps((columns, f["column"]), (elements, 1))


def emit_forward(name: str, module: ir.Module, symbol: str, dtype: str, tile: WidthTile) -> None:
    """Emit the walk of a cell."""
    cell = CELLS[name]
    k = Kernel(module, symbol, dtype, forward_fields(name), tile.width)
    tensors = ("in", "out", *(("kept",) if cell.kept else ()))
    with k.loop(k.field("count")) as t:
        at, before = _pixels(k, tensors, t, 1)
        for part in cell.forward:
            _there_and_back(k, t, max(1, SUMS // len(part.gates)), partial(_forward_part, part, k, at, before))
    k.finish()


def _forward_part(part: Forward, k: Kernel, at: Pixels, before: Pixels, first: Int, many: int) -> None:
    """Emit the sums of some gates of so many vectors of hidden units, and what is done with them."""
    weights, biases, width = k.base("weights", "weight"), k.base("weights", "bias"), k.width
    vectors, column = k.field("vectors"), k.field("column")
    size, cells, columns = vectors * width, [], []
    for gate in part.gates:
        for v in range(many):
            place = size * gate + (first + v) * width
            start = biases.vector_at(place, width)
            if gate in part.with_input:
                start = start + at["in"].vector_at(place, width)
            cells.append(Variable(start))
            columns.append(weights + (vectors * gate + first + v) * column)
    source = before["out"] if part.source is None else at["kept"] + size * part.source
    _add_products(k, cells, source, columns, size)
    for v in range(many):
        part.apply(Step(k, at, before, size, first + v), [cell.get() for cell in cells[v::many]])


def emit_backward(name: str, module: ir.Module, symbol: str, dtype: str, tile: WidthTile) -> None:
    """Emit the walk back of a cell."""
    cell = CELLS[name]
    k = Kernel(module, symbol, dtype, backward_fields(name), tile.width)
    carry = k.base("arena", "carry")
    with k.loop(k.field("vectors") * cell.carried) as v:
        carry.store(v * tile.width, k.vector(0.0, tile.width))
    with k.loop(k.field("count")) as t:
        at, before = _pixels(k, ("g", *cell.read, "out", *cell.sides), t, -1)
        at["carry"] = carry
        for part in cell.backward:
            _there_and_back(k, t, SUMS // 2, partial(_backward_part, part, k, at, before))
    k.finish()


def _backward_part(part: Backward, k: Kernel, at: Pixels, before: Pixels, first: Int, many: int) -> None:
    """Emit the products of R^T for so many vectors of hidden units, and what is done with them."""
    size, column = k.field("vectors") * k.width, k.field("column")
    cells = [Variable(k.vector(0.0, k.width)) for _ in range(many)]
    if part.source is not None:
        tensor, block, blocks = part.source
        rows = k.base("weights", "weight") + size * block * k.width
        columns = [rows + (first + v) * column for v in range(many)]
        _add_products(k, cells, at[tensor] + size * block, columns, size * blocks)
    for v, cell in enumerate(cells):
        part.apply(Step(k, at, before, size, first + v), cell.get())


def _there_and_back(k: Kernel, t: Int, size: int, some: Callable[[Int, int], None]) -> None:
    """Emit some(first, how many) for all vectors, `size` at a time, in turn from the first on and from the last.

    So the columns that a step has read last, which the first-level cache still holds, are those that the next one reads
    first: an LSTM of 64 hidden units, whose R is twice that cache, takes 0.80 of the time forward and 0.94 back.
    """
    vectors = k.field("vectors")
    whole = vectors // size
    with k.loop(whole) as number:
        some(k.where(t.has(1), whole - 1 - number, number) * size, size)
    if size > 1:
        done = whole * size
        with k.loop(vectors - done) as rest:
            some(done + rest, 1)


def _pixels(k: Kernel, tensors: Sequence[str], t: Int, sign: int) -> tuple[Pixels, Pixels]:
    """Return where the pixels of a step are, and those of the step before it in time."""
    arena = k.base("arena")
    at = {name: arena + (k.field(name) + t * k.field(f"{name}_pixel")) for name in tensors}
    back = {name: k.field(f"{name}_pixel") * -sign for name in tensors}
    return at, {name: at[name] + back[name] for name in tensors}


def _add_products(k: Kernel, cells: list[Variable], x: Pointer, columns: list[Pointer], depth: Int) -> None:
    """Add the sum over `depth` rows of x[row] w[row] to each cell, w being the vectors of its column.

    Odd rows have sums of their own.
    """
    chains = [cells, [Variable(k.vector(0.0, k.width)) for _ in cells]]
    with k.loop(depth // len(chains)) as number:
        for i, chain in enumerate(chains):
            row = number * len(chains) + i
            value: Real = k.splat(x.real_at(row), k.width)
            for column, cell in zip(columns, chain, strict=True):
                cell.set(value.muladd(column.vector_at(row * k.width, k.width), cell.get()))
    for even, odd in zip(*chains, strict=True):
        even.set(even.get() + odd.get())


WALKS = {
    name: (
        (forward_fields(name), partial(emit_forward, name), partial(forward_accesses, name)),
        (backward_fields(name), partial(emit_backward, name), partial(backward_accesses, name)),
    )
    for name in CELLS
}
"""Fields, emitter and accesses of each cell's walk, and of its walk back."""
