"""The store as its caller sees it: what is installed, started, accepted, left and refused, and what is on the disk."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref._atomic import NotFlushedWarning
from lieref._lock import exclusive
from lieref.adapter.bundle.refusal import REFUSALS, BundleRefused
from lieref.adapter.store import ALL_REFUSALS, STORE_REFUSALS, Candidate, Store, StoreRefused, locks
from lieref.adapter.store import slots as slots_module
from lieref.adapter.store import store as store_module
from lieref.adapter.store.slots import SLOTS_NAME, slot_digest
from lieref.adapter.store.state_file import STATE_NAME, read_state, write_state
from lieref.adapter.tensor_file import decode_tensors, encode_tensors
from lieref.errors import DomainError, LierefError
from tests.adapter.bundle.bundles import ADAPTER, FILES, KIND, UPDATE
from tests.adapter.store.bundles import write_base, write_bundle, write_root
from tests.adapter.store.device import Device


def slots(device: Device) -> set[str]:
    return {path.name for path in (device.store.folder / SLOTS_NAME).iterdir()}


def test_a_new_store_gives_the_base_alone(device: Device) -> None:
    run = device.store.start()
    assert (run.adapter, run.base, run.slot, run.tries, run.reverted) == (None, device.base, None, None, None)
    assert {path.name for path in device.store.folder.iterdir()} == {STATE_NAME, SLOTS_NAME}
    assert device.store.status() == {
        "store": str(device.store.folder),
        "generation": 0,
        "base": {
            "path": str(device.base),
            "file_sha256": hashlib.sha256(device.base.read_bytes()).hexdigest(),
            "weights_sha256": read_state(device.store.folder).base.weights_sha256,
        },
        "compatible": None,
        "root": {"version": 1, "expires": None},
        "accepted": None,
        "floor": 0,
        "live": None,
        "trial": None,
        "previous": None,
    }
    assert [event.what for event in device.store.history()] == ["initialised"]


def test_a_store_is_made_in_a_new_folder_only(device: Device, tmp_path: Path) -> None:
    for folder in (device.store.folder, device.base):
        with pytest.raises(DomainError, match="must be a new or empty folder"):
            Store.init(folder, base=device.base, trust=device.root)
    for tries in (0, 10_000):
        with pytest.raises(DomainError, match="`tries` must be"):
            Store.init(tmp_path / "other", base=device.base, trust=device.root, tries=tries)
    for options in ({"base": tmp_path / "none"}, {"trust": device.base}):
        with pytest.raises(BundleRefused):
            Store.init(tmp_path / "other", **{"base": device.base, "trust": device.root, **options})
    assert not (tmp_path / "other").exists()


def test_what_is_no_store_is_refused_and_not_made_one(tmp_path: Path) -> None:
    store = Store(tmp_path / "none")
    for work in (store.start, store.status, store.history, store.mark_good, store.rollback, store.merged_weights,
                 lambda: store.install(tmp_path)):  # fmt: skip
        with pytest.raises(StoreRefused, match="make a store with `init`") as error:
            work()
        assert error.value.slug == "state"
    assert not (tmp_path / "none").exists()


def test_install_start_mark_good(device: Device) -> None:
    done = device.store.install(device.bundle(5, min_counter=2))
    assert (done.changed, done.tries, done.slot.counter, done.slot.version) == (True, 2, 5, "v5")
    assert done.unchecked == ("self-test: not run, for no command that runs the network was given",)
    run = device.store.start()
    assert run.adapter is not None
    kept = {p.name: p.read_bytes() for p in run.adapter.iterdir() if p != run.updated}
    assert kept == {p.name: p.read_bytes() for p in device.bundle(5).iterdir()}
    assert (run.tries, run.reverted, run.slot) == (1, None, done.slot)
    state = device.store.mark_good(done.slot.digest)
    assert (state.accepted, state.floor, state.trial) == (5, 2, None)
    before = device.state()
    run = device.store.start()
    assert (run.slot, run.tries, run.reverted) == (done.slot, None, None)
    device.store.mark_good()
    assert device.state() == before, "a good adapter costs no write at a start"
    assert [event.what for event in device.store.history()] == ["initialised", "installed", "marked-good"]


def test_a_slot_has_the_digest_that_sha256sum_gives(device: Device) -> None:
    digest = device.store.install(device.bundle(1)).slot.digest
    folder = device.store.folder / SLOTS_NAME / digest
    lines = subprocess.run(
        ["sha256sum", *sorted(os.listdir(device.bundle(1)))], cwd=folder, capture_output=True, check=True
    ).stdout
    assert hashlib.sha256(lines).hexdigest() == digest
    assert slot_digest({p.name: p.read_bytes() for p in device.bundle(1).iterdir()}) == digest


def test_an_adapter_that_is_never_marked_good_is_left(device: Device) -> None:
    device.good(1)
    device.store.install(device.bundle(2))
    assert [device.store.start().tries for _ in range(2)] == [1, 0]
    run = device.store.start()
    assert run.slot is not None
    assert (run.slot.counter, run.tries) == (1, None)
    assert run.reverted == "not marked good in 2 starts; back to version v1 (counter 1)"
    assert device.store.start().reverted is None
    assert device.store.install(device.bundle(2)).changed, "it was never accepted: it may be tried again"


def test_a_first_adapter_that_is_left_leaves_the_base(device: Device) -> None:
    device.store.install(device.bundle(1))
    device.store.start(), device.store.start()
    run = device.store.start()
    assert (run.adapter, run.base) == (None, device.base)
    assert run.reverted is not None


@pytest.mark.parametrize("what", ["bit", "gone", "longer", "link", "folder"])
def test_a_damaged_adapter_is_left_at_once(device: Device, what: str) -> None:
    device.good(1, 2)
    folder = Path(device.store.status()["live"]["path"])
    tensors = folder / FILES[KIND[0]][1]
    if what == "bit":
        device.damage(2)
    elif what == "gone":
        tensors.unlink()
    elif what == "longer":
        tensors.write_bytes(tensors.read_bytes() + b"\0")
    elif what == "link":
        tensors.rename(folder.parent.parent / "moved")
        tensors.symlink_to(folder.parent.parent / "moved")
    else:
        shutil.rmtree(folder)
    assert device.store.status()["live"]["intact"] is False
    device.refuses("slot", device.store.read_live)
    run = device.store.start()
    assert run.slot is not None
    assert run.slot.counter == 1
    assert run.reverted == "its files were damaged; back to version v1 (counter 1)"
    device.store.install(device.bundle(3))
    assert device.live() == 3


def test_both_damaged_leaves_the_base(device: Device) -> None:
    device.good(1, 2)
    device.damage(1), device.damage(2)
    assert device.store.start().adapter is None
    device.store.install(device.bundle(3))


def test_marking_good_or_going_back_to_damage_is_refused(device: Device) -> None:
    device.good(1)
    device.store.install(device.bundle(2))
    device.store.start()
    device.damage(2)
    device.refuses("slot", device.store.mark_good)
    device.damage(1)
    device.refuses("slot", device.store.rollback)
    assert device.store.rollback(to_base=True).live is None


def test_rollback(device: Device) -> None:
    device.refuses("no-previous", device.store.rollback)
    device.good(1, 2)
    assert device.store.rollback().live.counter == 1  # type: ignore[union-attr]
    assert device.store.rollback().live.counter == 2  # type: ignore[union-attr]
    device.good(6, min_counter=4)
    device.refuses("floor", device.store.rollback)
    assert device.live() == 6


@pytest.mark.parametrize("counter", [3, 5])
def test_an_older_bundle_is_refused(device: Device, counter: int) -> None:
    device.good(5)
    device.refuses("counter", lambda: device.store.install(device.bundle(counter)))
    device.store.rollback()
    device.refuses("counter", lambda: device.store.install(device.bundle(counter)))


def test_a_bundle_below_the_floor_is_refused(device: Device) -> None:
    device.good(5, min_counter=5)
    write_state(device.store.folder, read_state(device.store.folder).__class__(
        **{**vars(read_state(device.store.folder)), "accepted": None}
    ))  # fmt: skip
    device.refuses("floor", lambda: device.store.install(device.bundle(4)))


def test_the_bundle_on_trial_again_changes_nothing(device: Device) -> None:
    device.store.install(device.bundle(1))
    device.store.start()
    before = device.state()
    done = device.store.install(device.bundle(1))
    assert (done.changed, done.tries) == (False, 1)
    assert device.state() == before


def test_two_slots_are_kept(device: Device) -> None:
    digests = [device.store.install(device.bundle(1)).slot.digest]
    device.store.start(), device.store.mark_good()
    for counter in (2, 3, 4):
        digests.append(device.store.install(device.bundle(counter)).slot.digest)
        assert slots(device) == set(digests[-2:])
        device.store.start(), device.store.mark_good()


def test_what_runs_during_an_install_stays_until_the_next_one(device: Device) -> None:
    device.good(1)
    first, second = device.store.status()["live"]["digest"], device.store.install(device.bundle(2)).slot.digest
    third = device.store.install(device.bundle(3)).slot.digest
    assert slots(device) == {first, second, third}
    fourth = device.store.install(device.bundle(4)).slot.digest
    assert slots(device) == {first, third, fourth}


def test_leftovers_are_removed_by_the_next_install(device: Device) -> None:
    folder = device.store.folder / SLOTS_NAME
    (folder / ".x.partial-0").mkdir()
    (folder / ".x.partial-0" / "a").write_bytes(b"half")
    (folder / "file").write_bytes(b"")
    (folder / "link").symlink_to(device.folder)
    digest = device.store.install(device.bundle(1)).slot.digest
    assert slots(device) == {digest}
    assert device.base.exists()


def test_what_the_folder_of_slots_leads_to_is_not_removed(device: Device) -> None:
    bundle, elsewhere = device.bundle(1), device.folder / "elsewhere"
    (device.store.folder / SLOTS_NAME).rename(elsewhere)
    (device.store.folder / SLOTS_NAME).symlink_to(elsewhere)
    (elsewhere / "diary").write_bytes(b"of years")
    before = device.state()
    with pytest.raises(DomainError, match="must be a folder of the store itself; got a link"):
        device.store.install(bundle)
    assert device.state() == before
    assert [path.name for path in elsewhere.iterdir()] == ["diary"]


def test_pipes_and_devices_are_not_waited_for(device: Device) -> None:
    bundle, moved = device.bundle(1), device.folder / "moved"
    device.base.rename(moved)
    os.mkfifo(device.base)
    for place in (device.base, Path("/dev/zero")):
        store = Store(device.store.folder, base=place)
        for work in (store.start, store.merged_weights, lambda store=store: store.install(bundle)):
            assert "Not a regular file" in device.refuses("base", work)
        with pytest.raises(BundleRefused, match="Not a regular file") as error:
            Store.init(device.folder / "new", base=place, trust=device.root)
        assert error.value.slug == "base"
    device.base.unlink()
    device.base.symlink_to(moved)
    assert device.store.install(bundle).changed
    state = device.store.folder / STATE_NAME
    state.unlink()
    os.mkfifo(state)
    for work in (device.store.start, device.store.status, device.store.rollback):
        with pytest.raises(StoreRefused, match="must be a regular file"):
            work()


def test_a_dry_run_changes_nothing(device: Device) -> None:
    before = {path: path.stat().st_mtime_ns for path in device.store.folder.rglob("*")}
    ran: list[Path] = []
    done = device.store.install(device.bundle(1), dry_run=True, self_test=lambda c: ran.append(c.folder))
    assert (done.changed, done.tries, done.slot.counter) == (False, 2, 1)
    assert len(ran) == 1
    assert (ran == [device.bundle(1)]) is (KIND[0] == ADAPTER)  # that of an update is one for the test, with its file
    assert {path: path.stat().st_mtime_ns for path in device.store.folder.rglob("*")} == before
    device.refuses("digest", lambda: device.store.install(altered(device, 2), dry_run=True))


def altered(device: Device, counter: int) -> Path:
    """A bundle of which one byte is another."""
    path = device.bundle(counter)
    tensors = path / FILES[KIND[0]][1]
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("slug", "options"),
    [
        ("unknown-key", {"names": ("b",)}),
        ("expired", {"expires": "2026-11-30T00:00:00Z"}),
        ("compatible", {"compatible": "camera"}),
        ("base", {"base": {"file_sha256": "1" * 64, "network_sha256": None, "weights_sha256": "2" * 64}}),
        ("merged", {"merged_sha256": "3" * 64}),
        ("requires", {"requires": ["wings"]}),
        ("self-test", {"requires": ["self-test"]}),
    ],
)
def test_every_check_of_a_bundle_is_made(device: Device, slug: str, options: dict[str, Any]) -> None:
    device.good(1)
    before = slots(device)
    if slug == "merged" and KIND[0] == UPDATE:
        slug = "config"  # which names the result too
    device.refuses(slug, lambda: device.store.install(device.bundle(2, **options)))
    assert slots(device) == before


def test_a_bundle_without_a_digest_of_merged_weights_says_so(device: Device) -> None:
    done = device.store.install(device.bundle(1, merged_sha256=None))
    assert "merged weights: not checked, for the bundle has no digest of them" in done.unchecked


def test_an_adapter_that_cannot_be_merged_is_refused(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object) -> None:
        raise LierefError("no")

    monkeypatch.setattr("lieref.adapter.merge.merging.merge_weights", cannot)
    assert "can be merged; got no" in device.refuses("merged", lambda: device.store.install(device.bundle(1)))


def test_without_a_clock_the_expiry_is_passed_over_and_said(device: Device) -> None:
    device.now += timedelta(days=1000)
    device.refuses("expired", lambda: device.store.install(device.bundle(1)))
    done = device.store.install(device.bundle(1), check_expiry=False)
    assert any(line.startswith("expiry: not checked") for line in done.unchecked)


def test_a_store_for_one_kind_of_device(device: Device, tmp_path: Path) -> None:
    store = Store.init(tmp_path / "other", base=device.base, trust=device.root, compatible="camera")
    assert store.status()["compatible"] == "camera"
    store.install(device.bundle(1, compatible="camera"))
    with pytest.raises(BundleRefused, match="camera"):
        store.install(device.bundle(2, compatible="plant"))


def test_the_self_test_sees_what_will_run(device: Device) -> None:
    seen: list[Candidate] = []
    device.good(1)

    def passes(candidate: Candidate) -> bool:
        seen.append(candidate)
        assert candidate.folder.parent == device.store.folder / SLOTS_NAME
        assert device.live() == 1, "not live before its self-test"
        return True

    done = device.store.install(device.bundle(2, values=4, requires=["self-test", "merged"]), self_test=passes)
    assert done.unchecked == ()
    (candidate,) = seen
    assert candidate.base == device.base
    assert candidate.verified.tensors["selftest.input"].shape == (4,)
    assert candidate.merged is not None
    assert candidate.merged["conv/w"].dtype == np.float32


def test_a_self_test_runs_on_what_is_on_trial_already(device: Device) -> None:
    device.store.install(device.bundle(1))
    device.refuses("self-test", lambda: device.store.install(device.bundle(1), self_test=lambda candidate: False))
    ran: list[int] = []
    done = device.store.install(device.bundle(1), self_test=lambda c: ran.append(c.verified.statement.counter))
    assert (done.changed, done.unchecked, ran) == (False, (), [1])
    assert device.store.install(device.bundle(1)).unchecked == ()


@pytest.mark.parametrize("how", ["false", "error"])
def test_a_failed_self_test_refuses_the_bundle(device: Device, how: str) -> None:
    device.good(1)
    before = slots(device)

    def fails(candidate: Candidate) -> bool:
        if how == "error":
            raise RuntimeError("a wrong answer")
        return False

    text = device.refuses("self-test", lambda: device.store.install(device.bundle(2), self_test=fails))
    assert ("a wrong answer" if how == "error" else "a failure") in text
    assert slots(device) == before


def test_interrupting_an_install_leaves_the_old_state(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(candidate: Candidate) -> None:
        raise KeyboardInterrupt

    device.good(1)
    kept = slots(device)
    before = device.state()
    with pytest.raises(KeyboardInterrupt):
        device.store.install(device.bundle(2), self_test=interrupted)
    assert (device.state(), slots(device)) == (before, kept)


def test_interrupting_after_the_switch_keeps_the_new_slot(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between the renaming and the return: the slot is live, and must not be cleaned away."""

    def write(folder: Path, state: Any) -> None:
        write_state(folder, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(store_module, "write_state", write)
    with pytest.raises(KeyboardInterrupt):
        device.store.install(device.bundle(1))
    monkeypatch.undo()
    run = device.store.start()
    assert run.slot is not None
    assert run.slot.counter == 1


def test_a_base_that_changed_is_refused(device: Device) -> None:
    device.good(1)
    write_base(device.base, seed=1)
    device.refuses("base", lambda: device.store.install(device.bundle(2)))
    device.refuses("base", device.store.start)
    device.refuses("base", device.store.merged_weights)
    assert device.store.start(check_base=False).adapter is not None
    device.base.write_bytes(b"no weights")
    device.refuses("base", device.store.start)
    device.base.unlink()
    assert "where is it now" in device.refuses("base", device.store.start)


def test_a_base_that_was_saved_again_or_moved_is_the_same(device: Device) -> None:
    device.good(1)
    tensors = decode_tensors(device.base.read_bytes())[0]
    bundle = device.bundle(2)
    device.base.write_bytes(encode_tensors(tensors, {"saved": "again"}))
    assert device.store.start().adapter is not None
    assert device.store.install(bundle).changed
    moved = device.base.rename(device.folder / "moved.safetensors")
    device.refuses("base", device.store.start)
    store = Store(device.store.folder, base=moved)
    assert store.start().base == moved
    assert store.status()["base"]["path"] == str(moved)


def test_merged_weights_are_those_of_what_runs(device: Device) -> None:
    base = decode_tensors(device.base.read_bytes())[0]
    weights = device.store.merged_weights()
    assert weights.keys() == base.keys()
    np.testing.assert_array_equal(weights["conv/w"], base["conv/w"])
    device.store.install(device.bundle(1))
    tensors = decode_tensors((device.bundle(1) / "adapter_model.safetensors").read_bytes())[0]
    product = tensors["conv/w:lora_b"].astype(float) @ tensors["conv/w:lora_a"].astype(float)
    np.testing.assert_allclose(device.store.merged_weights()["conv/w"], base["conv/w"] * np.exp(product), rtol=1e-6)


def test_merged_weights_of_another_digest_are_refused(device: Device) -> None:
    device.good(1)
    state = read_state(device.store.folder)
    live = type(state.live)(**{**vars(state.live), "merged_sha256": "4" * 64})
    write_state(device.store.folder, type(state)(**{**vars(state), "live": live}))
    device.refuses("merged", device.store.merged_weights)


def test_weights_that_cannot_be_read_are_refused(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(path: Path) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr("lieref.adapter.weights.read_weights", cannot)
    device.refuses("base", device.store.merged_weights)


def test_a_reader_meets_a_switch(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slot that a reader is about to read goes, because two installs come between: it reads the new one."""
    device.good(1)
    real, calls = store_module.read_slot, []

    def late(folder: Path, slot: Any) -> dict[str, bytes]:
        calls.append(slot.counter)
        if len(calls) == 1:
            monkeypatch.setattr(store_module, "read_slot", real)
            device.good(2, 3)
            monkeypatch.setattr(store_module, "read_slot", late)
        return real(folder, slot)

    monkeypatch.setattr(store_module, "read_slot", late)
    found = device.store.read_live()
    assert found is not None
    assert (found[0].counter, calls) == (3, [1, 3])
    assert slot_digest(found[1]) == found[0].digest


def test_roots_follow_one_another(device: Device, tmp_path: Path) -> None:
    both = write_root(tmp_path / "2.json", 2, ("a", "b"), root=("b",), bundle=("b",))
    third = write_root(tmp_path / "3.json", 3, ("b", "c"), root=("c",), bundle=("c",))
    device.refuses("root", lambda: device.store.trust(third))
    device.refuses("root", lambda: device.store.trust(device.root))
    device.refuses("root", lambda: device.store.trust(write_root(tmp_path / "x.json", 2, ("b",), root=("b",))))
    assert device.store.trust(both).root_version == 2
    device.refuses("unknown-key", lambda: device.store.install(device.bundle(1)))
    assert device.store.install(device.bundle(1, "by-b", names=("b",))).changed
    assert device.store.trust(third).root_version == 3
    assert device.store.status()["root"] == {"version": 3, "expires": None}


def test_a_root_that_changes_during_an_install_is_noticed(device: Device, tmp_path: Path) -> None:
    both = write_root(tmp_path / "2.json", 2, ("a", "b"), root=("b",), bundle=("b",))
    kept = slots(device)

    def meanwhile(candidate: Candidate) -> None:
        device.store.trust(both)

    with pytest.raises(BundleRefused, match="another one meanwhile") as error:
        device.store.install(device.bundle(1), self_test=meanwhile)
    assert error.value.slug == "root"
    assert slots(device) == kept


def test_one_installer_at_a_time(device: Device) -> None:
    def second(candidate: Candidate) -> None:
        with pytest.raises(StoreRefused, match=f"is being written by process {os.getpid()}") as error:
            device.store.install(device.bundle(2))
        assert error.value.slug == "busy"
        device.store.start()

    assert device.store.install(device.bundle(1), self_test=second).changed
    assert device.live() == 1


def test_a_change_waits_for_another_but_not_for_ever(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "WAIT_SECONDS", 0.02)
    device.good(1)
    with exclusive(device.store.folder, "x", "store", lock=device.store.folder / locks.STATE_LOCK):
        device.refuses("busy", device.store.rollback)
        assert device.store.start().adapter is not None, "a start that changes nothing waits for nobody"


def test_an_error_of_the_disk_keeps_the_old_state(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.good(1)
    device.store.install(device.bundle(2))
    before = device.state()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for work in (device.store.start, device.store.rollback, lambda: device.store.install(device.bundle(3))):
        with pytest.raises(OSError, match="No space left"):
            work()
        assert device.state() == before


def test_nothing_points_to_a_slot_that_the_disk_did_not_confirm(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(slots_module, "flush_folder", broken)
    before = device.state()
    with pytest.raises(OSError, match="Input/output error"):
        device.store.install(device.bundle(1))
    assert device.state() == before


def test_a_state_that_was_not_confirmed_is_said(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.good(1)
    real = os.fsync

    def folders_fail(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), os.stat(device.store.folder)):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", folders_fail)
    with pytest.warns(NotFlushedWarning, match="the disk did not confirm it"):
        state = device.store.rollback()
    assert read_state(device.store.folder) == state


def test_a_damaged_state_is_refused(device: Device) -> None:
    path = device.store.folder / STATE_NAME
    path.write_bytes(device.state().replace(b'"accepted":null', b'"accepted":1234'))
    for work in (device.store.start, device.store.status, lambda: device.store.install(device.bundle(1))):
        assert "must have the sha256" in device.refuses("state", work)


def test_the_clock_of_the_system_is_the_default(device: Device, tmp_path: Path) -> None:
    store = Store.init(tmp_path / "other", base=device.base, trust=device.root)
    assert store.history()[0].when > "2026-01-01"


def test_slugs_are_told_apart() -> None:
    assert not set(REFUSALS) & set(STORE_REFUSALS)
    assert set(ALL_REFUSALS) == {*REFUSALS, *STORE_REFUSALS}


def test_a_path_that_is_relative_stays_the_same_place(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(device.folder)
    store = Store.init("other", base=device.base.name, trust="root.json")
    monkeypatch.chdir("/")
    assert store.start().base == device.base
    assert write_bundle(device.folder / "x", device.base, 1).is_dir()
