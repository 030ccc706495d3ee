"""What a store does with updates of a quantised file beyond what it does with any bundle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.store import Candidate
from lieref.adapter.store.checks import updated
from lieref.adapter.store.command import perform
from lieref.errors import UnsupportedError
from tests.adapter.bundle.bundles import ADAPTER, KIND, UPDATE
from tests.adapter.bundle.updates import update_payload, updated_file
from tests.adapter.store.device import Device
from tests.pairs import EVERYTHING

CYCLES = 1000 if EVERYTHING else 150


@pytest.fixture(autouse=True)
def kind() -> Iterator[str]:
    KIND[0] = UPDATE
    yield UPDATE
    KIND[0] = ADAPTER


def right(device: Device, counter: int) -> bytes:
    """What is to run, worked out by the test."""
    return updated_file(device.base.read_bytes(), update_payload(counter))


def test_the_file_to_run_is_whole_and_the_base_stays(device: Device) -> None:
    base = device.base.read_bytes()
    device.store.install(device.bundle(1))
    run = device.store.start()
    assert run.updated is not None
    assert run.updated.parent == run.adapter
    assert run.updated.read_bytes() == right(device, 1) != base
    assert run.slot is not None
    assert run.slot.merged_sha256 == sha256(right(device, 1)).hexdigest()
    answer = perform("start", device.store.folder, {"no_base_check": False, "base": None})
    assert answer.lines == (str(run.updated),)
    assert answer.report["updated"] == str(run.updated)
    device.store.rollback()
    assert device.store.start().updated is None
    assert device.base.read_bytes() == base


def test_there_and_back_many_times(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way the digest of what runs is that of before; flushing the disk is another test's matter."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    device.good(1)
    seen: list[set[str]] = [set(), set()]
    for cycle in range(2 * CYCLES):
        run = device.store.start()
        seen[cycle % 2].add(sha256((run.updated or run.base).read_bytes()).hexdigest())
        device.store.rollback()
    base = device.base.read_bytes()
    assert seen == [{sha256(right(device, 1)).hexdigest()}, {sha256(base).hexdigest()}]


@pytest.mark.parametrize("what", ["bit", "gone", "longer", "link", "folder"])
def test_a_damaged_file_is_left_at_once(device: Device, what: str) -> None:
    device.good(1, 2)
    path = Path(device.store.status()["live"]["path"]) / "updated.tflite"
    data = path.read_bytes()
    if what == "bit":
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    elif what == "longer":
        path.write_bytes(data + b"\0")
    else:
        path.rename(device.folder / "moved")
    if what == "folder":
        path.mkdir()
    if what == "link":
        path.symlink_to(device.folder / "moved")
    assert device.store.status()["live"]["intact"] is False
    device.refuses("slot", device.store.read_live)
    run = device.store.start()
    assert run.updated is not None
    assert run.updated.read_bytes() == right(device, 1)


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_self_test_is_given_the_file(device: Device, dry_run: bool) -> None:
    seen: list[Candidate] = []

    def passes(candidate: Candidate) -> bool:
        seen.append(candidate)
        return (candidate.folder / "updated.tflite").read_bytes() == candidate.updated

    device.store.install(device.bundle(1, values=2), self_test=passes, dry_run=dry_run)
    (candidate,) = seen
    assert candidate.updated == right(device, 1)
    assert candidate.merged is None
    assert candidate.verified.config["self_test"]["semantics"] == "tflite-reference"
    assert candidate.folder.exists() is not dry_run


def test_a_base_that_goes_away_meanwhile(device: Device) -> None:
    seen: list[Candidate] = []
    device.store.install(device.bundle(1), self_test=lambda candidate: seen.append(candidate), dry_run=True)
    with pytest.raises(BundleRefused, match="must be readable") as error:
        updated(seen[0].verified, device.folder / "gone")
    assert error.value.slug == "base"


def test_there_are_no_merged_weights(device: Device) -> None:
    device.good(1)
    with pytest.raises(UnsupportedError, match="must hold an adapter"):
        device.store.merged_weights()


def test_a_base_saved_again_is_another_file(device: Device) -> None:
    """Of a float network the weights decide; an update goes by byte places."""
    device.good(1)
    device.base.write_bytes(device.base.read_bytes() + b"\0")
    device.refuses("base", lambda: device.store.install(device.bundle(2)))
    device.refuses("base", device.store.start)


def test_an_update_that_leads_elsewhere_is_refused(device: Device) -> None:
    """By a signer who signed another result than the numbers make."""
    import json

    from tests.adapter.bundle.bundles import Bundle
    from tests.adapter.bundle.updates import update_text

    base = device.base.read_bytes()
    text = {**update_text(base, update_payload(1)), "result_sha256": "7" * 64}
    fields = {"merged_sha256": "7" * 64}
    bundle = Bundle(seed=1, config=json.dumps(text).encode(), fields=fields).write(device.folder / "elsewhere")
    assert "must become" in device.refuses("merged", lambda: device.store.install(bundle))
    assert not list((device.store.folder / "slots").iterdir())
