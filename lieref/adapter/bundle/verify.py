"""A signed bundle checked whole before anything of it is used: signatures, age, device, base, and every number.

A bundle is a folder of exactly three regular files: two of its kind (`lieref.adapter.bundle.kinds`), and
`ENVELOPE_NAME`. The checks come in one fixed order, from what costs least and is needed for the next: what is there and
how large; the envelope; its signatures; the statement; the digests of the two files; expiry; device; counter and floor;
kind of base; base; and only then are the two files parsed, which by then are known to be what a trusted key signed.
Needs NumPy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from lieref._record import dataclass
from lieref._types import Array
from lieref.adapter.bundle.bounded import file_sha256
from lieref.adapter.bundle.dsse import check_signatures, parse_envelope
from lieref.adapter.bundle.folder import CAPS as CAPS
from lieref.adapter.bundle.folder import ENVELOPE_NAME as ENVELOPE_NAME
from lieref.adapter.bundle.folder import NAMES as NAMES
from lieref.adapter.bundle.folder import BundleFolder
from lieref.adapter.bundle.kinds import ADAPTER, INTEGER_UPDATE
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.bundle.statement import PAYLOAD_TYPE, BaseDigests, Statement, format_time, parse_statement
from lieref.adapter.bundle.trust import Root, read_root
from lieref.adapter.fields import shown
from lieref.adapter.folder import CONFIG_NAME, TENSORS_NAME, decode_adapter_tensors, decode_config
from lieref.errors import DomainError, FormatError, LierefError, VerificationError
from lieref.model.integer.detect import is_integer_file, is_tflite_file


@dataclass(frozen=True)
class Verified:
    """A bundle that passed every check.

    Attributes
    ----------
    statement : Statement
    config : dict
        The configuration; of an update of a quantised file what its file of text says.
    tensors : dict of str to array
        None of an update, whose numbers `lieref.adapter.integer.places.read_payload` reads.
    files : dict of str to bytes
        The three files, the very bytes that were checked: install these and read nothing again.
    signed_by : tuple of str
        Ids of the trusted keys that signed.
    unchecked : tuple of str
        What was not checked and why, a line each: to be said.
    """

    statement: Statement
    config: dict[str, Any]
    tensors: dict[str, Array]
    files: dict[str, bytes]
    signed_by: tuple[str, ...]
    unchecked: tuple[str, ...] = ()


def verify_bundle(
    path: str | Path,
    *,
    base: str | Path | BaseDigests,
    trust: str | Path | Root,
    now: datetime | None = None,
    compatible: str | None = None,
    counter: int | None = None,
    floor: int = 0,
    check_expiry: bool = True,
) -> Verified:
    """Check a bundle and return what is in it.

    Parameters
    ----------
    path : path
        The folder of the bundle.
    base : path or BaseDigests
        The base model on this device, or its digests. It is the right one if its file's digest is the signed one or,
        where it was saved again and is no quantised file, the digest of its weights.
    trust : path or Root
        Root file, or a folder with one.
    now : datetime, optional
        With a time zone; the system's clock by default.
    compatible : str, optional
        What kind of device this is. A bundle for one kind is refused where it is another or not given.
    counter : int, optional
        That of the last bundle that this device accepted: a bundle must be above it.
    floor : int
        The least counter that is still accepted here.
    check_expiry : bool
        False on a device that has no clock; `Verified.unchecked` then says so.

    Raises
    ------
    BundleRefused
        With one of the slugs in `lieref.adapter.bundle.refusal.REFUSALS`; nothing was changed.
    DomainError
        If `now` has no time zone.
    """
    time = datetime.now(UTC) if now is None else now
    if time.tzinfo is None:
        raise DomainError(f"verify_bundle: `now` must have a time zone; got {time}")
    root = trust if isinstance(trust, Root) else read_root(trust)
    with BundleFolder(path) as folder:
        data = folder.read(ENVELOPE_NAME, CAPS[ENVELOPE_NAME])
        envelope = parse_envelope(data, PAYLOAD_TYPE, ENVELOPE_NAME)
        signed_by = check_signatures(envelope, root.keys_of("bundle"), root.roles["bundle"].threshold, ENVELOPE_NAME)
        statement = parse_statement(envelope.payload)
        files = {**read_signed(folder, statement), ENVELOPE_NAME: data}
    unchecked = []
    if check_expiry:
        root.check_expiry(time)
        _check_expiry(statement, time)
    else:
        unchecked.append("expiry: not checked, for the device has no clock that can be trusted")
    _check_compatible(statement, compatible)
    _check_counter(statement, counter, floor)
    _check_base(statement, base)
    config, tensors = (_decode_update if statement.kind is INTEGER_UPDATE else _decode)(files, statement)
    return Verified(statement, config, tensors, files, signed_by, tuple(unchecked))


def read_signed(folder: BundleFolder, statement: Statement) -> dict[str, bytes]:
    """Return the two files that a statement is about, if they are those.

    Raises
    ------
    BundleRefused
        ``size`` or ``digest``.
    """
    if folder.kind is not statement.kind:
        raise BundleRefused(
            "digest",
            f"read_signed: the folder must hold the files that are signed, {' and '.join(statement.kind.files)}; got "
            f"{' and '.join(folder.kind.files)}, of another bundle",
        )
    files = {}
    for name, signed in statement.files.items():
        data = files[name] = folder.read(name, signed.bytes)
        if len(data) != signed.bytes:
            text = f"read_signed: {name} must have the signed size of {signed.bytes} bytes; got {len(data)}"
            raise BundleRefused("size", text)
        digest = sha256(data).hexdigest()
        if digest != signed.sha256:
            raise BundleRefused(
                "digest",
                f"read_signed: {name} must have the signed sha256 {signed.sha256}; got {digest} (damaged, or of "
                "another bundle)",
            )
    return files


def base_digests(path: str | Path) -> BaseDigests:
    """Return the digests of a base model: an ONNX file, a .tflite file or a tensor file.

    Raises
    ------
    BundleRefused
        ``base``: if it cannot be read.
    """
    return BaseDigests(_file_sha256(path), _weights_sha256(path), quantised=is_integer_file(path))


def _check_expiry(statement: Statement, now: datetime) -> None:
    if statement.expires is not None and now >= statement.expires:
        raise BundleRefused(
            "expired",
            f"verify_bundle: the bundle must not have expired; got one that did on {format_time(statement.expires)}, "
            f"and it is {format_time(now)}",
        )


def _check_compatible(statement: Statement, compatible: str | None) -> None:
    if statement.compatible is not None and statement.compatible != compatible:
        raise BundleRefused(
            "compatible",
            f"verify_bundle: the bundle must be for this kind of device, {shown(compatible)}; got one for "
            f"{shown(statement.compatible)}",
        )


def _check_counter(statement: Statement, counter: int | None, floor: int) -> None:
    if statement.counter < floor:
        raise BundleRefused(
            "floor", f"verify_bundle: the counter must be at least the floor {floor}; got {statement.counter}"
        )
    if counter is not None and statement.counter <= counter:
        raise BundleRefused(
            "counter",
            f"verify_bundle: the counter must be above {counter}, that of the last bundle; got {statement.counter}",
        )


def _check_base(statement: Statement, base: str | Path | BaseDigests) -> None:
    signed = statement.base
    quantised = base.quantised if isinstance(base, BaseDigests) else _is_quantised(base)
    needed = statement.kind is INTEGER_UPDATE
    if quantised is not None and quantised is not needed:
        raise BundleRefused(
            "kind",
            f"verify_bundle: the base must be {statement.kind.takes}, for the bundle holds {statement.kind.holds}; got "
            f"{(ADAPTER if needed else INTEGER_UPDATE).takes}",
        )
    file = base.file_sha256 if isinstance(base, BaseDigests) else _file_sha256(base)
    if file == signed.file_sha256:
        return
    if needed:
        raise BundleRefused(
            "base",
            f"verify_bundle: the base must be the very file that the update changes, sha256 {signed.file_sha256}; got "
            f"{file}",
        )
    # Another file, perhaps of the same weights.
    weights = base.weights_sha256 if isinstance(base, BaseDigests) else _weights_sha256(base)
    if weights != signed.weights_sha256:
        raise BundleRefused(
            "base",
            f"verify_bundle: the base must have the file sha256 {signed.file_sha256} or the weights sha256 "
            f"{signed.weights_sha256}; got {file} and {weights}",
        )


def _file_sha256(path: str | Path) -> str:
    try:
        return file_sha256(path)
    except (OSError, ValueError) as error:
        raise BundleRefused("base", f"verify_bundle: `base` must be a readable file; got {path}: {error}") from None


def _is_quantised(path: str | Path) -> bool:
    _file_sha256(path)  # refuses what is no readable file
    return is_integer_file(path)


def _weights_sha256(path: str | Path) -> str:
    if is_tflite_file(path):
        return _file_sha256(path)
    from lieref.adapter.weights import read_weights, weights_digest

    try:
        digest: str = weights_digest(read_weights(path))
    except (LierefError, OSError) as error:
        raise BundleRefused("base", f"verify_bundle: `base` must have weights to read; got {error}") from None
    return digest


def _decode(files: Mapping[str, bytes], statement: Statement) -> tuple[dict[str, Any], dict[str, Array]]:
    """Parse configuration and tensors, and check that they belong together and to the base."""
    try:
        config = decode_config(files[CONFIG_NAME], CONFIG_NAME)
    except FormatError as error:
        raise BundleRefused("config", str(error)) from None
    try:
        tensors = decode_adapter_tensors(files[TENSORS_NAME], config, TENSORS_NAME)
    except VerificationError as error:
        raise BundleRefused("config", str(error)) from None
    except DomainError as error:
        raise BundleRefused("not-finite", str(error)) from None
    except FormatError as error:
        raise BundleRefused("tensors", str(error)) from None
    named = config["lieref"]["base_sha256"]
    if named != statement.base.file_sha256:
        raise BundleRefused(
            "config",
            f"verify_bundle: {CONFIG_NAME} must name the signed base {statement.base.file_sha256}; got {named}",
        )
    return config, tensors


def _decode_update(files: Mapping[str, bytes], statement: Statement) -> tuple[dict[str, Any], dict[str, Array]]:
    """Parse an update of a quantised file, and check that its numbers are of their kind and belong to the base."""
    from lieref.adapter.integer.form import BIN_NAME, JSON_NAME, SELF_TEST, parse_update
    from lieref.adapter.integer.places import read_payload
    from lieref.adapter.integer.self_test import check_form

    try:
        said = parse_update(files[JSON_NAME], JSON_NAME)
        if SELF_TEST in said:
            check_form(said[SELF_TEST])
    except FormatError as error:
        raise BundleRefused("config", str(error)) from None
    signed = (statement.base.file_sha256, statement.merged_sha256)
    named = (said["base_sha256"], said["result_sha256"])
    if named != signed:
        raise BundleRefused(
            "config", f"verify_bundle: {JSON_NAME} must name the signed base and result {signed}; got {named}"
        )
    try:
        read_payload(said, files[BIN_NAME])
    except VerificationError as error:
        raise BundleRefused("config", str(error)) from None
    except DomainError as error:
        raise BundleRefused("not-finite", str(error)) from None
    except FormatError as error:
        raise BundleRefused("tensors", str(error)) from None
    return said, {}
