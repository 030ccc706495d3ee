"""The operations of quantised networks: their inputs and attributes, the same for every format.

Images have axes (N, H, W, C) in layout NHWC and (N, C, H, W) in layout NCHW. Weights go with the layout:

=================  ====================================  =====================================
operation          NHWC                                  NCHW
=================  ====================================  =====================================
Conv               (out, kernel h, kernel w, in/groups)  (out, in/groups, kernel h, kernel w)
DepthwiseConv      (1, kernel h, kernel w, out)          (out, 1, kernel h, kernel w)
FullyConnected     (out, in)                             (out, in), or (in, out): `transposed`
=================  ====================================  =====================================

A bias has shape (out,); its unit is scale of the input times scale of the weight, whatever scale the file gives it.
Output channel o of DepthwiseConv reads input channel o // (out // in).

Attributes, with what stands for one that is absent:

- ``strides``, ``dilations`` (h, w): (1, 1). ``pads`` (top, left, bottom, right): (0, 0, 0, 0). ``groups``: 1.
- ``activation``: "none", or what a TFLite operator is fused with, one of `ACTIVATIONS`. A Relu that ONNX leaves to the
  clamp of the quantised output is "none".
- ``kernel`` (h, w): always given by a pool. ``count_include_pad``: 0. A global pool has the size of its image.
- ``whole``: 1 for a pool of the file that has no window, but goes over the whole image; 0.
- ``mode``: "nearest" or "bilinear". Where a file has ONNX's words for a place, they are ``way`` (its
  `coordinate_transformation_mode`), ``rounding`` (its `nearest_mode`) and ``factors``, and ``cut``: 1 where the mean is
  of integers and cut to one, 0 where it is of real numbers; elsewhere ``align_corners`` and
  ``half_pixel_centers``: 0.
- ``axis``, ``axes``: counted from the front, never negative.
"""

from __future__ import annotations

from dataclasses import dataclass

ACTIVATIONS = ("none", "relu", "relu6", "relu_n1_to_1")
"""Clamps of the real output: none, at 0, to [0, 6], to [-1, 1]."""


WHOLE = 2**31 - 1
"""The end of a slice that goes to the end of its axis. Steps are 1 or more."""


@dataclass(frozen=True)
class Operation:
    """What an operation reads, optional inputs in brackets, and its attributes."""

    inputs: tuple[str, ...]
    attributes: tuple[str, ...] = ()


_WINDOW = ("strides", "pads", "activation")

OPERATIONS: dict[str, Operation] = {
    "Conv": Operation(("x", "weight", "[bias]"), (*_WINDOW, "dilations", "groups")),
    "DepthwiseConv": Operation(("x", "weight", "[bias]"), (*_WINDOW, "dilations")),
    "FullyConnected": Operation(("x", "weight", "[bias]"), ("activation", "transposed", "keep_axes")),
    "MatMul": Operation(("a", "b")),  # both computed
    "Add": Operation(("a", "b"), ("activation",)),
    "Sub": Operation(("a", "b"), ("activation",)),
    "Mul": Operation(("a", "b"), ("activation",)),
    "Maximum": Operation(("a", "b")),
    "Minimum": Operation(("a", "b")),
    "AveragePool": Operation(("x",), (*_WINDOW, "kernel", "count_include_pad", "whole")),
    "MaxPool": Operation(("x",), (*_WINDOW, "kernel")),
    "Concat": Operation(("parts",), ("axis", "activation")),  # any number of parts
    "Pad": Operation(("x",), ("before", "after", "value")),  # value: an integer; None is the zero point
    "Resize": Operation(("x",), ("mode", "align_corners", "half_pixel_centers", "way", "rounding", "factors", "cut")),
    "Softmax": Operation(("x",), ("beta", "axis")),
    "Mean": Operation(("x",), ("axes", "keepdims")),
    "HardSwish": Operation(("x",)),
    "Relu": Operation(("x",)),
    "Clip": Operation(("x",), ("low", "high")),  # real numbers
    "Sigmoid": Operation(("x",)),
    "LeakyRelu": Operation(("x",), ("alpha",)),
    "Tanh": Operation(("x",)),
    "Elu": Operation(("x",), ("alpha",)),
    "HardSigmoid": Operation(("x",), ("alpha", "beta")),
    "Quantize": Operation(("x",)),  # from float32
    "Dequantize": Operation(("x",)),  # to float32
    "Requantize": Operation(("x",)),  # from integers to integers of another scale, zero point or type
    "Reshape": Operation(("x",)),  # to the shape of its output; squeeze and flatten too
    "Transpose": Operation(("x",), ("axes",)),
    "Slice": Operation(("x",), ("begin", "end", "steps")),  # one of each an axis; see `WHOLE`
}
"""Each operation by name. The shapes it makes are those of its output tensors."""
