"""Adapters on packed weights: the adapted weight from its factors, and the gradients of the factors.

Row k of a packed matrix holds, lane by lane, the weights of successive channels. Its algebra element xi[k] is

    low_rank   xi[k] = sum_q a[q, k] b[q]    a_bar[q, k] = sum_lanes xi_bar[k] b[q]   b_bar[q] = sum_k a[q, k] xi_bar[k]
    channel    xi[k] = a[k] b                a_bar[k] = xi_bar[k] b                   b_bar = sum_k a[k] xi_bar[k]
    dense      xi[k] = a[k]                  a_bar[k] = xi_bar[k]

each with the chain rule for a sum of products. The first form has one number a[q, k] a row and one b[q] a lane, the
others a number a[k] for each weight, packed as the weights are. The map and the action, entry by entry:

    exp       W' = W0 exp(xi)                    xi_bar = W'_bar W'
    bounded   W' = W0 exp(c tanh(xi / c))        xi_bar = W'_bar W' (1 - tanh(xi / c)^2)
    taylor1   W' = W0 (1 + xi)                   xi_bar = W'_bar W0
    taylor2   W' = W0 (1 + xi + xi^2 / 2)        xi_bar = W'_bar W0 (1 + xi)
    add       W' = W0 + xi                       xi_bar = W'_bar

each xi_bar being W'_bar dW'/dxi.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, access, entries, steps
from lieref.kernel.simd.elementary import exp, tanh
from lieref.kernel.simd.emit import ITEM_BYTES, Int, Pointer, Real, Variable
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import FormTile, NoTile, WidthTile

FORMS = ("low_rank", "channel", "dense")
MAPS = ("exp", "bounded", "taylor1", "taylor2", "add")

ADAPT_FIELDS = Fields(
    "blocks", "column",  # vector columns; elements between them
    "rows", "weight",  # rows of the layout; where they start, the same place in W0 and W'
    "rank",
    "left", "left_rank", "left_column",  # a; elements between its ranks, and between its vector columns
    "right", "right_rank",  # b
    "bound",  # bits of a float64: the c of `bounded`
)  # fmt: skip

COLLECT_FIELDS = Fields(
    "blocks", "column", "gradient_column",
    "rows", "weight", "gradient",
    "rank",
    "left", "left_rank", "left_column",
    "right", "right_rank",
    "bound",
)  # fmt: skip

TRANSPOSE_FIELDS = Fields(
    "blocks", "block_in", "block_out",  # squares one way, elements between them in both layouts
    "rows", "row_in", "row_out",  # the same the other way
    "in", "out",
)  # fmt: skip

PERMUTE_FIELDS = Fields("count", "places", "out")

ADAPT_ROWS = 4
"""Rows of which an adapted weight is made at once: their exponentials overlap."""

COLLECT_ROWS, COLLECT_RANKS = {64: 4, 32: 2, 16: 2}, 4
"""Rows, by the bytes of a vector, and ranks whose sums stay in registers over all vector columns of a row: 16 of the 32
that come with vectors of 64 bytes, 8 of the 16 an AVX2 core has. 4 rows instead of 2 took 0.81 of the time on 576 rows
of 256 channels at rank 4, 0.95 on 64 channels; a sum is the same, row after row."""


class AdapterParts:
    """The parts of a kernel of one form and map: where xi comes from, and what its cotangent is."""

    def __init__(self, k: Kernel, form: str, map_name: str) -> None:
        self.k = k
        self.form = form
        self.map_name = map_name
        self.left, self.right = k.base("factors", "left"), k.base("factors", "right")

    def xi(self, block: Int, first: Int, count: int) -> list[Real]:
        """Return xi of `count` rows from `first` on."""
        k, width = self.k, self.k.width
        if self.form == "low_rank":
            sums = [Variable(k.vector(0.0, width)) for _ in range(count)]
            with k.loop(k.field("rank")) as q:
                b = self.right.vector_at(q * k.field("right_rank") + block * width, width)
                for i, cell in enumerate(sums):
                    a = k.splat(self.left.real_at(q * k.field("left_rank") + first + i), width)
                    cell.set(a.muladd(b, cell.get()))
            return [cell.get() for cell in sums]
        entries = [self.entries(self.left, block, first, i).vector_at(0, width) for i in range(count)]
        if self.form == "dense":
            return entries
        lanes = self.right.vector_at(block * width, width)
        return [entry * lanes for entry in entries]

    def entries(self, left: Pointer, block: Int, first: Int, i: int) -> Pointer:
        """Return where a factor packed as the weights has row `first` + i."""
        return left + (block * self.k.field("left_column") + (first + i) * self.k.width)

    def act(self, w: Real, xi: Real) -> Real:
        """Return W'."""
        k = self.k
        if self.map_name == "add":
            return w + xi
        if self.map_name == "taylor1":
            return xi.muladd(w, w)
        if self.map_name == "taylor2":
            return (xi * 0.5 + 1.0).muladd(xi * w, w)
        return w * exp(k, xi if self.map_name == "exp" else self._tanh(xi) * self._bound())

    def pull_back(self, bar: Real, base: Pointer, adapted: Pointer, at: Int, xi: Callable[[], Real]) -> Real:
        """Return xi_bar from W'_bar and the weights at `at`."""
        width = self.k.width
        if self.map_name == "add":
            return bar
        if self.map_name == "exp":
            return bar * adapted.vector_at(at, width)
        if self.map_name == "bounded":
            t = self._tanh(xi())
            return bar * adapted.vector_at(at, width) * ((-t).muladd(t, self.k.vector(1.0, width)))
        through = bar * base.vector_at(at, width)
        return through if self.map_name == "taylor1" else xi().muladd(through, through)

    def _bound(self) -> Real:
        return self.k.splat(self.k.real_field("bound"), self.k.width)

    def _tanh(self, xi: Real) -> Real:
        return tanh(self.k, xi / self._bound())


