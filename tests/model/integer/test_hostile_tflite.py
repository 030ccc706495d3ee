""".tflite files that ask for too much, or whose parts lie in one another: refused in one sentence, before they run."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.adapter.integer.model import IntegerModel
from lieref.errors import DomainError, FormatError, UnsupportedError
from lieref.model.integer.executor import run
from lieref.model.integer.flatbuffer import Bytes
from lieref.model.integer.patch import patch
from lieref.model.integer.tflite_reader import load_tflite, read_tflite
from lieref.model.integer.tflite_rules import PastTheEdgeWarning
from validation.integer.tflite_file import Operator, Tensor, build

pytest.importorskip("tflite")


def chain(kind: str, *tensors: Tensor, options: tuple[str, dict[int, Any]] = ("", {})) -> bytes:
    """A file with one operator, whose last tensor is its output."""
    inputs = tuple(range(len(tensors) - 1))
    return build(list(tensors), [Operator(kind, inputs, (len(inputs),), *options)], (0,), (len(inputs),))


def whole(*shape: int, value: int = 1, dtype: str = "int8") -> Tensor:
    return Tensor(dtype, shape, 0.5 if dtype == "int8" else None, 0, 0, np.full(shape, value, dtype))


def free(*shape: int, scale: float = 0.5) -> Tensor:
    return Tensor("int8", shape, scale, 0)


def convolution(image: int, kernel: int, out: int, dilation: int = 1, padding: int = 1) -> bytes:
    options = {0: ("b", padding), 1: ("i", 1), 2: ("i", 1), 4: ("i", dilation), 5: ("i", dilation)}
    tensors = (free(1, image, image, 1), whole(1, kernel, kernel, 1), free(1, out, out, 1, scale=1024.0))
    return chain("CONV_2D", *tensors, options=("Conv2DOptions", options))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (build([free(1, 3)], [], (0,), (0,)), "computed by nodes"),
        (build([free(1, 3), whole(1, 3)], [], (0,), (1,)), "computed by nodes"),
        (convolution(8, 5, 8, dilation=1 << 16, padding=0), "border counted"),
        (convolution(1500, 700, 801), "products"),
    ],
    ids=["no operators", "a constant comes out", "border", "products"],
)
def test_what_cannot_be_computed_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        read_tflite(content)


def padded(value: int, dtype: str) -> bytes:
    sides = Tensor("int32", (2, 2), None, 0, 0, np.array([[0, 0], [1, 1]], np.int32))
    border = Tensor(dtype, (1,), 0.5 if dtype == "int8" else None, 0, 0, np.array([value], dtype))
    return chain("PADV2", free(1, 3), sides, border, free(1, 5), options=("PadV2Options", {}))


def test_a_border_is_an_integer_of_the_image() -> None:
    with pytest.raises(FormatError, match="border of PADV2 must have the type"):
        read_tflite(padded(1000, "int32"))
    x = np.array([[1, 2, 3]], np.int8)
    assert run(read_tflite(padded(-7, "int8")), x, "tflite-reference").tolist() == [[-7, 1, 2, 3, -7]]


def test_samples_of_a_fixed_batch_stay_apart() -> None:
    """A file for four samples serves any number, as long as it does not mix them."""
    weight = Tensor("int8", (2, 3), 0.25, 0, 0, np.array([[1, -2, 3], [4, 5, -6]], np.int8))
    x = np.random.default_rng(0).integers(-100, 100, (7, 3)).astype(np.int8)
    found = []
    for batch in (1, 4):
        content = build(
            [free(batch, 3), weight, free(batch, 2, scale=8.0)],
            [Operator("FULLY_CONNECTED", (0, 1, -1), (2,), "FullyConnectedOptions")], (0,), (2,),
        )  # fmt: skip
        found.append(run(read_tflite(content), x, "tflite-reference"))
    np.testing.assert_array_equal(*found)
    mixing = read_tflite(chain("RESHAPE", free(4, 3), free(2, 6)))
    with pytest.raises(UnsupportedError, match="one for 4 that it mixes: convert it with a batch of 1"):
        run(mixing, x, "tflite-reference")
    table = Tensor("int8", (4, 3), 0.5, 0, 0, np.arange(12, dtype=np.int8).reshape(4, 3))
    added = read_tflite(chain("ADD", free(4, 3), table, free(4, 3), options=("AddOptions", {})))
    with pytest.raises(UnsupportedError, match="mixes"):
        run(added, x, "tflite-reference")


def test_large_images_run_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = read_tflite(convolution(9, 3, 7))
    x = np.random.default_rng(0).integers(-100, 100, (5, 9, 9, 1)).astype(np.int8)
    whole_batch = run(graph, x, "tflite-reference")
    monkeypatch.setattr("lieref.model.integer.executor.ELEMENTS", 100)
    monkeypatch.setattr("lieref.op.integer.convolution._ENTRIES", 20)
    np.testing.assert_array_equal(run(graph, x, "tflite-reference"), whole_batch)


def dense(**fields: Any) -> bytes:
    weight = Tensor("int8", (2, 3), [0.25, 0.125], [0, 0], 0, np.array([[1, -2, 3], [4, 5, -6]], np.int8))
    bias = Tensor("int32", (2,), [0.125, 0.0625], [0, 0], 0, np.array([7, -7], np.int32))
    x, y = free(1, 3), free(1, 2, scale=1.0)
    for name, value in fields.items():
        setattr({"w": weight, "b": bias, "x": x, "y": y}[name[0]], name[2:], value)
    operators = [Operator("FULLY_CONNECTED", (0, 1, 2), (3,), "FullyConnectedOptions")]
    return build([x, weight, bias, y], operators, (0,), (3,))


def test_scales_whose_product_is_no_number_are_refused() -> None:
    with pytest.raises(FormatError, match=r"products of 2\^-126"):
        read_tflite(dense(x_scale=1e-30, w_scale=[1e-10, 1.0]))


WIDE = {"x_dtype": "int16", "b_dtype": "int64", "b_data": np.array([7, -7], np.int64), "y_dtype": "int16"}
BYTES = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"w_dtype": "uint8", "w_data": BYTES}, "must be int8 beside int8"),
        ({"y_dtype": "uint8"}, "must keep the type; got uint8 for int8"),
        ({"x_dtype": "uint8", "y_dtype": "uint8"}, "must be uint8 beside uint8"),
        ({"x_dtype": "uint8", "y_dtype": "uint8", "w_dtype": "uint8", "w_data": BYTES}, "uint8 must have one scale"),
        ({"w_zero_point": [5, 0]}, "must have zero point 0"),
        ({**WIDE, "x_zero_point": 3}, "FullyConnected of int16 must have zero point 0"),
        ({**WIDE, "y_zero_point": 3}, "FullyConnected of int16 must have zero point 0"),
    ],
)
def test_what_a_runtime_would_refuse_or_misread_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(FormatError, match=said):
        read_tflite(dense(**fields))
    assert len(read_tflite(dense(**WIDE)).nodes) == 1


def test_what_stops_a_runtime_is_refused() -> None:
    """A dense layer of one scale compares the bias's; a softmax whose factor is below 1 aborts the process."""
    with pytest.raises(FormatError, match=r"times that of its weight, 0\.125; got"):
        read_tflite(dense(w_scale=0.25, w_zero_point=0, b_scale=9.0, b_zero_point=0))
    for beta, good in ((1.0, True), (2.0**-26, False)):
        out = Tensor("int8", (1, 3), 2.0**-8, -128)
        content = chain("SOFTMAX", free(1, 3), out, options=("SoftmaxOptions", {0: ("f", beta)}))
        if good:
            assert len(read_tflite(content).nodes) == 1
            continue
        with pytest.raises(FormatError, match=r"must exceed 2\^-26"):
            read_tflite(content)


