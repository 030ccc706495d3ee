"""Examples of the operators that are layers: normalisations, resampling, recurrent networks, attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lieref._types import Array
from tests.op.example import ORT, Example, ints, spread

IMAGE = spread(2, 6, 3, 4)

NORMALIZATIONS = (
    Example(
        "LayerNormalization",
        (spread(2, 3, 4), spread(4, seed=1), spread(4, seed=2)),
        {"axis": -1, "epsilon": 0.03125, "stash_type": 1},
    ),
    Example("LayerNormalization", (spread(2, 3, 4), spread(3, 1, seed=1)), {"axis": 1, "epsilon": 0.25}, evaluator=ORT),
    Example("LayerNormalization", (spread(2, 3, 4), spread(4, seed=1)), float32_constant=True),
    Example("LayerNormalization", (spread(2, 3, 4), spread(4, seed=1)), {"axis": -2, "epsilon": 0.25, "output": 1},
            float32_constant=True),
    Example("LayerNormalization", (spread(2, 3, 4), spread(4, seed=1)), {"axis": -2, "epsilon": 0.25, "output": 2},
            float32_constant=True),
    Example("MeanVarianceNormalization", (IMAGE,), evaluator=ORT),
    Example("MeanVarianceNormalization", (spread(2, 3, 4),), {"axes": (1, -1)}, evaluator=ORT),
    Example("LRN", (IMAGE / 4,), {"size": 3, "alpha": 0.5, "beta": 0.25, "bias": 2.0}, evaluator=ORT),
    Example("LRN", (spread(2, 3, 5, 1),), {"size": 9}, evaluator=ORT),
    Example("RMSNormalization", (spread(2, 3, 4), spread(4, seed=1)), {"axis": -1, "epsilon": 0.03125}, opset=23),
    Example("RMSNormalization", (spread(2, 3, 4), spread(3, 4, seed=1)), {"axis": 1, "stash_type": 1}, opset=23,
            float32_constant=True),
    Example("InstanceNormalization", (IMAGE, spread(6, seed=1), spread(6, seed=2)), {"epsilon": 0.03125}),
    Example("InstanceNormalization", (spread(2, 3, 5), spread(3, seed=1), spread(3, seed=2)), float32_constant=True),
    Example(
        "GroupNormalization",
        (IMAGE, spread(6, seed=1), spread(6, seed=2)),
        {"num_groups": 3, "epsilon": 0.03125, "stash_type": 1},
        float32_constant=True,
    ),
    Example("GroupNormalization", (IMAGE, spread(6, seed=1), spread(6, seed=2)), {"num_groups": 2},
            float32_constant=True),
)  # fmt: skip

TRANSPOSED = (
    Example("ConvTranspose", (IMAGE, spread(6, 2, 3, 2, seed=1), spread(2, seed=2)), multilinear=True),
    Example(
        "ConvTranspose",
        (IMAGE, spread(6, 2, 3, 2, seed=1), spread(4, seed=2)),
        {"strides": (3, 2), "pads": (1, 0, 2, 1), "output_padding": (2, 1), "group": 2, "kernel_shape": (3, 2),
         "dilations": (2, 3)},
        opset=11,
        multilinear=True,
        evaluator=ORT,
    ),
    Example(
        "ConvTranspose", (IMAGE, spread(6, 1, 4, 2, seed=1)), {"strides": (2, 3), "output_shape": (9, 10), "group": 3},
        multilinear=True, evaluator=ORT,
    ),
    Example(
        "ConvTranspose", (IMAGE, spread(6, 2, 4, 5, seed=1)), {"strides": (3, 2), "auto_pad": "SAME_UPPER"},
        multilinear=True, evaluator=ORT,
    ),
    Example(
        "ConvTranspose", (IMAGE, spread(6, 2, 4, 5, seed=1)), {"strides": (3, 2), "auto_pad": "SAME_LOWER"},
        multilinear=True, evaluator=ORT,
    ),
    Example("ConvTranspose", (spread(2, 3, 5), spread(3, 4, 3, seed=1)), {"auto_pad": "VALID"}, multilinear=True),
    Example("ConvTranspose", (spread(1, 2, 2, 3, 2), spread(2, 3, 2, 1, 3, seed=1)), {"pads": (0, 0, 1, 1, 0, 1)},
            multilinear=True, evaluator=ORT),
    Example("DepthToSpace", (spread(2, 12, 3, 5),), {"blocksize": 2}),
    Example("DepthToSpace", (spread(2, 18, 2, 5),), {"blocksize": 3, "mode": "CRD"}),
    Example("SpaceToDepth", (spread(2, 3, 4, 6),), {"blocksize": 2, "mode": "DCR"}, opset=28),
    Example("SpaceToDepth", (spread(2, 3, 4, 6),), {"blocksize": 2}),
)  # fmt: skip

UP, DOWN = np.array([1.0, 1.0, 2.0, 1.5]), np.array([1.0, 1.0, 0.625, 0.5])


def resize(scales: Array | None, sizes: Array | None = None, roi: Array | None = None, **attrs: Any) -> Example:
    """Return a Resize of an image; `scales` come in float32, as ONNX has them, whatever the image is in."""
    inputs = (spread(2, 3, 5, 6), roi, scales, sizes)
    last = max(i for i, value in enumerate(inputs) if value is not None)
    cubic = attrs.get("mode") == "cubic"  # the reference takes the coefficient in float32
    return Example(
        "Resize", inputs[: last + 1], attrs, opset=19, multilinear=True, constants=(1, 2), float32_constant=cubic
    )


RESIZE = (
    resize(UP),
    resize(DOWN, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"),
    resize(UP, mode="nearest", nearest_mode="ceil"),
    resize(DOWN, mode="nearest", nearest_mode="round_prefer_ceil"),
    resize(UP, mode="linear", antialias=0),
    resize(DOWN, mode="linear", coordinate_transformation_mode="half_pixel_symmetric"),
    resize(None, ints(2, 3, 9, 4), mode="linear", coordinate_transformation_mode="align_corners"),
    resize(None, ints(9, 4), mode="linear", axes=(3, 2), coordinate_transformation_mode="pytorch_half_pixel"),
    resize(UP, mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1),
    resize(DOWN, mode="cubic", coordinate_transformation_mode="asymmetric"),
    resize(DOWN, mode="linear", antialias=1),
    resize(DOWN, mode="cubic", antialias=1, cubic_coeff_a=-0.5, exclude_outside=1),
    resize(None, ints(9, 3), mode="cubic", antialias=1, axes=(2, 3)),
    resize(None, ints(7, 8), np.array([0.2, -0.25, 0.7, 1.25]), mode="linear", axes=(2, 3), extrapolation_value=1.5,
           coordinate_transformation_mode="tf_crop_and_resize"),
    resize(None, ints(8, 9), axes=(2, 3), keep_aspect_ratio_policy="not_larger"),
    resize(None, ints(8, 9), axes=(3, 2), keep_aspect_ratio_policy="not_smaller"),
)  # fmt: skip


UPSAMPLE = (
    Example("Upsample", (spread(2, 3, 5, 6), np.array([1.0, 1.0, 2.0, 3.0])), opset=9, multilinear=True,
            constants=(1,)),
    Example("Upsample", (spread(2, 3, 5, 6),), {"mode": "linear", "scales": (1.0, 1.0, 2.0, 1.5)}, opset=7,
            multilinear=True, evaluator=ORT),
    Example("Upsample", (spread(2, 3, 5, 6),), {"scales": (1.0, 1.0, 3.0, 2.5)}, opset=7, multilinear=True,
            evaluator=ORT),
)  # fmt: skip


def recurrent(op: str, gates: int, directions: int, *optional: str, **attrs: Any) -> Example:
    """Return a recurrent operator on 4 times, 2 samples and 3 features, of 2 hidden numbers; weights below one."""
    times, samples, features, hidden = 4, 2, 3, 2
    lead, batched = (directions, samples), attrs.get("layout", 0)
    known: dict[str, Array] = {
        "b": small(directions, 2 * gates * hidden, seed=3),
        "lens": np.array([4, 2], np.int32),
        "h": small(*(lead[::-1] if batched else lead), hidden, seed=4),
        "c": small(*(lead[::-1] if batched else lead), hidden, seed=5),
        "p": small(directions, 3 * hidden, seed=6),
    }
    order = ("b", "lens", "h", "c", "p")
    last = max([order.index(name) + 1 for name in optional], default=0)
    inputs = (
        small(*((samples, times) if batched else (times, samples)), features, seed=0),
        small(directions, gates * hidden, features, seed=1),
        small(directions, gates * hidden, hidden, seed=2),
        *(known[name] if name in optional else None for name in order[:last]),
    )
    # ONNX's reference has neither lengths of sequences nor the last state of a layout of samples first.
    return Example(op, inputs, {"hidden_size": hidden, **attrs}, opset=14, evaluator=ORT)


def small(*shape: int, seed: int) -> Array:
    """Return numbers between -1/2 and 1/2, none near zero: what is made of them has small derivatives of all orders."""
    numbers = spread(*shape, seed=seed)
    return 0.5 * numbers / np.abs(numbers).max()


RECURRENT = (
    recurrent("LSTM", 4, 1),
    recurrent("LSTM", 4, 1, "b", "h", "c", "p", direction="reverse", input_forget=0, output=0),
    recurrent("LSTM", 4, 2, "b", "lens", "h", "c", "p", direction="bidirectional", output=1),
    recurrent("LSTM", 4, 2, "lens", direction="bidirectional", output=2),
    recurrent("LSTM", 4, 1, "b", activations=("Sigmoid", "Tanh", "Softplus"), direction="forward"),
    recurrent("GRU", 3, 1),
    recurrent("GRU", 3, 1, "b", "lens", "h", direction="reverse", linear_before_reset=1),
    recurrent("GRU", 3, 2, "b", "lens", "h", direction="bidirectional", linear_before_reset=0, output=1),
    recurrent("GRU", 3, 1, "b", activations=("HardSigmoid", "Tanh")),
    recurrent("RNN", 1, 1),
    recurrent("RNN", 1, 2, "b", "lens", "h", direction="bidirectional", activations=("Relu", "Tanh"), output=1),
    recurrent("RNN", 1, 1, "h", direction="reverse", output=0),
    *(replace(recurrent(op, gates, 1, *optional, layout=1), evaluator="onnx.reference")
      for op, gates, optional in (("LSTM", 4, "hc"), ("GRU", 3, "h"), ("RNN", 1, "h"))),
)  # fmt: skip

HEADS = (small(2, 4, 3, 5, seed=1), small(2, 2, 6, 5, seed=2), small(2, 2, 6, 3, seed=3))
JOINED = (small(2, 3, 20, seed=1), small(2, 6, 10, seed=2), small(2, 6, 6, seed=3))
ALIVE = np.array([[True, False, True, True, False, True], [True] * 6, [False] * 5 + [True]])

ATTENTION = (
    Example("Attention", HEADS, opset=23),
    Example("Attention", HEADS, {"is_causal": 1, "scale": 0.25, "softcap": 2.0, "qk_matmul_output_mode": 0}, opset=23),
    Example("Attention", JOINED, {"q_num_heads": 4, "kv_num_heads": 2}, opset=23),
    Example("Attention", (*HEADS, ALIVE), opset=23),
    Example("Attention", (*JOINED, small(4, 3, 6, seed=4)), {"q_num_heads": 4, "kv_num_heads": 2, "softcap": 0.5},
            opset=23),
    Example("Einsum", (spread(2, 3, 4), spread(2, 4, 5, seed=1)), {"equation": "bij, bjk -> bik"}, multilinear=True),
    Example("Einsum", (spread(2, 3), spread(4, 3, seed=1), spread(3, 5, seed=2)), {"equation": "ij,kj,jl->lik"},
            multilinear=True),
    Example("Einsum", (spread(2, 1, 3), spread(4, 3, 5, seed=1)), {"equation": "...i,...ij->...j"}, multilinear=True),
    Example("Einsum", (spread(2, 3, 3),), {"equation": "...ii->...i"}),
    Example("Einsum", (spread(2, 3, 4), spread(3, seed=1)), {"equation": "abc,b"}, multilinear=True),
    Example("Einsum", (spread(3, 3), spread(3, seed=1)), {"equation": "ii,i->"}, multilinear=True),
)  # fmt: skip

CLASSES = np.array([[0, 2, 3, 1, 1], [3, 3, 0, 2, 1]])
LOGARITHMS = -spread(2, 4, 5, low=0.1)

LOSSES = (
    Example("NegativeLogLikelihoodLoss", (LOGARITHMS, CLASSES)),
    Example("NegativeLogLikelihoodLoss", (LOGARITHMS, CLASSES, spread(4, seed=1, low=0.2)),
            {"ignore_index": 3, "reduction": "mean"}),
    Example("NegativeLogLikelihoodLoss", (LOGARITHMS, CLASSES, spread(4, seed=1, low=0.2)), {"reduction": "none"}),
    Example("NegativeLogLikelihoodLoss", (LOGARITHMS[:, :, 0], CLASSES[:, 0]), {"reduction": "sum"}),
    Example("SoftmaxCrossEntropyLoss", (LOGARITHMS, CLASSES)),
    Example("SoftmaxCrossEntropyLoss", (LOGARITHMS, CLASSES, spread(4, seed=1, low=0.2)), {"ignore_index": 1}),
    Example("SoftmaxCrossEntropyLoss", (LOGARITHMS, CLASSES), {"reduction": "none", "ignore_index": 2}),
    Example("SoftmaxCrossEntropyLoss", (LOGARITHMS, CLASSES), {"reduction": "sum", "output": 1}),
)  # fmt: skip


def points(*shape: int, seed: int = 0, align: bool = False) -> Array:
    """Return points of a grid some tenths of a pixel from any of images of 4 x 3 or 5 x 4 x 3 pixels, some outside."""
    rng = np.random.default_rng([seed, *shape])
    pixels = rng.integers(-2, 5, shape) + rng.choice([0.2, 0.3, 0.7, 0.8], shape)
    extents = np.array([3, 4] if shape[-1] == 2 else [3, 4, 5])
    return 2 * pixels / (extents - 1) - 1 if align else (2 * pixels + 1) / extents - 1


SAMPLED = (
    Example("GridSample", (spread(2, 3, 4, 3), points(2, 5, 6, 2)), opset=20, float32_constant=True),
    *(Example("GridSample", (spread(2, 3, 4, 3), points(2, 5, 6, 2, seed=i)),
              {"align_corners": align, "mode": mode, "padding_mode": padding}, opset=20, float32_constant=True)
      for i, (align, mode, padding) in enumerate((
          (0, "linear", "border"), (0, "linear", "reflection"), (0, "cubic", "zeros"), (0, "cubic", "border"),
          (0, "cubic", "reflection"), (0, "nearest", "reflection"), (0, "nearest", "zeros"),
      ))),
    Example("GridSample", (spread(2, 2, 5, 4, 3), points(2, 3, 1, 2, 3)), opset=20, float32_constant=True),
    *(Example("GridSample", (spread(2, 3, 4, 3), points(2, 5, 6, 2, seed=9, align=True)),
              {"align_corners": 1, "mode": "bilinear", "padding_mode": padding}, opset=16, evaluator=ORT,
              float32_constant=True)
      for padding in ("zeros", "border", "reflection")),
    Example("AffineGrid", (spread(2, 2, 3), ints(2, 3, 5, 4)), opset=20, multilinear=True, evaluator=ORT),
    Example("AffineGrid", (spread(2, 2, 3), ints(2, 3, 5, 4)), {"align_corners": 1}, opset=20, multilinear=True,
            evaluator=ORT),
    Example("AffineGrid", (spread(1, 3, 4), ints(1, 3, 2, 5, 4)), opset=20, multilinear=True, evaluator=ORT),
)  # fmt: skip

LAYERS = (*NORMALIZATIONS, *TRANSPOSED, *RESIZE, *UPSAMPLE, *RECURRENT, *ATTENTION, *LOSSES, *SAMPLED)
