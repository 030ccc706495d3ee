"""Sigmoid and tanh on integers: against the real functions in 50 digits, and numbers recorded from the runtimes."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import numpy as np
import pytest

from lieref._types import Array
from lieref.op.integer import sigmoid as sigmoids
from lieref.op.integer.sigmoid import (
    OUTPUTS,
    by_fixed_point,
    by_fixed_point_16,
    by_table,
    by_table_16,
    takes_fixed_point_16,
)

NAMES = ("Sigmoid", "Tanh")
WAYS: dict[str, Callable[[Array, str, float, int], Array]] = {
    "away": lambda x, name, s, z: by_table(x, name, s, z, "away"),
    "even": lambda x, name, s, z: by_table(x, name, s, z, "even"),
    "fixed": by_fixed_point,
}
POINTS = np.array(
    [-32768, -32767, -20000, -12345, -4097, -100, -1, 0, 1, 2, 99, 1000, 4096, 9999, 21844, 30000, 32767], np.int16
)


def exact(x: Array, name: str, scale: float, zero_point: int) -> list[mpmath.mpf]:
    """The function of what the integers stand for, in units of the output, which has its zero point."""
    out, out_zero = OUTPUTS[name][x.dtype.name]
    with mpmath.workdps(50):
        reals = [mpmath.mpf(float(np.float32(scale))) * (int(q) - zero_point) for q in x]
        f = mpmath.tanh if name == "Tanh" else lambda r: 1 / (1 + mpmath.exp(-r))
        return [f(r) / mpmath.mpf(out) + out_zero for r in reals]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", -5), ("uint8", 140)])
def test_every_number_of_eight_bits_gives_the_nearest(name: str, way: str, dtype: str, zero_point: int) -> None:
    info = np.iinfo(dtype)
    x = np.arange(info.min, info.max + 1).astype(dtype)
    for scale in (0.0123, 0.0517, 0.31):
        real = exact(x, name, scale, zero_point)
        assert min(abs(r - mpmath.floor(r) - mpmath.mpf("0.5")) for r in real) > 1e-3  # no rounding is in doubt
        expected = [min(max(int(mpmath.nint(r)), info.min), info.max) for r in real]
        y = WAYS[way](x, name, scale, zero_point)
        assert y.dtype == dtype
        assert y.tolist() == expected
        np.testing.assert_array_equal(WAYS[way](x[::-1].reshape(4, 64), name, scale, zero_point).ravel(), y[::-1])


@pytest.mark.parametrize("name", NAMES)
def test_steps_of_eight_and_more_are_ends_in_fixed_point(name: str) -> None:
    """Recorded from TensorFlow Lite Micro, which counts zero to the lower end."""
    x = np.array([-128, -1, 0, 1, 127], np.int8)
    assert by_fixed_point(x, name, 8.0, 0).tolist() == [-128, -128, -128, 127, 127]
    assert by_fixed_point(x, name, 1e4, 1).tolist() == [-128, -128, -128, -128, 127]
    for tiny in (1e-9, 2.0**-126):
        assert by_fixed_point(x, name, tiny, 0).tolist() == [0] * 5


def test_ties_and_ends_of_a_table() -> None:
    """At 0 the functions are integers of the output; far out the largest one is next to 1."""
    for name in NAMES:
        for way in WAYS.values():
            assert way(np.array([7, -128, 127], np.int8), name, 0.5, 7).tolist() == [0, -128, 127]
    assert by_table(np.array([0, 255], np.uint8), "Sigmoid", 1e6, 128, "away").tolist() == [0, 255]


def test_the_table_of_sixteen_bits_is_the_published_one() -> None:
    """Its first and last entries, and where it is one above the nearest number, from TFLite's common.h."""
    table = sigmoids._table_16()
    assert table[:12].tolist() == [32768, 33451, 34133, 34813, 35493, 36169, 36843, 37513, 38180, 38841, 39498, 40149]
    assert table[100:106].tolist() == [64536, 64576, 64614, 64652, 64687, 64721]
    assert table[-4:].tolist() == [65534, 65534, 65534, 65535]
    assert table.size == 256


# From TFLite's runtime (ai-edge-litert 2.3.0): its reference kernels, and where the optimised ones differ.
_TABLES = {
    ("Sigmoid", 2.0**-12):
        "11 11 247 1534 8811 16184 16382 16384 16386 16388 16582 18374 23956 30143 32610 32746 32757",
    ("Sigmoid", 1e-3):
        "1 1 1 1 536 15565 16376 16384 16392 16401 17194 23956 32232 32767 32767 32767 32767",
    ("Tanh", 2.0**-11):
        "-32767 -32767 -32767 -32767 -31590 -1599 -16 0 16 32 1583 14838 31589 32764 32767 32767 32767",
    ("Tanh", 3e-4):
        "-32767 -32767 -32767 -32729 -27601 -984 -11 0 11 19 973 9545 27598 32606 32767 32767 32767",
}  # fmt: skip
_FIXED = {
    ("Sigmoid", 2.0**-12):
        "11 11 243 1531 8807 16183 16383 16384 16384 16388 16580 18376 23952 30146 32606 32742 32756",
    ("Tanh", 2.0**-12):
        "-32767 -32767 -32767 -32616 -24964 -792 -8 0 8 24 792 7840 24964 32280 32767 32767 32767",
    ("Tanh", 2.0**-11):
        "-32767 -32767 -32767 -32767 -31596 -1596 -24 0 24 36 1588 14836 31596 32767 32767 32767 32767",
}  # fmt: skip


def test_sixteen_bits_are_those_of_the_runtime() -> None:
    for recorded, function in ((_TABLES, by_table_16), (_FIXED, by_fixed_point_16)):
        for (name, scale), values in recorded.items():
            assert function(POINTS, name, scale).tolist() == [int(word) for word in values.split()]
    assert set(_FIXED) == {
        (name, scale) for name in NAMES for scale in (2.0**-13, 2.0**-12, 2.0**-11, 3e-4)
        if takes_fixed_point_16(name, scale)
    }  # fmt: skip
    assert takes_fixed_point_16("Sigmoid", 2.0**-12 * 1.0005)
    assert not takes_fixed_point_16("Sigmoid", 2.0**-12 * 1.001)


@pytest.mark.parametrize("name", NAMES)
def test_sixteen_bits_are_near_the_real_function(name: str) -> None:
    """By the table within 3 units of 2^-15, and within 12 in fixed point: over all numbers 2.73 and 11.79."""
    for scale in (2.0**-12, 2.0**-11, 3e-4, 1e-3, 0.5):
        real = np.array([float(r) for r in exact(POINTS, name, scale, 0)])
        assert np.abs(by_table_16(POINTS, name, scale) - real).max() < 3
        if takes_fixed_point_16(name, scale):
            assert np.abs(by_fixed_point_16(POINTS, name, scale) - real).max() < 12
