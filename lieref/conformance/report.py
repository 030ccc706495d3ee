"""What a check found: as text for people, as JSON for programs, as JUnit for build servers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from xml.etree import ElementTree as ET

from lieref import __version__
from lieref.conformance.profile import DIAGNOSES
from lieref.conformance.verdict import FAIL, MISTRUSTED, PASS, UNCOVERED, CaseVerdict

XFAIL, XPASS, TOLERATED = "XFAIL", "XPASS", "TOLERATED"
_BAD: Final = (FAIL, XPASS)
_EXAMPLES: Final = 3


@dataclass(frozen=True)
class Result:
    """Verdict on a case, the mistake it looks like, and whether it was expected to fail."""

    verdict: CaseVerdict
    mistake: str | None = None
    expected_to_fail: bool = False

    @property
    def status(self) -> str:
        """The verdict's status, XFAIL or XPASS where a failure was expected, TOLERATED where it does not count."""
        status = self.verdict.status
        if self.expected_to_fail and status != UNCOVERED:
            return XPASS if status == PASS else XFAIL
        if status == FAIL and self.verdict.case.result == "acceptable":
            return TOLERATED
        return status

    @property
    def diagnosis(self) -> str | None:
        """What the outputs look like, if they look like anything."""
        if self.mistake:
            return self.mistake
        return DIAGNOSES[self.verdict.looks_like] if self.verdict.looks_like else None


