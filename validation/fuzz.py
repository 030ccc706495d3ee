"""Does every reader refuse a damaged file with one clear error, in little time and memory?

    python -m validation.fuzz [--files 100000] [--seed 0] [--kinds onnx,npz,...] [--no-record]
    python -m validation.fuzz --case KIND NUMBER [--keep DIR]

Damages whole files in their bytes and in their structures (`validation.fuzzing`), reads each, and uses what is still
accepted: networks predict and are trained for a step, adapters are attached, merged and added. A file is `read`,
`refused` with a LierefError, or a fault: another exception (grouped by its place), more than 2 s of processor time,
more memory than twice the file plus what the format's documented cap allows, or the end of the process. Each kind runs
in processes of their own whose memory is limited. `--case` runs one file again and shows what happens.
"""

from __future__ import annotations

import argparse
import json
import resource
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from lieref.errors import LierefError
from validation.fuzzing.kinds import KINDS, SHARES, Kind
from validation.fuzzing.watch import SECONDS, place
from validation.record import environment, write_result

WALL_SECONDS = 60.0
"""After this time a worker that says nothing is ended: it hangs."""

NOISE_BYTES = 2**25
"""What the interpreter, its caches and the compiled kernels of a network take besides."""

LIMIT_BYTES = 3 * 2**30
"""Address space of a worker beyond what it has when it begins."""

PROCESS_FILES = 5000
"""Files one process reads: caches of a long life are no fault of a file."""


def run_file(kind: Kind, seed: int, number: int, folder: Path) -> str:
    """Damage, write and read one file; return ``read``, ``refused``, or the fault with its place."""
    files = kind.make(_stream(kind.name, seed, number))
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    outcome, seconds, grown = _read(kind, seed, number, folder)
    if seconds > SECONDS or grown > NOISE_BYTES:
        # Once more: what is compiled or imported on first use is no fault of a file.
        outcome, seconds, grown = _read(kind, seed, number, folder)
    for path in files:
        (folder / path).unlink()
    if outcome in ("read", "refused") and seconds > SECONDS:
        return f"slow: {outcome} after more than {SECONDS:g} s"
    if outcome in ("read", "refused") and grown > 2 * sum(map(len, files.values())) + kind.spare_bytes + NOISE_BYTES:
        return f"memory: {outcome} with more than {2 ** int(np.log2(grown)) >> 20} MiB"
    return outcome


def _stream(name: str, seed: int, number: int) -> np.random.Generator:
    """Return the numbers that damage a file."""
    return np.random.default_rng([seed, list(KINDS).index(name), number])


def _read(kind: Kind, seed: int, number: int, folder: Path) -> tuple[str, float, int]:
    """Return what came of a file, the processor time in seconds, and by how many bytes the process grew."""
    _reset_peak()
    before, begin = _memory("VmRSS"), time.process_time()
    try:
        kind.read(folder, np.random.default_rng([seed, number]))
        outcome = "read"
    except LierefError:
        outcome = "refused"
    except Exception as error:
        outcome = f"{type(error).__name__} in {place(error)}"
    return outcome, time.process_time() - begin, _memory("VmHWM") - before


def _memory(field: str) -> int:
    """Return a figure of this process in bytes, 0 where the system does not tell."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    return 0


def _reset_peak() -> None:
    """Let the peak of this process begin anew."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def work(name: str, seed: int, start: int, stop: int) -> None:
    """Run files one after the other; print the number before each and the outcome after it."""
    kind = KINDS[name]()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as temporary:
        warnings.simplefilter("ignore")
        folder = Path(temporary)
        used = _memory("VmSize")
        resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, used + LIMIT_BYTES))
        # Once as they are, so that imports and compiled kernels count for no file.
        for files in kind.seeds:
            for path, data in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(data)
            with suppress(LierefError):
                kind.read(folder, np.random.default_rng(0))
            shutil.rmtree(folder)
            folder.mkdir()
        for number in range(start, stop):
            print(number, flush=True)
            print(json.dumps(run_file(kind, seed, number, folder)), flush=True)


def run_kind(name: str, seed: int, files: int) -> dict[str, Any]:
    """Run files of a kind in worker processes; return counts of outcomes and the first number of each fault."""
    outcomes: Counter[str] = Counter()
    first: dict[str, int] = {}
    begin, done = time.perf_counter(), 0
    while done < files:
        stop = min(done + PROCESS_FILES, files)
        end, words = _follow(name, seed, done, stop, outcomes, first)
        if end < stop:
            outcomes[words] += 1
            first.setdefault(words, end)
            end += 1
        done = end
    faults = {k: {"files": v, "first": first[k]} for k, v in outcomes.most_common() if k not in ("read", "refused")}
    return {
        "files": files,
        "read": outcomes["read"],
        "refused": outcomes["refused"],
        "faults": faults,
        "seconds": round(time.perf_counter() - begin, 1),
    }


def _follow(
    name: str, seed: int, start: int, stop: int, outcomes: Counter[str], first: dict[str, int]
) -> tuple[int, str]:
    """Follow one worker; return the number it did not finish, or `stop`, and how it ended."""
    command = [sys.executable, "-m", "validation.fuzz", "--work", name, str(seed), str(start), str(stop)]
    number = start
    # Libraries of image formats write to stderr what they think of each file.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1) as process:
        assert process.stdout is not None
        selector = selectors.DefaultSelector()
        selector.register(process.stdout, selectors.EVENT_READ)
        for expected in range(2 * (stop - start)):
            # The first line waits for imports and seeds.
            if not selector.select(WALL_SECONDS if expected else 20 * WALL_SECONDS):
                process.kill()
                return number, f"hang: no end after {WALL_SECONDS:g} s"
            line = process.stdout.readline()
            if not line:
                return number, f"end of the process, status {process.wait()}"
            value = json.loads(line)
            if isinstance(value, int):
                number = value
                continue
            outcomes[value] += 1
            first.setdefault(value, number)
    return stop, ""


def show_case(name: str, seed: int, number: int, keep: Path | None) -> None:
    """Run one file again in this process and show what happens; keep its files where asked."""
    kind = KINDS[name]()
    files = kind.make(_stream(name, seed, number))
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        begin = time.process_time()
        try:
            kind.read(folder, np.random.default_rng([seed, number]))
            print("read")
        except Exception:
            traceback.print_exc()
        print(f"{time.process_time() - begin:.2f} s, peak {_memory('VmHWM') >> 20} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--case", nargs=2, metavar=("KIND", "NUMBER"))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        name, *numbers = options.work
        return work(name, *map(int, numbers))
    if options.case:
        return show_case(options.case[0], options.seed, int(options.case[1]), options.keep)
    names = options.kinds.split(",")
    whole = sum(SHARES[name] for name in names)
    results = {}
    for name in names:
        results[name] = run_kind(name, options.seed, round(options.files * SHARES[name] / whole))
        print(name, json.dumps(results[name], indent=1), flush=True)
    faults = sum(fault["files"] for result in results.values() for fault in result["faults"].values())
    if not options.no_record:
        write_result("fuzz", {**environment(), "seed": options.seed, "faults": faults, "kinds": results})
    if faults:
        raise SystemExit(f"{faults} faults")


if __name__ == "__main__":
    main()
