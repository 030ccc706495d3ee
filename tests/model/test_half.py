"""Networks in half precision: float32 inside, float16 in the file, every bit of the base kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lieref
from lieref.adapter.model import Model
from lieref.errors import DomainError, UnsupportedError
from lieref.model.half import Rounding, rounding
from lieref.model.onnx_writer import encode_onnx
from lieref.param._base import LierefWarning
from lieref.train.loss import CrossEntropy
from tests.model.nets import in_halves, make_onnx, residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.model.speed.SlowPathWarning")

SAMPLES, CLASSES = 4, 5
HALF = np.float16


def op(kind: str, inputs: list[str], output: str, **attrs: Any) -> Any:
    return helper.make_node(kind, inputs, [output], name=f"{output}_node", **attrs)


def in_wide(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a network of halves with the same numbers in float32."""
    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    return proto


def stored_as_halves() -> onnx.ModelProto:
    """Return a network that stores halves and computes in float32: one Cast a weight."""
    rng = np.random.default_rng(3)
    nodes = [
        op("Cast", ["w"], "w_wide", to=TensorProto.FLOAT),
        op("Cast", ["v"], "v_wide", to=TensorProto.FLOAT),
        op("MatMul", ["x", "w_wide"], "h"),
        op("Relu", ["h"], "r"),
        op("Gemm", ["r", "v_wide"], "y", transB=1),
    ]
    tensors = {"w": rng.normal(size=(3, 7)).astype(HALF), "v": rng.normal(size=(CLASSES, 7)).astype(HALF)}
    return make_onnx(nodes, tensors, ["N", 3], "y", ["N", CLASSES])


def cast_inside() -> onnx.ModelProto:
    """Return a network of halves whose normalisation is in float32, as converters of files write it."""
    rng = np.random.default_rng(5)
    nodes = [
        op("MatMul", ["x", "w"], "h"),
        op("Cast", ["h"], "wide", to=TensorProto.FLOAT),
        op("LayerNormalization", ["wide", "scale", "shift"], "n"),
        op("Cast", ["n"], "half", to=TensorProto.FLOAT16),
        op("Gemm", ["half", "v", "b"], "y", transB=1),
    ]
    tensors = {
        "w": rng.normal(size=(3, 7)).astype(HALF),
        "scale": rng.uniform(0.5, 1.5, 7).astype(np.float32),
        "shift": rng.normal(size=7).astype(np.float32),
        "v": rng.normal(size=(CLASSES, 7)).astype(HALF),
        "b": rng.normal(size=CLASSES).astype(HALF),
    }
    proto = make_onnx(nodes, tensors, ["N", 3], "y", ["N", CLASSES], input_type=TensorProto.FLOAT16)
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    return proto


NETWORKS = {
    "convolutions": lambda: in_halves(residual_net()),
    "stored as halves": stored_as_halves,
    "casts inside": cast_inside,
}


def samples(proto: onnx.ModelProto, seed: int = 1) -> np.ndarray:
    shape = [each.dim_value for each in proto.graph.input[0].type.tensor_type.shape.dim][1:]
    return np.random.default_rng(seed).normal(size=(SAMPLES, *shape)).astype(HALF)


