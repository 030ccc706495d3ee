"""Injections into the verbs of a store: killed at every system call, failing at every one, and power cuts.

    python -m tests.crash.inject kill|fail|cut --least N [--seed S] [--walks] [--bundles integer-update]

Prints one JSON object: how many injections, how many showed the old state and the new one, and what was wrong. Meant
for a process of its own, small and with one thread, for it forks a child for each.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lieref import _atomic as atomic
from lieref.adapter.bundle import ed25519
from lieref.adapter.store import state_file
from lieref.adapter.store import store as store_module
from lieref.adapter.store.slots import slot_digest
from lieref.adapter.store.state import State
from lieref.adapter.store.state_file import STATE_NAME, encode_state
from tests.adapter.bundle.bundles import ADAPTER, FILES, KIND
from tests.crash.disk import Disk
from tests.crash.scenarios import (
    Kit,
    NeitherError,
    Scenario,
    check,
    make_kit,
    named,
    state_after,
    state_before,
    walks,
)
from tests.crash.tracer import UNAVAILABLE, Outcome, fail_at, kill_at, record

DONE, FAILED = 0, 1
IN_MEMORY = "/dev/shm"
"""Where a flush takes no time; a kill does not ask what it took."""
MOST_CALLS = 3000
"""More system calls than any verb makes."""
WRITING = {"write", "pwrite64", "ftruncate", "rename", "renameat", "renameat2", "mkdir", "mkdirat"}
"""Calls that a full disk fails, beside an open that makes a file."""
FLUSHING = {"fsync", "fdatasync"}


class Tally:
    """What was seen: counts by scenario, and what was wrong."""

    def __init__(self) -> None:
        self.injections = 0
        self.seen: Counter[str] = Counter()
        self.scenarios: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.wrong: list[str] = []

    def add(self, scenario: str, result: str) -> None:
        self.injections += 1
        self.seen[result] += 1
        self.scenarios[scenario] += 1

    def report(self) -> dict[str, Any]:
        return {
            "injections": self.injections, **self.seen, "scenarios": dict(self.scenarios), "calls": dict(self.calls),
            "wrong": self.wrong,
        }  # fmt: skip


class Bench:
    """One folder in which a scenario is made again and again."""

    def __init__(self, kit: Kit, folder: Path, scenario: Scenario) -> None:
        self.kit, self.scenario = kit, scenario
        self.place = folder / "place"
        self.place.mkdir()
        self.store = self.place / "store"
        self.old = state_before(scenario)
        self.new = state_after(kit, scenario, self.fresh(False))
        self.damaged = scenario.name == "start of a damaged slot"

    def fresh(self, filled: bool = True) -> Path:
        shutil.rmtree(self.place)
        self.place.mkdir()
        if filled and self.scenario.before is not None:
            shutil.copytree(self.scenario.before, self.store)
        return self.store

    def work(self) -> int:
        """Run the verb as a command would: an error of the machine is a status."""
        warnings.simplefilter("ignore")
        try:
            self.scenario.verb(self.kit, self.store)
        except OSError:
            return FAILED
        return DONE

    def check(self, tally: Tally, where: str, folder: Path | None = None) -> str:
        try:
            result = check(self.kit, folder or self.store, self.old, self.new, damaged=self.damaged)
        except NeitherError as error:
            result = "neither"
            tally.wrong.append(f"{self.scenario.name}, {where}: {error}")
        tally.add(self.scenario.name, result)
        return result

    def remove(self) -> None:
        shutil.rmtree(self.place)


def kills(bench: Bench, tally: Tally, share: float, rng: random.Random) -> None:
    """Kill before and after each system call; with a share below one at that many of them."""
    stop = 0
    while True:
        if rng.random() < share:
            bench.fresh()
            outcome = kill_at(stop, bench.work)
            if not outcome.killed:
                if outcome.status != DONE:
                    tally.wrong.append(f"{bench.scenario.name}: status {outcome.status} of what nobody disturbed")
                return
            bench.check(tally, f"killed at stop {stop}")
        elif stop > MOST_CALLS:
            return
        stop += 1


def enumerate_calls(bench: Bench, tally: Tally) -> None:
    bench.fresh()
    calls, _ = record(bench.work)
    tally.calls.update(call.name for call in calls)


def failures(bench: Bench, tally: Tally, share: float, rng: random.Random) -> None:
    """A full disk from each writing call on, a full disk at that one alone, and every flush failing."""
    for kind, error, chosen, from_then_on in (
        ("full disk", errno.ENOSPC, _writes, True),
        ("no space for one call", errno.ENOSPC, _writes, False),
        ("failing flush", errno.EIO, _flushes, True),
        ("one failing flush", errno.EIO, _flushes, False),
    ):
        number = -1
        while number < MOST_CALLS:
            number += 1
            if rng.random() >= share:
                continue
            bench.fresh()
            outcome, failed = fail_at(number, error, chosen, bench.work, from_then_on=from_then_on)
            if failed is None:
                break
            where = f"{kind}, {failed} {number}"
            result = bench.check(tally, where)
            _judge(bench, tally, outcome, result, where)


def _judge(bench: Bench, tally: Tally, outcome: Outcome, result: str, where: str) -> None:
    """An error must mean the old state, success the new one."""
    expected = {FAILED: "old", DONE: "new"}.get(outcome.status if outcome.status is not None else -1)
    if result != expected:
        tally.wrong.append(f"{bench.scenario.name}, {where}: status {outcome.status}, but the {result} state")


def _writes(name: str, arguments: tuple[int, ...]) -> bool:
    return name in WRITING or (name == "openat" and bool(arguments[2] & os.O_CREAT))


def _flushes(name: str, arguments: tuple[int, ...]) -> bool:
    return name in FLUSHING


def cuts(bench: Bench, tally: Tally, each: int, rng: random.Random) -> None:
    """Cut the power after each operation on the disk, and look at `each` of the many states that this may leave."""
    bench.fresh()
    disk = Disk(bench.place)
    disk.replay(record(bench.work)[0])
    last = len(disk.operations)
    for done in range(last + 1):
        for choice in range(each):
            bench.fresh(False)
            left = bench.place / "left"
            disk.after_power_cut(done, rng, left)
            where = f"power cut after {done} of {last} operations, choice {choice}"
            result = bench.check(tally, where, left / "store")
            if done == last and result != "new":
                tally.wrong.append(f"{bench.scenario.name}, {where}: done, but the {result} state")


def run(
    kind: str,
    least: int,
    seed: int,
    walking: bool,
    folder: Path,
    *,
    part: int = 0,
    parts: int = 1,
    stop_at_wrong: bool = False,
) -> dict[str, Any]:
    """Inject into every named scenario, about `least` times in all, and with `walking` go on until it is so many.

    Of several parts, each takes every so manieth scenario.
    """
    # Signatures are checked once each: thousands of times the same arithmetic would show nothing about crashes.
    ed25519.verify = cache(ed25519.verify)
    rng = random.Random(seed)
    kit = make_kit(folder / "kit")
    tally = Tally()
    for number, scenario in enumerate(_scenarios(kit, folder, rng, walking)):
        if number % parts != part:
            continue
        if stop_at_wrong and tally.wrong:
            break
        if walking and tally.injections >= least:
            break
        bench = Bench(kit, folder, scenario)
        INJECT[kind](bench, tally, least, rng)
        enumerate_calls(bench, tally)
        bench.remove()
    return tally.report()


def _scenarios(kit: Kit, folder: Path, rng: random.Random, walking: bool) -> Iterator[Scenario]:
    return chain(named(kit, folder), walks(kit, folder, rng) if walking else ())


INJECT: dict[str, Callable[[Bench, Tally, int, random.Random], None]] = {
    # Of what the named scenarios make: about 5000 stops, 600 calls that can fail, 360 moments of a power cut.
    "kill": lambda bench, tally, least, rng: kills(bench, tally, least / 5000, rng),
    "fail": lambda bench, tally, least, rng: failures(bench, tally, least / 600, rng),
    "cut": lambda bench, tally, least, rng: cuts(bench, tally, max(1, round(least / 360)), rng),
}


def _no_flush() -> None:
    """A store that leaves it to the system when its files reach the disk."""
    atomic.os = SimpleNamespace(**{**vars(os), "fsync": lambda descriptor: None})  # type: ignore[attr-defined]


def _in_place() -> None:
    """A store that writes into its state file."""
    store_module.write_state = lambda folder, state: (folder / STATE_NAME).write_bytes(encode_state(state))


def _switch_first() -> None:
    """A store that points to a slot before that is written."""
    real = store_module.write_slot
    later: list[Callable[[], object]] = []

    def write_slot(store: Path, files: Mapping[str, bytes], updated: bytes | None = None) -> str:
        later.append(lambda: real(store, files, updated))
        return slot_digest(files)

    def write_state(folder: Path, state: State) -> None:
        state_file.write_state(folder, state)
        if later:
            later.pop()()

    store_module.write_slot, store_module.write_state = write_slot, write_state


DEFECTS: dict[str, Callable[[], None]] = {"no-flush": _no_flush, "in-place": _in_place, "switch-first": _switch_first}
"""Stores with a mistake, which the injections must find."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=[*INJECT])
    parser.add_argument("--least", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", type=int, default=0, help="of --parts, to share the scenarios among processes")
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--walks", action="store_true", help="go on with states that random verbs lead to")
    parser.add_argument("--defect", choices=[*DEFECTS], help="put a mistake into the store, to see that it is found")
    parser.add_argument("--bundles", choices=[*FILES], default=ADAPTER, help="what they hold")
    options = parser.parse_args()
    KIND[0] = options.bundles
    if UNAVAILABLE:
        raise SystemExit(UNAVAILABLE)
    if options.defect:
        DEFECTS[options.defect]()
    sys.dont_write_bytecode = True
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if Path(IN_MEMORY).is_dir() else None) as name:
        report = run(
            options.kind,
            options.least,
            options.seed,
            options.walks,
            Path(name),
            part=options.part,
            parts=options.parts,
            stop_at_wrong=bool(options.defect),
        )
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
