"""Does the reference ever leave its own certificate? Random inputs against exact rationals and balls.

    python -m validation.against_flint.certificates [--count 10000] [--entries 100000]

Convolutions and exponentials of usual inputs, and every primitive of the table at the ends of the range.

Writes validation/results/certificates.json and exits with status 1 if any entry lies outside its certificate.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import flint
import numpy as np

from lieref.numerics import certified_conv, certified_exp
from lieref.numerics.certified_array import certify
from lieref.rng import stream
from validation.against_flint import exact
from validation.against_flint.geometry import random_geometry
from validation.against_flint.primitives import TABLE, Count
from validation.record import environment, write_result


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


def primitive_count(name: str, entries: int, seed: int = 0) -> Count:
    """Return the count of one primitive at the ends of the range, over at least so many entries."""
    total, number = Count(), 0
    while total.entries < entries:
        total += TABLE[name](stream(seed, "certificates", name, number))
        number += 1
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="compositions of each kind")
    parser.add_argument(
        "--entries", type=int, default=100_000, help="entries of each primitive at the ends of the range"
    )
    arguments = parser.parse_args()
    report: dict[str, Any] = {"seed": 0}
    for name, misses in (("conv", conv_misses), ("exp", exp_misses)):
        start = time.perf_counter()
        outside = sum(map(misses, range(arguments.count)))
        report[name] = {"inputs": arguments.count, "entries_outside": outside}
        print(f"{name}: {report[name]} in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    report["ends of the range"] = {}
    for name in TABLE:
        start = time.perf_counter()
        count = primitive_count(name, arguments.entries)
        report["ends of the range"][name] = {
            "entries": count.entries, "entries_outside": count.outside, "refused": count.refused,
        }  # fmt: skip
        print(f"{name}: {count} in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    write_result("certificates", {**report, **environment()})
    rows = (report["conv"], report["exp"], *report["ends of the range"].values())
    return int(any(row["entries_outside"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
