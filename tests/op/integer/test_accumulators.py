"""Accumulators of convolutions, depthwise ones and dense layers: equal to plain loops, and exact at the limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lieref.op.integer.accumulate import exact_type
from lieref.op.integer.convolution import convolution
from lieref.op.integer.depthwise import depthwise
from lieref.op.integer.fully_connected import fully_connected
from tests.op.integer import plain


@st.composite
def layers(draw):
    """A small convolution with everything different, zero points at the ends among them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    dtype = draw(st.sampled_from(["int8", "uint8", "int16"]))
    kernel, strides, dilations = (tuple(int(n) for n in rng.integers(1, 4, 2)) for _ in range(3))
    pads = tuple(int(n) for n in rng.integers(0, 3, 4))
    height, width = ((k - 1) * d + 1 + int(rng.integers(0, 4)) for k, d in zip(kernel, dilations, strict=True))
    depth, per = (int(n) for n in rng.integers(1, 4, 2))
    info = np.iinfo(dtype)
    x = rng.choice([info.min, info.max, rng.integers(info.min, info.max)], (2, height, width, depth * groups))
    weight = rng.choice([-128, 127, 1, rng.integers(-128, 128)], (per * groups, *kernel, depth)).astype(np.int8)
    bias = rng.integers(-(2**31), 2**31, per * groups) if rng.random() < 0.7 else None
    zero_point = int(rng.choice([info.min, info.max, 0])) if dtype != "int16" else 0
    return {
        "x": x.astype(dtype), "weight": weight, "bias": bias, "zero_point": zero_point,
        "weight_zero_point": int(rng.integers(-3, 4)), "strides": strides, "dilations": dilations, "pads": pads,
        "groups": groups,
    }  # fmt: skip


@given(layers())
def test_convolution_equals_plain_loops(layer):
    acc = convolution(**layer)
    arguments = (layer["x"], layer["weight"], layer["bias"], layer["zero_point"], layer["weight_zero_point"])
    rest = (layer["strides"], layer["dilations"], layer["pads"], layer["groups"])
    seen = 0
    for index, value in plain.convolution(*arguments, *rest):
        assert acc[index] == value
        seen += 1
    assert seen == acc.size


@given(layers(), st.integers(1, 3))
def test_depthwise_is_a_convolution_of_groups(layer, multiplier):
    channels = layer["x"].shape[3]
    rng = np.random.default_rng(multiplier)
    weight = rng.integers(-128, 128, (1, *layer["weight"].shape[1:3], channels * multiplier)).astype(np.int8)
    bias = rng.integers(-1000, 1000, weight.shape[3])
    same = {key: layer[key] for key in ("x", "zero_point", "weight_zero_point", "strides", "dilations", "pads")}
    expected = convolution(weight=weight.transpose(3, 1, 2, 0), bias=bias, groups=channels, **same)
    np.testing.assert_array_equal(depthwise(weight=weight, bias=bias, **same), expected)


def test_a_dense_layer_is_a_convolution_of_one_pixel(rng):
    x = rng.integers(-128, 128, (5, 9)).astype(np.int8)
    weight = rng.integers(-128, 128, (4, 9)).astype(np.int8)
    zero = rng.integers(-3, 3, 4)
    acc = fully_connected(x, weight, None, zero_point=-128, weight_zero_point=zero)
    expected = (x.astype(int) + 128) @ (weight.astype(int) - zero[:, None]).T
    np.testing.assert_array_equal(acc, expected)


@pytest.mark.parametrize(("inputs", "kind"), [(514, np.float32), (515, np.float64)])
def test_the_type_changes_where_its_integers_end(inputs, kind):
    """255 * 128 * 514 is below 2^24, 255 * 128 * 515 above; the largest sums are exact on both sides."""
    weight = np.full((inputs, 1), -128, np.int8)
    assert exact_type(255, weight) is kind
    x = np.full((1, inputs), 127, np.int8)
    assert fully_connected(x, weight.T, None, zero_point=-128).item() == -255 * 128 * inputs


def test_sums_beyond_float64_are_integers():
    weight = np.full((3, 1), 2**40)
    assert exact_type(2**16, weight) is np.int64
