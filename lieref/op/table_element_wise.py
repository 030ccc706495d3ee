"""The table of operators, continued: those that work element by element, and Softmax's kin."""

from __future__ import annotations

from lieref.op import (
    activation,
    arithmetic,
    bits,
    comparison,
    logic,
    rectifier,
    rounding,
    several,
    softmax,
    trigonometry,
)
from lieref.op import shape_rules as rules
from lieref.op.entry import Operator

ELEMENT_WISE = (
    Operator("Abs", rounding.absolute, rounding.absolute_vjp, rules.same),
    Operator("Acos", trigonometry.acos, trigonometry.acos_vjp, rules.floats("Acos")),
    Operator("Acosh", trigonometry.acosh, trigonometry.acosh_vjp, rules.floats("Acosh")),
    Operator("And", logic.logical_and, logic.logical_and_vjp, rules.logical("And"), ()),
    Operator("Asin", trigonometry.asin, trigonometry.asin_vjp, rules.floats("Asin")),
    Operator("Asinh", trigonometry.asinh, trigonometry.asinh_vjp, rules.floats("Asinh")),
    Operator("Atan", trigonometry.atan, trigonometry.atan_vjp, rules.floats("Atan")),
    Operator("Atanh", trigonometry.atanh, trigonometry.atanh_vjp, rules.floats("Atanh")),
    Operator(
        "BitShift", bits.bit_shift, bits.bit_shift_vjp, bits.bits_rule("BitShift"), (), {"direction": ("LEFT", "RIGHT")}
    ),
    Operator("BitwiseAnd", bits.bitwise_and, bits.bitwise_and_vjp, bits.bits_rule("BitwiseAnd"), ()),
    Operator("BitwiseNot", bits.bitwise_not, bits.bitwise_not_vjp, bits.bits_rule("BitwiseNot"), ()),
    Operator("BitwiseOr", bits.bitwise_or, bits.bitwise_or_vjp, bits.bits_rule("BitwiseOr"), ()),
    Operator("BitwiseXor", bits.bitwise_xor, bits.bitwise_xor_vjp, bits.bits_rule("BitwiseXor"), ()),
    Operator("Ceil", rounding.ceil, rounding.ceil_vjp, rules.floats("Ceil")),
    Operator("Celu", rectifier.celu, rectifier.celu_vjp, rectifier.celu_shape),
    Operator("Cos", trigonometry.cos, trigonometry.cos_vjp, rules.floats("Cos")),
    Operator("Cosh", trigonometry.cosh, trigonometry.cosh_vjp, rules.floats("Cosh")),
    Operator("Floor", rounding.floor, rounding.floor_vjp, rules.floats("Floor")),
    Operator("Greater", comparison.greater, comparison.greater_vjp, rules.broadcast("Greater", result=bool), ()),
    Operator(
        "GreaterOrEqual",
        comparison.greater_or_equal,
        comparison.greater_or_equal_vjp,
        rules.broadcast("GreaterOrEqual", result=bool),
        (),
    ),
    Operator("Hardmax", softmax.hardmax, softmax.hardmax_vjp, rules.softmax("Hardmax")),
    Operator("IsInf", comparison.is_inf, comparison.is_inf_vjp, rules.truth, ()),
    Operator("IsNaN", comparison.is_nan, comparison.is_nan_vjp, rules.truth, ()),
    Operator("Less", comparison.less, comparison.less_vjp, rules.broadcast("Less", result=bool), ()),
    Operator(
        "LessOrEqual",
        comparison.less_or_equal,
        comparison.less_or_equal_vjp,
        rules.broadcast("LessOrEqual", result=bool),
        (),
    ),
    Operator("Log", arithmetic.log, arithmetic.log_vjp, rules.floats("Log")),
    Operator("LogSoftmax", softmax.log_softmax, softmax.log_softmax_vjp, rules.softmax("LogSoftmax")),
    Operator("Max", several.maximum, several.maximum_vjp, rules.broadcast("Max"), None),
    Operator("Mean", several.mean, several.mean_vjp, rules.broadcast("Mean", of_floats=True), None),
    Operator("Min", several.minimum, several.minimum_vjp, rules.broadcast("Min"), None),
    Operator("Mish", activation.mish, activation.mish_vjp, rules.floats("Mish")),
    Operator("Mod", rounding.modulo, rounding.modulo_vjp, rules.broadcast("Mod"), (0, 1), {"fmod": (0, 1)}),
    Operator("Or", logic.logical_or, logic.logical_or_vjp, rules.logical("Or"), ()),
    Operator("PRelu", rectifier.prelu, rectifier.prelu_vjp, rectifier.prelu_shape, (0, 1)),
    Operator("Reciprocal", arithmetic.reciprocal, arithmetic.reciprocal_vjp, rules.floats("Reciprocal")),
    Operator("Round", rounding.nearest, rounding.nearest_vjp, rules.floats("Round")),
    Operator("Selu", rectifier.selu, rectifier.selu_vjp, rules.floats("Selu")),
    Operator("Shrink", rectifier.shrink, rectifier.shrink_vjp, rules.same),
    Operator("Sign", rounding.sign, rounding.sign_vjp, rules.same),
    Operator("Sin", trigonometry.sin, trigonometry.sin_vjp, rules.floats("Sin")),
    Operator("Sinh", trigonometry.sinh, trigonometry.sinh_vjp, rules.floats("Sinh")),
    Operator("Softsign", activation.softsign, activation.softsign_vjp, rules.floats("Softsign")),
    Operator("Sum", several.total, several.total_vjp, rules.broadcast("Sum"), None),
    Operator("Swish", activation.swish, activation.swish_vjp, rules.floats("Swish")),
    Operator("Tan", trigonometry.tan, trigonometry.tan_vjp, rules.floats("Tan")),
    Operator(
        "ThresholdedRelu", rectifier.thresholded_relu, rectifier.thresholded_relu_vjp, rules.floats("ThresholdedRelu")
    ),
    Operator("Xor", logic.logical_xor, logic.logical_xor_vjp, rules.logical("Xor"), ()),
)
