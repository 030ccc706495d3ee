"""Where TFLite's kernels fall apart at halves: what its runtime gave (ai-edge-litert 2.3.0), and why, in fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from lieref._types import Array
from lieref.model.integer.executor import run_all
from lieref.model.integer.graph import IntegerGraph, IntegerNode, IntegerTensor, Quantisation
from tests.op.integer.plain import away, up


def tensor(
    name: str, dtype: str, shape: tuple[int, ...], scale: object, zero: int, data: object = None
) -> IntegerTensor:
    scales = np.atleast_1d(np.asarray(scale, np.float32))
    said = Quantisation(scales, np.full(scales.size, zero), 0 if scales.size > 1 else None)
    return IntegerTensor(name, dtype, shape, said, None if data is None else np.asarray(data, dtype))


def output(
    op: str, attributes: dict[str, object], fed: dict[str, Array], tensors: list[IntegerTensor], how: str
) -> Array:
    """Return the output of a network of one operator; its last tensor is the output."""
    names = tuple(each.name for each in tensors)
    node = IntegerNode("node", op, names[:-1], names[-1:], attributes)
    graph = IntegerGraph({each.name: each for each in tensors}, (node,), tuple(fed), names[-1:], "tflite", b"")
    return run_all(graph, fed, how)[names[-1]]


def fl32(x: Fraction | float) -> Fraction:
    """The float32 next to a fraction; on the way through float64 none of these becomes a tie."""
    return Fraction(float(np.float32(float(x))))


def test_xnnpack_takes_the_zero_point_off_a_mean_as_a_float32() -> None:
    x = np.array([-126] * 7 + [-127] * 7, np.int8).reshape(1, 1, 14, 1)
    tensors = [tensor("x", "int8", x.shape, 1, -128), tensor("y", "int8", (1, 1, 1, 1), 1, -128)]
    means = {
        how: output("Mean", {"axes": (1, 2), "keepdims": 1}, {"x": x}, tensors, how).item()
        for how in ("xnnpack", "tflite-reference")
    }
    # The mean is -126.5: S r + c with r = fl32(1 / 14) above 1 / 14 and c = fl32(-128 + fl32(14 * 128 r)) = 0.
    r = fl32(Fraction(1, 14))
    c = fl32(-128 + fl32(14 * 128 * r))
    assert means["xnnpack"] == -127 == round(fl32(fl32(-1771 * r) + c))
    # Of distances from the zero point, 21 / 14 = 1.5, halves away from zero.
    assert means["tflite-reference"] == -126 == -128 + away(Fraction(21, 14))


@pytest.mark.parametrize(("kernel", "strides", "ends"), [
    ((2, 2), (2, 2), (0, 0)), ((1, 1), (1, 1), (0, 0)), ((1, 3), (1, 2), (0, 0)), ((2, 2), (3, 3), (-1, 1)),
    ((1, 3), (2, 1), (-1, 1)),
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_xnnpack_leaves_max_pools_that_skip_pixels(
    dtype: str, kernel: tuple[int, int], strides: tuple[int, int], ends: tuple[int, int]
) -> None:
    """-1 and 1 in units of 2 are -1/2 and 1/2 beside a zero point: to even in XNNPACK, else away from zero."""
    zero, info = 128 if dtype == "uint8" else 0, np.iinfo(dtype)
    x = np.stack([np.full((6, 6, 2), end, dtype) for end in (info.min, info.max)])
    size = tuple((6 - k) // s + 1 for k, s in zip(kernel, strides, strict=True))
    tensors = [tensor("x", dtype, (1, 6, 6, 2), 2, zero), tensor("y", dtype, (1, *size, 2), 2, zero)]
    attributes = {"kernel": kernel, "strides": strides, "activation": "relu_n1_to_1"}
    y = output("MaxPool", attributes, {"x": x}, tensors, "xnnpack").astype(int) - zero
    assert (y.min(), y.max()) == ends
    y = output("MaxPool", attributes, {"x": x}, tensors, "tflite-optimised").astype(int) - zero
    assert (y.min(), y.max()) == (-1, 1)


def test_a_bilinear_mean_below_a_half_is_rounded_up_in_float32() -> None:
    x = np.array([136, 0, 2], np.uint8).reshape(1, 1, 3, 1)
    tensors = [tensor("x", "uint8", x.shape, 1, 0), tensor("y", "uint8", (1, 7, 6, 1), 1, 0)]
    y = output("Resize", {"mode": "bilinear", "half_pixel_centers": 1}, {"x": x}, tensors, "tflite-reference")
    # 2 (1 - v) / 4 + 2 v / 4 with v = fl32(5/2 fl32(1/7) - 1/2) = -0.14285713: 1/2 - 2^-25, and that plus 1/2 is 1.
    v = fl32(fl32(Fraction(5, 2) * fl32(Fraction(1, 7))) - Fraction(1, 2))
    total = fl32(fl32(2 * fl32(1 - v)) / 4 + fl32(2 * v) / 4)
    assert total == Fraction(1, 2) - Fraction(1, 1 << 25)
    assert y[0, 2, 3, 0] == 1 == math.floor(fl32(total + Fraction(1, 2)))


SUMS = {
    "int8": ((0.1, 0.3, 0.2), (117, -14), 20),
    "uint8": ((0.1, 0.3, 0.2), (30, 1), 20),
    "int16": ((0.037929654121398926, 0.0625, 0.125), (30606, 23937), 15),
}


def rescaled(x: int, real: float, bits: int, order: str) -> int:
    """x 2^bits times a number of at most 1, by its multiplier of 31 bits and a shift."""
    fraction, e = math.frexp(real)
    q = up(Fraction(fraction) * (1 << 31))
    if order == "shift first":
        return up(Fraction(math.floor(x * Fraction(2) ** (bits + e)) * q, 1 << 31))
    high = Fraction(up(Fraction((x << bits) * q, 1 << 31)), 1 << -e)
    return math.floor(high) if order == "shift last" else away(high)


@pytest.mark.parametrize(
    ("dtype", "in_blocks", "after"), [("int8", 37, 38), ("uint8", 16, 17), ("int16", 21255, 21256)]
)
def test_optimised_sums_differ_in_blocks(dtype: str, in_blocks: int, after: int) -> None:
    scales, numbers, bits = SUMS[dtype]
    block, order = (8, "shift last") if dtype == "uint8" else (16, "shift first")
    shape = (1, 1, 1, 2 * block + 1)
    fed = {name: np.full((3, *shape[1:]), number, dtype) for name, number in zip("ab", numbers, strict=True)}
    tensors = [tensor(name, dtype, shape, scale, 0) for name, scale in zip("aby", scales, strict=True)]
    top = 2 * max(float(np.float32(scale)) for scale in scales[:2])
    for kind, expected in ((order, in_blocks), ("", after)):
        first, second = (
            rescaled(x, float(np.float32(s)) / top, bits, kind) for x, s in zip(numbers, scales[:2], strict=True)
        )
        assert rescaled(first + second, top / ((1 << bits) * float(np.float32(scales[2]))), 0, "") == expected
    y = output("Add", {}, fed, tensors, "tflite-optimised").reshape(3, -1)
    assert (y == [in_blocks] * 2 * block + [after]).all()
    if dtype == "int16":
        np.testing.assert_array_equal(output("Add", {}, fed, tensors, "xnnpack").reshape(3, -1), y)
    assert (output("Add", {}, fed, tensors, "tflite-reference") == after).all()
    difference = output("Sub", {}, fed, tensors, "tflite-optimised")
    assert (difference == {"int8": 80, "uint8": 14, "int16": -2682}[dtype]).all()


def test_optimised_sums_of_one_tensor_and_a_constant_have_the_same_blocks() -> None:
    scales, (a, b), _ = SUMS["int8"]
    shape = (1, 17)
    tensors = [
        tensor("a", "int8", shape, scales[0], 0),
        tensor("b", "int8", shape, scales[1], 0, np.full(shape, b)),
        tensor("y", "int8", shape, scales[2], 0),
    ]
    y = output("Add", {}, {"a": np.full((5, 17), a, np.int8)}, tensors, "tflite-optimised")
    assert (y == [37] * 16 + [38]).all()


def test_blocks_run_on_over_the_rows_of_a_sample(rng: np.random.Generator) -> None:
    """Of a tensor of (2, 9), as a sequence has them, 16 of 18 numbers lie in a block."""
    scales, (a, b), _ = SUMS["int8"]
    fed = {"a": np.full((2, 9), a, np.int8), "b": np.full((2, 9), b, np.int8)}
    y = output(
        "Add",
        {},
        fed,
        [tensor(n, "int8", (2, 9), s, 0) for n, s in zip("aby", scales, strict=True)],
        "tflite-optimised",
    )
    assert y.ravel().tolist() == [37] * 16 + [38] * 2
    x = rng.integers(-128, 128, (2, 9)).astype(np.int8)
    floats = [
        output(
            "Dequantize", {}, {"x": x.reshape(shape)},
            [tensor("x", "int8", shape, 0.3, 5), IntegerTensor("y", "float32", shape, None, None)], "tflite-optimised",
        )
        for shape in ((2, 9), (1, 18))
    ]  # fmt: skip
    np.testing.assert_array_equal(floats[0].ravel(), floats[1].ravel())


@pytest.mark.parametrize("how", ["tflite-optimised", "xnnpack"])
def test_a_dense_layer_of_sixteen_bits_with_a_scale_a_row_multiplies_scales_in_float64(how: str) -> None:
    s_in, s_w, s_out = 1.5487152338027954, 1.1136913299560547, 410.9912109375
    found = {}
    for rows in (1, 2):
        tensors = [
            tensor("x", "int16", (1, 1), s_in, 0),
            tensor("weight", "int8", (2, 1), [s_w] * rows, 0, [[1], [1]]),
            tensor("bias", "int32", (2,), 1, 0, [-3913946, -3913946]),
            tensor("y", "int16", (1, 2), s_out, 0),
        ]
        found[rows] = output("FullyConnected", {}, {"x": np.zeros((1, 1), np.int16)}, tensors, how).tolist()
    assert found == {1: [[-16425, -16425]], 2: [[-16426, -16426]]}
    # In float64 -3913946 q 2^-31 = -2102464.51, which becomes ...465 and, over 2^7, -16425.508; with the product of the
    # scales in float32 first, ...464, exactly -16425.5, whose half is rounded upwards.
    for product, expected in ((fl32(Fraction(s_in) * Fraction(s_w)), -16425), (Fraction(s_in) * Fraction(s_w), -16426)):
        fraction, e = math.frexp(float(product / Fraction(s_out)))
        high = up(Fraction(-3913946 * up(Fraction(fraction) * (1 << 31)), 1 << 31))
        assert up(Fraction(high, 1 << -e)) == expected
