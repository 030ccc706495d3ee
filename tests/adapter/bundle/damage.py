"""What a device must say of a damaged envelope, told from the damage and not by the code under test."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any


def expected(data: bytes, right: dict[str, Any]) -> str:
    """Return what is wrong with an envelope, found by comparison with the right one."""
    try:
        value = json.loads(data.decode())
    except ValueError:
        return "format"
    if not isinstance(value, dict) or list(value) != list(right) or value["payloadType"] != right["payloadType"]:
        return "format"
    (row,) = value["signatures"]
    if list(row) != ["keyid", "sig"]:
        return "format"
    for text in (value["payload"], row["sig"]):
        try:
            if b64encode(b64decode(text, validate=True)).decode() != text:
                return "format"
        except ValueError:
            return "format"
    return "unknown-key" if row["keyid"] != right["signatures"][0]["keyid"] else "signature"
