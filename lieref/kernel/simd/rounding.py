"""Whole numbers near a number, from sums and comparisons: not every instruction set has an instruction for them.

A number of at most 2^p in size (p the bits behind the point of one) that 2^p with its sign is added to has no bit left
behind the point: the sum is rounded, to the even one of two. Larger numbers are whole already.
"""

from __future__ import annotations

from lieref.kernel.simd.elementary import constant, scalar
from lieref.kernel.simd.emit import F32, Function, Real


def nearest(f: Function, x: Real) -> Real:
    """Return the whole number nearest to x, of two the even one; -0 stays it, and so do NaN and infinity."""
    most = 2.0 ** (23 if scalar(x) == F32 else 52)
    large = constant(f, x, most).signed(x)
    whole = ((x + large) - large).signed(x)
    found: Real = f.where(x.size().below(most), whole, x)
    return found


def nearest_small(f: Function, x: Real) -> Real:
    """Return the same for a number of at most 2^22 in size, 2^51 in double precision, in two sums; +0 of -0.

    1.5 2^p is far enough from the next powers of two that a number of either sign leaves it among those without bits
    behind the point.
    """
    middle = constant(f, x, 1.5 * 2.0 ** (23 if scalar(x) == F32 else 52))
    return (x + middle) - middle


def floor(f: Function, x: Real) -> Real:
    """Return the largest whole number that is not above x."""
    whole = nearest(f, x)
    found: Real = f.where(whole.above(x), whole - 1.0, whole)
    return found


def ceil(f: Function, x: Real) -> Real:
    """Return the smallest whole number that is not below x."""
    return -floor(f, -x)


def truncated(f: Function, x: Real) -> Real:
    """Return x without what is behind the point."""
    return floor(f, x.size()).signed(x)
