"""Is a store, or a checkpoint, ever anything but old or new?

    python -m validation.kill [--kills 5000] [--cuts 5400] [--failures 600] [--trainings 600] [--walks 0] [--parts 6]

Install, start, mark-good, rollback, trust and init of a device store, with bundles of adapters and of updates of a
quantised file, and training with checkpoints, are disturbed:

- killed before and after each system call that they make, as ptrace lists them (the test suite compares that list with
  strace's), for every verb from every kind of state;
- cut from power after each operation on the disk: of what was not flushed any part may be lost or torn, the changes of
  a folder arrive in any order, and several of the many outcomes are drawn;
- met by a disk that is full from some call on, or at one call, and by a flush that fails: an error must leave the old
  state, success the new one.

After each the store must be in exactly the old state or exactly the new one (status, history, the bytes of every slot,
what it gives to run), and the next install must succeed; a training must end with the same SHA-256. Fails otherwise.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.crash.tracer import UNAVAILABLE
from validation.record import environment, write_result

UPDATES = ("--bundles", "integer-update")
"""The same with updates of a quantised file in the place of adapters."""


def run(arguments: list[str]) -> dict[str, Any]:
    """Run injections in a small process of their own, for each forks it."""
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    report = dict(json.loads(done.stdout))
    print(f"{' '.join(arguments)}: {report['injections']} injections, {len(report['wrong'])} wrong", flush=True)
    return {**report, "seconds": round(time.monotonic() - begin)}


def joined(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up the reports of the parts of one kind."""
    whole: dict[str, Any] = {}
    for name in dict.fromkeys(name for report in reports for name in report):
        values = [report[name] for report in reports if name in report]
        if isinstance(values[0], dict):
            whole[name] = dict(sum((Counter(value) for value in values), Counter()))
        elif isinstance(values[0], list):
            whole[name] = [line for value in values for line in value]
        else:
            whole[name] = max(values) if name == "seconds" else sum(values)
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (
        ("kills", 5000),
        ("cuts", 5400),
        ("failures", 600),
        ("trainings", 600),
        ("walks", 0),
        ("parts", 6),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if UNAVAILABLE:
        raise SystemExit(UNAVAILABLE)
    kinds = {
        "killed": ["tests.crash.inject", "kill", "--least", str(options.kills)],
        "power cut": ["tests.crash.inject", "cut", "--least", str(options.cuts)],
        "failing disk": ["tests.crash.inject", "fail", "--least", str(options.failures)],
        "update killed": ["tests.crash.inject", "kill", "--least", str(options.kills), *UPDATES],
        "update power cut": ["tests.crash.inject", "cut", "--least", str(options.cuts), *UPDATES],
        "update failing disk": ["tests.crash.inject", "fail", "--least", str(options.failures), *UPDATES],
        "training killed or cut": ["tests.crash.checkpoints", "--least", str(options.trainings)],
    }
    if options.walks:
        kinds["killed in random states"] = ["tests.crash.inject", "kill", "--least", str(options.walks), "--walks"]
    # Between two stops a process waits: several at once take no more time than one.
    parts = {"killed": options.parts, "power cut": 2, "update killed": options.parts, "update power cut": 2}
    jobs = [
        (kind, [*command, *(["--part", str(part), "--parts", str(parts[kind])] if kind in parts else [])])
        for kind, command in kinds.items()
        for part in range(parts.get(kind, 1))
    ]
    begun = environment()
    with ThreadPoolExecutor(len(jobs)) as pool:
        done = [*pool.map(run, (command for _, command in jobs))]
    reports = {
        kind: joined([report for (name, _), report in zip(jobs, done, strict=True) if name == kind]) for kind in kinds
    }
    total = {
        name: sum(report.get(name, 0) for report in reports.values())
        for name in ("injections", "old", "new", "neither")
    }
    wrong = [line for report in reports.values() for line in report["wrong"]]
    write_result("kill", {**begun, **total, "wrong": wrong, "kinds": reports})
    print("\n".join(wrong) or f"{total['injections']} injections: always the old state or the new")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
