"""Usual suspects: named mistakes whose result can be computed, to be compared with an output that failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np

from lieref._types import Array
from lieref.conformance.case import DTYPES, Case, Expected
from lieref.conformance.profile import default_profile
from lieref.conformance.truth import truth
from lieref.conformance.verdict import PASS, form_flaw, judge_output
from lieref.errors import LierefError


@dataclass(frozen=True)
class Question:
    """What a mistake amounts to: the right answer to another question, with some outputs rearranged."""

    op: str
    inputs: dict[str, Array]
    attrs: dict[str, Any]
    rearranged: str | None = None
    arrange: Callable[[Array], Array] | None = None

    def answer(self) -> dict[str, Expected]:
        """Return the outputs the mistake gives."""
        answers = truth(self.op, self.inputs, self.attrs)
        if self.rearranged in answers and self.arrange is not None:
            e, move = answers[self.rearranged], self.arrange
            hi, lo, radius, bound, conversion = map(move, (e.hi, e.lo, e.radius, e.bound, e.conversion))
            answers[self.rearranged] = Expected(hi, lo, radius, bound, conversion, e.count)
        return answers


Mistake: TypeAlias = Callable[[Case], Question | None]


def _attr(name: str, change: Callable[[Any], Any]) -> Mistake:
    """Return the mistake of reading one attribute wrongly."""

    def ask(case: Case) -> Question | None:
        if name not in case.attrs or (changed := change(case.attrs[name])) == case.attrs[name]:
            return None
        return Question(case.op, case.inputs, {**case.attrs, name: changed})

    return ask


def _input(name: str, change: Callable[[Array], Array], also: str | None = None) -> Mistake:
    """Return the mistake of reading one input wrongly, and of writing the output `also` in the same way."""

    def ask(case: Case) -> Question | None:
        if name not in case.inputs:
            return None
        changed = np.asarray(change(case.inputs[name]), order="C")
        if changed.shape != case.inputs[name].shape or (changed == case.inputs[name]).all():
            return None
        return Question(case.op, {**case.inputs, name: changed}, case.attrs, also, change)

    return ask


def _op(op: str, **renamed: str) -> Mistake:
    """Return the mistake of computing another operation; keywords rename inputs (new name = old name)."""

    def ask(case: Case) -> Question | None:
        inputs = dict(case.inputs)
        for new, old in renamed.items():
            inputs[new] = inputs.pop(old)
        return Question(op, inputs, case.attrs)

    return ask


def _always(value: str, _: Any) -> str:
    return value


def _swap_halves(pads: list[int]) -> list[int]:
    half = len(pads) // 2
    return pads[half:] + pads[:half]


def _flip(kernel: Array) -> Array:
    return np.flip(kernel, tuple(range(2, kernel.ndim)))


def _transpose(a: Array) -> Array:
    return np.swapaxes(a, -1, -2)


_LAYOUTS: Final = {
    f"the {name} layout of low-rank factors": _attr("matricisation", partial(_always, name))
    for name in ("unfold", "view", "structured")
}
_MAPS: Final = {
    "the first-order map or its gradient (1 + delta) instead of exp": _attr("map", lambda _: "taylor1"),
    "exp or its gradient instead of the first-order map": _attr("map", lambda _: "exp"),
    "an additive update": _attr("group", lambda _: "additive"),
    "a missing scaling": _attr("scaling", lambda _: 1.0),
}
_FLIPPED: Final = "a flipped kernel (a true convolution, not a correlation)"
_CONV: Final = {
    _FLIPPED: _input("weight", _flip),
    "begin and end pads swapped": _attr("pads", _swap_halves),
    "dilations ignored": _attr("dilations", lambda values: [1] * len(values)),
    "dilations one too small": _attr("dilations", lambda values: [max(v - 1, 1) for v in values]),
    "dilations one too large": _attr("dilations", lambda values: [v + 1 if v > 1 else v for v in values]),
    "strides ignored": _attr("strides", lambda values: [1] * len(values)),
    "a missing bias": _input("bias", np.zeros_like),
    "spatial axes swapped": _input("weight", _transpose),
}
_ADAPTED: Final = {
    **_LAYOUTS,
    **_MAPS,
    _FLIPPED: _input("base_weight", _flip),
    "begin and end pads swapped": _attr("pads", _swap_halves),
    "a missing bias": _input("bias", np.zeros_like),
}

SUSPECTS: Final[dict[str, Mapping[str, Mistake]]] = {
    "conv": _CONV,
    "conv_vjp": {**_CONV, _FLIPPED: _input("weight", _flip, also="weight_bar")},
    "hadamard": {"the first-order map 1 + delta instead of exp": _op("taylor1")},
    "hadamard_vjp": {"the first-order gradient, without the factor exp(delta)": _op("taylor1_vjp")},
    "hadamard_delta": {"the first-order change base_weight delta": _op("taylor1_vjp", weight_bar="delta")},
    "taylor1": {"exp instead of the first-order map": _op("hadamard")},
    "taylor1_vjp": {"the gradient of exp instead of the first-order one": _op("hadamard_vjp")},
    "expm": {"a transposed matrix": _input("a", _transpose), "exp(a) - I": _op("expm_delta")},
    "expm_delta": {"a transposed matrix": _input("a", _transpose), "exp(a), the identity not taken off": _op("expm")},
    "expm_frechet": {"a transposed matrix": _input("a", _transpose)},
    "expm_vjp": {
        "a missing transpose: the derivative in the direction of the cotangent": _op("expm_frechet", a_dot="g_bar"),
        "a transposed cotangent": _input("g_bar", _transpose),
        "the first-order gradient: the cotangent itself": _input("a", np.zeros_like),
    },
    "low_rank": _LAYOUTS | {"a missing scaling": _MAPS["a missing scaling"]},
    "low_rank_vjp": _LAYOUTS | {"a missing scaling": _MAPS["a missing scaling"]},
    "tucker": {"a missing scaling": _MAPS["a missing scaling"]},
    "tucker_vjp": {"a missing scaling": _MAPS["a missing scaling"]},
    "low_rank_expm_vjp": {"the first-order gradient": _input("lora_a", np.zeros_like)},
    "adapted_weight": _LAYOUTS | _MAPS,
    "adapted_weight_vjp": _LAYOUTS | _MAPS,
    "adapted_conv": _ADAPTED,
    "adapted_conv_vjp": _ADAPTED,
    "optimizer_step": {
        "no weight decay": _attr("weight_decay", lambda _: 0.0),
        "no bias correction, or that of another step": _attr("step", lambda step: step + 1),
    },
    "training": _LAYOUTS | _MAPS | {"no momentum": _attr("momentum", lambda _: 0.0)},
}
"""Operation -> description -> what the mistake amounts to."""

_FACTORS: Final = {
    -1.0: "the right result with the wrong sign",
    2.0: "the right result times 2",
    0.5: "the right result times 1/2",
}


def suspect(case: Case, outputs: Mapping[str, Any]) -> str | None:
    """Return the mistake whose result the outputs are, or None.

    An output that is right by itself proves nothing; the others must be what the mistake gives.
    """
    if all(_passes(case, name, outputs.get(name)) for name in case.expected):
        return None
    profile = default_profile(case.dtype)
    if plain := _plain(case, outputs):
        return plain
    if _is_flushed(case, outputs):
        return "results below the smallest normal number flushed to zero"
    for description, mistake in SUSPECTS.get(case.op, {}).items():
        question = mistake(case)
        if question is None:
            continue
        try:
            answers = _renamed(question.answer(), case.expected)
        except LierefError:
            continue
        verdicts = [
            any(judge_output(name, outputs.get(name), e, case, profile).status == PASS for e in (answers[name], right))
            for name, right in case.expected.items()
            if name in answers
        ]
        if verdicts and all(verdicts):
            return description
    return None


def _plain(case: Case, outputs: Mapping[str, Any]) -> str | None:
    """Return the mistake that the outputs show by themselves: nothing computed, or the right result times a number."""
    if any(form_flaw(outputs.get(name), e, DTYPES[case.dtype]) for name, e in case.expected.items()):
        return None
    wrong = [name for name in case.expected if not _passes(case, name, outputs[name])]
    smallest = np.finfo(DTYPES[case.dtype]).smallest_normal
    loud = any((np.abs(case.expected[name].hi) >= smallest).any() for name in wrong)
    if not wrong:
        return None
    if loud and all((outputs[name] == 0).all() for name in wrong):
        return "nothing written: all zeros"
    if all(outputs[n].size > 1 and (outputs[n] == outputs[n].flat[0]).all() and outputs[n].any() for n in wrong):
        return "a constant"
    for name, value in case.inputs.items():
        if all(np.array_equal(outputs[n], value) for n in wrong):
            return f"the input {name}, unchanged"
    for factor, description in _FACTORS.items():
        if all(_passes(case, n, outputs[n] * outputs[n].dtype.type(1.0 / factor)) for n in wrong):
            return description
    return None


def _passes(case: Case, name: str, actual: Any) -> bool:
    return judge_output(name, actual, case.expected[name], case, default_profile(case.dtype)).status == PASS


def _is_flushed(case: Case, outputs: Mapping[str, Any]) -> bool:
    """Return whether all that is wrong are zeros where the expected value is a subnormal number."""
    smallest = np.finfo(DTYPES[case.dtype]).smallest_normal
    changed = False
    for name, e in case.expected.items():
        actual = outputs.get(name)
        if not isinstance(actual, np.ndarray) or actual.shape != e.hi.shape:
            return False
        flushed = (actual == 0) & (np.abs(e.hi) < smallest) & (e.hi != 0)
        changed |= bool(flushed.any())
        restored = np.where(flushed, e.hi, actual).astype(actual.dtype)
        if judge_output(name, restored, e, case, default_profile(case.dtype)).status != PASS:
            return False
    return changed


def _renamed(answers: dict[str, Expected], wanted: Mapping[str, Expected]) -> dict[str, Expected]:
    """Return the answers under the names of the case; a single output may be called something else there."""
    if len(answers) == len(wanted) == 1:
        return dict(zip(wanted, answers.values(), strict=True))
    return answers
