"""Which register tiles exist for each instruction set, and the list of all kernels."""

from __future__ import annotations

from itertools import product

from llvmlite import ir

from lieref.kernel.simd.adamw import emit_adamw
from lieref.kernel.simd.adapter import FORMS, MAPS, emit_adapt, emit_collect, emit_permute, emit_transpose
from lieref.kernel.simd.conv import emit_conv
from lieref.kernel.simd.depthwise import emit_depthwise, emit_depthwise3, emit_depthwise_gradient
from lieref.kernel.simd.flat import emit_clear, emit_gather, emit_sum_parts
from lieref.kernel.simd.isa import Isa
from lieref.kernel.simd.maximum import emit_maximum, emit_maximum_gradient
from lieref.kernel.simd.pointwise import (
    ACTIVATIONS,
    POINTWISE_PIXELS,
    emit_dot,
    emit_pointwise,
    emit_product,
    emit_slope,
)
from lieref.kernel.simd.run import emit_run
from lieref.kernel.simd.sample import (
    emit_cross_entropy,
    emit_given,
    emit_load,
    emit_load3,
    emit_logits,
    emit_squared_error,
)
from lieref.kernel.simd.weight_gradient import emit_bias_gradient, emit_weight_gradient
from lieref.kernel.simd.winograd import emit_winograd

# One table for each number of vector registers; `validation/benchmarks/tiles.py` measures it. GF/s on one Zen 4 core,
# 117 at most, over the depth k of the sums:
#
#     AVX-512   k = 8    16    32   144        AVX2      k = 8    16    32   144
#      8 x 1      78   103   113   117          8 x 1      40    55    68    91
#      8 x 2      89   100   109   115          6 x 2      61    78    93   111
#      5 x 4      92   105   110   115          4 x 2      57    73    87    98
#     16 x 1      67    86    99   113          4 x 1      27    47    44    58
#     12 x 2      68    87    99   113         12 x 1      35    47    58    72
#
# More than 8 pixels lose: their addresses do not fit the integer registers, and short sums pay for it. Fewer vectors
# serve narrow layers, fewer pixels small images; (1, v) serves a single sample of a linear layer.
CONV_TILES: dict[int, tuple[tuple[int, int], ...]] = {
    32: ((8, 1), (8, 2), (5, 4), (4, 4), (3, 4), (4, 1), (1, 4), (1, 2), (1, 1)),
    16: ((8, 1), (6, 2), (4, 2), (3, 3), (4, 1), (1, 4), (1, 2), (1, 1)),
}
"""(pixels, vectors) of forward and input-gradient tiles, by vector registers."""

CONV_STEPS = (4, 3)
"""k of one run: 4 where channels are padded to vectors, 3 for an image of 3 channels."""

GRADIENT_TILES: dict[int, tuple[tuple[int, int], ...]] = {
    32: ((12, 2), (8, 2), (12, 1), (8, 1), (4, 4), (4, 1)),
    16: ((6, 2), (4, 2), (12, 1), (8, 1), (6, 1), (4, 1)),
}
"""(depth, vectors) of weight-gradient tiles: 102 to 116 GF/s from 16 channels on."""

DEPTHWISE_TILES: dict[int, tuple[int, ...]] = {32: (12, 8, 4, 1), 16: (8, 4, 1)}
"""Pixels of general depthwise tiles: 40 to 46 GF/s, as every product loads its input."""

DEPTHWISE3_TILES: dict[int, tuple[int, ...]] = {32: (8, 6, 5, 4, 3), 16: (6, 5, 4, 3)}
"""Pixels of 3x3 depthwise tiles along a row: 80 to 105 GF/s."""

DEPTHWISE3_STRIDES = (1, 2)
DEPTHWISE_GRADIENT_TAPS = (9, 3, 1)


def widths(isa: Isa, dtype: str) -> tuple[int, ...]:
    """Return the vector widths used: the full register, and half of it for what is left of the channels."""
    lanes = isa.lanes(dtype)
    return (lanes, lanes // 2) if lanes > 4 else (lanes,)


def emit_all(module: ir.Module, isa: Isa, dtype: str) -> None:
    """Emit every kernel of an instruction set."""
    for width in widths(isa, dtype):
        for pixels, vectors in CONV_TILES[isa.registers]:
            for steps in CONV_STEPS:
                name = f"conv_p{pixels}v{vectors}k{steps}w{width}"
                emit_conv(module, name, dtype, pixels, vectors, width, steps)
        for depth, vectors in GRADIENT_TILES[isa.registers]:
            emit_weight_gradient(module, f"gradient_d{depth}v{vectors}w{width}", dtype, depth, vectors, width)
        for pixels in DEPTHWISE_TILES[isa.registers]:
            emit_depthwise(module, f"depthwise_p{pixels}w{width}", dtype, pixels, width)
        for pixels in DEPTHWISE3_TILES[isa.registers]:
            for stride in DEPTHWISE3_STRIDES:
                emit_depthwise3(module, f"depthwise3_p{pixels}s{stride}w{width}", dtype, pixels, stride, width)
        for taps in DEPTHWISE_GRADIENT_TAPS:
            emit_depthwise_gradient(module, f"depthwise_gradient_t{taps}w{width}", dtype, taps, width)
        emit_bias_gradient(module, f"bias_gradient_w{width}", dtype, width)
        emit_winograd(module, dtype, width)
        emit_transpose(module, f"transpose_w{width}", dtype, width)
        for form, map_name in product(FORMS, MAPS):
            emit_adapt(module, f"adapt_{form}_{map_name}_w{width}", dtype, form, map_name, width)
            emit_collect(module, f"collect_{form}_{map_name}_w{width}", dtype, form, map_name, width)
        for pixels in POINTWISE_PIXELS:
            end = f"_p{pixels}w{width}"
            for name, activation in ACTIVATIONS.items():
                emit_pointwise(module, f"{name}{end}", dtype, pixels, width, activation.value)
                emit_slope(module, f"{name}_slope{end}", dtype, pixels, width, activation.slope)
            emit_product(module, f"product{end}", dtype, pixels, width)
        emit_dot(module, f"dot_w{width}", dtype, width)
        emit_maximum(module, f"maximum_w{width}", dtype, width)
        emit_maximum_gradient(module, f"maximum_gradient_w{width}", dtype, width)
    lanes = isa.lanes(dtype)
    for source in (dtype, "uint8"):
        emit_load(module, f"load_{source}", dtype, source)
        emit_load3(module, f"load3_{source}", dtype, source, lanes)
    emit_logits(module, "logits", dtype)
    emit_given(module, "given", dtype)
    emit_squared_error(module, "squared_error", dtype, lanes)
    emit_cross_entropy(module, "cross_entropy", dtype)
    emit_adamw(module, "adamw", dtype, lanes)
    emit_permute(module, "permute", dtype)
    emit_gather(module, "gather", dtype, "theta", "factors", "factor")
    emit_gather(module, "scatter", dtype, "factor_gradients", "theta_bar", "theta")
    emit_clear(module, "clear", dtype, lanes)
    emit_sum_parts(module, "sum_parts", dtype, lanes)
    emit_run(module, "run")
