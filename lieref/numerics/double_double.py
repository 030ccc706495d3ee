"""Double-double arithmetic: a number as the unevaluated sum of two float64, about 106 bits.

Every function works on Python floats, on arrays with broadcasting, and inside compiled code. Nothing here may run
with ``fastmath``: the algorithms live from the exact rounding of each operation. Error bounds are relative to the
result, with u = 2**-53, from [Joldes17]; they hold while nothing overflows or underflows.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np

Pair: TypeAlias = tuple[Any, Any]
"""(hi, lo) with hi = fl(hi + lo); floats or arrays."""

_SPLITTER: Final = 2.0**27 + 1.0


def two_sum(a: Any, b: Any) -> Pair:
    """Return (s, e) with s = fl(a + b) and s + e = a + b exactly (Knuth)."""
    s = a + b
    b_part = s - a
    return s, (a - (s - b_part)) + (b - b_part)


def fast_two_sum(a: Any, b: Any) -> Pair:
    """Return (s, e) with s + e = a + b exactly, for abs(a) >= abs(b) (Dekker)."""
    s = a + b
    return s, b - (s - a)


def two_prod(a: Any, b: Any) -> Pair:
    """Return (p, e) with p = fl(a b) and p + e = a b exactly, without a fused operation (Veltkamp, Dekker).

    Exact for abs(a), abs(b) below 2**996 and a product that is zero or above 2**-969.
    """
    p = a * b
    t = _SPLITTER * a
    a_hi = t - (t - a)
    a_lo = a - a_hi
    t = _SPLITTER * b
    b_hi = t - (t - b)
    b_lo = b - b_hi
    return p, ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo


def add(a: Pair, b: Pair) -> Pair:
    """Return a + b; relative error at most 3.1 u**2 [Joldes17, algorithm 6]."""
    s, e = two_sum(a[0], b[0])
    t, f = two_sum(a[1], b[1])
    s, e = fast_two_sum(s, e + t)
    return fast_two_sum(s, e + f)


def negative(a: Pair) -> Pair:
    """Return -a, exactly."""
    return -a[0], -a[1]


def multiply(a: Pair, b: Pair) -> Pair:
    """Return a b; relative error at most 7 u**2 [Joldes17, algorithm 10]."""
    p, e = two_prod(a[0], b[0])
    return fast_two_sum(p, e + (a[0] * b[1] + a[1] * b[0]))


def divide(a: Pair, b: Pair) -> Pair:
    """Return a / b for b away from zero; relative error at most 16 u**2 [Joldes17, algorithm 17]."""
    quotient = a[0] / b[0]
    remainder = add(a, negative(multiply(b, (quotient, 0.0 * quotient))))
    return fast_two_sum(quotient, remainder[0] / b[0])


def sqrt(a: Pair) -> Pair:
    """Return the square root of a > 0; relative error at most 16 u**2 (one Newton step from the float64 root)."""
    root = np.sqrt(a[0])
    remainder = add(a, negative(two_prod(root, root)))
    return fast_two_sum(root, remainder[0] / (2.0 * root))
