"""Does any input, searched for by the coverage it reaches, bring a reader to anything but an answer or one clear error?

    python -m validation.coverage_fuzz --state DIR [--hours 2] [--round 60] [--processes 1]
                                        [--targets npz,onnx,...]
    python -m validation.coverage_fuzz --state DIR --report
    python -m validation.coverage_fuzz --case TARGET FILE

Runs the readers of `validation.fuzzing.targets` under atheris (libFuzzer) in rounds of a process each, every
target with its share of the processor time; only modules of lieref are instrumented. All is kept in `--state`, so that
a run can be stopped and taken up again, also with new targets or readers that were mended. A fault is what
`validation.fuzzing.watch` says, a hang of 30 s, or the end of the process; each is kept once by its place, with its
input. `--report` reads the inputs of all faults again, without instruments, and writes the result.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import mmap
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from validation.fuzzing.allocation import build
from validation.fuzzing.target import NOISE_BYTES, Target
from validation.fuzzing.target_table import SHARES, TARGETS
from validation.fuzzing.watch import SECONDS, Watch
from validation.record import environment, write_result

HANG_SECONDS = 30
"""Time after which libFuzzer ends a process for one input."""

LIMIT_BYTES = 2 * 2**30
"""Address space of a worker beyond what it has when it begins."""

COUNTS = ("inputs", "read", "refused", "faults", "excess")
"""What a worker counts, in memory that outlives it."""

LINE = re.compile(r"^#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)


def work(name: str, folder: Path, seconds: int, seed: int) -> None:
    """Fuzz one target for some seconds; ends the process."""
    import atheris

    target = TARGETS[name]()
    with open(folder / "counts", "r+b") as file:
        shared = mmap.mmap(file.fileno(), 8 * len(COUNTS))
    counts = (ctypes.c_int64 * len(COUNTS)).from_buffer(shared)
    place = Path(tempfile.mkdtemp(prefix="coverage-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    with atheris.instrument_imports(include=list(target.modules)):
        watch = Watch(target.open(place), target.limit)
    warnings.simplefilter("ignore")
    seen: set[str] = set()

    def one(data: bytes) -> None:
        outcome = watch(data)
        counts[0] += 1
        counts[4] = max(counts[4], watch.excess)
        if outcome == "read":
            counts[1] += 1
        elif outcome == "refused":
            counts[2] += 1
        else:
            counts[3] += 1
            if outcome not in seen:
                seen.add(outcome)
                keep_fault(folder, outcome, data)

    def change(data: bytes, most: int, seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        return target.mutate(data, lambda part: atheris.Mutate(part, max(len(part) + 64, 64)), rng)[:most]

    # Once as they are, so that imports and caches count for no input.
    outcomes = [watch(path.read_bytes()) for path in sorted((folder / "seeds").iterdir())]
    if "read" not in outcomes:
        raise SystemExit(f"no seed of {name} is read: {set(outcomes)}")
    watch.excess = 0
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, used + LIMIT_BYTES))
    options = {
        "max_total_time": seconds, "max_len": target.max_length, "timeout": HANG_SECONDS, "rss_limit_mb": 2048,
        "seed": seed, "reload": 0, "use_value_profile": seed % 2, "artifact_prefix": f"{folder}/ends/",
        "dict": folder / "words",
    }  # fmt: skip
    arguments = [sys.argv[0], *(f"-{key}={value}" for key, value in options.items())]
    atheris.Setup([*arguments, str(folder / "corpus"), str(folder / "seeds")], one, custom_mutator=change)
    atheris.Fuzz()


def keep_fault(folder: Path, outcome: str, data: bytes) -> None:
    """Keep the first input of a fault beside its words."""
    path = folder / "faults" / hashlib.sha256(outcome.encode()).hexdigest()[:16]
    if not path.exists():
        path.write_bytes(data)
        path.with_suffix(".json").write_text(json.dumps({"outcome": outcome, "bytes": len(data)}))


def prepare(name: str, state: Path) -> Path:
    """Make what a target needs: folders, its dictionary, and seeds, which are of the formats of today."""
    folder = state / name
    for part in ("corpus", "seeds", "faults", "ends"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    words = TARGETS[name].words
    lines = ('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in words)
    (folder / "words").write_text("".join(lines))
    made_of, commit = folder / "seeds-of", environment()["commit"]
    if not made_of.exists() or made_of.read_text() != commit:
        for path in (folder / "seeds").iterdir():
            path.unlink()
        subprocess.run([sys.executable, "-m", "validation.coverage_fuzz", "--seeds", name, str(folder)], check=True)
        made_of.write_text(commit)
    return folder


def write_seeds(name: str, folder: Path) -> None:
    """Write the inputs that a target begins with."""
    for data in TARGETS[name]().seeds():
        if len(data) <= TARGETS[name].max_length:
            (folder / "seeds" / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def watched(state: Path) -> dict[str, str]:
    """Return the environment of a process whose allocations are seen."""
    return {**os.environ, "LD_PRELOAD": str(build(state)), "PYTHONHASHSEED": "0"}


def run_round(name: str, state: Path, seconds: int, seed: int) -> dict[str, Any]:
    """Run one worker; return its counts, what it covered, the processor time it took, and how it ended."""
    folder = prepare(name, state)
    (folder / "counts").write_bytes(bytes(8 * len(COUNTS)))
    command = [sys.executable, "-m", "validation.coverage_fuzz", "--work", name, str(folder), str(seconds), str(seed)]
    ends = set((folder / "ends").iterdir())
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=watched(state))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    log_text = (folder / "log").read_text(errors="replace")
    counts = np.frombuffer((folder / "counts").read_bytes(), np.int64)
    result = dict(zip(COUNTS, map(int, counts), strict=True)) | {
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024,
    }
    for number, event, edges, features, corpus in LINE.findall(log_text):
        if event == "INITED":
            result["replayed"] = int(number)
        result |= {"edges": int(edges), "features": int(features), "corpus": int(corpus)}
    if process.returncode:
        new = sorted(set((folder / "ends").iterdir()) - ends)
        kind = new[0].name.split("-")[0] if new else f"status {process.returncode}"
        keep_fault(folder, f"end of the process: {kind}", new[0].read_bytes() if new else b"")
        (folder / "log").replace(folder / f"log-{kind}")
    return result


def add(total: dict[str, Any], result: dict[str, Any]) -> None:
    """Add a round to what a target did before."""
    for key in ("inputs", "read", "refused", "faults", "replayed", "cpu_seconds"):
        total[key] = total.get(key, 0) + result.get(key, 0)
    for key in ("excess", "peak_bytes", "edges", "features", "corpus"):
        total[key] = max(total.get(key, 0), result.get(key, 0))
    total["rounds"] = total.get("rounds", 0) + 1


def run(state: Path, names: list[str], hours: float, seconds: int, processes: int) -> None:
    """Run rounds until the targets together have had so many hours of processor time; go on from what there is."""
    path = state / "state.json"
    totals: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    totals |= {name: {"cpu_seconds": 0} for name in names if name not in totals}
    running: dict[Future[dict[str, Any]], str] = {}
    with ThreadPoolExecutor(processes) as pool:
        while sum(total["cpu_seconds"] for total in totals.values()) < 3600 * hours:
            while len(running) < min(processes, len(names)):
                # The target that is furthest behind its share.
                waiting = [name for name in names if name not in running.values()]
                name = min(waiting, key=lambda each: totals[each]["cpu_seconds"] / SHARES[each])
                running[pool.submit(run_round, name, state, seconds, 1 + totals[name].get("rounds", 0))] = name
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                name, result = running.pop(done), done.result()
                add(totals[name], result)
                partial = path.with_suffix(".partial")
                partial.write_text(json.dumps(totals, indent=1))
                partial.replace(path)
                print(time.strftime("%H:%M:%S"), name, json.dumps({k: round(v) for k, v in result.items()}), flush=True)


def report(state: Path) -> int:
    """Write the result of all rounds so far; return how many faults are still there."""
    totals = {name: t for name, t in json.loads((state / "state.json").read_text()).items() if t["cpu_seconds"]}
    faults = []
    for name in totals:
        for path in sorted((state / name / "faults").glob("*.json")):
            command = [sys.executable, "-m", "validation.coverage_fuzz", "--case", name, str(path.with_suffix(""))]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=watched(state))
            now = done.stdout.strip().splitlines()[-1] if done.returncode == 0 else f"status {done.returncode}"
            faults.append({"target": name, **json.loads(path.read_text()), "now": now})
    left = sum(fault["now"] not in ("read", "refused") for fault in faults)
    targets = {
        name: {
            "inputs": total["inputs"], "of which replayed": total["replayed"], "read": total["read"],
            "refused": total["refused"], "faults": total["faults"], "cpu_seconds": round(total["cpu_seconds"], 1),
            "inputs_per_cpu_second": round(total["inputs"] / total["cpu_seconds"]), "edges": total["edges"],
            "features": total["features"], "corpus": total["corpus"], "rounds": total["rounds"],
            "largest_allocation_over_twice_the_input": total["excess"], "peak_bytes": total["peak_bytes"],
            "instrumented": list(TARGETS[name].modules), "max_length": TARGETS[name].max_length,
        }
        for name, total in totals.items()
    }  # fmt: skip
    sums = {key: sum(total[key] for total in totals.values()) for key in ("inputs", "replayed", "cpu_seconds")}
    rules = {"seconds": SECONDS, "hang_seconds": HANG_SECONDS, "noise_bytes": NOISE_BYTES, "limit_bytes": LIMIT_BYTES}
    result = {**environment(), "atheris": _version("atheris"), **sums, "rules": rules, "faults_now": left}
    write_result("coverage_fuzz", {**result, "faults_found": faults, "targets": targets})
    return left


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


def show_case(name: str, path: Path) -> None:
    """Read one input without instruments and say what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        target: Target = TARGETS[name]()
        read = target.open(Path(folder))
        warnings.simplefilter("ignore")
        with suppress(Exception):  # imports and caches
            read(next(iter(target.seeds())))
        try:
            read(path.read_bytes())
        except Exception:
            traceback.print_exc()
        print(Watch(read, target.limit)(path.read_bytes()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--round", type=int, default=60)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--case", nargs=2, metavar=("TARGET", "FILE"))
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--seeds", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        name, folder, seconds, seed = options.work
        return work(name, Path(folder), int(seconds), int(seed))
    if options.seeds:
        return write_seeds(options.seeds[0], Path(options.seeds[1]))
    if options.case:
        return show_case(options.case[0], Path(options.case[1]))
    if options.state is None:
        parser.error("--state must name a folder")
    options.state.mkdir(parents=True, exist_ok=True)
    if not options.report:
        run(options.state, options.targets.split(","), options.hours, options.round, options.processes)
    left = report(options.state)
    if left:
        raise SystemExit(f"{left} faults")


if __name__ == "__main__":
    main()
