"""Verdicts: whether an output lies within the error its arithmetic can make, and if not, what it looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lieref._types import FloatArray
from lieref.conformance.case import DTYPES, Case, Expected
from lieref.conformance.profile import PROFILES, Profile, default_profile
from lieref.numerics.bound import SMALLEST_SUBNORMAL

PASS, FAIL, MISTRUSTED, UNCOVERED = "PASS", "FAIL", "MISTRUSTED", "UNCOVERED"

# A rounding error is spread evenly over at most u times the number to either side: root mean square u / sqrt(3).
_RMS_LIMIT: Final = 3.0**-0.5
_BIAS_LIMIT: Final = 4.0
_LEAST_SAMPLE: Final = 64
_ZERO_SHARE: Final = 0.7
_FAULT: Final = 0.01


@dataclass(frozen=True)
class OutputVerdict:
    """Verdict on one output.

    Parameters
    ----------
    name : str
    status : str
        PASS, FAIL or MISTRUSTED.
    reason : str
        One line; empty for PASS.
    margin : float
        Largest error divided by its tolerance; inf where no error is allowed, NaN where nothing could be measured.
    index : tuple of int
        Where the margin is reached.
    rms : float
        Root mean square of the errors over what is expected of independent roundings; NaN where it is not tested.
    bias : float
        Sum of the errors in standard deviations; NaN where it is not tested.
    """

    name: str
    status: str
    reason: str = ""
    margin: float = float("nan")
    index: tuple[int, ...] = ()
    rms: float = float("nan")
    bias: float = float("nan")


@dataclass(frozen=True)
class CaseVerdict:
    """Verdict on one case: the worst of its outputs.

    A case that failed also names the tightest profile under which it would have passed, and all profiles under which it
    would not have failed.
    """

    case: Case
    status: str
    reason: str = ""
    outputs: tuple[OutputVerdict, ...] = ()
    looks_like: str | None = None
    possible: tuple[str, ...] = ()

    @property
    def margin(self) -> float:
        """The largest margin of its outputs."""
        margins = [v.margin for v in self.outputs if not np.isnan(v.margin)]
        return max(margins, default=float("nan"))


def judge(case: Case, outputs: Any, profile: Profile | None = None) -> CaseVerdict:
    """Judge the outputs of a backend for one case.

    Parameters
    ----------
    case : Case
    outputs : dict of str to ndarray
        Extra entries are ignored.
    profile : Profile, optional
        By default plain arithmetic in the dtype of the case.

    Returns
    -------
    CaseVerdict
        FAIL if an output is missing, of the wrong shape or dtype, holds a NaN or infinity, or is off by more than its
        arithmetic explains: entry by entry, or in the mean square, or in the mean. MISTRUSTED if it passes but so
        would outputs that are wrong by one percent.
    """
    profile = profile or default_profile(case.dtype)
    if not isinstance(outputs, dict):
        return CaseVerdict(case, FAIL, f"the backend must return a dict of arrays; got {type(outputs).__name__}")
    verdicts = tuple(
        judge_output(name, outputs.get(name), expected, case, profile) for name, expected in case.expected.items()
    )
    for status in (FAIL, MISTRUSTED):
        worst = [v for v in verdicts if v.status == status]
        if worst:
            looks_like, possible = _profiles(case, outputs) if status == FAIL else (None, ())
            return CaseVerdict(case, status, f"{worst[0].name}: {worst[0].reason}", verdicts, looks_like, possible)
    return CaseVerdict(case, PASS, "", verdicts)


def judge_output(name: str, actual: Any, expected: Expected, case: Case, profile: Profile) -> OutputVerdict:
    """Judge one output; see `judge`."""
    actual = np.asarray(actual) if isinstance(actual, np.generic) else actual
    flaw = form_flaw(actual, expected, DTYPES[case.dtype])
    if flaw:
        return OutputVerdict(name, FAIL, flaw)
    tolerance = profile.tolerance(expected)
    largest = min(float(np.finfo(actual.dtype).max), profile.largest)
    required = (np.abs(expected.hi) + tolerance <= largest) & _in_range(case, profile)
    values = actual.astype(np.float64)
    if not np.isfinite(values[required]).all():
        index = _first(required & ~np.isfinite(values))
        return OutputVerdict(name, FAIL, f"must be finite; got {values[index]} at index {index}", index=index)
    error = np.where(required, (np.where(required, values, 0.0) - expected.hi) - expected.lo, 0.0)
    margin, index = _margin(error, tolerance + expected.radius)
    rms, bias = _statistics(error, expected, profile, case.zero_mean)

    def verdict(status: str, reason: str = "") -> OutputVerdict:
        return OutputVerdict(name, status, reason, margin, index, rms, bias)

    if margin > 1.0:
        rule = (
            "must be exactly zero"
            if tolerance[index] == expected.hi[index] == 0
            else f"is off by {margin:.3g} times its tolerance"
        )
        where = f"at index {index}: expected {expected.hi[index]:.9g}, got {values[index]:.9g}"
        return verdict(FAIL, f"{rule} {where}")
    if rms > _RMS_LIMIT:
        return verdict(FAIL, f"errors are {rms / _RMS_LIMIT:.3g} times too large in the mean square")
    if abs(bias) > _BIAS_LIMIT:
        return verdict(FAIL, f"errors do not average to zero: {bias:.1f} standard deviations")
    doubt = _doubt(expected, tolerance, max(_FAULT, 16.0 * profile.storage_unit))
    if not required.any() and required.size:
        doubt = f"the inputs or the result lie outside the range of the profile {profile.name}"
    return verdict(MISTRUSTED if doubt else PASS, doubt)


def _in_range(case: Case, profile: Profile) -> bool:
    """Return whether the arithmetic can hold the inputs at all."""
    return all(np.abs(value).max(initial=0.0) <= profile.largest for value in case.inputs.values())


def form_flaw(actual: Any, expected: Expected, dtype: Any) -> str:
    """Return what is wrong with the form of an output, or an empty string."""
    if actual is None:
        return "is missing"
    if not isinstance(actual, np.ndarray):
        return f"must be a NumPy array; got {type(actual).__name__}"
    if isinstance(actual, np.ma.MaskedArray):
        return f"must be a plain NumPy array; got {type(actual).__name__}"
    if actual.dtype != dtype:
        return f"must have dtype {dtype}; got {actual.dtype}"
    if actual.shape != expected.hi.shape:
        return f"must have shape {expected.hi.shape}; got {actual.shape}"
    return ""


def _first(mask: FloatArray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0])


def _margin(error: FloatArray, tolerance: FloatArray) -> tuple[float, tuple[int, ...]]:
    """Return the largest error over its tolerance (0 / 0 is 0), and where."""
    if error.size == 0:
        return 0.0, ()
    size = np.abs(error)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        margins = np.where(size == 0, 0.0, size / tolerance)
    index = np.unravel_index(int(np.argmax(margins)), margins.shape)
    return float(margins[index]), tuple(int(i) for i in index)


def _statistics(error: FloatArray, expected: Expected, profile: Profile, zero_mean: bool) -> tuple[float, float]:
    """Return (rms, bias) of the errors in units of u S sqrt(n), or NaN where the test does not apply."""
    used = expected.bound > 0
    total = int(used.sum())
    if total < _LEAST_SAMPLE or expected.floor is not None or not profile.rounds_to_nearest:
        return float("nan"), float("nan")
    n = expected.count
    scale = profile.unit * _independent(expected) + profile.conversion_unit * expected.conversion
    if profile.store:
        scale = scale + 2.0 * profile.storage_unit * np.abs(expected.hi)
    with np.errstate(over="ignore"):
        scaled = error[used] / (scale[used] + expected.radius[used] + _subnormal_error(profile, n))
        rms = float(np.sqrt(np.mean(scaled * scaled)))
    centred = zero_mean and not profile.convert
    return rms, float(scaled.sum() / (_RMS_LIMIT * np.sqrt(total))) if centred else float("nan")


def _independent(expected: Expected) -> FloatArray:
    """Return S sqrt(n) with the number n of products of each entry: what independent roundings add up to, in units u.

    The conversion bound is twice the sum of the absolute products, so entries at an edge, which have fewer products
    than `count`, show in its ratio to the rounding bound.
    """
    rounding = expected.count * expected.bound
    ratio = np.full_like(rounding, np.inf)
    np.divide(2.0 * rounding, expected.conversion, out=ratio, where=expected.conversion > 0)
    return np.asarray(rounding / np.sqrt(np.clip(ratio, 1.0, expected.count)))


def _subnormal_error(profile: Profile, n: int) -> float:
    return float(np.sqrt(n)) * SMALLEST_SUBNORMAL[profile.store or profile.accumulate]


def _doubt(expected: Expected, tolerance: FloatArray, fault: float) -> str:
    """Return why a pass would prove nothing, or an empty string."""
    size = np.abs(expected.hi)
    zeros = float(np.mean(size == 0)) if size.size else 1.0
    if zeros > _ZERO_SHARE and (expected.bound[size == 0] > 0).any():
        return f"{zeros:.0%} of the expected values are zero"
    loud = size > 0
    if loud.any() and not (fault * size[loud] > tolerance[loud]).any():
        return f"the tolerance is so wide that an error of {fault:.0%} would pass"
    return ""


def _profiles(case: Case, outputs: dict[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """Return the tightest profile under which a case passes, and all under which it does not fail."""
    names = list(PROFILES)
    looks_like, possible = None, []
    for name in names[names.index(default_profile(case.dtype).name) :]:
        verdicts = [judge_output(key, outputs.get(key), e, case, PROFILES[name]) for key, e in case.expected.items()]
        if all(v.status != FAIL for v in verdicts):
            possible.append(name)
        if looks_like is None and all(v.status == PASS for v in verdicts):
            looks_like = name
    return looks_like, tuple(possible)


def torch_atol(case: Case, output: str | None = None, profile: Profile | None = None) -> FloatArray:
    """Return the tolerance of every entry of an output, for users who keep an `assert_close`.

    That function takes one number, so compare scaled errors: with ``atol = torch.from_numpy(torch_atol(case))``,
    ``torch.testing.assert_close((actual.double() - expected) / atol, torch.zeros_like(atol), rtol=0, atol=1)``.

    Parameters
    ----------
    case : Case
    output : str, optional
        Name of the output; the first by default.
    profile : Profile, optional
        By default plain arithmetic in the dtype of the case.

    Returns
    -------
    ndarray, float64
        Shape of the output; above 0 (the smallest positive number where no error is allowed).
    """
    expected = case.expected[output or next(iter(case.expected))]
    tolerance = (profile or default_profile(case.dtype)).tolerance(expected) + expected.radius
    return np.maximum(tolerance, np.finfo(np.float64).smallest_subnormal)
