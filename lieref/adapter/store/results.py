"""What a store hands to a self-test, and what it says of an installation and of a start."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lieref._record import dataclass
from lieref._types import Array
from lieref.adapter.bundle.verify import Verified
from lieref.adapter.store.state import Slot


@dataclass(frozen=True)
class Candidate:
    """What a self-test is given: a bundle that passed every other check, not yet live.

    Attributes
    ----------
    folder : Path
        The bundle.
    base : Path
        The base model's file.
    verified : Verified
        Statement, configuration and tensors, those named ``selftest.*`` among them.
    merged : dict of str to array or None
        The base's tensors that the adapter changes, merged; None where the bundle has no digest of them.
    updated : bytes or None
        The quantised file with the update in it; None where the bundle holds an adapter.
    """

    folder: Path
    base: Path
    verified: Verified
    merged: dict[str, Array] | None
    updated: bytes | None = None


SelfTest = Callable[[Candidate], bool | None]
"""Runs the network; False, or any error, refuses the bundle.

With `lieref.adapter.self_test_check`, where `run` is the caller's own::

    def self_test(candidate):
        tensors = candidate.verified.tensors
        outputs = run(candidate.base, candidate.merged, self_test_inputs(tensors))
        check_self_test(tensors, outputs)
"""


@dataclass(frozen=True)
class Installed:
    """What an installation did.

    Attributes
    ----------
    slot : Slot
    changed : bool
        False after a dry run, and where this bundle already is on trial.
    tries : int
        Starts that its trial has left.
    unchecked : tuple of str
        What was not checked and why, a line each.
    """

    slot: Slot
    changed: bool
    tries: int
    unchecked: tuple[str, ...]


@dataclass(frozen=True)
class Started:
    """What to run.

    Attributes
    ----------
    adapter : Path or None
        Folder of the live bundle, which is an adapter folder or an update; None for the base alone.
    base : Path
        The base model's file.
    slot : Slot or None
    tries : int or None
        Starts that are left of the trial after this one; None without a trial.
    reverted : str or None
        Why this start left a slot for the one before.
    updated : Path or None
        The quantised file with the live update in it, to be run in place of the base; None where that is an adapter, or
        nothing.
    """

    adapter: Path | None
    base: Path
    slot: Slot | None
    tries: int | None
    reverted: str | None
    updated: Path | None = None
