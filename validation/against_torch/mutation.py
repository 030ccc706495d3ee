"""Mutation scores of the harness beside fixed tolerances, as numbers.

    python -m validation.against_torch.mutation

Writes validation/results/mutation.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.conformance import faults

RESULTS = Path(__file__).parents[1] / "results" / "mutation.json"


def main() -> None:
    alarms, variants = faults.false_alarms()
    report: dict[str, Any] = {"numpy": np.__version__, "conv": {"faults": 140, "variants": variants, "alarms": alarms}}
    for scale in faults.SCALES:
        found, missed = faults.conv_score(scale)
        report["conv"][f"scale {scale:g}"] = {"found": found, "missed_by_lieref": missed}
    for norm in (1e-3, 0.1, 1.0):
        found, alarms, faulty, correct = faults.exp_score(norm)
        report[f"expm, norm {norm:g}"] = {"faults": faulty, "found": found, "variants": correct, "alarms": alarms}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
