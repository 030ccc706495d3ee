"""The attacks on installers, each against a store: refused for the same reason, and the store is as it was.

What the protocol of `tests.adapter.bundle.installer` tells a verifier, a device knows by its state: the last counter
and the floor are put there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.store import Store
from lieref.adapter.store.slots import SLOTS_NAME
from lieref.adapter.store.state_file import read_state, write_state
from tests.adapter.bundle import installer
from tests.adapter.bundle.test_attacks import *  # noqa: F403  every attack is a test here too

del globals()["test_another_program_is_put_to_the_same_tests"]  # how to name one is not the store's matter


def run(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Offer a bundle to a new store; what is refused must have changed nothing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("verb")
    parser.add_argument("bundle")
    for name in ("base", "trust", "compatible", "now"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--root", action="append", default=[])
    parser.add_argument("--counter", type=int)
    parser.add_argument("--floor", type=int, default=0)
    said = parser.parse_args(arguments)
    now = datetime.fromisoformat(said.now)
    with TemporaryDirectory() as name:  # and the base is not touched
        content = _content(said.base)
        folder = Path(name) / "store"
        before = b""
        try:
            store = Store.init(folder, base=said.base, trust=said.trust, compatible=said.compatible, clock=lambda: now)
            for root in said.root:
                store.trust(root)
            write_state(folder, replace(read_state(folder), accepted=said.counter, floor=said.floor))
            before = (folder / "state.json").read_bytes()
            store.install(said.bundle)
            live = store.status()["live"]
            assert live is not None
            assert live["intact"]
            return 0, "", ""
        except BundleRefused as error:
            if before:
                assert (folder / "state.json").read_bytes() == before
                assert not list((folder / SLOTS_NAME).iterdir())
            assert _content(said.base) == content
            return 3, f"refused: {error.slug}\n", str(error)


def _content(path: str) -> bytes | None:
    return Path(path).read_bytes() if Path(path).exists() else None


@pytest.fixture(autouse=True)
def _against_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(installer.VARIABLE, raising=False)
    monkeypatch.setattr(installer, "run", run)