class Report:
    """Results of a check.

    Parameters
    ----------
    results : list of Result
    problems : list of str
        Vectors that could not be used, one line each.
    profile : str
        Declared arithmetic.
    """

    def __init__(self, results: list[Result], problems: list[str], profile: str) -> None:
        self.results = results
        self.problems = problems
        self.profile = profile

    @cached_property
    def counts(self) -> Counter[str]:
        """Number of cases by status."""
        return Counter(result.status for result in self.results)

    @property
    def ok(self) -> bool:
        """Whether nothing failed, all vectors were whole, and every family that is covered has a case that passed.

        A MISTRUSTED case says nothing about the port, only that the declared arithmetic is too coarse for it; a family
        with no other cases has not been checked.
        """
        failed = self.problems or self.counts[FAIL] or self.counts[XPASS]
        covered, passed = set[str](), set[str]()
        for result in self.results:
            if result.status != UNCOVERED:
                covered.add(result.verdict.case.family)
            if result.status in (PASS, XFAIL, TOLERATED):
                passed.add(result.verdict.case.family)
        return not failed and bool(covered) and covered == passed

    @property
    def exit_code(self) -> int:
        """0 if `ok`, else 1."""
        return 0 if self.ok else 1

    def failures(self) -> list[Result]:
        """Return the results that make the check fail."""
        return [result for result in self.results if result.status in _BAD]

    def mistrusted(self) -> list[Result]:
        """Return the results that prove nothing."""
        return [result for result in self.results if result.status == MISTRUSTED]

    def diagnoses(self) -> list[tuple[str, int]]:
        """Return what the failing cases look like, the most frequent first."""
        return Counter(r.diagnosis or "nothing known" for r in self.failures()).most_common()

    def common_profile(self) -> str | None:
        """Return the tightest profile under which no case would have failed, if there is one."""
        failed = [set(result.verdict.possible) for result in self.failures()]
        common = set.intersection(*failed) if failed else set[str]()
        return next((name for name in DIAGNOSES if name in common), None)

    def to_text(self) -> str:
        """Return the report for people: one line a family, the failures, and what they look like."""
        lines = [f"{'family':<20}{'pass':>6}{'fail':>6}{'other':>7}  worst margin"]
        families: dict[str, list[Result]] = {}
        for result in self.results:
            families.setdefault(result.verdict.case.family, []).append(result)
        for name, results in families.items():
            statuses = Counter(r.status for r in results)
            others = len(results) - statuses[PASS] - statuses[FAIL]
            margins = [m for r in results if not math.isnan(m := r.verdict.margin)]
            if statuses[UNCOVERED] == len(results):
                lines.append(f"{name:<20}{'-':>6}{'-':>6}{others:>7}  not covered")
            else:
                worst = f"{max(margins):.3g}" if margins else "-"
                lines.append(f"{name:<20}{statuses[PASS]:>6}{statuses[FAIL]:>6}{others:>7}  {worst}")
        failures = self.failures()
        notable = failures + self.mistrusted()
        shown = _examples(notable)
        for result in shown:
            case = result.verdict.case
            flags = f" [{', '.join(case.flags)}]" if case.flags else ""
            reason = result.verdict.reason or "passes, but a failure was expected"
            lines.append(f"{result.status} {case.id} ({case.comment}){flags}: {reason}")
            if result.diagnosis:
                lines.append(f"     looks like {result.diagnosis}")
        if len(notable) > len(shown):
            lines.append(f"... and {len(notable) - len(shown)} more of the same kinds (all with --json)")
        lines += [f"PROBLEM {problem}" for problem in self.problems]
        if failures:
            lines.append("What the failing cases look like:")
            lines += [f"  {count:>4}  {what}" for what, count in self.diagnoses()]
            if common := self.common_profile():
                lines.append(f"No case fails under the profile {common}: {DIAGNOSES[common]}.")
        found = ", ".join(f"{count} {status}" for status, count in sorted(self.counts.items()))
        lines.append(f"{'OK' if self.ok else 'NOT OK'}: {found or 'no case was checked'} (profile {self.profile})")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs: numbers that are not finite are null."""
        return {
            "schema": "lieref-golden-report/1",
            "lieref": __version__,
            "profile": self.profile,
            "ok": self.ok,
            "counts": dict(sorted(self.counts.items())),
            "problems": self.problems,
            "diagnoses": [{"what": what, "cases": count} for what, count in self.diagnoses()]
            if self.failures()
            else [],
            "common_profile": self.common_profile(),
            "cases": [_json_result(result) for result in self.results],
        }

    def to_junit(self) -> str:
        """Return the report for build servers."""
        suite = ET.Element(
            "testsuite",
            name="lieref golden",
            tests=str(len(self.results) + len(self.problems)),
            failures=str(len(self.failures()) + len(self.problems)),
            skipped=str(self.counts[UNCOVERED] + self.counts[XFAIL] + self.counts[TOLERATED]),
        )
        for result in self.results:
            case = result.verdict.case
            node = ET.SubElement(suite, "testcase", classname=case.family, name=f"{case.id} {case.comment}")
            if result.status in _BAD:
                text = f"{result.verdict.reason}; looks like {result.diagnosis}" if result.diagnosis else None
                ET.SubElement(node, "failure", message=text or result.verdict.reason or result.status)
            elif result.status != PASS:
                ET.SubElement(node, "skipped", message=f"{result.status}: {result.verdict.reason}")
        for problem in self.problems:
            node = ET.SubElement(suite, "testcase", classname="vectors", name=problem)
            ET.SubElement(node, "failure", message=problem)
        return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _examples(results: list[Result]) -> list[Result]:
    """Return the first few results of each status, operation and diagnosis."""
    seen, chosen = Counter[tuple[str, str, str | None]](), []
    for result in results:
        kind = (result.status, result.verdict.case.op, result.diagnosis)
        seen[kind] += 1
        if seen[kind] <= _EXAMPLES:
            chosen.append(result)
    return chosen


def _json_result(result: Result) -> dict[str, Any]:
    verdict = result.verdict
    return {
        "id": verdict.case.id,
        "op": verdict.case.op,
        "status": result.status,
        "reason": verdict.reason,
        "looks_like": result.diagnosis,
        "flags": list(verdict.case.flags),
        "outputs": {
            v.name: {
                "margin": _finite(v.margin),
                "index": list(v.index),
                "rms": _finite(v.rms),
                "bias": _finite(v.bias),
            }
            for v in verdict.outputs
        },
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
