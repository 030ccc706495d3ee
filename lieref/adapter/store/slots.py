"""Where bundles are kept: one folder each, named by the digest of what is in it, written once and never changed.

A name stands for one content for ever, so that whoever holds the path of a slot reads that bundle or none: never parts
of two. Beside the bundle of an update lies the quantised file with the update in it, which is what is run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from lieref._atomic import flush_folder, remove_folder, write_folder
from lieref.adapter.bundle.bounded import file_sha256, read_regular
from lieref.adapter.bundle.folder import kind_of
from lieref.adapter.bundle.kinds import INTEGER_UPDATE
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.store.refusal import StoreRefused
from lieref.adapter.store.state import Slot
from lieref.errors import DomainError
from lieref.model.integer.detect import TFLITE_MARK

SLOTS_NAME = "slots"
UPDATED_NAMES = ("updated.tflite", "updated.onnx")
"""The name of the updated file, by its format, for runtimes that go by it."""


def slot_digest(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of the list of the files' SHA-256: ``sha256sum FILES | sha256sum``, the names sorted."""
    lines = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def slot_folder(store: Path, digest: str) -> Path:
    """Return the folder of a slot."""
    return store / SLOTS_NAME / digest


def updated_name(content: bytes) -> str:
    """Return the name under which an updated file is kept."""
    return UPDATED_NAMES[0] if content[4:8] == TFLITE_MARK else UPDATED_NAMES[1]


def updated_file(store: Path, slot: Slot) -> Path | None:
    """Return the path of the quantised file in a slot with its update in it; None for a slot that has none."""
    folder = slot_folder(store, slot.digest)
    return next((folder / name for name in UPDATED_NAMES if (folder / name).exists()), None)


def write_slot(store: Path, files: Mapping[str, bytes], updated: bytes | None = None) -> str:
    """Write a slot, whole or not at all, so that it lasts before anything points to it; return its digest.

    Parameters
    ----------
    store : Path
    files : mapping of str to bytes
        The bundle.
    updated : bytes, optional
        The quantised file with the bundle's update in it.

    Raises
    ------
    OSError
        If the disk is full, or does not confirm what was written.
    """
    digest = slot_digest(files)
    more = {} if updated is None else {updated_name(updated): updated}
    write_folder(slot_folder(store, digest), {**files, **more})
    # Once more, for the failure of which `write_folder` only warns: nothing may point to a folder that may not last.
    flush_folder(store / SLOTS_NAME)
    return digest


def read_slot(store: Path, slot: Slot) -> dict[str, bytes]:
    """Return the files of a slot by name, checked.

    Raises
    ------
    StoreRefused
        ``slot`` if they are not those that were installed.
    """
    folder, files, left = slot_folder(store, slot.digest), {}, slot.size
    kind = kind_of([name for name in INTEGER_UPDATE.files if (folder / name).exists()])
    try:
        for name in kind.names:
            files[name] = read_regular(folder / name, left)
            left -= len(files[name])
    except BundleRefused as error:
        raise _refuse(folder, str(error)) from None
    digest = slot_digest(files)
    if digest != slot.digest:
        raise _refuse(folder, f"digest {digest}")
    if kind is INTEGER_UPDATE:
        _check_updated(folder, updated_file(store, slot), slot)
    return files


def _check_updated(folder: Path, path: Path | None, slot: Slot) -> None:
    """Refuse a slot whose updated file is not the one that was made when it was installed."""
    try:
        found = "no regular file" if path is None or path.is_symlink() else file_sha256(path)
    except OSError as error:
        found = f"{error}"
    if found != slot.merged_sha256:
        raise _refuse(folder, f"{found} in the place of the updated file of sha256 {slot.merged_sha256}")


def is_intact(store: Path, slot: Slot | None) -> bool:
    """Tell whether a slot can be read and has its digest; the base alone, None, is no matter of the store."""
    try:
        return slot is None or bool(read_slot(store, slot))
    except StoreRefused:
        return False


def remove_slots(store: Path, kept: Collection[str]) -> None:
    """Remove every slot but these, and what killed installs have left; only the one who installs may.

    Raises
    ------
    DomainError
        If the folder is a link: what lies where it leads is not the store's to remove.
    """
    place = store / SLOTS_NAME
    if place.is_symlink():
        raise DomainError(f"store: `{place}` must be a folder of the store itself; got a link")
    for path in place.iterdir():
        if path.name not in kept:
            path.unlink() if path.is_symlink() or not path.is_dir() else remove_folder(path)


def _refuse(folder: Path, got: str) -> StoreRefused:
    return StoreRefused("slot", f"store: `{folder}` must hold what was installed there; got {got}")
