"""How each runtime rounds each operator: one value a runtime, one word an operator.

A network of integers does not have one meaning. Where a result falls between two integers, runtimes choose by their own
arithmetic, and one runtime holds several: TFLite's reference kernels, its optimised ones, and those of XNNPACK, which
takes over what it can by default. Everything in which they differ is named here; the operators themselves are in the
files beside this one.

XNNPACK is made for ratios of input to output scale below 2^8, and refuses some larger ones or computes what is not
described here; the other kernels have no such end.

ONNX Runtime, on processors of x86-64 without VNNI, adds products of uint8 and int8 in pairs cut to 16 bits, which is
not described here: it changes a third of a network's outputs and more. Files with uint8 activations meet it, and so do
QDQ ones with int8, whose activations become uint8 at its highest level of optimisation; the session option
"session.x64quantprecision" = "1", uint8 weights, or weights of 7 bits (`reduce_range`) avoid it. On Arm its sums of two
tensors are in fixed point. Without optimisation it sums the layers of a QDQ file in float32, in an order of its own:
some outputs of a million differ by one step from those of exact sums, and what reads them with them. So do 37 of 6,400
of an average over whole images of 8 x 8; windows of 2 x 2 and 3 x 3 are equal.

TFLite's optimised sums of two 8-bit tensors of different shapes are rounded here as by its reference kernels, which
some outputs next to a half differ from by one step: each row is added in blocks of its own, as in
`lieref.op.integer.add.add_blocks`, and one int8 number to a row in blocks of 8 in the order of uint8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError


@dataclass(frozen=True)
class Rule:
    """How an accumulator is brought to the output's scale.

    Attributes
    ----------
    scale : str
        How s_in s_w / s_out is computed: "float64" throughout, "float32-product" then divided in float64, or "float32"
        throughout.
    rounding : str
        One of `lieref.op.integer.multiplier.ROUNDINGS`.
    """

    scale: str
    rounding: str

    def real(self, first: float, second: Array, out: float) -> Array:
        """Return first second / out; scales are float32 numbers."""
        a, b, c = np.float32(first), np.asarray(second, np.float32), np.float32(out)
        if self.scale == "float64":
            return np.asarray(np.float64(a) * b.astype(np.float64) / np.float64(c))
        product = a * b
        return np.asarray(product / c if self.scale == "float32" else product.astype(np.float64) / np.float64(c))


@dataclass(frozen=True)
class Semantics:
    """The rounding of every operator in one runtime.

    Attributes
    ----------
    name, about : str
    convolution, grouped, depthwise, depthwise_uint8 : Rule
        8-bit activations; `grouped` is a convolution of several groups.
    dense, dense_per_channel : Rule
        Dense layer with one scale, and with one for each output.
    convolution_16, grouped_16, dense_16, dense_16_per_channel, dense_16_wide : Rule
        16-bit activations with an int32 bias or none; `dense_16_wide` with an int64 one, beside which a fixed-point
        rounding of any layer is "sixteen".
    mul : Rule
    mul_of : str
        "integers"; "integers, zero point first": it is added before the rounding; "real": of float32 numbers.
    add : str
        "double": three multipliers; "blocks": the same but for another order in whole blocks of a sum, not of a
        difference; "single": one rounding, as XNNPACK; "float32": ONNX Runtime's QLinearAdd; "real".
    add_16 : str
        "double" or "blocks", of 16-bit tensors.
    average_pool : str
        "away": integers, halves away from zero; "real": sums of float32; "real, columns first". Over the whole image,
        where a file says that this is meant, as `whole_pool`.
    mean : str
        "folded", "image", "float32-even" or "real": see `lieref.op.integer.mean`.
    softmax : str
        "fixed", "table", "floor" or "real".
    quantize : str
        A rounding of `lieref.op.integer.quantize.quantize`.
    requantize : str
        A rounding of `lieref.op.integer.multiplier`, or "eight", "blocks" or "real": see `lieref.op.integer.quantize`.
    dequantize : str
        "plain" or "blocks".
    resize : str
        "ten" or "eleven" bits of a bilinear weight; with ten, uint8 images are resized in float32, and "ten, weights
        first" is an order of its operations. See `lieref.op.integer.resize`.
    clamp : str
        Ends of activations, "away", "even" or "even first": see `lieref.op.integer.output.limits`.
    whole_pool : str
        "away"; "float32-even": one multiplication of the sum of integers; "real, columns first".
    hard_swish : str
        "sixteen": in fixed point; "real": as every other function of one number, see
        `lieref.op.integer.number_by_number`.
    sigmoid : str
        And tanh, on 8 bits: "away" or "even", by tables that are rounded so; "fixed": in fixed point; "real" as for
        `hard_swish`. See `lieref.op.integer.sigmoid`.
    sigmoid_16 : str
        "table"; "fixed where it fits": where the scale is that of 16-bit fixed point.
    """

    name: str
    about: str
    convolution: Rule
    grouped: Rule
    depthwise: Rule
    depthwise_uint8: Rule
    dense: Rule
    dense_per_channel: Rule
    convolution_16: Rule
    grouped_16: Rule
    dense_16: Rule
    dense_16_per_channel: Rule
    dense_16_wide: Rule
    mul: Rule
    add: str
    average_pool: str
    mean: str
    softmax: str
    quantize: str
    requantize: str
    add_16: str = "double"
    dequantize: str = "plain"
    resize: str = "ten"
    clamp: str = "away"
    whole_pool: str = "away"
    hard_swish: str = "sixteen"
    sigmoid: str = "away"
    sigmoid_16: str = "fixed where it fits"
    mul_of: str = "integers"


_DOUBLE = Rule("float64", "double")
_HALF_UP = Rule("float64", "half-up")
_XNNPACK = Rule("float32", "float32-even")

_TABLE: tuple[Semantics, ...] = (
    Semantics(
        "tflite-reference",
        "TFLite's reference kernels (BUILTIN_REF); a dense layer multiplies in float64",
        convolution=_DOUBLE,
        grouped=_DOUBLE,
        depthwise=_DOUBLE,
        depthwise_uint8=_DOUBLE,
        dense=Rule("float64", "float64-away"),
        dense_per_channel=Rule("float64", "float64-away"),
        convolution_16=_DOUBLE,
        grouped_16=_DOUBLE,
        dense_16=Rule("float64", "float64-away"),
        dense_16_per_channel=Rule("float64", "float64-away"),
        dense_16_wide=Rule("float64", "float64-away"),
        mul=Rule("float32", "double"),
        add="double",
        average_pool="away",
        mean="folded",
        softmax="fixed",
        quantize="divide-away",
        requantize="double",
        sigmoid_16="table",
    ),
    Semantics(
        "tflite-optimised",
        "TFLite's optimised kernels without delegates (BUILTIN_WITHOUT_DEFAULT_DELEGATES), on x86-64",
        convolution=_HALF_UP,
        grouped=_DOUBLE,
        depthwise=Rule("float64", "half-up-8"),
        depthwise_uint8=_DOUBLE,
        dense=Rule("float32-product", "half-up"),
        dense_per_channel=_HALF_UP,
        convolution_16=_HALF_UP,
        grouped_16=_DOUBLE,
        dense_16=Rule("float32-product", "half-up"),
        dense_16_per_channel=_HALF_UP,
        dense_16_wide=Rule("float64", "float64-away"),
        mul=Rule("float32", "double"),
        add="blocks",
        add_16="blocks",
        average_pool="away",
        mean="image",
        softmax="table",
        quantize="divide-away",
        requantize="blocks",
        dequantize="blocks",
        resize="ten, weights first",
    ),
    Semantics(
        "xnnpack",
        "TFLite as it comes (BUILTIN): XNNPACK where it can, else the optimised kernels, on x86-64",
        convolution=_XNNPACK,
        grouped=_XNNPACK,
        depthwise=_XNNPACK,
        depthwise_uint8=_DOUBLE,
        dense=_XNNPACK,
        dense_per_channel=_XNNPACK,
        convolution_16=_HALF_UP,
        grouped_16=_DOUBLE,
        dense_16=Rule("float32-product", "half-up"),
        dense_16_per_channel=_HALF_UP,
        dense_16_wide=Rule("float64", "float64-away"),
        mul=_XNNPACK,
        add="single",
        add_16="blocks",
        average_pool="away",
        mean="float32-even",
        softmax="table",
        quantize="multiply-even",
        requantize="eight",
        resize="eleven",
        clamp="even",
        sigmoid="even",
    ),
    Semantics(
        "cmsis-nn",
        "CMSIS-NN and TensorFlow Lite Micro, built with double rounding, as they come",
        convolution=_DOUBLE,
        grouped=_DOUBLE,
        depthwise=_DOUBLE,
        depthwise_uint8=_DOUBLE,
        dense=Rule("float32-product", "double"),
        dense_per_channel=_DOUBLE,
        convolution_16=_DOUBLE,
        grouped_16=_DOUBLE,
        dense_16=Rule("float32-product", "double"),
        dense_16_per_channel=_DOUBLE,
        dense_16_wide=Rule("float32-product", "double"),
        mul=Rule("float32", "double"),
        add="double",
        average_pool="away",
        mean="folded",
        softmax="fixed",
        quantize="divide-away",
        requantize="double",
        sigmoid="fixed",
        sigmoid_16="table",
    ),
    Semantics(
        "onnxruntime",
        "ONNX Runtime's CPU kernels for quantised operators, on x86-64: QOperator files, and what it fuses of QDQ ones",
        convolution=_XNNPACK,
        grouped=_XNNPACK,
        depthwise=_XNNPACK,
        depthwise_uint8=_XNNPACK,
        dense=_XNNPACK,
        dense_per_channel=_XNNPACK,
        convolution_16=_XNNPACK,
        grouped_16=_XNNPACK,
        dense_16=_XNNPACK,
        dense_16_per_channel=_XNNPACK,
        dense_16_wide=_XNNPACK,
        mul=_XNNPACK,
        add="float32",
        average_pool="real",
        mean="real",
        softmax="floor",
        quantize="divide-even",
        requantize="real",
        clamp="even first",
        whole_pool="float32-even",
        hard_swish="real",
        sigmoid="real",
        mul_of="integers, zero point first",
    ),
)
_TABLE += (
    replace(
        _TABLE[-1],
        name="onnxruntime-unfused",
        about="a QDQ file as ONNX Runtime computes it without optimisation, in float32; sums of layers are exact here",
        mul_of="real",
        add="real",
        average_pool="real, columns first",
        whole_pool="real, columns first",
        softmax="real",
    ),
)

SEMANTICS: dict[str, Semantics] = {each.name: each for each in _TABLE}
"""The semantics by name."""


def semantics(name: str) -> Semantics:
    """Return the semantics of this name.

    Raises
    ------
    DomainError
        If there is none.
    """
    if name not in SEMANTICS:
        raise DomainError(f"semantics: `name` must be one of {', '.join(SEMANTICS)}; got {name!r}")
    return SEMANTICS[name]
