"""The self-test of a bundle: what ONNX Runtime computes is inside the bounds, what another network computes is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import lieref
from lieref.adapter.self_test import MOST_ENTRIES, make_self_test
from lieref.adapter.self_test_check import BOUND, INPUT, OUTPUT, PLACE, check_self_test, self_test_inputs
from lieref.adapter.tensor_file import encode_tensors
from lieref.errors import DomainError, FormatError, LierefError, UnsupportedError, VerificationError
from tests.adapter.merge_nets import cells_net, kinds_net
from tests.model.encoder_net import encoder_net
from tests.model.nets import in_halves, residual_net, saved
from tests.model.test_packing import network as several_inputs

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")

NETS: dict[str, Callable[[], onnx.ModelProto]] = {
    "kinds": kinds_net,
    "residual": residual_net,
    "ids": lambda: encoder_net(0),
    "ids-and-mask": lambda: encoder_net(None, inputs=("input_ids", "attention_mask")),
    "several": several_inputs,
}
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": bool}


def adapted(path: Path, seed: int = 0, size: float = 0.1, method: str = "lora") -> lieref.Model:
    model = lieref.load(path).attach(method, r=2)
    rng = np.random.default_rng(seed)
    for array in model.parameters().values():
        array += (size * rng.standard_normal(array.shape)).astype(array.dtype)
    return model


def in_onnx_runtime(path: Path, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The caller's part: every input in the type that the network declares."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = self_test_inputs(tensors)
    feed = {value.name: given[value.name].astype(TYPES[value.type]) for value in session.get_inputs()}
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, feed), strict=True))


def merged_to(folder: Path, model: lieref.Model) -> Path:
    model.merge_and_unload().save(folder / "merged.onnx")
    return folder / "merged.onnx"


@pytest.mark.parametrize("name", NETS)
def test_onnx_runtime_is_inside_the_bounds_and_the_base_is_not(tmp_path: Path, name: str) -> None:
    path = saved(NETS[name](), tmp_path)
    model = adapted(path)
    tensors = make_self_test(model)
    assert model.attached
    again = make_self_test(model)
    assert encode_tensors(again) == encode_tensors(tensors)
    assert all(key.startswith("selftest.") for key in tensors)
    declared = {value.name for value in onnx.load(path).graph.input}
    assert set(self_test_inputs(tensors)) == declared
    outputs = in_onnx_runtime(merged_to(tmp_path, model), tensors)
    shares = check_self_test(tensors, outputs)
    assert [*shares] == [key.removeprefix(OUTPUT) for key in tensors if key.startswith(OUTPUT)]
    assert max(shares.values()) < 0.1  # bounds are for the worst case, rounding errors are not
    with pytest.raises(VerificationError, match="must be within"):
        check_self_test(tensors, in_onnx_runtime(path, tensors))


def test_a_bound_is_narrow_beside_the_change_of_an_adapter(tmp_path: Path) -> None:
    tensors = make_self_test(adapted(saved(kinds_net(), tmp_path)))
    (output,) = (array for key, array in tensors.items() if key.startswith(OUTPUT))
    (bound,) = (array for key, array in tensors.items() if key.startswith(BOUND))
    assert 0 < bound.min() <= bound.max() < 1e-3 * np.abs(output).max()


def test_float32_in_any_order_is_inside(tmp_path: Path, rng: np.random.Generator) -> None:
    """A network of products, its sums taken in random orders, one number after the other."""
    model = adapted(saved(encoder_net(None), tmp_path), size=1.0).merge_and_unload()
    tensors = make_self_test(model)
    weights = {k: v.astype(np.float32) for k, v in model.graph.initializers.items() if v.dtype.kind == "f"}
    (ids,) = self_test_inputs(tensors).values()
    (name,) = model.outputs

    def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        terms = x[..., :, None].astype(np.float32) * w
        total = np.zeros((*x.shape[:-1], w.shape[1]), np.float32)
        for k in rng.permutation(x.shape[-1]):
            total = total + terms[..., k, :]
        return total

    layers = [node for node in model.graph.nodes if node.op in ("MatMul", "Gemm")]
    assert {node.op for node in model.graph.nodes} <= {"Gather", "ReduceMean", "MatMul", "Tanh"}
    for _ in range(5):
        x = weights["table"][ids]
        mean = np.zeros(x[:, 0].shape, np.float32)
        for t in rng.permutation(x.shape[1]):
            mean = mean + x[:, t]
        x = mean / np.float32(x.shape[1])
        x = product(np.tanh(product(x, weights[layers[0].inputs[1]])), weights[layers[1].inputs[1]])
        check_self_test(tensors, {name: x})


def test_given_samples_are_kept_as_they_are(tmp_path: Path, rng: np.random.Generator) -> None:
    model = adapted(saved(residual_net(), tmp_path))
    x = rng.integers(0, 9, (3, 3, 9, 8)).astype(np.uint8)
    tensors = make_self_test(model, x)
    assert tensors[f"{INPUT}x"].dtype == np.uint8
    assert np.array_equal(tensors[f"{INPUT}x"], x)
    assert len(tensors[f"{PLACE}probabilities"]) == 3 * 5


def test_of_a_large_output_some_numbers_are_compared(tmp_path: Path) -> None:
    model = adapted(saved(kinds_net(), tmp_path), method="liera")
    tensors = make_self_test(model)
    places = tensors[f"{PLACE}y"]
    assert (np.diff(places.astype(int)) > 0).all()
    assert len(places) <= 2 * MOST_ENTRIES


def test_what_has_no_bound_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="node LSTM_1 must be of an operator whose rounding error has a bound"):
        make_self_test(adapted(saved(cells_net(), tmp_path)))
    with pytest.raises(UnsupportedError, match="must compute in float32; its input x is float16"):
        make_self_test(adapted(saved(in_halves(kinds_net()), tmp_path, "half.onnx")))


def test_check_takes_one_form_alone() -> None:
    place, output, bound = np.array([0, 3], np.uint32), np.float32([1, 2]), np.float32([0.5, 0.25])
    good = {f"{PLACE}y": place, f"{OUTPUT}y": output, f"{BOUND}y": bound}
    y = np.float32([[1.5, 9], [9, 2.125]])
    assert check_self_test({**good, "conv:lora_a": y}, {"y": y, "z": y}) == {"y": 1.0}
    wrong: list[tuple[dict[str, Any], dict[str, Any], type[LierefError]]] = [
        ({}, {"y": y}, FormatError),
        ({f"{OUTPUT}y": output}, {"y": y}, FormatError),
        ({**good, f"{PLACE}y": place[:1]}, {"y": y}, FormatError),
        ({**good, f"{PLACE}y": place.astype(float)}, {"y": y}, FormatError),
        ({**good, f"{BOUND}y": bound[:1]}, {"y": y}, FormatError),
        ({**good, f"{BOUND}y": -bound}, {"y": y}, FormatError),
        ({**good, f"{BOUND}y": bound * np.nan}, {"y": y}, FormatError),
        ({**good, f"{BOUND}y": bound * np.inf}, {"y": y}, FormatError),
        ({**good, f"{OUTPUT}y": output * np.nan}, {"y": y}, FormatError),
        ({**good, f"{OUTPUT}y": output[None]}, {"y": y}, FormatError),
        ({**good, f"{OUTPUT}y": output[:0], f"{PLACE}y": place[:0], f"{BOUND}y": bound[:0]}, {"y": y}, FormatError),
        (good, {}, VerificationError),
        (good, {"y": y[0]}, VerificationError),
        (good, {"y": y.astype(int)}, VerificationError),
        (good, {"y": y * np.nan}, VerificationError),
        (good, {"y": y * np.inf}, VerificationError),
        (good, {"y": np.nextafter(y, np.float32(9))}, VerificationError),
    ]
    for tensors, outputs, kind in wrong:
        with pytest.raises(kind):
            check_self_test(tensors, outputs)


def test_checking_needs_numpy_alone() -> None:
    code = (
        "import sys\nfor name in ('numba', 'scipy', 'onnx', 'click'): sys.modules[name] = None\n"
        "import numpy as np\nfrom lieref.adapter.self_test_check import check_self_test\n"
        "one = np.ones(1, np.float32)\n"
        "check_self_test({'selftest.place.y': np.zeros(1, np.uint32), 'selftest.output.y': one, "
        "'selftest.bound.y': one}, {'y': one})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_inputs_that_fit_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(saved(kinds_net(), tmp_path))

    def refuse(*_: Any, **__: Any) -> None:
        raise DomainError("predict: no")

    monkeypatch.setattr(type(model), "predict", refuse)
    with pytest.raises(DomainError, match="`samples` must be given"):
        make_self_test(model)


@pytest.mark.parametrize("name", ["resnet8", "autoencoder_ad", "mobilenet_v1_025_vww"])
def test_real_networks(data_dir: Path, tmp_path: Path, name: str) -> None:
    path = data_dir / "mlperf_tiny" / f"{name}.onnx"
    model = adapted(path, size=0.2, method="liera")
    tensors = make_self_test(model)
    size = len(encode_tensors(tensors))
    assert size < (7000 if name != "mobilenet_v1_025_vww" else 29_000)
    shares = check_self_test(tensors, in_onnx_runtime(merged_to(tmp_path, model), tensors))
    assert max(shares.values()) < 0.01
    with pytest.raises(VerificationError):
        check_self_test(tensors, in_onnx_runtime(path, tensors))
