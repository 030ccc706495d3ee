"""Many processes at one store: one installs, the others are told; who reads during a switch never sees parts of two."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.store.slots import SLOTS_NAME, slot_digest
from tests.adapter.store.device import Device

INSTALLER = """
import json, os, sys, time
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.store import Store
from tests.adapter.store.bundles import NOW

store = Store(sys.argv[1], clock=lambda: NOW)
print("ready", flush=True)
sys.stdin.readline()
try:
    # The self-test holds the lock until all others have tried.
    done = store.install(sys.argv[2], self_test=lambda candidate: time.sleep(float(sys.argv[3])))
    print(json.dumps({"installed": done.slot.counter}))
except BundleRefused as error:
    print(json.dumps({"refused": error.slug, "reason": str(error)}))
"""
INSTALLERS = 10


def installers(device: Device, hold: float) -> list[dict[str, object]]:
    """Start ten processes with a bundle each, let them go at once, and return what they say."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", INSTALLER, str(device.store.folder), str(device.bundle(counter)), str(hold)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for counter in range(1, INSTALLERS + 1)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return [json.loads(process.communicate()[0]) for process in processes]


def test_of_ten_installers_one_wins_and_the_others_are_told(device: Device) -> None:
    said = installers(device, 3.0)
    winners = [line["installed"] for line in said if "installed" in line]
    assert len(winners) == 1
    others = [line for line in said if "refused" in line]
    assert {line["refused"] for line in others} == {"busy"}
    # Which process it is, is written a moment after the lock is taken.
    assert all("is being written by" in str(line["reason"]) for line in others)
    assert any("is being written by process" in str(line["reason"]) for line in others)
    assert device.live() == winners[0]
    assert len(list((device.store.folder / SLOTS_NAME).iterdir())) == 1


def test_readers_during_switches_never_see_a_mix(tmp_path: Path) -> None:
    """Readers take what is live, again and again, while adapters are installed, accepted and left."""
    device = Device(tmp_path, tries=1000)  # the readers use up starts
    digests = {}
    for counter in range(1, 25):
        files = {path.name: path.read_bytes() for path in device.bundle(counter, values=50 * counter).iterdir()}
        digests[counter] = slot_digest(files)
    over = threading.Event()
    seen: set[int] = set()
    wrong: list[str] = []

    def read() -> None:
        while not over.is_set():
            try:
                found = device.store.read_live()
                started = device.store.start()
                if found is not None:
                    slot, files = found
                    seen.add(slot.counter)
                    if slot_digest(files) != digests[slot.counter]:
                        wrong.append(f"files of {slot.counter} are others")
                if started.slot is not None and started.slot.digest != digests[started.slot.counter]:
                    wrong.append(f"started {started.slot}")
            except (BundleRefused, OSError) as error:
                wrong.append(f"{type(error).__name__}: {error}")
            time.sleep(0.001)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for counter in range(1, 25):
            device.store.install(device.bundle(counter))
            device.store.start()
            if counter % 3:
                device.store.mark_good()
            else:
                device.store.rollback()
    finally:
        over.set()
        for reader in readers:
            reader.join()
    assert not wrong
    assert len(seen) > 3


def test_a_store_is_usable_where_its_folder_was_moved(device: Device, tmp_path: Path) -> None:
    device.good(1)
    moved = device.store.folder.rename(tmp_path / "moved")
    assert device.store.__class__(moved).start().adapter is not None
