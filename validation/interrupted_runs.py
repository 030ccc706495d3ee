"""Are runs that are killed, interrupted or started twice ever lost?

    python -m validation.interrupted_runs [--kills 200] [--interrupts 100] [--pairs 50]

`lieref finetune` is stopped by SIGKILL or SIGINT at random times, and continued with --resume until it is done: the
adapter must have the bits of a run that nobody stopped, nothing may be left beside it, and an interrupted command must
say so in one line with status 130. Of two commands at once with one --out, exactly one must succeed and the other one
must be refused. Fails if anything else happens.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import onnx

from lieref.cli import main as lieref_command
from tests.cli.helpers import small_network, write_data
from validation.record import environment, write_result

EPOCHS = 40
# Loaded before the first child is started, so that it is stopped at its work and not while it loads.
LOADED = ("lieref.cli.finetune", "lieref.cli.job", "lieref.adapter.model", "lieref.train.loop", "rich.progress")


def start(folder: Path, out: str, *options: str) -> int:
    """Start the command in a child, which has everything loaded already; return its process id."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # nothing is to be interrupted but the command
    process = os.fork()
    if process:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return process
    arguments = ["base.onnx", "--train", "train.npz", "--epochs", str(EPOCHS), "--batch", "8", "--threads", "1"]
    status = 77
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.chdir(folder)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        status = lieref_command(["finetune", *arguments, "--validation", "0.25", "--out", out, *options])
    except KeyboardInterrupt:  # before the command could answer it
        status = 130
    finally:
        os._exit(status)


def wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def digest(out: Path) -> tuple[str, ...]:
    names = ("adapter_model.safetensors", "adapter_config.json")
    return tuple(hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names)


def run_stopped(folder: Path, out: str, stop: signal.Signals, seconds: float, expected: int) -> tuple[int, list[str]]:
    """Stop and resume a run until it is done; return how often it was stopped, and what was wrong."""
    stops, wrong = 0, []
    unfinished = folder / f".{out}.unfinished"
    while not (folder / out).exists():
        process = start(folder, out, *(["--resume"] if unfinished.exists() else []))
        time.sleep(random.uniform(0, seconds))
        os.kill(process, stop)
        status, said = wait(process), (folder / "log").read_text()
        if status not in (0, expected) or "Traceback" in said:
            wrong.append(f"status {status}: {said[-300:]}")
            break
        stops += status == expected
    if unfinished.exists():  # stopped between the last two steps
        wrong += [] if (folder / out).exists() else ["unfinished, and no way on"]
    return stops, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("kills", 200), ("interrupts", 100), ("pairs", 50)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    random.seed(0)
    for module in LOADED:
        importlib.import_module(module)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(small_network(), folder / "base.onnx")
        write_data(folder / "train.npz", count=96)
        begin = time.perf_counter()
        assert wait(start(folder, "whole")) == 0, (folder / "log").read_text()
        seconds, expected = time.perf_counter() - begin, digest(folder / "whole")
        result: dict[str, object] = {**environment(), "seconds of a run": round(seconds, 2)}
        wrong: list[str] = []
        for kind, stop, status, wanted in (
            ("kills", signal.SIGKILL, -signal.SIGKILL, options.kills),
            ("interrupts", signal.SIGINT, 130, options.interrupts),
        ):
            stops = runs = 0
            while stops < wanted:
                here, said = run_stopped(folder, f"{kind}-{runs}", stop, seconds, status)
                wrong += said
                if not said and digest(folder / f"{kind}-{runs}") != expected:
                    wrong.append(f"{kind}-{runs} has other bits")
                stops, runs = stops + here, runs + 1
            result |= {kind: stops, f"runs with {kind}": runs}
            print(f"{kind}: {stops} of {runs} runs", flush=True)
        for number in range(options.pairs):
            out = f"pair-{number}"
            first = start(folder, out)
            time.sleep(random.uniform(0, seconds))
            statuses = sorted([wait(start(folder, out)), wait(first)])
            if statuses != [0, 2] or digest(folder / out) != expected:
                wrong.append(f"{out}: {statuses}")
        left = sorted(path.name for path in folder.glob(".*") if not path.name.endswith(".unfinished"))
        result |= {"pairs": options.pairs, "wrong": wrong, "left beside the outputs": left}
    write_result("interrupted_runs", result)
    print("\n".join(wrong) or "nothing lost, nothing half-written")
    raise SystemExit(bool(wrong or left))


if __name__ == "__main__":
    main()
