"""Stores in every kind of state, the verbs that change them, and what a store must show after a crash: old or new."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.store import Store
from lieref.adapter.store.slots import SLOTS_NAME, read_slot, slot_digest
from lieref.adapter.store.state import State, started
from lieref.adapter.store.state_file import STATE_NAME, read_state
from tests.adapter.bundle.bundles import FILES, KIND, TENSORS, UPDATE
from tests.adapter.bundle.updates import updated_file
from tests.adapter.store.bundles import NOW, write_base, write_bundle, write_root

LAST = 1000
"""Counter of the bundle that is installed after a crash: above all others."""


@dataclass(frozen=True)
class Kit:
    """A base, root files, and bundles by counter; some of these raise the floor, some are large."""

    folder: Path
    base: Path
    root: Path
    next_root: Path
    bundles: dict[int, Path]

    def store(self, folder: Path) -> Store:
        return Store(folder, clock=lambda: NOW)


Verb = Callable[[Kit, Path], object]


@dataclass(frozen=True)
class Scenario:
    """A store as it is, and a verb that changes it; `before` is None where the verb makes the store."""

    name: str
    before: Path | None
    verb: Verb


def make_kit(folder: Path) -> Kit:
    folder.mkdir(parents=True)
    base = write_base(folder / ("base.tflite" if KIND[0] == UPDATE else "base.safetensors"))
    root = write_root(folder / "root.json")
    next_root = write_root(folder / "root-2.json", 2, ("a", "b"), root=("b",), bundle=("a", "b"))
    bundles = {
        counter: write_bundle(
            folder / f"bundle-{counter}", base, counter,
            min_counter=counter - 1 if counter % 4 == 3 else 0,
            values=30_000 if counter % 5 == 4 else 100 * counter % 999,
        )
        for counter in (*range(1, 13), LAST)
    }  # fmt: skip
    return Kit(folder, base, root, next_root, bundles)


def init(kit: Kit, folder: Path) -> Store:
    return Store.init(folder, base=kit.base, trust=kit.root, tries=2, clock=lambda: NOW)


def install(counter: int) -> Verb:
    return lambda kit, folder: kit.store(folder).install(kit.bundles[counter])


def start(kit: Kit, folder: Path) -> object:
    return kit.store(folder).start()


def mark_good(kit: Kit, folder: Path) -> object:
    return kit.store(folder).mark_good()


def rollback(kit: Kit, folder: Path) -> object:
    return kit.store(folder).rollback()


def to_base(kit: Kit, folder: Path) -> object:
    return kit.store(folder).rollback(to_base=True)


def trust(kit: Kit, folder: Path) -> object:
    return kit.store(folder).trust(kit.next_root)


def damage(kit: Kit, folder: Path) -> None:
    """Flip a bit of what is live."""
    live = read_state(folder).live
    assert live is not None
    path = folder / SLOTS_NAME / live.digest / ("updated.tflite" if KIND[0] == UPDATE else TENSORS)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def litter(kit: Kit, folder: Path) -> None:
    """Leave what killed installs leave: a slot to which nothing points, half of another one, half of a state."""
    shutil.copytree(kit.bundles[12], folder / SLOTS_NAME / ("0" * 64))
    half = folder / SLOTS_NAME / f".{'1' * 64}.partial-00000000"
    half.mkdir()
    (half / FILES[KIND[0]][0]).write_bytes(b"{")
    (folder / f".{STATE_NAME}.partial-00000000").write_bytes(b"{")


def good(counter: int) -> list[Verb]:
    return [install(counter), start, mark_good]


NAMED: dict[str, tuple[list[Verb], Verb]] = {
    "first install": ([init], install(1)),
    "second install": ([init, *good(1)], install(2)),
    "third install, removes the first": ([init, *good(1), *good(2)], install(3)),
    "large install": ([init, *good(1)], install(4)),
    "install during a trial": ([init, *good(1), install(2), start], install(3)),
    "install of what was left": ([init, install(1), start, start, start], install(1)),
    "install after a rollback": ([init, *good(1), *good(2), rollback], install(3)),
    "install among leftovers": ([init, *good(1), litter], install(2)),
    "start of a trial": ([init, *good(1), install(2)], start),
    "start that ends a trial": ([init, *good(1), install(2), start, start], start),
    "start that ends a first trial": ([init, install(1), start, start], start),
    "start of a damaged slot": ([init, *good(1), *good(2), damage], start),
    "mark-good of the first": ([init, install(1), start], mark_good),
    "mark-good that raises the floor": ([init, *good(1), install(3), start], mark_good),
    "rollback between good slots": ([init, *good(1), *good(2)], rollback),
    "rollback during a trial": ([init, *good(1), install(2), start], rollback),
    "rollback to the base alone": ([init, *good(1), *good(2)], to_base),
    "trust": ([init, *good(1)], trust),
}
"""Name -> the verbs that make a store, and the one that is interrupted."""


def named(kit: Kit, folder: Path) -> Iterator[Scenario]:
    """Every kind of state with every verb that changes it."""
    yield Scenario("init", None, init)
    for number, (name, (past, verb)) in enumerate(NAMED.items()):
        before = folder / f"named-{number}"
        for step in past:
            step(kit, before)
        yield Scenario(name, before, verb)


def walks(kit: Kit, folder: Path, rng: random.Random) -> Iterator[Scenario]:
    """States that random verbs lead to, for ever; only verbs that change something are interrupted."""
    steps: dict[str, Verb] = {
        "start": start, "mark-good": mark_good, "rollback": rollback, "to base": to_base, "trust": trust,
        **{f"install {counter}": install(counter) for counter in range(1, 13)},
    }  # fmt: skip
    number = 0
    while True:
        here, number = folder / f"walk-{number}", number + 1
        init(kit, here)
        for _ in range(12):
            name = rng.choice([*steps][:5] if rng.random() < 0.6 else [*steps][5:])
            kept = folder / f"walk-{number}-before"
            shutil.copytree(here, kept)
            generation = read_state(here).generation
            with suppress(BundleRefused):
                steps[name](kit, here)
            if read_state(here).generation != generation:
                yield Scenario(f"walk: {name}", kept, steps[name])
            shutil.rmtree(kept)
        shutil.rmtree(here)


def state_after(kit: Kit, scenario: Scenario, folder: Path) -> State:
    """Return the state that the verb leads to when nothing disturbs it."""
    if scenario.before is not None:
        shutil.copytree(scenario.before, folder)
    scenario.verb(kit, folder)
    return read_state(folder)


def state_before(scenario: Scenario) -> State | None:
    return None if scenario.before is None else read_state(scenario.before)


class NeitherError(Exception):
    """A store shows neither the old state nor the new one, or it does not work any more."""


def check(kit: Kit, folder: Path, old: State | None, new: State, *, damaged: bool = False) -> str:
    """Return ``old`` or ``new``, what a store is after a crash, if it is whole and goes on.

    Everything that it shows is compared: status, history, the bytes of each slot, and what it gives to run. Then the
    next bundle is installed.

    Raises
    ------
    NeitherError
        If anything is otherwise.
    """
    if old is None and not (folder / STATE_NAME).exists():
        init(kit, folder)  # what was left behind must not be in its way
        return "old"
    try:
        return _check(kit, folder, old, new, damaged)
    except (BundleRefused, OSError, AssertionError) as error:
        raise NeitherError(f"{type(error).__name__}: {error}") from error


def _check(kit: Kit, folder: Path, old: State | None, new: State, damaged: bool) -> str:
    store = kit.store(folder)
    state = read_state(folder)
    assert state in (old, new), f"generation {state.generation}"
    which = "old" if state == old else "new"
    intact = {}
    for slot in (state.live, state.previous):
        if slot is not None and not (damaged and which == "old" and slot == state.live):
            source = kit.bundles[slot.counter]
            files = {path.name: path.read_bytes() for path in source.iterdir()}
            assert read_slot(folder, slot) == files, f"slot {slot.counter}"
            assert slot_digest(files) == slot.digest
            intact[slot.digest] = source
    status = store.status()
    assert status["generation"] == state.generation
    assert store.history() == state.history
    live = state.live is None or state.live.digest in intact
    expected = started(state, state.history[-1].when, live_intact=live, previous_intact=state.previous is not None)
    run = store.start()
    assert (run.slot, run.base) == (expected.live, kit.base)
    if run.slot is not None:
        assert run.adapter is not None
        right = {p.name: p.read_bytes() for p in intact[run.slot.digest].iterdir()}
        if KIND[0] == UPDATE:
            assert run.updated == run.adapter / "updated.tflite"
            right["updated.tflite"] = updated_file(kit.base.read_bytes(), right[FILES[UPDATE][1]])
        assert {p.name: p.read_bytes() for p in run.adapter.iterdir()} == right
    else:
        assert run.adapter is None
    store.install(kit.bundles[LAST])
    after = read_state(folder)
    assert after.live is not None
    assert after.live.counter == LAST
    kept = {slot.digest for slot in (after.live, after.previous, expected.live) if slot is not None}
    assert {path.name for path in (folder / SLOTS_NAME).iterdir()} == kept
    assert store.start().slot == after.live
    return which
