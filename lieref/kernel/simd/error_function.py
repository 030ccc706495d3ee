"""The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x, without an exponential.

    erf(x) = x P(x^2) / Q(x^2)  for |x| < bound,   1 with the sign of x beyond, where it rounds to that

erf(x) / x is a smooth function of x^2 that falls from 2 / sqrt(pi) like 1 / |x|: quotients of polynomials follow it far
better than polynomials do. Those of equal odd or even degree that are nearest to it have positive coefficients alone,
so that Horner's rule cancels nothing: what is lost is half an ulp for each of the last products and sums, the division
among them.

The coefficients are the best of a discrete least-squares fit of relative errors in 50 digits: P - Q erf(x) / x,
divided by the denominator of the fit before, on nodes that are dense at both ends, weighted anew by Lawson's rule until
the errors are level; then each is rounded to the type.
"""

from __future__ import annotations

from lieref.kernel.simd.elementary import constant, polynomial, scalar
from lieref.kernel.simd.emit import F32, F64, Function, Real

BOUND = {F32: 3.924, F64: 5.932}
"""From here on 1 - erf(x) is below half of the distance from one to the number before it."""

_P = {
    F32: (
        1.1283791065216064, 0.19055955111980438, 0.0527653805911541, 0.003771242219954729, 0.00028484236099757254,
        2.046669578703586e-06,
    ),
    F64: (
        1.1283791670955126, 0.22020895926545522, 0.0661278876189253, 0.006891528489504819, 0.000855833001366273,
        5.6965627565708006e-05, 3.901545637760775e-06, 1.6955507506088803e-07, 6.761789615169508e-09,
        1.7203776443491384e-10, 3.335707586341429e-12, 2.224705830042084e-14, 1.5689145386849587e-17,
    ),
}  # fmt: skip
_Q = {
    F32: (
        1.0, 0.5022117495536804, 0.11416913568973541, 0.014980564825236797, 0.0011635925620794296,
        3.805434243986383e-05,
    ),
    F64: (
        1.0, 0.5284884422603069, 0.134767128618008, 0.02199051389424404, 0.0025653492056974753,
        0.00022616064855149787, 1.5503815621998465e-05, 8.353278264513941e-07, 3.51683608370542e-08,
        1.1249245040655556e-09, 2.5497813786036468e-11, 3.317083883234312e-13, 8.839783367262727e-16,
    ),
}  # fmt: skip
"""Coefficients, the lowest first. Before they are rounded, the fit is off by 1.9e-8 and 3.2e-17: a third of an ulp."""


def erf(f: Function, x: Real) -> Real:
    """Return the error function, entry by entry, to 5 ulp, or 8 where products and sums round apart; NaN stays NaN."""
    kind = scalar(x)
    inside = x.max(-BOUND[kind]).min(BOUND[kind])
    square = inside * inside
    above, below = (polynomial(f, square, coefficients[kind]) for coefficients in (_P, _Q))
    found = inside * above / below
    sign = constant(f, x, 1.0).signed(x)
    whole: Real = f.where(x.size().at_least(BOUND[kind]), sign, found)
    return whole
