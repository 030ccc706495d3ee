"""A device with a store, what that was made of, and bundles for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.store import Store
from lieref.adapter.store.state_file import STATE_NAME
from tests.adapter.bundle.bundles import FILES, KIND, UPDATE
from tests.adapter.store.bundles import NOW, write_base, write_bundle, write_root


@dataclass
class Device:
    """A device with a store, and bundles that are brought to it."""

    folder: Path
    base: Path = field(init=False)
    root: Path = field(init=False)
    store: Store = field(init=False)
    now: datetime = NOW
    tries: int = 2

    def __post_init__(self) -> None:
        self.base = write_base(self.folder / ("base.tflite" if KIND[0] == UPDATE else "base.safetensors"))
        self.root = write_root(self.folder / "root.json")
        self.store = Store.init(
            self.folder / "store", base=self.base, trust=self.root, tries=self.tries, clock=lambda: self.now
        )

    def bundle(self, counter: int, name: str | None = None, **options: Any) -> Path:
        """Return the bundle of a counter, made when it is first asked for."""
        path = self.folder / (name or f"bundle-{counter}")
        return path if path.exists() else write_bundle(path, self.base, counter, **options)

    def good(self, *counters: int, **options: Any) -> None:
        for counter in counters:
            self.store.install(self.bundle(counter, **options))
            self.store.start()
            self.store.mark_good()

    def live(self) -> int | None:
        """Counter of what is live."""
        slot = self.store.status()["live"]
        return None if slot is None else int(slot["counter"])

    def state(self) -> bytes:
        return (self.store.folder / STATE_NAME).read_bytes()

    def refuses(self, slug: str, work: Callable[[], object]) -> str:
        """Check that something is refused for one reason and changes nothing; return the sentence."""
        before = self.state()
        with pytest.raises(BundleRefused) as error:
            work()
        assert error.value.slug == slug, error.value
        assert self.state() == before
        return str(error.value)

    def damage(self, counter: int) -> None:
        """Flip one bit of a slot that is kept."""
        for slot in (self.store.status()["live"], self.store.status()["previous"]):
            if slot is not None and slot["counter"] == counter:
                path = Path(slot["path"]) / FILES[KIND[0]][1]
                data = bytearray(path.read_bytes())
                data[-1] ^= 1
                path.write_bytes(data)
                return
        raise AssertionError(f"no slot of counter {counter}")
