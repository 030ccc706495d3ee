"""Some hundred damaged quantised ONNX files: each is refused in one sentence, or runs."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from lieref.errors import LierefError
from lieref.model.integer.executor import run_all
from lieref.model.integer.reader import is_integer_file, read_integer
from tests.cli.helpers import small_network
from tests.model.integer.quantised import quantised
from tests.model.integer.test_hostile_onnx import PAD, RESIZE, dense, one_operator

pytest.importorskip("tflite")

FILES, MOST = 600, 1 << 16


def seeds(folder: Path) -> list[bytes]:
    whole = [quantised(small_network(), folder, form, name="image", shape=(2, 6, 5)).read_bytes()
             for form in ("qdq", "qoperator")]  # fmt: skip
    pool = helper.make_node("AveragePool", ["xd"], ["m"], kernel_shape=[2, 3], strides=[2, 1], pads=[1, 1, 0, 1])
    made = [
        dense(),
        dense(clip=["zero", "six"], zero=np.float32(0), six=np.float32(6)),
        one_operator(RESIZE, to=np.array([1, 1, 4, 9])),
        one_operator(PAD, by=np.array([0, 0, 1, 2, 0, 0, 3, 4])),
        one_operator(pool),
    ]
    return [*whole, *(proto.SerializeToString() for proto in made)]


def outcome(path: Path, rng: np.random.Generator) -> str:
    try:
        is_integer_file(path)
        graph = read_integer(path)
    except LierefError:
        return "refused"
    tensor = graph.tensors[graph.inputs[0]]
    shape = [n or 2 for n in tensor.shape]
    if any(math.prod(n or 1 for n in each.shape) > MOST for each in graph.tensors.values()):
        return "read"
    x = rng.standard_normal(shape) * 3
    run_all(graph, {tensor.name: x.astype(tensor.dtype)}, "onnxruntime")
    return "run"


def test_every_damaged_file_is_refused_or_runs(tmp_path: Path) -> None:
    from validation.integer.fuzzing import damage

    whole = seeds(tmp_path)
    path, counts = tmp_path / "net.onnx", Counter[str]()
    for number in range(-len(whole), FILES):
        rng = np.random.default_rng((98, number + len(whole)))
        content = whole[number % len(whole)]
        path.write_bytes(content if number < 0 else damage(content, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            counts[found := outcome(path, rng)] += 1
        assert number >= 0 or found == "run"
    assert counts["refused"] > FILES // 2
    assert counts["run"] > FILES // 50
