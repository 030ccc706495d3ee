"""Rate of every convolution tile over the depth of its sums: the measurement behind the tile tables.

python -m validation.benchmarks.tiles --isa avx512
"""

from __future__ import annotations

import argparse
import ctypes
import time

import numpy as np

from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.conv import CONV_FIELDS
from lieref.kernel.simd.machine_code import library
from lieref.kernel.simd.row import CONTEXT
from lieref.kernel.simd.tiles import CONV_TILES
from lieref.model.engine.workspace import aligned
from validation.benchmarks._measure import write


def rate(isa: str, pixels: int, vectors: int, depth: int, channels: int, seconds: float) -> float:
    """GF/s of a product of about 240 pixels x channels over `depth`."""
    lib = library(isa, "float32")
    width = lib.isa.lanes("float32")
    count = 240 // pixels * pixels
    arena, weights = aligned(240 * (depth + channels) + 64, "float32"), aligned(depth * channels + 64, "float32")
    table = np.zeros(1, np.int64)
    row = CONV_FIELDS.pack(
        address=lib.address(f"conv_p{pixels}v{vectors}w{width}"), repeats=1, blocks=channels // (vectors * width),
        column=depth * width, count=count, cols=count, in_pixel=depth, run_count=1, run_length=depth,
        out=240 * depth, out_pixel=channels,
    )  # fmt: skip
    rows = np.array(row, np.int64)
    known = {"arena": arena.ctypes.data, "weights": weights.ctypes.data, "table": table.ctypes.data}
    context = np.array([known.get(name, 0) for name in CONTEXT], np.int64)
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(row[0])
    a, b = rows.ctypes.data, context.ctypes.data
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        for _ in range(10):
            call(a, b)
        best = min(best, (time.perf_counter() - begin) / 10)
    return 2 * count * depth * channels / best / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--isa", default=isa_module.best().name)
    parser.add_argument("--seconds", type=float, default=0.02)
    options = parser.parse_args()
    isa = isa_module.ISAS[options.isa]
    channels = 4 * isa.lanes("float32")
    rows = []
    for pixels, vectors in CONV_TILES[isa.registers]:
        rates = {k: rate(isa.name, pixels, vectors, k, channels, options.seconds) for k in (8, 16, 32, 64, 144, 576)}
        rows.append({"pixels": pixels, "vectors": vectors, "gflops": rates})
        print(f"{pixels:3d} x {vectors}  " + "  ".join(f"k={k} {r:4.0f}" for k, r in rates.items()), flush=True)
    print(write(f"tiles_{isa.name}", rows))


if __name__ == "__main__":
    main()
