"""Seeded faults: does a policy for comparing outputs find them, and does it leave correct variants alone?

Convolution: 14 faults on 10 kinds of data at 3 scales, 15 correct variants of each kind of data. Matrix exponential: 22
faults on matrices of the size of adapters. The policies are the verdict of this package beside `assert_close`,
`np.allclose` and ONNX's tolerance, which compare with the correctly rounded result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lieref.conformance.case import Case
from lieref.conformance.truth import truth
from lieref.conformance.verdict import FAIL, judge
from tests.conformance.ports import bfloat16, rounded, tf32

Arrays = dict[str, np.ndarray]
F32 = np.float32
SCALES = (1.0, 1e-3, 1e-6)


def _close(rtol: float, atol: float) -> Callable[[Case, Arrays], bool]:
    def finds(case: Case, outputs: Arrays) -> bool:
        for name, e in case.expected.items():
            expected = e.hi.astype(F32).astype(np.float64)
            actual = outputs[name].astype(np.float64)
            if not (np.abs(actual - expected) <= atol + rtol * np.abs(expected)).all():
                return True
        return False

    return finds


POLICIES: dict[str, Callable[[Case, Arrays], bool]] = {
    "lieref": lambda case, outputs: judge(case, outputs).status == FAIL,
    "assert_close": _close(1.3e-6, 1e-5),
    "np.allclose": _close(1e-5, 1e-8),
    "onnx": _close(1e-3, 1e-7),
}

# --- convolution -----------------------------------------------------------------------------------------------------

X, W, KERNEL, STRIDES, PADS, GROUPS = (2, 16, 7, 9), (6, 8, 3, 3), (3, 3), (2, 1), (1, 0, 2, 1), 2
ATTRS = {"strides": list(STRIDES), "pads": list(PADS), "dilations": [1, 1], "groups": GROUPS}
Y = (2, 6, 4, 8)
KINDS = ("normal", "positive", "integer", "wide", "cancelling", "trap", "sparse", "spikes", "ramp", "sum of many")


def conv_data(kind: str, scale: float) -> Arrays:
    """Return x, weight, bias and y_bar of one kind; the data, not the weights, carry the scale."""
    rng = np.random.default_rng(KINDS.index(kind))
    x, w, b, y = (rng.standard_normal(s) for s in (X, W, (W[0],), Y))
    if kind == "positive":
        x, w, y = (np.abs(v) + 0.5 for v in (x, w, y))
    elif kind == "integer":
        x, w, b, y = (np.rint(4 * v) for v in (x, w, b, y))
    elif kind == "wide":
        x, w, y = (np.ldexp(v, rng.integers(-10, 11, v.shape)) for v in (x, w, y))
    elif kind == "cancelling":
        x[:, 1::2] = x[:, ::2]
        w[:, 1::2] = -w[:, ::2] * (1 + 2.0**-6)
    elif kind == "trap":
        x, w, y = (np.sign(v) * (1 + (2 * rng.integers(0, 2**11, v.shape) + 1) * 2.0**-13) for v in (x, w, y))
    elif kind == "sparse":
        x, w, y = (v * (rng.random(v.shape) < 0.5) for v in (x, w, y))
    elif kind == "spikes":
        x[rng.random(X) < 0.02] *= 100
    elif kind == "ramp":
        x = np.linspace(-1, 2, x.size).reshape(X) + 0.01 * x
    elif kind == "sum of many":
        x, y = x + 3.0, y + 3.0
    arrays = {"x": x * scale, "weight": w, "bias": b * scale, "y_bar": y * scale}
    return {name: value.astype(F32) for name, value in arrays.items()}


def columns(x: np.ndarray, mode: str = "constant") -> np.ndarray:
    """Return the windows (N, groups, K, P) of a padded input."""
    padded = np.pad(x, ((0, 0), (0, 0), (PADS[0], PADS[2]), (PADS[1], PADS[3])), mode=mode)  # type: ignore[call-overload]
    windows = np.lib.stride_tricks.sliding_window_view(padded, KERNEL, axis=(2, 3))[:, :, :: STRIDES[0], :: STRIDES[1]]
    n, c = x.shape[:2]
    return windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, GROUPS, c // GROUPS * 9, -1)


def rows(w: np.ndarray) -> np.ndarray:
    return w.reshape(GROUPS, W[0] // GROUPS, -1)


def forward(x: np.ndarray, w: np.ndarray, b: np.ndarray, cols: np.ndarray | None = None) -> np.ndarray:
    return (rows(w) @ (columns(x) if cols is None else cols)).reshape(Y) + b[:, None, None]


def scatter(cols: np.ndarray) -> np.ndarray:
    """Return the adjoint of `columns`."""
    n = X[0]
    padded = np.zeros((n, X[1], X[2] + PADS[0] + PADS[2], X[3] + PADS[1] + PADS[3]), cols.dtype)
    patches = cols.reshape(n, X[1], 3, 3, Y[2], Y[3])
    for i in range(3):
        for j in range(3):
            padded[:, :, i : i + 2 * Y[2] : 2, j : j + Y[3]] += patches[:, :, i, j]
    return padded[:, :, PADS[0] : PADS[0] + X[2], PADS[1] : PADS[1] + X[3]]


def backward(x: np.ndarray, w: np.ndarray, y_bar: np.ndarray) -> Arrays:
    g = y_bar.reshape(X[0], GROUPS, W[0] // GROUPS, -1)
    weight_bar = (g @ columns(x).transpose(0, 1, 3, 2)).sum(axis=0).reshape(W)
    return {
        "x_bar": scatter(rows(w).transpose(0, 2, 1) @ g),
        "weight_bar": weight_bar,
        "bias_bar": y_bar.sum(axis=(0, 2, 3)),
    }


def truncated_sum(terms: np.ndarray) -> np.ndarray:
    """Return float32 sums over the last axis that round every partial sum towards zero."""
    total = np.zeros(terms.shape[:-1])
    for k in range(terms.shape[-1]):
        total = total + terms[..., k]
        single = total.astype(F32)
        over = np.abs(single) > np.abs(total)
        total = np.where(over, np.nextafter(single, F32(0)), single).astype(np.float64)
    return total


def half_sum(terms: np.ndarray, chunk: int = 8) -> np.ndarray:
    """Return sums whose partial sums are kept in bfloat16 every `chunk` terms."""
    total = np.zeros(terms.shape[:-1], F32)
    for k in range(0, terms.shape[-1], chunk):
        total = bfloat16(total + terms[..., k : k + chunk].sum(axis=-1).astype(F32))
    return total


def products(d: Arrays) -> np.ndarray:
    """Return all products of the forward sums (N, groups, outs, P, K) in float64, exact."""
    cols = columns(d["x"].astype(np.float64))[:, :, None].transpose(0, 1, 2, 4, 3)
    return rows(d["weight"].astype(np.float64))[None, :, :, None, :] * cols


def _with_bias(sums: np.ndarray, d: Arrays) -> np.ndarray:
    return (sums.reshape(Y) + d["bias"].astype(np.float64)[:, None, None]).astype(F32)


def conv_faults() -> dict[str, tuple[str, Callable[[Arrays], Any]]]:
    """Return fault -> (operation, outputs)."""

    def y(change: Callable[[Arrays], np.ndarray]) -> tuple[str, Callable[[Arrays], Any]]:
        return "conv", lambda d: {"y": change(d).astype(F32)}

    def grads(change: Callable[[Arrays, Arrays], None]) -> tuple[str, Callable[[Arrays], Any]]:
        def run(d: Arrays) -> Arrays:
            bars = backward(d["x"], d["weight"], d["y_bar"])
            change(bars, d)
            return {name: value.astype(F32) for name, value in bars.items()}

        return "conv_vjp", run

    def one_weight(d: Arrays) -> np.ndarray:
        w = d["weight"].astype(np.float64)
        w[0, 0, 1, 1] *= 1 + 3e-6
        return forward(d["x"].astype(np.float64), w, d["bias"].astype(np.float64))

    def stale(d: Arrays) -> np.ndarray:
        out = forward(d["x"], d["weight"], d["bias"])
        out[1, 2, 3, 5] = out[1, 2, 3, 4]
        return out

    def without_last_channel(d: Arrays) -> np.ndarray:
        x = d["x"].copy()
        x[:, -1] = 0
        return forward(x, d["weight"], d["bias"])

    def crossed(d: Arrays) -> np.ndarray:
        x = d["x"].copy()
        x[:, [7, 8]] = x[:, [8, 7]]
        return forward(x, d["weight"], d["bias"])

    def swapped_pads(d: Arrays) -> np.ndarray:
        x = np.roll(d["x"], 1, axis=2)
        x[:, :, 0] = 0
        return forward(x, d["weight"], d["bias"])

    def untouched_row(bars: Arrays, d: Arrays) -> None:
        bars["x_bar"][:, :, 0] += bars["x_bar"][:, :, 1] * F32(2.0**-10)

    def lost_sample(bars: Arrays, d: Arrays) -> None:
        bars["weight_bar"][...] = backward(d["x"][:1].repeat(2, 0), d["weight"], d["y_bar"])["weight_bar"]

    def rounded_gradient(bars: Arrays, d: Arrays) -> None:
        bars["x_bar"][...] = backward(d["x"], tf32(d["weight"]), tf32(d["y_bar"]))["x_bar"]

    return {
        "flipped kernel": y(lambda d: forward(d["x"], d["weight"][:, :, ::-1, ::-1], d["bias"])),
        "pads swapped": y(swapped_pads),
        "last channel dropped": y(without_last_channel),
        "groups crossed": y(crossed),
        "bias missing": y(lambda d: forward(d["x"], d["weight"], 0 * d["bias"])),
        "edge repeated instead of zero": y(lambda d: forward(d["x"], d["weight"], d["bias"], columns(d["x"], "edge"))),
        "TF32 inputs": y(lambda d: forward(tf32(d["x"]), tf32(d["weight"]), d["bias"])),
        "bfloat16 result": y(lambda d: bfloat16(forward(d["x"], d["weight"], d["bias"]))),
        "bfloat16 partial sums": y(lambda d: _with_bias(half_sum(products(d)), d)),
        "one weight off by 3e-6": y(one_weight),
        "one stale element": y(stale),
        "gradient of the border row": grads(untouched_row),
        "weight gradient of one sample": grads(lost_sample),
        "TF32 in the input gradient": grads(rounded_gradient),
    }


def conv_case(op: str, d: Arrays, kind: str) -> Case:
    inputs = {name: d[name] for name in (("x", "weight", "bias") if op == "conv" else ("x", "weight", "y_bar"))}
    zero_mean = kind in ("normal", "wide", "sparse")
    return Case("fault_f32/1", op, "f32", inputs, ATTRS, truth(op, inputs, ATTRS), zero_mean=zero_mean)


def conv_cases(scale: float) -> Iterator[tuple[str, Arrays, dict[str, Case]]]:
    for kind in KINDS:
        d = conv_data(kind, scale)
        yield kind, d, {op: conv_case(op, d, kind) for op in ("conv", "conv_vjp")}


def conv_score(scale: float) -> tuple[dict[str, int], list[str]]:
    """Return the number of faults of 140 that each policy finds, and those the verdict misses."""
    found, missed = dict.fromkeys(POLICIES, 0), []
    faults = conv_faults()
    assert len(faults) == 14
    for kind, d, cases in conv_cases(scale):
        for name, (op, run) in faults.items():
            outputs = run(d)
            for policy, finds in POLICIES.items():
                hit = finds(cases[op], outputs)
                found[policy] += hit
                if policy == "lieref" and not hit:
                    missed.append(f"{name}, {kind}")
    return found, missed


SUBTLE: dict[str, Callable[[Arrays], np.ndarray]] = {
    "operands of 18 bits": lambda d: forward(rounded(d["x"], 6), rounded(d["weight"], 6), d["bias"]),
    "truncated sums": lambda d: _with_bias(truncated_sum(products(d)), d),
}
"""Faults whose every error lies inside the bound: only the mean square and the mean show them."""


def subtle_score(scale: float) -> dict[str, int]:
    """Return, for each subtle fault, on how many kinds of data of 10 the verdict finds it."""
    found = dict.fromkeys(SUBTLE, 0)
    for _, d, cases in conv_cases(scale):
        for name, run in SUBTLE.items():
            found[name] += POLICIES["lieref"](cases["conv"], {"y": run(d).astype(F32)})
    return found


def correct_variants(d: Arrays) -> Iterator[tuple[str, Arrays]]:
    """Yield fifteen honest float32 results: other orders, blocks, groupings and roundings of the sums."""
    rng = np.random.default_rng(0)
    cols, w, bias = columns(d["x"]), rows(d["weight"]), d["bias"][:, None, None]
    k = cols.shape[2]
    for _ in range(4):
        order = rng.permutation(k)
        yield "conv", {"y": (w[:, :, order] @ cols[:, :, order]).reshape(Y) + bias}
    for blocks in (2, 3, 9):
        parts = [w[:, :, i::blocks] @ cols[:, :, i::blocks] for i in range(blocks)]
        yield "conv", {"y": sum(parts[1:], parts[0]).reshape(Y) + bias}
    terms = products(d)
    for order in (np.arange(k), np.arange(k)[::-1], rng.permutation(k)):
        yield "conv", {"y": np.add.accumulate(terms[..., order].astype(F32), axis=-1)[..., -1].reshape(Y) + bias}
        fused = np.zeros(terms.shape[:-1], F32)
        for i in order:
            fused = (fused + terms[..., i]).astype(F32)
        yield "conv", {"y": fused.reshape(Y) + bias}
    yield "conv_vjp", backward(d["x"], d["weight"], d["y_bar"])
    double = backward(*(d[name].astype(np.float64) for name in ("x", "weight", "y_bar")))
    yield "conv_vjp", {name: value.astype(F32) for name, value in double.items()}


def false_alarms() -> tuple[dict[str, int], int]:
    """Return how many correct variants each policy rejects, and how many there are."""
    alarms, total = dict.fromkeys(POLICIES, 0), 0
    for _, d, cases in conv_cases(1.0):
        for op, outputs in correct_variants(d):
            assert all(value.dtype == F32 for value in outputs.values())
            total += 1
            for policy, finds in POLICIES.items():
                alarms[policy] += finds(cases[op], outputs)
    return alarms, total


# --- matrix exponential ----------------------------------------------------------------------------------------------


def series(a: np.ndarray, coefficients: Any) -> np.ndarray:
    """Return sum of c_k A^k in float64."""
    power, total = np.eye(len(a)), np.zeros_like(a)
    for c in coefficients:
        total, power = total + c * power, power @ a
    return total


def taylor(a: np.ndarray, degree: int = 18, **changed: float) -> np.ndarray:
    """Return the series of exp up to a degree; keywords such as ``c8`` multiply a coefficient."""
    factorial = np.cumprod([1.0, *range(1, degree + 1)])
    factors = [changed.get(f"c{k}", 1.0) for k in range(degree + 1)]
    return series(a, [f / q for f, q in zip(factors, factorial, strict=True)])


def frechet(exp: Callable[[np.ndarray], np.ndarray], a: np.ndarray, e: np.ndarray) -> np.ndarray:
    n = len(a)
    return exp(np.block([[a, e], [np.zeros((n, n)), a]]))[:n, n:]


def rounded_products(a: np.ndarray, convert: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return a float32 Taylor series whose matrix products have converted operands."""
    a = a.astype(F32)
    term = total = np.eye(len(a), dtype=F32)
    for k in range(1, 13):
        term = convert(term) @ convert(a) / F32(k)
        total = total + term
    return total


