"""Usual suspects: named mistakes whose result can be computed, compared with outputs that failed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any, Final

import numpy as np

from lieref._types import Array
from lieref.conformance import formats, mistakes, reference
from lieref.conformance.case import DTYPES, Case, Expected
from lieref.conformance.exact.suspects import candidates
from lieref.conformance.mistakes import SUSPECTS, Question
from lieref.conformance.profile import DIAGNOSES, PROFILES, Profile, default_profile
from lieref.conformance.reach import reach_of
from lieref.conformance.verdict import PASS, judge_output
from lieref.errors import LierefError
from lieref.numerics.bound import SMALLEST_SUBNORMAL, UNIT_ROUNDOFF

NOT_FINITE: Final = "NaN or infinity: memory that was not written, a division by zero, or an overflow"
FLUSHED: Final = "results below the smallest normal number flushed to zero"
DTYPE: Final = "outputs in another dtype"
MULTIPLE: Final = "the right result times a number"
ORDER: Final = "entries of an axis in another order"
HALF_SUMS: Final = {"bfloat16": "sums accumulated in bfloat16", "float16": "sums accumulated in float16"}
"""The coarser first: its numbers are numbers of the other."""

_FACTORS: Final = {
    -1.0: "the right result with the wrong sign",
    2.0: "the right result times 2",
    0.5: "the right result times 1/2",
}
_FEW: Final = 16
"""Errors needed to tell roundings from a mistake."""
_LEAST_RMS: Final = 0.02
"""In units of u S; sums of 4 to 600 products in float16 have been seen to be off by 0.3 to 2.3 in the golden cases."""
_LONGEST_AXIS: Final = 64
_NEAR: Final = 1e-2
"""Relative distance in the mean within which a mistake is worth its certified answer: TF32 is off by 1e-3."""


def suspect(case: Case, outputs: Mapping[str, Any]) -> str | None:
    """Return the mistake whose result the outputs are, or None.

    An output that is right by itself proves nothing; the others must be what the mistake gives.
    """
    return joined(suspects(case, outputs))


def joined(mistakes: Iterable[tuple[str, str]]) -> str | None:
    """Return the names of mistakes, each once, or None."""
    return " or ".join(dict.fromkeys(name for name, _ in mistakes)) or None


def suspects(case: Case, outputs: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the mistakes whose result the outputs are, each with its form: the first found, or of integers all."""
    if case.is_integer:
        return candidates(case, outputs)
    # Outputs may be anything: what overflows here is far from every suspect.
    with np.errstate(all="ignore"):
        found = _suspect(case, outputs)
    return () if found is None else ((found, ""),)


def _suspect(case: Case, outputs: Mapping[str, Any]) -> str | None:
    wrong = [name for name in case.expected if not _passes(case, name, outputs.get(name))]
    if not wrong:
        return None
    arrays: list[Any] = [outputs.get(name) for name in wrong]
    if not all(isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in arrays):
        return None
    if any(a.dtype != DTYPES[case.dtype] for a in arrays):
        return DTYPE
    if any(not np.isfinite(a).all() for a in arrays):
        return NOT_FINITE
    if any(a.shape != case.expected[name].hi.shape for a, name in zip(arrays, wrong, strict=True)):
        return _reshaped(case, outputs, wrong) or _mistaken(case, outputs, wrong)
    for explain in (_plain, _flushed, _reordered, _mistaken, _multiplied, _rounded):
        if found := explain(case, outputs, wrong):
            return found
    return None


def _passes(case: Case, name: str, actual: Any, e: Expected | None = None, profile: Profile | None = None) -> bool:
    expected, arithmetic = e or case.expected[name], profile or default_profile(case.dtype)
    return judge_output(name, actual, expected, case, arithmetic).status == PASS


def _reshaped(case: Case, outputs: Mapping[str, Any], wrong: list[str]) -> str | None:
    """Return what outputs are called whose channels are the last axis instead of the second."""
    if "conv" not in case.op:
        return None
    for name in wrong:
        shape, actual = case.expected[name].hi.shape, outputs[name]
        if actual.shape != (*shape[:1], *shape[2:], *shape[1:2]):
            return None
    return mistakes.NHWC


def _plain(case: Case, outputs: Mapping[str, Any], wrong: list[str]) -> str | None:
    """Return the mistake that the outputs show by themselves: nothing computed."""
    smallest = np.finfo(DTYPES[case.dtype]).smallest_normal
    loud = any((np.abs(case.expected[name].hi) >= smallest).any() for name in wrong)
    if loud and all((outputs[name] == 0).all() for name in wrong):
        return "nothing written: all zeros"
    if all(outputs[n].size > 1 and (outputs[n] == outputs[n].flat[0]).all() and outputs[n].any() for n in wrong):
        return "a constant"
    for name, value in case.inputs.items():
        if all(np.array_equal(outputs[n], value) for n in wrong):
            return f"the input {name}, unchanged"
    return None


