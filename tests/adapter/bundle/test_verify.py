"""`verify_bundle` as a function: what it returns, the order of its checks, and what it does where a system is poor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref.adapter
from lieref.adapter.bundle import bounded, folder, verify
from lieref.adapter.bundle.bounded import read_regular
from lieref.adapter.bundle.refusal import REFUSALS, BundleRefused
from lieref.adapter.bundle.statement import BaseDigests, parse_time
from lieref.adapter.bundle.trust import parse_root
from lieref.adapter.bundle.verify import base_digests, verify_bundle
from lieref.errors import DomainError, VerificationError
from tests.adapter.bundle.bundles import (
    CONFIG,
    ENVELOPE,
    NOW,
    TENSORS,
    Bundle,
    adapter_tensors,
    base_file,
    keyid,
    root_file,
    root_payload,
)

ROOT = parse_root(root_file())
BASE = BaseDigests(sha256(base_file()).hexdigest(), "0" * 64)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Bundle().write(tmp_path / "bundle")


def check(bundle: Path, **how: Any) -> verify.Verified:
    return verify_bundle(bundle, **{"base": BASE, "trust": ROOT, "now": parse_time(NOW), **how})


def refused(bundle: Path, **how: Any) -> str:
    with pytest.raises(BundleRefused) as caught:
        check(bundle, **how)
    return caught.value.slug


def test_what_it_returns(bundle: Path) -> None:
    found = check(bundle)
    assert found.files == {name: (bundle / name).read_bytes() for name in (CONFIG, TENSORS, ENVELOPE)}
    assert found.config == json.loads(found.files[CONFIG])
    assert set(found.tensors) == set(adapter_tensors())
    for name, array in adapter_tensors().items():
        np.testing.assert_array_equal(found.tensors[name], array)
    assert (found.statement.counter, found.statement.version) == (5, "1.0")
    assert found.signed_by == (keyid("a"),)
    assert found.unchecked == ()


def test_public_names() -> None:
    assert lieref.adapter.verify_bundle is verify_bundle
    assert lieref.adapter.BundleRefused is BundleRefused
    assert issubclass(BundleRefused, VerificationError)
    assert {name for name in lieref.adapter.__all__ if not hasattr(lieref.adapter, name)} == set()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lieref.adapter.nothing  # noqa: B018


def test_trust_and_base_as_paths(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "base.safetensors").write_bytes(base_file())
    (tmp_path / "root.json").write_bytes(root_file())
    for trust in (tmp_path, tmp_path / "root.json", str(tmp_path)):
        assert check(bundle, base=tmp_path / "base.safetensors", trust=trust).statement.counter == 5


def test_a_base_that_was_saved_again(tmp_path: Path) -> None:
    """The same weights in another file: here a header with more space in it."""
    (tmp_path / "base.safetensors").write_bytes(base_file())
    length = int.from_bytes(base_file()[:8], "little")
    again = (length + 8).to_bytes(8, "little") + base_file()[8 : 8 + length] + b" " * 8 + base_file()[8 + length :]
    (tmp_path / "again.safetensors").write_bytes(again)
    one, two = base_digests(tmp_path / "base.safetensors"), base_digests(tmp_path / "again.safetensors")
    assert one.file_sha256 != two.file_sha256
    assert one.weights_sha256 == two.weights_sha256

    def weights(statement: dict[str, Any]) -> None:
        statement["predicate"]["base"]["weights_sha256"] = one.weights_sha256

    bundle = Bundle(edit=weights).write(tmp_path / "bundle")
    assert check(bundle, base=tmp_path / "again.safetensors").statement.base.weights_sha256 == one.weights_sha256
    assert check(bundle, base=two).config["lieref"]["base_sha256"] == one.file_sha256
    (tmp_path / "other.safetensors").write_bytes(base_file(seed=1))
    assert refused(bundle, base=tmp_path / "other.safetensors") == "base"
    assert refused(bundle, base=BaseDigests("1" * 64, "1" * 64)) == "base"
    assert refused(bundle, base="a\0b") == "base"


def test_clocks(bundle: Path) -> None:
    late = datetime(2028, 1, 1, tzinfo=UTC)
    assert refused(bundle, now=late) == "expired"
    found = check(bundle, now=late, check_expiry=False)
    assert found.unchecked == ("expiry: not checked, for the device has no clock that can be trusted",)
    with pytest.raises(DomainError, match="`now` must have a time zone"):
        check(bundle, now=datetime(2026, 12, 1))


def test_the_clock_of_the_system_is_the_default(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for days, accepted in ((1, True), (-1, False)):
        expires = (now + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
        bundle = Bundle(fields={"expires": expires}).write(tmp_path / f"{days}")
        if accepted:
            assert check(bundle, now=None).unchecked == ()
        else:
            assert refused(bundle, now=None) == "expired"


def test_a_bundle_without_end(tmp_path: Path) -> None:
    bundle = Bundle(fields={"expires": None}).write(tmp_path / "bundle")
    assert check(bundle, now=datetime(9999, 1, 1, tzinfo=UTC)).statement.expires is None


def test_every_refusal_is_explained() -> None:
    assert all(meaning and slug == slug.lower() for slug, meaning in REFUSALS.items())
    error = BundleRefused("digest", "text")
    assert (error.slug, str(error)) == ("digest", "text")


# Each fault with those that come after it, all in one bundle: the first is what is said.
FAULTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("threshold", {}, {"trust": parse_root(root_file(root_payload(bundle=("a", "b"), thresholds=(1, 2))))}),
    ("requires", {"requires": ["x"]}, {}),
    ("expired", {"expires": "2026-11-02T00:00:00Z"}, {}),
    ("compatible", {"compatible": "x"}, {}),
    ("floor", {}, {"floor": 9}),
    ("counter", {}, {"counter": 9}),
    ("base", {}, {"base": BaseDigests("1" * 64, "1" * 64)}),
]


@pytest.mark.parametrize("first", range(len(FAULTS)), ids=[slug for slug, _, _ in FAULTS])
def test_the_order_of_the_checks(tmp_path: Path, first: int) -> None:
    fields: dict[str, Any] = {}
    how: dict[str, Any] = {}
    for _, more_fields, more in FAULTS[first:]:
        fields |= more_fields
        how |= more
    bundle = Bundle(fields=fields, config=b"{}").write(tmp_path / "bundle")
    assert refused(bundle, **how) == FAULTS[first][0]
    if first == 0:
        (bundle / "more").touch()
        assert refused(bundle, **how) == "unexpected-file"
    if first == 2:  # before expiry, after what is required
        (bundle / TENSORS).write_bytes(b"")
        assert refused(bundle, **how) == "size"


def test_nothing_is_read_that_nobody_vouches_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a trusted signature the envelope alone is read, and after it no more of a file than was signed."""
    seen: list[tuple[str, int]] = []

    def reading(name: str, cap: int, **how: Any) -> bytes:
        seen.append((name, cap))
        return read_regular(name, cap, **how)

    monkeypatch.setattr(folder, "read_regular", reading)
    bundle = Bundle(names=("mallory",)).write(tmp_path / "mallory")
    os.truncate(bundle / TENSORS, 2**27)
    assert refused(bundle) == "unknown-key"
    assert seen == [(ENVELOPE, folder.CAPS[ENVELOPE])]
    seen.clear()
    check(bundle := Bundle().write(tmp_path / "right"))
    assert seen[1:] == [(name, (bundle / name).stat().st_size) for name in (CONFIG, TENSORS)]


