"""Damaged .tflite files: what the reader does with each, and that what it still accepts runs."""

from __future__ import annotations

import struct
import warnings
from typing import Any

import numpy as np

from lieref.errors import LierefError
from lieref.model.integer.executor import run_all
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.tflite_reader import read_tflite
from lieref.model.integer.tflite_rules import PastTheEdgeWarning
from lieref.op.integer.semantics import SEMANTICS
from validation.integer.random_layer import KINDS

Rng = np.random.Generator
_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1)
_FLOATS = (0.0, -1.0, float("nan"), float("inf"), 1e-45, 1e-38, 1e38, 2.0**30, 2.0**-126)
_MOST = 1 << 16
"""Entries of a tensor that is still run."""


def seeds(count: int = 3) -> list[bytes]:
    """Return whole files, some of every kind and type."""
    return [
        KINDS[kind](np.random.default_rng((index, 77)), dtype).content
        for kind in KINDS
        for dtype in ("int8", "uint8", "int16")
        for index in range(count)
    ]


def damage(content: bytes, rng: Rng) -> bytes:
    """Return a file with one to four changes: numbers, bits, bytes moved, cut or put in."""
    data = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        if len(data) < 8:
            break
        at, kind = int(rng.integers(0, len(data) - 4)), int(rng.integers(0, 8))
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[at] = int(rng.integers(0, 256))
        elif kind in (2, 3):
            struct.pack_into("<I", data, at & ~3, int(rng.choice(_NUMBERS)))
        elif kind == 4:
            struct.pack_into("<f", data, at & ~3, float(rng.choice(_FLOATS)))
        elif kind == 5:
            old = struct.unpack_from("<I", data, at & ~3)[0]
            struct.pack_into("<I", data, at & ~3, (old + int(rng.integers(-8, 9))) % 2**32)
        elif kind == 6:
            to = int(rng.integers(0, len(data) - 4))
            data[at : at + 4] = data[to : to + 4]
        else:
            del data[at : len(data) if rng.random() < 0.3 else at + int(rng.integers(1, 9))]
    return bytes(data)


def outcome(content: bytes, rng: Rng) -> str:
    """Return "refused", "read" or "run"; any other exception, and any warning, is the caller's to see."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", PastTheEdgeWarning)  # it says what is computed there
        try:
            graph = read_tflite(content)
        except LierefError:
            return "refused"
        if any(int(np.prod([n or 1 for n in t.shape])) > _MOST for t in graph.tensors.values()):
            return "read"
        run_all(graph, _inputs(graph, rng), str(rng.choice(list(SEMANTICS)[:4])))
        return "run"


def _inputs(graph: IntegerGraph, rng: Rng) -> dict[str, Any]:
    fed = {}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        low, high = tensor.limits
        fed[name] = rng.integers(low, high + 1, [n or 1 for n in tensor.shape]).astype(tensor.dtype)
    return fed
