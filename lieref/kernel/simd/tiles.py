"""Which register tiles exist for each instruction set, and the measurements behind them.

One table for each number of vector registers. GF/s over the depth k of the sums on one Sapphire Rapids core, of 165
and 85 at most, from the results of `validation/benchmarks/tiles.py`:

    AVX-512   k = 8    16    32   144        AVX2      k = 8    16    32   144
     8 x 1      87    98   124   137          8 x 1      49    60    60    67
     8 x 2     123   135   156   162          6 x 2      66    70    74    81
     5 x 4     140   153   158   162          4 x 2      68    69    64    67
     4 x 4     136   152   159   162          3 x 3      64    66    68    70

Tiles of more than 8 pixels were slower on a Zen 4 core and are not built: their addresses do not fit the integer
registers, and short sums pay for it. Loads bound tiles of one vector, two numbers a cycle at most. Fewer vectors serve
narrow layers, fewer pixels small images; (1, v) serves a single sample of a linear layer.
"""

from __future__ import annotations

from typing import NamedTuple

from lieref.kernel.simd.isa import Isa


class ConvTile(NamedTuple):
    """Accumulators of a convolution, pixels x vectors, runs of so many elements, and lanes of a vector."""

    pixels: int
    vectors: int
    steps: int
    width: int


class FrequencyTile(NamedTuple):
    """Accumulators of the products between Winograd's transforms."""

    pixels: int
    vectors: int
    width: int


class ProductTile(NamedTuple):
    """Accumulators of a product of two activations, rows x vectors; lanes of the last vector: "whole" or "some"."""

    rows: int
    vectors: int
    last: str
    width: int


class SquareTile(NamedTuple):
    """Rows and columns of a matrix that are turned at once."""

    side: int


class GradientTile(NamedTuple):
    """Accumulators of a weight gradient."""

    depth: int
    vectors: int
    width: int


class PixelTile(NamedTuple):
    """Pixels worked at once, a vector each."""

    pixels: int
    width: int


class Depthwise3Tile(NamedTuple):
    """Pixels along a row and the stride of their taps."""

    pixels: int
    stride: int
    width: int


class TapTile(NamedTuple):
    """Taps of a depthwise weight gradient worked at once."""

    taps: int
    width: int


class TransformTile(NamedTuple):
    """The m of F(m x m, 3 x 3)."""

    m: int
    width: int


class FormTile(NamedTuple):
    """The form of an adapter, of `lieref.kernel.simd.adapter.FORMS`."""

    form: str
    width: int


class WidthTile(NamedTuple):
    """Lanes of a vector, and nothing else."""

    width: int


class WalkTile(NamedTuple):
    """Samples that take a step together, and lanes of a vector."""

    samples: int
    width: int


class LoadTile(NamedTuple):
    """The element type of samples, "uint8" or the kernels' own, and lanes of a vector."""

    source: str
    width: int


class OutputTile(NamedTuple):
    """What is done with the outputs, of `lieref.kernel.simd.sample.LOSSES`, and lanes of a vector."""

    loss: str
    width: int


class NoTile(NamedTuple):
    """A kernel that there is one of."""


Tile = tuple[int | str, ...]
"""Any of these."""

CONV_TILES: dict[int, tuple[tuple[int, int], ...]] = {
    32: ((8, 1), (8, 2), (5, 4), (4, 4), (3, 4), (4, 1), (1, 4), (1, 2), (1, 1)),
    16: ((8, 1), (6, 2), (4, 2), (3, 3), (4, 1), (1, 4), (1, 2), (1, 1)),
}
"""(pixels, vectors) of forward and input-gradient tiles, by vector registers; (rows, vectors) of products of
activations: with 128 places in heads of 16 to 64, 8 x 1, 8 x 2 and 4 x 4 run at 97 to 115 GF/s on one Zen 4 core,
where OpenBLAS runs at 72 to 112."""

CONV_STEPS = (4, 3)
"""Elements of one run: 4 where channels are padded to vectors, 3 for an image of 3 channels."""

GRADIENT_TILES: dict[int, tuple[tuple[int, int], ...]] = {
    32: ((12, 2), (8, 2), (12, 1), (8, 1), (4, 4), (4, 1)),
    16: ((6, 2), (4, 2), (12, 1), (6, 1), (4, 1)),
}
"""(depth, vectors) of weight-gradient tiles: over 36 pixels 143 GF/s (12 x 2) with AVX-512, 78 (6 x 2) with AVX2. 8 x 1
is not there for AVX2: its loads are moved up by the compiler until the sums do not fit the registers, 42 on a Zen 3."""

WALK_SAMPLES: dict[int, int] = {32: 4, 16: 2}
"""Samples of recurrent layers that take a step together: the sums of four gates are 16 or 8. An LSTM of 256 units runs
on one Zen 4 core at 49 GF/s forward and 50 back with one sample, 87 and 87 with two, 92 and 101 with four; of 64 units
at 49 and 51, 71 and 81, 76 and 93."""

DEPTHWISE_TILES: dict[int, tuple[int, ...]] = {32: (12, 8, 4, 1), 16: (8, 4, 1)}
"""Pixels of general depthwise tiles: 30 to 55 % of the most, as every product loads its input."""

DEPTHWISE3_TILES: dict[int, tuple[int, ...]] = {32: (8, 6, 5, 4, 3), 16: (6, 5, 4, 3)}
"""Pixels of 3x3 depthwise tiles along a row: 66 to 100 GF/s with AVX-512, 55 to 70 with AVX2."""

DEPTHWISE3_STRIDES = (1, 2)
DEPTHWISE_GRADIENT_TAPS = (9, 3, 1)


def widths(isa: Isa, dtype: str) -> tuple[int, ...]:
    """Return the vector widths used: the full register, and half of it for what is left of the channels."""
    lanes = isa.lanes(dtype)
    return (lanes, lanes // 2) if lanes > 4 else (lanes,)


def used_at(width: int, vectors: int, isa: Isa, dtype: str) -> bool:
    """Return whether tiles of so many vectors of a width are used: what is left of the channels is one half vector."""
    return width == isa.lanes(dtype) or vectors == 1
