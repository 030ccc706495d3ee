"""ONNX Runtime's adapters: off, the weights are the base's bits; on, the adapted ones; swapped between two runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import lieref
import lieref.adapter.out.source
from lieref.adapter.out.registry import Exported, export
from lieref.adapter.out.source import Source
from lieref.errors import DomainError, UnsupportedError
from lieref.model.error_bound import logit_error_bound
from lieref.model.head import NewHead
from lieref.model.onnx_writer import replace_tensors
from lieref.param.combination import Combination
from lieref.param.principal import Principal
from lieref.param.registry import METHODS
from tests.adapter.out.adapters import adapter_of, perturbed
from tests.model.nets import in_halves, make_onnx, residual_net, saved
from tests.model.test_layer_sites import deconvolved, recurrent

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")

UNIT = 2.0**-24
X = np.random.default_rng(5).standard_normal((3, 3, 9, 8)).astype(np.float32)


def as_written() -> onnxruntime.SessionOptions:
    """Options with which ONNX Runtime treats weights that are constants as those that are inputs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of every input with a default
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")
    return options


class Session:
    """A session of ``base.onnx`` that shows its weights, and its adapters."""

    def __init__(self, exported: Exported, folder: Path, *shown: str, optimised: bool = True) -> None:
        assert not isinstance(exported.data, bytes)
        proto = onnx.ModelProto.FromString(exported.data["base.onnx"])
        for name in shown:
            proto.graph.output.append(helper.make_empty_tensor_value_info(name))
        self.folder, options = folder, onnxruntime.SessionOptions()
        options.log_severity_level = 3  # it warns of every input with a default
        if not optimised:
            options = as_written()
        self.session = onnxruntime.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])

    def run(self, feeds: dict[str, np.ndarray], exported: Exported | None = None) -> dict[str, np.ndarray]:
        options = onnxruntime.RunOptions()
        if exported is not None:
            assert not isinstance(exported.data, bytes)
            path = self.folder / "one.onnx_adapter"
            path.write_bytes(exported.data["adapter.onnx_adapter"])
            adapter = onnxruntime.LoraAdapter()
            adapter.Load(str(path))
            options.add_active_adapter(adapter)
        names = [each.name for each in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, feeds, options), strict=True))


def weight_bounds(source: Source) -> dict[str, np.ndarray]:
    """How far two float32 evaluations of each adapted weight may be apart, R the length of a row of A.

    xi sums R products, the factors carry s and their sign: gamma_(R + 4) of its absolute sum X. An added xi is rounded
    once more, with the weight. A map of it has the relative error of xi, X gamma_(R + 4), and at most eight roundings
    of its own, over e^X, which no map of one sign or polynomial exceeds; lieref's own evaluation has as many.
    """
    bounds = {}
    for name, site in source.model.sites.items():
        weight = source.model.graph.initializers[name].astype(np.float64)
        w = site.canonical(weight)
        method = site.method
        assert isinstance(method, Combination)
        sizes = {key: np.abs(value).astype(np.float64) for key, value in site.params.items()}
        if isinstance(method.parameterisation, Principal):  # |B - B0| |A| + |B0| |A - A0|
            moved = {f: np.abs(site.params[f"lora_{f}"].astype(np.float64) - site.params[f"start_{f}"]) for f in "ab"}
            sizes |= {"lora_b": moved["b"] + sizes["start_b"], "start_a": sizes["lora_a"] - moved["a"]}
        total = np.abs(method.delta(sizes, w.shape, site.groups)).reshape(
            w.shape if method.action.name == "element-wise" else (-1,)
        )
        rank = max([value.shape[0] for value in site.params.values()])
        roundings = 2 * (rank + 4)
        gamma = roundings * UNIT / (1 - roundings * UNIT)
        if getattr(method.action, "adds", False):
            bound = gamma * total + 4 * UNIT * (np.abs(w) + total)
        elif method.action.name == "scaling":
            bound = np.abs(w) * np.exp(total.max()) * (gamma * total.max() + 16 * UNIT)
        else:
            bound = np.abs(w) * np.exp(total) * (gamma * total + 16 * UNIT)
        bounds[name] = bound if site.layer is None else site.layer.from_canonical(bound)
    return bounds


