"""A bundle made of an adapter folder and the base that it is for, signed, and written whole or not at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lieref._atomic import write_file, write_folder
from lieref._check import check_int
from lieref._types import Array
from lieref.adapter.bundle.contents import Contents, bundled_update
from lieref.adapter.bundle.dsse import Envelope, parse_envelope
from lieref.adapter.bundle.folder import CAPS, ENVELOPE_NAME, BundleFolder
from lieref.adapter.bundle.kinds import ADAPTER, INTEGER_UPDATE
from lieref.adapter.bundle.signing import add_signatures
from lieref.adapter.bundle.statement import (
    PAYLOAD_TYPE,
    BaseDigests,
    SignedFile,
    Statement,
    format_statement,
    format_time,
    parse_statement,
)
from lieref.adapter.bundle.verify import base_digests, read_signed
from lieref.adapter.fields import shown
from lieref.adapter.folder import FORMAT, encode_adapter, read_adapter
from lieref.adapter.merge.merging import merge_weights, merged_digest
from lieref.adapter.merge.ties import portable_ties
from lieref.adapter.self_test import make_self_test
from lieref.adapter.weights import read_weights
from lieref.errors import DomainError, UnsupportedError

if TYPE_CHECKING:
    from lieref.adapter.model import Model

BUNDLE_DAYS = 365
"""Days until a bundle expires unless told otherwise: what was held back for years is not installed any more."""


MOST_SAMPLES = 2
"""Samples of a self-test: each is carried to every device."""


@dataclass(frozen=True)
class Created:
    """What `create_bundle` wrote.

    Attributes
    ----------
    statement : Statement
    sizes : dict of str to int
        Bytes of each file.
    left_out : tuple of str
        What a bundle can have and this one has not, with the reason, a line each: to be said.
    """

    statement: Statement
    sizes: dict[str, int]
    left_out: tuple[str, ...]


def create_bundle(
    out: str | Path,
    adapter: str | Path,
    *,
    base: str | Path,
    signers: Sequence[Any],
    version: str | None = None,
    counter: int | None = None,
    min_counter: int = 0,
    expires: datetime | timedelta | None = timedelta(days=BUNDLE_DAYS),
    compatible: str | None = None,
    samples: Mapping[str, Array] | None = None,
    semantics: str | None = None,
    replaces: Collection[str] = (),
) -> Created:
    """Write a signed bundle of an adapter, or of an update of a quantised file.

    Parameters
    ----------
    out : path
        New or empty folder.
    adapter : path
        Adapter folder, or that of an update.
    base : path
        The ONNX file that it was trained on, or that file saved again. Of an update, the quantised file itself.
    signers : sequence of securesystemslib.signer.Signer
        See `lieref.adapter.bundle.signing.read_signer`; none is a bundle to be signed later.
    version : str, optional
        For people; the date and time of issue by default.
    counter : int, optional
        Above that of every bundle before. By default the seconds since 1970, which rise by themselves on every machine
        with a clock and need nothing to be kept; whoever numbers releases by hand does so from the first.
    min_counter : int
        Once this bundle is accepted, none below it is; 0 leaves the way back open.
    expires : datetime, timedelta from now, or None
    compatible : str, optional
        The kind of device that it is for.
    samples : mapping of str to array, optional
        Inputs for the self-test, by their names in the network or, of one input, as ``x``; the first `MOST_SAMPLES` are
        taken. By default they are drawn.
    semantics : str, optional
        Of an update: how the kernels round that its self-test is for, a key of
        `lieref.op.integer.semantics.SEMANTICS`.
    replaces : collection of str
        Names of files that may be in `out`.

    Raises
    ------
    LierefError
        If the adapter is not of this base, a value is out of range, or a file is larger than a device reads.
    """
    issued = datetime.now(UTC).replace(microsecond=0)
    if isinstance(expires, timedelta):
        expires = issued + expires
    counter = int(issued.timestamp()) if counter is None else check_int("create_bundle", "counter", counter, low=0)
    check_int("create_bundle", "min_counter", min_counter, low=0, high=counter)
    if expires is not None and expires <= issued:
        raise DomainError(f"create_bundle: `expires` must lie in the future; got {expires}")
    digests = base_digests(base)
    _check_kinds(adapter, base, digests, semantics)
    if digests.quantised:
        kind, contents = INTEGER_UPDATE, bundled_update(adapter, base, semantics, samples)
    else:
        kind, contents = ADAPTER, _bundled_adapter(adapter, base, digests, samples)
    files = contents.files
    for name, data in files.items():
        if len(data) > CAPS[name]:
            raise DomainError(
                f"create_bundle: `adapter` must have a {name} of at most {CAPS[name]} bytes, the most that a device "
                f"reads; got {len(data)}"
            )
    statement = Statement(
        files={name: SignedFile(sha256(data).hexdigest(), len(data)) for name, data in sorted(files.items())},
        version=format_time(issued) if version is None else version,
        counter=counter,
        min_counter=min_counter,
        issued=issued,
        expires=expires,
        compatible=compatible,
        base=replace(digests, network_sha256=contents.network_sha256, quantised=None),
        merged_sha256=contents.merged_sha256,
        requires=() if contents.merged_sha256 is None else ("merged",),
        kind=kind,
    )
    envelope = add_signatures(Envelope(format_statement(statement), PAYLOAD_TYPE, ()), signers)
    files = {**files, ENVELOPE_NAME: envelope}
    write_folder(out, files, replaces=replaces)
    return Created(statement, {name: len(files[name]) for name in kind.names}, contents.left_out)


def sign_bundle(path: str | Path, signers: Sequence[Any]) -> Statement:
    """Add signatures to a bundle, if its files are those that are signed; whom the others belong to is not checked.

    Raises
    ------
    BundleRefused
        If it is not a bundle, or its files are not those of the statement.
    DomainError
        If a key has signed already.
    """
    with BundleFolder(path) as folder:
        envelope = parse_envelope(folder.read(ENVELOPE_NAME, CAPS[ENVELOPE_NAME]), PAYLOAD_TYPE, ENVELOPE_NAME)
        statement = parse_statement(envelope.payload)
        read_signed(folder, statement)
    write_file(Path(path) / ENVELOPE_NAME, add_signatures(envelope, signers))
    return statement


def _check_kinds(adapter: str | Path, base: str | Path, digests: BaseDigests, semantics: str | None) -> None:
    """Raise `DomainError` unless what is to be bundled is of the kind that the base takes."""
    from lieref.adapter.integer.folder import is_update

    if digests.quantised and not is_update(adapter):
        raise DomainError(
            f"create_bundle: `adapter` must be an update, for {base} is a quantised file; got {adapter}, which is "
            "none: `lieref carry` or `lieref finetune` makes one for it"
        )
    if not digests.quantised and is_update(adapter):
        raise DomainError(
            f"create_bundle: `base` must be the quantised file that the update {adapter} is for; got {base}, a float "
            "network"
        )
    if semantics is not None and not digests.quantised:
        raise DomainError(f"create_bundle: `semantics` must be left out for a float network; got {semantics}")


def _bundled_adapter(
    adapter: str | Path, base: str | Path, digests: BaseDigests, samples: Mapping[str, Array] | None
) -> Contents:
    model, tensors, config = _read(adapter, base, digests)
    parts = _self_test(_merged(_Parts({}, None, ()), tensors, config, base), model, samples)
    files = encode_adapter({**tensors, **parts.tensors}, config)
    network = config["lieref"].get("network_sha256")
    return Contents(files, parts.merged_sha256, parts.left_out, network)


def _read(
    adapter: str | Path, base: str | Path, digests: BaseDigests
) -> tuple[Model, dict[str, Array], dict[str, Any]]:
    """Return the model, and its adapter as the bundle holds it: with the digest of this file, in the present format."""
    from lieref.adapter.model import load

    tensors, config = read_adapter(adapter)
    section = config["lieref"]
    model = load(base, input_shapes=section.get("input_shapes"), padding_id=section.get("padding_id"))
    model.load_adapter(adapter)  # refuses one of another network
    if section["base_sha256"] != digests.file_sha256 or section["format"] != FORMAT:
        tensors, config = model.adapter_state()
    return model, tensors, config


@dataclass(frozen=True)
class _Parts:
    """What a bundle has beside the adapter."""

    tensors: dict[str, Array]
    merged_sha256: str | None
    left_out: tuple[str, ...]


def _merged(parts: _Parts, tensors: Mapping[str, Array], config: Mapping[str, Any], base: str | Path) -> _Parts:
    """Add the digest of the merged weights, and what a device needs to come to the same bits."""
    weights = read_weights(base)
    try:
        ties = portable_ties(tensors, config, weights)
    except UnsupportedError as error:
        return replace(parts, left_out=(*parts.left_out, f"digest of the merged weights: {error}"))
    merged = merge_weights({**tensors, **ties}, config, weights)
    return replace(parts, tensors={**parts.tensors, **ties}, merged_sha256=merged_digest(merged))


def _self_test(parts: _Parts, model: Model, samples: Mapping[str, Array] | None) -> _Parts:
    """Add a few inputs, and what the merged network makes of them."""
    names = [info.name for info in model.inputs]
    given = None
    if samples is not None:
        found = {name: samples[key] for name in names for key in (name, f"x_{name}") if key in samples}
        if len(names) == 1 and "x" in samples:
            found = {names[0]: samples["x"]}
        if set(found) != set(names):
            raise DomainError(
                f"create_bundle: `samples` must hold the inputs {', '.join(names)}; got {shown(sorted(samples))}"
            )
        few = {name: np.asarray(array)[:MOST_SAMPLES] for name, array in found.items()}
        given = few if len(few) > 1 else few[names[0]]
    try:
        tensors = make_self_test(model, given)
    except UnsupportedError as error:
        return replace(parts, left_out=(*parts.left_out, f"self-test: {error}"))
    except DomainError as error:
        if samples is not None:
            raise
        return replace(parts, left_out=(*parts.left_out, f"self-test: {error}"))
    return replace(parts, tensors={**parts.tensors, **tensors})
