"""The device store: everything between a bundle that was brought here and the adapter that runs.

A store is a folder: ``state.json``, all that is remembered, and ``slots/``, the bundles that are kept. Whatever
happens, a power cut at any moment too, it is in the state before a change or in the one after it: one renaming of
``state.json`` is the change, and everything that it points to lies on the disk by then.

What it does not protect against: who can write into its folder can do what the store can.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lieref._atomic import check_new_folder, new_folder, remove_folder
from lieref._types import Array
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.bundle.statement import format_time
from lieref.adapter.bundle.trust import Root, next_root, open_root, read_root
from lieref.adapter.bundle.verify import base_digests, verify_bundle
from lieref.adapter.store import checks
from lieref.adapter.store.locks import only_changer, only_installer
from lieref.adapter.store.refusal import StoreRefused
from lieref.adapter.store.results import Candidate, Installed, SelfTest, Started
from lieref.adapter.store.slots import (
    SLOTS_NAME,
    is_intact,
    read_slot,
    remove_slots,
    slot_digest,
    slot_folder,
    updated_file,
    write_slot,
)
from lieref.adapter.store.state import (
    Base,
    Event,
    Slot,
    State,
    initialised,
    installed,
    marked_good,
    rolled_back,
    started,
    trusted,
)
from lieref.adapter.store.state_file import STATE_NAME, encode_state, read_state, write_state

TRIES = 3
"""Starts of a trial where nothing else is said, as RAUC has it."""
_Step = Callable[[State], State]


class Store:
    """A store that is there; `Store.init` makes one.

    Parameters
    ----------
    folder : path
    base : path, optional
        Where the base model lies now, if not where it was when the store was made.
    clock : callable, optional
        Returns the time, with a time zone, for expiry and history.
    """

    def __init__(
        self, folder: str | Path, *, base: str | Path | None = None, clock: Callable[[], datetime] | None = None
    ) -> None:
        self.folder = Path(os.path.abspath(folder))
        self._moved = None if base is None else Path(os.path.abspath(base))
        self._clock = clock or _now

    @classmethod
    def init(
        cls,
        folder: str | Path,
        *,
        base: str | Path,
        trust: str | Path | Root,
        compatible: str | None = None,
        tries: int = TRIES,
        clock: Callable[[], datetime] | None = None,
    ) -> Store:
        """Make a store, whole or not at all.

        Parameters
        ----------
        folder : path
            Absent or empty.
        base : path
            The base model: its place and its digests are remembered.
        trust : path or Root
            The root file to begin with: bring it with the device, not with the first bundle.
        compatible : str, optional
            What kind of device this is.
        tries : int
            Starts that a new slot has to be marked good in.
        clock : callable, optional
            See `Store`.

        Raises
        ------
        BundleRefused
            ``root``, ``private-key`` or ``base``.
        DomainError
            If the folder holds something, or `tries` is not from 1 to 1000.
        """
        check_new_folder(folder)
        root = trust if isinstance(trust, Root) else read_root(trust)
        path = Path(os.path.abspath(base))
        digests = base_digests(path)
        remembered = Base(str(path), digests.file_sha256, digests.weights_sha256)
        when = format_time((clock or _now)())
        state = initialised(root.data.decode(), root.version, remembered, compatible, tries, when)
        with new_folder(folder) as partial:
            (partial / SLOTS_NAME).mkdir()
            (partial / STATE_NAME).write_bytes(encode_state(state))
        return cls(folder, clock=clock)

    def install(
        self,
        bundle: str | Path,
        *,
        self_test: SelfTest | None = None,
        dry_run: bool = False,
        check_expiry: bool = True,
    ) -> Installed:
        """Check a bundle, keep it in a slot of its own, and put it live on trial.

        Parameters
        ----------
        bundle : path
        self_test : callable, optional
            Runs the network before the switch.
        dry_run : bool
            Check only, and change nothing.
        check_expiry : bool
            False on a device that has no clock.

        Raises
        ------
        BundleRefused
            With a slug of `lieref.adapter.store.ALL_REFUSALS`; the state is the old one.
        OSError
            If the disk is full or does not confirm what was written; the state is the old one.
        """
        if dry_run:
            state = read_state(self.folder)
            candidate, slot, unchecked = self._examine(state, bundle, check_expiry)
            tested = checks.self_test_aside(candidate, self_test)
            trial = installed(state, slot, self._time()).trial
            return Installed(slot, False, trial.tries if trial else state.tries, unchecked + tested)
        with only_installer(self.folder):
            state = read_state(self.folder)
            remove_slots(self.folder, _digests(state.live, state.previous))
            candidate, slot, unchecked = self._examine(state, bundle, check_expiry)
            if installed(state, slot, self._time()) is state:
                if self_test is not None:  # it was on trial already, perhaps never tested: what is asked for is done
                    unchecked += checks.self_test_aside(candidate, self_test)
                return Installed(slot, False, state.trial.tries if state.trial else 0, unchecked)
            folder = slot_folder(self.folder, write_slot(self.folder, candidate.verified.files, candidate.updated))
            try:
                here = replace(candidate, folder=folder)
                unchecked += checks.self_test(here, self_test)
                before, after = self._change(
                    lambda now: installed(_same_root(now, state), slot, self._time()), "install"
                )
            except BaseException:
                self._forget(slot)
                raise
            # The one that ran until now stays for whoever is still reading it.
            remove_slots(self.folder, _digests(after.live, after.previous, before.live))
            return Installed(slot, True, after.tries, unchecked)

    def start(self, *, check_base: bool = True) -> Started:
        """Return what the application is to run; to be called once at each of its starts.

        Counts the start if a slot is on trial. Leaves a slot by itself if its trial is over without `mark_good`, or if
        its files are damaged.

        Parameters
        ----------
        check_base : bool
            Read the base model and compare its digest, which takes as long as reading it.

        Raises
        ------
        BundleRefused
            ``base`` if the base model is not the one that the store was made for, ``state``, ``busy``.
        OSError
            If the start cannot be counted, because the disk is full or broken. The base alone needs no store.
        """
        state = read_state(self.folder)
        if check_base:
            checks.check_base(state.base, self._base(state))
        before = state
        if self._started(state) is not state:
            before, state = self._change(self._started, "start")
        reverted = before.live != state.live
        return Started(
            adapter=None if state.live is None else slot_folder(self.folder, state.live.digest),
            base=self._base(state),
            slot=state.live,
            tries=None if state.trial is None else state.trial.tries,
            reverted=state.history[-1].why if reverted else None,
            updated=None if state.live is None else updated_file(self.folder, state.live),
        )

    def mark_good(self, slot: str | None = None) -> State:
        """Say that what runs is well: its trial is over, its counter is the last accepted one, its floor holds.

        Returns the state; nothing changes where there is no trial.

        Parameters
        ----------
        slot : str, optional
            Digest of the slot that runs, from `start`, to be sure that it is the one on trial.

        Raises
        ------
        StoreRefused
            ``not-started``; ``slot`` if its files are damaged by now; ``state``, ``busy``.
        """

        def step(state: State) -> State:
            after = marked_good(state, self._time(), slot)
            if after is not state and state.live is not None:
                read_slot(self.folder, state.live)
            return after

        return self._change(step, "mark-good")[1]

    def rollback(self, *, to_base: bool = False) -> State:
        """Go back to the slot before, or to the base alone; return the state.

        Raises
        ------
        BundleRefused
            ``no-previous``, ``floor``, ``slot`` if the files of the slot before are damaged, ``state``, ``busy``.
        """

        def step(state: State) -> State:
            after = rolled_back(state, self._time(), to_base=to_base)
            if after.live is not None:
                read_slot(self.folder, after.live)
            return after

        return self._change(step, "rollback")[1]

    def trust(self, root: str | Path | Root) -> State:
        """Take the next root file, which the thresholds of the trusted one and of its own must have signed.

        Raises
        ------
        BundleRefused
            ``root``, ``private-key``, ``state``, ``busy``.
        """
        data = (root if isinstance(root, Root) else read_root(root)).data

        def step(state: State) -> State:
            following = next_root(open_root(state.root.encode())[1], data)
            return trusted(state, following.data.decode(), following.version, self._time())

        return self._change(step, "trust")[1]

    def status(self) -> dict[str, Any]:
        """Return what is live and what is kept, as plain JSON; the files of the slots are read and checked."""
        state = read_state(self.folder)
        _, root = open_root(state.root.encode())
        return {
            "store": str(self.folder),
            "generation": state.generation,
            "base": {**asdict(state.base), "path": str(self._base(state))},
            "compatible": state.compatible,
            "root": {
                "version": state.root_version,
                "expires": None if root.expires is None else format_time(root.expires),
            },
            "accepted": state.accepted,
            "floor": state.floor,
            "live": self._shown(state.live),
            "trial": None if state.trial is None else asdict(state.trial),
            "previous": self._shown(state.previous),
        }

    def history(self) -> tuple[Event, ...]:
        """Return what happened, the latest last; the oldest is forgotten after `MOST_EVENTS`."""
        return read_state(self.folder).history

    def read_live(self) -> tuple[Slot, dict[str, bytes]] | None:
        """Return the live slot and its files, checked; None for the base alone.

        Raises
        ------
        StoreRefused
            ``slot`` if they are damaged: `start` then goes back; ``state``.
        """
        state = read_state(self.folder)
        while state.live is not None:
            try:
                return state.live, read_slot(self.folder, state.live)
            except StoreRefused:
                now = read_state(self.folder)
                if now.live == state.live:
                    raise
                state = now  # another one was put live meanwhile, and this one removed
        return None

    def merged_weights(self) -> dict[str, Array]:
        """Return all weights of the network as it is to run, by the names of the base's file, computed by NumPy alone.

        For an application that has no library for ONNX. Counts no start.

        Raises
        ------
        BundleRefused
            ``base``, ``slot``, ``merged`` if they are not those that were installed, ``state``.
        """
        state = read_state(self.folder)
        path = self._base(state)
        checks.check_base(state.base, path)
        live = self.read_live()
        return checks.merged_weights(path, live)

    def _examine(self, state: State, bundle: str | Path, check_expiry: bool) -> tuple[Candidate, Slot, tuple[str, ...]]:
        """Return a bundle that passed every check but the self-test."""
        path = self._base(state)
        verified = verify_bundle(
            bundle,
            base=checks.check_base(state.base, path, kind=True),
            trust=open_root(state.root.encode())[1],
            now=self._clock(),
            compatible=state.compatible,
            counter=state.accepted,
            floor=state.floor,
            check_expiry=check_expiry,
        )
        merged, unchecked = checks.merged(verified, path)
        updated = checks.updated(verified, path)
        statement = verified.statement
        size = sum(map(len, verified.files.values()))
        slot = Slot(
            slot_digest(verified.files), size, statement.version, statement.counter, statement.min_counter,
            statement.merged_sha256,
        )  # fmt: skip
        return Candidate(Path(bundle), path, verified, merged, updated), slot, (*verified.unchecked, *unchecked)

    def _forget(self, slot: Slot) -> None:
        """Remove a slot that did not become live; whatever went wrong, what the state points to stays."""
        state = read_state(self.folder)
        if slot not in (state.live, state.previous):
            remove_folder(slot_folder(self.folder, slot.digest))

    def _started(self, state: State) -> State:
        live = is_intact(self.folder, state.live)
        # The one before is read only where it may be gone back to.
        previous = (live and state.trial is None) or is_intact(self.folder, state.previous)
        return started(state, self._time(), live_intact=live, previous_intact=previous)

    def _base(self, state: State) -> Path:
        return self._moved or Path(state.base.path)

    def _time(self) -> str:
        return format_time(self._clock())

    def _shown(self, slot: Slot | None) -> dict[str, Any] | None:
        if slot is None:
            return None
        path = str(slot_folder(self.folder, slot.digest))
        return {**asdict(slot), "path": path, "intact": is_intact(self.folder, slot)}

    def _change(self, step: _Step, verb: str) -> tuple[State, State]:
        """Replace the state by what a step makes of it; return the state before and the one after."""
        with only_changer(self.folder, verb):
            before = read_state(self.folder)
            after = step(before)
            if after is not before:
                write_state(self.folder, after)
            return before, after


def _same_root(now: State, checked: State) -> State:
    """Return the state of now if its root is the one that a bundle was checked by."""
    if now.root_version != checked.root_version:
        raise BundleRefused(
            "root", "install: the trusted root must stay the same; got another one meanwhile: install again"
        )
    return now


def _digests(*slots: Slot | None) -> set[str]:
    return {slot.digest for slot in slots if slot is not None}


def _now() -> datetime:
    return datetime.now(UTC)
