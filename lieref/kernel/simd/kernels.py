"""The list of all kernels, in groups that are compiled together, each when a network first wants one of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from llvmlite import ir

from lieref.kernel.simd.adamw import emit_adamw
from lieref.kernel.simd.adapter import FORMS, MAPS, emit_adapt, emit_collect, emit_permute, emit_transpose
from lieref.kernel.simd.conv import emit_conv
from lieref.kernel.simd.depthwise import emit_depthwise, emit_depthwise3, emit_depthwise_gradient
from lieref.kernel.simd.flat import emit_clear, emit_gather, emit_sum_parts
from lieref.kernel.simd.frequency import emit_frequency_products
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
from lieref.kernel.simd.tiles import (
    CONV_STEPS,
    CONV_TILES,
    DEPTHWISE3_STRIDES,
    DEPTHWISE3_TILES,
    DEPTHWISE_GRADIENT_TAPS,
    DEPTHWISE_TILES,
    GRADIENT_TILES,
    used_at,
    widths,
)
from lieref.kernel.simd.weight_gradient import emit_bias_gradient, emit_weight_gradient
from lieref.kernel.simd.winograd import emit_winograd


def emit_core(module: ir.Module, isa: Isa, dtype: str) -> None:
    """Emit what every network uses: products and their gradients, taps, samples, losses, flat arrays, the loop."""
    for width in widths(isa, dtype):
        for pixels, vectors in CONV_TILES[isa.registers]:
            for steps in CONV_STEPS if used_at(width, vectors, isa, dtype) else ():
                name = f"conv_p{pixels}v{vectors}k{steps}w{width}"
                emit_conv(module, name, dtype, pixels, vectors, width, steps)
        for depth, vectors in GRADIENT_TILES[isa.registers]:
            if used_at(width, vectors, isa, dtype):
                emit_weight_gradient(module, f"gradient_d{depth}v{vectors}w{width}", dtype, depth, vectors, width)
        for pixels in DEPTHWISE_TILES[isa.registers]:
            emit_depthwise(module, f"depthwise_p{pixels}w{width}", dtype, pixels, width)
        emit_bias_gradient(module, f"bias_gradient_w{width}", dtype, width)
        emit_transpose(module, f"transpose_w{width}", dtype, width)
    lanes = isa.lanes(dtype)
    for source in (dtype, "uint8"):
        emit_load(module, f"load_{source}", dtype, source)
        emit_load3(module, f"load3_{source}", dtype, source, lanes)
    emit_logits(module, "logits", dtype)
    emit_given(module, "given", dtype)
    emit_squared_error(module, "squared_error", dtype, lanes)
    emit_cross_entropy(module, "cross_entropy", dtype)
    emit_permute(module, "permute", dtype)
    emit_gather(module, "gather", dtype, "theta", "factors", "factor")
    emit_gather(module, "scatter", dtype, "factor_gradients", "theta_bar", "theta")
    emit_clear(module, "clear", dtype, lanes)
    emit_sum_parts(module, "sum_parts", dtype, lanes)
    emit_run(module, "run")


def emit_depthwise_rows(module: ir.Module, isa: Isa, dtype: str) -> None:
    """Emit depthwise convolution by rows, and its weight gradient."""
    for width in widths(isa, dtype):
        for pixels in DEPTHWISE3_TILES[isa.registers]:
            for stride in DEPTHWISE3_STRIDES:
                emit_depthwise3(module, f"depthwise3_p{pixels}s{stride}w{width}", dtype, pixels, stride, width)
        for taps in DEPTHWISE_GRADIENT_TAPS:
            emit_depthwise_gradient(module, f"depthwise_gradient_t{taps}w{width}", dtype, taps, width)


def emit_transforms(module: ir.Module, isa: Isa, dtype: str) -> None:
    """Emit Winograd's transforms and the products between them."""
    for width in widths(isa, dtype):
        emit_winograd(module, dtype, width)
        for pixels, vectors in CONV_TILES[isa.registers]:
            if used_at(width, vectors, isa, dtype):
                name = f"winograd_product_p{pixels}v{vectors}w{width}"
                emit_frequency_products(module, name, dtype, pixels, vectors, width)


def emit_pointwise_and_maximum(module: ir.Module, isa: Isa, dtype: str) -> None:
    """Emit activations, products of tensors and max pools."""
    for width in widths(isa, dtype):
        for pixels in POINTWISE_PIXELS:
            end = f"p{pixels}w{width}"
            for name, activation in ACTIVATIONS.items():
                emit_pointwise(module, f"{name}_{end}", dtype, pixels, width, activation.value)
                emit_slope(module, f"{name}_slope_{end}", dtype, pixels, width, activation.slope)
            emit_product(module, f"product_{end}", dtype, pixels, width)
        emit_dot(module, f"dot_w{width}", dtype, width)
        emit_maximum(module, f"maximum_w{width}", dtype, width)
        emit_maximum_gradient(module, f"maximum_gradient_w{width}", dtype, width)


def emit_optimizer(module: ir.Module, isa: Isa, dtype: str) -> None:
    """Emit the step of AdamW; networks that run operator by operator want it alone."""
    emit_adamw(module, "adamw", dtype, isa.lanes(dtype))


def emit_adapters(map_name: str, module: ir.Module, isa: Isa, dtype: str) -> None:
    """Emit the adapters of one map."""
    for width in widths(isa, dtype):
        for form in FORMS:
            emit_adapt(module, f"{map_name}_adapt_{form}_w{width}", dtype, form, map_name, width)
            emit_collect(module, f"{map_name}_collect_{form}_w{width}", dtype, form, map_name, width)


GROUPS: dict[str, Callable[[ir.Module, Isa, str], None]] = {
    "core": emit_core,
    "depthwise": emit_depthwise_rows,
    "winograd": emit_transforms,
    "pointwise": emit_pointwise_and_maximum,
    "adamw": emit_optimizer,
    **{map_name: partial(emit_adapters, map_name) for map_name in MAPS},
}
"""What emits each group of kernels."""

PREFIXES = {
    "depthwise3_": "depthwise",
    "depthwise_gradient_": "depthwise",
    "winograd_": "winograd",
    "adamw": "adamw",
    **{f"{name}_": "pointwise" for name in (*ACTIVATIONS, "product", "dot", "maximum")},
    **{f"{map_name}_": map_name for map_name in MAPS},
}
"""How the names of a group's kernels start; all others are in "core"."""


def group_of(kernel: str) -> str:
    """Return the group of a kernel."""
    return next((group for prefix, group in PREFIXES.items() if kernel.startswith(prefix)), "core")
