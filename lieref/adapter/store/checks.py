"""What a store checks beside the bundle itself: the base, the merged weights, and the caller's self-test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lieref._atomic import write_folder
from lieref._types import Array
from lieref.adapter.bundle.bounded import file_sha256
from lieref.adapter.bundle.kinds import INTEGER_UPDATE
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.bundle.statement import BaseDigests
from lieref.adapter.bundle.verify import Verified, base_digests
from lieref.adapter.folder import CONFIG_NAME, TENSORS_NAME, decode_adapter_tensors, decode_config
from lieref.adapter.store.slots import updated_name
from lieref.adapter.store.state import Base, Slot
from lieref.errors import LierefError, UnsupportedError
from lieref.model.integer.detect import is_integer_file

if TYPE_CHECKING:
    from lieref.adapter.store.results import Candidate

NO_MERGED_DIGEST = "merged weights: not checked, for the bundle has no digest of them"
NO_SELF_TEST = "self-test: not run, for no command that runs the network was given"


def check_base(base: Base, path: Path, *, kind: bool = False) -> BaseDigests:
    """Return the digests of the base model if it still is the one that the store was made for.

    With `kind` it is looked whether it is a quantised file.

    Raises
    ------
    BundleRefused
        ``base`` if it cannot be read, or its weights are others.
    """
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise BundleRefused(
            "base", f"check_base: `base` must be readable; got {path}: {error.strerror}; where is it now?"
        ) from None
    if digest == base.file_sha256:
        return BaseDigests(base.file_sha256, base.weights_sha256, quantised=is_integer_file(path) if kind else None)
    found = base_digests(path)
    if found.weights_sha256 != base.weights_sha256:
        raise BundleRefused(
            "base",
            f"check_base: `base` must be the model that the store was made for, file sha256 {base.file_sha256}; got "
            f"{path} of {digest}, whose weights differ too",
        )
    return found


def merged(verified: Verified, base: Path) -> tuple[dict[str, Array] | None, tuple[str, ...]]:
    """Return the merged weights, checked by their signed digest, and what could not be checked; none of an update.

    Raises
    ------
    BundleRefused
        ``merged`` if they are others, or cannot be made.
    """
    if verified.statement.kind is INTEGER_UPDATE:
        return None, ()
    if verified.statement.merged_sha256 is None:
        return None, (NO_MERGED_DIGEST,)
    return _merge(verified.tensors, verified.config, _read(base), verified.statement.merged_sha256), ()


def updated(verified: Verified, base: Path) -> bytes | None:
    """Return the quantised file with the update of a bundle in it, its digest checked; None for an adapter.

    Raises
    ------
    BundleRefused
        ``merged`` if the update cannot be made, or leads to another file than the one that was signed; ``base``.
    """
    if verified.statement.kind is not INTEGER_UPDATE:
        return None
    from lieref.adapter.integer.form import BIN_NAME
    from lieref.adapter.integer.places import apply_payload, read_payload

    try:
        content = base.read_bytes()
    except OSError as error:
        raise BundleRefused("base", f"update: `base` must be readable; got {base}: {error.strerror}") from None
    try:
        return apply_payload(read_payload(verified.config, verified.files[BIN_NAME]), verified.config, content)
    except LierefError as error:
        raise BundleRefused("merged", f"update: the update must be one of this file; got {error}") from None


def self_test(candidate: Candidate, test: Callable[[Candidate], bool | None] | None) -> tuple[str, ...]:
    """Run the caller's self-test; return what could not be checked.

    Raises
    ------
    BundleRefused
        ``self-test`` if it fails, or the bundle requires one and there is none.
    """
    if test is None:
        if "self-test" in candidate.verified.statement.requires:
            raise BundleRefused(
                "self-test", "install: the bundle requires a self-test; got no command or function that runs one"
            )
        return (NO_SELF_TEST,)
    try:
        passed = test(candidate)
    except Exception as error:
        raise BundleRefused("self-test", f"install: the self-test must pass; got {error}") from error
    if passed is False:
        raise BundleRefused("self-test", "install: the self-test must pass; got a failure")
    return ()


def self_test_aside(candidate: Candidate, test: Callable[[Candidate], bool | None] | None) -> tuple[str, ...]:
    """Run the caller's self-test without a slot: of an update, in a folder for the time of the test."""
    if test is None or candidate.updated is None:
        return self_test(candidate, test)
    import tempfile
    from dataclasses import replace

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bundle"
        write_folder(folder, {**candidate.verified.files, updated_name(candidate.updated): candidate.updated})
        return self_test(replace(candidate, folder=folder), test)


def merged_weights(base: Path, live: tuple[Slot, dict[str, bytes]] | None) -> dict[str, Array]:
    """Return all weights of the base, those that the live slot adapts replaced."""
    if live is not None and CONFIG_NAME not in live[1]:
        raise UnsupportedError("merged_weights: the live slot must hold an adapter; it is an update: run its file")
    weights = _read(base)
    if live is None:
        return weights
    slot, files = live
    config = decode_config(files[CONFIG_NAME], CONFIG_NAME)
    tensors = decode_adapter_tensors(files[TENSORS_NAME], config, TENSORS_NAME)
    return {**weights, **_merge(tensors, config, weights, slot.merged_sha256)}


def _merge(
    tensors: Mapping[str, Array], config: Mapping[str, Any], weights: Mapping[str, Array], digest: str | None
) -> dict[str, Array]:
    """Return the tensors that an adapter changes, merged; `digest` is what theirs must be."""
    from lieref.adapter.merge.merging import merge_weights, merged_digest

    try:
        changed = merge_weights(tensors, config, weights)
        found = merged_digest(changed)
    except LierefError as error:
        raise BundleRefused("merged", f"merge: the adapter must be one that can be merged; got {error}") from None
    if digest is not None and found != digest:
        raise BundleRefused("merged", f"merge: the merged weights must have the signed digest {digest}; got {found}")
    return changed


def _read(base: Path) -> dict[str, Array]:
    from lieref.adapter.weights import read_weights

    try:
        return read_weights(base)
    except (LierefError, OSError) as error:
        raise BundleRefused("base", f"merge: `base` must have weights to read; got {error}") from None
