"""Whether a network says that it is slow: once, with the reason and what would help, and never where it is not."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import lieref
from lieref.model.engine.layer import FusedLayer, Window
from lieref.model.speed import ELEMENT_SECONDS, WORTH_SAYING_SECONDS, SlowPathWarning, _call_seconds
from lieref.train.loss import CrossEntropy
from tests.model.nets import make_onnx, residual_net, saved

pytestmark = [
    pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning"),
    pytest.mark.filterwarnings("error::lieref.model.speed.SlowPathWarning"),
]


def op(kind: str, inputs: list[str], out: str, **attrs: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [out], name=out, **attrs)


def f32(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32) / 4


def net(tmp_path: Path, *between: onnx.NodeProto, size: Any = 8, channels: int = 4, batch: Any = "N") -> Path:
    """Return conv, what is between, from `conv` to `end`, pool and head."""
    nodes = [
        op("Conv", ["x", "w"], "conv", pads=[1, 1, 1, 1]),
        *(between or [op("Relu", ["conv"], "end")]),
        op("GlobalAveragePool", ["end"], "pool"),
        op("Flatten", ["pool"], "flat"),
        op("Gemm", ["flat", "v"], "y", transB=1),
    ]
    tensors = {"w": f32(channels, 3, 3, 3), "v": f32(5, channels)}
    return saved(make_onnx(nodes, tensors, [batch, 3, size, 8], "y", [batch, 5]), tmp_path)


def images(samples: int = 2) -> np.ndarray:
    return f32(samples, 3, 8, 8)


def said(work: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    return [str(one.message) for one in caught if issubclass(one.category, SlowPathWarning)]


def test_a_compiled_network_says_nothing(tmp_path: Path) -> None:
    model = lieref.load(net(tmp_path)).attach("liera", r=1)
    model.predict(images())
    model.loss_and_grad(images(), np.array([0, 4]), CrossEntropy())
    assert (model.engine, model.slow_reasons) == ("f2", ())


def test_a_refused_network_is_said_once_with_what_helps(tmp_path: Path) -> None:
    nodes = [op("Gemm", ["x", "w"], "h", transB=1), op("ReduceMean", ["h"], "y", keepdims=0)]
    model = lieref.load(saved(make_onnx(nodes, {"w": f32(5, 3)}, ["N", 3], "y", []), tmp_path))
    assert model.engine == "reference"
    (text,) = said(lambda: [model.choice.say_slow() for _ in range(2)])
    assert text.startswith(f"predict: {tmp_path / 'net.onnx'} is run operator by operator, several times slower")
    assert text.endswith(
        "what helps: an export whose samples do not meet, from one input of floats to one result of up to three axes a "
        "sample"
    )
    assert model.slow_reasons[0] in text
    assert "\n" not in text
    assert said(copy.copy(model).choice.say_slow) == []


def test_a_free_image_size_is_compiled_and_is_not_blamed_for_what_else_is_refused(tmp_path: Path) -> None:
    model = lieref.load(net(tmp_path, size="H"))
    assert said(lambda: model.predict(images())) == []
    assert (model.engine, model.slow_reasons) == ("f2", ())
    model = lieref.load(net(tmp_path, op("Softmax", ["conv"], "end", axis=0), size="H"))
    (text,) = said(lambda: [model.predict(images()) for _ in range(2)])
    assert text.endswith("samples do not meet, from one input of floats to one result of up to three axes a sample")


def test_a_fixed_batch_is_compiled(tmp_path: Path) -> None:
    nodes = [op("Mul", ["conv", "conv"], "end")]
    model = lieref.load(net(tmp_path, *nodes, batch=4))
    assert said(lambda: model.predict(images(4))) == []
    assert model.engine == "f2"


def test_operators_called_back_are_said_where_they_take_the_time(tmp_path: Path) -> None:
    model = lieref.load(net(tmp_path, op("Atan", ["conv"], "end")))
    assert model.engine == "mixed"
    (text,) = said(lambda: [model.predict(images()) for _ in range(2)])
    assert "1 of its operators are called back in Python for each sample: node 'end' (Atan)" in text
    assert "what helps: operators with a compiled form" in text


def test_a_call_back_beside_much_arithmetic_is_only_listed(tmp_path: Path) -> None:
    convs = [op("Conv", ["conv", "k0"], "a", pads=[1, 1, 1, 1]), op("Conv", ["a", "k1"], "b", pads=[1, 1, 1, 1])]
    tail = [op("GlobalAveragePool", ["b"], "pool"), op("Atan", ["pool"], "atan"), op("Flatten", ["atan"], "y")]
    tensors = {"w": f32(128, 3, 3, 3), "k0": f32(128, 128, 3, 3) / 9, "k1": f32(128, 128, 3, 3) / 9}
    nodes = [op("Conv", ["x", "w"], "conv", pads=[1, 1, 1, 1]), *convs, *tail]
    model = lieref.load(saved(make_onnx(nodes, tensors, ["N", 3, 16, 16], "y", ["N", 128]), tmp_path))
    assert said(lambda: model.predict(f32(1, 3, 16, 16))) == []
    assert model.engine == "mixed"
    assert len(model.slow_reasons) == 1


def test_compiled_code_that_is_switched_off_is_said(tmp_path: Path) -> None:
    script = f"""
