"""How long lieref takes to start: `import lieref`, and the command that only prints its help.

python -m validation.benchmarks.starting [--runs 20]

Goals are held against processor time, the start of Python included: on a machine that does nothing else it is what a
user waits, and where other programs share the cores it is the fairer number.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from validation.benchmarks._measure import write

ROOT = Path(__file__).parents[2]
WORK = {
    "python": (["-c", "pass"], None),
    "import lieref": (["-c", "import lieref"], 0.15),
    "import lieref, numpy": (["-c", "import lieref, numpy"], None),
    "lieref --help": (["-m", "lieref", "--help"], 0.3),
}
"""What Python is started with, and the goal in seconds, its own start included."""


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Return wall time and processor time of a start."""
    begin, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    wall, after = time.perf_counter() - begin, os.times()
    user, system = after.children_user - before.children_user, after.children_system - before.children_system
    return wall, user + system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    for arguments, _ in WORK.values():
        seconds(arguments)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in WORK}
    for _ in range(options.runs):
        for name, (arguments, _) in WORK.items():
            times[name].append(seconds(arguments))
    rows = []
    for name, (_, goal) in WORK.items():
        (best, cpu), middle = (min(each) for each in zip(*times[name], strict=True)), median(w for w, _ in times[name])
        met = None if goal is None else cpu <= goal
        rows.append({"what": name, "min_s": best, "median_s": middle, "cpu_s": cpu, "goal_s": goal, "met": met})
        said = "" if goal is None else f"  goal {goal:g} s: {'met' if met else 'missed'}"
        print(f"{name:<22} best {best:.3f} s, median {middle:.3f} s, processor {cpu:.3f} s{said}")
    write("starting", rows, runs=options.runs)


if __name__ == "__main__":
    main()
