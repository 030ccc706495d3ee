"""Profiles: the arithmetic a port declares, and the tolerance that follows from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lieref._text import did_you_mean
from lieref._types import FloatArray
from lieref.conformance.case import Expected
from lieref.conformance.reach import Reach
from lieref.errors import DomainError
from lieref.numerics.bound import SMALLEST_SUBNORMAL, UNIT_ROUNDOFF

LARGEST: Final = {"float16": 65504.0, "bfloat16": (2.0 - 2.0**-7) * 2.0**127}
_LARGEST_EXPONENT: Final = 50.0
"""Of a relative error e**50 nothing more is asked."""
EXP_CLASSES: Final = ("strict", "mixed", "normwise")


@dataclass(frozen=True)
class Profile:
    """The arithmetic that a port declares: how it rounds its inputs, products, sums and results.

    Parameters
    ----------
    name : str
    accumulate : str
        Arithmetic of sums, a key of `UNIT_ROUNDOFF`.
    convert : str or None
        Arithmetic that operands are converted to before they are multiplied and summed; None if they are not.
    store : str or None
        Arithmetic of the results, and of everything between operations; None if that is `accumulate`.
    block : int or None
        Tensor cores: sums of so many products, aligned to the largest and truncated instead of rounded.
    spread : float or None
        Algorithms whose error does not stay local (Winograd, FFT): every entry may be off by this multiple of the
        largest bound in the tensor.
    exp_class : {"strict", "mixed", "normwise"}
        For functions of matrices: errors small entry by entry; plus what a degree chosen by the norm loses; or only in
        the norm of the matrix.
    """

    name: str
    accumulate: str
    convert: str | None = None
    store: str | None = None
    block: int | None = None
    spread: float | None = None
    exp_class: str = "mixed"

    @property
    def rounds_to_nearest(self) -> bool:
        """Whether rounding errors are centred and local, so that their mean and mean square can be tested."""
        return self.block is None and self.spread is None

    @property
    def unit(self) -> float:
        """Unit roundoff of sums."""
        return UNIT_ROUNDOFF[self.accumulate] * (2.0 if self.block else 1.0)

    @property
    def conversion_unit(self) -> float:
        """Unit roundoff of the conversion of operands, 0 if there is none."""
        return UNIT_ROUNDOFF[self.convert] if self.convert else 0.0

    @property
    def storage_unit(self) -> float:
        """Unit roundoff of results."""
        return UNIT_ROUNDOFF[self.store or self.accumulate]

    @property
    def largest(self) -> float:
        """Largest number it can store; the range of float32 and float64 is that of the outputs' dtype."""
        return LARGEST[self.store] if self.store else float("inf")

    def fits(self, op: str, expected: Iterable[Expected]) -> bool:
        """Return whether a port of an operation can have this arithmetic.

        Only convolutions have fast transforms, and only sums of products run on tensor cores.
        """
        if self.spread is not None:
            return "conv" in op or op == "training"
        on_tensor_cores = self.block is not None or (self.convert is not None and self.store is None)
        return not on_tensor_cores or any(e.conversion.any() for e in expected)

    @property
    def smallest(self) -> float:
        """Absolute error of an operation that underflows: half the smallest number, all of it where it truncates."""
        formats = [self.accumulate, *(name for name in (self.convert, self.store) if name)]
        return max(SMALLEST_SUBNORMAL[name] for name in formats) * (1.0 if self.block else 0.5)

    def tolerance(self, expected: Expected, reach: Reach | None = None) -> FloatArray:
        """Return the largest error this arithmetic can make, entry by entry; the certificate's radius is not included.

        gamma_n(u) S for the sums, what narrow operands and results add (`narrow`), and underflow.

        Parameters
        ----------
        expected : Expected
        reach : Reach, optional
            What is known of the inputs; without it underflow is bounded for one operation, not passed on.

        Raises
        ------
        DomainError
            If n u reaches 1.
        """
        reach = reach or Reach()
        n, u, v = expected.count, self.unit, self.conversion_unit
        if self.block:
            # The running total takes part in the alignment of each block, and is truncated once more itself.
            n += 2 * -(-n // self.block)
        if n * u >= 1.0:
            raise DomainError(f"tolerance: `count` must stay below 1 / u for profile {self.name}; got {n}")
        gamma = n * u / (1.0 - n * u)
        sums = gamma * expected.bound * (1.0 + v) ** 2 + self.narrow(expected, reach)
        if expected.floor is not None and self.exp_class != "strict":
            sums = sums + u * expected.floor
        if self.exp_class == "normwise" and expected.floor is not None:
            sums = np.broadcast_to(sums.max(axis=(-2, -1), keepdims=True), sums.shape)
        if self.spread:
            sums = np.full(sums.shape, self.spread * sums.max(initial=0.0))
        return np.asarray(sums + self.underflow(expected, reach))

    # Each term of a sum of n products: two factors, each read or computed with an underflow and multiplied by the
    # other, and the product's own. `amplification` bounds the factors and all that comes after. F(4 x 4, 3 x 3)
    # multiplies what its products lose by up to 19**2 = 361 for 9 of them: by 40, below the square of its spread.
    def underflow(self, expected: Expected, reach: Reach) -> FloatArray:
        """Return what numbers that underflow on the way to an output may add, with all that multiplies them."""
        terms = expected.count if expected.count > 1 else reach.terms
        with np.errstate(over="ignore"):
            added = 3.0 * terms * self.smallest * (self.spread or 1.0) ** 2 * np.asarray(reach.amplification)
        has_error = (expected.bound > 0) | bool(self.spread and expected.bound.any())
        return np.asarray(np.where(has_error, np.minimum(added, np.finfo(np.float64).max), 0.0))

    # A sum of products of inputs: v C for its operands, (1 + v)**2 - 1 = 2 (v + v**2 / 2) for both; a bias, or terms
    # of a sum without products, which are no operands, are read once; the result is kept once. In a composition an
    # operand is itself computed: whatever it comes from was read, and it was kept, in the same format. Those are errors
    # of the size of its own conversion, and there is one elementwise step at most between two sums: twice C. What is
    # added or multiplied outside all sums is at most the result and what was summed; training keeps parameters and
    # velocities at every step. Without any sum, S counts every operation at the size of its result: 3 S for its two
    # operands and the result, all but the argument of an exponential: a relative error v of d multiplies e**d by
    # e**(v d) - 1.
    def narrow(self, expected: Expected, reach: Reach) -> FloatArray:
        """Return what operands read, arrays kept and results stored in a narrow format may add."""
        v, result = self.conversion_unit, np.abs(expected.hi)
        kept = self.storage_unit if self.store else 0.0
        unit = max(v, kept)
        if not unit:
            return np.zeros(expected.hi.shape)
        conversion = (v + v * v / 2.0) * expected.conversion
        # An entry that is copied has no rounding, and is read and kept all the same.
        bound = np.maximum(expected.bound, result)
        if expected.count > 1:
            bias: FloatArray = np.zeros(result.shape)
            if reach.bias is not None and reach.bias.shape == result.shape:
                bias = reach.bias
            alone = np.where(expected.conversion > 0, bias, bound)
            # A sum that is kept before its bias is added is at most the result and the bias.
            return np.asarray(
                conversion + v * alone + kept * (result + conversion + (result + 2.0 * bias) * (bias > 0))
            )
        composed = 2.0 * conversion + 2.0 * (1 + reach.steps) * unit * result
        plain = 3.0 * unit * bound
        if v and reach.slope is not None and reach.slope.shape == plain.shape:
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                exponent = np.minimum(v * np.where(result > 0, reach.slope / result, 0.0), _LARGEST_EXPONENT)
            plain = plain + np.where(result > 0, np.expm1(exponent) * result, v * reach.slope)
        return np.asarray(np.where(expected.conversion > 0, composed, plain))


PROFILES: Final[dict[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile("fp64", "float64"),
        Profile("fp32", "float32"),
        Profile("tensor-core", "float32", block=4),
        Profile("winograd", "float32", spread=8.0),
        Profile("fft", "float32", spread=32.0),
        Profile("tf32", "float32", convert="tf32"),
        Profile("fp16", "float32", convert="float16", store="float16"),
        Profile("bf16", "float32", convert="bfloat16", store="bfloat16"),
    )
}
"""Named profiles, tightest first."""

DIAGNOSES: Final[dict[str, str]] = {
    "fp64": "float64 arithmetic",
    "fp32": "float32 arithmetic",
    "tensor-core": "tensor cores on exact inputs: truncated partial sums",
    "winograd": "a Winograd transform in float32: errors follow the largest value of the tensor",
    "fft": "an FFT in float32: errors follow the largest value of the tensor",
    "tf32": "TF32 inputs: operands rounded to 11 bits",
    "fp16": "float16 storage with float32 sums",
    "bf16": "bfloat16 storage with float32 sums",
}
"""What an output looks like if a profile is the tightest that it passes."""


def get_profile(name: str) -> Profile:
    """Return a profile by name; ``name:strict``, ``:mixed`` or ``:normwise`` sets the class of its matrix functions.

    Raises
    ------
    DomainError
        If there is no such profile or class.
    """
    base, _, exp_class = name.partition(":")
    if base not in PROFILES:
        near = did_you_mean(base, PROFILES)
        raise DomainError(f"get_profile: `name` must be one of {', '.join(PROFILES)}; got {base!r}{near}")
    if exp_class and exp_class not in EXP_CLASSES:
        raise DomainError(
            f"get_profile: the class in `name` must be one of {', '.join(EXP_CLASSES)}; got {exp_class!r}"
            f"{did_you_mean(exp_class, EXP_CLASSES)}"
        )
    return replace(PROFILES[base], exp_class=exp_class or "mixed")


def default_profile(dtype: str) -> Profile:
    """Return the profile of plain arithmetic in a dtype, ``f32`` or ``f64``."""
    return PROFILES["fp64" if dtype == "f64" else "fp32"]
