"""Functions of one number as compiled vector code: the exponential, the hyperbolic tangent, the activations."""

from __future__ import annotations

import ctypes

import mpmath
import numpy as np
import pytest
from llvmlite import binding as llvm
from llvmlite import ir

from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.elementary import _Q, exp, expm1, tanh
from lieref.kernel.simd.emit import F32, F64
from lieref.kernel.simd.logarithm import log
from lieref.kernel.simd.pointwise import ACTIVATIONS
from lieref.kernel.simd.row import CONTEXT, Fields, Kernel, float_bits
from tests.pairs import pairs

ISAS = [isa_module.ISAS[name] for name in isa_module.available()]
ALPHA, BETA = 0.3, 0.4
FIELDS = Fields("count", "out", "alpha", "beta")


def compiled(function, isa, dtype):
    """The function on arrays of whole vectors, alpha and beta as above."""
    lanes = isa.lanes(dtype)
    module = ir.Module()
    k = Kernel(module, "vector_function", dtype, FIELDS, lanes)
    arena = k.base("arena")
    with k.loop(k.field("count")) as i:
        arena.store(k.field("out") + i * lanes, function(k, arena.vector_at(i * lanes, lanes)))
    k.finish()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), isa_module.target_machine(isa))
    engine.finalize_object()
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(engine.get_function_address("vector_function"))

    def on_array(x):
        memory = np.concatenate([x, np.full_like(x, np.nan)])
        row = np.array(
            FIELDS.pack(
                address=0, count=x.size // lanes, out=x.size, alpha=float_bits(ALPHA), beta=float_bits(BETA)
            ), np.int64,
        )  # fmt: skip
        context = np.zeros(len(CONTEXT), np.int64)
        context[CONTEXT.index("arena")] = memory.ctypes.data
        call(row.ctypes.data, context.ctypes.data)
        assert engine is not None  # it must live as long as its code
        return memory[x.size :]

    return on_array


def samples(low, high, dtype):
    """Points over the range, dense around zero, and zeros."""
    near = np.concatenate([np.linspace(-1, 1, 480), np.geomspace(1e-30, 1e-2, 240), -np.geomspace(1e-30, 1e-2, 240)])
    return np.concatenate([np.linspace(low, high, 480), near, [0.0] * 16]).astype(dtype)


def exactly(function, x):
    """The function to 40 digits."""
    with mpmath.workdps(40):
        return [function(mpmath.mpf(float(v))) for v in x]


def ulps(got, want, dtype):
    """Largest distance in units in the last place."""
    spacing = np.spacing(np.array([abs(float(w)) for w in want]).astype(dtype)).astype(float)
    with mpmath.workdps(40):
        off = np.array([abs(float(mpmath.mpf(float(g)) - w)) for g, w in zip(got, want, strict=True)])
    return (off / spacing).max()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
