"""The runner: every case through a backend, a verdict for each, and never an exception out of a bad backend."""

from __future__ import annotations

import fnmatch
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from lieref._check import check_choice
from lieref._text import did_you_mean
from lieref.conformance.backend import Backend, BackendError, CallableBackend
from lieref.conformance.case import Case
from lieref.conformance.exact.semantics import NAMES
from lieref.conformance.profile import Profile, get_profile
from lieref.conformance.report import Report, Result
from lieref.conformance.suspects import joined, suspects
from lieref.conformance.vectors import read_vectors
from lieref.conformance.verdict import ACCEPTED, FAIL, MISTRUSTED, PASS, UNCOVERED, CaseVerdict, judge
from lieref.errors import DomainError, FormatError

_BREAKDOWNS: Final = (SystemExit, MemoryError, RecursionError, ImportError)
"""Exceptions that are no refusal of bad inputs."""

MOST_LISTED: Final = 8
"""Names that a message lists; the core set has some two hundred families."""


def check(
    backend: Backend | Callable[[str, dict[str, Any], dict[str, Any]], Any],
    *,
    vectors: Path | str | None = None,
    families: Iterable[str] | None = None,
    profile: str | None = None,
    bitwise: bool = False,
    xfails: Iterable[str] = (),
    strict: bool = False,
    semantics: str | None = None,
    told: Callable[[int, int, str], None] | None = None,
) -> Report:
    """Return what golden cases say of a backend: which it passes, and what its failures look like.

    Parameters
    ----------
    backend : callable
        ``(op, inputs, attrs) -> outputs`` with dicts of NumPy arrays in the dtype under test, or one of the classes of
        `lieref.conformance.backend`. `NotImplementedError` means that an operation is not covered.
    vectors : path, optional
        Folder of vectors; the core set of the package by default.
    families : iterable of str, optional
        Families to check; all by default.
    profile : str, optional
        Declared arithmetic, a key of `lieref.conformance.profile.PROFILES`; by default that of each case's dtype.
    bitwise : bool
        Run every case twice and demand the same bits.
    xfails : iterable of str
        Patterns of case ids that are expected to fail, or not to be covered within a family that is; one that passes
        fails the check.
    strict : bool
        Fail if a backend accepts inputs that it should refuse; else it is only reported.
    semantics : str, optional
        How quantised operators are to round, one of `lieref.conformance.exact.semantics.NAMES`. Only their cases are
        judged then; without it they are left out, for a port has one arithmetic, and the cases are of several.
    told : callable, optional
        Called before each case with how many are done, of how many, and the id of the next.

    Returns
    -------
    Report

    Raises
    ------
    FormatError
        If there are no readable vectors.
    DomainError
        If the profile, a family or the semantics are unknown, or a family is one of integers and no semantics are
        given.
    """
    declared = get_profile(profile) if profile else None
    cases, problems = read_vectors(Path(vectors) if vectors else None)
    chosen = select(cases, families, semantics)
    run: Any = backend if getattr(backend, "takes_cases", False) else CallableBackend(backend)
    patterns = list(xfails)
    problems += unmatched(patterns, cases) + repeated(cases)
    results = []
    for done, case in enumerate(chosen):
        if told is not None:
            told(done, len(chosen), case.id)
        results.append(check_case(run, case, declared, bitwise, patterns))
    if semantics:
        return Report(results, problems, f"integers, {semantics}", strict)
    left_out = 0 if families else len(cases) - len(chosen)
    return Report(results, problems, declared.name if declared else "as the dtype", strict, left_out)


def select(cases: list[Case], families: Iterable[str] | None, semantics: str | None = None) -> list[Case]:
    """Return the cases of some families: those of integers in the chosen semantics, or those of floats without any.

    Raises
    ------
    DomainError
        If a family or the semantics are unknown, or there are no cases: of integers without semantics, of floats with.
    """
    if semantics is not None:
        check_choice("check", "semantics", semantics, NAMES)
    of_families = _of_families(cases, families)
    if semantics is None:
        chosen = [case for case in of_families if not case.is_integer]
    else:
        narrowed = (
            replace(case, attrs={**case.attrs, "semantics": [semantics]})
            for case in of_families
            if case.is_integer and semantics in case.attrs["semantics"]
        )
        chosen = list(narrowed)
    if of_families and not chosen:
        if semantics is None:
            raise DomainError(
                f"check: `semantics` must be one of {', '.join(NAMES)} for families of integers; got none"
            )
        raise DomainError(f"check: `families` must have integers in the semantics {semantics}; got none")
    return chosen


