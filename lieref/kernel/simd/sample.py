"""Where samples enter and leave: loading an image, the loss and its gradient.

Losses, with z the outputs of a sample, t its row of targets and s the context's scale:

    cross entropy   loss = sum_j t_j (log sum_i exp z_i - z_j)    g_j = (sum_i t_i) softmax(z)_j - t_j
                    of each position, where a sample has classes for several: its first axis, or its last
    squared error   loss = s sum_j (z_j - t_j)^2                  g_j = 2 s (z_j - t_j)
    binary          loss = sum_j |t_j| log(1 + exp(-u_j))         g_j = -t_j / (1 + exp(u_j)),  u_j = sign(t_j) z_j
    given           loss = 0                                      g_j = t_j

The first g is d/dz_j of log(sum_k exp z_k) sum_i t_i - sum_i t_i z_i. Class weights, label smoothing and the mean over
the batch are in the targets of the first. In those of the binary cross-entropy a yes is the weight of its answer over
their number, a no the negative of that, and an answer that is ignored zero.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, access, steps
from lieref.kernel.simd.elementary import exp
from lieref.kernel.simd.emit import F64, I8, Int, Pointer, Real, Variable
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import LoadTile, OutputTile

# Samples at once, and the first of them, counted from the one at work on; elements from one to the next as given; its
# sizes; the image in the arena.
LOAD_FIELDS = Fields(
    "samples", "image", "sample", "channels", "rows", "cols", "out", "out_row", "out_pixel", "out_sample"
)  # fmt: skip
# The same samples; outputs of one, and how many of them are classes where these are its first axis, or its last; where
# they are, where their gradient goes, and elements from one sample to the next.
OUTPUT_FIELDS = Fields("samples", "image", "classes", "first", "last", "in", "in_sample", "g", "g_sample")

LOSSES = (
    "logits", "given", "mean_squared_error", "cross_entropy", "cross_entropy_last", "binary_cross_entropy"
)  # fmt: skip
"""What may be done with the outputs; "logits" copies them to the caller."""


def load_accesses(f: Numbers, tile: LoadTile | None, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses, of the images from the sample at work on."""
    samples, channels, rows, cols = (f[name] for name in ("samples", "channels", "rows", "cols"))
    image = steps((samples, f["sample"]), (channels * rows * cols, 1))
    place = steps((samples, f["out_sample"]), (rows, f["out_row"]), (cols, f["out_pixel"]), (channels, 1))
    return [
        *access("images", "", f["image"] * f["sample"], image),
        *access("arena", "out", f["out"], place, written=True),
    ]


def load3_accesses(f: Numbers, tile: LoadTile | None, table: Sequence[int]) -> list[Access]:
    """Return what an instruction for three channels accesses."""
    rows, cols = f["rows"], f["cols"]
    return [
        *access("images", "", f["image"] * f["sample"], steps((3 * rows * cols, 1))),
        *access("arena", "out", f["out"], steps((rows, f["out_row"]), (3 * cols, 1)), written=True),
    ]


