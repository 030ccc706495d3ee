"""Profiles: the arithmetic a port declares, and the tolerance that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lieref._types import FloatArray
from lieref.conformance.case import Expected
from lieref.errors import DomainError
from lieref.numerics.bound import SMALLEST_SUBNORMAL, UNIT_ROUNDOFF

LARGEST: Final = {"float16": 65504.0, "bfloat16": (2.0 - 2.0**-7) * 2.0**127}
EXP_CLASSES: Final = ("strict", "mixed", "normwise")


@dataclass(frozen=True)
class Profile:
    """The arithmetic of a port.

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

    def tolerance(self, expected: Expected) -> FloatArray:
        """Return the largest error this arithmetic can make, entry by entry; the certificate's radius is not included.

        gamma_n(u) S for the sums, v times the conversion bound (with the second-order term of two factors), the
        rounding of the result, and the smallest subnormal number for each operation that may underflow.

        Raises
        ------
        DomainError
            If n u reaches 1.
        """
        n, u, v = expected.count, self.unit, self.conversion_unit
        if self.block:
            n += 2 * -(-n // self.block)
        if n * u >= 1.0:
            raise DomainError(f"tolerance: `count` must stay below 1 / u for profile {self.name}; got {n}")
        gamma = n * u / (1.0 - n * u)
        sums = gamma * expected.bound * (1.0 + v) ** 2 + (v + v * v / 2.0) * expected.conversion
        if self.store:
            # Results, and the arrays between operations, are kept in the storage format: three of them in a row here.
            # Terms of a sum that are operands by themselves, as a bias, arrive in that format too.
            alone = np.maximum(expected.bound - expected.conversion / 2.0, 0.0) if expected.count > 1 else 0.0
            sums = sums + 3.0 * self.storage_unit * (np.abs(expected.hi) + sums) + self.storage_unit * alone
        if expected.floor is not None and self.exp_class != "strict":
            sums = sums + u * expected.floor
        if self.exp_class == "normwise" and expected.floor is not None:
            sums = np.broadcast_to(sums.max(axis=(-2, -1), keepdims=True), sums.shape)
        if self.spread:
            sums = np.full(sums.shape, self.spread * sums.max(initial=0.0))
        underflow = n * SMALLEST_SUBNORMAL[self.store or self.accumulate]
        return np.asarray(sums + underflow * (expected.bound > 0))


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
        raise DomainError(f"get_profile: `name` must be one of {', '.join(PROFILES)}; got {base!r}")
    if exp_class and exp_class not in EXP_CLASSES:
        raise DomainError(
            f"get_profile: the class in `name` must be one of {', '.join(EXP_CLASSES)}; got {exp_class!r}"
        )
    return replace(PROFILES[base], exp_class=exp_class or "mixed")


def default_profile(dtype: str) -> Profile:
    """Return the profile of plain arithmetic in a dtype, ``f32`` or ``f64``."""
    return PROFILES["fp64" if dtype == "f64" else "fp32"]
