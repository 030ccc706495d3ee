"""Functions of one number as compiled vector code against 40 digits, over their range and at its ends."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from lieref.kernel.simd.elementary import constant, whole_exp
from lieref.kernel.simd.emit import F32, F64
from lieref.kernel.simd.error_function import BOUND, erf
from lieref.kernel.simd.functions import FUNCTIONS, TRUTHS, WHOLE
from lieref.kernel.simd.logarithm import log, power
from lieref.kernel.simd.trigonometry import cos, pieces, sin
from tests.kernel.simd.test_elementary import ISAS, compiled, samples

DTYPES = ("float32", "float64")
ENDS = {"float32": (1e-45, 3e38), "float64": (5e-324, 1.7e308)}
EACH = pytest.mark.parametrize(("isa", "dtype"), [(isa, dtype) for isa in ISAS for dtype in DTYPES])


def whole(x, dtype):
    """An array of whole vectors."""
    return np.resize(np.asarray(x, float), -(-len(x) // 16) * 16).astype(dtype)


def worst(function, exact, x, isa, dtype, digits=40):
    """The largest error in units in the last place."""
    got = compiled(function, isa, dtype)(x)
    with mpmath.workdps(digits):
        want = [exact(mpmath.mpf(float(v))) for v in x]
        off = np.array([float(abs(mpmath.mpf(float(g)) - w)) for g, w in zip(got, want, strict=True)])
        size = np.array([abs(float(w)) for w in want]).astype(dtype)
    return (off / np.spacing(size).astype(float)).max()


@EACH
def test_error_function(isa, dtype):
    bound = BOUND[F32 if dtype == "float32" else F64]
    x = samples(-1.01 * bound, 1.01 * bound, dtype)
    assert worst(erf, mpmath.erf, x, isa, dtype) <= (8 if isa.name == "sse2" else 6)
    ends = whole([bound, -bound, 7, -7, np.inf, -np.inf, ENDS[dtype][1], 0.0], dtype)
    assert np.array_equal(compiled(erf, isa, dtype)(ends)[:8], [1, -1, 1, -1, 1, -1, 1, 0])


@EACH
def test_exponential_over_the_whole_range(isa, dtype):
    low, high = (-104, 88.72) if dtype == "float32" else (-745, 709.78)
    assert worst(whole_exp, mpmath.exp, whole(np.linspace(low, high, 997), dtype), isa, dtype) <= 2
    got = compiled(whole_exp, isa, dtype)(whole([high + 0.1, low - 1, np.inf, -np.inf, 0.0, -0.0], dtype))
    assert np.array_equal(got[:6], [np.inf, 0, np.inf, 0, 1, 1])


@EACH
def test_logarithm(isa, dtype):
    x = whole([*np.geomspace(*ENDS[dtype], 800), *np.linspace(0.5, 2, 401), 1.0], dtype)
    assert worst(log, mpmath.log, x, isa, dtype) <= 3
    got = compiled(log, isa, dtype)(whole([0.0, -0.0, 1.0, np.inf, -1.0, -np.inf], dtype))
    assert np.array_equal(got[:6], [-np.inf, -np.inf, 0, np.inf, np.nan, np.nan], equal_nan=True)


@EACH
@pytest.mark.parametrize(("function", "exact"), [(sin, mpmath.sin), (cos, mpmath.cos)])
def test_sine_and_cosine_of_any_number(function, exact, isa, dtype):
    """Next to multiples of pi / 2 too, small ones and the nearest that the type has."""
    nearest = [16367173.0 * 2.0**72] if dtype == "float32" else [6381956970095103.0 * 2.0**797]
    x = [*np.linspace(-20, 20, 301), *np.geomspace(*ENDS[dtype], 500), *(np.pi / 2 * np.arange(-99, 99)), *nearest, 1e4]
    assert worst(function, exact, whole(x, dtype), isa, dtype, 700) <= 3
    assert np.isnan(compiled(function, isa, dtype)(whole([np.inf, -np.inf, np.nan], dtype))).all()


def test_pieces_of_two_over_pi():
    for kind in (F32, F64):
        found = pieces(kind)
        with mpmath.workdps(700):
            total = sum((mpmath.mpf(piece) for piece in found), mpmath.mpf(0)) / mpmath.mpf(2) ** 120
            assert abs(total - 2 / mpmath.pi) < mpmath.mpf(2) ** (-215 if kind == F32 else -1140)


def raised_to(p):
    """|x|^p."""
    return lambda k, x: power(k, x.size(), constant(k, x, p), constant(k, x, 0.0))


@EACH
@pytest.mark.parametrize("p", [0.75, -0.6, 2.5, 7.0, 31.0, -3.0, 0.0])
def test_powers(p, isa, dtype):
    p = float(np.dtype(dtype).type(p))
    reach = min(np.log(ENDS[dtype][1]) / max(abs(p), 1) - 1, 600)
    x = whole([*np.exp(np.linspace(-reach, reach, 300)), *np.linspace(0.9, 1.1, 101)], dtype)
    # The logarithm is right to a hundredth of an ulp; of x^p, that is multiplied by its exponent.
    most = 3 if dtype == "float32" else 6
    assert worst(raised_to(p), lambda v: v ** mpmath.mpf(p), x, isa, dtype) <= most
    edges = whole([0.0, np.inf, np.nan, 1.0], dtype)
    with np.errstate(divide="ignore"):
        assert np.array_equal(
            compiled(raised_to(p), isa, dtype)(edges)[:4], [*(edges[:2] ** p), np.nan, 1.0], equal_nan=True
        )


@EACH
def test_large_exponents_lead_to_zero_or_infinity(isa, dtype):
    x = whole([0.5, 1.0, 1.5, 0.0], dtype)
    for p, want in ((1e36, [0, 1, np.inf, 0]), (-1e36, [np.inf, 1, 0, np.inf])):
        assert np.array_equal(compiled(raised_to(p), isa, dtype)(x)[:4], want)


SLOPES = {
    "erf": lambda x: 2 / mpmath.sqrt(mpmath.pi) * mpmath.exp(-x * x),
    "exp": mpmath.exp,
    "log": lambda x: 1 / x,
    "sin": mpmath.cos,
    "cos": lambda x: -mpmath.sin(x),
    "sqrt": lambda x: 1 / (2 * mpmath.sqrt(x)),
    "inverse_sqrt": lambda x: -1 / (2 * x * mpmath.sqrt(x)),
    "reciprocal": lambda x: -1 / (x * x),
    "square": lambda x: 2 * x,
    "cube": lambda x: 3 * x * x,
    "softsign": lambda x: 1 / (1 + abs(x)) ** 2,
}


@EACH
@pytest.mark.parametrize("name", SLOPES)
def test_slopes(name, isa, dtype):
    x = whole(np.geomspace(1e-6, 3, 200), dtype)
    # x^2 is rounded: exp(-x^2) is off by x^2 u more, 9 at most
    assert worst(FUNCTIONS[name].slope, SLOPES[name], x, isa, dtype) <= (14 if name == "erf" else 4)


COMPARING = ("thresholded_relu", "larger_number", "smaller_number")
"""Their slopes, and the threshold itself, compare with NaN, which is false."""


@EACH
@pytest.mark.parametrize("name", [*FUNCTIONS, *WHOLE])
def test_a_nan_stays_one(name, isa, dtype):
    functions = [WHOLE[name]] if name in WHOLE else [FUNCTIONS[name].value, FUNCTIONS[name].slope]
    if name in COMPARING:
        functions = functions[:1] if name != "thresholded_relu" else []
    for function in functions:
        assert np.isnan(compiled(function, isa, dtype)(whole([np.nan], dtype))).all()


@EACH
def test_gelu_at_the_ends(isa, dtype):
    x = whole([-np.inf, -ENDS[dtype][1], ENDS[dtype][1], np.inf, 0.0, ENDS[dtype][0]], dtype)
    tiny = 1e-33 if dtype == "float32" else 1e-300
    for name in ("gelu", "tanh_gelu"):
        value, slope = (compiled(function, isa, dtype)(x)[:6] for function in FUNCTIONS[name][1:])
        assert np.allclose(value[:2], 0, atol=tiny)
        assert np.array_equal(value[2:5], x[2:5])
        assert np.allclose(slope[:2], 0, atol=tiny)
        assert np.allclose(slope[2:], [1, 1, 0.5, 0.5], rtol=1e-6)


@EACH
def test_whole_numbers(isa, dtype):
    large = 2.0 ** (23 if dtype == "float32" else 52)
    x = whole(
        [*np.linspace(-3, 3, 25), 0.0, -0.0, 0.49999997, -0.49999997, large - 0.5, large + 1, -large - 1,
         *ENDS[dtype], -ENDS[dtype][0], np.inf, -np.inf], dtype,
    )  # fmt: skip
    exacts = {"floor": np.floor, "ceil": np.ceil, "nearest": np.rint, "truncated": lambda v: np.trunc(v) + 0.0}
    for name, exact in exacts.items():
        assert compiled(WHOLE[name], isa, dtype)(x).tobytes() == exact(x).tobytes(), name
    assert np.array_equal(compiled(WHOLE["sign"], isa, dtype)(x), np.sign(x))


@EACH
def test_truths_of_nan_and_infinity(isa, dtype):
    x = whole([np.nan, np.inf, -np.inf, 0.0, -0.0, 0.3], dtype)
    want = {
        "is_nan": [1, 0, 0, 0, 0, 0], "is_infinite": [0, 1, 1, 0, 0, 0], "is_other_than_zero": [1, 1, 1, 0, 0, 1],
        "opposite": [0, 0, 0, 1, 1, 0], "equals_number": [0, 0, 0, 0, 0, 1], "above_number": [0, 1, 0, 0, 0, 0],
        "at_least_number": [0, 1, 0, 0, 0, 1], "below_number": [0, 0, 1, 1, 1, 0],
        "at_most_number": [0, 0, 1, 1, 1, 1], "number_or_number": [0.3, 0.3, 0.3, 0.4, 0.4, 0.3],
    }  # fmt: skip
    assert set(want) == set(TRUTHS)
    for name, values in want.items():
        assert np.array_equal(compiled(TRUTHS[name], isa, dtype)(x)[:6], np.array(values).astype(dtype)), name
