"""Does the reference ever leave its own certificate? Random inputs against exact rationals and 400-bit balls.

    python -m validation.against_flint.certificates [--count 10000]

Writes validation/results/certificates.json and exits with status 1 if any entry lies outside its certificate.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import flint
import numpy as np

from lieref.numerics import certified_conv, certified_exp
from lieref.numerics.certified_array import certify
from lieref.numerics.certified_conv import ConvGeometry
from lieref.rng import stream
from validation.against_flint import exact

RESULTS = Path(__file__).parents[1] / "results" / "certificates.json"


def data(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers of one of four kinds: generic, wide range, cancelling pairs, with zeros; in float32 or float64."""
    values = rng.standard_normal(shape)
    kind = rng.integers(4)
    if kind == 1:
        values = np.ldexp(values, rng.integers(-40, 41, shape))
    elif kind == 2:
        flat = values.reshape(-1)
        half = flat.size // 2
        flat[half : 2 * half] = -flat[:half] * (1 + 2.0**-30)
    elif kind == 3:
        values *= rng.random(shape) < 0.5
    dtype = np.float32 if rng.integers(2) else np.float64
    return values.astype(dtype).astype(np.float64)


def random_geometry(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...], ConvGeometry]:
    """Return (x shape, weight shape, geometry) of a small convolution with a non-empty output."""
    rank = int(rng.integers(1, 4))
    groups = int(rng.integers(1, 4))
    kernel = rng.integers(1, 4, rank)
    dilations = rng.integers(1, 3, rank)
    spatial = dilations * (kernel - 1) + rng.integers(1, 5 - rank + 1, rank)
    geometry = ConvGeometry(
        tuple(map(int, rng.integers(1, 4, rank))),
        tuple(map(int, rng.integers(0, 3, 2 * rank))),
        tuple(map(int, dilations)),
        groups,
    )
    x_shape = (int(rng.integers(1, 3)), groups * int(rng.integers(1, 3)), *map(int, spatial))
    weight_shape = (groups * int(rng.integers(1, 3)), x_shape[1] // groups, *map(int, kernel))
    return x_shape, weight_shape, geometry


def conv_misses(number: int) -> int:
    """Return the entries of one random convolution and its gradients outside their certificates."""
    rng = stream(0, "certificates", "conv", number)
    x_shape, weight_shape, geometry = random_geometry(rng)
    x, weight = data(rng, x_shape), data(rng, weight_shape)
    y_bar = data(rng, geometry.output_shape(x_shape, weight_shape))
    certified = (
        certified_conv.conv(x, weight, None, geometry),
        *certified_conv.conv_vjp(x, weight, y_bar, geometry)[:2],
    )
    truth = exact.conv(
        *map(exact.rational, (x, weight, y_bar)), geometry.strides, geometry.pads, geometry.dilations, geometry.groups
    )
    return sum(exact.misses(a, b) for a, b in zip(certified, truth, strict=True))


def random_matrix(rng: np.random.Generator) -> np.ndarray:
    """Return a matrix of size 1 to 6 and norm 2**-20 to 16 of one of five structures."""
    n = int(rng.integers(1, 7))
    a = rng.standard_normal((n, n))
    structure = rng.integers(5)
    if structure == 1:
        a = a - a.T
    elif structure == 2:
        a = np.triu(a, 1)
    elif structure == 3:
        a *= rng.random((n, n)) < 0.4
    elif structure == 4:
        a = np.abs(a)
    norm = certified_exp.norm1(a)
    return a * (2.0 ** rng.uniform(-20, 4) / norm) if norm else a


def exp_misses(number: int) -> int:
    """Return the entries of one random exponential, its Delta form and its derivative outside their certificates."""
    rng = stream(0, "certificates", "exp", number)
    a = random_matrix(rng)
    e = np.ldexp(rng.standard_normal(a.shape), int(rng.integers(-20, 21)))
    balls = exact.expm(a)
    minus_identity = [[v - int(i == j) for j, v in enumerate(row)] for i, row in enumerate(balls)]
    d = rng.uniform(-30, 30, (1, 8)) * 2.0 ** rng.integers(-30, 1)
    scalars = [[flint.arb(float(v)).exp() for v in d[0]]]
    return (
        exact.outside(certified_exp.expm(a), balls)
        + exact.outside(certified_exp.expm_minus_identity(a), minus_identity)
        + exact.outside(certified_exp.expm_frechet(a, e), exact.expm_frechet(a, e))
        + exact.outside(certified_exp.exp(certify(d)), scalars)
        + exact.outside(certified_exp.expm1(certify(d)), [[flint.arb(float(v)).expm1() for v in d[0]]])
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="inputs of each kind")
    count = parser.parse_args().count
    report: dict[str, Any] = {
        "seed": 0,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "python-flint": flint.__version__,
        "cpu": platform.processor() or platform.machine(),
    }
    for name, misses in (("conv", conv_misses), ("exp", exp_misses)):
        start = time.perf_counter()
        report[name] = {"inputs": count, "entries_outside": sum(map(misses, range(count)))}
        print(f"{name}: {report[name]} in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    return int(any(report[name]["entries_outside"] for name in ("conv", "exp")))


if __name__ == "__main__":
    sys.exit(main())
