"""Verdicts: whether an output lies within the error its arithmetic can make, and if not, what it looks like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from lieref._types import FloatArray
from lieref.conformance import formats
from lieref.conformance.case import DTYPES, INTEGER_DTYPES, Case, Expected
from lieref.conformance.profile import PROFILES, Profile, default_profile
from lieref.conformance.reach import Reach, reach_of
from lieref.errors import DomainError

PASS, FAIL, MISTRUSTED, UNCOVERED = "PASS", "FAIL", "MISTRUSTED", "UNCOVERED"
ACCEPTED: Final = "INVALID INPUT ACCEPTED"

_RMS_LIMIT: Final = 3.0**-0.5
"""A rounding error is spread evenly over at most u times the number to either side: root mean square u / sqrt(3)."""
_BIAS_LIMIT: Final = 4.0
"""Standard deviations: an honest case of independent roundings exceeds them once in 16,000."""
_LEAST_SAMPLE: Final = 64
"""Entries for a mean: the mean square of so many draws is within 4 / sqrt(2 * 64) = 35 % of its expectation, and that
of honest sums has been seen below 0.25 where 0.58 is allowed."""
_ZERO_SHARE: Final = 0.7
"""Where more expected values are zero than this, leaving everything out would be right too often."""
_JUDGED_SHARE: Final = 0.3
"""The complement: less than this judged is not a test."""
_FAULT: Final = 0.01
"""Relative error that a case must show to prove anything, in arithmetics that are fine enough."""
_COARSE: Final = 64.0
"""The same in units of a narrow format: 3 % in TF32 and float16, 25 % in bfloat16; wrong formulas show as more."""


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
    would not have failed. `extra` names outputs that nobody asked for: they are not judged.
    """

    case: Case
    status: str
    reason: str = ""
    outputs: tuple[OutputVerdict, ...] = ()
    looks_like: str | None = None
    possible: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether all outputs are there, of the right form and finite, so that what is wrong is their size."""
        return bool(self.outputs) and not any(np.isnan(v.margin) for v in self.outputs)

    @property
    def margin(self) -> float:
        """The largest margin of its outputs."""
        margins = [v.margin for v in self.outputs if not np.isnan(v.margin)]
        return max(margins, default=float("nan"))


def judge(case: Case, outputs: Any, profile: Profile | None = None) -> CaseVerdict:
    """Return the verdict on the outputs of a backend for one case.

    Parameters
    ----------
    case : Case
        Valid or acceptable: of an invalid one nothing is expected that outputs could be compared with.
    outputs : dict of str to ndarray
        Extra entries are not judged.
    profile : Profile, optional
        By default plain arithmetic in the dtype of the case.

    Returns
    -------
    CaseVerdict
        FAIL if an output is missing, of the wrong shape or dtype, holds a NaN or infinity, or is off by more than its
        arithmetic explains: entry by entry, or in the mean square, or in the mean. MISTRUSTED if it passes but so
        would outputs that are wrong by one percent, or by 64 units of a narrow format.

    Raises
    ------
    DomainError, ShapeError
        If the case cannot be judged against: an expected value or a bound that is not finite, or nothing expected.
    """
    case.check()
    if case.result == "invalid":
        raise DomainError(f"judge: `case` must not be invalid; got {case.id}")
    if case.is_integer:
        return _judge_integers(case, outputs)
    profile = profile or default_profile(case.dtype)
    if not isinstance(outputs, dict):
        return CaseVerdict(case, FAIL, f"the backend must return a dict of arrays; got {type(outputs).__name__}")
    reach = reach_of(case)
    extra = tuple(str(name) for name in outputs if name not in case.expected)
    verdicts = _judge_outputs(outputs, case, profile, reach)
    for status in (FAIL, MISTRUSTED):
        worst = [v for v in verdicts if v.status == status]
        if worst:
            looks_like, possible = _profiles(case, outputs, reach) if status == FAIL else (None, ())
            reason = f"{worst[0].name}: {worst[0].reason}"
            return CaseVerdict(case, status, reason, verdicts, looks_like, possible, extra)
    return CaseVerdict(case, PASS, "", verdicts, extra=extra)


def _judge_integers(case: Case, outputs: Any) -> CaseVerdict:
    """Judge outputs of integers, whatever the profile: each entry must be the expected one."""
    if not isinstance(outputs, dict):
        return CaseVerdict(case, FAIL, f"the backend must return a dict of arrays; got {type(outputs).__name__}")
    extra = tuple(str(name) for name in outputs if name not in case.expected)
    verdicts = tuple(_integer_output(name, outputs.get(name), e, case) for name, e in case.expected.items())
    worst = next((v for v in verdicts if v.status == FAIL), None)
    if worst is None:
        return CaseVerdict(case, PASS, "", verdicts, extra=extra)
    return CaseVerdict(case, FAIL, f"{worst.name}: {worst.reason}", verdicts, extra=extra)


def _integer_output(name: str, actual: Any, e: Expected, case: Case) -> OutputVerdict:
    flaw = form_flaw(actual, e, np.dtype(e.dtype) if e.dtype else INTEGER_DTYPES[case.dtype])
    if flaw:
        return OutputVerdict(name, FAIL, flaw)
    error = actual.astype(np.float64) - e.hi
    margin, index = _margin(error, np.zeros_like(error))
    if not margin:
        return OutputVerdict(name, PASS, "", margin, index)
    wrong, largest = int((error != 0).sum()), int(np.abs(error).max())
    index = _first(error != 0)
    reason = (
        f"{wrong} of {error.size} integers differ, by up to {largest}; the first at index {index}: "
        f"expected {int(e.hi[index])}, got {int(actual[index])}"
    )
    return OutputVerdict(name, FAIL, reason, margin, index)


def _judge_outputs(
    outputs: dict[str, Any], case: Case, profile: Profile, reach: Reach | None = None
) -> tuple[OutputVerdict, ...]:
    reach = reach or reach_of(case)
    return tuple(judge_output(name, outputs.get(name), e, case, profile, reach) for name, e in case.expected.items())


def judge_output(
    name: str, actual: Any, expected: Expected, case: Case, profile: Profile, reach: Reach | None = None
) -> OutputVerdict:
    """Judge one output; see `judge`."""
    actual = np.asarray(actual) if isinstance(actual, np.generic) else actual
    flaw = form_flaw(actual, expected, DTYPES[case.dtype])
    if flaw:
        return OutputVerdict(name, FAIL, flaw)
    reach = reach or reach_of(case)
    tolerance = profile.tolerance(expected, reach)
    required = _required(actual, expected, tolerance, case, profile, reach)
    values = actual.astype(np.float64)
    if not np.isfinite(values[required]).all():
        index = _first(required & ~np.isfinite(values))
        return OutputVerdict(name, FAIL, f"must be finite; got {values[index]} at index {index}", index=index)
    error = np.where(required, (np.where(required, values, 0.0) - expected.hi) - expected.lo, 0.0)
    margin, index = _margin(error, tolerance + expected.radius)
    rms, bias = _statistics(error, expected, profile, case.zero_mean, reach)

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
    coarsest = max(profile.storage_unit, profile.conversion_unit)
    doubt = _doubt(expected, tolerance + expected.radius, required, max(_FAULT, _COARSE * coarsest))
    if doubt == _OUTSIDE:
        doubt = f"the inputs, the result or what lies between them leave the range of the profile {profile.name}"
    return verdict(MISTRUSTED if doubt else PASS, doubt)


_OUTSIDE: Final = "outside"


def _required(
    actual: FloatArray, expected: Expected, tolerance: FloatArray, case: Case, profile: Profile, reach: Reach
) -> FloatArray:
    """Return which entries are judged: those that the arithmetic can hold, with all that they are computed from.

    Out are the entries whose value lies beyond the largest number; all of them where an input does; those whose
    counterpart in another output of the same shape does (a second moment that overflows takes the step with it); and
    infinities and NaNs where the reach of the inputs allows a number on the way to overflow.
    """
    largest = min(float(np.finfo(actual.dtype).max), profile.largest)
    if any(float(np.abs(value).max(initial=0.0)) > largest for value in case.inputs.values()):
        return np.zeros(expected.hi.shape, dtype=bool)
    held = np.abs(expected.hi) + tolerance <= largest
    for other in case.expected.values():
        if other is not expected and other.hi.shape == expected.hi.shape:
            held = held & (np.abs(other.hi) <= largest)
    if reach.largest > largest:
        held = held & np.isfinite(actual)
    return np.asarray(held)


def form_flaw(actual: Any, expected: Expected, dtype: Any) -> str:
    """Return what is wrong with the form of an output, or an empty string."""
    if actual is None:
        return "is missing"
    if not isinstance(actual, np.ndarray):
        return f"must be a NumPy array; got {type(actual).__name__}"
    if type(actual) not in (np.ndarray, np.memmap):
        # A subclass may answer comparisons as it likes: a masked entry would never be wrong.
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


# A sum of n products makes n roundings of partial sums of at most S, each with a mean square of at most (u S)**2 / 3.
# Independent ones add up to n (u S)**2 / 3. Equal products make equal roundings as long as the sum keeps its exponent,
# and m equal ones add up to m**2: with a share q of equal pairs, n becomes n (1 + (n - 1) q), n**2 for constant data.
# Entries with the same expected value are sums of the same products in most orders: one draw, however many they are.
# What the rounding of a narrow operand adds is shared by all entries that use it: it counts in full, as underflow does.
def _statistics(
    error: FloatArray, expected: Expected, profile: Profile, zero_mean: bool, reach: Reach
) -> tuple[float, float]:
    """Return (rms, bias) of the errors in units of u S sqrt(n), or NaN where the test does not apply."""
    used = expected.bound > 0
    if expected.floor is not None or not profile.rounds_to_nearest:
        return float("nan"), float("nan")
    draws, of = np.unique(np.abs(expected.hi[used]), return_inverse=True)
    if draws.size < _LEAST_SAMPLE:
        return float("nan"), float("nan")
    n = expected.count
    together = np.sqrt(1.0 + (n - 1) * reach.repeats)
    scale = profile.unit * _independent(expected) * together
    scale = scale + (profile.narrow(expected, reach) + profile.underflow(expected, reach)) / _RMS_LIMIT
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = error[used] / (scale[used] + expected.radius[used])
        sizes = np.bincount(of)
        rms = float(np.sqrt(np.mean(np.bincount(of, scaled * scaled) / sizes)))
        total = float((np.bincount(of, scaled) / sizes).sum())
    centred = zero_mean and not profile.convert
    return rms, total / float(_RMS_LIMIT * np.sqrt(draws.size)) if centred else float("nan")


def _independent(expected: Expected) -> FloatArray:
    """Return S sqrt(n) with the number n of products of each entry: what independent roundings add up to, in units u.

    The conversion bound is twice the sum of the absolute products, so entries at an edge, which have fewer products
    than `count`, show in its ratio to the rounding bound.
    """
    rounding = expected.count * expected.bound
    ratio = np.full_like(rounding, np.inf)
    np.divide(2.0 * rounding, expected.conversion, out=ratio, where=expected.conversion > 0)
    return np.asarray(rounding / np.sqrt(np.clip(ratio, 1.0, expected.count)))


def _doubt(expected: Expected, tolerance: FloatArray, required: FloatArray, fault: float) -> str:
    """Return why a pass would prove nothing, or an empty string."""
    if not required.size:
        return "the expected array is empty"
    if np.mean(required) < _JUDGED_SHARE:
        return _OUTSIDE
    size, bound = np.abs(expected.hi[required]), expected.bound[required]
    zeros = float(np.mean(size == 0))
    if zeros > _ZERO_SHARE and (bound[size == 0] > 0).any():
        return f"{zeros:.0%} of the expected values are zero"
    loud = size > 0
    if loud.any() and not (fault * size[loud] > tolerance[required][loud]).any():
        return f"the tolerance is so wide that an error of {fault:.0%} would pass"
    return ""


def _profiles(case: Case, outputs: dict[str, Any], reach: Reach) -> tuple[str | None, tuple[str, ...]]:
    """Return the tightest profile under which a case passes, and all under which it does not fail.

    Outputs look like a narrower format only if they are numbers of it: its tolerance alone would let any mistake pass.
    """
    names = list(PROFILES)
    looks_like, possible = None, []
    for name in names[names.index(default_profile(case.dtype).name) :]:
        if not PROFILES[name].fits(case.op, case.expected.values()):
            continue
        verdicts = _judge_outputs(outputs, case, PROFILES[name], reach)
        if all(v.status != FAIL for v in verdicts):
            possible.append(name)
        if looks_like is None and all(v.status == PASS for v in verdicts):
            store = PROFILES[name].store or PROFILES[name].accumulate
            if all(formats.holds(outputs[key], store) for key in case.expected):
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
    tolerance = (profile or default_profile(case.dtype)).tolerance(expected, reach_of(case)) + expected.radius
    return np.maximum(tolerance, np.finfo(np.float64).smallest_subnormal)
