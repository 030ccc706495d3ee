"""The tensor file against the safetensors library, and against every way of damaging one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors import SafetensorError

from lieref._types import Array
from lieref.adapter import read_tensor_file, write_tensor_file
from lieref.adapter.tensor_file import DTYPES, MAX_HEADER_BYTES, decode_tensors, encode_tensors
from lieref.errors import DomainError, DTypeError, FormatError

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda n: n != "__metadata__")
ARRAYS = st.sampled_from(list(DTYPES.values())).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
TENSORS = st.dictionaries(NAMES, ARRAYS, max_size=5)


def packed(header: str | dict[str, object], body: bytes = b"") -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype: str = "U8", shape: tuple[int, ...] = (2,), span: tuple[int, int] = (0, 2)) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(span)}


def assert_same(got: dict[str, Array], want: dict[str, Array]) -> None:
    assert set(got) == set(want)
    for name in want:
        assert got[name].dtype == want[name].dtype.newbyteorder("=")
        assert got[name].shape == want[name].shape
        assert got[name].tobytes() == want[name].astype(got[name].dtype).tobytes()


@given(TENSORS)
def test_bytes_are_those_of_the_library(tensors: dict[str, Array]) -> None:
    assert encode_tensors(tensors) == safetensors.numpy.save(tensors)


def test_metadata_is_written_as_the_library_writes_it() -> None:
    tensors = {"a": np.arange(3.0, dtype=np.float32)}
    assert encode_tensors(tensors, {"format": "pt"}) == safetensors.numpy.save(tensors, {"format": "pt"})


@given(TENSORS)
def test_reads_what_the_library_writes(tensors: dict[str, Array]) -> None:
    got, metadata = decode_tensors(safetensors.numpy.save(tensors))
    assert_same(got, tensors)
    assert metadata == {}


def test_file_round_trip_and_library_reads_it(tmp_path: Path, rng: np.random.Generator) -> None:
    tensors = {"b/w": rng.normal(size=(2, 3)), "a": rng.normal(size=(4,)).astype(np.float32)}
    write_tensor_file(tmp_path / "t.safetensors", tensors, {"k": "v"})
    got, metadata = read_tensor_file(tmp_path / "t.safetensors")
    assert_same(got, tensors)
    assert metadata == {"k": "v"}
    assert_same(safetensors.numpy.load_file(tmp_path / "t.safetensors"), tensors)


def test_big_endian_and_strided_arrays_are_stored_little_endian_and_row_major() -> None:
    big = np.arange(6, dtype=">f4").reshape(2, 3).T
    data = encode_tensors({"x": big})
    assert data.endswith(np.array([0, 3, 1, 4, 2, 5], dtype="<f4").tobytes())
    np.testing.assert_array_equal(decode_tensors(data)[0]["x"], big)


def test_read_arrays_are_writable() -> None:
    read = decode_tensors(encode_tensors({"x": np.zeros(2)}))[0]["x"]
    read[0] = 1.0
    np.testing.assert_array_equal(read, [1.0, 0.0])


REFUSED = {
    "empty": b"",
    "shorter than its length field": b"\0" * 7,
    "header longer than the file": (100).to_bytes(8, "little") + b"{}",
    "oversized header": (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b"{}",
    "length of 2**64 - 1": b"\xff" * 8 + b"{}",
    "no brace": packed(" {}"),
    "not JSON": packed("{"),
    "not UTF-8": (9).to_bytes(8, "little") + b'{"\xff": 1}',
    "unpaired surrogate": packed('{"\\ud800": {"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
    "not an object": packed("[]"),
    "nested too deeply": packed('{"a":' * 100_000),
    "number of 5000 digits": packed('{"a": %s}' % ("1" * 5000)),
    "duplicate tensor": packed('{"a":%s,"a":%s}' % ((json.dumps(entry()),) * 2), b"ab"),
    "duplicate field": packed('{"a":{"dtype":"U8","dtype":"U8","shape":[2],"data_offsets":[0,2]}}', b"ab"),
    "metadata not strings": packed({"__metadata__": {"a": 1}}),
    "metadata a list": packed({"__metadata__": []}),
    "entry not an object": packed({"a": 1}),
    "missing field": packed({"a": {"dtype": "U8", "shape": [2]}}, b"ab"),
    "unknown field": packed({"a": {**entry(), "z": 1}}, b"ab"),
    "unknown dtype": packed({"a": entry("F7")}, b"ab"),
    "bfloat16": packed({"a": entry("BF16", (1,))}, b"ab"),
    "dtype a list": packed({"a": {**entry(), "dtype": []}}, b"ab"),
    "shape a float": packed({"a": {**entry(), "shape": [2.0]}}, b"ab"),
    "shape a boolean": packed({"a": entry(shape=(True, 2))}, b"ab"),
    "negative shape": packed({"a": entry(shape=(-1, -2))}, b"ab"),
    "negative offset": packed({"a": entry(span=(-2, 0))}, b""),
    "three offsets": packed({"a": {**entry(), "data_offsets": [0, 2, 2]}}, b"ab"),
    "backward offsets": packed({"a": entry(span=(2, 0))}, b"ab"),
    "shape does not fit offsets": packed({"a": entry(shape=(3,))}, b"ab"),
    "shape overflows 64 bits": packed({"a": entry(shape=(2**63, 2))}, b"ab"),
    "empty tensor of impossible shape": packed({"a": entry(shape=(0, 2**63), span=(0, 0))}),
    "hole at the start": packed({"a": entry(span=(1, 3))}, b"abc"),
    "hole between": packed({"a": entry(), "b": entry(span=(3, 5))}, b"abcde"),
    "overlap": packed({"a": entry(), "b": entry(span=(1, 3))}, b"abc"),
    "same bytes twice": packed({"a": entry(), "b": entry()}, b"ab"),
    "body too short": packed({"a": entry()}, b"a"),
    "trailing bytes": packed({"a": entry()}, b"abc"),
    "boolean of 2": packed({"a": entry("BOOL")}, b"\1\2"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=list(REFUSED))
def test_damaged_file_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="must"):
        decode_tensors(data)


def test_every_truncation_is_refused(rng: np.random.Generator) -> None:
    data = encode_tensors({"a": rng.normal(size=3), "b": np.zeros((2, 0))})
    for length in range(len(data)):
        with pytest.raises(FormatError):
            decode_tensors(data[:length])


@given(st.data())
def test_edited_file_is_refused_or_read_as_the_library_reads_it(data: st.DataObject) -> None:
    """No other exception escapes, and whatever is accepted is what the library makes of the same bytes."""
    raw = bytearray(encode_tensors({"a": np.arange(3, dtype=np.int16), "b": np.ones((2, 2), dtype=np.float32)}))
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), min_size=1, max_size=4)
    ):
        raw[position] = value
    try:
        got, _ = decode_tensors(bytes(raw))
    except FormatError:
        return
    try:
        want = safetensors.numpy.load(bytes(raw))
    except (SafetensorError, KeyError, TypeError) as error:
        raise AssertionError("accepted what the library refuses") from error
    assert_same(got, want)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_when_asked(value: float) -> None:
    data = encode_tensors({"a": np.array([0.0, value])})
    assert not np.isfinite(decode_tensors(data)[0]["a"]).all()
    with pytest.raises(DomainError, match="`a` in `data` must be finite"):
        decode_tensors(data, finite=True)


@pytest.mark.parametrize("array", [np.zeros(2, complex), np.array(["a"]), np.array([None])], ids=lambda a: str(a.dtype))
def test_other_element_types_are_refused(array: Array) -> None:
    with pytest.raises(DTypeError, match="must be boolean, integer or float"):
        encode_tensors({"a": array})


@pytest.mark.parametrize("name", ["", "__metadata__", "\ud800", 3])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(DomainError, match="must"):
        encode_tensors({name: np.zeros(1)})


def test_equal_metadata_give_equal_bytes_in_any_order() -> None:
    tensors = {"a": np.arange(3.0)}
    one, other = ({"b": "1", "a": "2", "c": "3"}, {"c": "3", "a": "2", "b": "1"})
    assert encode_tensors(tensors, one) == encode_tensors(tensors, other)


@pytest.mark.parametrize("byte", range(8))
def test_every_byte_of_the_length_counts(byte: int) -> None:
    data = bytearray(encode_tensors({"a": np.arange(3.0)}))
    data[byte] ^= 0x80
    with pytest.raises(FormatError, match="header"):
        decode_tensors(bytes(data))
