"""The self-test of an update of a quantised file: inputs, and the integers that must come out, in named semantics.

    {"semantics": "tflite-reference",
     "input": {"shape": [1, 32, 32, 3], "dtype": "int8", "seeds": [3, 7], "real": null},
     "output": {"size": 10, "values": [[...], [...]], "real": null}}

Inputs are drawn, a seed each (`drawn`), or given, as base64 in the place of seeds. ``values`` are integers of the
output, at `places` of it where it has more than `MOST_ENTRIES`. Where the file takes or returns real numbers that it
quantises itself, ``real`` is the scale and the zero point of the integers, which are meant here too. Kernels of one
file differ in what they round: an output that differs may be right in other semantics, and the file is not the one that
was tested. Needs NumPy alone.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from collections.abc import Mapping, Sequence
from math import isfinite, prod
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.adapter.fields import is_list, is_size, is_text, shown
from lieref.errors import FormatError, VerificationError

MOST_ENTRIES = 64
"""So many integers of each output are compared."""
MOST_INPUT = 2**20
"""Cap on the bytes of one input."""
MOST_SAMPLES = 8
DTYPES = ("int8", "uint8", "int16", "uint16")


def drawn(seed: int, shape: Sequence[int], dtype: str) -> Array:
    """Return the input of a seed: the bytes of SHAKE-128 of ``lieref self-test SEED``, little-endian, as integers."""
    kind = np.dtype(dtype).newbyteorder("<")
    raw = hashlib.shake_128(b"lieref self-test %d" % seed).digest(prod(shape) * kind.itemsize)
    return np.frombuffer(raw, kind).astype(dtype).reshape(tuple(shape))


def places(size: int) -> Array:
    """Return the positions in a flat output of `size` numbers that are compared: evenly spaced, all if few."""
    count = min(size, MOST_ENTRIES)
    return np.arange(count, dtype=np.int64) * size // max(count, 1)


def check_form(test: Any) -> None:
    """Raise `FormatError` unless this is a self-test."""
    whole = (
        _has(test, {"semantics": is_text, "input": _is_object, "output": _is_object})
        and (_has(test["input"], _DRAWN) or _has(test["input"], _GIVEN))
        and _has(test["output"], _OUTPUT)
    )
    if not whole:
        raise FormatError(f"self_test: the self-test of an update must have its fields; got {shown(test)}")
    given = test["input"].get("seeds") or test["input"].get("samples")
    if prod(test["input"]["shape"]) * 2 > MOST_INPUT or len(test["output"]["values"]) != len(given):
        raise FormatError("self_test: inputs must be small, and outputs as many as inputs")
    if any(len(row) != min(test["output"]["size"], MOST_ENTRIES) for row in test["output"]["values"]):
        raise FormatError(f"self_test: every output must have {MOST_ENTRIES} integers, or as many as there are")


def self_test_integers(test: Mapping[str, Any]) -> list[Array]:
    """Return the inputs as integers, one sample each, in the file's layout.

    Raises
    ------
    FormatError
        If they are not what the self-test says.
    """
    check_form(test)
    said = test["input"]
    shape, dtype = said["shape"], said["dtype"]
    if "seeds" in said:
        return [drawn(seed, shape, dtype) for seed in said["seeds"]]
    found = []
    for text in said["samples"]:
        try:
            raw = b64decode(text, validate=True)
        except ValueError as error:
            raise FormatError(f"self_test: samples must be base64; {error}") from None
        if len(raw) != prod(shape) * np.dtype(dtype).itemsize:
            raise FormatError(f"self_test: a sample must have {prod(shape)} integers; got {len(raw)} bytes")
        found.append(np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).astype(dtype).reshape(shape))
    return found


def self_test_inputs(test: Mapping[str, Any]) -> list[Array]:
    """Return the inputs as the file takes them: integers, or the float32 numbers that they stand for."""
    real = test["input"]["real"]
    samples = self_test_integers(test)
    if real is None:
        return samples
    return [np.float32(real[0]) * (sample.astype(np.int64) - real[1]).astype(np.float32) for sample in samples]


def check_self_test(test: Mapping[str, Any], outputs: Sequence[Array]) -> int:
    """Return how many integers are equal: all that are compared, for else it raises.

    Parameters
    ----------
    test : mapping
        Of a bundle.
    outputs : sequence of array
        What the file with the update gives for each of `self_test_inputs`: integers, or real numbers where ``real`` of
        the output says so.

    Raises
    ------
    FormatError
        If it is no self-test.
    VerificationError
        If an output is missing, of another size, not finite, or another integer.
    """
    check_form(test)
    said, equal = test["output"], 0
    if len(outputs) != len(said["values"]):
        raise VerificationError(f"check_self_test: `outputs` must be {len(said['values'])}; got {len(outputs)}")
    for number, (given, values) in enumerate(zip(outputs, said["values"], strict=True)):
        output = np.asarray(given)
        if output.size != said["size"] or (output.dtype.kind not in "iu") != (said["real"] is not None):
            raise VerificationError(
                f"check_self_test: output {number} must have {said['size']} "
                f"{'integers' if said['real'] is None else 'real numbers'}; got {output.size} of {output.dtype}"
            )
        at = places(output.size)
        found = _integers(output.reshape(-1)[at], said["real"])
        off = np.abs(found - np.array(values, np.int64))
        if off.any():
            first = int(np.flatnonzero(off)[0])
            raise VerificationError(
                f"check_self_test: output {number} must be {values[first]} at place {int(at[first])}, as "
                f"{test['semantics']} rounds; got {found[first]}; {np.count_nonzero(off)} of {len(at)} differ, by at "
                f"most {off.max()}: another file, or kernels that round otherwise"
            )
        equal += len(at)
    return equal


def _integers(values: Array, real: list[Any] | None) -> Array:
    if real is None:
        return values.astype(np.int64)
    if not np.isfinite(values).all():
        raise VerificationError("check_self_test: outputs must be finite; got one that is not")
    whole: Array = np.rint(values.astype(np.float64) / real[0]).astype(np.int64)
    return whole + int(real[1])


def _has(value: Any, fields: Mapping[str, Any]) -> bool:
    return (
        isinstance(value, dict) and set(value) == set(fields) and all(test(value[key]) for key, test in fields.items())
    )


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_integer(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**31


def _is_real(value: Any) -> bool:
    return value is None or (
        isinstance(value, list) and len(value) == 2 and isinstance(value[0], float) and isfinite(value[0])
        and value[0] > 0 and _is_integer(value[1])
    )  # fmt: skip


_ENDS = {
    "shape": lambda value: is_list(value, is_size, 8) and len(value) > 0 and prod(value) > 0,
    "dtype": lambda value: is_text(value) and value in DTYPES,
    "real": _is_real,
}
_DRAWN = {**_ENDS, "seeds": lambda value: is_list(value, is_size, MOST_SAMPLES) and len(value) > 0}
_GIVEN = {**_ENDS, "samples": lambda value: is_list(value, is_text, MOST_SAMPLES) and len(value) > 0}
_OUTPUT = {
    "size": is_size,
    "values": lambda value: is_list(value, lambda row: is_list(row, _is_integer, MOST_ENTRIES), MOST_SAMPLES),
    "real": _is_real,
}