FACTORED = [
    "lora", "lora-view", "lora-structured", "rslora", "lora-c", "pissa", "olora", "loha", "lokr", "liera",
    "liera-taylor1", "liera-taylor2", "liera-bounded", "hira", "liera-kronecker", "pissa-liera", "scale", "ia3",
    "low-rank+hadamard+cayley", "low-rank+hadamard+taylor3", "low-rank+hadamard+neumann5",
    "dense+scaling+exp+scaling(in)",
]  # fmt: skip


@pytest.mark.parametrize("method", FACTORED)
def test_off_it_is_the_base_and_on_the_merged_network(tmp_path: Path, method: str) -> None:
    source = adapter_of(tmp_path, method, scale=0.15)
    exported = export(source, "ort-adapter")
    assert not exported.notes
    assert not [name for name in exported.facts["whole_tensors"]]
    names = [change.name for change in source.changes]
    assert set(exported.facts["factored_tensors"]) == set(names)
    session = Session(exported, tmp_path, "logits", *names)
    base, merged = source.model.graph.initializers, source.merged.graph.initializers
    off, on = session.run({"x": X}), session.run({"x": X}, exported)
    bounds = weight_bounds(source)
    for name in names:
        assert off[name].tobytes() == base[name].tobytes()
        if name in bounds:
            assert (np.abs(on[name].astype(np.float64) - merged[name]) <= bounds[name]).all()
            assert (on[name] != off[name]).any()
    # outputs: within n u S of those that the weights of the run have, whose distance from the merged is exact
    made = replace_tensors(source.model.proto, {name: on[name] for name in names})
    exact, bound = logit_error_bound(lieref.load(saved(made, tmp_path, "made.onnx")), X)
    assert (np.abs(on["logits"].T - exact) <= bound).all()
    ours, our_bound = logit_error_bound(source.merged, X)
    apart = np.abs(exact - ours)
    assert (np.abs(on["logits"].T - source.merged.logits(X).T) <= bound + our_bound + apart).all()
    assert apart.max() < 1e-4 * np.abs(ours).max()


@pytest.mark.parametrize("method", ["lora", "liera", "ia3"])
def test_off_every_output_has_the_bits_of_the_base(tmp_path: Path, method: str) -> None:
    """Both runs as the files say: what ONNX Runtime folds into constant weights, or packs, changes last bits."""
    exported = export(adapter_of(tmp_path, method), "ort-adapter")
    plain = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), as_written(), ["CPUExecutionProvider"])
    off = Session(exported, tmp_path, optimised=False).run({"x": X})
    assert off["probabilities"].tobytes() == plain.run(None, {"x": X})[0].tobytes()


@pytest.mark.parametrize(
    "method", ["full", "bias", "norm", "flora", "atoms", "dora", "oft-cayley", "hra", "elra", "affine"]
)
def test_other_methods_have_the_weight_itself(tmp_path: Path, method: str) -> None:
    source = adapter_of(tmp_path, method, target_modules=["stem"] if METHODS[method].scope == "weight" else None)
    exported = export(source, "ort-adapter")
    names = [change.name for change in source.changes]
    assert set(exported.facts["whole_tensors"]) == set(names)
    assert set(exported.facts["inputs"]) == set(names)
    layers = [change.name for change in source.changes if change.layer is not None]
    said = [f"the weight itself is the input, not factors, of {', '.join(layers)}: {method} has no form in the graph"]
    assert list(exported.notes) == (said if layers else [])
    session = Session(exported, tmp_path, optimised=False)
    for proto, adapter in ((source.model.proto, None), (source.proto, exported)):
        plain = onnxruntime.InferenceSession(proto.SerializeToString(), as_written(), ["CPUExecutionProvider"])
        want = plain.run(None, {"x": X})[0]
        assert session.run({"x": X}, adapter)["probabilities"].tobytes() == want.tobytes()