def output_accesses(f: Numbers, tile: OutputTile | None, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses, of the caller's arrays from the sample on; the most without a tile."""
    samples, classes, image = f["samples"], f["classes"], f["image"]
    line = image * classes
    entries, loss = steps((samples * classes, 1)), tile.loss if tile else "mean_squared_error"
    found = access("arena", "in", f["in"], steps((samples, f["in_sample"]), (classes, 1)))
    if loss == "logits":
        return found + access("logits", "", line, entries, written=True)
    bars = access("arena", "g", f["g"], steps((samples, f["g_sample"]), (classes, 1)), written=True)
    bars += access("targets", "", line, entries)
    return bars if loss == "given" else found + bars + access("losses", "", image, steps((samples, 1)), written=True)


def emit_output(module: ir.Module, name: str, dtype: str, tile: OutputTile) -> None:
    """Emit what is done with the outputs."""
    by_vectors = {
        "logits": emit_logits,
        "given": emit_given,
        "mean_squared_error": emit_squared_error,
        "cross_entropy_last": emit_cross_entropy_last,
    }
    if tile.loss in by_vectors:
        by_vectors[tile.loss](module, name, dtype, tile.width)
    elif tile.loss == "cross_entropy":
        emit_cross_entropy(module, name, dtype)
    else:
        emit_binary_cross_entropy(module, name, dtype)


def emit_load(module: ir.Module, name: str, dtype: str, tile: LoadTile) -> None:
    """Emit the copy of samples (C, H, W) of dtype `source` ("uint8" or `dtype`) into the arena's NHWC."""
    source, _ = tile
    k = Kernel(module, name, dtype, LOAD_FIELDS, 1)
    x, out = _images(k, source), k.base("arena", "out")
    rows, cols, pixel = k.field("rows"), k.field("cols"), k.field("out_pixel")
    with k.loop(k.field("samples")) as sample, k.loop(k.field("channels")) as c, k.loop(rows) as y:
        line = x + (sample * k.field("sample") + (c * rows + y) * cols)
        target = out + (sample * k.field("out_sample") + y * k.field("out_row") + c)
        with k.loop(cols) as column:
            target.store(column * pixel, _load(k, line + column, source, 0))
    k.finish()


def emit_load3(module: ir.Module, name: str, dtype: str, tile: LoadTile) -> None:
    """Emit the same for one image of three channels without padding: whole vectors of pixels, shuffled together."""
    source, width = tile
    k = Kernel(module, name, dtype, LOAD_FIELDS, width)
    x, out = _images(k, source), k.base("arena", "out")
    rows, cols = k.field("rows"), k.field("cols")
    whole = cols // width
    with k.loop(rows) as y:
        lines = [x + (cols * rows * c + y * cols) for c in range(3)]
        target = out + y * k.field("out_row")
        with k.loop(whole) as part:
            red, green, blue = (_load(k, line + part * width, source, width) for line in lines)
            for v in range(3):
                entries = range(v * width, (v + 1) * width)
                # Entry e of the result is channel e % 3 of pixel e // 3: two of them first, then the third between.
                two = k.shuffle(red, green, [e // 3 + (e % 3 == 1) * width for e in entries])
                merged = [width + e // 3 if e % 3 == 2 else i for i, e in enumerate(entries)]
                target.store((part * 3 + v) * width, k.shuffle(two, blue, merged))
        with k.loop(cols - whole * width) as rest:
            column = whole * width + rest
            for c, line in enumerate(lines):
                target.store(column * 3 + c, _load(k, line + column, source, 0))
    k.finish()


def _images(k: Kernel, source: str) -> Pointer:
    """Return where the sample at work is in the caller's array."""
    element = I8 if source == "uint8" else k.real
    return Pointer(k, k.base("images").ir, element) + _image(k) * k.field("sample")


def _image(k: Kernel) -> Int:
    """Return the number of the instruction's first sample."""
    return k.context_int("image") + k.field("image")


def _load(k: Kernel, at: Pointer, source: str, lanes: int) -> Real:
    """Load a number (0 lanes) or a vector, converted to the function's type."""
    if source != "uint8":
        return at.vector_at(0, lanes) if lanes else at.real_at(0)
    kind = ir.VectorType(I8, lanes) if lanes else I8
    real = ir.VectorType(k.real, lanes) if lanes else k.real
    return Real(k, k.b.uitofp(k.b.load(at.ir, align=1, typ=kind), real))


def emit_logits(module: ir.Module, name: str, dtype: str, width: int) -> None:
    """Emit the copy of a sample's outputs to the caller's array."""
    k = Kernel(module, name, dtype, OUTPUT_FIELDS, width)
    with k.loop(k.field("samples")) as sample:
        z, _, _, out = _sample_pointers(k, sample)
        _copy(k, z, out)
    k.finish()


def emit_given(module: ir.Module, name: str, dtype: str, width: int) -> None:
    """Emit the loss whose gradient the caller has already computed."""
    k = Kernel(module, name, dtype, OUTPUT_FIELDS, width)
    with k.loop(k.field("samples")) as sample:
        _, t, g, _ = _sample_pointers(k, sample)
        _copy(k, t, g)
    k.finish()


def _copy(k: Kernel, source: Pointer, target: Pointer) -> None:
    """Emit the copy of a number for each class; whole vectors, then the rest one by one."""
    whole = k.field("classes") // k.width
    with k.loop(whole) as part:
        target.store(part * k.width, source.vector_at(part * k.width, k.width))
    done = whole * k.width
    with k.loop(k.field("classes") - done) as rest:
        target.store(done + rest, source.real_at(done + rest))


def emit_squared_error(module: ir.Module, name: str, dtype: str, width: int) -> None:
    """Emit the squared error; vectors of `width`, then the rest one by one."""
    k = Kernel(module, name, dtype, OUTPUT_FIELDS, width)
    scale, classes = k.context_real("scale"), k.field("classes")
    whole = classes // width
    with k.loop(k.field("samples")) as sample:
        z, t, g, _ = _sample_pointers(k, sample)
        squares = Variable(k.vector(0.0, width))
        with k.loop(whole) as part:
            at = part * width
            difference = z.vector_at(at, width) - t.vector_at(at, width)
            squares.set(difference.muladd(difference, squares.get()))
            g.store(at, difference * k.splat(scale + scale, width))
        total = Variable(k.sum(squares.get()))
        with k.loop(classes - whole * width) as rest:
            at = whole * width + rest
            one = z.real_at(at) - t.real_at(at)
            total.set(one.muladd(one, total.get()))
            g.store(at, one * (scale + scale))
        _store_loss(k, sample, _wide(k, total.get() * scale))
    k.finish()


def emit_cross_entropy(module: ir.Module, name: str, dtype: str) -> None:
    """Emit the cross entropy against a row of targets, shifted by the largest output; classes are the first axis.

    In float64: where a sample is fitted, its loss and its gradient are small differences of numbers near one.
    """
    k = Kernel(module, name, dtype, OUTPUT_FIELDS, 1)
    classes = k.field("first")
    positions = k.field("classes") // classes
    zero = Real(k, ir.Constant(F64, 0.0))
    with k.loop(k.field("samples")) as sample:
        pointers, loss = _sample_pointers(k, sample), Variable(zero)
        with k.loop(positions) as position:
            z, t, g, _ = (pointer + position for pointer in pointers)
            largest = Variable(z.real_at(0))
            with k.loop(classes) as j:
                largest.set(largest.get().max(z.real_at(j * positions)))
            top = _wide(k, largest.get())
            total, mass, product = Variable(zero), Variable(zero), Variable(zero)
            with k.loop(classes) as j:
                at = j * positions
                shifted, target = _wide(k, z.real_at(at)) - top, _wide(k, t.real_at(at))
                total.set(total.get() + exp(k, shifted))
                mass.set(mass.get() + target)
                product.set(target.muladd(shifted, product.get()))
            factor = mass.get() / total.get()
            with k.loop(classes) as j:
                at = j * positions
                e = exp(k, _wide(k, z.real_at(at)) - top)
                g.store(at, k.narrow(e * factor - _wide(k, t.real_at(at))))
            loss.set(loss.get() + (mass.get() * _log(k, total.get()) - product.get()))
        _store_loss(k, sample, loss.get())
    k.finish()


def emit_cross_entropy_last(module: ir.Module, name: str, dtype: str, width: int) -> None:
    """Emit the same where the classes are the last axis, as of tokens: vectors of `width`, then the rest one by one."""
    k = Kernel(module, name, dtype, OUTPUT_FIELDS, width)
    classes = k.field("last")
    positions, whole = k.field("classes") // classes, classes // width
    zero = Real(k, ir.Constant(F64, 0.0))
    zeros = Real(k, ir.Constant(ir.VectorType(F64, width), [0.0] * width))
    with k.loop(k.field("samples")) as sample:
        pointers, loss = _sample_pointers(k, sample), Variable(zero)
        with k.loop(positions) as position:
            z, t, g, _ = (pointer + position * classes for pointer in pointers)
            done = whole * width
            tallest = Variable(k.splat(z.real_at(0), width))
            with k.loop(whole) as part:
                tallest.set(tallest.get().max(z.vector_at(part * width, width)))
            largest = Variable(k.largest(tallest.get()))
            with k.loop(classes - done) as rest:
                largest.set(largest.get().max(z.real_at(done + rest)))
            top = _wide(k, largest.get())
            tops = k.splat(top, width)
            totals, masses, products = Variable(zeros), Variable(zeros), Variable(zeros)
            with k.loop(whole) as part:
                at = part * width
                shifted, target = _wide(k, z.vector_at(at, width)) - tops, _wide(k, t.vector_at(at, width))
                totals.set(totals.get() + exp(k, shifted))
                masses.set(masses.get() + target)
                products.set(target.muladd(shifted, products.get()))
            total, mass, product = (Variable(k.sum(one.get())) for one in (totals, masses, products))
            with k.loop(classes - done) as rest:
                at = done + rest
                shifted, target = _wide(k, z.real_at(at)) - top, _wide(k, t.real_at(at))
                total.set(total.get() + exp(k, shifted))
                mass.set(mass.get() + target)
                product.set(target.muladd(shifted, product.get()))
            factor = mass.get() / total.get()
            factors = k.splat(factor, width)
            with k.loop(whole) as part:
                at = part * width
                e = exp(k, _wide(k, z.vector_at(at, width)) - tops)
                g.store(at, k.narrow(e * factors - _wide(k, t.vector_at(at, width))))
            with k.loop(classes - done) as rest:
                at = done + rest
                e = exp(k, _wide(k, z.real_at(at)) - top)
                g.store(at, k.narrow(e * factor - _wide(k, t.real_at(at))))
            loss.set(loss.get() + (mass.get() * _log(k, total.get()) - product.get()))
        _store_loss(k, sample, loss.get())
    k.finish()


def _log(k: Kernel, value: Real) -> Real:
    return Real(k, k.call_intrinsic("llvm.log", [value.ir]))


def emit_binary_cross_entropy(module: ir.Module, name: str, dtype: str) -> None:
    """Emit the binary cross-entropy against a row of signed weights, in float64; no exponential overflows.

    log(1 + exp(-u)) = max(-u, 0) + log(1 + e) and 1 / (1 + exp(u)) = exp(-max(u, 0)) / (1 + e) with e = exp(-|u|).
    """
    k = Kernel(module, name, dtype, OUTPUT_FIELDS, 1)
    one, zero = Real(k, ir.Constant(F64, 1.0)), Real(k, ir.Constant(F64, 0.0))
    with k.loop(k.field("samples")) as sample:
        z, t, g, _ = _sample_pointers(k, sample)
        loss = Variable(zero)
        with k.loop(k.field("classes")) as j:
            weight = _wide(k, t.real_at(j))
            sign = Real(k, k.call_intrinsic("llvm.copysign", [one.ir, weight.ir]))
            u = sign * _wide(k, z.real_at(j))
            below = one + exp(k, -u.max(-u))
            rest = (-u).max(zero) + Real(k, k.call_intrinsic("llvm.log", [below.ir]))
            loss.set((sign * weight).muladd(rest, loss.get()))
            g.store(j, k.narrow(-(weight * (exp(k, -u.max(zero)) / below))))
        _store_loss(k, sample, loss.get())
    k.finish()


def _sample_pointers(k: Kernel, sample: Int) -> tuple[Pointer, Pointer, Pointer, Pointer]:
    """Return where this sample's outputs, targets, gradient and result row are."""
    line = (_image(k) + sample) * k.field("classes")
    z = k.base("arena", "in") + sample * k.field("in_sample")
    g = k.base("arena", "g") + sample * k.field("g_sample")
    return z, k.base("targets") + line, g, k.base("logits") + line


def _store_loss(k: Kernel, sample: Int, loss: Real) -> None:
    k.base("losses").store(_image(k) + sample, loss)


def _wide(k: Kernel, value: Real) -> Real:
    """Return a number, or the entries of a vector, as float64."""
    kind = value.ir.type
    if isinstance(kind, ir.VectorType):
        wide = ir.VectorType(F64, kind.count)
        return value if kind == wide else Real(k, k.b.fpext(value.ir, wide))
    return value if kind == F64 else Real(k, k.b.fpext(value.ir, F64))
