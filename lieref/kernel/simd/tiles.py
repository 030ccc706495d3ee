"""Which register tiles exist for each instruction set, and the measurements behind them.

One table for each number of vector registers; `validation/benchmarks/tiles.py` measures it. GF/s over the depth k of
the sums, with AVX-512 on one Zen 4 core (117 at most), with AVX2 on one Zen 3 core (100 at most):

    AVX-512   k = 8    16    32   144        AVX2      k = 8    16    32   144
     8 x 1      78   103   113   117          8 x 1      43    56    65    75
     8 x 2      89   100   109   115          6 x 2      66    81    88    95
     5 x 4      92   105   110   115          4 x 2      68    80    88    95
    16 x 1      67    86    99   113          3 x 3      74    80    86    92
    12 x 2      68    87    99   113         12 x 1      41    53    62    73

More than 8 pixels lose: their addresses do not fit the integer registers, and short sums pay for it. An AVX2 core loads
less than two numbers a cycle, which bounds tiles of one vector. Fewer vectors serve narrow layers, fewer pixels small
images; (1, v) serves a single sample of a linear layer.
"""

from __future__ import annotations

from lieref.kernel.simd.isa import Isa

CONV_TILES: dict[int, tuple[tuple[int, int], ...]] = {
    32: ((8, 1), (8, 2), (5, 4), (4, 4), (3, 4), (4, 1), (1, 4), (1, 2), (1, 1)),
    16: ((8, 1), (6, 2), (4, 2), (3, 3), (4, 1), (1, 4), (1, 2), (1, 1)),
}
"""(pixels, vectors) of forward and input-gradient tiles, by vector registers."""

CONV_STEPS = (4, 3)
"""Elements of one run: 4 where channels are padded to vectors, 3 for an image of 3 channels."""

GRADIENT_TILES: dict[int, tuple[tuple[int, int], ...]] = {
    32: ((12, 2), (8, 2), (12, 1), (8, 1), (4, 4), (4, 1)),
    16: ((6, 2), (4, 2), (12, 1), (6, 1), (4, 1)),
}
"""(depth, vectors) of weight-gradient tiles: 102 to 116 GF/s with AVX-512 from 16 channels on; 83 (6 x 2) and 70 (4 x
2) with AVX2 over 36 pixels, 89 and 85 over 256. AVX2's 8 x 1 is not there: its loads are moved up by the compiler until
the sums do not fit the registers, 42."""

DEPTHWISE_TILES: dict[int, tuple[int, ...]] = {32: (12, 8, 4, 1), 16: (8, 4, 1)}
"""Pixels of general depthwise tiles: 40 to 50 GF/s, as every product loads its input."""

DEPTHWISE3_TILES: dict[int, tuple[int, ...]] = {32: (8, 6, 5, 4, 3), 16: (6, 5, 4, 3)}
"""Pixels of 3x3 depthwise tiles along a row: 80 to 105 GF/s with AVX-512, 55 to 72 with AVX2."""

DEPTHWISE3_STRIDES = (1, 2)
DEPTHWISE_GRADIENT_TAPS = (9, 3, 1)


def widths(isa: Isa, dtype: str) -> tuple[int, ...]:
    """Return the vector widths used: the full register, and half of it for what is left of the channels."""
    lanes = isa.lanes(dtype)
    return (lanes, lanes // 2) if lanes > 4 else (lanes,)


def used_at(width: int, vectors: int, isa: Isa, dtype: str) -> bool:
    """Return whether tiles of so many vectors of a width are used: what is left of the channels is one half vector."""
    return width == isa.lanes(dtype) or vectors == 1