def test_root_expires_before_the_bundle(bundle: Path) -> None:
    old = parse_root(root_file(root_payload(expires="2026-01-01T00:00:00Z")))
    with pytest.raises(BundleRefused, match="the root file must not have expired"):
        check(bundle, trust=old)
    assert check(bundle, trust=old, check_expiry=False).statement.counter == 5


CONTENT: dict[str, tuple[str, dict[str, Any]]] = {
    "configuration no JSON": ("config", {"config": b"x"}),
    "configuration empty": ("config", {"config": b"{}"}),
    "tensors no tensor file": ("tensors", {"tensors": b"x" * 20}),
}


@pytest.mark.parametrize(("slug", "how"), CONTENT.values(), ids=CONTENT.keys())
def test_content(tmp_path: Path, slug: str, how: dict[str, Any]) -> None:
    assert refused(Bundle(**how).write(tmp_path / "bundle")) == slug


def test_a_system_without_openat(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where names cannot be opened in a folder that is open, they are opened by their paths."""
    monkeypatch.setattr(os, "supports_dir_fd", set())
    assert check(bundle).statement.counter == 5
    (bundle / "more").touch()
    assert refused(bundle) == "unexpected-file"


def test_folders_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(tmp_path / "nowhere") == "missing-file"
    assert refused(Path("a\0b")) == "missing-file"
    assert refused(Path("a" * 5000)) == "missing-file"
    bundle = Bundle().write(tmp_path / "bundle")

    def failing(*args: Any, **how: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", failing)
    assert refused(bundle) == "missing-file"


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert read_regular(tmp_path / "x", 5) == b"12345"
    for path, cap, slug in ((tmp_path / "x", 4, "size"), (tmp_path, 9, "link"), (tmp_path / "y", 9, "missing-file"),
                            ("a\0b", 9, "missing-file")):  # fmt: skip
        with pytest.raises(BundleRefused) as caught:
            read_regular(path, cap)
        assert caught.value.slug == slug
    # What grows between the look at its size and the reading.
    monkeypatch.setattr(bounded.os, "fstat", lambda descriptor: os.stat_result((0o100644, *[0] * 9)))
    with pytest.raises(BundleRefused, match="it grows") as caught:
        read_regular(tmp_path / "x", 4)
    assert caught.value.slug == "size"

    def failing(descriptor: int) -> os.stat_result:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(bounded.os, "fstat", failing)
        try:
            read_regular(tmp_path / "x", 5)
        except BundleRefused as error:
            message = str(error)
    assert message.endswith("Input/output error")


def test_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(BundleRefused) as caught:
            read_regular("s", 5)
    assert caught.value.slug == "link"


def test_no_descriptor_is_left_open(bundle: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    check(bundle)
    (bundle / TENSORS).unlink()
    (bundle / TENSORS).mkdir()
    for _ in range(3):
        assert refused(bundle) == "link"
    assert len(os.listdir("/proc/self/fd")) == before


def test_it_needs_numpy_alone(bundle: Path, tmp_path: Path) -> None:
    """Everything but the standard library, NumPy and lieref itself is made impossible to import."""
    (tmp_path / "base.safetensors").write_bytes(base_file())
    (tmp_path / "root.json").write_bytes(root_file())
    code = """
import sys
class Only:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in sys.stdlib_module_names | {"numpy", "lieref"}:
            raise ImportError(f"{name} is not on a device")
sys.meta_path.insert(0, Only())
from lieref.adapter import verify_bundle, BundleRefused
print(verify_bundle(sys.argv[1], base=sys.argv[2], trust=sys.argv[3], check_expiry=False).statement.counter)
open(sys.argv[2], "ab").write(b"x")
try:
    verify_bundle(sys.argv[1], base=sys.argv[2], trust=sys.argv[3], check_expiry=False)
except BundleRefused as refused:
    print(refused.slug)
"""
    arguments = [str(bundle), str(tmp_path / "base.safetensors"), str(tmp_path / "root.json")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["5", "base"]
