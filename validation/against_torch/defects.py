"""Known defects of the usual oracles for the matrix exponential, and others, on the installed versions.

    python -m validation.against_torch.defects

Each experiment gives a library inputs, judges the result with the profile of plain arithmetic in its dtype, and repeats
with a control that should pass: the same code on inputs where the defect cannot show. Writes
validation/results/defects.json.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lieref.conformance.case import Case
from lieref.conformance.truth import truth
from lieref.conformance.verdict import judge
from validation.record import environment, write_result

UNIT = {"f32": 2.0**-24, "f64": 2.0**-53}

Inputs = dict[str, np.ndarray]
Function = Callable[[Inputs], Any]


@dataclass
class Experiment:
    library: str
    name: str
    trigger: str
    op: str
    dtype: str
    inputs: Inputs
    function: Function
    control: Inputs
    control_function: Function
    control_trigger: str
    seen: str


def measure(op: str, dtype: str, inputs: Inputs, function: Function) -> tuple[str, float]:
    """Return (verdict, normwise error in units u) of a function."""
    kind = np.float32 if dtype == "f32" else np.float64
    inputs = {name: np.asarray(value, kind) for name, value in inputs.items()}
    expected = truth(op, inputs, {})
    name, e = next(iter(expected.items()))
    actual = np.asarray(function(inputs))
    verdict = judge(Case("defect_f32/1", op, dtype, inputs, {}, expected), {name: actual})
    error = np.linalg.norm(actual.astype(np.float64) - e.hi) / np.linalg.norm(e.hi) / UNIT[dtype]
    return verdict.status, float(error)


def scaled(a: np.ndarray, norm: float) -> np.ndarray:
    return a * (norm / np.abs(a).sum(axis=0).max())


def torch_experiments(rng: np.random.Generator) -> Iterator[Experiment]:
    import torch

    def exp(x: Inputs) -> Any:
        return torch.linalg.matrix_exp(torch.from_numpy(x["a"])).numpy()

    def repeated(x: Inputs) -> Any:
        return torch.linalg.matrix_exp(torch.from_numpy(np.stack([x["a"], x["a"]]))).numpy()[0]

    def gradient(x: Inputs) -> Any:
        a = torch.from_numpy(x["a"]).requires_grad_()
        torch.linalg.matrix_exp(a).backward(torch.from_numpy(x["g_bar"]))
        return a.grad.numpy()

    a, g = rng.standard_normal((3, 3)), rng.standard_normal((3, 3))
    for dtype, norm in (("f64", 0.0485), ("f32", 0.55)):
        x = {"a": scaled(np.abs(a), norm)}
        yield Experiment(
            "torch", "batch-of-one exp", f"one matrix, norm {norm}", "expm", dtype, x, exp, x, repeated,
            "the same matrix twice in a batch", "pytorch#196592: a wrong coefficient of the degree-8 polynomial",
        )  # fmt: skip
    for dtype in ("f32", "f64"):
        x = {"a": scaled(a, 1.0), "g_bar": g * 2.0**16}
        yield Experiment(
            "torch", "backward at large cotangents", "gradient times 2**16", "expm_vjp", dtype, x, gradient,
            {"a": scaled(a, 1.0), "g_bar": g / 4}, gradient, "gradient of size 1", "an unscaled block matrix",
        )  # fmt: skip


def jax_experiments(rng: np.random.Generator) -> Iterator[Experiment]:
    import jax

    jax.config.update("jax_enable_x64", True)

    def exp(x: Inputs) -> Any:
        return np.asarray(jax.scipy.linalg.expm(x["a"]))

    rotation = np.array([[0.0, -1.0], [1.0, 0.0]])
    for dtype, above, below in (("f32", 7.8, 3.8), ("f64", 10.7, 5.3)):
        yield Experiment(
            "jax", "floor instead of ceil in the number of squarings", f"rotation by {above}", "expm", dtype,
            {"a": above * rotation}, exp, {"a": below * rotation}, exp, f"rotation by {below}",
            "the last approximant is used up to twice its range",
        )  # fmt: skip

    def product(x: Inputs) -> Any:
        return np.asarray(jax.numpy.multiply(x["base_weight"], jax.numpy.exp(x["delta"])))

    small = {"base_weight": np.full((3, 4), 1e-36), "delta": np.full((3, 4), -8.0)}
    normal = {"base_weight": np.full((3, 4), 1e-30), "delta": np.full((3, 4), -8.0)}
    yield Experiment(
        "jax", "subnormal numbers flushed to zero", "results of size 3e-40", "hadamard", "f32", small, product, normal,
        product, "results of size 3e-34", "XLA runs with flush-to-zero on",
    )  # fmt: skip


def scipy_experiments(rng: np.random.Generator) -> Iterator[Experiment]:
    import scipy.linalg

    def exp(x: Inputs) -> Any:
        return scipy.linalg.expm(x["a"])

    def by_frechet(x: Inputs) -> Any:
        return scipy.linalg.expm_frechet(x["a"], 0.0 * x["a"])[0]

    for seed in (1, 2):
        x = {"a": scaled(np.random.default_rng(seed).standard_normal((3, 3)), 50.0)}
        yield Experiment(
            "scipy", "scaling from the norm of the transpose", f"norm 50, draw {seed}", "expm", "f64", x, exp, x,
            by_frechet, "expm_frechet on the same matrix", "scipy#25864",
        )  # fmt: skip


def report() -> dict[str, Any]:
    """Run every experiment whose library is installed."""
    rows, versions = [], {}
    for library, experiments in (("torch", torch_experiments), ("jax", jax_experiments), ("scipy", scipy_experiments)):
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            print(f"{library} is not installed: skipped", file=sys.stderr)
            continue
        for e in experiments(np.random.default_rng(5)):
            verdict, error = measure(e.op, e.dtype, e.inputs, e.function)
            control, control_error = measure(e.op, e.dtype, e.control, e.control_function)
            rows.append(
                {
                    "library": library, "defect": e.name, "trigger": e.trigger, "op": e.op, "dtype": e.dtype,
                    "present": verdict == "FAIL", "error_in_u": float(f"{error:.3g}"), "cause": e.seen,
                    "control": e.control_trigger, "control_passes": control == "PASS",
                    "control_error_in_u": float(f"{control_error:.3g}"),
                }
            )  # fmt: skip
    return {"versions": versions, "defects": rows}


def main() -> None:
    found = report()
    write_result("defects", {**environment(), "oracles": found["versions"], "defects": found["defects"]})
    for row in found["defects"]:
        state = "PRESENT" if row["present"] else "absent"
        control = "passes" if row["control_passes"] else "FAILS"
        what = f"{row['defect']}, {row['trigger']}"
        print(f"{row['library']:6} {row['dtype']} {state:8} {row['error_in_u']:>9.3g} u  {what}")
        print(f"{'control':>24} {control} at {row['control_error_in_u']:.3g} u: {row['control']}")


if __name__ == "__main__":
    main()
