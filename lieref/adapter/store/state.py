"""What a device remembers about its adapters, and the only ways in which that changes.

Pure functions from an old state to a new one; none of them touches a disk.

    installed ---> on trial --marked_good--> good
                      |                        |
                      +--started too often,----+--rolled_back--> the slot before, or the base alone
                         or damaged

A slot on trial becomes live at once, and the last good one is kept behind it. Nothing that a bundle says counts for
good before the trial is over: the last accepted counter and the floor rise with `marked_good`.
"""

from __future__ import annotations

from dataclasses import replace

from lieref._check import check_int
from lieref._record import dataclass
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.bundle.statement import MOST_TEXT, is_line
from lieref.adapter.fields import shown
from lieref.adapter.store.refusal import StoreRefused
from lieref.errors import DomainError

MOST_TRIES = 1000
"""Starts of a trial at most."""
MOST_EVENTS = 50
"""Events that the history keeps: some kilobytes, years of updates."""


@dataclass(frozen=True)
class Base:
    """The network that adapters are for, as it was when the store was made.

    Attributes
    ----------
    path : str
        Absolute.
    file_sha256, weights_sha256 : str
        Of the file, and of the weights in it alone: a file that was saved again with other metadata is the same base.
    """

    path: str
    file_sha256: str
    weights_sha256: str


@dataclass(frozen=True)
class Slot:
    """One bundle that is kept.

    Attributes
    ----------
    digest : str
        See `lieref.adapter.store.slots.slot_digest`; also the name of its folder.
    size : int
        Bytes of its files together.
    version : str
        For people; never compared.
    counter, min_counter : int
        The bundle's own place in the order of bundles, and the floor that it sets.
    merged_sha256 : str or None
        Of the merged weights, None where the bundle promises none.
    """

    digest: str
    size: int
    version: str
    counter: int
    min_counter: int
    merged_sha256: str | None


@dataclass(frozen=True)
class Trial:
    """What is left of a trial: `tries` starts, and how many there were."""

    tries: int
    started: int = 0


@dataclass(frozen=True)
class Event:
    """One line of the history.

    Attributes
    ----------
    when : str
        RFC 3339, by the device's own clock.
    what : str
        ``initialised``, ``installed``, ``marked-good``, ``reverted``, ``rolled-back`` or ``trusted``.
    slot, version, counter
        Of the slot that was installed, marked good, left, or gone back to; None for the base alone.
    why : str
    """

    when: str
    what: str
    slot: str | None
    version: str | None
    counter: int | None
    why: str


@dataclass(frozen=True)
class State:
    """All that a store remembers.

    Attributes
    ----------
    generation : int
        Grows by one with every change.
    root : str
        The trusted root file, as text.
    root_version : int
    base : Base
    compatible : str or None
        The kind of device; None takes bundles that name none.
    tries : int
        Starts of a trial.
    accepted : int or None
        The largest counter that was marked good; None before the first.
    floor : int
        No slot with a counter below it may become live.
    live, previous : Slot or None
        None for the base alone. Without a trial both were marked good once.
    trial : Trial or None
        Of the live slot.
    history : tuple of Event
        The latest last.
    """

    generation: int
    root: str
    root_version: int
    base: Base
    compatible: str | None
    tries: int
    accepted: int | None
    floor: int
    live: Slot | None
    previous: Slot | None
    trial: Trial | None
    history: tuple[Event, ...]


def initialised(root: str, root_version: int, base: Base, compatible: str | None, tries: int, when: str) -> State:
    """Return the state of a new store: the base alone.

    Raises
    ------
    DomainError
        If `tries` is out of range, no bundle can be for this kind of device, or the path is not text.
    """
    check_int("init", "tries", tries, low=1, high=MOST_TRIES)
    if compatible is not None and not is_line(compatible):
        raise DomainError(
            f"init: `compatible` must be one line of 1 to {MOST_TEXT} printable letters; got {shown(compatible)}"
        )
    try:
        base.path.encode("utf-8")
    except UnicodeEncodeError:
        raise DomainError(
            f"init: `base` must have a path that UTF-8 can hold, to be remembered; got {shown(base.path)}"
        ) from None
    event = Event(when, "initialised", None, None, None, f"for {base.path}")
    return State(0, root, root_version, base, compatible, tries, None, 0, None, None, None, (event,))


def installed(state: State, slot: Slot, when: str) -> State:
    """Return the state with a slot that is live and on trial; what was good last stays behind it.

    The same bundle again changes nothing: a trial is not made longer by installing it once more.

    Raises
    ------
    BundleRefused
        ``counter`` unless the slot's counter is above the last accepted one, ``floor`` if it is below the floor.
    """
    if state.accepted is not None and slot.counter <= state.accepted:
        raise BundleRefused(
            "counter",
            f"install: `counter` must be above {state.accepted}, the last that was accepted; got {slot.counter} "
            f"(version {slot.version})",
        )
    if slot.counter < state.floor:
        raise BundleRefused(
            "floor", f"install: `counter` must be at least {state.floor}, the floor; got {slot.counter}"
        )
    if state.trial is not None and state.live is not None and state.live.digest == slot.digest:
        return state
    good = state.live if state.trial is None else state.previous
    changed = replace(state, live=slot, previous=good, trial=Trial(state.tries))
    return _changed(changed, _event(when, "installed", slot, f"on trial for {starts(state.tries)}"))