def _multiplied(case: Case, outputs: Mapping[str, Any], wrong: list[str]) -> str | None:
    """Return what the outputs are if they are the right ones times a number."""
    for factor, description in _FACTORS.items():
        if all(_passes(case, n, outputs[n] * outputs[n].dtype.type(1.0 / factor)) for n in wrong):
            return description
    if all(outputs[n].size > 1 and _is_multiple(case, n, outputs[n]) for n in wrong):
        return MULTIPLE
    return None


def _is_multiple(case: Case, name: str, actual: Array) -> bool:
    """Return whether an output is a multiple of the expected one, by the number that fits best."""
    e, values = case.expected[name], actual.astype(np.float64)
    scale = np.abs(e.hi).max(initial=0.0)
    if not scale:
        return False
    hi = e.hi / scale
    factor = float((values / scale * hi).sum() / (hi * hi).sum())
    if not np.isfinite(factor) or abs(factor) < _NEAR or abs(factor - 1.0) < _NEAR:
        return False
    return _passes(case, name, (values / factor).astype(actual.dtype))


# A port that flushes loses the numbers on the way as well: an output entry is then zero, though it would be normal
# itself, or misses the products that were lost.
def _flushed(case: Case, outputs: Mapping[str, Any], wrong: list[str]) -> str | None:
    """Return whether all that is wrong are zeros where a subnormal number is expected, or is used."""
    smallest = float(np.finfo(DTYPES[case.dtype]).smallest_normal)
    amplification = np.max(reach_of(case).amplification)
    changed = False
    for name in wrong:
        e, actual = case.expected[name], outputs[name]
        flushed = (actual == 0) & (np.abs(e.hi) < smallest * amplification) & (e.hi != 0)
        changed |= bool((flushed & (np.abs(e.hi) < smallest)).any())
        if not _passes(case, name, np.where(flushed, e.hi, actual).astype(actual.dtype)):
            return None
    return FLUSHED if changed else None


def _reordered(case: Case, outputs: Mapping[str, Any], wrong: list[str]) -> str | None:
    """Return what it is called if every wrong output is the right one with slices of an axis in another order."""
    names = set()
    for name in wrong:
        e, actual = case.expected[name], outputs[name]
        found = next(_orders(e, actual), None)
        if found is None:
            return None
        axis, order = found
        if not _passes(case, name, np.take(actual, np.argsort(order), axis=axis)):
            return None
        names.add(_order_name(case, name, axis, order))
    return names.pop() if len(names) == 1 else mistakes.CHANNELS if ORDER not in names else ORDER


def _orders(e: Expected, actual: Array) -> Iterator[tuple[int, Array]]:
    """Return (axis, order) with actual close to the expected value taken in that order of the axis."""
    scale = float(np.abs(e.hi).max(initial=0.0)) or 1.0
    for axis, size in enumerate(actual.shape):
        if not 1 < size <= _LONGEST_AXIS:
            continue
        got, want = (np.moveaxis(v, axis, 0).reshape(size, -1) / scale for v in (actual.astype(np.float64), e.hi))
        distance = np.abs(got[:, None] - want[None]).max(axis=-1)
        order = distance.argmin(axis=1)
        if sorted(order) == list(range(size)) and (order != np.arange(size)).any() and distance.min(1).max() < _NEAR:
            yield axis, order


def _order_name(case: Case, name: str, axis: int, order: Array) -> str:
    # Channels of data lie on axis 1, those of kernels on 0 and 1, those of biases on 0.
    is_data = name in ("y", "x_bar")
    if "conv" not in case.op or axis > 1 or (is_data and axis == 0):
        return ORDER
    groups = int(case.attrs.get("groups", 1))
    if groups > 1 and len(order) % groups == 0:
        blocks = order.reshape(groups, -1)
        if (np.diff(blocks, axis=1) == 1).all() and (blocks[:, 0] % blocks.shape[1] == 0).all():
            return mistakes.GROUPS
    return mistakes.CHANNELS


def _mistaken(case: Case, outputs: Mapping[str, Any], wrong: list[str]) -> str | None:
    """Return the mistake of the table that explains the outputs, if one does."""
    for description, mistake in SUSPECTS.get(case.op, {}).items():
        for answer in mistake(case):
            if isinstance(answer, Question) and not _is_near(answer, outputs, wrong):
                continue
            answers = _answers(answer) if isinstance(answer, Question) else answer
            if _explains(case, outputs, wrong, _renamed(answers, case.expected)):
                return description
    return None


def _answers(question: Question) -> dict[str, list[Expected]]:
    """Return the answers to a question, none if it has no answer: other strides may not fit the target, say."""
    try:
        return question.answers()
    except (LierefError, ValueError, ArithmeticError):
        return {}


