"""``lieref bundle``: keys, signed bundles, and what a device would say to one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lieref.cli.bundle_report import print_report, root_report, statement_report
from lieref.cli.command import Group
from lieref.cli.console import print_json, say, word, working
from lieref.cli.live import quiet_option
from lieref.cli.moments import Expiry, Moment

if TYPE_CHECKING:
    from lieref.adapter.bundle.trust import Root
    from lieref.adapter.bundle.verify import Verified

REFUSED = 3
"""Exit status of ``verify`` for a bundle that is refused."""

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _path(name: str, **how: Any) -> Callable[[_Command], _Command]:
    return click.argument(name, type=click.Path(path_type=Path), **how)


def _path_option(*names: str, **how: Any) -> Callable[[_Command], _Command]:
    return click.option(*names, type=click.Path(path_type=Path), **how)


_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.group(
    cls=Group,
    examples=(
        "lieref bundle keygen --out keys",
        "lieref bundle create adapted --base base.onnx --key keys --out bundle",
        "lieref bundle verify bundle --base base.onnx --trust keys/root.json",
    ),
)
def bundle() -> None:
    """Signed adapters for devices: make keys, sign, check.

    KEYDIR/root.json goes to the devices; KEYDIR/private_key.pem never leaves the place where bundles are made.
    """


@bundle.command(
    examples=(
        "lieref bundle keygen --out keys",
        "lieref bundle keygen --out keys --expires 730d",
    )
)
@_path_option("--out", required=True, help="New folder for the two halves.")
@click.option("--expires", type=Expiry(), help="When the root file does.  [default: 3650d]")
@_json
def keygen(out: Path, expires: datetime | timedelta | str | None, as_json: bool) -> None:
    """Make an Ed25519 key: OUT/private_key.pem, and OUT/root.json for the devices."""
    from lieref.adapter.bundle.signing import make_key

    root = make_key(out, **_expiry(expires))
    report = {"private": str(out / "private_key.pem"), **root_report(out / "root.json", root)}
    print_report(report, "Key", as_json)
    if not as_json:
        say(f"give {out / 'root.json'} to the devices; keep {out / 'private_key.pem'} secret, and a copy of it offline")


@bundle.command(
    examples=(
        "lieref bundle create adapted --base base.onnx --key keys --out bundle",
        "lieref bundle create adapted --base base.onnx --key keys --out bundle --version 2.1 --compatible camera-7",
    )
)
@_path("adapter")
@_path_option("--base", required=True, help="The model that it was trained on, or is an update of.")
@_path_option("--key", "keys", required=True, multiple=True, help="Folder of `keygen`, or its private half; several.")
@_path_option("--out", required=True, help="New folder for the bundle.")
@click.option("--version", help="Text for people.  [default: date and time]")
@click.option(
    "--counter", type=click.IntRange(min=0), help="Above that of every release before.  [default: seconds since 1970]"
)
@click.option(
    "--min-counter",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Once this bundle is accepted, no device takes one below it.",
)
@click.option("--expires", type=Expiry(), default="365d", show_default=True, help="No device installs it from then on.")
@click.option("--compatible", help="The kind of device that it is for.  [default: any with this base]")
@_path_option("--self-test", "samples", help="NPZ of inputs, as for training; the first two.  [default: drawn]")
@click.option(
    "--semantics",
    metavar="NAME",
    help="Of an update: how the device's kernels round, for its self-test, as of `lieref eval`.  [default: "
    "tflite-reference, or onnxruntime]",
)
@click.option("--force", is_flag=True, help="Replace a bundle at --out.")
@quiet_option
@_json
def create(
    adapter: Path,
    base: Path,
    keys: tuple[Path, ...],
    out: Path,
    version: str | None,
    counter: int | None,
    min_counter: int,
    expires: datetime | timedelta | str,
    compatible: str | None,
    samples: Path | None,
    semantics: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make a signed bundle of ADAPTER: an adapter folder, or that of an update of a quantised file.

    The counter is by default the time in seconds: it rises by itself and needs nothing to be kept. Whoever numbers
    releases by hand starts so with the first. The digest of the merged weights and a self-test go with the bundle where
    they can be made; what is left out is said.
    """
    from lieref.adapter.bundle.create import create_bundle
    from lieref.adapter.bundle.folder import ALL_NAMES
    from lieref.adapter.bundle.signing import read_signer
    from lieref.cli.output import reserved_folder
    from lieref.train.npz import read_npz

    signers = [read_signer(key) for key in keys]
    with reserved_folder("bundle create", out, ALL_NAMES, force=force) as replaces, working("bundle create") as step:
        step("merging, and making a self-test")
        made = create_bundle(
            out,
            adapter,
            base=base,
            signers=signers,
            version=version,
            counter=counter,
            min_counter=min_counter,
            expires=None if isinstance(expires, str) else expires,
            compatible=compatible,
            samples=None if samples is None else read_npz(samples),
            semantics=semantics,
            replaces=replaces,
        )
    report = {"bundle": str(out), **statement_report(made.statement), "bytes": made.sizes}
    report |= {"signatures": len(signers), "left_out": list(made.left_out)}
    print_report(report, "Bundle", as_json)
    if not as_json:
        for line in made.left_out:
            say(f"left out: {line}")
        trust = keys[0] if keys[0].is_dir() else keys[0].parent / "root.json"
        say(f"next: lieref bundle verify {out} --base {base} --trust {trust}")


