"""The verbs of a store as commands: one table for ``python -m lieref.adapter.store`` and ``lieref device``.

Exit status: 0 done; 3 refused, with ``refused: SLUG`` on stdout and the reason on stderr; 2 wrong use; 1 a failure of
the machine, such as a full disk; 130 interrupted. After 1, 2 and 3 the store is as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lieref._record import dataclass
from lieref._text import one_line
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.store.results import Candidate, SelfTest
from lieref.adapter.store.state import State, starts
from lieref.adapter.store.store import TRIES, Store
from lieref.errors import DomainError

DONE, FAILED, WRONG_USE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 130

SELF_TEST_SECONDS = 60
"""How long a self-test may take where nothing else is said."""


@dataclass(frozen=True)
class Answer:
    """What a command says.

    Attributes
    ----------
    report : dict
        What ``--json`` prints on stdout.
    lines : tuple of str
        What is printed there without it.
    notes : tuple of str
        Lines for stderr.
    status : int
    """

    report: dict[str, Any]
    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()
    status: int = DONE


@dataclass(frozen=True)
class Option:
    """An option, or an argument where the name has no dashes; `kind` is bool for a flag."""

    name: str
    text: str
    kind: type = str
    default: Any = None
    required: bool = False
    metavar: str | None = None

    @property
    def key(self) -> str:
        """The name in Python."""
        return self.name.lstrip("-").replace("-", "_").lower()

    @property
    def absent(self) -> Any:
        """The value where it is not given."""
        return False if self.kind is bool else self.default


@dataclass(frozen=True)
class Verb:
    """One verb: its help, its options, and what it does with them and the folder of the store."""

    summary: str
    text: str
    options: tuple[Option, ...]
    act: Callable[[Path, Mapping[str, Any]], Answer]


def perform(verb: str, store: Path, options: Mapping[str, Any]) -> Answer:
    """Run a verb; a refusal is an answer, any other error is raised."""
    try:
        return VERBS[verb].act(store, options)
    except BundleRefused as error:
        report = {"refused": error.slug, "reason": str(error)}
        return Answer(report, (f"refused: {error.slug}",), (_line("error", error),), REFUSED)


def text_of(answer: Answer, as_json: bool) -> str:
    """Return what a command prints on stdout."""
    return json.dumps(answer.report, indent=2, allow_nan=False) if as_json else "\n".join(answer.lines)


def command_self_test(command: str, seconds: float) -> SelfTest:
    """Return a self-test that runs a command with the bundle's folder and the base's file after its own words.

    No shell is involved. Status 0 is a pass. What it prints goes to stderr.

    Raises
    ------
    DomainError
        If the words cannot be told apart, or there are none, or the time is not positive.
    """
    import shlex
    import subprocess  # a start of the application needs neither

    try:
        words = shlex.split(command)
    except ValueError as error:
        raise DomainError(f"install: `self-test` must be a command; got {command!r}: {error}") from None
    if not words:
        raise DomainError("install: `self-test` must be a command; got no word")
    if not seconds > 0:  # nor is a NaN
        raise DomainError(f"install: `self-test-seconds` must be positive; got {seconds}")

    def run(candidate: Candidate) -> bool:
        done = subprocess.run(
            [*words, str(candidate.folder), str(candidate.base)], check=False, timeout=seconds,
            stdin=subprocess.DEVNULL, stdout=2,
        )  # fmt: skip
        if done.returncode:
            raise ValueError(f"status {done.returncode} of {words[0]}")
        return True

    return run


def _init(store: Path, options: Mapping[str, Any]) -> Answer:
    made = Store.init(
        store,
        base=options["base"],
        trust=options["trust"],
        compatible=options["compatible"],
        tries=options["tries"],
    )
    status = made.status()
    return Answer(
        status, (f"made: {made.folder}, for {status['base']['path']}, root version {status['root']['version']}",)
    )


def _install(store: Path, options: Mapping[str, Any]) -> Answer:
    command = options["self_test"]
    done = _open(store, options).install(
        options["bundle"],
        self_test=None if command is None else command_self_test(command, options["self_test_seconds"]),
        dry_run=options["dry_run"],
        check_expiry=not options["no_clock"],
    )
    name = f"version {done.slot.version} (counter {done.slot.counter})"
    if options["dry_run"]:
        line = f"would install: {name}"
    elif done.changed:
        line = f"installed: {name}, on trial for {starts(done.tries)}"
    else:
        line = f"unchanged: {name} is on trial already, {starts(done.tries)} left"
    report = {
        "installed": done.changed, "dry_run": bool(options["dry_run"]), "slot": asdict(done.slot), "tries": done.tries,
        "unchecked": list(done.unchecked),
    }  # fmt: skip
    return Answer(report, (line,), tuple(_line("note", text) for text in done.unchecked))


def _start(store: Path, options: Mapping[str, Any]) -> Answer:
    run = _open(store, options).start(check_base=not options["no_base_check"])
    report = {
        "adapter": None if run.adapter is None else str(run.adapter),
        "updated": None if run.updated is None else str(run.updated),
        "base": str(run.base),
        "slot": None if run.slot is None else asdict(run.slot),
        "tries": run.tries,
        "reverted": run.reverted,
    }
    notes = [] if run.reverted is None else [f"reverted, {run.reverted}"]
    if run.tries is not None:
        notes.append(f"on trial: without mark-good it is given up after {starts(run.tries)} more")
    lines = (str(run.updated or run.adapter or run.base),)
    return Answer(report, lines, tuple(_line("note", text) for text in notes))


def _mark_good(store: Path, options: Mapping[str, Any]) -> Answer:
    state = _open(store, options).mark_good(options["slot"])
    return Answer(_brief(state), (f"good: {_live(state)}; accepted {state.accepted}, floor {state.floor}",))


def _rollback(store: Path, options: Mapping[str, Any]) -> Answer:
    state = _open(store, options).rollback(to_base=options["to_base"])
    return Answer(_brief(state), (f"live: {_live(state)}",))


def _trust(store: Path, options: Mapping[str, Any]) -> Answer:
    state = _open(store, options).trust(options["root"])
    return Answer(_brief(state), (f"trusted: root version {state.root_version}",))


def _status(store: Path, options: Mapping[str, Any]) -> Answer:
    status = _open(store, options).status()
    trial, root, base = status["trial"], status["root"], status["base"]
    lines = {
        "live": _slot_line(status["live"]),
        "trial": "none" if trial is None else f"{starts(trial['tries'])} left, {trial['started']} made",
        "previous": "none" if status["previous"] is None else _slot_line(status["previous"]),
        "accepted": "nothing yet" if status["accepted"] is None else f"counter {status['accepted']}",
        "floor": f"counter {status['floor']}",
        "device": status["compatible"] or "of no kind",
        "root": f"version {root['version']}, " + (f"expires {root['expires']}" if root["expires"] else "never expires"),
        "base": f"{base['path']}, sha256 {base['file_sha256']}",
    }
    return Answer(status, tuple(f"{name}: {value}" for name, value in lines.items()))


def _history(store: Path, options: Mapping[str, Any]) -> Answer:
    events = _open(store, options).history()
    lines = tuple(
        f"{e.when} {e.what}{f' {e.version} (counter {e.counter})' if e.slot else ''}: {e.why}" for e in events
    )
    return Answer({"history": [asdict(event) for event in events]}, lines)


def _line(kind: str, text: object) -> str:
    return f"{kind}: {one_line(text)}"


def _open(store: Path, options: Mapping[str, Any]) -> Store:
    return Store(store, base=options.get("base"))


def _brief(state: State) -> dict[str, Any]:
    """Return a state for a report: all but the root file and the history, which have verbs of their own."""
    return {name: value for name, value in asdict(state).items() if name not in ("root", "history")}


def _live(state: State) -> str:
    return "the base alone" if state.live is None else f"version {state.live.version} (counter {state.live.counter})"


def _slot_line(slot: Mapping[str, Any] | None) -> str:
    if slot is None:
        return "the base alone"
    damage = "" if slot["intact"] else ", DAMAGED"
    return f"version {slot['version']} (counter {slot['counter']}){damage}, {slot['path']}"


_BASE = Option("--base", "Where the base model lies now, if it was moved.", Path, metavar="FILE")

VERBS: dict[str, Verb] = {
    "init": Verb(
        "Make a store for a base model.",
        "The base's place and digests and the root file are remembered. Bring the root file with the device.",
        (
            Option("--base", "The base model.", Path, required=True, metavar="FILE"),
            Option("--trust", "The root file, or a folder with root.json.", Path, required=True, metavar="ROOT"),
            Option("--compatible", "What kind of device this is.", metavar="TEXT"),
            Option("--tries", "Starts that a new adapter has to be marked good in.", int, TRIES, metavar="N"),
        ),
        _init,
    ),
    "install": Verb(
        "Check a bundle and put it live on trial.",
        "Signatures, digests, age, device, base, numbers and merged weights are checked before anything is written. "
        "The self-test COMMAND is then run, without a shell, with the folder of the bundle and the base's file as its "
        "last arguments: status 0 is a pass, anything else refuses the bundle. Of the update of a quantised file the "
        "folder also holds the file to run, updated.tflite or updated.onnx. While one process installs, others are "
        "refused as busy.",
        (
            Option("BUNDLE", "The folder of the bundle.", Path, required=True),
            Option("--self-test", "Runs the network before the switch.", metavar="COMMAND"),
            Option("--self-test-seconds", "How long it may take.", float, SELF_TEST_SECONDS, metavar="S"),
            Option("--dry-run", "Check only, change nothing.", bool),
            Option("--no-clock", "Pass over the expiry: for a device whose clock cannot be trusted.", bool),
            _BASE,
        ),
        _install,
    ),
    "status": Verb(
        "Show what is live and what is kept.", "Reads and checks the files of the slots.", (_BASE,), _status
    ),
    "start": Verb(
        "Print what to run: the live adapter's folder, a quantised file with the live update in it, or the base.",
        "The application calls this at each of its starts. It counts the starts of a trial, and goes back by itself "
        "when they are used up without mark-good, or when the live adapter's files are damaged.",
        (
            Option("--no-base-check", "Do not read the base model to compare its digest.", bool),
            _BASE,
        ),
        _start,
    ),
    "mark-good": Verb(
        "Accept the adapter that runs.",
        "Ends its trial; its counter and its floor hold from now on. Refused as not-started if it has not been started "
        "since it was installed, for then it is not what runs.",
        (Option("--slot", "Digest of what runs, as `start --json` gave it.", metavar="SHA256"),),
        _mark_good,
    ),
    "rollback": Verb(
        "Go back to the adapter before, or to the base alone.",
        "Nothing below the floor comes back. Twice is where it was, but an adapter on trial is left for good.",
        (Option("--to-base", "Go to the base alone.", bool),),
        _rollback,
    ),
    "history": Verb("Show what happened, the latest last.", "Times are those of the device's clock.", (), _history),
    "trust": Verb(
        "Take the next root file.",
        "It must be signed by the threshold of the trusted one and by its own. No version is skipped.",
        (Option("ROOT", "The root file, or a folder with root.json.", Path, required=True),),
        _trust,
    ),
}
"""Verb -> what it does."""

STORE = Option("--store", "The folder of the store.", Path, required=True, metavar="DIR")
JSON = Option("--json", "Print one JSON object.", bool)
"""What every verb has."""