def test_exp_is_right_to_two_ulp_over_its_range(isa, dtype):
    run = compiled(exp, isa, dtype)
    x = samples(*((-86, 88) if dtype == "float32" else (-707, 709)), dtype)
    got = run(x)
    assert ulps(got, exactly(mpmath.exp, x), dtype) <= 2
    assert np.all(got[-16:] == 1), "exp(0) is exactly 1: an adapter at its start changes no bit"
    assert np.isfinite(run(np.array([-np.inf, np.inf, -1e4, 1e4] * 4, dtype))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
def test_exp_minus_one_is_right_to_a_few_ulp(isa, dtype):
    run = compiled(expm1, isa, dtype)
    x = samples(*((-86, 88) if dtype == "float32" else (-707, 709)), dtype)
    got = run(x)
    # 2 ulp of exp(x) are up to 8 of the difference, at ln 2 / 2, and it is rounded once.
    assert ulps(got, exactly(mpmath.expm1, x), dtype) <= 9
    assert np.all(got[-16:] == 0)
    assert np.isnan(run(np.full(16, np.nan, dtype))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
def test_log_from_one_on_is_right_to_a_few_ulp(isa, dtype):
    run = compiled(log, isa, dtype)
    largest = float(np.finfo(dtype).max)
    above = 1 + np.geomspace(1e-3 if dtype == "float32" else 1e-7, 1, 480)
    x = np.concatenate([above, np.geomspace(2, largest / 2, 480), 2.0 ** np.arange(48), [1.0] * 16]).astype(dtype)
    # The sum is right to an ulp of each term, a few for the series: half an ulp for its end, and ln 2 is rounded.
    assert ulps(run(x)[:-16], exactly(mpmath.log, x)[:-16], dtype) <= 4
    assert np.all(run(x)[-16:] == 0)
    assert np.isnan(run(np.full(16, np.nan, dtype))).all()


def test_the_polynomial_of_exp_is_as_near_as_it_says():
    for kind, most in ((F32, 1.5e-8), (F64, 2.0**-53)):
        for r in np.linspace(-0.5, 0.5, 1001) * np.log(2):
            with mpmath.workdps(40):
                x = mpmath.mpf(r)
                off = x * mpmath.polyval(_Q[kind][::-1], x) / mpmath.expm1(x) - 1 if r else _Q[kind][0] - 1
            assert abs(off) <= most, r


def _sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def _softplus(x):
    return mpmath.log1p(mpmath.exp(x))


SMOOTH = {
    "softplus": (_softplus, _sigmoid),
    "sigmoid": (_sigmoid, lambda x: _sigmoid(x) * _sigmoid(-x)),
    "tanh": (mpmath.tanh, lambda x: mpmath.sech(x) ** 2),
    "elu": (
        lambda x: ALPHA * mpmath.expm1(x) if x < 0 else x, lambda x: ALPHA * mpmath.exp(x) if x <= 0 else mpmath.mpf(1),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "isa", "dtype"), pairs(SMOOTH, ISAS, ["float32", "float64"]))
def test_smooth_activations_and_slopes_are_right_to_a_few_ulp(name, isa, dtype):
    # exp is off by 2 ulp; a sum, one or two products and a division of it by half an ulp each, doubled near a power of
    # two: 2 (2 + 2) at most for a value, 2 (2 + 2 * 2 + 3 / 2) for a slope, which squares 1 + e. A logarithm has the
    # same few: its series is close to one. In 0.3 (exp(x) - 1), 2 ulp of exp are at most 5, and alpha is rounded too.
    x = samples(-30, 30, dtype)
    for function, exact, most in zip(ACTIVATIONS[name], SMOOTH[name], (8, 15), strict=True):
        assert ulps(compiled(function, isa, dtype)(x), exactly(exact, x), dtype) <= most
    assert compiled(tanh, isa, dtype)(np.zeros(16, dtype)).tolist() == [0.0] * 16


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.name)
def test_silu_and_its_slope(isa, dtype):
    """The slope is a difference: near its zero at -1.28 it is as right as its two terms."""
    x = samples(-30, 30, dtype)
    value, slope = (compiled(function, isa, dtype)(x) for function in ACTIVATIONS["silu"])
    assert ulps(value, exactly(lambda v: v * _sigmoid(v), x), dtype) <= 9  # a sigmoid's, and one product
    wide = x.astype("f8")
    s, rest = (np.array([float(v) for v in exactly(_sigmoid, sign * x)]) for sign in (1, -1))
    assert np.all(np.abs(slope - s * (1 + wide * rest)) <= 8 * np.finfo(dtype).eps * s * (1 + np.abs(wide) * rest))


PIECEWISE = {
    "hard_sigmoid": (
        lambda x: np.clip(ALPHA * x + BETA, 0, 1),
        lambda x: np.where((ALPHA * x + BETA > 0) & (ALPHA * x + BETA < 1), ALPHA, 0),
    ),
    "hard_swish": (
        lambda x: x * np.clip(x / 6 + 0.5, 0, 1), lambda x: np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5)),
    ),
    "leaky_relu": (lambda x: np.where(x > 0, x, ALPHA * x), lambda x: np.where(x > 0, 1, ALPHA)),
}  # fmt: skip


@pytest.mark.parametrize(("name", "isa", "dtype"), pairs(PIECEWISE, ISAS, ["float32", "float64"]))
def test_piecewise_activations_and_slopes(name, isa, dtype):
    x = samples(-7, 7, dtype)
    wide = x.astype("f8")
    for function, exact in zip(ACTIVATIONS[name], PIECEWISE[name], strict=True):
        off = np.abs(compiled(function, isa, dtype)(x) - exact(wide))
        # Three roundings of numbers no larger than |x| / 2 + 1, and a product with x.
        assert np.all(off <= 4 * np.finfo(dtype).eps * (np.abs(wide) / 2 + 1) * (np.abs(wide) + 1))


def test_every_activation_is_tested():
    assert {*SMOOTH, *PIECEWISE, "silu"} == set(ACTIVATIONS)
