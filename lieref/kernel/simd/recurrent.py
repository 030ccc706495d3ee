"""Recurrent layers along a sequence: one walk over its steps, forward, and one back through time.

What the input gives to all steps, z = W x + bias, is there before; a walk adds what each step gives to the next:

    forward     a[t] = z[t] + R h[t-1] + bias,   h[t] = cell(a[t], state of t-1)
    backward    a_bar[t] = cell's chain rule of h_bar[t] + carry,   carry = R^T a_bar[t] + what passes the gates by

A block is one number for each hidden unit, `vectors` whole vectors; the blocks of a pixel are those of the gates in
ONNX's order. Packed, R has a row for each hidden unit and the lanes of all gates, R^T the reverse. A pixel is a step,
the one before it is where the walk comes from: a reverse direction has negative steps from pixel to pixel, and the
state before the first step is what stands in the pixel there, the zeros of a halo. What a cell does with its sums is in
`cell`.

All samples of a group take each step together, so that every vector of R that is loaded serves several of them: one
step of one sample reads all of R, which has left the first-level cache when the next one wants it. A tensor has a copy
for each sample, `pitch` apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, Range, access, steps
from lieref.kernel.simd.cell import CELLS, Backward, Forward, Step
from lieref.kernel.simd.emit import Int, Pointer, Real, Variable
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import WalkTile

Pixels = dict[str, Pointer]
"""Where the pixels of a step are, by tensors."""

At = Callable[[Int], tuple[Pixels, Pixels]]
"""Returns where the pixels of a sample's step are, and those of the step before."""


def _fields(*names: str) -> Fields:
    tensors = [field for name in names for field in (name, f"{name}_pixel", f"{name}_pitch")]
    return Fields("samples", "count", "vectors", *tensors, "weight", "column")


def forward_fields(cell: str) -> Fields:
    """Return the fields of a walk: samples, steps, vectors of a block, tensors, packed R with its columns, the bias."""
    kept = ("kept",) if CELLS[cell].kept else ()
    return Fields(*_fields("in", "out", *kept).names[1:], "bias")


def backward_fields(cell: str) -> Fields:
    """Return the fields of a walk back; `carry` is a pixel of working memory, `before` the h before each step."""
    return Fields(*_fields("g", *CELLS[cell].read, "out", *CELLS[cell].sides).names[1:], "carry", "carry_pitch")


SUMS = 4
"""Vectors of a sample whose sums are made at once, at most."""


def forward_accesses(name: str, f: Numbers, tile: WalkTile, table: Sequence[int]) -> list[Access]:
    """Return what a walk accesses."""
    cell, size = CELLS[name], f["vectors"] * tile.width
    tensors = ("in", "out", *(("kept",) if cell.kept else ()))
    walk, copies = _walks(f, tensors), _copies(f, tensors)
    all_gates, one = steps((cell.gates * size, 1)), steps((size, 1))
    found = [
        *access("arena", "in", f["in"], walk["in"], all_gates),
        *access(
            "arena", "out", f["out"] - f["out_pixel"], copies["out"], one
        ),  # before the first step; all others it has written
        *access("arena", "out", f["out"], walk["out"], one, written=True),
        *access("weights", "weight", f["weight"], _matrix(f, cell.gates * f["vectors"], size * tile.width)),
        *access("weights", "bias", f["bias"], all_gates),
    ]
    if cell.kept:
        found += access("arena", "kept", f["kept"], walk["kept"], steps((cell.kept * size, 1)), written=True)
    for block in cell.before:
        found += access("arena", "kept", f["kept"] - f["kept_pixel"] + block * size, copies["kept"], one)
    return found


