"""Does a rollback restore every bit, however often?

    python -m validation.rollback_cycles [--cycles 10000]

Installs an adapter in a device store, merges it, and rolls back, again and again: the base's SHA-256, the weights
after each rollback and the merged weights must be the same every time. Beside it, what undoing by the inverse does to
weights: W exp(d) exp(-d) in float32. Fails if a bit of the store's differs.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np

from lieref._types import Array
from lieref.adapter.bundle import ed25519
from lieref.adapter.store import Store
from lieref.adapter.weights import weights_digest
from tests.adapter.store.bundles import NOW, write_base, write_bundle, write_root
from tests.crash.inject import IN_MEMORY
from validation.record import environment, write_result

COUNT = 1_000_000
AT = (1, 100, 1000, 10_000)


def drift(cycles: int) -> dict[str, dict[str, float]]:
    """Largest relative change of a weight after some cycles of multiplying and undoing by the inverse."""
    rng = np.random.default_rng(0)
    base = rng.normal(0, 0.05, COUNT).astype(np.float32)
    delta = rng.normal(0, 0.01, COUNT).astype(np.float32)
    forth, back = np.exp(delta), np.exp(-delta)
    weight: Array = base.copy()
    found = {}
    for cycle in range(1, cycles + 1):
        weight *= forth
        weight *= back
        if cycle in AT:
            change = np.abs(weight.astype(float) - base) / np.abs(base)
            found[str(cycle)] = {"largest": float(change.max()), "weights changed": float(np.mean(weight != base))}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=10_000)
    options = parser.parse_args()
    # Three bundles are verified thousands of times: the arithmetic of their signatures once each.
    ed25519.verify = cache(ed25519.verify)
    wrong: list[str] = []
    begun = environment()
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if Path(IN_MEMORY).is_dir() else None) as name:
        folder = Path(name)
        base = write_base(folder / "base.safetensors")
        store = Store.init(folder / "store", base=base, trust=write_root(folder / "root.json"), clock=lambda: NOW)
        bundles = [write_bundle(folder / f"bundle-{counter}", base, counter) for counter in (1, 2, 3)]
        expected = hashlib.sha256(base.read_bytes()).hexdigest()
        own = weights_digest(store.merged_weights())
        merged: dict[int, set[str]] = {1: set(), 2: set(), 3: set()}
        begin = time.monotonic()
        for cycle in range(options.cycles):
            counter = 1 + cycle % 3
            store.install(bundles[counter - 1])
            merged[counter].add(weights_digest(store.merged_weights()))
            store.rollback()
            if hashlib.sha256(base.read_bytes()).hexdigest() != expected:
                wrong.append(f"cycle {cycle}: another base")
            if weights_digest(store.merged_weights()) != own:
                wrong.append(f"cycle {cycle}: other weights after the rollback")
        seconds = time.monotonic() - begin
    if any(len(digests) != 1 or own in digests for digests in merged.values()):
        wrong.append("merged weights that are not the same every time, or are the base's")
    undone = drift(options.cycles)
    result = {
        **begun,
        "cycles of install, merge and rollback": options.cycles,
        "seconds": round(seconds, 1),
        "base sha256 before and after": expected,
        "wrong": wrong,
        "relative change by the inverse": undone,
    }
    write_result("rollback_cycles", result)
    print("\n".join(wrong) or f"{options.cycles} cycles: the same bits; by the inverse: {undone}")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
