"""Zeros in the arena: halos, padded channels and slack of a tensor that follows another in its place."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from lieref.kernel.simd.access import Access, Numbers, Slack, access, steps
from lieref.kernel.simd.conv import SPARE
from lieref.kernel.simd.emit import Real
from lieref.kernel.simd.row import Fields, Kernel
from lieref.kernel.simd.tiles import WidthTile

ZEROS_FIELDS = Fields("out", "count", "segments", "step")
"""Where the first segment starts; elements of one; how many; elements from one to the next."""


ZEROS_SLACK = {"out": Slack(SPARE, "finite")}
"""What is read behind a tensor is cleared with it."""


def zeros_accesses(f: Numbers, tile: WidthTile, table: Sequence[int]) -> list[Access]:
    """Return what an instruction accesses."""
    segments = steps((f["segments"], f["step"]), (f["count"], 1))
    return access("arena", "out", f["out"], segments, written=True)


def emit_zeros(module: ir.Module, name: str, dtype: str, tile: WidthTile) -> None:
    """Emit segments of `count` zeros, `step` elements apart."""
    (width,) = tile
    k = Kernel(module, name, dtype, ZEROS_FIELDS, width)
    out, count, step = k.base("arena", "out"), k.field("count"), k.field("step")
    whole = count // width
    with k.loop(k.field("segments")) as segment:
        target = out + segment * step
        with k.loop(whole) as vector:
            target.store(vector * width, k.vector(0.0, width))
        with k.loop(count - whole * width) as rest:
            target.store(whole * width + rest, Real(k, ir.Constant(k.real, 0.0)))
    k.finish()