def test_a_bias_with_a_zero_point_is_refused() -> None:
    with pytest.raises(FormatError, match="bias of FullyConnected must have zero point 0"):
        read_tflite(dense(b_zero_point=[0, 3]))


def test_a_bias_that_has_one_scale_for_all_keeps_it() -> None:
    """Kernels take no notice of it; the file has no room for more."""
    graph = read_tflite(dense(b_scale=0.1, b_zero_point=0))
    model = IntegerModel(graph, "net")
    update = model.attach("scale").update()
    assert update.apply(graph) == graph.content


def test_a_network_without_weights_has_nothing_to_train() -> None:
    model = IntegerModel(read_tflite(padded(5, "int8")), "net")
    with pytest.raises(UnsupportedError, match="it has none, so that there is nothing to train"):
        model.attach("tied-scale")


def test_networks_of_several_ends_are_not_trained() -> None:
    operators = [Operator("MAXIMUM", (0, 1), (2,)), Operator("MINIMUM", (0, 1), (3,))]
    ends = [free(1, 3) for _ in range(4)]
    for inputs, outputs in (((0, 1), (2, 3)), ((0, 1), (2,))):
        graph = read_tflite(build(ends, operators[: len(outputs)], inputs, outputs))
        with pytest.raises(UnsupportedError, match=r"one input and one output to be trained.*; got t0, t1 and t2"):
            IntegerModel(graph, "net")
        with pytest.raises(UnsupportedError, match="one input and one output"):
            run(graph, np.zeros((1, 3), np.int8), "tflite-reference")


