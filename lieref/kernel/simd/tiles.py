"""Which register tiles exist for each instruction set, and the list of all kernels."""

from __future__ import annotations

from llvmlite import ir

from lieref.kernel.simd.adamw import emit_adamw
from lieref.kernel.simd.conv import emit_conv
from lieref.kernel.simd.depthwise import emit_depthwise, emit_depthwise3, emit_depthwise_gradient
from lieref.kernel.simd.isa import Isa
from lieref.kernel.simd.low_rank import MAPS, emit_adapt, emit_collect, emit_transpose
from lieref.kernel.simd.maximum import emit_maximum, emit_maximum_gradient
from lieref.kernel.simd.sample import (
    emit_cross_entropy,
    emit_given,
    emit_load,
    emit_load3,
    emit_logits,
    emit_run,
    emit_squared_error,
)
from lieref.kernel.simd.weight_gradient import emit_bias_gradient, emit_weight_gradient
from lieref.kernel.simd.winograd import emit_winograd

# Tiles are (pixels, vectors) forward and (depth, vectors) for weight gradients, full vectors first, then half ones.
CONV_TILES: dict[int, tuple[tuple[int, int], ...]] = {
    32: ((8, 1), (8, 2), (5, 4), (4, 4), (3, 4), (4, 1), (1, 4), (1, 2), (1, 1)),
    16: ((8, 1), (6, 2), (4, 2), (4, 1), (1, 4), (1, 2), (1, 1)),
}
GRADIENT_TILES: dict[int, tuple[tuple[int, int], ...]] = {
    32: ((12, 2), (8, 2), (12, 1), (8, 1), (4, 4), (4, 1)),
    16: ((6, 2), (4, 2), (12, 1), (8, 1), (6, 1), (4, 1)),
}
DEPTHWISE_TILES: dict[int, tuple[int, ...]] = {32: (12, 8, 4, 1), 16: (8, 4, 1)}
DEPTHWISE3_TILES: dict[int, tuple[int, ...]] = {32: (8, 6, 5, 4, 3), 16: (4, 3)}
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
            emit_conv(module, f"conv_p{pixels}v{vectors}w{width}", dtype, pixels, vectors, width)
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
        for map_name in MAPS:
            emit_adapt(module, f"adapt_{map_name}_w{width}", dtype, map_name, width)
            emit_collect(module, f"collect_{map_name}_w{width}", dtype, map_name, width)
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
    emit_run(module, "run")