def by_runtime(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    dtype = {"tensor(float16)": HALF, "tensor(float)": np.float32}[session.get_inputs()[0].type]
    return np.asarray(session.run(None, {"x": x.astype(dtype)})[0])


def trained(path: Path, scale: float = 0.1) -> Model:
    """Return the network of a file with LoRA adapters that change something."""
    model = lieref.load(path).attach("lora", r=2)
    rng = np.random.default_rng(11)
    for factor in model.parameters().values():
        factor += (scale * rng.normal(size=factor.shape)).astype(factor.dtype)
    return model


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_in_float32_what_the_file_says(name: str, tmp_path: Path) -> None:
    proto = NETWORKS[name]()
    model, x = lieref.load(saved(proto, tmp_path)), samples(proto)
    assert model.dtype == np.float32
    y = model.predict(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(model.predict(x.astype(np.float32)), y)
    # ONNX Runtime rounds each activation to eleven bits; those of these networks are below 2^4
    np.testing.assert_allclose(y, by_runtime(proto, x), rtol=0, atol=2.0**-7)


def test_its_loss_and_gradients_are_those_of_the_same_numbers_in_float32(tmp_path: Path) -> None:
    proto = in_halves(residual_net())
    half = lieref.load(saved(proto, tmp_path)).attach("lora", r=2)
    wide = lieref.load(saved(in_wide(proto), tmp_path, "wide.onnx")).attach("lora", r=2)
    x, y = samples(proto), np.arange(SAMPLES) % CLASSES
    (a, scores, grads), (b, others, wanted) = (m.loss_and_grad(x, y, CrossEntropy()) for m in (half, wide))
    assert a == b
    np.testing.assert_array_equal(scores, others)
    assert grads.keys() == wanted.keys()
    for key, grad in grads.items():
        np.testing.assert_array_equal(grad, wanted[key])


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_merged_as_float16_and_runs(name: str, tmp_path: Path) -> None:
    proto = NETWORKS[name]()
    model, x = trained(saved(proto, tmp_path)), samples(proto)
    before, base = model.predict(x), lieref.load(tmp_path / "net.onnx").predict(x)
    adapted = model.adapted_tensors()
    merged = model.merge_and_unload()
    merged.save(tmp_path / "merged.onnx")
    written = onnx.load(tmp_path / "merged.onnx")
    types = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    assert {tensor.name: tensor.data_type for tensor in written.graph.initializer} == types
    assert [node.op_type for node in written.graph.node] == [node.op_type for node in proto.graph.node]
    for tensor in written.graph.initializer:
        if tensor.name in adapted:
            np.testing.assert_array_equal(numpy_helper.to_array(tensor), adapted[tensor.name].astype(HALF))
    again = lieref.load(tmp_path / "merged.onnx").predict(x)
    np.testing.assert_array_equal(merged.predict(x), again)
    np.testing.assert_allclose(again, by_runtime(written, x), rtol=0, atol=2.0**-7)
    assert abs(again - before).max() < abs(base - before).max() / 10


def test_rollback_restores_every_bit(tmp_path: Path) -> None:
    proto = in_halves(residual_net())
    path = saved(proto, tmp_path)
    x = samples(proto)
    fresh, model = lieref.load(path), trained(path)
    model.unload()
    np.testing.assert_array_equal(model.predict(x), fresh.predict(x))
    assert encode_onnx(model.proto) == path.read_bytes()


def test_an_adapter_of_a_file_of_halves_is_read_again(tmp_path: Path) -> None:
    path = saved(in_halves(residual_net()), tmp_path)
    model = trained(path)
    model.save_adapter(tmp_path / "adapter")
    x = samples(onnx.load(path))
    np.testing.assert_array_equal(lieref.load(path).load_adapter(tmp_path / "adapter").predict(x), model.predict(x))


def test_a_new_head_is_written_in_halves(tmp_path: Path) -> None:
    from lieref.model.head import NewHead

    proto = in_halves(residual_net())
    model = lieref.load(saved(proto, tmp_path)).attach("lora", r=2, head=NewHead(3))
    rng = np.random.default_rng(2)
    for factor in model.parameters().values():
        factor += (0.1 * rng.normal(size=factor.shape)).astype(factor.dtype)
    merged, x = model.merge_and_unload(), samples(proto)
    np.testing.assert_allclose(merged.predict(x), by_runtime(merged.proto, x), rtol=0, atol=2.0**-7)


def test_what_rounding_takes_is_what_the_definition_says() -> None:
    rng = np.random.default_rng(4)
    base = {name: rng.normal(size=shape).astype(HALF).astype(np.float32) for name, shape in (("a", (3, 5)), ("b", 7))}
    size = {"a": 2.0**-11, "b": 2.0**-8}
    changed = {name: w + np.float32(size[name] * rng.normal(size=w.shape)) for name, w in base.items()}
    changed["a"][0, 0] = base["a"][0, 0]
    halves = {name: w.astype(HALF) for name, w in changed.items()}
    found = rounding(base, changed, halves)
    numbers = lost = 0
    errors = {}
    for name in base:
        above = below = 0.0
        for w, moved, half in zip(base[name].flat, changed[name].flat, halves[name].flat, strict=True):
            above += (float(half) - float(moved)) ** 2
            below += (float(moved) - float(w)) ** 2
            numbers += moved != w
            lost += moved != w and half == w
        errors[name] = (above / below) ** 0.5
    assert found is not None
    assert (found.tensors, found.worst, found.changed, found.lost) == (2, "a", numbers, lost)
    assert lost
    np.testing.assert_allclose(found.error, max(errors.values()), rtol=1e-12)
    assert rounding(base, changed, {}) is None
    assert found.describe() == (
        f"2 tensors rounded to float16: an error of up to {errors['a']:.2g} of the change (a); "
        f"{lost / numbers:.1%} of the changed numbers are what they were"
    )


def test_changes_that_rounding_takes_are_warned_of(tmp_path: Path) -> None:
    path = saved(in_halves(residual_net()), tmp_path)
    small, large = trained(path, 1e-5), trained(path)
    with pytest.warns(LierefWarning, match=r"merge_and_unload: 5 tensors rounded .* are what they were"):
        merged = small.merge_and_unload()
    assert isinstance(merged.rounding, Rounding)
    assert merged.rounding.share > 0.5
    found = large.merge_and_unload().rounding
    assert found is not None
    assert found.share < 0.1
    assert trained(saved(residual_net(), tmp_path)).merge_and_unload().rounding is None


def test_a_number_beyond_float16_is_not_written(tmp_path: Path) -> None:
    model = trained(saved(stored_as_halves(), tmp_path))
    model.parameters()["v:lora_b"][...] = 1e6
    with pytest.raises(DomainError, match="merge_weights: tensor 'v' must hold numbers of float16; one is"):
        model.merge_and_unload()
    assert model.attached


def test_a_half_that_is_read_as_such_too_stays_one(tmp_path: Path) -> None:
    nodes = [
        op("Cast", ["w"], "wide", to=TensorProto.FLOAT),
        op("MatMul", ["x", "wide"], "h"),
        op("Cast", ["h"], "half", to=TensorProto.FLOAT16),
        op("MatMul", ["half", "w"], "z"),
        op("Cast", ["z"], "y", to=TensorProto.FLOAT),
    ]
    rng = np.random.default_rng(8)
    proto = make_onnx(nodes, {"w": rng.normal(size=(3, 3)).astype(HALF)}, ["N", 3], "y", ["N", 3])
    x = samples(proto)
    model = lieref.load(saved(proto, tmp_path))
    np.testing.assert_allclose(model.predict(x), by_runtime(proto, x), rtol=0, atol=2.0**-7)


def test_bfloat16_is_refused_by_name(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.BFLOAT16, [3], [1.0, 2.0, 3.0])
    proto = make_onnx([op("Mul", ["x", "w"], "y")], {}, ["N", 3], "y", ["N", 3], input_type=TensorProto.BFLOAT16)
    alone = make_onnx([op("Relu", ["x"], "y")], {}, ["N", 3], "y", ["N", 3], input_type=TensorProto.BFLOAT16)
    proto.graph.initializer.append(weight)
    for each, name in ((proto, "tensor w"), (alone, "input x")):
        each.graph.output[0].type.tensor_type.elem_type = TensorProto.BFLOAT16
        with pytest.raises(UnsupportedError, match=f"load: {name} .*must be .*float16, .*; got bfloat16"):
            lieref.load(saved(each, tmp_path))
