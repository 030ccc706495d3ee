"""Error of the matrix exponential, its derivative and its VJP over the classes of `exact.py`, beside SciPy, torch, JAX.

Every number is the largest over the draws of ||got - exact||_F / ||exact||_F in units of u max(1, condition of exp at
A); the exact values are balls of 400 bits. Run with ``python -m validation.against_mpmath.accuracy``: two minutes.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
import scipy.linalg
import torch

from lieref.group.matrix import SL, SO, Sp
from lieref.numerics.expm import expm, expm_frechet, expm_minus_identity, expm_vjp
from validation.against_mpmath.exact import exact_exp, exact_frechet, matrix_classes, relative_error, unit_roundoff
from validation.record import environment, write_result

jax.config.update("jax_enable_x64", True)
SIZES = {2: 20, 3: 20, 8: 12, 16: 4}
GOALS = {"exp": 5.0, "frechet": 5.0, "vjp": 5.0, "delta": 4.0, "structure": 20.0}
Table = dict[str, dict[str, float]]


def torch_exp(a: np.ndarray) -> np.ndarray:
    return np.asarray(torch.linalg.matrix_exp(torch.from_numpy(a[None])))[0]


def torch_vjp(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(a[None]).requires_grad_()
    torch.linalg.matrix_exp(x).backward(torch.from_numpy(g[None]))
    return np.asarray(x.grad)[0]


def jax_exp(a: np.ndarray) -> np.ndarray:
    return np.asarray(jax.scipy.linalg.expm(jnp.asarray(a)))


jax_frechet = jax.jit(lambda a, e: jax.jvp(jax.scipy.linalg.expm, (a,), (e,))[1])
jax_vjp = jax.jit(lambda a, g: jax.vjp(jax.scipy.linalg.expm, a)[1](g)[0])

# Column -> function of (A, direction or cotangent); the exact values differ by kind only.
EXP: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "lieref": expm, "scipy": scipy.linalg.expm, "torch": torch_exp, "jax": jax_exp,
}  # fmt: skip
FRECHET: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "lieref": lambda a, e: expm_frechet(a, e)[1],
    "scipy": lambda a, e: scipy.linalg.expm_frechet(a, e)[1].astype(a.dtype),
    "jax": jax_frechet,
}


def at_scale(vjp: Callable[..., Any], exponent: int) -> Callable[[np.ndarray, np.ndarray], Any]:
    """Return the VJP at the cotangent 2^exponent g, divided by the scale."""
    return lambda a, g: np.ldexp(np.asarray(vjp(a, np.ldexp(g, exponent))), -exponent)


def lieref_vjp(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    return expm_vjp(a, g)


VJP = {
    **{f"lieref 2^{k}": at_scale(lieref_vjp, k) for k in (-40, 0, 40)},
    **{f"torch 2^{k}": at_scale(torch_vjp, k) for k in (0, 16)},
    "jax 2^0": jax_vjp,
}


def condition(a: np.ndarray) -> float:
    """Return the condition number of exp at `a` in the Frobenius norm, from all n^2 directions."""
    n = len(a)
    exp_a, columns = expm_frechet(np.broadcast_to(a, (n * n, n, n)), np.eye(n * n).reshape(-1, n, n))
    return float(np.linalg.norm(columns.reshape(n * n, -1), 2) * np.linalg.norm(a) / np.linalg.norm(exp_a[0]))


def error(function: Callable[..., Any], arguments: tuple[np.ndarray, ...], exact: np.ndarray, unit: float) -> float:
    """Return the error in units of `unit`, infinity for an error raised or a result that is not finite."""
    try:
        got = np.asarray(function(*arguments))
    except (ValueError, ArithmeticError):
        return float("inf")
    return relative_error(got, exact) / unit if np.isfinite(got).all() else float("inf")


def accuracy(dtype: type, draws: float) -> dict[str, Table]:
    """Return kind -> class -> column -> largest error."""
    tables: dict[str, Table] = {kind: defaultdict(lambda: defaultdict(float)) for kind in ("exp", "frechet", "vjp")}
    # Where the result, or the VJP at 2^-40 or 2^40, leaves the normal numbers of the dtype there is nothing to measure.
    smallest, largest = float(np.finfo(dtype).tiny) * 2.0**66, float(np.finfo(dtype).max) * 2.0**-46
    rng = np.random.default_rng(20240601)
    for n, count in SIZES.items():
        for _ in range(max(1, round(count * draws))):
            for name, a in matrix_classes(rng, n):
                a, e = a.astype(dtype), rng.standard_normal((n, n)).astype(dtype)
                exact, exact_l = exact_frechet(a, e)
                sizes = [max(abs(float(x.mid())) for x in part.flat) for part in (exact, exact_l)]
                if min(sizes) < smallest or max(sizes) > largest:
                    continue
                unit = unit_roundoff(dtype) * max(1.0, condition(a.astype(np.float64)))
                exact_vjp = exact_frechet(a.T, e)[1]
                for kind, columns, arguments, wanted in (
                    ("exp", EXP, (a,), exact),
                    ("frechet", FRECHET, (a, e), exact_l),
                    ("vjp", VJP, (a, e), exact_vjp),
                ):
                    for column, function in columns.items():
                        worst = max(tables[kind][name][column], error(function, arguments, wanted, unit))
                        tables[kind][name][column] = worst
    return tables


def delta_forms(dtype: type) -> Table:
    """Return norm -> column -> largest error of exp(A) - I in u, without the condition number."""
    table: Table = defaultdict(lambda: defaultdict(float))
    rng = np.random.default_rng(7)
    for n in (2, 3, 8, 16):
        for norm in (2.0**-40, 1e-6, 1e-3, 0.1, 0.5, 1.0):
            for _ in range(4):
                a = rng.standard_normal((n, n))
                a = (a * norm / np.abs(a).sum(axis=0).max()).astype(dtype)
                exact = exact_exp(a) - np.eye(n).astype(object)
                for column, function in (
                    ("lieref", expm_minus_identity),
                    ("scipy expm - I", lambda a: scipy.linalg.expm(a) - np.eye(len(a), dtype=a.dtype)),
                ):
                    worst = error(function, (a,), exact, unit_roundoff(dtype))
                    table[f"norm {norm:.0e}"][column] = max(table[f"norm {norm:.0e}"][column], worst)
    return table


def structure(dtype: type) -> Table:
    """Return group -> column -> largest residual over u sqrt(n) for 1-norms up to 1."""
    table: Table = defaultdict(lambda: defaultdict(float))
    rng = np.random.default_rng(11)
    for cls in (SO, SL, Sp):
        for n in (2, 4, 8, 16, 32, 64):
            for norm in (1e-3, 0.3, 1.0):
                group = cls(n)
                xi = group.algebra.random(rng)
                xi = (xi * norm / np.abs(xi).sum(axis=0).max()).astype(dtype)
                for column, function in (("lieref", group.exp), ("scipy", scipy.linalg.expm), ("torch", torch_exp)):
                    g = function(xi).astype(np.float64)
                    miss = np.abs(np.linalg.slogdet(g)[1]) if cls is SL else np.linalg.norm(group.defect(g), 2)
                    scaled = float(miss / (unit_roundoff(dtype) * np.sqrt(n)))
                    table[cls.__name__][column] = max(table[cls.__name__][column], scaled)
    return table


def show(title: str, table: Table) -> None:
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    print(f"\n{title}\n{'':22}" + "".join(f"{column:>15}" for column in columns))
    for name, row in table.items():
        print(f"{name:22}" + "".join(f"{row[column]:15.3g}" for column in columns))


def worst_of(table: Table) -> float:
    return max(value for row in table.values() for column, value in row.items() if column.startswith("lieref"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=float, default=1.0, help="fraction of the draws to do")
    draws = parser.parse_args().draws
    result: dict[str, Any] = {"unit": "u max(1, condition), delta: u, structure: u sqrt(n)", "goals": GOALS}
    with np.errstate(all="ignore"):
        for dtype in (np.float64, np.float32):
            tables = {**accuracy(dtype, draws), "delta": delta_forms(dtype), "structure": structure(dtype)}
            name = np.dtype(dtype).name
            worst = {kind: worst_of(table) for kind, table in tables.items()}
            for kind, table in tables.items():
                show(f"{name} {kind}: goal {GOALS[kind]:g}, lieref at most {worst[kind]:.2f}", table)
            # JSON has no infinity: a column that failed or overflowed is null.
            result[name] = {
                kind: {
                    row: {c: v if np.isfinite(v) else None for c, v in cells.items()} for row, cells in table.items()
                }
                for kind, table in tables.items()
            }
            result[f"{name} worst of lieref"] = {kind: v if np.isfinite(v) else None for kind, v in worst.items()}
            result[f"{name} meets the goals"] = all(worst[kind] <= goal for kind, goal in GOALS.items())
    write_result("expm_accuracy", {**result, **environment()})


if __name__ == "__main__":
    main()
