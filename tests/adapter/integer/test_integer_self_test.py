"""The self-test of an update: drawn or given, exact, and refused where it is none."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.integer.model import load_integer
from lieref.adapter.integer.run_self_test import run_update_test
from lieref.adapter.integer.self_test import (
    check_form,
    check_self_test,
    drawn,
    places,
    self_test_inputs,
    self_test_integers,
)
from lieref.adapter.integer.self_test_making import make_self_test
from lieref.errors import DomainError, FormatError, MissingExtraError, VerificationError
from lieref.model.integer.executor import run
from lieref.model.integer.graph import IntegerGraph
from tests.model.integer.quantised import quantised
from tests.model.nets import residual_net

RIGHT: dict[str, Any] = {
    "semantics": "xnnpack",
    "input": {"shape": [1, 4], "dtype": "int16", "seeds": [0, 5], "real": None},
    "output": {"size": 3, "values": [[1, -2, 3], [4, 5, 6]], "real": None},
}


@pytest.fixture(params=["qdq", "qoperator"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[IntegerGraph, IntegerGraph]:
    """A quantised network without and with an update."""
    model = load_integer(quantised(residual_net(), tmp_path, request.param)).attach("tied-scale")
    rng = np.random.default_rng(0)
    for values in model.parameters().values():
        values[...] = 0.2 * rng.standard_normal(values.shape)
    return model.integer, model.update().patched(model.integer)[0]


def test_what_is_drawn() -> None:
    raw = hashlib.shake_128(b"lieref self-test 7").digest(12)
    numbers = [int.from_bytes(raw[n : n + 2], "little", signed=True) for n in range(0, 12, 2)]
    assert drawn(7, [1, 2, 3], "int16").tolist() == [[numbers[:3], numbers[3:]]]
    assert places(3).tolist() == [0, 1, 2]
    assert places(640).tolist() == list(range(0, 640, 10))


def test_the_network_passes_and_its_base_fails(pair: tuple[IntegerGraph, IntegerGraph]) -> None:
    base, changed = pair
    test = make_self_test(base, changed)
    assert test["semantics"] == "onnxruntime"
    inputs = self_test_inputs(test)
    assert len(inputs) == 2
    compared = sum(min(64, run(changed, x, "onnxruntime").size) for x in inputs)
    assert check_self_test(test, [run(changed, x, "onnxruntime") for x in inputs]) == compared
    with pytest.raises(VerificationError, match="another file, or kernels that round otherwise"):
        check_self_test(test, [run(base, x, "onnxruntime") for x in inputs])
    # What ONNX Runtime makes of a QDQ file depends on what it fuses: there lieref alone can judge.
    for runtime in ("onnxruntime", "lieref") if base.format == "onnx-qoperator" else ("lieref",):
        assert run_update_test({"self_test": test}, changed.content, runtime=runtime)[1] == compared
        with pytest.raises(BundleRefused, match="round otherwise"):
            run_update_test({"self_test": test}, base.content, runtime=runtime)


def test_samples_of_ones_own(pair: tuple[IntegerGraph, IntegerGraph]) -> None:
    base, changed = pair
    x = np.random.default_rng(1).standard_normal((3, *base.tensors[base.inputs[0]].shape[1:])).astype(np.float32)
    test = make_self_test(base, changed, "onnxruntime", x)
    scale, zero_point = test["input"]["real"]
    for integers, sample in zip(self_test_integers(test), x[:2], strict=True):
        real = scale * (integers[0].astype(np.float64) - zero_point)
        inside = np.clip(sample, scale * (-128 - zero_point), scale * (127 - zero_point))
        assert np.abs(real - inside).max() <= scale * 0.501
    check_self_test(test, [run(changed, x, "onnxruntime") for x in self_test_inputs(test)])


def test_what_cannot_run(pair: tuple[IntegerGraph, IntegerGraph]) -> None:
    base, changed = pair
    test = make_self_test(base, changed)
    with pytest.raises(BundleRefused, match="it holds none"):
        run_update_test({}, changed.content)
    with pytest.raises(BundleRefused, match="must run"):
        run_update_test({"self_test": test}, b"no network at all", runtime="lieref")
    with pytest.raises(MissingExtraError, match="rounding as cmsis-nn"):
        run_update_test({"self_test": {**test, "semantics": "cmsis-nn"}}, changed.content, runtime="onnxruntime")
    with pytest.raises(DomainError, match="must be one of"):
        run_update_test({"self_test": test}, changed.content, runtime="none")
    with pytest.raises(DomainError):
        make_self_test(base, changed, "no semantics")


def changes() -> list[tuple[str, Any]]:
    """Where a self-test is changed, and to what."""
    return [
        ("semantics", 1), ("input", []), ("output", None), ("more", 1), ("input.shape", []), ("input.shape", [0]),
        ("input.shape", [2**40]), ("input.dtype", "float32"), ("input.seeds", []), ("input.seeds", [-1]),
        ("input.seeds", [1]), ("input.seeds", list(range(9))), ("input.samples", ["AAAA"]), ("input.real", [0.0, 1]),
        ("input.real", [1.0, 0.5]), ("input.real", [float("inf"), 0]), ("output.size", -1), ("output.size", 4),
        ("output.values", [[1, 2, 3]]), ("output.values", [[1, 2], [3, 4]]), ("output.real", 3),
        ("output.values", [[1.0, 2, 3], [1, 2, 3]]),
    ]  # fmt: skip


@pytest.mark.parametrize(("where", "value"), changes())
def test_what_is_no_self_test(where: str, value: Any) -> None:
    check_form(RIGHT)
    test = copy.deepcopy(RIGHT)
    part, _, name = where.rpartition(".")
    (test[part] if part else test)[name] = value
    with pytest.raises(FormatError, match="self_test"):
        check_form(test)


def test_given_samples_are_of_their_size() -> None:
    test = copy.deepcopy(RIGHT)
    del test["input"]["seeds"]
    test["input"]["samples"] = ["AAAAAAAAAAA=", "AQACAAMABAA="]
    assert self_test_integers(test)[1].tolist() == [[1, 2, 3, 4]]
    for wrong in ("AAAA", "A", "=", "\u00e9"):
        test["input"]["samples"][0] = wrong
        with pytest.raises(FormatError):
            self_test_integers(test)


@pytest.mark.parametrize(
    "outputs",
    [
        [], [np.array([1, -2, 3])], [np.array([1, -2, 3, 9]), np.array([4, 5, 6])],
        [np.array([1.0, -2, 3]), np.array([4.0, 5, 6])], [np.array([1, -2, 3]), np.array([4, 5, 7])],
    ],
)  # fmt: skip
def test_outputs_that_are_others(outputs: list[np.ndarray]) -> None:
    assert check_self_test(RIGHT, [np.array([1, -2, 3]), np.array([[4], [5], [6]])]) == 6
    with pytest.raises(VerificationError):
        check_self_test(RIGHT, outputs)


def test_outputs_in_real_numbers() -> None:
    test = copy.deepcopy(RIGHT)
    test["output"]["real"] = [0.5, 3]
    right = [np.array([-1.0, -2.5, 0.0]), np.array([0.5, 1.0, 1.5])]
    assert check_self_test(test, right) == 6
    for wrong in (np.nan, np.inf, 1.0):
        with pytest.raises(VerificationError):
            check_self_test(test, [right[0], np.array([0.5, wrong, wrong])])
