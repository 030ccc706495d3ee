"""Constant tensors of a network's file, read without onnx: what onnx reads, or one clear refusal."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from lieref._wire import packed_varints
from lieref.adapter.tensor_file import encode_tensors
from lieref.adapter.weights import DTYPES, decode_weights, read_weights, weights_digest
from lieref.errors import FormatError, LierefError, UnsupportedError
from tests.model.nets import residual_net

FIELD = {
    TensorProto.FLOAT: "float_data", TensorProto.DOUBLE: "double_data", TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data", TensorProto.UINT64: "uint64_data",
}  # fmt: skip
"""Where onnx keeps numbers that are not raw; all others are in int32_data."""


def model_of(*tensors: Any, nodes: Any = ()) -> bytes:
    nodes = nodes or [helper.make_node("Identity", ["x"], ["y"])]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([*nodes], "g", info[:1], info[1:], initializer=[*tensors])
    return bytes(helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize("number", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 1), (300,)])
def test_every_type_in_raw_and_in_typed_fields(number: int, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    dtype = DTYPES[number]
    info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype) if dtype.kind in "iu" else None
    drawn = rng.integers(0, 2, shape) if info is None else rng.uniform(float(info.min) / 2, float(info.max) / 2, shape)
    array = np.asarray(drawn).astype(dtype)
    if info is not None and array.size > 2:
        array.flat[:2] = info.min, info.max
    raw = numpy_helper.from_array(array, "w")
    typed = TensorProto(name="w", data_type=number, dims=shape)
    values = array.view(np.uint16) if dtype == np.float16 else array.astype(int) if dtype.kind == "b" else array
    getattr(typed, FIELD.get(number, "int32_data")).extend([value.item() for value in values.flat])
    for tensor in (raw, typed):
        (found,) = decode_weights(model_of(tensor), "m.onnx").values()
        assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
        assert found.dtype.isnative
        assert not found.flags.writeable


def test_it_reads_what_onnx_reads_of_networks(tmp_path: Path) -> None:
    proto = residual_net()
    path = tmp_path / "net.onnx"
    onnx.save(proto, path)
    found = read_weights(path)
    expected = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    assert set(found) == set(expected)
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)


def test_constants_and_sub_graphs_have_names() -> None:
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value_floats=[1.5, 2.5])], "b", [],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [2])],
        initializer=[numpy_helper.from_array(np.ones(3), "w")],
    )  # fmt: skip
    nodes = [
        helper.make_node("Constant", [], ["a"], value=numpy_helper.from_array(np.arange(4.0, dtype=np.float32))),
        helper.make_node("Constant", [], ["i"], value_int=-7),
        helper.make_node("Constant", [], ["n"], value_ints=[1, -2, 3]),
        helper.make_node("Constant", [], ["f"], value_float=0.25),
        helper.make_node("Constant", [], ["s"], value_string="text"),
        helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner),
    ]
    strings = helper.make_tensor("names", TensorProto.STRING, [1], [b"cat"])
    found = decode_weights(model_of(strings, nodes=nodes), "m.onnx")
    assert set(found) == {
        "a",
        "i",
        "n",
        "f",
        "5.then_branch/c",
        "5.then_branch/w",
        "5.else_branch/c",
        "5.else_branch/w",
    }
    assert found["a"].tolist() == [0, 1, 2, 3]
    assert (found["i"].shape, found["i"].item(), found["n"].tolist()) == ((), -7, [1, -2, 3])
    assert (found["f"].dtype, found["f"].shape, found["f"].item()) == (np.float32, (), 0.25)
    assert found["5.then_branch/c"].tolist() == [1.5, 2.5]


def test_safetensors_are_read(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(encode_tensors({"a": np.arange(3.0)}))
    assert read_weights(tmp_path / "w.safetensors")["a"].tolist() == [0, 1, 2]


def test_digest_is_of_the_weights_alone(tmp_path: Path) -> None:
    proto = residual_net()
    before = weights_digest(decode_weights(proto.SerializeToString(), "a"))
    proto.producer_name, proto.graph.name, proto.doc_string = "another", "other", "words"
    proto.metadata_props.add(key="k", value="v")
    for node in proto.graph.node:
        node.name = f"{node.name}_renamed"
    first = proto.graph.initializer[0]
    again = decode_weights(proto.SerializeToString(), "a")
    assert weights_digest(again) == before
    assert weights_digest(dict(reversed(again.items()))) == before
    raw = bytearray(first.raw_data)
    raw[0] ^= 1
    first.raw_data = bytes(raw)
    assert weights_digest(decode_weights(proto.SerializeToString(), "a")) != before


def test_no_two_sets_have_one_digest() -> None:
    zero = np.zeros(2, np.float32)
    sets: list[dict[str, Any]] = [
        {}, {"a": zero}, {"b": zero}, {"a": zero, "b": zero}, {"a": np.zeros((1, 2), np.float32)},
        {"a": np.zeros(1, np.float64)}, {"a": np.zeros(2, np.int32)}, {"a": -zero}, {"a": zero[:1], "b": zero[:1]},
        {"a": np.zeros(0, np.float32)}, {"a": np.zeros((0, 3), np.float32)}, {"a": np.zeros((3, 0), np.float32)},
    ]  # fmt: skip
    assert len({weights_digest(each) for each in sets}) == len(sets)
    assert weights_digest({"a": zero.astype(">f4")}) == weights_digest({"a": zero})


def tensor(**changes: Any) -> Any:
    made = numpy_helper.from_array(np.ones((2, 3), np.float32), "w")
    for name, value in changes.items():
        if isinstance(value, list):
            del getattr(made, name)[:]
            getattr(made, name).extend(value)
        else:
            setattr(made, name, value)
    return made


def external() -> Any:
    made = tensor(data_location=TensorProto.EXTERNAL)
    made.external_data.add(key="location", value="../secret")
    return made


def hidden() -> Any:
    made = tensor()
    made.external_data.add(key="location", value="../secret")
    return made


REFUSED: list[tuple[bytes, type[LierefError], str]] = [
    (b"", FormatError, "one graph; got 0"),
    (b"not onnx at all", FormatError, "must be an ONNX file"),
    (model_of() + model_of(), FormatError, "one graph; got 2"),
    (model_of(tensor(), tensor()), FormatError, "'w' twice"),
    (model_of(external()), FormatError, "save the network as one file"),
    (model_of(hidden()), FormatError, "save the network as one file"),
    (model_of(tensor(dims=[2, 4])), FormatError, "must hold 8 numbers; got 6"),
    (model_of(tensor(dims=[-1, -6])), FormatError, "extents from 0"),
    (model_of(tensor(dims=[2**62, 2**62])), FormatError, "extents from 0"),
    (model_of(tensor(dims=[1] * 65)), FormatError, "64"),
    (model_of(tensor(raw_data=b"123")), FormatError, "numbers of 4 bytes"),
    (model_of(tensor(float_data=[1.0])), FormatError, "its numbers once"),
    (model_of(tensor(data_type=TensorProto.BFLOAT16)), UnsupportedError, "type 16"),
    (model_of(tensor(data_type=99)), UnsupportedError, "type 99"),
    (model_of(TensorProto(name="w", dims=[1], data_type=2, int32_data=[256])), FormatError, "numbers of uint8"),
    (model_of(TensorProto(name="w", dims=[1], data_type=3, int32_data=[-129])), FormatError, "numbers of int8"),
    (model_of(TensorProto(name="w", dims=[1], data_type=10, int32_data=[65536])), FormatError, "of float16"),
    (model_of(TensorProto(name="w", dims=[1], data_type=9, int32_data=[2])), FormatError, "bool"),
    (model_of(TensorProto(name="w", dims=[1], data_type=9, raw_data=b"\2")), FormatError, "0 or 1"),
    (model_of(TensorProto(name="w", dims=[1], data_type=1, int64_data=[1])), FormatError, "int64_data"),
    (model_of(TensorProto(name="w", dims=[2], data_type=7, int64_data=[1, 2, 3])), FormatError, "no 2 varints"),
    (model_of(tensor())[:-10], FormatError, "truncated"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "kind", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_plain_file_is_refused(data: bytes, kind: type[LierefError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        decode_weights(data, "m.onnx")
    assert len(str(caught.value)) < 300


def test_functions_and_sparse_tensors_are_refused() -> None:
    proto = residual_net()
    proto.functions.add(name="f", domain="d")
    with pytest.raises(UnsupportedError, match="functions"):
        decode_weights(proto.SerializeToString(), "m")
    proto = residual_net()
    proto.graph.sparse_initializer.add()
    with pytest.raises(UnsupportedError, match="sparse"):
        decode_weights(proto.SerializeToString(), "m")
    proto = residual_net()
    values = numpy_helper.from_array(np.ones(1, np.float32), "v")
    places = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    sparse = helper.make_sparse_tensor(values, places, [3])
    proto.graph.node.append(helper.make_node("Constant", [], ["c"], sparse_value=sparse))
    with pytest.raises(UnsupportedError, match="sparse"):
        decode_weights(proto.SerializeToString(), "m")


def test_a_constant_says_its_tensor_once() -> None:
    """Protobuf puts two together, so that a runtime would see another tensor than either."""
    tensor = numpy_helper.from_array(np.ones(2, np.float32))
    node = helper.make_node("Constant", [], ["c"], value=tensor)
    attribute = node.attribute[0].SerializeToString()
    graph = helper.make_graph([node], "g", [], [])
    whole = helper.make_model(graph).SerializeToString()
    assert set(decode_weights(whole, "m")) == {"c"}
    (field,) = (bytes([5 << 3 | 2, len(data)]) + data for data in [tensor.SerializeToString()])
    twice = attribute + field
    node_bytes = node.SerializeToString().replace(
        bytes([5 << 3 | 2, len(attribute)]) + attribute, bytes([5 << 3 | 2, len(twice)]) + twice
    )
    inner = bytes([1 << 3 | 2, len(node_bytes)]) + node_bytes
    with pytest.raises(FormatError, match="the tensor of a constant once"):
        decode_weights(bytes([7 << 3 | 2, len(inner)]) + inner, "m")


def test_graphs_nested_too_deeply_are_refused() -> None:
    graph = helper.make_graph([], "g", [], [])
    for _ in range(20):
        node = helper.make_node("If", ["c"], ["y"])
        node.attribute.append(helper.make_attribute("then_branch", graph))
        graph = helper.make_graph([node], "g", [], [])
    with pytest.raises(FormatError, match="nest at most"):
        decode_weights(helper.make_model(graph).SerializeToString(), "m")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="must be a file"):
        read_weights(tmp_path / "none.onnx")


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 255))
def test_damaged_files_are_read_or_refused(junk: bytes, at: int, byte: int) -> None:
    whole = bytearray(model_of(tensor(), TensorProto(name="v", dims=[2], data_type=7, int64_data=[1, -1])))
    whole[at % len(whole)] = byte
    for data in (junk, bytes(whole), bytes(whole[: at % len(whole)])):
        with suppress(LierefError):
            assert isinstance(decode_weights(data, "m.onnx"), dict)


def test_raw_tensors_take_no_memory_of_their_own() -> None:
    data = model_of(numpy_helper.from_array(np.zeros(2**20, np.float32), "w"))
    tracemalloc.start()
    found = decode_weights(data, "m.onnx")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["w"].nbytes == 2**22
    assert peak < 2**18


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40))
def test_varints(values: list[int]) -> None:
    data = b""
    for value in values:
        left = value
        while left > 127:
            data, left = data + bytes([left % 128 + 128]), left // 128
        data += bytes([left])
    assert packed_varints(memoryview(data), 40, "w").tolist() == values
    if values:
        with pytest.raises(FormatError):
            packed_varints(memoryview(data), len(values) - 1, "w")
        with pytest.raises(FormatError):
            packed_varints(memoryview(data[:-1] + b"\x80"), 40, "w")


@pytest.mark.parametrize("data", [b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\x00"])
def test_varints_of_more_than_64_bits_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError, match="64 bits"):
        packed_varints(memoryview(data), 3, "w")
