"""The state machine alone: each step, what is refused, and what holds in every state that can be reached."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.store.state import (
    MOST_EVENTS,
    Base,
    Slot,
    State,
    Trial,
    initialised,
    installed,
    marked_good,
    rolled_back,
    started,
    trusted,
)
from lieref.errors import DomainError, DTypeError

BASE = Base("/base.onnx", "b" * 64, "c" * 64)


def slot(counter: int, min_counter: int = 0, name: str | None = None) -> Slot:
    return Slot((name or f"{counter:x}").rjust(64, "0"), 100, f"v{counter}", counter, min_counter, None)


def new(tries: int = 2) -> State:
    return initialised("root", 1, BASE, None, tries, "t")


def start(state: State, live: bool = True, previous: bool = True) -> State:
    return started(state, "t", live_intact=live, previous_intact=previous)


def good(state: State, *slots: Slot) -> State:
    for one in slots:
        state = marked_good(start(installed(state, one, "t")), "t")
    return state


def refused(slug: str, work: Callable[[], object]) -> str:
    with pytest.raises(BundleRefused) as error:
        work()
    assert error.value.slug == slug
    return str(error.value)


def test_a_new_store_runs_the_base_alone() -> None:
    state = new()
    assert (state.live, state.previous, state.trial, state.accepted, state.floor) == (None, None, None, None, 0)
    assert start(state) is state
    assert marked_good(state, "t") is state
    refused("no-previous", lambda: rolled_back(state, "t"))
    refused("no-previous", lambda: rolled_back(state, "t", to_base=True))


@pytest.mark.parametrize(("tries", "error"), [(0, DomainError), (1001, DomainError), (True, DTypeError)])
def test_a_trial_has_one_start_at_least(tries: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="`tries` must be"):
        new(tries)


def test_a_trial_is_over_after_its_starts() -> None:
    """Two starts of the new slot, and the third is of the base again; nothing counts for accepted."""
    state = installed(new(2), slot(5, 3), "t")
    assert (state.live, state.trial) == (slot(5, 3), Trial(2, 0))
    state = start(start(state))
    assert (state.live, state.trial) == (slot(5, 3), Trial(0, 2))
    state = start(state)
    assert (state.live, state.previous, state.trial, state.accepted, state.floor) == (None, None, None, None, 0)
    assert state.history[-1].what == "reverted"
    assert state.history[-1].why == "not marked good in 2 starts; back to the base alone"
    assert state.history[-1].counter == 5


def test_marking_good_accepts_counter_and_floor() -> None:
    state = good(new(), slot(5, 3))
    assert (state.accepted, state.floor, state.trial, state.live) == (5, 3, None, slot(5, 3))
    assert marked_good(state, "t") is state
    assert start(state) is state
    for _ in range(5):
        state = start(state)
    assert state.live == slot(5, 3)


def test_what_has_not_been_started_cannot_be_marked_good() -> None:
    state = installed(good(new(), slot(1)), slot(2), "t")
    assert "must have been started since it was installed" in refused("not-started", lambda: marked_good(state, "t"))
    one = start(state)
    refused("not-started", lambda: marked_good(one, "t", slot(1).digest))
    assert marked_good(one, "t", slot(2).digest).accepted == 2
    refused("not-started", lambda: marked_good(new(), "t", slot(1).digest))


@pytest.mark.parametrize("counter", [0, 3, 4])
def test_a_counter_must_be_above_the_last_accepted(counter: int) -> None:
    state = good(new(), slot(4))
    assert "must be above 4" in refused("counter", lambda: installed(state, slot(counter), "t"))


def test_the_floor_is_for_installs_too() -> None:
    state = replace(new(), floor=7)
    refused("floor", lambda: installed(state, slot(6), "t"))
    assert installed(state, slot(7), "t").live == slot(7)


def test_another_install_during_a_trial_keeps_what_was_good_last() -> None:
    state = installed(installed(good(new(), slot(1)), slot(2), "t"), slot(3), "t")
    assert (state.live, state.previous, state.trial) == (slot(3), slot(1), Trial(2, 0))
    assert start(start(start(state))).live == slot(1)


def test_the_same_bundle_again_makes_no_trial_longer() -> None:
    state = start(installed(new(), slot(2), "t"))
    assert installed(state, slot(2), "t") is state


def test_rollback_goes_back_and_forth_between_good_slots() -> None:
    state = good(new(), slot(1), slot(2))
    back = rolled_back(state, "t")
    assert (back.live, back.previous, back.accepted) == (slot(1), slot(2), 2)
    assert start(back) is back
    refused("counter", lambda: installed(back, slot(2), "t"))
    assert rolled_back(back, "t").live == slot(2)
    assert installed(back, slot(3), "t").previous == slot(1)


def test_rollback_of_the_first_is_the_base_alone() -> None:
    state = rolled_back(good(new(), slot(1)), "t")
    assert (state.live, state.previous) == (None, slot(1))
    assert rolled_back(state, "t").live == slot(1)
    failed = start(start(start(installed(state, slot(2), "t"))))
    assert failed.live is None, "the base ran before, so that the base runs again"


def test_rollback_during_a_trial_leaves_it_for_good() -> None:
    state = rolled_back(start(installed(good(new(), slot(1)), slot(2), "t")), "t")
    assert (state.live, state.previous, state.trial) == (slot(1), None, None)


def test_rollback_to_the_base_keeps_what_was_good() -> None:
    state = good(new(), slot(1), slot(2))
    base = rolled_back(state, "t", to_base=True)
    assert (base.live, base.previous) == (None, slot(2))
    tried = rolled_back(installed(state, slot(3), "t"), "t", to_base=True)
    assert (tried.live, tried.previous, tried.trial) == (None, slot(2), None)


def test_nothing_below_the_floor_comes_back() -> None:
    state = good(new(), slot(1), slot(5, 2))
    assert "at or above the floor 2" in refused("floor", lambda: rolled_back(state, "t"))
    assert start(state, live=False).live is None
    assert rolled_back(state, "t", to_base=True).live is None
    at_floor = good(new(), slot(2), slot(5, 2))
    assert rolled_back(at_floor, "t").live == slot(2)
    assert start(at_floor, live=False).live == slot(2)


@pytest.mark.parametrize("trial", [True, False])
def test_a_damaged_slot_is_left_at_once(trial: bool) -> None:
    state = installed(good(new(), slot(1)), slot(2), "t")
    state = state if trial else marked_good(start(state), "t")
    after = start(state, live=False)
    assert (after.live, after.previous, after.trial) == (slot(1), None, None)
    assert "its files were damaged; back to version v1" in after.history[-1].why
    assert start(state, live=False, previous=False).live is None


def test_history_is_bounded_and_generations_are_not() -> None:
    state = new()
    for counter in range(100):
        state = installed(state, slot(counter), "t")
    assert len(state.history) == MOST_EVENTS
    assert state.history[-1].counter == 99
    assert state.generation == 100


def test_a_new_root_changes_nothing_else() -> None:
    before = good(new(), slot(1))
    after = trusted(before, "root 2", 2, "t")
    assert (after.root, after.root_version, after.history[-1].what) == ("root 2", 2, "trusted")
    assert replace(after, root="root", root_version=1, generation=before.generation, history=before.history) == before


SLOTS = [slot(1), slot(2, 2), slot(3, 1), slot(3, 1, name="f")]


def steps(state: State) -> Iterator[State]:
    """Every state that one step leads to."""
    for one in SLOTS:
        yield from attempt(installed, state, one)
    for live in (True, False):
        for previous in (True, False):
            yield start(state, live, previous)
    yield from attempt(marked_good, state)
    for to_base in (True, False):
        yield from attempt(rolled_back, state, to_base=to_base)


def attempt(step: Callable[..., State], state: State, *arguments: object, **options: object) -> Iterator[State]:
    try:
        yield step(state, *arguments, "t", **options)
    except BundleRefused:
        return


def plain(state: State) -> State:
    return replace(state, generation=0, history=())


def test_what_holds_in_every_state_that_can_be_reached() -> None:
    """Breadth first through all of them: counters never fall, nothing below the floor runs, a trial ends."""
    first = plain(new(2))
    seen, waiting = {first}, deque([first])
    while waiting:
        state = waiting.popleft()
        for after in steps(state):
            assert after.floor >= state.floor
            assert (after.accepted or 0) >= (state.accepted or 0)
            assert after.live is None or after.live.counter >= after.floor
            assert after.trial is None or after.live is not None
            assert after.trial is None or after.trial.tries + after.trial.started == 2
            assert after.live is None or after.live != after.previous
            for kept in (after.previous, None if after.trial else after.live):
                assert kept is None or kept.counter <= (after.accepted or 0), "only what was marked good stays"
            assert after is state or after.generation == state.generation + 1
            short = plain(after)
            if short not in seen:
                seen.add(short)
                waiting.append(short)
    assert len(seen) > 50