def _factor_accesses(f: Numbers, tile: FormTile, memory: str, *, written: bool = False) -> list[Access]:
    """Return what is accessed of both factors, or of their gradients."""
    rows, blocks, rank, width = f["rows"], f["blocks"], f["rank"], tile.width
    if tile.form == "low_rank":
        left = steps((rank, f["left_rank"]), (rows, 1))
        right = steps((rank, f["right_rank"]), (blocks * width, 1))
        first = access(memory, "left", f["left"], left, steps((blocks, 0)), written=written)
        return first + access(memory, "right", f["right"], right, steps((rows, 0)), written=written)
    entry = steps((blocks, f["left_column"]), (rows * width, 1))
    found = access(memory, "left", f["left"], entry, written=written)
    if tile.form == "channel":
        found += access(memory, "right", f["right"], steps((blocks * width, 1), (rows, 0)), written=written)
    return found


def adapt_accesses(f: Numbers, tile: FormTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the adapted weight accesses."""
    place = steps((f["blocks"], f["column"]), (f["rows"] * tile.width, 1))
    return [
        *_factor_accesses(f, tile, "factors"),
        *access("bases", "weight", f["weight"], place),
        *access("weights", "weight", f["weight"], place, written=True),
    ]


def collect_accesses(map_name: str, f: Numbers, tile: FormTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction of the gradients of the factors accesses."""
    rows = f["rows"] * tile.width
    place, bars = (steps((f["blocks"], f[name]), (rows, 1)) for name in ("column", "gradient_column"))
    needed = steps((f["rank"], 0)) if tile.form == "low_rank" else steps()
    weight = {"add": (), "exp": ("weights",), "bounded": ("weights",)}.get(map_name, ("bases",))
    factors = _factor_accesses(f, tile, "factors")
    if tile.form == "dense" and map_name in ("add", "exp", "taylor1"):
        factors = []  # no slope asks for xi
    return [
        *factors,
        *access("gradients", "gradient", f["gradient"], bars, needed),
        *(one for memory in weight for one in access(memory, "weight", f["weight"], place, needed)),
        *_factor_accesses(f, tile, "factor_gradients", written=True),
    ]


def transpose_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    found = []
    for side in ("in", "out"):
        squares = steps((f["blocks"], f[f"block_{side}"]), (f["rows"], f[f"row_{side}"]), (tile.width**2, 1))
        found += access("weights", side, f[side], squares, written=side == "out")
    return found


def permute_accesses(f: Numbers, tile: NoTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses; the places may lie in any packed weights."""
    count = steps((f["count"], 1))
    return [
        *access("table", "places", f["places"], count),
        *access("weights", "", 0, entries(table, f["places"], f["count"])),
        *access("weights", "out", f["out"], count, written=True),
    ]


def emit_adapt(map_name: str, module: ir.Module, name: str, dtype: str, tile: FormTile) -> None:
    """Emit the adapted weight."""
    form, width = tile
    k = Kernel(module, name, dtype, ADAPT_FIELDS, width)
    adapter = AdapterParts(k, form, map_name)
    with k.loop(k.field("blocks")) as block:
        shift = block * k.field("column")
        base, out = k.base("bases", "weight") + shift, k.base("weights", "weight") + shift

        def some(first: Int, count: int) -> None:
            for i, xi in enumerate(adapter.xi(block, first, count)):
                place = (first + i) * width
                out.store(place, adapter.act(base.vector_at(place, width), xi))

        k.in_tiles(k.field("rows"), ADAPT_ROWS, some)
    k.finish()


def emit_collect(map_name: str, module: ir.Module, name: str, dtype: str, tile: FormTile) -> None:
    """Emit the gradients of both factors, added to buffers laid out as the factors."""
    form, width = tile
    k = Kernel(module, name, dtype, COLLECT_FIELDS, width)
    adapter = AdapterParts(k, form, map_name)
    base, adapted = k.base("bases", "weight"), k.base("weights", "weight")
    bars = k.base("gradients", "gradient")
    left_bar, right_bar = k.base("factor_gradients", "left"), k.base("factor_gradients", "right")

    def xi_bar(block: Int, first: Int, i: int) -> Real:
        row = first + i
        bar = bars.vector_at(block * k.field("gradient_column") + row * width, width)
        at = block * k.field("column") + row * width
        return adapter.pull_back(bar, base, adapted, at, lambda: adapter.xi(block, row, 1)[0])

    def low_rank(first: Int, count: int) -> None:
        def ranks(q: Int, many: int) -> None:
            sums = [[Variable(k.vector(0.0, width)) for _ in range(many)] for _ in range(count)]
            with k.loop(k.field("blocks")) as block:
                cotangents = [xi_bar(block, first, i) for i in range(count)]
                for j in range(many):
                    place = (q + j) * k.field("right_rank") + block * width
                    b = adapter.right.vector_at(place, width)
                    total = right_bar.vector_at(place, width)
                    for i, bar in enumerate(cotangents):
                        a = adapter.left.real_at((q + j) * k.field("left_rank") + first + i)
                        total = k.splat(a, width).muladd(bar, total)
                        sums[i][j].set(bar.muladd(b, sums[i][j].get()))
                    right_bar.store(place, total)
            for i in range(count):
                for j in range(many):
                    at = (q + j) * k.field("left_rank") + first + i
                    left_bar.store(at, left_bar.real_at(at) + k.sum(sums[i][j].get()))

        k.in_tiles(k.field("rank"), COLLECT_RANKS, ranks)

    def entries(first: Int, count: int) -> None:
        with k.loop(k.field("blocks")) as block:
            for i in range(count):
                bar = xi_bar(block, first, i)
                place = adapter.entries(left_bar, block, first, i)
                if form == "channel":
                    b, a = adapter.right, adapter.entries(adapter.left, block, first, i)
                    at = block * width
                    right_bar.store(at, a.vector_at(0, width).muladd(bar, right_bar.vector_at(at, width)))
                    bar = bar * b.vector_at(at, width)
                place.store(0, place.vector_at(0, width) + bar)

    k.in_tiles(k.field("rows"), COLLECT_ROWS[width * ITEM_BYTES[k.real]], low_rank if form == "low_rank" else entries)
    k.finish()


def emit_transpose(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit the transposition of squares of packed weights: a backward layout from the forward one, without an exp."""
    (width,) = tile
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


def emit_permute(module: ir.Module, name: str, dtype: str, tile: NoTile) -> None:
    """Emit out[i] = weights[places[i]], `places` in the table: any layout from another."""
    k = Kernel(module, name, dtype, PERMUTE_FIELDS, 1)
    weights, places = k.base("weights"), k.base("table", "places")
    out = weights + k.field("out")
    with k.loop(k.field("count")) as i:
        out.store(i, weights.real_at(places.int_at(i)))
    k.finish()
