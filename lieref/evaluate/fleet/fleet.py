"""A fleet: an adapter for every device by workers, written as they come, and signed here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lieref._atomic import remove_folder, write_folder
from lieref.errors import LierefError
from lieref.evaluate.fleet.device import Device, Job, adapt
from lieref.evaluate.fleet.source import Source
from lieref.evaluate.ledger import Ledger
from lieref.evaluate.workers import WorkerError, run_all

Record = dict[str, Any]
Progress = Callable[[int, int, str], None]

ADAPTERS, BUNDLES = "adapters", "bundles"


@dataclass(frozen=True)
class Signing:
    """How bundles are made, in the process that holds the key and nowhere else.

    Attributes
    ----------
    base : Path
        The file of all devices.
    signers : tuple
        See `lieref.adapter.bundle.signing.read_signer`.
    options : mapping
        Of `create_bundle`: version, compatible, counter; of a quantised file semantics.
    """

    base: Path
    signers: tuple[Any, ...]
    options: Mapping[str, Any]

    def sign(self, adapter: Path, out: Path) -> int:
        """Write the bundle of an adapter folder, in place of an earlier one, and return its bytes."""
        from lieref.adapter.bundle.create import create_bundle
        from lieref.adapter.bundle.folder import ALL_NAMES

        made = create_bundle(out, adapter, base=self.base, signers=self.signers, replaces=ALL_NAMES, **self.options)
        return sum(made.sizes.values())

    def signed(self, bundle: Path) -> bool:
        """Tell whether a bundle is whole, signed with these keys, and says what these options ask for."""
        from lieref.adapter.bundle.dsse import parse_envelope
        from lieref.adapter.bundle.folder import ENVELOPE_NAME
        from lieref.adapter.bundle.signing import public_key
        from lieref.adapter.bundle.statement import PAYLOAD_TYPE, parse_statement
        from lieref.adapter.bundle.trust import key_id

        try:
            envelope = parse_envelope((bundle / ENVELOPE_NAME).read_bytes(), PAYLOAD_TYPE, str(bundle))
            statement = parse_statement(envelope.payload)
            whole = all(
                hashlib.sha256((bundle / name).read_bytes()).hexdigest() == file.sha256
                for name, file in statement.files.items()
            )
        except (LierefError, OSError):
            return False
        # Whose integers the self-test holds is the fleet's own, as its folder has it.
        asked = {name: value for name, value in self.options.items() if value is not None and name != "semantics"}
        keys = {key_id(public_key(signer)) for signer in self.signers}
        said = all(getattr(statement, name) == value for name, value in asked.items())
        return whole and said and {known for known, _ in envelope.signatures} == keys


def run_fleet(
    job: Job,
    source: Source,
    folder: Path | None,
    *,
    signing: Signing | None = None,
    jobs: int = 1,
    dask: str | None = None,
    progress: Progress | None = None,
) -> list[Record]:
    """Adapt every device, and return their records by name.

    What the folder has is not done again: a device is known by the job, its name and its samples. Its adapter is in
    ``adapters/NAME`` before its record is kept; with a key its bundle follows in ``bundles/NAME``, signed
    anew where keys or options are others than the last time.

    Parameters
    ----------
    job : Job
    source : Source
    folder : Path or None
        Of this fleet, or new; None writes nothing.
    signing : Signing, optional
    jobs, dask
        See `lieref.evaluate.workers.run_all`.
    progress : callable, optional
        Called with devices done, devices in all, and the name of the last with how many failed; of what the folder has
        not one by one.

    Returns
    -------
    list of dict
        Those of `adapt`; with a key ``bundle_bytes``, or ``bundle_failed`` and why. A device that could not be read, or
        whose workers died, has ``device`` and ``failed`` alone, and is tried again by the next run.

    Raises
    ------
    DomainError
        If the folder is of another fleet.
    LierefError
        As `run_all` does, such as where no scheduler answers; what is done stays in the folder.
    """
    found: dict[str, Record] = {}
    ledger = Ledger(folder, job.identity)

    def waiting() -> Iterator[Device]:
        for device in source.devices():
            record = ledger.get(job.id_of(device))
            if record is None or (folder is not None and not _is_there(record, folder, job.file_names)):
                yield device
            else:
                found[record["device"]] = record

    def done(record: Record) -> None:
        found[record["device"]] = record
        if progress is not None:
            failed = len(source.broken) + sum(r["failed"] is not None for r in found.values())
            words = f"{record['device']}, {failed} failed" if failed else record["device"]
            progress(len(found) + len(source.broken), len(source.names), words)

    for device, result in run_all(adapt, job, waiting(), jobs=jobs, dask=dask):
        if isinstance(result, WorkerError):
            done({"device": device.name, "failed": f"its worker was lost: {result}"})
            continue
        record, files = result
        record["files_sha256"] = _digest(files)
        if folder is not None:
            _keep(folder, device.name, files, job.file_names)
        ledger.add(record)
        done(record)
    records = [found[name] for name in sorted(found)]
    if signing is not None and folder is not None:
        records = [_signed(record, folder, signing) for record in records]
    return sorted([*records, *source.failures()], key=lambda record: str(record["device"]))


def _keep(folder: Path, name: str, files: Mapping[str, bytes], names: tuple[str, ...]) -> None:
    """Write what a device gets, and remove what it had before, of other samples."""
    place, bundle = folder / ADAPTERS / name, folder / BUNDLES / name
    if files:
        place.parent.mkdir(exist_ok=True)
        write_folder(place, files, replaces=names)
    elif place.exists():
        remove_folder(place)
    if bundle.exists():
        remove_folder(bundle)


def _is_there(record: Record, folder: Path, names: tuple[str, ...]) -> bool:
    """Tell whether what a record says was written is in its place: other samples of the device may have had others."""
    place = folder / ADAPTERS / record["device"]
    if record["failed"] is not None or record["kept"] == "base":
        return not place.exists()
    try:
        return bool(record["files_sha256"] == _digest({name: (place / name).read_bytes() for name in names}))
    except OSError:
        return False


def _digest(files: Mapping[str, bytes]) -> str:
    found = hashlib.sha256()
    for name, data in sorted(files.items()):
        found.update(f"{name} {hashlib.sha256(data).hexdigest()} ".encode())
    return found.hexdigest()


def _signed(record: Record, folder: Path, signing: Signing) -> Record:
    if record["failed"] is not None or record["kept"] == "base":
        return record
    out = folder / BUNDLES / record["device"]
    if out.is_dir() and signing.signed(out):
        return {**record, "bundle_bytes": sum(path.stat().st_size for path in out.iterdir())}
    out.parent.mkdir(exist_ok=True)
    try:
        return {**record, "bundle_bytes": signing.sign(folder / ADAPTERS / record["device"], out)}
    except LierefError as error:
        return {**record, "bundle_failed": str(error)}
