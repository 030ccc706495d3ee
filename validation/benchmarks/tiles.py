"""Rate of every register tile: the measurement behind the tile tables of `lieref/kernel/simd/tiles.py`.

python -m validation.benchmarks.tiles --isa avx512

All data stay in the first two levels of the cache, so what limits a tile here is the tile: its latency, its loads, its
ends.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from typing import Any

import numpy as np

from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.frequency import FREQUENCY_STEPS
from lieref.kernel.simd.isa import Isa
from lieref.kernel.simd.kernels import FAMILIES, KernelName
from lieref.kernel.simd.machine_code import library
from lieref.kernel.simd.memory import aligned
from lieref.kernel.simd.row import CONTEXT, ENTRY, REQUEST
from lieref.kernel.simd.tiles import (
    CONV_STEPS,
    CONV_TILES,
    DEPTHWISE3_STRIDES,
    DEPTHWISE3_TILES,
    DEPTHWISE_GRADIENT_TAPS,
    DEPTHWISE_TILES,
    GRADIENT_TILES,
    ConvTile,
    Depthwise3Tile,
    FrequencyTile,
    GradientTile,
    PixelTile,
    TapTile,
)
from validation.benchmarks._measure import write

DEPTHS = (8, 16, 32, 64, 144, 576)
PIXELS = (4, 9, 16, 36, 64, 256)
CALLS = 100
"""Calls of a kernel timed together, so that the way from Python to it does not count."""


def rate(isa: Isa, kernel: KernelName, products: int, offsets: list[int], seconds: float, **ints: int) -> float:
    """Best GF/s of a kernel that makes so many products; numbers that are not given are 0."""
    lib = library(isa.name, "float32")
    memory = {name: aligned(1 << 20, "float32") for name in ("arena", "weights", "gradients")}
    table = np.array(offsets, np.int64)
    fields = FAMILIES[kernel.family].fields
    numbers = {**dict.fromkeys(fields.names, 0), **ints, "address": lib.address(kernel)}
    row = np.array(fields.pack(**numbers), np.int64)
    known = {"arena": memory["arena"].ctypes.data, "weights": memory["weights"].ctypes.data, "table": table.ctypes.data}
    context = np.array([known.get(name, 0) for name in CONTEXT], np.int64)
    entry = {
        "context": context.ctypes.data, "gradients": memory["gradients"].ctypes.data, "rows": row.ctypes.data,
        "row_count": 1, "end": CALLS, "step": 1, "fresh": 1,
    }  # fmt: skip
    script = np.array([1, *(entry.get(name, 0) for name in ENTRY)], np.int64)
    request = np.zeros(len(REQUEST) + 1, np.int64)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(lib.address("run"))
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        call(script.ctypes.data, request.ctypes.data)
        best = min(best, time.perf_counter() - begin)
    return 2 * products * CALLS / best / 1e9


def conv(isa: Isa, pixels: int, vectors: int, steps: int, depth: int, seconds: float) -> float:
    """A product of `depth` over about 48 pixels and 2 blocks of channels."""
    width = isa.lanes("float32")
    count, channels, parts = 48 // pixels * pixels, 2 * vectors * width, depth // steps
    return rate(
        isa, KernelName("conv", ConvTile(pixels, vectors, steps, width)),
        count * channels * parts * steps, [i * steps for i in range(parts)], seconds, blocks=2, together=2,
        column=parts * steps * width, count=count, cols=count, in_pixel=depth, in_row=count * depth, run_count=parts,
        out=48 * depth, out_pixel=channels, out_row=count * channels,
    )  # fmt: skip


def frequencies(isa: Isa, pixels: int, vectors: int, depth: int, seconds: float) -> float:
    """The 16 products of F(2x2, 3x3) over 16 tiles and 2 blocks of channels."""
    width = isa.lanes("float32")
    channels, parts = 2 * vectors * width, depth // FREQUENCY_STEPS
    return rate(
        isa, KernelName("winograd_product", FrequencyTile(pixels, vectors, width)), 16 * 16 * channels * depth,
        [i * FREQUENCY_STEPS for i in range(parts)], seconds, frequencies=16, in_row=17 * depth,
        out_row=17 * channels, weight_step=channels * depth, blocks=2, together=2, column=depth * width, count=16,
        in_pixel=depth, run_count=parts, out=16 * 17 * depth, out_pixel=channels,
    )  # fmt: skip


def gradient(isa: Isa, depth: int, vectors: int, pixels: int, seconds: float) -> float:
    """Eight blocks of k over `pixels`."""
    width = isa.lanes("float32")
    inner, outer = 8 * depth, vectors * width
    return rate(
        isa, KernelName("gradient", GradientTile(depth, vectors, width)), pixels * inner * outer, [0],
        seconds, repeats=1, blocks=1, column=inner * width, rows=1, cols=pixels, in_pixel=inner,
        in_row=pixels * inner, run_count=1, run_rows=inner, run_blocks=8, g=pixels * inner, g_pixel=outer,
        g_row=pixels * outer,
    )  # fmt: skip


def depthwise(isa: Isa, kernel: KernelName, products: int, stride: int, seconds: float, **ints: int) -> float:
    """3x3 taps over 12 x 12 outputs of 4 vectors of channels."""
    channels = 4 * isa.lanes("float32")
    row, image = (12 * stride + 2) * channels, 40 * 40 * channels
    offsets = [y * row + x * channels for y in range(3) for x in range(3)]
    geometry = {"in_row": stride * row, "in_pixel": stride * channels, "cols": 12}
    other = "g" if kernel.family == "depthwise_gradient" else "out"
    geometry |= {other: image, f"{other}_row": 12 * channels, f"{other}_pixel": channels}
    column = 9 * isa.lanes("float32")
    return rate(isa, kernel, products, offsets, seconds, blocks=4, column=column, **geometry, **ints)


def measure(isa: Isa, seconds: float) -> list[dict[str, Any]]:
    """Rates of all tiles of an instruction set."""
    width = isa.lanes("float32")
    rows: list[dict[str, Any]] = []

    def add(tile: str, rates: dict[Any, float]) -> None:
        rows.append({"tile": tile, "gflops": rates})

    for steps in CONV_STEPS:
        for p, v in CONV_TILES[isa.registers]:
            add(f"conv {p} x {v}, {steps} steps", {f"k={k}": conv(isa, p, v, steps, k, seconds) for k in DEPTHS})
    for p, v in CONV_TILES[isa.registers]:
        name = f"frequency product {p} x {v}"
        add(name, {f"k={k}": frequencies(isa, p, v, k, seconds) for k in (16, 32, 64, 128)})
    for d, v in GRADIENT_TILES[isa.registers]:
        add(f"weight gradient {d} x {v}", {f"px={n}": gradient(isa, d, v, n, seconds) for n in PIXELS})
    products = 9 * 144 * 4 * width
    for p in DEPTHWISE_TILES[isa.registers]:
        kernel = KernelName("depthwise", PixelTile(p, width))
        ints = {"count": 144, "tap_count": 9}
        add(f"depthwise {p}", {"": depthwise(isa, kernel, products, 1, seconds, **ints)})
    for p in DEPTHWISE3_TILES[isa.registers]:
        rates = {
            f"stride={s}": depthwise(
                isa, KernelName("depthwise3", Depthwise3Tile(p, s, width)), products, s, seconds, count=144
            )
            for s in DEPTHWISE3_STRIDES
        }
        add(f"depthwise 3x3 {p}", rates)
    for t in DEPTHWISE_GRADIENT_TAPS:
        kernel = KernelName("depthwise_gradient", TapTile(t, width))
        ints = {"rows": 12, "together": 2, "tap_blocks": 9 // t}
        rates = {"": depthwise(isa, kernel, products, 1, seconds, **ints)}
        add(f"depthwise gradient {t} taps", rates)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", default=isa_module.best().name)
    parser.add_argument("--seconds", type=float, default=0.05, help="for each rate, in each round")
    parser.add_argument(
        "--rounds", type=int, default=8, help="the best of them counts: the machine is not always quiet"
    )
    options = parser.parse_args()
    rounds = [measure(isa_module.ISAS[options.isa], options.seconds) for _ in range(options.rounds)]
    rows = []
    for same in zip(*rounds, strict=True):
        rates = {key: max(row["gflops"][key] for row in same) for key in same[0]["gflops"]}
        rows.append({"tile": same[0]["tile"], "gflops": rates})
        print(f"{same[0]['tile']:28s} " + "  ".join(f"{key} {r:4.0f}" for key, r in rates.items()))
    write(f"tiles_{options.isa}", rows)


if __name__ == "__main__":
    main()
