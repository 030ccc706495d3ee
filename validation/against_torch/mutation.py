"""What the verdicts find, name, and leave alone, as numbers.

    python -m validation.against_torch.mutation [--quick]

Seeded faults beside fixed tolerances; wrong ports with the share of their failing cases that are given the right name;
honest ports in every arithmetic, none of which may fail. Writes validation/results/mutation.json; `--quick` leaves out
the names, which take minutes.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from lieref.conformance.profile import PROFILES
from lieref.golden import check, judge, read_vectors
from tests.conformance import faults, honest
from tests.conformance.wrong import WRONG
from validation.record import environment, write_result


def seeded() -> dict[str, Any]:
    """Return faults found and false alarms of each policy."""
    alarms, variants = faults.false_alarms()
    found: dict[str, Any] = {"conv": {"faults": 140, "variants": variants, "alarms": alarms}}
    for scale in faults.SCALES:
        hits, missed = faults.conv_score(scale)
        found["conv"][f"scale {scale:g}"] = {"found": hits, "missed_by_lieref": missed}
    for norm in (1e-3, 0.1, 1.0):
        hits, alarms, faulty, correct = faults.exp_score(norm)
        found[f"expm, norm {norm:g}"] = {"faults": faulty, "found": hits, "variants": correct, "alarms": alarms}
    return found


def names() -> list[dict[str, Any]]:
    """Return for each wrong port how many cases fail, how many are given a right name, and what the others are."""
    rows = []
    for wrong in WRONG:
        found = check(wrong.run, families=wrong.families).diagnoses()
        right = [(name, n) for name, n in found if any(part in name for part in wrong.names)]
        rows.append(
            {
                "cause": wrong.cause, "failing": sum(n for _, n in found), "named": sum(n for _, n in right),
                "first": bool(right) and found[0] == right[0], "others": dict(sorted(set(found) - set(right))),
            }
        )  # fmt: skip
        print(f"{wrong.cause:42} {rows[-1]['named']:4} of {rows[-1]['failing']:4} {'' if rows[-1]['first'] else '!'}")
    return rows


def alarms_of_honest_ports() -> dict[str, dict[str, int]]:
    """Return verdicts by port on the golden cases of the operations that the ports define."""
    cases = [case for case in read_vectors()[0] if case.op in honest.DEFINITIONS and case.result == "valid"]
    found = {}
    for port in honest.PORTS:
        counts = Counter[str]()
        for case in cases:
            if case.dtype == "f32" or port.profile == "fp32":
                profile = PROFILES[port.profile] if case.dtype == "f32" else None
                counts[judge(case, port(case.op, case.inputs, case.attrs), profile).status] += 1
        found[port.name] = dict(counts)
    return found


def main(arguments: list[str]) -> None:
    """Write the numbers."""
    report = {**environment(), **seeded(), "honest": alarms_of_honest_ports()}
    if "--quick" not in arguments:
        report["wrong"] = names()
    write_result("mutation", report)


if __name__ == "__main__":
    main(sys.argv[1:])
