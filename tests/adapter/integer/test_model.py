"""A quantised network that is trained: what the file becomes is what was trained, and nothing else moves."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import lieref
from lieref._types import Array
from lieref.adapter.integer.clipping import clipped
from lieref.adapter.integer.folder import BIN_NAME, JSON_NAME, decode_update, encode_update
from lieref.adapter.integer.model import IntegerModel, load_integer
from lieref.errors import DomainError, FormatError, LierefError, UnsupportedError, VerificationError
from lieref.model.integer.reader import read_integer
from lieref.model.integer.real_samples import OutOfRangeWarning
from lieref.train.loss import CrossEntropy
from tests.model.integer.quantised import quantised, run_onnx
from tests.model.nets import residual_net

FORMS = [("qdq", True), ("qdq", False), ("qoperator", True)]


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: f"{form[0]}-{form[1]}")
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    form, per_channel = request.param
    return quantised(residual_net(), tmp_path_factory.mktemp("quantised"), form, per_channel=per_channel)


@pytest.fixture
def data() -> tuple[Array, Array]:
    rng = np.random.default_rng(2)
    y = np.arange(60) % 5
    x = rng.standard_normal((60, 3, 9, 8)).astype(np.float32) + 0.4 * y[:, None, None, None].astype(np.float32)
    return x, y


def trained(file: Path, data: tuple[Array, Array], method: str) -> IntegerModel:
    model = load_integer(file).attach(method)
    lieref.fit(model, *data, epochs=5, learning_rate=0.03, augment=(), threads=1)
    return model


@pytest.mark.parametrize("method", ["tied-scale", "scale", "bias"])
def test_the_file_computes_what_was_trained(method: str, file: Path, data: tuple[Array, Array]) -> None:
    model = trained(file, data, method)
    update = model.update()
    patched = model.patched(update)
    wanted, found = model.logits(data[0]), patched.logits(data[0])
    # A bias moves by at most half of its step, which is s_x s_w: small beside the step of the output.
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
    before = load_integer(file).logits(data[0])
    assert np.abs(wanted - before).max() > 0.1
    if model.integer.format == "onnx-qdq":  # the runtime, unfused, agrees on classes as far as it did before
        base = (run_onnx(file.read_bytes(), data[0]).argmax(1) == before.argmax(1)).mean()
        now = (run_onnx(patched.integer.content, data[0]).argmax(1) == found.argmax(1)).mean()
        assert now >= base - 0.1


KINDS = [("tied-scale", "finished"), ("tied-scale", "codes"), ("scale", "finished"), ("scale", "codes"),
         ("bias", "finished")]  # fmt: skip


@pytest.mark.parametrize(("method", "encoding"), KINDS)
def test_integers_stay_and_an_update_survives_its_files(
    method: str, encoding: str, file: Path, data: tuple[Array, Array], tmp_path: Path
) -> None:
    model = trained(file, data, method)
    update = model.update(encoding)
    graph, content = model.integer, update.apply(model.integer)
    assert len(content) == len(graph.content)
    (tmp_path / "new.onnx").write_bytes(content)
    again = read_integer(tmp_path / "new.onnx")
    layers = {layer.weight.name: layer for layer in model.integer_layers}
    for name, tensor in graph.tensors.items():
        other = again.tensors[name]
        if name in layers:
            np.testing.assert_array_equal(other.data, tensor.data)
        elif tensor.data is not None and method == "tied-scale":
            np.testing.assert_array_equal(other.data, tensor.data)
    made = update.patched(graph)[1]
    places = made.places
    inside = {position for place in places for position in range(place.start, place.stop)}
    differing = [i for i, (one, other) in enumerate(zip(content, graph.content, strict=True)) if one != other]
    assert differing
    assert inside.issuperset(differing)
    files = encode_update(update, graph)
    scales = sum(layer.factors for layer in layers.values())
    biases = sum(layer.out for layer in layers.values() if layer.bias is not None)
    expected = {"tied-scale": 4 * scales, "scale": 4 * scales + 4 * biases, "bias": 4 * biases}[method]
    assert len(files[BIN_NAME]) == (4 + scales if encoding == "codes" else expected)
    back = decode_update(files[JSON_NAME], files[BIN_NAME], graph, "here")
    assert hashlib.sha256(back.apply(graph)).hexdigest() == update.result_sha256
    assert made.undo(content) == graph.content


def test_the_real_bias_stays_or_is_multiplied(file: Path, data: tuple[Array, Array]) -> None:
    for method in ("scale", "tied-scale"):
        model = trained(file, data, method)
        new = model.patched(model.update())
        for old, layer in zip(model.integer_layers, new.integer_layers, strict=True):
            if old.bias is None:
                continue
            factor = layer.scales.astype(float) / old.scales
            assert (np.abs(np.log(factor)) > 1e-4).any()
            want = old.real_bias() * (factor if method == "tied-scale" else 1.0)
            bound = 0.5 * layer.bias_unit() if method == "scale" else 0.0
            assert (np.abs(layer.real_bias() - want) <= bound + 2.0**-21 * np.abs(want) + 1e-9).all()


def test_a_layer_of_one_scale_has_one_factor(file: Path) -> None:
    model = load_integer(file).attach("tied-scale")
    assert model.num_trainable() == sum(layer.factors for layer in model.integer_layers)
    assert model.method_name == "tied-scale"


def test_an_update_is_for_its_file_alone(file: Path, data: tuple[Array, Array]) -> None:
    model = trained(file, data, "tied-scale")
    update = model.update()
    patched = update.patched(model.integer)[0]
    with pytest.raises(VerificationError, match="file it is for"):
        update.apply(patched)
    files = encode_update(update, model.integer)
    with pytest.raises(VerificationError, match="file it is for"):
        decode_update(files[JSON_NAME], files[BIN_NAME], patched, "here")
    damaged = bytearray(files[BIN_NAME])
    damaged[3] ^= 1
    with pytest.raises(VerificationError, match="written with"):
        decode_update(files[JSON_NAME], bytes(damaged), model.integer, "here")
    for position in range(0, len(files[JSON_NAME]), 5):
        text = bytearray(files[JSON_NAME])
        text[position] ^= 4
        try:
            found = decode_update(bytes(text), files[BIN_NAME], model.integer, "here").apply(model.integer)
        except LierefError:
            continue
        assert found == patched.content


def test_what_does_not_go_together_is_refused(file: Path) -> None:
    model = load_integer(file)
    with pytest.raises(DomainError, match="one of tied-scale"):
        model.attach("lora")
    with pytest.raises(DomainError, match="without targets"):
        model.attach("scale", target_modules=["conv"])
    with pytest.raises(DomainError, match="attached"):
        model.update()
    model.attach("bias")
    with pytest.raises(DomainError, match="one method"):
        model.attach("scale")
    with pytest.raises(DomainError, match="finished for bias"):
        model.update("codes")
    with pytest.raises(UnsupportedError, match="update"):
        model.merge_and_unload()
    with pytest.raises(FormatError, match="no such file"):
        load_integer(file.with_name("none.onnx"))


def test_clipping_is_counted(file: Path, data: tuple[Array, Array]) -> None:
    model = load_integer(file)
    calm = clipped(model, model.integer, 0.05 * data[0])
    with pytest.warns(OutOfRangeWarning):
        wild = clipped(model, model.integer, 50 * data[0])
    assert {each.tensor for each in calm} == {each.tensor for each in wild}
    assert max(each.above for each in calm) == 0
    assert max(each.above for each in wild) > 0.2
    assert max(each.most for each in wild) > 2


def test_factors_of_a_bias_too_are_computed_in_the_engine(file: Path, data: tuple[Array, Array]) -> None:
    found = {}
    for engine in ("f2", "reference"):
        model = load_integer(file).attach("tied-scale")
        model.engine = engine
        for site in model.sites.values():
            site.params["xi"][...] = np.random.default_rng(3).normal(0, 0.1, site.params["xi"].shape)
        found[engine] = model.loss_and_grad(*data, CrossEntropy())
        assert model.engine == engine
        own = {layer.weight.name for layer in model.integer_layers if layer.factors == layer.out > 1}
        inside = {site.tensor for site in model.division().fused.sites}
        assert inside == (own if engine == "f2" else set())
    (value, scores, grads), (expected, wanted, bars) = found.values()
    assert value == pytest.approx(expected, rel=1e-5)
    assert np.abs(scores - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert grads.keys() == bars.keys()
    for name, bar in bars.items():
        assert np.abs(grads[name] - bar).max() <= 1e-4 * np.abs(bar).max()


def test_predict_in_integers_is_what_the_runtime_says(file: Path, data: tuple[Array, Array]) -> None:
    """Without an update and with one, which the file then holds; the simulation is near and not the same."""
    x = data[0][:20]
    model = trained(file, data, "tied-scale")
    patched = model.patched(model.update())
    for one in (load_integer(file), model):
        content = (patched if one.attached else one).integer.content
        found = one.predict(x, semantics="onnxruntime")
        assert found.dtype == np.float32
        if model.integer.format == "onnx-qoperator":  # that of a QDQ file depends on what is fused
            np.testing.assert_array_equal(found, run_onnx(content, x))
        simulated = one.predict(x)
        assert 0 < np.abs(found - simulated).max() < 0.2 * np.abs(simulated).max()
    np.testing.assert_array_equal(model.predict(x, semantics="xnnpack"), patched.predict(x, semantics="xnnpack"))
    with pytest.raises(DomainError, match="`semantics` must be one of"):
        model.predict(x, semantics="pytorch")