import warnings, numpy as np, lieref
model = lieref.load({str(net(tmp_path))!r})
print(model.engine, model.slow_reasons)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.predict(np.ones((1, 3, 8, 8), np.float32))
print(caught[0].message)
"""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "reference ('compiled code is switched off',)"
    assert second.endswith("what helps: unset NUMBA_DISABLE_JIT")


def wide_net(tmp_path: Path) -> Path:
    """Return a network whose convolution has 73,728 weights and little to do."""
    tensors = {"w": f32(64, 3, 3, 3), "k": f32(128, 64, 3, 3), "v": f32(5, 128)}
    nodes = [
        op("Conv", ["x", "w"], "conv", strides=[3, 3]),
        op("Conv", ["conv", "k"], "wide", pads=[1, 1, 1, 1]),
        op("GlobalAveragePool", ["wide"], "pool"),
        op("Flatten", ["pool"], "flat"),
        op("Gemm", ["flat", "v"], "y", transB=1),
    ]
    return saved(make_onnx(nodes, tensors, ["N", 3, 8, 8], "y", ["N", 5]), tmp_path)


def step(model: Any, samples: int = 2) -> None:
    model.loss_and_grad(images(samples), np.arange(samples) % 5, CrossEntropy())


def test_adapters_in_numpy_are_said_once_at_the_first_step(tmp_path: Path) -> None:
    model = lieref.load(wide_net(tmp_path)).attach("oft", target_modules=["wide"])
    assert model.slow_reasons == ()
    (text,) = said(lambda: [step(model) for _ in range(2)])
    assert text == (
        f"fit: adapters of {tmp_path / 'net.onnx'} are computed in NumPy at every step, those of wide: oft has no "
        "compiled form; what helps: a method that acts entry by entry, such as lora or liera"
    )
    assert model.slow_reasons == ("adapter of 'wide': oft has no compiled form",)
    assert model.engine == "f2"
    model.unload().attach("lora", r=2)
    assert said(lambda: step(model)) == []
    assert model.slow_reasons == ()


def test_adapters_in_numpy_that_cost_little_are_only_listed(tmp_path: Path) -> None:
    model = lieref.load(saved(residual_net(), tmp_path)).attach("oft", target_modules=["down"])
    model.attach("liera", r=2, target_modules=["head"])
    x, y = f32(3, 3, 9, 8), np.array([0, 1, 2])
    assert said(lambda: model.loss_and_grad(x, y, CrossEntropy())) == []
    assert model.slow_reasons == ("adapter of 'down': oft has no compiled form",)


def test_many_samples_make_the_adapters_small(tmp_path: Path) -> None:
    from lieref.model.speed import outside_is_slow

    sizes, work = [100_000], 20_000_000
    assert outside_is_slow(sizes, work, 1)
    assert not outside_is_slow(sizes, work, 4096)
    assert not outside_is_slow([10], 1, 1), f"less than {WORTH_SAYING_SECONDS} s"
    assert not outside_is_slow([], 0, 1)


def test_training_that_the_engine_refuses_is_said_and_predictions_stay_compiled(tmp_path: Path) -> None:
    """The vectors of a BatchNormalization that no layer takes are trained operator by operator."""
    vectors = {name: f32(3) for name in ("s", "b", "m")} | {"u": np.abs(f32(3)) + 1}
    nodes = [
        op("BatchNormalization", ["x", "s", "b", "m", "u"], "norm"),
        op("Conv", ["norm", "w"], "conv", pads=[1, 1, 1, 1]),
        op("GlobalAveragePool", ["conv"], "pool"),
        op("Flatten", ["pool"], "flat"),
        op("Gemm", ["flat", "v"], "y", transB=1),
    ]
    tensors = {"w": f32(4, 3, 3, 3), "v": f32(5, 4), **vectors}
    path = saved(make_onnx(nodes, tensors, ["N", 3, 8, 8], "y", ["N", 5]), tmp_path)
    model = lieref.load(path).attach("full")
    assert said(lambda: model.predict(images())) == []
    assert (model.engine, model.slow_reasons) == ("f2", ())
    (text,) = said(lambda: [step(model) for _ in range(2)])
    assert text.startswith(f"fit: {path} is trained operator by operator, several times slower than compiled: ")
    assert "'s'" in text
    assert model.engine == "mixed"
    assert model.slow_reasons[0].startswith("training: ")
    assert model.unload().engine == "f2"


def test_what_a_call_back_reads_costs_too() -> None:
    """A sum over a large image writes little: its time is that of what it reads."""
    few, many = (
        FusedLayer("reference", "x", "y", Window(), 1, reads={"x": ("x", (n,))}, shape=(1,)) for n in (10, 10**6)
    )
    assert _call_seconds(many) - _call_seconds(few) == pytest.approx(ELEMENT_SECONDS * (10**6 - 10))