def _is_near(question: Question, outputs: Mapping[str, Any], wrong: list[str]) -> bool:
    """Return whether it is worth certifying an answer: lieref's own kernels tell far ones apart at once."""
    try:
        with np.errstate(all="ignore"):
            wide: dict[str, Any] = {name: value.astype(np.float64) for name, value in question.inputs.items()}
            answers: Mapping[str, Any] = reference.run(question.op, wide, question.attrs)
    except (LierefError, NotImplementedError, ValueError, KeyError):
        return True
    if len(answers) == len(wrong) == 1:
        answers = dict(zip(wrong, answers.values(), strict=True))
    for name in wrong:
        value, actual = answers.get(name), outputs[name].astype(np.float64)
        if value is None or np.shape(value) != actual.shape:
            return False
        forms = [value] if name not in question.arrange else [value, question.arrange[name](value)]
        size = np.abs(actual).max(initial=0.0) + np.abs(value).max(initial=0.0)
        if (
            size
            and min(np.abs(actual / size - form / size).mean() for form in forms) > _NEAR * np.abs(actual / size).mean()
        ):
            return False
    return True


def _explains(case: Case, outputs: Mapping[str, Any], wrong: list[str], answers: Mapping[str, list[Expected]]) -> bool:
    return all(
        any(e.hi.shape == outputs[name].shape and _passes(case, name, outputs[name], e) for e in answers.get(name, ()))
        for name in wrong
    )


def _renamed(answers: dict[str, list[Expected]], wanted: Mapping[str, Expected]) -> dict[str, list[Expected]]:
    """Return the answers under the names of the case; a single output may be called something else there."""
    if len(answers) == len(wanted) == 1:
        return dict(zip(wanted, answers.values(), strict=True))
    return answers


# --- arithmetics -----------------------------------------------------------------------------------------------------


_NARROW: Final = {"tf32": "tf32", "fp16": "float16", "bf16": "bfloat16"}
"""Profile -> format of its operands."""


def _rounded(case: Case, outputs: Mapping[str, Any], wrong: list[str]) -> str | None:
    """Return the arithmetic that the outputs show exactly: that of rounded inputs, or of results in a narrow format."""
    if case.dtype != "f32":
        return None
    for name, fmt in _NARROW.items():
        if not PROFILES[name].fits(case.op, case.expected.values()):
            continue
        stored = PROFILES[name].store is not None and all(formats.holds(outputs[n], fmt) for n in wrong)
        profile = Profile("results only", "float32", store=fmt) if stored else None
        for to_nearest, kept in product((True, False), ((), ("bias", "target"))):
            inputs = {n: v if n in kept else formats.rounded(v, fmt, to_nearest) for n, v in case.inputs.items()}
            if not all(np.isfinite(v).all() for v in inputs.values()):
                continue
            answers = _answers(Question(case.op, inputs, case.attrs))
            forms = {n: [*answers.get(n, ()), case.expected[n]] for n in wrong}
            if all(any(_passes(case, n, outputs[n], e, profile) for e in forms[n]) for n in wrong):
                return DIAGNOSES[name]
    return _low_sums(case, outputs, wrong)


# Sums in float16 are off by up to n u S, but seen from outside by a few u S, as is a sum of operands rounded to 11
# bits; those have been tried before. What is left gives itself away: its results are numbers of the format, or its
# errors are those of roundings with that unit: of the size of u S to sqrt(n) u S, and as often up as down.
def _low_sums(case: Case, outputs: Mapping[str, Any], wrong: list[str]) -> str | None:
    if not any(e.conversion.any() for e in case.expected.values()):
        return None
    for fmt, description in HALF_SUMS.items():
        if all(formats.holds(outputs[n], fmt) and _within_sums(case.expected[n], outputs[n], fmt) for n in wrong):
            return description
    for fmt, description in reversed(HALF_SUMS.items()):
        if all(_like_roundings(case.expected[n], outputs[n], fmt) for n in wrong):
            return description
    return None


def _like_roundings(e: Expected, actual: Array, fmt: str) -> bool:
    scale = UNIT_ROUNDOFF[fmt] * e.bound + SMALLEST_SUBNORMAL[fmt]
    errors = ((actual.astype(np.float64) - e.hi) / scale)[e.bound > 0]
    if e.count < 2 or e.floor is not None or errors.size < _FEW:
        return False
    rms = float(np.sqrt(np.mean(errors * errors)))
    is_centred = abs(float(errors.mean())) <= 4.0 * rms / np.sqrt(errors.size)
    return bool(is_centred and _LEAST_RMS <= rms <= np.sqrt(e.count))


def _within_sums(e: Expected, actual: Array, fmt: str) -> bool:
    error, unit = np.abs(actual.astype(np.float64) - e.hi), UNIT_ROUNDOFF[fmt]
    absolute = e.count * SMALLEST_SUBNORMAL[fmt]
    return bool((error <= 2.0 * unit * (e.count * e.bound + e.conversion + np.abs(e.hi)) + absolute).all())
