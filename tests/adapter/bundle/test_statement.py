"""Statements: written, read back, and every field that is not what it must be."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.bundle.statement import (
    BaseDigests,
    SignedFile,
    Statement,
    format_statement,
    format_time,
    parse_statement,
    parse_time,
)

STATEMENT = Statement(
    files={"adapter_config.json": SignedFile("1" * 64, 10), "adapter_model.safetensors": SignedFile("2" * 64, 0)},
    version="1.2 \u03b1",
    counter=7,
    min_counter=3,
    issued=datetime(2026, 11, 29, 20, 0, 0, tzinfo=UTC),
    expires=datetime(2027, 11, 29, 20, 0, 0, tzinfo=UTC),
    compatible="camera-1",
    base=BaseDigests("3" * 64, "4" * 64, "5" * 64),
    merged_sha256="6" * 64,
    requires=("merged", "self-test"),
)


@pytest.mark.parametrize(
    "changes",
    [{}, {"expires": None, "compatible": None, "merged_sha256": None, "requires": ()}, {"counter": 0, "min_counter": 0},
     {"base": BaseDigests("3" * 64, "4" * 64)}],
)  # fmt: skip
def test_round_trip(changes: dict[str, Any]) -> None:
    statement = replace(STATEMENT, **changes)
    assert parse_statement(format_statement(statement)) == statement


def test_it_is_an_in_toto_statement() -> None:
    value = json.loads(format_statement(STATEMENT))
    assert value["_type"] == "https://in-toto.io/Statement/v1"
    assert value["predicateType"] == "urn:lieref:adapter-bundle:v1"
    assert value["subject"] == [
        {"name": "adapter_config.json", "digest": {"sha256": "1" * 64}, "annotations": {"bytes": 10}},
        {"name": "adapter_model.safetensors", "digest": {"sha256": "2" * 64}, "annotations": {"bytes": 0}},
    ]
    assert list(value["predicate"]) == [
        "version", "counter", "min_counter", "issued", "expires", "compatible", "base", "merged_sha256", "requires",
    ]  # fmt: skip
    assert set(value["predicate"]["base"]) == {"file_sha256", "network_sha256", "weights_sha256"}


def changed(path: str, value: Any) -> bytes:
    """The right statement with one place changed, or left out if the value is `...`."""
    statement = json.loads(format_statement(STATEMENT))
    *way, last = (int(part) if part.isdigit() else part for part in path.split("/"))
    target = statement
    for part in way:
        target = target[part]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return json.dumps(statement).encode()


PLACES = [
    "_type", "subject", "predicateType", "predicate", "subject/0/name", "subject/0/digest", "subject/1/annotations",
    "subject/0/digest/sha256", "subject/1/annotations/bytes", "predicate/version", "predicate/counter",
    "predicate/min_counter", "predicate/issued", "predicate/expires", "predicate/compatible", "predicate/base",
    "predicate/merged_sha256", "predicate/requires", "predicate/base/file_sha256", "predicate/base/network_sha256",
    "predicate/base/weights_sha256",
]  # fmt: skip
CAN_BE_NULL = {"predicate/expires", "predicate/compatible", "predicate/merged_sha256", "predicate/base/network_sha256"}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", [..., 1.5, True, [1], {"a": 1}, "\n", "", -1, 2**63], ids=str)
def test_every_place_of_a_wrong_type(place: str, value: Any) -> None:
    with pytest.raises(BundleRefused, match=r"^parse_statement: ") as refused:
        parse_statement(changed(place, value))
    assert refused.value.slug == "format"


@pytest.mark.parametrize("place", PLACES)
def test_null_only_where_it_means_something(place: str) -> None:
    if place in CAN_BE_NULL:
        parse_statement(changed(place, None))
        return
    with pytest.raises(BundleRefused):
        parse_statement(changed(place, None))


WRONG: dict[str, tuple[str, Any]] = {
    "another kind of statement": ("_type", "https://in-toto.io/Statement/v0.1"),
    "another kind of predicate": ("predicateType", "urn:lieref:adapter-bundle:v2"),
    "no file": ("subject", []),
    "a file less": ("subject", [{"name": "adapter_config.json", "digest": {}, "annotations": {}}]),
    "a key more": ("more", 1),
    "a key more in a file": ("subject/0/more", 1),
    "a digest more": ("subject/0/digest/md5", "1" * 32),
    "a key more in the predicate": ("predicate/more", 1),
    "a digest in capitals": ("subject/0/digest/sha256", "A" * 64),
    "a digest too short": ("predicate/base/weights_sha256", "1" * 63),
    "a floor above the counter": ("predicate/min_counter", 8),
    "a version too long": ("predicate/version", "1" * 201),
    "a version of two lines": ("predicate/version", "1\n2"),
    "a time without zone": ("predicate/issued", "2026-11-29T20:00:00"),
    "a time of another zone": ("predicate/issued", "2026-11-29T20:00:00+01:00"),
    "a time that does not exist": ("predicate/expires", "2026-02-30T20:00:00Z"),
    "a time with fractions": ("predicate/expires", "2026-11-29T20:00:00.5Z"),
    "a date": ("predicate/expires", "2026-11-29"),
    "requires twice": ("predicate/requires", ["merged", "merged"]),
    "requires no text": ("predicate/requires", [1]),
    "too many of requires": ("predicate/requires", [f"{n}" for n in range(33)]),
}


@pytest.mark.parametrize(("place", "value"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_statement(place: str, value: Any) -> None:
    with pytest.raises(BundleRefused, match=r"^parse_statement: ") as refused:
        parse_statement(changed(place, value))
    assert refused.value.slug == "format"


def test_files_in_another_order_or_of_another_name() -> None:
    statement = json.loads(format_statement(STATEMENT))
    for subject in (statement["subject"][::-1], statement["subject"] * 2, [statement["subject"][0]] * 2, [1, 2]):
        with pytest.raises(BundleRefused, match="subject must have exactly the files") as refused:
            parse_statement(json.dumps({**statement, "subject": subject}).encode())
        assert refused.value.slug == "format"


@pytest.mark.parametrize("data", [b"", b"[]", b'{"a": 1, "a": 2}', b"\xff"])
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(BundleRefused) as refused:
        parse_statement(data)
    assert refused.value.slug == "format"


def test_what_is_not_known_is_named() -> None:
    with pytest.raises(BundleRefused, match="got 'integers': update lieref on the device") as refused:
        parse_statement(changed("predicate/requires", ["merged", "integers"]))
    assert refused.value.slug == "requires"


def test_nothing_is_written_that_is_not_read() -> None:
    with pytest.raises(BundleRefused):
        format_statement(replace(STATEMENT, version=""))
    with pytest.raises(BundleRefused):
        format_statement(replace(STATEMENT, min_counter=8))


def test_times() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    assert format_time(datetime(2027, 1, 1, 5, 29, 59, tzinfo=zone)) == "2026-12-31T23:59:59Z"
    assert parse_time("0999-01-01T00:00:00Z") == datetime(999, 1, 1, tzinfo=UTC)
    for text in ("2026-11-29T20:00:00", "2026-11-29 20:00:00Z", "2026-11-29T20:00:00+00:00", "2026-W48-7T20:00:00Z"):
        with pytest.raises(ValueError, match="parse_time: `text` must be RFC 3339"):
            parse_time(text)
