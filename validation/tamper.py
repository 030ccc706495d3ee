"""A bundle of 30 kB damaged in every small way there is: what `verify_bundle` says to each.

    python -m validation.tamper

Every single bit of the three files flipped, every length to which each can be cut, every pair of keys and of values
exchanged, every key doubled, left out or added in the JSON of envelope, statement and configuration, and every mixture
of the files of two valid bundles. Each goes through `verify_bundle` as it is; that a signature over the same bytes is
checked once and not again is the one thing left out, and changes no answer. What must be said is worked out beside it,
from the damage and not from the code: ``digest`` for a flipped bit of a file, ``size`` for a cut one; for the envelope
what Python's own JSON and base64 make of it (`expected`).
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from lieref.adapter.bundle import ed25519
from lieref.adapter.bundle.create import create_bundle
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.bundle.signing import read_signer
from lieref.adapter.bundle.trust import Root, read_root
from lieref.adapter.bundle.verify import NAMES, BaseDigests, base_digests, verify_bundle
from tests.adapter.bundle.damage import expected
from validation.record import environment, write_result
from validation.reference_bundle import make, train_adapter

CONFIG, TENSORS, ENVELOPE = NAMES


class Sweep:
    """Verdicts, counted by kind of damage and by slug; those that are not what they must be are kept."""

    def __init__(self, bundle: Path, base: BaseDigests, root: Root) -> None:
        self.bundle, self.base, self.root = bundle, base, root
        self.counts: dict[str, Counter[str]] = {}
        self.wrong: list[str] = []

    def verdict(self) -> str:
        """Return the slug, or the word accepted."""
        try:
            verify_bundle(self.bundle, base=self.base, trust=self.root)
        except BundleRefused as refused:
            return refused.slug
        return "accepted"

    def note(self, kind: str, where: str, right: set[str]) -> None:
        """Count one verdict."""
        found = self.verdict()
        self.counts.setdefault(kind, Counter())[found] += 1
        if found not in right:
            self.wrong.append(f"{kind}, {where}: {found}, not {' or '.join(sorted(right))}")

    def bits(self, name: str) -> None:
        """Flip every bit."""
        path = self.bundle / name
        data = path.read_bytes()
        right = json.loads(data) if name == ENVELOPE else {}
        descriptor = os.open(path, os.O_WRONLY)
        for place in range(8 * len(data)):
            byte = data[place // 8]
            os.pwrite(descriptor, bytes([byte ^ 1 << place % 8]), place // 8)
            slug = expected(path.read_bytes(), right) if name == ENVELOPE else "digest"
            self.note(f"bits of {name}", f"bit {place}", {slug})
            os.pwrite(descriptor, bytes([byte]), place // 8)
        os.close(descriptor)

    def lengths(self, name: str) -> None:
        """Cut the file to every length."""
        path = self.bundle / name
        data = path.read_bytes()
        for length in reversed(range(len(data))):
            os.truncate(path, length)
            self.note(f"lengths of {name}", f"{length} bytes", {"format" if name == ENVELOPE else "size"})
        path.write_bytes(data)

    def keys(self) -> None:
        """Exchange, double, leave out and add keys."""
        config, envelope = ((self.bundle / name).read_bytes() for name in (CONFIG, ENVELOPE))
        for number, changed in enumerate(variants(config, indent=2)):
            (self.bundle / CONFIG).write_bytes(changed)
            self.note("keys of the configuration", f"variant {number}", {"digest", "size"})
        (self.bundle / CONFIG).write_bytes(config)
        for number, changed in enumerate(variants(envelope)):
            (self.bundle / ENVELOPE).write_bytes(changed)
            self.note("keys of the envelope", f"variant {number}", {"format", "unknown-key"})
        right = json.loads(envelope)
        for number, changed in enumerate(variants(b64decode(right["payload"]))):
            text = json.dumps({**right, "payload": b64encode(changed).decode()})
            (self.bundle / ENVELOPE).write_text(text)
            self.note("keys of the statement", f"variant {number}", {"signature"})
        (self.bundle / ENVELOPE).write_bytes(envelope)

    def mixtures(self, other: Path) -> None:
        """Mix the files with those of another valid bundle."""
        one, two = ({name: (path / name).read_bytes() for name in NAMES} for path in (self.bundle, other))
        for choice in itertools.product((one, two), repeat=3):
            mixed = {name: files[name] for name, files in zip(NAMES, choice, strict=True)}
            for name, data in mixed.items():
                (self.bundle / name).write_bytes(data)
            if mixed not in (one, two):  # six
                self.note("mixtures of two bundles", "", {"digest", "size"})
        for name, data in one.items():
            (self.bundle / name).write_bytes(data)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a value of JSON."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(item)


def variants(data: bytes, indent: int | None = None) -> Iterator[bytes]:
    """JSON with two keys or two values of an object exchanged, or a key twice, too few or too many."""
    for number, found in enumerate(objects(json.loads(data))):

        def edited(items: list[tuple[str, Any]], number: int = number) -> bytes:
            value = json.loads(data)
            target = list(objects(value))[number]
            target.clear()
            target.update(items)
            return json.dumps(value, indent=indent).encode() + data[len(data.rstrip()) :]

        pairs = list(found.items())
        for one, two in itertools.combinations(range(len(pairs)), 2):
            order = list(range(len(pairs)))
            order[one], order[two] = two, one
            yield edited([pairs[place] for place in order])
            if pairs[one][1] != pairs[two][1]:
                yield edited([(key, pairs[order[place]][1]) for place, (key, _) in enumerate(pairs)])
        for key, value in pairs:
            yield edited([pair for pair in pairs if pair[0] != key])
            yield edited([*pairs, ("\0" + key, value)]).replace(b'"\\u0000', b'"')
        yield edited([*pairs, ("more", 1)])


def main() -> None:
    ed25519.verify = lru_cache(16)(ed25519.verify)  # a function of its arguments alone
    began = time.process_time()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        work = Path(name)
        reference = make(work)
        train_adapter(reference.base, work / "other adapter", seed=1)
        create_bundle(
            work / "other",
            work / "other adapter",
            base=reference.base,
            signers=[read_signer(reference.key)],
            version="another",
            counter=2,
        )
        sweep = Sweep(reference.bundle, base_digests(reference.base), read_root(reference.key))
        if sweep.verdict() != "accepted":
            sys.exit("the reference bundle itself is refused")
        sizes = {name: (reference.bundle / name).stat().st_size for name in NAMES}
        for name in NAMES:
            sweep.bits(name)
            sweep.lengths(name)
        sweep.keys()
        sweep.mixtures(work / "other")
        if sweep.verdict() != "accepted":
            sys.exit("the reference bundle was not restored")
    cases = sum(sum(found.values()) for found in sweep.counts.values())
    accepted = sum(found["accepted"] for found in sweep.counts.values())
    for kind, found in sweep.counts.items():
        print(f"{kind:45} {dict(found)}")
    print(f"{cases} cases, {accepted} accepted, {len(sweep.wrong)} refused with another word than expected")
    write_result(
        "tamper",
        {
            **environment(),
            "bundle_bytes": sizes,
            "cases": cases,
            "accepted": accepted,
            "unexpected": sweep.wrong[:20],
            "verdicts": {kind: dict(found) for kind, found in sweep.counts.items()},
            "cpu_seconds": round(time.process_time() - began, 1),
        },
    )
    if accepted or sweep.wrong:
        sys.exit(f"not all refused as they must be: {sweep.wrong[:3]}")


if __name__ == "__main__":
    main()