@bundle.command(
    examples=(
        "lieref bundle sign bundle --key keys2",
        "lieref bundle sign keys/2.root.json --key keys2",
    )
)
@_path("path", metavar="BUNDLE|ROOT")
@_path_option("--key", "keys", required=True, multiple=True, help="Folder of `keygen`, or its private half; several.")
@_json
def sign(path: Path, keys: tuple[Path, ...], as_json: bool) -> None:
    """Add signatures to a bundle, or to a root file that `rotate` made.

    What is signed is printed: read it. Whose the other signatures are is not checked here.
    """
    from lieref._atomic import write_file
    from lieref.adapter.bundle.bounded import read_regular
    from lieref.adapter.bundle.create import sign_bundle
    from lieref.adapter.bundle.rotation import sign_root
    from lieref.adapter.bundle.signing import read_signer
    from lieref.adapter.bundle.trust import MAX_ROOT_BYTES, open_root

    signers = [read_signer(key) for key in keys]
    if path.is_dir():
        print_report({"bundle": str(path), **statement_report(sign_bundle(path, signers))}, "Signed bundle", as_json)
        if not as_json:
            say(f"next: lieref bundle verify {word(path)} --base BASE --trust ROOT")
        return
    data = sign_root(read_regular(path, MAX_ROOT_BYTES, missing="root"), signers)
    report = root_report(path, open_root(data)[1])
    write_file(path, data)
    print_report(report, "Signed root file", as_json)
    if not as_json:
        say(f"next, on each device: lieref device trust {word(path)} --store DIR")


