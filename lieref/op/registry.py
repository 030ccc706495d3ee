"""The table of operators: what lieref can run, what each node may say, and how it is differentiated.

A new operator is a function, its VJP, a rule of its shape and a row here or in one of the tables that this one joins:
`table_element_wise`, `table_reduction`, `table_indexed`, `table_layers`; the tests ask for an example of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lieref._types import AttrValue
from lieref.errors import DomainError, FormatError, UnsupportedError
from lieref.op import (
    activation,
    arithmetic,
    batch_normalization,
    cast,
    concat,
    constant,
    convolution,
    fake_quantize,
    gather,
    gemm,
    layer_rules,
    logic,
    matmul,
    pad,
    pool,
    reduction,
    shape,
    softmax,
)
from lieref.op import shape_rules as rules
from lieref.op.entry import REQUIRED, Operator
from lieref.op.table_element_wise import ELEMENT_WISE
from lieref.op.table_indexed import INDEXED
from lieref.op.table_layers import LAYERS
from lieref.op.table_reduction import REDUCTIONS

_POSITIVE = frozenset({"group", "strides", "dilations", "kernel_shape"})

_AUTO_PAD: dict[str, tuple[AttrValue, ...]] = {"auto_pad": ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")}

_ROUND_MODE: dict[str, tuple[AttrValue, ...]] = {"round_mode": ("up", "down", "nearest")}

_TABLE = (
    Operator("Add", arithmetic.add, arithmetic.add_vjp, rules.broadcast("Add"), (0, 1)),
    Operator(
        "AveragePool", pool.average_pool, pool.average_pool_vjp, layer_rules.pool("AveragePool"), allowed=_AUTO_PAD
    ),
    Operator(
        "BatchNormalization",
        batch_normalization.batch_normalization,
        batch_normalization.batch_normalization_vjp,
        layer_rules.batch_normalization,
        (0, 1, 2),
        {"spatial": (1,), "training_mode": (0,)},
    ),
    Operator("Cast", cast.cast, cast.cast_vjp, rules.cast, allowed={"to": tuple(cast.DTYPES), **_ROUND_MODE}),
    Operator("CastLike", cast.cast_like, cast.cast_like_vjp, rules.cast_like, allowed=_ROUND_MODE),
    Operator("Clip", activation.clip, activation.clip_vjp, rules.clip),
    Operator(
        "FakeQuantize", fake_quantize.fake_quantize, fake_quantize.fake_quantize_vjp, rules.floats("FakeQuantize")
    ),
    Operator("Concat", concat.concat, concat.concat_vjp, rules.concat, None),
    Operator("Constant", constant.constant, constant.constant_vjp, rules.constant, ()),
    Operator("Conv", convolution.conv, convolution.conv_vjp, layer_rules.conv, (0, 1, 2), _AUTO_PAD),
    Operator("Div", arithmetic.div, arithmetic.div_vjp, rules.broadcast("Div"), (0, 1)),
    Operator("Dropout", shape.dropout, shape.dropout_vjp, rules.dropout),
    Operator("Elu", activation.elu, activation.elu_vjp, rules.floats("Elu")),
    Operator("Equal", logic.equal, logic.equal_vjp, rules.broadcast("Equal", result=bool), ()),
    Operator("Erf", activation.erf, activation.erf_vjp, rules.floats("Erf")),
    Operator("Exp", arithmetic.exp, arithmetic.exp_vjp, rules.floats("Exp")),
    Operator("Expand", shape.expand, shape.expand_vjp, rules.expand),
    Operator("Flatten", shape.flatten, shape.flatten_vjp, rules.flatten),
    Operator("Gather", gather.gather, gather.gather_vjp, rules.gather),
    Operator(
        "Gelu", activation.gelu, activation.gelu_vjp, rules.floats("Gelu"), allowed={"approximate": ("none", "tanh")}
    ),
    Operator("Gemm", gemm.gemm, gemm.gemm_vjp, layer_rules.gemm, (0, 1, 2), {"transA": (0, 1), "transB": (0, 1)}),
    Operator(
        "GlobalAveragePool",
        pool.global_average_pool,
        pool.global_average_pool_vjp,
        layer_rules.global_pool("GlobalAveragePool"),
    ),
    Operator("GlobalMaxPool", pool.global_max_pool, pool.global_max_pool_vjp, layer_rules.global_pool("GlobalMaxPool")),
    Operator("HardSigmoid", activation.hard_sigmoid, activation.hard_sigmoid_vjp, rules.floats("HardSigmoid")),
    Operator("HardSwish", activation.hard_swish, activation.hard_swish_vjp, rules.floats("HardSwish")),
    Operator("Identity", shape.identity, shape.identity_vjp, rules.same),
    Operator("LeakyRelu", activation.leaky_relu, activation.leaky_relu_vjp, rules.floats("LeakyRelu")),
    Operator("MatMul", matmul.matmul, matmul.matmul_vjp, layer_rules.matmul, (0, 1)),
    Operator(
        "MaxPool",
        pool.max_pool,
        pool.max_pool_vjp,
        layer_rules.pool("MaxPool"),
        allowed={**_AUTO_PAD, "storage_order": (0,)},
    ),
    Operator("Mul", arithmetic.mul, arithmetic.mul_vjp, rules.broadcast("Mul"), (0, 1)),
    Operator("Neg", arithmetic.neg, arithmetic.neg_vjp, rules.same),
    Operator("Not", logic.logical_not, logic.logical_not_vjp, rules.logical("Not"), ()),
    Operator("Pad", pad.pad, pad.pad_vjp, rules.pad, allowed={"mode": ("constant", "reflect", "edge", "wrap")}),
    Operator("Pow", arithmetic.power, arithmetic.power_vjp, rules.broadcast("Pow", one_dtype=False), (0, 1)),
    Operator("ReduceMean", reduction.reduce_mean, reduction.reduce_mean_vjp, rules.reduce("ReduceMean", empty=False)),
    Operator("ReduceSum", reduction.reduce_sum, reduction.reduce_sum_vjp, rules.reduce("ReduceSum", empty=True)),
    Operator("Relu", activation.relu, activation.relu_vjp, rules.same),
    Operator("Reshape", shape.reshape, shape.reshape_vjp, rules.reshape, allowed={"allowzero": (0, 1)}),
    Operator("Shape", cast.shape_of, cast.shape_of_vjp, rules.shape_of, ()),
    Operator("Sigmoid", activation.sigmoid, activation.sigmoid_vjp, rules.floats("Sigmoid")),
    Operator("Slice", gather.take_slice, gather.take_slice_vjp, rules.take_slice),
    Operator("Softmax", softmax.softmax, softmax.softmax_vjp, rules.softmax("Softmax")),
    Operator("Softplus", activation.softplus, activation.softplus_vjp, rules.floats("Softplus")),
    Operator("Sqrt", arithmetic.sqrt, arithmetic.sqrt_vjp, rules.floats("Sqrt")),
    Operator("Squeeze", shape.squeeze, shape.squeeze_vjp, rules.squeeze),
    Operator("Sub", arithmetic.sub, arithmetic.sub_vjp, rules.broadcast("Sub"), (0, 1)),
    Operator("Tanh", activation.tanh, activation.tanh_vjp, rules.floats("Tanh")),
    Operator("Tile", shape.tile, shape.tile_vjp, rules.tile),
    Operator("Transpose", shape.transpose, shape.transpose_vjp, rules.transpose),
    Operator("Unsqueeze", shape.unsqueeze, shape.unsqueeze_vjp, rules.unsqueeze),
    Operator("Where", logic.where, logic.where_vjp, rules.where, (1, 2)),
)

OPERATORS: dict[str, Operator] = {
    operator.name: operator for operator in (*_TABLE, *ELEMENT_WISE, *REDUCTIONS, *INDEXED, *LAYERS)
}
"""Every operator lieref runs, by ONNX name."""


def supported(op_type: str) -> bool:
    """Tell whether lieref has the operator."""
    return op_type in OPERATORS


def check_inputs(op_type: str, inputs: Sequence[str], node_name: str) -> None:
    """Raise `FormatError` unless a node of a supported operator names the inputs it needs, and no more."""
    fewest, most = OPERATORS[op_type].arity
    if not fewest <= len(inputs) <= most or "" in inputs[:fewest] or (most == math.inf and "" in inputs):
        takes = f"{fewest}" if most == fewest else f"{fewest} or more" if most == math.inf else f"{fewest} to {most}"
        raise FormatError(
            f"check_inputs: operator {op_type} (node {node_name}) must have {takes} inputs; got {list(inputs)}"
        )


def check_attributes(op_type: str, attrs: Mapping[str, AttrValue], node_name: str) -> None:
    """Raise unless a node of a supported operator says only what lieref can do.

    Raises
    ------
    UnsupportedError
        If the operator is unknown, an attribute is unknown or missing, or has a value that is not supported.
    DomainError
        If a number of groups, a stride, a dilation or a kernel size is below one, or a number is not finite.
    """
    if op_type not in OPERATORS:
        raise UnsupportedError(f"check_attributes: operator {op_type} (node {node_name}) must be one lieref has")
    operator = OPERATORS[op_type]
    where = f"of operator {op_type} (node {node_name})"
    for name, value in attrs.items():
        if name not in operator.attributes:
            known = ", ".join(sorted(operator.attributes)) or "none"
            raise UnsupportedError(
                f"check_attributes: attribute `{name}` {where} must be one lieref knows; knows {known}"
            )
        choices = operator.allowed.get(name)
        if choices is not None and value not in choices:
            listed = ", ".join(map(str, choices))
            raise UnsupportedError(
                f"check_attributes: attribute `{name}` {where} must be one of {listed}; got {value!r}"
            )
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(math.isfinite(number) for number in numbers if isinstance(number, float)):
            raise DomainError(f"check_attributes: attribute `{name}` {where} must be finite; got {value!r}")
        if name in _POSITIVE and any(isinstance(number, (int, float)) and number < 1 for number in numbers):
            raise DomainError(f"check_attributes: attribute `{name}` {where} must be at least 1; got {value!r}")
    for name, default in operator.attributes.items():
        if default is REQUIRED and name not in attrs:
            raise UnsupportedError(f"check_attributes: attribute `{name}` {where} must be given")


def resolve_attributes(op_type: str, attrs: Mapping[str, AttrValue], opset: int) -> dict[str, AttrValue]:
    """Return the attributes with the meaning they have in the file's opset written out.

    Only Softmax and its kin need it: below opset 13 all axes from `axis` (1 by default) on are taken together.
    """
    resolved = dict(attrs)
    if op_type in ("Softmax", "LogSoftmax", "Hardmax") and opset < 13:
        resolved.setdefault("axis", 1)
        resolved["coerce_2d"] = 1
    return resolved
