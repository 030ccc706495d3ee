"""Rows of the table of operators: layers, with their rules of shape beside them."""

from __future__ import annotations

from lieref._types import AttrValue
from lieref.kernel.window import AUTO_PADS
from lieref.op import (
    affine_grid,
    attention,
    blocks,
    einsum,
    grid_sample,
    gru,
    likelihood,
    local_response,
    lstm,
    normalization,
    resize,
    rnn,
    transposed_convolution,
    upsample,
)
from lieref.op.entry import Operator
from lieref.op.interpolation import ROUNDINGS, TRANSFORMATIONS
from lieref.op.recurrent import DIRECTIONS

_RECURRENT: dict[str, tuple[AttrValue, ...]] = {"direction": DIRECTIONS, "layout": (0, 1)}

LAYERS = (
    Operator(
        "AffineGrid",
        affine_grid.affine_grid,
        affine_grid.affine_grid_vjp,
        affine_grid.affine_grid_shape,
        allowed={"align_corners": (0, 1)},
    ),
    Operator(
        "Attention",
        attention.attention,
        attention.attention_vjp,
        attention.attention_shape,
        (0, 1, 2, 3),
        {"is_causal": (0, 1), "qk_matmul_output_mode": (0, 1, 2, 3)},
    ),
    Operator(
        "ConvTranspose",
        transposed_convolution.conv_transpose,
        transposed_convolution.conv_transpose_vjp,
        transposed_convolution.conv_transpose_shape,
        (0, 1, 2),
        {"auto_pad": AUTO_PADS},
    ),
    Operator(
        "DepthToSpace",
        blocks.depth_to_space,
        blocks.depth_to_space_vjp,
        blocks.depth_to_space_shape,
        allowed={"mode": ("DCR", "CRD")},
    ),
    Operator("Einsum", einsum.einsum, einsum.einsum_vjp, einsum.einsum_shape, None),
    Operator(
        "GRU",
        gru.gru,
        gru.gru_vjp,
        gru.gru_shape,
        (0, 1, 2, 3, 5),
        {**_RECURRENT, "linear_before_reset": (0, 1), "output": (0, 1)},
        outputs=2,
    ),
    Operator(
        "GridSample",
        grid_sample.grid_sample,
        grid_sample.grid_sample_vjp,
        grid_sample.grid_sample_shape,
        (0, 1),
        {"align_corners": (0, 1), "mode": grid_sample.MODES, "padding_mode": grid_sample.PADDINGS},
    ),
    Operator(
        "GroupNormalization",
        normalization.group_normalization,
        normalization.group_normalization_vjp,
        normalization.group_normalization_shape,
        (0, 1, 2),
        {"stash_type": (1,)},
    ),
    Operator(
        "InstanceNormalization",
        normalization.instance_normalization,
        normalization.instance_normalization_vjp,
        normalization.instance_normalization_shape,
        (0, 1, 2),
    ),
    Operator(
        "LRN", local_response.local_response, local_response.local_response_vjp, local_response.local_response_shape
    ),
    Operator(
        "LSTM",
        lstm.lstm,
        lstm.lstm_vjp,
        lstm.lstm_shape,
        (0, 1, 2, 3, 5, 6, 7),
        {**_RECURRENT, "input_forget": (0,), "output": (0, 1, 2)},
        outputs=3,
    ),
    Operator(
        "LayerNormalization",
        normalization.layer_normalization,
        normalization.layer_normalization_vjp,
        normalization.layer_normalization_shape,
        (0, 1, 2),
        {"stash_type": (1,), "output": (0, 1, 2)},
        outputs=3,
    ),
    Operator(
        "MeanVarianceNormalization",
        normalization.mean_variance_normalization,
        normalization.mean_variance_normalization_vjp,
        normalization.mean_variance_normalization_shape,
    ),
    Operator(
        "NegativeLogLikelihoodLoss",
        likelihood.negative_log_likelihood,
        likelihood.negative_log_likelihood_vjp,
        likelihood.negative_log_likelihood_shape,
        allowed={"reduction": likelihood.REDUCTIONS},
    ),
    Operator(
        "RMSNormalization",
        normalization.rms_normalization,
        normalization.rms_normalization_vjp,
        normalization.rms_normalization_shape,
        (0, 1),
        {"stash_type": (1,)},
    ),
    Operator("RNN", rnn.rnn, rnn.rnn_vjp, rnn.rnn_shape, (0, 1, 2, 3, 5), {**_RECURRENT, "output": (0, 1)}, outputs=2),
    Operator(
        "Resize",
        resize.resize,
        resize.resize_vjp,
        resize.resize_shape,
        allowed={
            "antialias": (0, 1),
            "coordinate_transformation_mode": TRANSFORMATIONS,
            "exclude_outside": (0, 1),
            "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
            "mode": ("nearest", "linear", "cubic"),
            "nearest_mode": ROUNDINGS,
        },
    ),
    Operator(
        "SoftmaxCrossEntropyLoss",
        likelihood.cross_entropy,
        likelihood.cross_entropy_vjp,
        likelihood.cross_entropy_shape,
        (0,),
        {"reduction": likelihood.REDUCTIONS, "output": (0, 1)},
        outputs=2,
    ),
    Operator(
        "SpaceToDepth",
        blocks.space_to_depth,
        blocks.space_to_depth_vjp,
        blocks.space_to_depth_shape,
        allowed={"mode": ("DCR", "CRD")},
    ),
    Operator(
        "Upsample",
        upsample.upsample,
        upsample.upsample_vjp,
        upsample.upsample_shape,
        allowed={"mode": ("nearest", "linear", "bilinear")},
    ),
)
"""Operators that are layers: each has its rule of shape beside it, and checks its arguments by it."""
