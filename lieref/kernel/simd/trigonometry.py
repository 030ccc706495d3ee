"""Sine and cosine of any finite number: the argument's quarter turns are counted exactly, however many there are.

    x = (n + t) pi / 2,   n = round(2 x / pi),   |t| <= 1/2,   sin x = +-sin(t pi / 2) or +-cos(t pi / 2)

2 x / pi is wanted modulo 4, and so exactly that t keeps its digits where x is next to a multiple of pi / 2 [Payne83].
2 / pi is cut into pieces so short that x, or each half of its digits, times a piece is exact in float64; whole turns
are taken off each product, exactly, before they are added up in two numbers. Single and double precision both compute
in float64: float32 with fewer pieces and terms.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

from llvmlite import ir

from lieref.kernel.simd.elementary import constant, polynomial, scalar
from lieref.kernel.simd.emit import F32, F64, I64, Function, Pointer, Real, Variable
from lieref.kernel.simd.rounding import floor, nearest

_DIGITS = {F32: 29, F64: 26}
"""Bits of a piece: with the 24 of a float32, or the 27 of half a float64, no more than the 53 of a float64."""

_LEAST = {F32: 215, F64: 1140}
"""2 / pi is cut off behind so many bits: those of the largest exponent, of the result, and as many as a number may lie
nearer to a multiple of pi / 2 than to the next number."""

_SCALE = 120
"""Pieces are 2^120 as large as they stand for, and what they meet is as much smaller: none is a subnormal number."""

_SIN_TERMS = {F32: 5, F64: 9}
_COS_TERMS = {F32: 6, F64: 9}
"""Terms of Taylor's series up to pi / 4: the next is below half an ulp."""


@lru_cache(maxsize=1)
def _two_over_pi() -> Fraction:
    """Return 2 / pi to 1200 bits, by Machin's formula pi / 4 = 4 atan(1/5) - atan(1/239)."""
    bits = 1264
    one = 1 << bits

    def atan_of_inverse(n: int) -> int:
        total, term, k = 0, one // n, 1
        while term:
            total += term // k if k % 4 == 1 else -(term // k)
            term //= n * n
            k += 2
        return total

    quarter = 4 * atan_of_inverse(5) - atan_of_inverse(239)
    return Fraction(one, 2 * quarter)


def pieces(kind: ir.Type) -> list[float]:
    """Return the pieces of 2 / pi for a type, the largest first, each 2^120 as large."""
    digits = _DIGITS[kind]
    count = -(-_LEAST[kind] // digits)
    whole = int(_two_over_pi() * (1 << digits * count))
    found = [whole >> digits * (count - 1 - i) & (1 << digits) - 1 for i in range(count)]
    return [math.ldexp(piece, _SCALE - digits * (i + 1)) for i, piece in enumerate(found)]


def _table(f: Function, kind: ir.Type) -> Pointer:
    """Return the pieces as a constant array of the module."""
    name, values = "two_over_pi", pieces(kind)
    table = f.module.globals.get(name)
    if table is None:
        array = ir.ArrayType(F64, len(values))
        table = ir.GlobalVariable(f.module, array, name)
        table.initializer = ir.Constant(array, values)
        table.linkage, table.global_constant = "internal", True
    return Pointer(f, table, F64)


def _quarter_turns(f: Function, x: Real) -> tuple[Real, Real]:
    """Return n modulo 4, from 0 to 3, and t pi / 2 of x, both in float64; of infinity and NaN, NaN."""
    kind, lanes = scalar(x), x.ir.type.count
    wide = x if kind == F64 else Real(f, f.b.fpext(x.ir, ir.VectorType(F64, lanes)))
    scaled = wide * 2.0**-_SCALE
    halves = [scaled] if kind == F32 else _halves(f, scaled)
    table = _table(f, kind)
    high, low = (Variable(constant(f, wide, 0.0)) for _ in range(2))
    with f.loop(len(pieces(kind))) as i:
        piece = f.splat(table.real_at(i), lanes)
        for half in halves:
            turns = half * piece
            turns = turns - nearest(f, turns * 0.25) * 4.0
            before = high.get()
            total = before + turns
            of_turns = total - before
            low.set(low.get() + ((before - (total - of_turns)) + (turns - of_turns)))
            high.set(total)
    n = nearest(f, high.get())
    t = (high.get() - n) + low.get()
    near = wide.size().below(0.75)  # below pi / 4, where x itself has every digit
    n = f.where(near, constant(f, n, 0.0), n)
    return n - floor(f, n * 0.25) * 4.0, f.where(near, wide, t * (math.pi / 2))


def _halves(f: Function, x: Real) -> list[Real]:
    """Return x as a number of its first 26 digits and one of the other 27."""
    number = ir.VectorType(I64, x.ir.type.count)
    mask = ir.Constant(number, [-1 << 27] * x.ir.type.count)
    high = Real(f, f.b.bitcast(f.b.and_(f.b.bitcast(x.ir, number), mask), x.ir.type))
    return [high, x - high]


# Turned by n quarters: sin(n pi / 2 + r) is sin r, cos r, -sin r, -cos r for n = 0, 1, 2, 3.
def _sin_of(f: Function, quarters: Real, r: Real, kind: ir.Type) -> Real:
    square = r * r
    odd = tuple((-1.0) ** n / math.factorial(2 * n + 1) for n in range(1, _SIN_TERMS[kind]))
    even = tuple((-1.0) ** n / math.factorial(2 * n) for n in range(_COS_TERMS[kind]))
    sine = (polynomial(f, square, odd) * square).muladd(r, r)
    cosine = polynomial(f, square, even)
    found = f.where(quarters.equals(1.0) | quarters.equals(3.0), cosine, sine)
    found = f.where(quarters.at_least(2.0), -found, found)
    return found if kind == F64 else Real(f, f.b.fptrunc(found.ir, ir.VectorType(F32, found.ir.type.count)))


def sin(f: Function, x: Real) -> Real:
    """Return sin(x), entry by entry, with a relative error of an ulp or two; NaN of an infinity."""
    quarters, r = _quarter_turns(f, x)
    return _sin_of(f, quarters, r, scalar(x))


def cos(f: Function, x: Real) -> Real:
    """Return cos(x) = sin(x + pi / 2), entry by entry, with a relative error of an ulp or two; NaN of an infinity."""
    quarters, r = _quarter_turns(f, x)
    turned = quarters + 1.0
    return _sin_of(f, f.where(turned.equals(4.0), constant(f, turned, 0.0), turned), r, scalar(x))
