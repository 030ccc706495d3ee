"""A file that is kept without its tensors is the same file when it is wanted whole."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from lieref.model.onnx_file import OnnxFile


def file_of(*tensors):
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [], list(tensors))
    return helper.make_model(graph, doc_string="of the test")


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool", "float16"])
def test_what_is_shared_comes_back(dtype, rng):
    value = (100 * rng.standard_normal((7, 300))).astype(dtype)
    proto = file_of(numpy_helper.from_array(value, "w"), numpy_helper.from_array(value[:1], "v"))
    before = proto.SerializeToString(deterministic=True)
    kept = OnnxFile(proto, {"w": value, "unknown": value})
    assert proto.SerializeToString(deterministic=True) == before
    assert kept.proto() == proto
    assert kept.proto() is not kept.proto()
    assert kept.proto().SerializeToString(deterministic=True) == before
    rest = len(kept._rest.SerializeToString())
    assert (rest < value[:1].nbytes + 500) == (dtype != "bool"), "numbers that the caller holds are left out"


def test_other_numbers_than_the_file_has_are_no_substitute(rng):
    value = rng.standard_normal((40, 9)).astype("f4")
    stored = helper.make_tensor("w", onnx.TensorProto.FLOAT, value.shape, value.ravel())  # number by number
    proto = file_of(numpy_helper.from_array(value, "changed"), numpy_helper.from_array(value, "turned"), stored)
    kept = OnnxFile(proto, {"changed": value + 1, "turned": value.T, "w": value, "absent": value})
    assert kept.proto() == proto


def test_big_endian_and_strided_arrays_are_written_as_the_file_has_them(rng):
    value = rng.standard_normal((40, 9)).astype("f4")
    proto = file_of(numpy_helper.from_array(value, "big"), numpy_helper.from_array(value, "strided"))
    kept = OnnxFile(proto, {"big": value.astype(">f4"), "strided": np.repeat(value, 2, 1)[:, ::2]})
    assert len(kept._rest.SerializeToString()) < value.nbytes
    assert kept.proto() == proto
