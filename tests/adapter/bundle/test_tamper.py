"""Every way of damaging a bundle by a little: each is refused, with the reason that belongs to it.

The bundle is a small one here; one of 30 kB is put to the same in `validation.tamper`.
"""

from __future__ import annotations

import itertools
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lieref.adapter.bundle import ed25519
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.bundle.statement import BaseDigests, parse_time
from lieref.adapter.bundle.trust import Root, parse_root
from lieref.adapter.bundle.verify import verify_bundle
from tests.adapter.bundle.bundles import (
    ADAPTER,
    ENVELOPE,
    FILES,
    NOW,
    UPDATE,
    Bundle,
    base_file,
    envelope,
    root_file,
    root_payload,
)
from tests.adapter.bundle.damage import expected

BASES = {
    kind: BaseDigests(sha256(base_file(kind=kind)).hexdigest(), "0" * 64, quantised=kind == UPDATE) for kind in FILES
}
ROLES = ("config", "tensors", "envelope")


@pytest.fixture(params=FILES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def name_of(kind: str, role: str) -> str:
    return (*FILES[kind], ENVELOPE)[ROLES.index(role)]


@pytest.fixture(scope="module", autouse=True)
def fast() -> Iterator[None]:
    """Check signatures by the library, and one over the same bytes once: thousands are needed here.

    That the code of lieref says what the library says, of every wrong bit of a signature too, is in `test_ed25519`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ed25519, "verify", lru_cache(16)(openssl))
        yield


def openssl(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@pytest.fixture(scope="module")
def root() -> Root:
    return parse_root(root_file())


@pytest.fixture
def bundle(tmp_path: Path, kind: str) -> Path:
    return Bundle(kind=kind).write(tmp_path / "bundle")


def verdict(bundle: Path, root: Root) -> str:
    """Return the slug, or the word accepted."""
    base = BASES[UPDATE if (bundle / FILES[UPDATE][0]).exists() else ADAPTER]
    try:
        verify_bundle(bundle, base=base, trust=root, now=parse_time(NOW))
    except BundleRefused as refused:
        return refused.slug
    return "accepted"


def verdict_of(bundle: Path, root: Root, name: str, data: bytes) -> str:
    """Return the verdict on a bundle with another file in the place of one, which stays there."""
    (bundle / name).write_bytes(data)
    return verdict(bundle, root)


def flipped(path: Path) -> Iterator[int]:
    """Flip one bit of a file after another, each back before the next, without writing the file anew."""
    data = path.read_bytes()
    descriptor = os.open(path, os.O_WRONLY)
    for place in range(8 * len(data)):
        byte = data[place // 8]
        os.pwrite(descriptor, bytes([byte ^ 1 << place % 8]), place // 8)
        yield place
        os.pwrite(descriptor, bytes([byte]), place // 8)
    os.close(descriptor)


def test_the_right_bundle_is_accepted(bundle: Path, root: Root) -> None:
    assert verdict(bundle, root) == "accepted"


@pytest.mark.parametrize("role", ROLES[:2])
def test_every_bit_of_the_files(bundle: Path, root: Root, kind: str, role: str) -> None:
    name = name_of(kind, role)
    for place in flipped(bundle / name):
        assert verdict(bundle, root) == "digest", place


def test_every_bit_of_the_envelope(bundle: Path, root: Root) -> None:
    """Of the payload one bit of each byte; `validation.tamper` does the rest."""
    data = (bundle / ENVELOPE).read_bytes()
    right, seen = json.loads(data), set()
    payload = range(data.index(b'"payload"') + 16, data.index(b'"payloadType"') - 8)
    assert right["payload"].encode().find(data[payload.start : payload.stop]) >= 0
    for place in flipped(bundle / ENVELOPE):
        if place // 8 not in payload or (place // 8) % 8 == place % 8:
            slug = expected((bundle / ENVELOPE).read_bytes(), right)
            assert verdict(bundle, root) == slug, place
            seen.add(slug)
    assert seen == {"format", "signature", "unknown-key"}


@pytest.mark.parametrize("role", ROLES)
def test_every_length_of_truncation(bundle: Path, root: Root, kind: str, role: str) -> None:
    name = name_of(kind, role)
    for length in reversed(range((bundle / name).stat().st_size)):
        os.truncate(bundle / name, length)
        assert verdict(bundle, root) == ("format" if name == ENVELOPE else "size"), length


@pytest.mark.parametrize("role", ROLES)
def test_anything_appended(bundle: Path, root: Root, kind: str, role: str) -> None:
    name = name_of(kind, role)
    data = (bundle / name).read_bytes()
    for more in (b"\0", b" ", b"\n", b"{}", data):
        assert verdict_of(bundle, root, name, data + more) == ("format" if name == ENVELOPE else "size")


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a value of JSON."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(item)


def variants(data: bytes) -> Iterator[bytes]:
    """JSON with two keys of one object exchanged, two values exchanged, a key twice, and a key too many or too few."""
    text = data.decode()
    for number, found in enumerate(objects(json.loads(text))):
        for one, two in itertools.combinations(found, 2):
            for change in (swap_keys, swap_values):
                value = json.loads(text)
                target = list(objects(value))[number]
                items = change(target, one, two)
                if items != list(target.items()):
                    target.clear()
                    target.update(items)
                    yield json.dumps(value).encode()
        for key in found:
            value = json.loads(text)
            del list(objects(value))[number][key]
            yield json.dumps(value).encode()
            # Twice, the second one of the same value: a reader that takes either sees nothing wrong.
            marked = json.loads(text)
            list(objects(marked))[number]["\0" + key] = found[key]
            yield json.dumps(marked).encode().replace(b'"\\u0000', b'"')
        value = json.loads(text)
        list(objects(value))[number]["more"] = 1
        yield json.dumps(value).encode()


def swap_keys(found: dict[str, Any], one: str, two: str) -> list[tuple[str, Any]]:
    order = {one: two, two: one}
    return [(order.get(key, key), found[order.get(key, key)]) for key in found]


def swap_values(found: dict[str, Any], one: str, two: str) -> list[tuple[str, Any]]:
    order = {one: two, two: one}
    return [(key, found[order.get(key, key)]) for key in found]


def test_keys_of_the_configuration(bundle: Path, root: Root, kind: str) -> None:
    name = name_of(kind, "config")
    data = (bundle / name).read_bytes()
    slugs = {verdict_of(bundle, root, name, changed) for changed in variants(data)}
    assert slugs <= {"digest", "size"}


def test_keys_of_the_envelope(bundle: Path, root: Root) -> None:
    data = (bundle / ENVELOPE).read_bytes()
    slugs = [verdict_of(bundle, root, ENVELOPE, changed) for changed in variants(data)]
    # Key id and signature exchanged are two texts of the right form, but no base64 of 64 bytes by a known key.
    assert set(slugs) == {"format"} or set(slugs) == {"format", "unknown-key"}
    assert len(slugs) >= 15


def test_keys_of_the_statement(tmp_path: Path, root: Root, kind: str) -> None:
    """Changed after it was signed: the signature fails. Signed so by a trusted key: the statement is not valid."""
    statement = b64decode(json.loads(Bundle(kind=kind).files()[ENVELOPE])["payload"])
    right = json.loads(Bundle(kind=kind).files()[ENVELOPE])
    bundle = Bundle(kind=kind).write(tmp_path / "bundle")
    for changed in variants(statement):
        unsigned = {**right, "payload": b64encode(changed).decode()}
        assert verdict_of(bundle, root, ENVELOPE, json.dumps(unsigned).encode()) == "signature"


def test_keys_of_the_statement_by_a_careless_signer(tmp_path: Path, root: Root, kind: str) -> None:
    statement = b64decode(json.loads(Bundle(kind=kind).files()[ENVELOPE])["payload"])
    bundle = Bundle(kind=kind).write(tmp_path / "bundle")
    for changed in variants(statement):
        signed = json.dumps(envelope(changed, "application/vnd.in-toto+json", ("a",))).encode()
        slug = verdict_of(bundle, root, ENVELOPE, signed)
        # The order of keys means nothing in JSON, and here a trusted key signed it; what else changes is refused.
        if json.loads(changed) == json.loads(statement) and changed.count(b":") == statement.count(b":"):
            assert slug == "accepted"
        else:
            assert slug in {"format", "digest", "size", "base", "expired", "compatible", "config"}, changed


def test_keys_of_the_root_file() -> None:
    data = root_file()
    count = 0
    for changed in variants(data):
        with pytest.raises(BundleRefused) as refused:
            parse_root(changed)
        assert refused.value.slug == "root"
        count += 1
    payload = json.dumps(root_payload()).encode()
    for changed in variants(payload):
        right = json.loads(data)
        unsigned = {**right, "payload": b64encode(changed).decode()}
        with pytest.raises(BundleRefused) as refused:
            parse_root(json.dumps(unsigned).encode())
        assert refused.value.slug == "root"
        count += 1
    assert count > 50


def test_every_bit_and_length_of_the_root_file() -> None:
    """The bits of one byte in three: a root file takes two signatures' time."""
    data = root_file()
    for length in range(len(data)):
        with pytest.raises(BundleRefused) as refused:
            parse_root(data[:length])
        assert refused.value.slug == "root"
    for place in range(0, 8 * len(data), 3):
        wrong = bytearray(data)
        wrong[place // 8] ^= 1 << place % 8
        with pytest.raises(BundleRefused) as refused:
            parse_root(bytes(wrong))
        assert refused.value.slug == "root"


def test_mixed_files_of_two_bundles(tmp_path: Path, root: Root, kind: str) -> None:
    """Every mixture, also of bundles that differ in the counter alone and share a file."""
    for number, other in enumerate(({"seed": 1}, {"counter": 6, "seed": 1}, {"counter": 6})):
        one, two = Bundle(kind=kind).files(), Bundle(kind=kind, **other).files()
        for choice in itertools.product((0, 1), repeat=3):
            names = (*FILES[kind], ENVELOPE)
            mixed = {name: (one, two)[which][name] for name, which in zip(names, choice, strict=True)}
            folder = tmp_path / f"{number} {choice}"
            folder.mkdir()
            for name, data in mixed.items():
                (folder / name).write_bytes(data)
            assert verdict(folder, root) == ("accepted" if mixed in (one, two) else "digest")