def test_merged_weights_can_be_the_inputs(tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "liera", r=2)
    exported = export(source, "ort-adapter", weights="merged")
    assert exported.notes == ()
    assert set(exported.facts["inputs"]) == {change.name for change in source.changes}
    plain = onnxruntime.InferenceSession(source.proto.SerializeToString(), as_written(), ["CPUExecutionProvider"])
    run = Session(exported, tmp_path, optimised=False).run({"x": X}, exported)
    assert run["probabilities"].tobytes() == plain.run(None, {"x": X})[0].tobytes()
    with pytest.raises(DomainError, match="must be one of factors, merged"):
        export(source, "ort-adapter", weights="delta")


def test_adapters_of_one_base_are_swapped_between_runs(tmp_path: Path) -> None:
    """Of other numbers, another rank and another alpha."""
    one = export(adapter_of(tmp_path, "liera", r=2), "ort-adapter")
    two = export(adapter_of(tmp_path, "liera", name="two", seed=1, r=3, lora_alpha=5.0), "ort-adapter")
    assert not isinstance(one.data, bytes)
    assert not isinstance(two.data, bytes)
    assert one.data["base.onnx"] == two.data["base.onnx"]
    assert one.data["adapter.onnx_adapter"] != two.data["adapter.onnx_adapter"]
    session = Session(one, tmp_path, "stem.weight", optimised=False)
    runs = [session.run({"x": X}, exported) for exported in (one, None, two, one, None, two)]
    for first, again in zip(runs[:3], runs[3:], strict=True):
        assert all(first[name].tobytes() == again[name].tobytes() for name in first)
    for run, exported in ((runs[0], one), (runs[2], two)):
        alone = Session(exported, tmp_path, "stem.weight", optimised=False).run({"x": X}, exported)
        assert all(run[name].tobytes() == alone[name].tobytes() for name in run)
    assert (runs[0]["probabilities"] != runs[2]["probabilities"]).any()


def test_the_adapter_says_which_base_it_is_of(tmp_path: Path) -> None:
    exported = export(adapter_of(tmp_path, "lora", r=1), "ort-adapter")
    assert not isinstance(exported.data, bytes)
    (tmp_path / "a.onnx_adapter").write_bytes(exported.data["adapter.onnx_adapter"])
    read = onnxruntime.AdapterFormat.read_adapter(str(tmp_path / "a.onnx_adapter"))
    digest = hashlib.sha256(exported.data["base.onnx"]).hexdigest()
    assert read.get_model_version() == int(digest, 16) >> 225
    assert set(read.get_parameters()) == set(exported.facts["inputs"])


def multiplied(folder: Path) -> Path:
    """Two products with weights as (in, out)."""
    rng = np.random.default_rng(2)
    tensors = {"v": rng.standard_normal((4, 6)).astype(np.float32), "w": rng.standard_normal((6, 5)).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "v"], ["h"], name="first"),
             helper.make_node("Gemm", ["h", "w"], ["y"], name="second")]  # fmt: skip
    return saved(make_onnx(nodes, tensors, ["N", 4], "y", ["N", 5]), folder)


OTHERWISE: dict[str, Callable[[Path], Path]] = {
    "products": multiplied,
    "deconvolved": deconvolved,
    "LSTM": lambda folder: recurrent("LSTM", folder),
}


