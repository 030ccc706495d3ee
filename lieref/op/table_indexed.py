"""The table of operators, continued: those that pick entries, place them, or make them from a few numbers."""

from __future__ import annotations

from lieref.op import center_crop_pad, data_dependent, fill, gather_elements, reverse_sequence, scatter, triangle
from lieref.op.cast import DTYPES
from lieref.op.entry import Operator

INDEXED = (
    Operator(
        "CenterCropPad",
        center_crop_pad.center_crop_pad,
        center_crop_pad.center_crop_pad_vjp,
        center_crop_pad.center_crop_pad_shape,
    ),
    Operator("Compress", data_dependent.compress, data_dependent.compress_vjp, data_dependent.compress_shape),
    Operator("ConstantOfShape", fill.constant_of_shape, fill.constant_of_shape_vjp, fill.constant_of_shape_shape, ()),
    Operator("EyeLike", fill.eye_like, fill.eye_like_vjp, fill.eye_like_shape, (), {"dtype": tuple(DTYPES)}),
    Operator(
        "GatherElements",
        gather_elements.gather_elements,
        gather_elements.gather_elements_vjp,
        gather_elements.gather_elements_shape,
    ),
    Operator("GatherND", gather_elements.gather_nd, gather_elements.gather_nd_vjp, gather_elements.gather_nd_shape),
    Operator("NonZero", data_dependent.non_zero, data_dependent.non_zero_vjp, data_dependent.non_zero_shape, ()),
    Operator("OneHot", fill.one_hot, fill.one_hot_vjp, fill.one_hot_shape, (2,)),
    Operator(
        "Range",
        fill.arithmetic_sequence,
        fill.arithmetic_sequence_vjp,
        fill.arithmetic_sequence_shape,
        (0, 2),
        {"stash_type": (1,)},
    ),
    Operator(
        "ReverseSequence",
        reverse_sequence.reverse_sequence,
        reverse_sequence.reverse_sequence_vjp,
        reverse_sequence.reverse_sequence_shape,
    ),
    Operator("Scatter", scatter.scatter, scatter.scatter_vjp, scatter.scatter_elements_shape, (0, 2)),
    Operator(
        "ScatterElements",
        scatter.scatter_elements,
        scatter.scatter_elements_vjp,
        scatter.scatter_elements_shape,
        (0, 2),
        {"reduction": scatter.REDUCTIONS},
    ),
    Operator(
        "ScatterND",
        scatter.scatter_nd,
        scatter.scatter_nd_vjp,
        scatter.scatter_nd_shape,
        (0, 2),
        {"reduction": scatter.REDUCTIONS},
    ),
    Operator("Size", fill.size_of, fill.size_of_vjp, fill.size_of_shape, ()),
    Operator("Trilu", triangle.trilu, triangle.trilu_vjp, triangle.trilu_shape),
    Operator(
        "Unique",
        data_dependent.unique,
        data_dependent.unique_vjp,
        data_dependent.unique_shape,
        (),
        {"output": (0, 1, 2, 3)},
        4,
    ),
)