def of_export(cases: list[Case], families: Iterable[str] | None, semantics: str | None) -> list[Case]:
    """Return the cases of some families to be written: floats and integers, or integers in one semantics."""
    return _of_families(cases, families) if semantics is None else select(cases, families, semantics)


def _of_families(cases: list[Case], families: Iterable[str] | None) -> list[Case]:
    if families is None:
        return cases
    names, known = list(families), sorted({case.family for case in cases})
    for name in names:
        if name not in known:
            raise DomainError(
                f"check: `families` must be among {_listed(known)}; got {name!r}{did_you_mean(name, known)}"
            )
    return [case for case in cases if case.family in names]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return f"{', '.join(names[:MOST_LISTED])}{more}"


def unmatched(patterns: Iterable[str], cases: list[Case]) -> list[str]:
    """Return a line for each pattern of expected failures that matches no case."""
    return [
        f"xfails: the pattern must match the id of a case; got {pattern!r}"
        for pattern in patterns
        if not any(fnmatch.fnmatch(case.id, pattern) for case in cases)
    ]


def repeated(cases: list[Case]) -> list[str]:
    """Return a line for each id that several cases have: a report could not tell them apart."""
    counts = Counter(case.id for case in cases)
    return [
        f"vectors: an id must belong to one case; got {name} {count} times"
        for name, count in counts.items()
        if count > 1
    ]


def check_case(
    run: Backend, case: Case, profile: Profile | None = None, bitwise: bool = False, xfails: Iterable[str] = ()
) -> Result:
    """Return the result of one case; whatever the backend does ends in a verdict."""
    verdict, outputs = _verdict(run, case, profile)
    if verdict.status in (PASS, MISTRUSTED) and bitwise and case.result != "invalid":
        verdict = _same_bits(run, case, verdict, outputs)
    wrong = verdict.status == FAIL and isinstance(outputs, dict)
    mistakes = suspects(case, outputs) if wrong else ()
    expected_to_fail = any(fnmatch.fnmatch(case.id, pattern) for pattern in xfails)
    return Result(verdict, joined(mistakes), expected_to_fail, mistakes)


def _verdict(run: Backend, case: Case, profile: Profile | None) -> tuple[CaseVerdict, Any]:
    try:
        # A warning of the backend is its own business; only its outputs count here.
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outputs = run(case)
    except NotImplementedError:
        return CaseVerdict(case, UNCOVERED, "not implemented"), None
    except BackendError as error:
        refused = case.result == "invalid" and error.refused
        return CaseVerdict(case, PASS if refused else FAIL, str(error)), None
    except (Exception, SystemExit) as error:
        if case.result == "invalid" and not isinstance(error, _BREAKDOWNS):
            return CaseVerdict(case, PASS), None
        text = str(error).splitlines()[0] if str(error) else "no message"
        return CaseVerdict(
            case, FAIL, f"the backend must return outputs; it raised {type(error).__name__}: {text}"
        ), None
    if case.result == "invalid":
        return CaseVerdict(case, ACCEPTED, "the backend must refuse these inputs; it returned outputs"), None
    return judge(case, outputs, profile), outputs


def _same_bits(run: Backend, case: Case, verdict: CaseVerdict, first: dict[str, Any]) -> CaseVerdict:
    # The bits are taken before the second run: a backend may write into the same buffers again.
    bits = {name: np.asarray(first[name]).tobytes() for name in case.expected}
    second_verdict, second = _verdict(run, case, None)
    if second_verdict.status == UNCOVERED:
        return CaseVerdict(case, FAIL, "the backend must answer a second run as the first; it gave no outputs")
    if not isinstance(second, dict):
        return second_verdict
    for name in case.expected:
        if name not in second or np.asarray(second[name]).tobytes() != bits[name]:
            return CaseVerdict(case, FAIL, f"{name}: must have the same bits in a second run", verdict.outputs)
    return verdict


def read_xfails(path: Path) -> list[str]:
    """Return the patterns of an xfails file: one case id or shell pattern a line, the rest after ``#`` a reason.

    Raises
    ------
    FormatError
        If it cannot be read, or a line has no reason.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"read_xfails: {path} must be a text file; got {error}") from error
    patterns = []
    for number, line in enumerate(lines, 1):
        pattern, _, reason = (part.strip() for part in line.partition("#"))
        if pattern and not reason:
            raise FormatError(f"read_xfails: line {number} of {path} must give a reason after `#`; got {line!r}")
        if pattern:
            patterns.append(pattern)
    return patterns
