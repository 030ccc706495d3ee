"""A quantised file and updates of it, laid out by hand, so that what applies them is checked and not used.

The file is none that a runtime would take: what is between its mark and its numbers means nothing, for a device looks
at byte places alone.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import numpy as np

SCALE_AT, UNIT_AT, BIAS_AT, WEIGHT_AT, BYTES = 16, 32, 48, 64, 96
CHANNELS = 3
INPUT_SCALE = 0.125
RATIO = np.float32(1.01)


def quantised_file(seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    made = bytearray(rng.integers(0, 256, BYTES, np.uint8).tobytes())
    made[4:8] = b"TFL3"
    scales = rng.uniform(0.01, 0.02, CHANNELS).astype("<f4")
    made[SCALE_AT : SCALE_AT + 12] = scales.tobytes()
    made[UNIT_AT : UNIT_AT + 12] = (np.float32(INPUT_SCALE) * scales).astype("<f4").tobytes()
    made[BIAS_AT : BIAS_AT + 12] = rng.integers(-99, 99, CHANNELS).astype("<i4").tobytes()
    return bytes(made)


def update_payload(seed: int = 0) -> bytes:
    """The ratio and one code for each channel."""
    codes = np.random.default_rng(100 + seed).integers(-127, 128, CHANNELS).astype(np.int8)
    return RATIO.astype("<f4").tobytes() + codes.tobytes()


def updated_file(base: bytes, payload: bytes) -> bytes:
    """What the payload makes of a file, one number after another."""
    made = bytearray(base)
    ratio = float(np.frombuffer(payload, "<f4", 1)[0])
    for channel, code in enumerate(np.frombuffer(payload, "i1", offset=4)):
        factor = 1.0
        for _ in range(abs(int(code))):
            factor *= ratio
        at = 4 * channel
        old = float(np.frombuffer(base, "<f4", 1, SCALE_AT + at)[0])
        new = np.float32(old * (factor if code >= 0 else 1 / factor))
        made[SCALE_AT + at : SCALE_AT + at + 4] = new.astype("<f4").tobytes()
        made[UNIT_AT + at : UNIT_AT + at + 4] = (np.float32(INPUT_SCALE) * new).astype("<f4").tobytes()
    return bytes(made)


def update_text(base: bytes, payload: bytes, **fields: Any) -> dict[str, Any]:
    bits = int(np.array([INPUT_SCALE], "<f4").view("<u4")[0])
    return {
        "format": "lieref-integer-update-1",
        "method": "tied-scale",
        "base_sha256": sha256(base).hexdigest(),
        "base_bytes": len(base),
        "result_sha256": sha256(updated_file(base, payload)).hexdigest(),
        "bias_rule": "stay",
        "encoding": "codes",
        "layers": [[0, CHANNELS, 0, 0]],
        "weight_differences": 0,
        "payload_bytes": len(payload),
        "payload_sha256": sha256(payload).hexdigest(),
        "places": [[SCALE_AT, UNIT_AT, CHANNELS, bits]],
        **fields,
    }


def update_files(base: bytes, seed: int = 0, **fields: Any) -> dict[str, bytes]:
    payload = update_payload(seed)
    text = json.dumps(update_text(base, payload, **fields)).encode()
    return {"integer_update.bin": payload, "integer_update.json": text}
