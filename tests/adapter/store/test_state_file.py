"""The state file: the same state back, and anything else refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from lieref.adapter.store.refusal import StoreRefused
from lieref.adapter.store.state import Base, Slot, State, initialised, installed, marked_good, rolled_back, started
from lieref.adapter.store.state_file import (
    MAX_STATE_BYTES,
    STATE_NAME,
    decode_state,
    encode_state,
    read_state,
    write_state,
)


def states() -> list[State]:
    one = initialised("root \N{SNOWMAN}", 1, Base("/b", "1" * 64, "2" * 64), "camera", 3, "t")
    two = installed(one, Slot("a" * 64, 7, "1.0", 4, 2, None), "t")
    three = marked_good(started(two, "t", live_intact=True, previous_intact=True), "t")
    return [one, two, three, rolled_back(installed(three, Slot("b" * 64, 8, "2", 9, 2, "3" * 64), "t"), "t")]


@pytest.mark.parametrize("state", states(), ids=["new", "on trial", "good", "rolled back"])
def test_the_same_state_comes_back(state: State, tmp_path: Path) -> None:
    assert decode_state(encode_state(state), "x") == state
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    assert [path.name for path in tmp_path.iterdir()] == [STATE_NAME]


def refused(data: bytes) -> str:
    with pytest.raises(StoreRefused) as error:
        decode_state(data, "x")
    assert error.value.slug == "state"
    return str(error.value)


def test_every_flipped_bit_and_every_length_is_refused() -> None:
    data = encode_state(states()[2])
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            refused(bytes(changed))
        refused(data[:position])
    refused(data + b"\n")


def with_checksum(fields: object) -> bytes:
    """A state file of these fields, its checksum right, made without the writer."""
    text = json.dumps(fields)
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest()}, separators=(",", ":"))[:-1].encode() + (
        f',"state":{text}}}\n'.encode()
    )


def fields_of(state: State) -> dict[str, object]:
    return dict(json.loads(encode_state(state))["state"])


def test_the_helper_makes_what_the_writer_makes() -> None:
    assert decode_state(with_checksum(fields_of(states()[2])), "x") == states()[2]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("generation", -1), ("generation", True), ("root", None), ("base", None), ("base", {"path": "x"}), ("live", {}),
        ("live", {"digest": "../x"}), ("history", [{}]), ("history", None), ("trial", {"tries": 1}), ("floor", 0.5),
        ("format", "lieref-store/2"), ("format", None),
    ],
)  # fmt: skip
def test_fields_of_another_type_are_refused_with_a_right_checksum(field: str, value: object) -> None:
    assert "must have the f" in refused(with_checksum({**fields_of(states()[2]), field: value}))


def test_other_fields_and_long_files_are_refused(tmp_path: Path) -> None:
    assert "must have the fields" in refused(with_checksum({**fields_of(states()[2]), "more": 1}))
    assert "appears twice" in refused(
        with_checksum({"floor": 1})
        .replace(b'{"floor": 1}', b'{"floor": 1, "floor": 1}')
        .replace(
            hashlib.sha256(b'{"floor": 1}').hexdigest().encode(),
            hashlib.sha256(b'{"floor": 1, "floor": 1}').hexdigest().encode(),
        )
    )
    (tmp_path / STATE_NAME).write_bytes(b" " * (MAX_STATE_BYTES + 1))
    with pytest.raises(StoreRefused, match="at most"):
        read_state(tmp_path)
    (tmp_path / STATE_NAME).unlink()
    with pytest.raises(StoreRefused, match=r"cannot be read .*; make a store with `init`"):
        read_state(tmp_path)
