"""The guards: what each takes, at the very ends of its range, and the one error it raises for the rest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lieref import _check
from lieref.errors import DomainError, DTypeError, LierefError, MissingExtraError, ShapeError

UP, DOWN = math.nextafter(2.0, 3.0), math.nextafter(2.0, 1.0)


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "rule"),
    [
        ({"above": 2.0}, [UP, 3], [2.0, 2, DOWN], "must be above 2.0"),
        ({"low": 2.0}, [2.0, 2, UP], [DOWN], "must be at least 2.0"),
        ({"high": 2.0}, [2.0, 2, DOWN], [UP], "must be at most 2.0"),
        ({"above": 1.0, "high": 2.0}, [2.0, math.nextafter(1.0, 2.0)], [1.0, UP], "must be"),
        ({}, [-1e308, 0, np.float32(1.5), np.int8(-3)], [math.inf, -math.inf, math.nan], "must be finite"),
    ],
)
def test_real(limits: dict[str, float], inside: list[Any], outside: list[Any], rule: str) -> None:
    for value in inside:
        got = _check.check_real("f", "x", value, **limits)
        assert type(got) is float
        assert got == value
    for value in outside:
        with pytest.raises(DomainError, match=f"^f: `x` {rule}.*; got "):
            _check.check_real("f", "x", value, **limits)


@pytest.mark.parametrize("value", [True, np.True_, "1", None, 1j, [1.0]])
def test_what_is_no_real_number(value: Any) -> None:
    with pytest.raises(DTypeError, match=r"^f: `x` must be a real number; got "):
        _check.check_real("f", "x", value)


@pytest.mark.parametrize(
    ("limits", "inside", "outside", "rule"),
    [
        ({"low": 2}, [2, 3, np.int64(2)], [1], "at least 2"),
        ({"high": 2}, [2, -5, np.uint8(0)], [3], "at most 2"),
        ({"low": 2, "high": 4}, [2, 3, 4], [1, 5], "2 to 4"),
        ({}, [-(2**63), 2**64 - 1], [], ""),
    ],
)
def test_int(limits: dict[str, int], inside: list[Any], outside: list[Any], rule: str) -> None:
    for value in inside:
        got = _check.check_int("f", "n", value, **limits)
        assert type(got) is int
        assert got == value
    for value in outside:
        with pytest.raises(DomainError, match=f"^f: `n` must be {rule}; got {value}$"):
            _check.check_int("f", "n", value, **limits)


def test_numbers_of_any_length_are_judged() -> None:
    for value in (10**400, -(10**5000)):
        with pytest.raises(DomainError, match=r"^f: `n` must fit 64 bits; got -?inf$"):
            _check.check_int("f", "n", value)
        with pytest.raises(DomainError, match=r"^f: `n` must be finite; got -?inf$"):
            _check.check_real("f", "n", value)


@pytest.mark.parametrize("value", [True, np.False_, 2.0, "2", None])
def test_what_is_no_integer(value: Any) -> None:
    with pytest.raises(DTypeError, match=r"^f: `n` must be an integer; got "):
        _check.check_int("f", "n", value)


def test_bool() -> None:
    assert _check.check_bool("f", "b", True) is True
    assert _check.check_bool("f", "b", np.False_) is False
    for value in (0, 1, "yes", None):
        with pytest.raises(DTypeError, match=r"^f: `b` must be True or False; got "):
            _check.check_bool("f", "b", value)


def test_choice() -> None:
    assert _check.check_choice("f", "mode", "b", ("a", "b")) == "b"
    with pytest.raises(DomainError, match=r"^f: `mode` must be one of a, b; got 'c'$"):
        _check.check_choice("f", "mode", "c", ("a", "b"))


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
def test_float_arrays_arrive_in_native_order(dtype: str) -> None:
    given = np.array([[1.5, -2.0]], dtype)
    got = _check.check_float("f", "x", given, 2)
    assert got.dtype.isnative
    assert got.dtype.itemsize == given.dtype.itemsize
    np.testing.assert_array_equal(got, given)


@pytest.mark.parametrize("value", [np.ones(2, np.float16), np.ones(2, np.int64), np.ones(2, complex), ["a"]])
def test_what_is_no_float_array(value: Any) -> None:
    with pytest.raises(DTypeError, match=r"^f: `x` must be float32 or float64; got "):
        _check.check_float("f", "x", value)


def test_axes_and_entries_of_a_float_array() -> None:
    assert _check.check_float("f", "x", np.float32(1.0), 0).shape == ()
    for ndim in (0, 2):
        with pytest.raises(ShapeError, match=f"^f: `x` must have {ndim} axes; got shape \\(3,\\)$"):
            _check.check_float("f", "x", np.ones(3), ndim)
    for bad in (math.nan, math.inf, -math.inf):
        for place in np.ndindex(2, 2):
            array = np.zeros((2, 2))
            array[place] = bad
            with pytest.raises(
                DomainError, match=f"^f: `x` must be finite; got {bad} at index \\({place[0]}, {place[1]}"
            ):
                _check.check_float("f", "x", array)


def test_shape_and_dtype() -> None:
    _check.check_shape("f", "x", np.ones((2, 3)), (2, 3))
    for shape in ((3, 2), (2,), (2, 3, 1), ()):
        with pytest.raises(ShapeError, match=r"^f: `x` must have shape .*; got \(2, 3\)$"):
            _check.check_shape("f", "x", np.ones((2, 3)), shape)
    _check.check_same_dtype("f", a=np.ones(2), b=None, c=np.zeros(1))
    with pytest.raises(DTypeError, match=r"^f: all arrays must share one dtype; got a float64, c float32$"):
        _check.check_same_dtype("f", a=np.ones(2), b=None, c=np.zeros(1, np.float32))


def test_a_missing_package_is_named_with_the_command_that_brings_it() -> None:
    assert _check.need("math", "app", "adding") is math
    with pytest.raises(MissingExtraError, match=r"^adding needs no_such_package, .*pip install 'lieref\[app\]'$"):
        _check.need("no_such_package.part", "app", "adding")
    assert issubclass(MissingExtraError, LierefError)