def backward_accesses(name: str, f: Numbers, tile: WalkTile, table: Sequence[int]) -> list[Access]:
    """Return what a walk back accesses."""
    cell, size = CELLS[name], f["vectors"] * tile.width
    tensors = ("g", *cell.read, "out", *cell.sides)
    walk, copies = _walks(f, tensors), _copies(f, (*tensors, "carry"))
    all_gates, one = steps((cell.gates * size, 1)), steps((size, 1))
    found = [
        *access("arena", "g", f["g"], walk["g"], one),
        *access("weights", "weight", f["weight"], _matrix(f, f["vectors"], cell.gates * size * tile.width)),
        *access("arena", "carry", f["carry"], copies["carry"], steps((cell.carried * size, 1)), written=True),
    ]
    for tensor in ("out", *cell.sides):
        found += access("arena", tensor, f[tensor], walk[tensor], all_gates, written=True)
    for tensor in cell.read:
        blocks = cell.recalled if tensor == "kept" else 1
        found += access("arena", tensor, f[tensor], walk[tensor], steps((blocks * size, 1)))
    for block in cell.before:
        found += access("arena", "kept", f["kept"] + f["kept_pixel"] + block * size, walk["kept"], one)
    return found


def _walks(f: Numbers, tensors: Sequence[str]) -> dict[str, Range | None]:
    """Return the steps of all samples in each tensor."""
    return {t: steps((f["samples"], f[f"{t}_pitch"]), (f["count"], f[f"{t}_pixel"])) for t in tensors}


def _copies(f: Numbers, tensors: Sequence[str]) -> dict[str, Range | None]:
    """Return the samples' copies of each tensor."""
    return {t: steps((f["samples"], f[f"{t}_pitch"])) for t in tensors}


def _matrix(f: Numbers, columns: int, elements: int) -> Range | None:
    return steps((columns, f["column"]), (elements, 1))


