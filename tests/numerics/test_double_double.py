"""Double-double arithmetic against exact rationals."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lieref.numerics import dot2
from lieref.numerics import double_double as dd

reals = st.floats(-(2.0**200), 2.0**200).filter(lambda v: v == 0 or abs(v) > 2.0**-200)
U2 = Fraction(1, 2**106)


def exact(pair: dd.Pair) -> Fraction:
    return Fraction(float(pair[0])) + Fraction(float(pair[1]))


@given(reals, reals)
def test_error_free_transformations_lose_nothing(a: float, b: float) -> None:
    for two_sum, two_prod in ((dd.two_sum, dd.two_prod), (dot2.two_sum, dot2.two_prod)):
        assert exact(two_sum(a, b)) == Fraction(a) + Fraction(b)
        assert two_sum(a, b)[0] == a + b
        assert exact(two_prod(a, b)) == Fraction(a) * Fraction(b)
        assert two_prod(a, b)[0] == a * b


@pytest.mark.parametrize(
    ("operation", "truth", "bound"),
    [
        (dd.add, lambda a, b: a + b, Fraction(31, 10)),
        (dd.multiply, lambda a, b: a * b, Fraction(7)),
        (dd.divide, lambda a, b: a / b, Fraction(16)),
    ],
)
@given(a=reals, b=reals, a_lo=st.floats(-1, 1), b_lo=st.floats(-1, 1))
def test_operations_keep_their_bound(
    operation: Callable[[dd.Pair, dd.Pair], dd.Pair],
    truth: Callable[[Fraction, Fraction], Fraction],
    bound: Fraction,
    a: float,
    b: float,
    a_lo: float,
    b_lo: float,
) -> None:
    x = dd.fast_two_sum(a, a_lo * abs(a) * 2.0**-53)
    y = dd.fast_two_sum(b, b_lo * abs(b) * 2.0**-53)
    if operation is dd.divide and b == 0:
        return
    expected = truth(exact(x), exact(y))
    assert abs(exact(operation(x, y)) - expected) <= bound * U2 * abs(expected)


@given(st.floats(2.0**-200, 2.0**200), st.floats(-1, 1))
def test_square_root_keeps_its_bound(a: float, lo: float) -> None:
    x = dd.fast_two_sum(a, lo * a * 2.0**-53)
    root = exact(dd.sqrt(x))
    # abs(root - sqrt(x)) <= b means (root - b)**2 <= x <= (root + b)**2.
    slack = 16 * U2 * root
    assert (root - slack) ** 2 <= exact(x) <= (root + slack) ** 2


def test_arrays_broadcast(rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((3, 1)), rng.standard_normal(4)
    hi, lo = dd.multiply((a, 0.0 * a), (b, 0.0 * b))
    assert hi.shape == lo.shape == (3, 4)
    assert exact((hi[2, 3], lo[2, 3])) == Fraction(a[2, 0]) * Fraction(b[3])
