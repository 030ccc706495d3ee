"""Parameterisations whose frozen numbers come from a seed: each formula from its publication, for one conv group."""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from lieref._types import Shape
from lieref.conformance.definitions import random_bits
from lieref.conformance.definitions.factors import Factors, Options, scaling
from lieref.conformance.definitions.matrix import matmul
from lieref.conformance.definitions.number import Number, Numbers, mpmath, number, numbers, scalar, sqrt, total
from lieref.errors import DomainError


def _seed(options: Options) -> int:
    """Return the seed of the options, after a look at the version of the generator."""
    missing = [name for name in ("frozen_seed", "generator") if name not in options]
    if missing:
        raise DomainError(f"merge: `options` must hold {' and '.join(missing)}; got {dict(options)}")
    random_bits.check_version(options["generator"])
    return int(options["frozen_seed"])


# diag(b) B diag(d) A x, A and B random with the variances 2 / fan [Kopiczko24, equation 2].
def shared_random(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return diag(b) B diag(d) A."""
    b, d = factors["vera_lambda_b"], factors["vera_lambda_d"]
    r, width, seed = len(d), prod(shape[1:]), _seed(options)
    random_b = random_bits.matrix(seed, random_bits.ROWS, r, shape[0]).T * scalar(sqrt(number(2) / r))
    random_a = random_bits.matrix(seed, random_bits.COLUMNS, r, width) * scalar(sqrt(number(2) / width))
    return matmul(b[:, None] * random_b * d[None, :], random_a).reshape(shape)


# W + sum_j B_j diag(l_j) A diag(g_j), of the matrix or of its transpose [Albert25, equation 3].
def random_bases(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return s sum_j B_j diag(l_j) A diag(g_j)."""
    scales, gains, seed = factors["randlora_lambda"], factors["randlora_gamma"], _seed(options)
    r, terms = scales.shape
    sides = (shape[0], prod(shape[1:]))
    a = random_bits.matrix(seed, random_bits.COLUMNS, r, min(sides))
    b = random_bits.matrix(seed, random_bits.ROWS, terms * r, max(sides)).T
    rows = [a[q] * scalar(scales[q, j]) * gains[j] for j in range(terms) for q in range(r)]
    tall = matmul(b, np.stack(rows)) * scalar(scaling(options))
    return (tall if sides[0] >= sides[1] else tall.T).reshape(shape)


def projected(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return s B A with A random, of the variance 1 / (3 width) [Zhang23, equation 3]."""
    b, width = factors["lora_b"], prod(shape[1:])
    spread = scaling(options) / sqrt(number(3 * width))
    a = random_bits.matrix(_seed(options), random_bits.COLUMNS, b.shape[1], width) * scalar(spread)
    return matmul(b, a).reshape(shape)


def _placed(factors: Factors, shape: Shape, options: Options, name: str) -> tuple[list[int], Numbers]:
    """Return the places of the entries of a factor, and the factor."""
    return random_bits.places(_seed(options), prod(shape), len(factors[name])), factors[name]


def _cosine(turns: Fraction) -> Any:
    """Return cos(2 pi turns); the rational values, at twelfths of a turn alone, are exact."""
    rational = {0: 1.0, 2: 0.5, 3: 0.0, 4: -0.5, 6: -1.0, 8: -0.5, 9: 0.0, 10: 0.5}
    twelfths = 12 * (turns % 1)
    if twelfths.denominator == 1 and int(twelfths) in rational:
        return mpmath().mpf(rational[int(twelfths)])
    return mpmath().cos(2 * mpmath().pi * mpmath().mpf(turns.numerator) / turns.denominator)


# The real part of the inverse discrete Fourier transform of sparse coefficients [Gao24, equations 2 to 4]. A fast one
# multiplies each with log2(N) roots of unity in some eight roundings [Higham02, section 24.1]: an error of the cosine.
def fourier(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return scale / N sum of c cos(2 pi (u p / O + v q / n))."""
    m, n = shape[0], prod(shape[1:])
    places, spectrum = _placed(factors, shape, options, "spectrum")
    scale = number(options["scale"]) / (m * n)
    xi = np.empty((m, n), dtype=object)
    for p, q in np.ndindex(m, n):
        terms = []
        for at, value in zip(places, spectrum, strict=True):
            u, v = divmod(at, n)
            cosine = _cosine(Fraction(u * p, m) + Fraction(v * q, n))
            terms.append(value * Number(cosine, 8.0 * (m * n).bit_length()))
        xi[p, q] = total(terms) * scale
    return xi.reshape(shape)


# One level of the Haar wavelet, padded to even sides and cut: averages and differences of neighbours [Bilican25].
def wavelet(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return scale / 2 times the signed sums of the four quarters of the coefficients."""
    m, n = shape[0], prod(shape[1:])
    places, spectrum = _placed(factors, shape, options, "spectrum")
    padded = numbers(np.zeros((m + m % 2, n + n % 2)))
    for at, value in zip(places, spectrum, strict=True):
        padded[divmod(at, n)] = value
    p, q = (size // 2 for size in padded.shape)
    xi = np.empty((m, n), dtype=object)
    for i, j in np.ndindex(m, n):
        (row, a), (column, b) = divmod(i, 2), divmod(j, 2)
        average, right = padded[row, column], padded[row, column + q]
        below, both = padded[row + p, column], padded[row + p, column + q]
        terms = [average, right * (-1) ** a, below * (-1) ** b, both * (-1) ** (a + b)]
        xi[i, j] = total(terms) * number(options["scale"]) / 2
    return xi.reshape(shape)


def sparse(factors: Factors, shape: Shape, options: Options) -> Numbers:
    """Return the values at their places, zero elsewhere [Bhardwaj24, section 3]."""
    places, values = _placed(factors, shape, options, "values")
    xi = numbers(np.zeros(prod(shape)))
    for at, value in zip(places, values, strict=True):
        xi[at] = value
    return xi.reshape(shape)
