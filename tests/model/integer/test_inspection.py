"""Samples for a quantised network, and what its inspection says."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.errors import DTypeError, ShapeError
from lieref.model.integer.inspection import layer_reports, tensor_reports
from lieref.model.integer.samples import integer_samples
from lieref.model.integer.tflite_reader import read_tflite
from validation.integer.tflite_file import Operator, Tensor, build

pytest.importorskip("tflite")


def convolution(height=4, width=5):
    weight = np.array([[[[1, -2]]], [[[100, 27]]], [[[0, 3]]]], np.int8)
    tensors = [
        Tensor("int8", (1, height, width, 2), 0.5, -1),
        Tensor("int8", (3, 1, 1, 2), [0.25, 0.5, 1.0], [0, 0, 0], 0, weight),
        Tensor("int32", (3,), [0.125, 0.25, 0.5], [0, 0, 0], 0, np.array([0, -100, 7], np.int32)),
        Tensor("int8", (1, height, width, 3), 2.0, 3),
    ]
    options = {0: ("b", 1), 1: ("i", 1), 2: ("i", 1)}
    return read_tflite(build(tensors, [Operator("CONV_2D", (0, 1, 2), (3,), "Conv2DOptions", options)], (0,), (3,)))


def test_ranges_multipliers_and_headroom():
    graph = convolution()
    x, y = tensor_reports(graph)
    assert (x.scale, x.zero_point, x.low, x.high) == (0.5, -1, -63.5, 64.0)
    assert (y.low, y.high) == (-262.0, 248.0)
    (layer,) = layer_reports(graph)
    assert (layer.scales, layer.least_scale, layer.largest_scale) == (3, 0.25, 1.0)
    assert (layer.least_multiplier, layer.largest_multiplier) == (0.0625, 0.25)
    # |x + 1| is at most 128; the second channel: 128 * 127 + 100
    assert layer.headroom_bits == pytest.approx(31 - np.log2(128 * 127 + 100), abs=1e-12)


def test_numbers_are_quantised_and_what_is_clipped_is_counted():
    graph = convolution()
    x = np.zeros((2, 4, 5, 2), np.float32)
    x[0, 0, 0] = [0.25, -0.25]  # halves away from zero: 1 and -1, before the zero point
    x[1, 0, 0] = [100, -100]
    made = integer_samples(graph, x)
    assert (made.quantised, made.clipped) == (True, 2)
    assert made.x[0, 0, 0].tolist() == [0, -2]
    assert made.x[1, 0, 0].tolist() == [127, -128]
    assert (made.x[:, 1:] == -1).all()


def test_integers_of_its_own_type_stay(rng):
    graph = convolution()
    x = rng.integers(-128, 128, (3, 4, 5, 2)).astype(np.int8)
    made = integer_samples(graph, x)
    assert (made.quantised, made.clipped) == (False, 0)
    np.testing.assert_array_equal(made.x, x)


def test_channels_may_come_first(rng):
    graph = convolution()
    x = rng.integers(-128, 128, (3, 4, 5, 2)).astype(np.int8)
    np.testing.assert_array_equal(integer_samples(graph, x.transpose(0, 3, 1, 2)).x, x)
    square = convolution(2, 2)
    x = rng.integers(-128, 128, (3, 2, 2, 2)).astype(np.int8)
    np.testing.assert_array_equal(integer_samples(square, x).x, x)
    np.testing.assert_array_equal(integer_samples(square, x, "NCHW").x, x.transpose(0, 2, 3, 1))


def test_samples_that_do_not_fit_are_refused():
    graph = convolution()
    with pytest.raises(ShapeError, match="must have shape"):
        integer_samples(graph, np.zeros((3, 4, 5, 3), np.int8))
    with pytest.raises(DTypeError, match="numbers"):
        integer_samples(graph, np.zeros((3, 4, 5, 2), bool))
