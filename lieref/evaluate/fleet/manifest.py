"""What a fleet is: a TOML file with the base, the method, and where the data of each device are."""

from __future__ import annotations

import glob
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lieref._check import check_bool, check_choice, check_int, check_real
from lieref._text import did_you_mean
from lieref.adapter.fields import shown
from lieref.adapter.integer.methods import DEFAULT_METHOD, INTEGER_METHODS
from lieref.errors import DomainError, FormatError, LierefError
from lieref.evaluate.plan import BASE, START, Plan
from lieref.model.integer.detect import is_integer_file
from lieref.op.integer.semantics import SEMANTICS

MEANS = ("algebra", "factors", "exact")
"""How rounds average: xi brought back to the rank, each factor by itself, or xi as it is, of whatever rank."""

_FLOAT_ONLY = ("start", "compose", "alpha", "options", "rounds")
_QUANTISED_ONLY = ("semantics", "codes")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MOST_BYTES = 16 * 2**20

_KEYS: dict[str, dict[str, tuple[type, ...]]] = {
    "": {
        "base": (str,), "method": (str,), "rank": (int,), "alpha": (int, float), "epochs": (int,), "batch": (int,),
        "learning_rate": (int, float), "seed": (int,), "options": (dict,), "task": (str,), "folds": (int,),
        "start": (str,), "compose": (bool,), "devices": (str,), "test": (str,), "device": (list,), "bundle": (dict,),
        "rounds": (dict,), "preprocess": (str,), "semantics": (str,), "codes": (bool,),
    },
    "device": {"name": (str,), "train": (str,), "test": (str,)},
    "bundle": {"key": (str, list), "version": (str,), "compatible": (str,), "counter": (int,)},
    "rounds": {"epochs": (int,), "mean": (str,)},
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A device: its name, and the files with its labelled samples; `test` is read for the report only."""

    name: str
    train: Path
    test: Path | None = None


@dataclass(frozen=True)
class Bundling:
    """How adapters are signed: keys, and what the statement of each bundle says."""

    keys: tuple[Path, ...]
    version: str | None = None
    compatible: str | None = None
    counter: int | None = None


@dataclass(frozen=True)
class Manifest:
    """What stands in a manifest, its paths made absolute.

    Attributes
    ----------
    base : Path
    plan : Plan or None
        None where the method is to be chosen for each device.
    devices : tuple of Entry
        In the order of their names.
    seed, folds : int
        One of so many folds of a device's samples decides what it gets, and is not trained on.
    task : str or None
    start : Path or None
        Adapter folder that every device begins with.
    compose : bool
        Whether a device trains an adapter of its own on top of `start`, and gets the product of both.
    bundling : Bundling or None
    round_epochs : int
        Over the samples of a device, in each round.
    mean : str
        Of `MEANS`.
    preprocess : str or None
        How the images of every device become numbers, as `lieref.Preprocess.from_text` reads it.
    semantics : str or None
        Of a quantised base: whose integers judge it, a key of `lieref.op.integer.semantics.SEMANTICS`.
    codes : bool
        Of a quantised base: whether updates hold one byte for each scale.
    """

    base: Path
    plan: Plan | None
    devices: tuple[Entry, ...] = field(repr=False)
    seed: int = 0
    folds: int = 5
    task: str | None = None
    start: Path | None = None
    compose: bool = False
    bundling: Bundling | None = None
    round_epochs: int = 1
    mean: str = "algebra"
    preprocess: str | None = None
    semantics: str | None = None
    codes: bool = False


def read_manifest(path: str | Path) -> Manifest:
    """Read and check a manifest.

    Raises
    ------
    FormatError
        If the file is missing or no TOML, or a file that all devices need is missing.
    DomainError
        If a key is unknown or missing, a value is none it can have, or there is no device or two of one name.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise FormatError(f"fleet: {path} must have at most {_MOST_BYTES} bytes; got {path.stat().st_size}")
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(f"fleet: the manifest must be a readable file; got {path}, {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"fleet: {path} must be TOML; {error}") from error
    try:
        return _manifest(values, path.resolve().parent)
    except LierefError as error:
        raise type(error)(f"fleet: {path}: {error}") from error


def _manifest(values: Mapping[str, Any], folder: Path) -> Manifest:
    _check_keys(values, "")
    if "base" not in values:
        raise DomainError("`base` must be given: the ONNX file of all devices")
    bundle, rounds = values.get("bundle", {}), values.get("rounds", {})
    _check_keys(bundle, "bundle")
    _check_keys(rounds, "rounds")
    start = None if "start" not in values else folder / values["start"]
    compose = check_bool("manifest", "compose", values.get("compose", False))
    if start is not None and not start.is_dir():
        raise FormatError(f"`start` must be an adapter folder; got {start}")
    if compose and start is None:
        raise DomainError("`compose` must come with `start`, the adapter to compose with")
    if not (base := folder / values["base"]).is_file():
        raise FormatError(f"`base` must be a file; got {base}")
    quantised = is_integer_file(base)
    _check_kind(values, quantised=quantised)
    return Manifest(
        base,
        _plan(values, continues=start is not None and not compose, default=DEFAULT_METHOD if quantised else "liera"),
        _devices(values, folder),
        check_int("manifest", "seed", values.get("seed", 0), low=0, high=2**63 - 1),
        check_int("manifest", "folds", values.get("folds", 5), low=2),
        values.get("task"),
        start,
        compose,
        _bundling(bundle, folder) if "bundle" in values else None,
        check_int("manifest", "rounds.epochs", rounds.get("epochs", 1), low=1),
        check_choice("manifest", "rounds.mean", rounds.get("mean", "algebra"), MEANS),
        values.get("preprocess"),
        values.get("semantics"),
        values.get("codes", False),
    )


def _check_kind(values: Mapping[str, Any], *, quantised: bool) -> None:
    """Raise `DomainError` where a key is for networks of the other kind, float or quantised."""
    if not quantised:
        strange = next((key for key in _QUANTISED_ONLY if key in values), None)
        if strange is not None:
            raise DomainError(
                f"`{strange}` must be left out where `base` is a float network: it is for a quantised file"
            )
        return
    strange = next((key for key in _FLOAT_ONLY if key in values), None)
    if strange is not None:
        raise DomainError(f"`{strange}` must be left out where `base` is a quantised file: it is for float networks")
    name = check_choice("manifest", "method", values.get("method", DEFAULT_METHOD), tuple(INTEGER_METHODS))
    if "rank" in values and not INTEGER_METHODS[name].moves:
        raise DomainError(f'`rank` must be left out for method = "{name}" of a quantised file, which has no factors')
    if values.get("codes") and not INTEGER_METHODS[name].scales:
        raise DomainError(f'`codes` must be left out for method = "{name}", which has no factors of scales')
    if "semantics" in values:
        check_choice("manifest", "semantics", values["semantics"], tuple(SEMANTICS))


def _plan(values: Mapping[str, Any], *, continues: bool, default: str) -> Plan | None:
    """Return how each device is adapted; one that goes on from an adapter takes method and rank from that."""
    given = {name: values[name] for name in ("epochs", "learning_rate") if name in values}
    if "batch" in values:
        given["batch_size"] = values["batch"]
    parts = [name for name in ("method", "rank", "alpha", "options") if name in values]
    if continues:
        if parts:
            raise DomainError(f"`{parts[0]}` must be left out where devices go on from `start`, which has it")
        return Plan(START, **given)
    if values.get("method") == "auto":
        others = [*(name for name in parts if name != "method"), *given]
        if others:
            raise DomainError(f'`{others[0]}` must be left out for method = "auto", which chooses it')
        return None
    if values.get("method") in (BASE, START):
        raise DomainError(f"`method` must be one of `lieref methods`, or auto; got {shown(values['method'])}")
    options = dict(values.get("options", {}))
    for name, option in (("rank", "r"), ("alpha", "lora_alpha")):
        if name in values:
            options[option] = values[name]
    return Plan(values.get("method", default), options, **given)


def _devices(values: Mapping[str, Any], folder: Path) -> tuple[Entry, ...]:
    found = []
    if "devices" in values:
        found += _matched(values["devices"], values.get("test"), folder)
    elif "test" in values:
        raise DomainError("`test` must come with `devices`; a [[device]] names its own")
    for device in values.get("device", []):
        if not isinstance(device, dict):
            raise DomainError(f"`device` must be tables, [[device]]; got {shown(device)}")
        _check_keys(device, "device")
        missing = [key for key in ("name", "train") if key not in device]
        if missing:
            raise DomainError(f"each [[device]] must have `{missing[0]}`; got {shown(device)}")
        test = None if "test" not in device else folder / device["test"]
        found.append(Entry(device["name"], folder / device["train"], test))
    if not found:
        raise DomainError("there must be a device: `devices`, a pattern of files, or [[device]] tables")
    names: set[str] = set()
    for entry in found:
        if not _NAME.fullmatch(entry.name) or entry.name.endswith("."):
            rule = "of letters, digits, '.', '_' and '-', beginning with a letter or a digit"
            raise DomainError(f"the name of a device must be {rule}; got {shown(entry.name)}")
        if entry.name.lower() in names:
            raise DomainError(f"devices must have names that differ by more than case; got {entry.name} twice")
        names.add(entry.name.lower())
    return tuple(sorted(found, key=lambda entry: entry.name))


def _matched(pattern: str, test: str | None, folder: Path) -> list[Entry]:
    """Return a device for each file of a pattern, named by what the star stands for."""
    pattern = Path(pattern).as_posix()  # without "./", as files are named below
    before, star, after = pattern.partition("*")
    if not star or any(sign in before + after for sign in "*?["):
        raise DomainError(f"`devices` must be a path with one *, which stands for the name; got {pattern!r}")
    if test is not None and test.count("*") != 1:
        raise DomainError(f"`test` must be a path with one *, which stands for the name; got {test!r}")
    shape = re.compile(re.escape(before) + r"([^/]+)" + re.escape(after))
    found = []
    for name in sorted(glob.glob(pattern, root_dir=folder)):
        match = shape.fullmatch(Path(name).as_posix())
        if match:
            own = match.group(1)
            found.append(Entry(own, folder / name, None if test is None else folder / test.replace("*", own)))
    if not found:
        raise DomainError(f"`devices` must match a file in {folder}; got {pattern!r}")
    return found


def _bundling(values: Mapping[str, Any], folder: Path) -> Bundling:
    if "key" not in values:
        raise DomainError("[bundle] must have `key`, the folder of `lieref bundle keygen`")
    keys = values["key"] if isinstance(values["key"], list) else [values["key"]]
    if not keys or not all(isinstance(key, str) for key in keys):
        raise DomainError(f"`bundle.key` must be a path, or a list of them; got {shown(keys)}")
    paths = tuple(folder / key for key in keys)
    for key in paths:
        if not key.exists():
            raise FormatError(f"`bundle.key` must be the folder of a key; got {key}, which is not there")
    return Bundling(paths, values.get("version"), values.get("compatible"), values.get("counter"))


def _check_keys(values: Mapping[str, Any], table: str) -> None:
    where = f"{table}." if table else ""
    for key, value in values.items():
        kinds = _KEYS[table].get(key)
        if kinds is None:
            near = did_you_mean(key, _KEYS[table])
            raise DomainError(f"`{where}{key}` must be one of {', '.join(_KEYS[table])}; got another key{near}")
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            named = " or ".join({"str": "text", "dict": "a table", "list": "a list"}.get(k.__name__, k.__name__)
                                for k in kinds)  # fmt: skip
            raise DomainError(f"`{where}{key}` must be {named}; got {shown(value)}")
    for key in ("epochs", "batch"):
        if not table and key in values:
            check_int("manifest", key, values[key], low=1)
    if not table and "learning_rate" in values:
        check_real("manifest", "learning_rate", values["learning_rate"], above=0.0)
