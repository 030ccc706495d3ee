"""The official ONNX backend tests, unchanged, for every operator lieref claims."""

from __future__ import annotations

import re
import unittest
import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
from onnx.backend.test import BackendTest  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402

from lieref.conformance.onnx_backend import EXCLUDED, LierefBackend  # noqa: E402
from lieref.errors import UnsupportedError  # noqa: E402
from lieref.op.registry import OPERATORS  # noqa: E402

# Models of the suite that come with onnx; those of the kind "real" would have to be downloaded.
KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")


def operators(case: Any) -> set[str]:
    model = case.model or onnx.load(f"{case.model_dir}/model.onnx")
    return {node.op_type if node.domain in ("", "ai.onnx") else node.domain for node in model.graph.node}


@cache
def claimed() -> dict[str, set[str]]:
    """Return the name of every test whose operators lieref has -> its operators."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {case.name: operators(case) for kind in KINDS for case in load_model_tests(kind=kind)}
    return {name: ops for name, ops in found.items() if ops and ops <= set(OPERATORS)}


@cache
def outcomes() -> dict[str, str]:
    """Return the name of every claimed test -> what went wrong, or an empty string."""
    result = unittest.TestResult()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        suite = BackendTest(LierefBackend, __name__)
        for name in claimed():
            suite.include(f"^{name}_cpu$")
        suite.test_suite.run(result)
    wrong = {test.id().rpartition(".")[2]: text for test, text in result.errors + result.failures}
    return {name: wrong.get(f"{name}_cpu", "").strip().rpartition("\n")[2] for name in claimed()}


def excluded(name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in EXCLUDED)


def test_every_claimed_operator_passes_the_official_tests() -> None:
    wrong = {name: text for name, text in outcomes().items() if text and not excluded(name)}
    assert not wrong


BY_VERSION = {"test_celu_bfloat16"}
"""Pass with some versions of ml_dtypes (0.7.0) and not with others (0.6.0)."""


def test_exclusions_are_needed_and_explained() -> None:
    for pattern, reason in EXCLUDED.items():
        hit = [name for name in outcomes() if re.fullmatch(pattern, name) and name not in BY_VERSION]
        assert hit, f"{pattern} excludes nothing"
        assert [name for name in hit if not outcomes()[name]] == [], f"{pattern} excludes a test that passes"
        assert len(reason) > 20


def test_the_suite_is_large_and_covers_every_operator_that_has_a_test() -> None:
    passed = [name for name, text in outcomes().items() if not text]
    assert len(passed) > 1500
    covered = set.union(*(claimed()[name] for name in passed))
    assert {"Conv", "MaxPool", "Gemm", "Softmax", "BatchNormalization", "Gather", "Pad"} <= covered
    assert len(covered) > 140


def test_other_models_are_refused_by_name() -> None:
    node = onnx.helper.make_node("Loop", ["x"], ["y"])
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [value], []))
    with pytest.raises(UnsupportedError, match="operator Loop must be one lieref has"):
        LierefBackend.prepare(model)


def test_runs_graphs_of_several_inputs() -> None:
    nodes = [onnx.helper.make_node("Mul", ["a", "b"], ["c"]), onnx.helper.make_node("Add", ["c", "a"], ["d"])]
    values = [onnx.helper.make_tensor_value_info(name, 1, [3]) for name in "ab"]
    out = [onnx.helper.make_tensor_value_info("d", 1, [3])]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", values, out))
    a, b = np.float32([1, 2, 3]), np.float32([4, 5, 6])
    np.testing.assert_array_equal(LierefBackend.run_model(model, [a, b])[0], a * b + a)
    assert LierefBackend.supports_device("CPU")
    assert not LierefBackend.supports_device("CUDA")
