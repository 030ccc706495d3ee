"""What a check found: as text for people, as JSON for programs, as JUnit for build servers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final
from xml.etree import ElementTree as ET

from lieref import __version__
from lieref._table import html_text
from lieref.conformance.exact.suspects import shows
from lieref.conformance.outcome import TOLERATED, XFAIL, XPASS, Record, fails, flaws
from lieref.conformance.profile import DIAGNOSES
from lieref.conformance.suspects import joined
from lieref.conformance.verdict import ACCEPTED, FAIL, MISTRUSTED, PASS, UNCOVERED, CaseVerdict

_EXAMPLES: Final = 3


@dataclass(frozen=True)
class Result:
    """Verdict on a case, the mistake it looks like, and whether it was expected to fail."""

    verdict: CaseVerdict
    mistake: str | None = None
    expected_to_fail: bool = False
    mistakes: tuple[tuple[str, str], ...] = ()
    """All mistakes that it could be, where a case cannot tell, each with its form."""

    @property
    def status(self) -> str:
        """The verdict's status, XFAIL or XPASS where a failure was expected, TOLERATED where it does not count.

        What an ill-conditioned case excuses is a number that is off, not an output that is none.
        """
        status = self.verdict.status
        if self.expected_to_fail and status not in (UNCOVERED, MISTRUSTED):
            return XPASS if status == PASS else XFAIL
        if status == FAIL and self.verdict.case.result == "acceptable" and self.verdict.is_measured:
            return TOLERATED
        return status

    @property
    def record(self) -> Record:
        """What counts for the check as a whole."""
        case = self.verdict.case
        axes = ", ".join(f"{name} of {value.ndim} axes" for name, value in sorted(case.inputs.items()))
        kind = f"{case.op} in {case.id.partition('/')[0]} ({axes})"
        return Record(case.id, self.status, case.result != "invalid", self.expected_to_fail, kind)

    @property
    def diagnosis(self) -> str | None:
        """What the outputs look like, if they look like anything."""
        if self.mistake:
            return self.mistake
        return DIAGNOSES[self.verdict.looks_like] if self.verdict.looks_like else None


class Report:
    """What a check found: verdicts, counts, and what failures look like; it prints as text for people.

    Parameters
    ----------
    results : list of Result
    problems : list of str
        Vectors that could not be used, one line each.
    profile : str
        Declared arithmetic.
    strict : bool
        Whether accepting invalid inputs fails the check.
    left_out : int
        Cases of quantised operators, which are judged only in chosen semantics.
    """

    def __init__(
        self, results: list[Result], problems: list[str], profile: str, strict: bool = False, left_out: int = 0
    ) -> None:
        self.results = results
        self.problems = problems
        self.profile = profile
        self.strict = strict
        self.left_out = left_out

    @cached_property
    def counts(self) -> Counter[str]:
        """Number of cases by status."""
        return Counter(result.status for result in self.results)

    @cached_property
    def flaws(self) -> list[str]:
        """Why the check fails, one line each; see `lieref.conformance.outcome`."""
        return flaws((result.record for result in self.results), self.strict)

    @property
    def ok(self) -> bool:
        """Whether the check succeeds: no flaws, and all vectors were whole."""
        return not self.problems and not self.flaws

    @property
    def exit_code(self) -> int:
        """0 if `ok`, else 1."""
        return 0 if self.ok else 1

    def failures(self) -> list[Result]:
        """Return the results that make the check fail."""
        return [result for result in self.results if fails(result.status, self.strict)]

    def neutral(self) -> list[tuple[str, str, list[Result]]]:
        """Return (status, reason, results) of the cases that prove nothing, or accept what they should refuse."""
        groups: dict[tuple[str, str], list[Result]] = {}
        for result in self.results:
            if result.status in (MISTRUSTED, ACCEPTED) and not fails(result.status, self.strict):
                reason = result.verdict.reason.rpartition(": ")[2]
                groups.setdefault((result.status, reason), []).append(result)
        return [(status, reason, results) for (status, reason), results in groups.items()]

    def diagnoses(self) -> list[tuple[str, int]]:
        """Return what the failing cases look like, the most frequent first.

        A port has one mistake rather than two: what explains every failure of a family of integers is all that is
        named, where single cases leave a choice.
        """
        failures = self.failures()
        common = self._common_mistakes(failures)
        names = [common.get(r.verdict.case.family, r.diagnosis) or "nothing known" for r in failures]
        return Counter(names).most_common()

    def _common_mistakes(self, failures: list[Result]) -> dict[str, str]:
        """Return what explains every failure of a family of integers, and fails nowhere else, by family."""
        found: dict[str, list[tuple[str, str]]] = {}
        for result in failures:
            if result.verdict.case.is_integer:
                family = result.verdict.case.family
                before = found.get(family, list(result.mistakes))
                found[family] = [form for form in before if form in result.mistakes]
        for result in self.results:
            case = result.verdict.case
            forms = found.get(case.family, []) if result.status == PASS and case.is_integer else []
            if len({name for name, _ in forms}) > 1:
                found[case.family] = [form for form in forms if not shows(case, form)]
        return {family: names for family, forms in found.items() if (names := joined(forms))}

    def common_profile(self) -> str | None:
        """Return the tightest profile under which no case would have failed, if it is what most of them look like.

        A coarse profile lets much pass: named as the arithmetic of a port it would hide a mistake that has a name.
        """
        failures = self.failures()
        possible = [set(result.verdict.possible) for result in failures]
        common = set.intersection(*possible) if possible else set[str]()
        name = next((name for name in DIAGNOSES if name in common), None)
        alike = sum(result.diagnosis == DIAGNOSES[name] for result in failures) if name else 0
        return name if 2 * alike > len(failures) else None

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
        shown = _examples(failures)
        for result in shown:
            case = result.verdict.case
            flags = f" [{', '.join(case.flags)}]" if case.flags else ""
            reason = result.verdict.reason or "passes, but a failure was expected"
            lines.append(f"{result.status} {case.id} ({case.comment}){flags}: {reason}")
            if result.diagnosis:
                lines.append(f"     looks like {result.diagnosis}")
        if len(failures) > len(shown):
            lines.append(f"... and {len(failures) - len(shown)} more of the same kinds (all with --json)")
        for status, reason, results in self.neutral():
            where = ", ".join(dict.fromkeys(r.verdict.case.family for r in results))
            lines.append(f"{status}, {len(results)} cases of {where}: {reason}")
        extra = sorted({name for r in self.results for name in r.verdict.extra})
        if extra:
            lines.append(f"NOT JUDGED: outputs that nobody asked for: {', '.join(extra)}")
        lines += [f"PROBLEM {problem}" for problem in self.problems]
        if self.left_out:
            lines.append(f"LEFT OUT, {self.left_out} cases of quantised operators: choose their rounding (--semantics)")
        if failures:
            lines.append("What the failing cases look like:")
            lines += [f"  {count:>4}  {what}" for what, count in self.diagnoses()]
            if common := self.common_profile():
                lines.append(f"No case fails under the profile {common}: {DIAGNOSES[common]}.")
        lines += [f"NOT OK because {flaw}" for flaw in self.flaws]
        found = ", ".join(f"{count} {status}" for status, count in sorted(self.counts.items()))
        lines.append(f"{'OK' if self.ok else 'NOT OK'}: {found or 'no case was checked'} (profile {self.profile})")
        return "\n".join(lines)

    def __repr__(self) -> str:
        """Return the report for people."""
        return self.to_text()

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        return html_text(self.to_text())

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs: numbers that are not finite are null."""
        return {
            "schema": "lieref-golden-report/1",
            "lieref": __version__,
            "profile": self.profile,
            "strict": self.strict,
            "ok": self.ok,
            "flaws": self.flaws,
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
        # Where no case fails by itself, what is wrong with all of them together is one more failure.
        common = [] if self.failures() else self.flaws
        suite = ET.Element(
            "testsuite",
            name="lieref golden",
            tests=str(len(self.results) + len(self.problems) + len(common)),
            failures=str(len(self.failures()) + len(self.problems) + len(common)),
            skipped=str(sum(r.status != PASS and not fails(r.status, self.strict) for r in self.results)),
        )
        for result in self.results:
            case = result.verdict.case
            node = ET.SubElement(suite, "testcase", classname=case.family, name=f"{case.id} {case.comment}")
            if fails(result.status, self.strict):
                text = f"{result.verdict.reason}; looks like {result.diagnosis}" if result.diagnosis else None
                ET.SubElement(node, "failure", message=text or result.verdict.reason or result.status)
            elif result.status != PASS:
                ET.SubElement(node, "skipped", message=f"{result.status}: {result.verdict.reason}")
        for kind, lines in (("vectors", self.problems), ("check", common)):
            for line in lines:
                node = ET.SubElement(suite, "testcase", classname=kind, name=line)
                ET.SubElement(node, "failure", message=line)
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