@pytest.mark.parametrize(
    ("kind", "method"), [(k, m) for k in OTHERWISE for m in ("lora", "liera")] + [("products", "ia3")]
)
def test_weights_stored_otherwise(tmp_path: Path, kind: str, method: str) -> None:
    net = onnx.load(OTHERWISE[kind](tmp_path))
    source = adapter_of(tmp_path, method, net=net, **({} if method == "ia3" else {"r": 2}))
    exported = export(source, "ort-adapter")
    names = [change.name for change in source.changes]
    session = Session(exported, tmp_path, *names)
    info = session.session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 2 for size in info.shape]
    feeds = {info.name: np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    off, on, bounds = session.run(feeds), session.run(feeds, exported), weight_bounds(source)
    for name in exported.facts["factored_tensors"]:
        assert off[name].tobytes() == source.model.graph.initializers[name].tobytes()
        assert (np.abs(on[name].astype(np.float64) - source.merged.graph.initializers[name]) <= bounds[name]).all()
    assert exported.facts["factored_tensors"]


def test_halves_go_in_whole(tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "lora", net=in_halves(residual_net()), r=1)
    exported = export(source, "ort-adapter")
    assert exported.notes[0].endswith("it is float16 in the file")
    session = Session(exported, tmp_path, optimised=False)
    plain = onnxruntime.InferenceSession(source.proto.SerializeToString(), as_written(), ["CPUExecutionProvider"])
    x = X.astype(np.float16)
    assert session.run({"x": x}, exported)["probabilities"].tobytes() == plain.run(None, {"x": x})[0].tobytes()


def test_old_files_list_their_constants_as_inputs(tmp_path: Path) -> None:
    net = residual_net()
    net.ir_version = 3
    for tensor in net.graph.initializer:
        net.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    net.opset_import[0].version = 8
    exported = export(adapter_of(tmp_path, "liera", net=net, r=1, target_modules=["stem"]), "ort-adapter")
    session = Session(exported, tmp_path, "stem.weight").session
    assert [each.name for each in session.get_inputs()] == ["x"]
    assert {each.name for each in session.get_overridable_initializers()} == {
        "stem.weight:lora_a",
        "stem.weight:lora_b",
    }


def test_a_new_head_is_said(tmp_path: Path) -> None:
    path = saved(residual_net(), tmp_path)
    model = lieref.load(path).attach("liera", r=1, head=NewHead(3))
    perturbed(model).save_adapter(tmp_path / "adapter")
    source = lieref.adapter.out.source.read_source(tmp_path / "adapter", path)
    exported = export(source, "ort-adapter")
    assert exported.notes == (
        "without an adapter the scores of base.onnx are zero: its new head's weights are the adapter's",
    )
    session = Session(exported, tmp_path)
    (off,), (on,) = session.run({"x": X}).values(), session.run({"x": X}, exported).values()
    assert (off == np.float32(1 / 3)).all()  # a Softmax of zeros
    assert np.abs(on - source.merged.predict(X)).max() < 1e-4


def test_weights_that_the_file_computes_go_in_whole(tmp_path: Path) -> None:
    net = residual_net()
    weight = next(each for each in net.graph.initializer if each.name == "stem.weight")
    weight.name = "stem.stored"
    net.graph.initializer.append(numpy_helper.from_array(np.float32([2.0]), "two"))
    net.graph.node.insert(0, helper.make_node("Mul", ["stem.stored", "two"], ["stem.weight"], name="double"))
    source = adapter_of(tmp_path, "liera", net=net, r=1, target_modules=["stem"])
    exported = export(source, "ort-adapter")
    assert exported.notes[0].endswith("of stem.weight: the base's file computes it from others")
    session = Session(exported, tmp_path, "logits")
    assert np.abs(session.run({"x": X}, exported)["logits"] - source.merged.logits(X)).max() < 1e-4
    assert np.abs(session.run({"x": X})["logits"] - lieref.load(tmp_path / "net.onnx").logits(X)).max() < 1e-4


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    net = residual_net()
    net.graph.node[0].output[0] = "stem.weight/base"
    net.graph.node[1].input[0] = "stem.weight/base"
    with pytest.raises(UnsupportedError, match=r"must not use the name 'stem\.weight/base'"):
        export(adapter_of(tmp_path, "lora", net=net, r=1), "ort-adapter")


def test_names_and_values_are_those_of_the_adapter(tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "liera", r=2, lora_alpha=3.0, target_modules=["head"])
    exported = export(source, "ort-adapter")
    assert not isinstance(exported.data, bytes)
    (tmp_path / "a.onnx_adapter").write_bytes(exported.data["adapter.onnx_adapter"])
    read = onnxruntime.AdapterFormat.read_adapter(str(tmp_path / "a.onnx_adapter")).get_parameters()
    params = source.model.sites["head.weight"].params
    assert (read["head.weight:lora_a"].numpy() == params["lora_a"]).all()
    assert (read["head.weight:lora_b"].numpy() == np.float32(1.5) * params["lora_b"]).all()
