"""The state as a file: ``{"sha256":"...","state":{...}}``, replaced whole, the only file of a store that ever changes.

The digest is of the bytes of the object behind it, so that a change of any bit is seen.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lieref._atomic import write_file
from lieref.adapter.bundle.bounded import read_regular
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.fields import is_list, is_sha256, is_size, is_text, shown
from lieref.adapter.store.refusal import StoreRefused
from lieref.adapter.store.state import MOST_EVENTS, Base, Event, Slot, State, Trial
from lieref.adapter.strict_json import parse_json
from lieref.errors import FormatError

STATE_NAME = "state.json"
FORMAT = "lieref-store/1"

MAX_STATE_BYTES = 4 * 2**20
"""Cap on the file: a root file of half a megabyte, JSON's escapes for it, and the history fit several times."""

_FILE = re.compile(rb'\{"sha256":"(?P<sha256>[0-9a-f]{64})","state":(?P<state>\{.*\})\}\n', re.DOTALL)

_Test = Callable[[Any], bool]


def encode_state(state: State) -> bytes:
    """Return the bytes of a state: its fields as JSON, and before them their SHA-256."""
    parts = {name: None if part is None else vars(part) for name, part in _parts(state).items()}
    fields = {"format": FORMAT, **vars(state), **parts, "history": [vars(event) for event in state.history]}
    text = json.dumps(fields, separators=(",", ":"), allow_nan=False).encode("ascii")
    return b'{"sha256":"%s","state":%s}\n' % (hashlib.sha256(text).hexdigest().encode("ascii"), text)


def decode_state(data: bytes, what: str) -> State:
    """Return the state in `data`.

    Raises
    ------
    StoreRefused
        ``state`` if it is anything but what `encode_state` gave.
    """
    found = _FILE.fullmatch(data)
    if found is None:
        raise _refuse(what, "the form of a state file", f"{len(data)} bytes of another")
    checksum = hashlib.sha256(found["state"]).hexdigest()
    if checksum.encode("ascii") != found["sha256"]:
        raise _refuse(what, f"the sha256 {found['sha256'].decode('ascii')}", checksum)
    try:
        fields = parse_json(found["state"], what)
    except FormatError as error:
        raise StoreRefused("state", str(error)) from None
    if fields.get("format") != FORMAT:
        raise _refuse(what, f"the format {FORMAT}", shown(fields.get("format")))
    if not _has(fields, _STATE):
        raise _refuse(what, "the fields of a state", shown(sorted(fields)))
    del fields["format"]
    make = {"base": Base, "live": Slot, "previous": Slot, "trial": Trial}
    parts = {name: None if fields[name] is None else kind(**fields[name]) for name, kind in make.items()}
    history = tuple(Event(**event) for event in fields["history"])
    return State(**{**fields, **parts, "history": history})


def read_state(folder: Path) -> State:
    """Return the state of a store.

    Raises
    ------
    StoreRefused
        ``state`` if it is not there, cannot be read, or is damaged.
    """
    path = folder / STATE_NAME
    try:
        data = read_regular(path, MAX_STATE_BYTES)
    except BundleRefused as error:
        raise StoreRefused(
            "state", f"store: {path} cannot be read ({error}); make a store with `init`, or name the folder of one"
        ) from None
    return decode_state(data, str(path))


def write_state(folder: Path, state: State) -> None:
    """Replace the state of a store: a reader sees the old one or the new one, also after a power cut."""
    write_file(folder / STATE_NAME, encode_state(state))


def _parts(state: State) -> dict[str, Base | Slot | Trial | None]:
    return {"base": state.base, "live": state.live, "previous": state.previous, "trial": state.trial}


def _or_null(test: _Test) -> _Test:
    return lambda value: value is None or test(value)


def _object(fields: Mapping[str, _Test]) -> _Test:
    return lambda value: isinstance(value, dict) and _has(value, fields)


def _has(value: Mapping[str, Any], fields: Mapping[str, _Test]) -> bool:
    """Tell whether an object has exactly these fields, each of its type."""
    return set(value) == set(fields) and all(test(value[name]) for name, test in fields.items())


_SLOT = {
    "digest": is_sha256, "size": is_size, "version": is_text, "counter": is_size, "min_counter": is_size,
    "merged_sha256": _or_null(is_sha256),
}  # fmt: skip
_EVENT = {
    "when": is_text, "what": is_text, "slot": _or_null(is_sha256), "version": _or_null(is_text),
    "counter": _or_null(is_size), "why": is_text,
}  # fmt: skip
_STATE = {
    "format": is_text,
    "generation": is_size,
    "root": is_text,
    "root_version": is_size,
    "base": _object({"path": is_text, "file_sha256": is_sha256, "weights_sha256": is_sha256}),
    "compatible": _or_null(is_text),
    "tries": is_size,
    "accepted": _or_null(is_size),
    "floor": is_size,
    "live": _or_null(_object(_SLOT)),
    "previous": _or_null(_object(_SLOT)),
    "trial": _or_null(_object({"tries": is_size, "started": is_size})),
    "history": lambda value: is_list(value, _object(_EVENT), MOST_EVENTS),
}


def _refuse(what: str, rule: str, got: str) -> StoreRefused:
    return StoreRefused("state", f"store: `{what}` must have {rule}; got {got}")