@bundle.command(
    examples=(
        "lieref bundle rotate keys --key keys --key new --add new --remove keys",
        "lieref bundle rotate keys --key keys --add second --threshold 2",
    )
)
@_path("old", metavar="ROOT")
@_path_option("--key", "keys", required=True, multiple=True, help="Private keys that sign: old ones and new ones.")
@_path_option("--add", "added", multiple=True, help="Key that gets both roles: its folder or root.json.")
@_path_option("--add-root", multiple=True, help="Key that may sign root files alone.")
@_path_option("--add-bundle", multiple=True, help="Key that may sign bundles alone.")
@click.option("--remove", multiple=True, help="Key that is revoked: its folder, its root.json, or its id.")
@click.option("--threshold", type=click.IntRange(min=1), help="How many keys must sign a bundle.  [default: as before]")
@click.option(
    "--root-threshold", type=click.IntRange(min=1), help="How many must sign a root file.  [default: as before]"
)
@click.option("--expires", type=Expiry(), help="When the new root file does.  [default: 3650d]")
@_path_option("--out", help="File to write.  [default: N.root.json beside the old one, N its version]")
@_json
def rotate(
    old: Path,
    keys: tuple[Path, ...],
    added: tuple[Path, ...],
    add_root: tuple[Path, ...],
    add_bundle: tuple[Path, ...],
    remove: tuple[str, ...],
    threshold: int | None,
    root_threshold: int | None,
    expires: datetime | timedelta | str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Make the next root file after ROOT (a file, or a folder with root.json): other keys, other thresholds.

    It counts once the thresholds of both roots have signed it; `lieref bundle sign` adds what is missing.
    """
    from lieref._atomic import write_file
    from lieref.adapter.bundle.rotation import missing_signatures, public_key_of
    from lieref.adapter.bundle.rotation import rotate as next_root
    from lieref.adapter.bundle.signing import read_signer
    from lieref.adapter.bundle.trust import open_root, read_root

    current = read_root(old)
    place = (old if old.is_dir() else old.parent) / f"{current.version + 1}.root.json" if out is None else out
    if place.exists():
        raise click.UsageError(f"{place} exists; name another --out, or add signatures with `lieref bundle sign`")
    given = {"root": (*added, *add_root), "bundle": (*added, *add_bundle)}
    thresholds = {"bundle": threshold, "root": root_threshold}
    data = next_root(
        current,
        [read_signer(key) for key in keys],
        add={role: [public_key_of(path) for path in paths] for role, paths in given.items()},
        remove=[_key_id(text, current) for text in remove],
        thresholds={role: number for role, number in thresholds.items() if number is not None},
        **_expiry(expires),
    )
    lacks = missing_signatures(data, current)
    write_file(place, data)
    report = root_report(place, open_root(data)[1])
    print_report({**report, "missing_signatures": lacks}, "Next root file", as_json)
    if not as_json and any(lacks.values()):
        say(
            f"not valid yet: {lacks['old']} more of the old keys and {lacks['new']} more of the new must sign: "
            f"lieref bundle sign {place} --key KEYDIR"
        )


@bundle.command(
    examples=(
        "lieref bundle verify bundle --base base.onnx --trust keys/root.json",
        "lieref bundle verify bundle --base base.onnx --trust keys/root.json --run",
    )
)
@_path("path", metavar="BUNDLE")
@_path_option("--base", required=True, help="The base model on the device.")
@_path_option("--trust", required=True, help="Root file of the device, or a folder with root.json.")
@_path_option("--root", "newer", multiple=True, help="Next root file, and the next after it; in order.")
@click.option("--compatible", help="What kind of device this is.")
@click.option("--counter", type=click.IntRange(min=0), help="Of the last bundle accepted; this one must be above it.")
@click.option("--floor", type=click.IntRange(min=0), default=0, show_default=True, help="Least counter accepted.")
@click.option("--now", type=Moment(), help="Check as at this time.  [default: the clock's]")
@click.option("--no-clock", is_flag=True, help="Leave expiry unchecked, as on a device without a clock.")
@click.option("--run", is_flag=True, help="Run the self-test too, in lieref: the merged network, or the updated file.")
@quiet_option
@_json
def verify(
    path: Path,
    base: Path,
    trust: Path,
    newer: tuple[Path, ...],
    compatible: str | None,
    counter: int | None,
    floor: int,
    now: datetime | None,
    no_clock: bool,
    run: bool,
    as_json: bool,
) -> int:
    """Check a bundle as a device does.

    Exit status 0: every check passed. 3: refused, with a line `refused: SLUG` on stdout and a sentence on stderr.
    """
    from lieref.adapter.bundle.bounded import read_regular
    from lieref.adapter.bundle.refusal import BundleRefused
    from lieref.adapter.bundle.trust import MAX_ROOT_BYTES, holds_private_key, next_root, read_root
    from lieref.adapter.bundle.verify import verify_bundle

    try:
        root = read_root(trust)
        for each in newer:
            root = next_root(root, read_regular(each, MAX_ROOT_BYTES, missing="root"))
        found = verify_bundle(
            path,
            base=base,
            trust=root,
            now=now,
            compatible=compatible,
            counter=counter,
            floor=floor,
            check_expiry=not no_clock,
        )
        with working("bundle verify") as step:
            step("self-test")
            ran = _run(found, base) if run else None
    except BundleRefused as refused:
        if as_json:
            print_json({"verified": False, "refused": refused.slug, "reason": str(refused)})
        else:
            click.echo(f"refused: {refused.slug}")
        say(str(refused))
        return REFUSED
    report = {"verified": True, "bundle": str(path), **statement_report(found.statement)}
    report |= {"signed_by": list(found.signed_by), "unchecked": list(found.unchecked)}
    if ran is not None:
        report["self_test"] = ran
    print_report(report, "Verified", as_json)
    for line in found.unchecked:
        say(f"not checked: {line}")
    if holds_private_key(trust):
        say(f"{trust} also holds a private key: ship root.json alone")
    return 0


def _run(found: Verified, base: Path) -> dict[str, Any]:
    """Run the self-test of a bundle in lieref, and return what to say of it."""
    from lieref.adapter.run_self_test import run_self_test
    from lieref.adapter.store.checks import updated

    content = updated(found, base)
    if content is None:
        ran = run_self_test(found.tensors, found.config, base, runtime="lieref")
        return {"runtime": ran.runtime, "of_bound": ran.of_bound}
    from lieref.adapter.integer.run_self_test import run_update_test

    name, compared = run_update_test(found.config, content, runtime="lieref")
    return {"runtime": name, "integers_equal": compared}


@bundle.command(
    examples=(
        "lieref bundle show bundle",
        "lieref bundle show keys/root.json --json",
    )
)
@_path("path", metavar="BUNDLE|ROOT")
@_json
def show(path: Path, as_json: bool) -> None:
    """Print what a bundle or a root file says of itself. Nothing is checked: do not trust it."""
    from lieref.adapter.bundle.bounded import read_regular
    from lieref.adapter.bundle.dsse import parse_envelope
    from lieref.adapter.bundle.statement import PAYLOAD_TYPE, parse_statement
    from lieref.adapter.bundle.trust import MAX_ROOT_BYTES, ROOT_NAME, open_root
    from lieref.adapter.bundle.verify import CAPS, ENVELOPE_NAME

    if path.is_dir() and (path / ENVELOPE_NAME).exists():
        data = read_regular(path / ENVELOPE_NAME, CAPS[ENVELOPE_NAME])
        envelope = parse_envelope(data, PAYLOAD_TYPE, ENVELOPE_NAME)
        report = {"bundle": str(path), **statement_report(parse_statement(envelope.payload))}
    else:
        file = path / ROOT_NAME if path.is_dir() else path
        envelope, root = open_root(read_regular(file, MAX_ROOT_BYTES, missing="root"))
        report = root_report(file, root)
    report = {"trusted": False, **report, "claims_signatures_of": [keyid for keyid, _ in envelope.signatures]}
    print_report(report, "Not checked", as_json)
    if not as_json:
        say("nothing of this was checked: `lieref bundle verify` does that")


def _expiry(value: datetime | timedelta | str | None) -> dict[str, Any]:
    """Return the argument for a root file: none for its default, None for never, or a time."""
    return {} if value is None else {"expires": None if isinstance(value, str) else value}


def _key_id(text: str, current: Root) -> str:
    from lieref.adapter.bundle.rotation import public_key_of
    from lieref.adapter.bundle.trust import key_id

    return text if text in current.keys else key_id(public_key_of(text))