def pointing(content: bytearray, old: int, new: int) -> None:
    """Let every offset to a place lead to another one."""
    places = [i for i in range(0, old, 4) if i + struct.unpack_from("<I", content, i)[0] == old]
    for place in places:
        struct.pack_into("<I", content, place, new - place)


def test_scales_in_the_bytes_of_a_name_cannot_be_changed() -> None:
    """Offsets may lay one part of a file into another; what is changed there would change both."""
    content = bytearray(dense())
    at = read_tflite(bytes(content)).tensors["t1"].scale_at
    assert at is not None
    content += bytes(-len(content) % 4)
    text = len(content)
    content += struct.pack("<IIff", 12, 2, 0.25, 0.125) + bytes(4)
    pointing(content, at.start - 4, text + 4)
    graph = read_tflite(bytes(content))
    new = np.array([0.3, 0.2], np.float32)
    changed, _ = patch(graph, {"t1": new})  # the vector lies elsewhere, alone: nothing is wrong
    np.testing.assert_array_equal(read_tflite(changed.content).tensors["t1"].quantisation.scale, new)  # type: ignore[union-attr]
    pointing(content, bytes(content).index(b"\x02\0\0\0t0"), text)
    graph = read_tflite(bytes(content))
    with pytest.raises(DomainError, match="must have their own bytes in the file"):
        patch(graph, {"t1": new})


def test_tables_that_are_named_again_and_again_are_read_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    content = dense()
    monkeypatch.setattr("lieref.model.integer.flatbuffer._TABLES", 10)
    with pytest.raises(FormatError, match="at most 10 tables"):
        read_tflite(content)
    file = Bytes(content)
    for _ in range(10):
        file.root()
    with pytest.raises(FormatError, match="at most 10 tables"):
        file.root()


def test_a_file_too_large_for_offsets_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "net.tflite").open("wb") as file:
        file.truncate(1 << 31)  # nothing of it lies on the disk
    with pytest.raises(FormatError, match="smaller than 2 GiB"):
        load_tflite(tmp_path / "net.tflite")


@pytest.mark.parametrize(("width", "past"), [(45, False), (65, True)])
def test_a_resize_that_kernels_carry_past_the_image_is_said(width: int, past: bool) -> None:
    size = Tensor("int32", (2,), None, 0, 0, np.array([1, width], np.int32))
    content = chain("RESIZE_BILINEAR", free(1, 1, 1, 1), size, free(1, 1, width, 1))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        read_tflite(content)
    assert [(each.category, "1 to 65 pixels" in str(each.message)) for each in said] == [
        (PastTheEdgeWarning, True)
    ] * past


def test_a_softmax_of_int16_whose_exponents_have_no_multiplier_is_refused() -> None:
    x, y = (Tensor("int16", (1, 3), scale, 0) for scale in (2.0**29, 2.0**-15))
    with pytest.raises(FormatError, match="scales of Softmax"):
        read_tflite(chain("SOFTMAX", x, y, options=("SoftmaxOptions", {0: ("f", 1.0)})))