def emit_forward(name: str, module: ir.Module, symbol: str, dtype: str, tile: WalkTile) -> None:
    """Emit the walk of a cell."""
    cell = CELLS[name]
    k = Kernel(module, symbol, dtype, forward_fields(name), tile.width)
    tensors = ("in", "out", *(("kept",) if cell.kept else ()))
    with k.loop(k.field("count")) as t:
        pixels = partial(_pixels, k, tensors, t, 1)
        for part in cell.forward:
            some = partial(_forward_part, part, k, tile.samples, pixels)
            _there_and_back(k, t, max(1, SUMS // len(part.gates)), some)
    k.finish()


def _forward_part(part: Forward, k: Kernel, most: int, pixels: At, first: Int, many: int) -> None:
    """Emit the sums of some gates of so many vectors of hidden units, and what is done with them."""
    weights, biases, width = k.base("weights", "weight"), k.base("weights", "bias"), k.width
    vectors, column = k.field("vectors"), k.field("column")
    size, units = vectors * width, [(v, gate) for v in range(many) for gate in part.gates]
    columns = [weights + (vectors * gate + first + v) * column for v, gate in units]
    sums = k.scratch(most * len(units) * width)
    with _some_samples(k, most) as (begin, count):
        for start, together in _in_halves(k, count, most):
            cells, sources = [], []
            for own in range(together):
                at, before = pixels(begin + start + own)
                sources.append(before["out"] if part.source is None else at["kept"] + size * part.source)
                for v, gate in units:
                    place = size * gate + (first + v) * width
                    total = biases.vector_at(place, width)
                    if gate in part.with_input:
                        total = total + at["in"].vector_at(place, width)
                    cells.append(Variable(total))
            _add_products(k, cells, sources, columns, size)
            for number, cell in enumerate(cells):
                sums.store((start * len(units) + number) * width, cell.get())
        with k.loop(count) as sample, k.loop(many) as vector:
            unit = (sample * many + vector) * len(part.gates)
            a = [sums.vector_at((unit + gate) * width, width) for gate in range(len(part.gates))]
            part.apply(Step(k, *pixels(begin + sample), size, first + vector), a)


def emit_backward(name: str, module: ir.Module, symbol: str, dtype: str, tile: WalkTile) -> None:
    """Emit the walk back of a cell."""
    cell = CELLS[name]
    k = Kernel(module, symbol, dtype, backward_fields(name), tile.width)
    tensors = ("g", *cell.read, "out", *cell.sides)
    with k.loop(k.field("samples")) as sample, k.loop(k.field("vectors") * cell.carried) as v:
        _carry(k, sample).store(v * tile.width, k.vector(0.0, tile.width))
    with k.loop(k.field("count")) as t:
        pixels = partial(_pixels, k, tensors, t, -1)
        for part in cell.backward:
            _there_and_back(k, t, SUMS // 2, partial(_backward_part, part, k, tile.samples, pixels))
    k.finish()


def _backward_part(part: Backward, k: Kernel, most: int, pixels: At, first: Int, many: int) -> None:
    """Emit the products of R^T for so many vectors of hidden units, and what is done with them."""
    rows, column, width = k.base("weights", "weight"), k.field("column"), k.width
    size = k.field("vectors") * width
    tensor, block, blocks = part.source or ("", 0, 0)
    columns = [rows + (size * block * width + (first + v) * column) for v in range(many)]
    sums = k.scratch(most * many * width)
    with _some_samples(k, most) as (begin, count):
        for start, together in _in_halves(k, count, most) if tensor else ():
            cells = [Variable(k.vector(0.0, width)) for _ in range(together * many)]
            sources = [pixels(begin + start + own)[0][tensor] + size * block for own in range(together)]
            _add_products(k, cells, sources, columns, size * blocks)
            for number, cell in enumerate(cells):
                sums.store((start * many + number) * width, cell.get())
        with k.loop(count) as sample, k.loop(many) as vector:
            at, before = pixels(begin + sample)
            here = {**at, "carry": _carry(k, begin + sample)}
            product = sums.vector_at((sample * many + vector) * width, width) if tensor else k.vector(0.0, width)
            part.apply(Step(k, here, before, size, first + vector), product)


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


@contextmanager
def _some_samples(k: Kernel, most: int) -> Iterator[tuple[Int, Int]]:
    """Emit a loop over all samples, so many at most at a time; yield the first and how many."""
    samples = k.field("samples")
    with k.loop((samples + (most - 1)) // most) as turn:
        left = samples - turn * most
        yield turn * most, k.where(left < most, left, k.integer(most))


def _in_halves(k: Kernel, count: Int, most: int) -> Iterator[tuple[Int, int]]:
    """Emit loops over `count` things, `most` at a time, then half of that, and so on; yield the first and how many."""
    done = k.integer(0)
    while most:
        turns = (count - done) // most
        with k.loop(turns) as turn:
            yield done + turn * most, most
        done, most = done + turns * most, most // 2


def _pixels(k: Kernel, tensors: Sequence[str], t: Int, sign: int, sample: Int) -> tuple[Pixels, Pixels]:
    """Return where the pixels of a step of a sample are, and those of the step before it in time."""
    arena, at, before = k.base("arena"), {}, {}
    for name in tensors:
        pixel = k.field(f"{name}_pixel")
        at[name] = arena + (k.field(name) + sample * k.field(f"{name}_pitch") + t * pixel)
        before[name] = at[name] + pixel * -sign
    return at, before


def _carry(k: Kernel, sample: Int) -> Pointer:
    """Return where a sample's carry is."""
    return k.base("arena", "carry") + sample * k.field("carry_pitch")


def _add_products(k: Kernel, cells: list[Variable], sources: list[Pointer], columns: list[Pointer], depth: Int) -> None:
    """Add the sum over `depth` rows of x[row] w[row] to each cell, w being the vectors of its column.

    Cells are those of all columns for each sample, whose x is one of the sources. Odd rows have sums of their own. Of
    one sample these are made beside those of even rows, as a sum waits for the product before it; several samples have
    sums enough, and registers for no more.
    """
    odd = [Variable(k.vector(0.0, k.width)) for _ in cells]
    passes = [[cells, odd]] if len(sources) == 1 else [[cells], [odd]]
    for first, chains in enumerate(passes):
        with k.loop(depth // 2) as number:
            for i, chain in enumerate(chains, first):
                row = number * 2 + i
                weights = [column.vector_at(row * k.width, k.width) for column in columns]
                for sample, x in enumerate(sources):
                    value: Real = k.splat(x.real_at(row), k.width)
                    for weight, cell in zip(weights, chain[sample * len(columns) :], strict=False):
                        cell.set(value.muladd(weight, cell.get()))
    for one, other in zip(cells, odd, strict=True):
        one.set(one.get() + other.get())


WALKS = {
    name: (
        (forward_fields(name), partial(emit_forward, name), partial(forward_accesses, name)),
        (backward_fields(name), partial(emit_backward, name), partial(backward_accesses, name)),
    )
    for name in CELLS
}
"""Fields, emitter and accesses of each cell's walk, and of its walk back."""
