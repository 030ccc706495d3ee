"""Times of statements and root files: one form, and one error for every other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.bundle.statement import format_time, parse_statement, parse_time
from lieref.adapter.bundle.trust import parse_root
from tests.adapter.bundle.bundles import Bundle, root_file, root_payload

WRONG = [
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-11-29T20:00:00+00:00", "2026-11-29T20:00:00",
    "2026-11-29 20:00:00Z", "2026-11-29T20:00:00.5Z", "20261129T200000Z", "2026-W48-7T20:00:00Z",
    "2026-02-29T00:00:00Z", "2026-11-29T24:00:00Z", "2026-11-29T20:00:00z", "", "\u0661026-11-29T20:00:00Z", 5, {}, [],
]  # fmt: skip


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "2024-02-29T23:59:59Z", "9999-12-31T23:59:59Z"])
def test_the_one_form_is_read_and_written(text: str) -> None:
    assert format_time(parse_time(text)) == text


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_every_other_form_is_refused(value: Any) -> None:
    """Also in a root file whose signatures nobody has checked yet."""
    with pytest.raises(BundleRefused) as refusal:
        parse_root(root_file({**root_payload(), "expires": value}))
    assert refusal.value.slug == "root"
    for name in ("issued", "expires"):
        statement = Bundle(fields={name: value}).statement(Bundle().files())
        with pytest.raises(BundleRefused) as refusal:
            parse_statement(json.dumps(statement).encode())
        assert refusal.value.slug == "format"