def exp_faults() -> dict[str, tuple[str, Callable[..., np.ndarray]]]:
    """Return fault -> (operation, result of a, or of a and g); wrong in the formula or the arithmetic."""
    eye = np.eye

    def cayley(a: np.ndarray) -> np.ndarray:
        return np.linalg.solve(eye(len(a)) - a / 2, eye(len(a)) + a / 2)

    def adjoint(exp: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
        return lambda a, g: frechet(exp, a.T, g)

    def unscaled_block(a: np.ndarray, g: np.ndarray) -> np.ndarray:
        n = len(a)
        block = np.block([[a.T, g * 2.0**16], [np.zeros((n, n)), a.T]])
        return (rounded_products(block, lambda m: m)[:n, n:] + block[:n, n:] * F32(3e-6)) / F32(2.0**16)

    return {
        "degree 1": ("expm", lambda a: taylor(a, 1)),
        "degree 2": ("expm", lambda a: taylor(a, 2)),
        "degree 3": ("expm", lambda a: taylor(a, 3)),
        "degree 4": ("expm", lambda a: taylor(a, 4)),
        "Cayley": ("expm", cayley),
        "transposed": ("expm", lambda a: taylor(a.T)),
        "one squaring too few": ("expm", lambda a: taylor(a / 2)),
        "identity missing": ("expm", lambda a: taylor(a) - eye(len(a))),
        "second coefficient wrong": ("expm", lambda a: taylor(a, c2=1.01)),
        "third coefficient wrong": ("expm", lambda a: taylor(a, c3=0.5)),
        "TF32 products": ("expm", lambda a: rounded_products(a, tf32)),
        "bfloat16 products": ("expm", lambda a: rounded_products(a, bfloat16)),
        "gradient not transposed": ("expm_vjp", lambda a, g: frechet(taylor, a, g)),
        "gradient of first order": ("expm_vjp", lambda a, g: g),
        "gradient of degree 2": ("expm_vjp", adjoint(lambda a: taylor(a, 2))),
        "gradient of degree 3": ("expm_vjp", adjoint(lambda a: taylor(a, 3))),
        "gradient exp(A)^T G": ("expm_vjp", lambda a, g: taylor(a).T @ g),
        "gradient G exp(A)^T": ("expm_vjp", lambda a, g: g @ taylor(a).T),
        "gradient symmetrised": ("expm_vjp", lambda a, g: (taylor(a).T @ g + g @ taylor(a).T) / 2),
        "gradient of Cayley": ("expm_vjp", adjoint(cayley)),
        "gradient with TF32 products": ("expm_vjp", adjoint(lambda a: rounded_products(a, tf32))),
        "gradient of an unscaled block": ("expm_vjp", unscaled_block),
    }


def matrix_cases(norm: float) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, Case]]]:
    for n in (3, 8):
        for seed in range(3):
            rng = np.random.default_rng(seed)
            a, g = rng.standard_normal((n, n)), rng.standard_normal((n, n)).astype(F32)
            a = (a * (norm / np.abs(a).sum(axis=0).max())).astype(F32)
            inputs = {"expm": {"a": a}, "expm_vjp": {"a": a, "g_bar": g}}
            cases = {op: Case("fault_f32/1", op, "f32", x, {}, truth(op, x, {})) for op, x in inputs.items()}
            yield a.astype(np.float64), g.astype(np.float64), cases


def _named(case: Case, value: np.ndarray) -> Arrays:
    return {next(iter(case.expected)): value.astype(F32)}


def exp_score(norm: float) -> tuple[dict[str, int], dict[str, int], int, int]:
    """Return faults found, false alarms on a float32 series and its rounding, numbers of faults and of variants."""
    found, alarms, faulty, correct = dict.fromkeys(POLICIES, 0), dict.fromkeys(POLICIES, 0), 0, 0
    faults = exp_faults()
    assert len(faults) == 22
    for a, g, cases in matrix_cases(norm):
        for op, run in faults.values():
            outputs = _named(cases[op], run(a) if op == "expm" else run(a, g))
            faulty += 1
            for policy, finds in POLICIES.items():
                found[policy] += finds(cases[op], outputs)
        right = {
            "expm": (taylor(a), rounded_products(a, lambda m: m)),
            "expm_vjp": (frechet(taylor, a.T, g), frechet(lambda m: rounded_products(m, lambda v: v), a.T, g)),
        }
        for op, values in right.items():
            for value in values:
                correct += 1
                for policy, finds in POLICIES.items():
                    alarms[policy] += finds(cases[op], _named(cases[op], value))
    return found, alarms, faulty, correct