def started(state: State, when: str, *, live_intact: bool, previous_intact: bool) -> State:
    """Return the state after the application has asked what to run.

    A slot on trial loses one try; with none left, or damaged, it is left for good. A start of what is good and whole
    changes nothing.

    Parameters
    ----------
    state : State
    when : str
    live_intact, previous_intact : bool
        Whether the files of the two slots still have their digest.
    """
    if state.live is None:
        return state
    if not live_intact:
        return _reverted(state, when, previous_intact, "its files were damaged")
    if state.trial is None:
        return state
    if state.trial.tries == 0:
        return _reverted(state, when, previous_intact, f"not marked good in {starts(state.trial.started)}")
    return _next(state, trial=Trial(state.trial.tries - 1, state.trial.started + 1))


def marked_good(state: State, when: str, slot: str | None = None) -> State:
    """Return the state with the live slot accepted; nothing changes where it is already, or the base runs alone.

    Parameters
    ----------
    state : State
    when : str
    slot : str, optional
        Digest of the slot that the caller runs, to be sure that it is the live one.

    Raises
    ------
    StoreRefused
        ``not-started`` if the slot has not been started since it was installed: whoever says that all is well runs
        another one.
    """
    live = state.live
    if slot is not None and (live is None or live.digest != slot):
        raise StoreRefused(
            "not-started", f"mark-good: `slot` must be the live one; got {slot}, and live is {_name(live)}"
        )
    if state.trial is None or live is None:
        return state
    if not state.trial.started:
        raise StoreRefused(
            "not-started",
            f"mark-good: {_name(live)} must have been started since it was installed; got none of its "
            f"{state.trial.tries} starts: ask `start` what to run, run that, and mark it good then",
        )
    accepted = live.counter if state.accepted is None else max(state.accepted, live.counter)
    changed = replace(state, accepted=accepted, floor=max(state.floor, live.min_counter), trial=None)
    return _changed(changed, _event(when, "marked-good", live, f"after {starts(state.trial.started)}"))


def rolled_back(state: State, when: str, *, to_base: bool = False) -> State:
    """Return the state with the slot before, or the base alone if there was none; a slot on trial is left for good.

    What was good stays behind: rolling back twice is where it was.

    Raises
    ------
    StoreRefused
        ``no-previous`` if there is nothing to go back to.
    BundleRefused
        ``floor`` if the slot before is below the floor.
    """
    if state.live is None and (to_base or state.previous is None):
        raise StoreRefused("no-previous", "rollback: there must be something to go back to; got the base alone")
    target = None if to_base else state.previous
    if target is not None and target.counter < state.floor:
        raise BundleRefused(
            "floor",
            f"rollback: the slot before must be at or above the floor {state.floor}; got {_name(target)}: "
            "go back to the base alone, or install a newer bundle",
        )
    if state.trial is not None:
        behind = state.previous if to_base else None
    else:
        behind = state.live
    changed = replace(state, live=target, previous=behind, trial=None)
    return _changed(changed, _event(when, "rolled-back", target, f"from {_name(state.live)}"))


def trusted(state: State, root: str, root_version: int, when: str) -> State:
    """Return the state with the next root file."""
    changed = replace(state, root=root, root_version=root_version)
    return _changed(changed, Event(when, "trusted", None, None, None, f"root {state.root_version} to {root_version}"))


def _reverted(state: State, when: str, previous_intact: bool, why: str) -> State:
    """Leave the live slot for the one before, if that may be run, else for the base alone."""
    before = state.previous
    usable = before is not None and previous_intact and before.counter >= state.floor
    changed = replace(state, live=before if usable else None, previous=None, trial=None)
    return _changed(changed, _event(when, "reverted", state.live, f"{why}; back to {_name(changed.live)}"))


def _next(state: State, trial: Trial) -> State:
    return replace(state, trial=trial, generation=state.generation + 1)


def _changed(state: State, event: Event) -> State:
    """Count a change and remember it; the oldest event gives way."""
    return replace(state, generation=state.generation + 1, history=(*state.history, event)[-MOST_EVENTS:])


def _event(when: str, what: str, slot: Slot | None, why: str) -> Event:
    if slot is None:
        return Event(when, what, None, None, None, why)
    return Event(when, what, slot.digest, slot.version, slot.counter, why)


def starts(number: int) -> str:
    """Return a number of starts for people."""
    return f"{number} start" if number == 1 else f"{number} starts"


def _name(slot: Slot | None) -> str:
    """Return a slot's name for people."""
    return "the base alone" if slot is None else f"version {slot.version} (counter {slot.counter})"
