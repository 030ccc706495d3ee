"""The self-test of a bundle as it is run: a right network passes, another one of the same weights does not."""

from __future__ import annotations

import json
import os
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
from lieref.adapter import run_self_test as module
from lieref.adapter.bundle.create import create_bundle
from lieref.adapter.bundle.refusal import BundleRefused
from lieref.adapter.folder import read_adapter
from lieref.adapter.merge.merging import merge_weights
from lieref.adapter.merged_file import merged_file
from lieref.adapter.run_self_test import RUNTIMES, Ran, main, run_self_test
from lieref.adapter.store.__main__ import main as store
from lieref.adapter.weights import decode_weights, weights_digest
from lieref.errors import DomainError, FormatError, MissingExtraError, UnsupportedError
from tests.adapter.bundle.bundles import root_file, signer
from tests.adapter.merge_nets import kinds_net
from tests.cli.helpers import small_network
from tests.model.encoder_net import encoder_net
from tests.model.nets import residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")

NETS: dict[str, Callable[[], onnx.ModelProto]] = {
    "small": small_network,
    "kinds": kinds_net,
    "residual": residual_net,
    "ids-and-mask": lambda: encoder_net(None, inputs=("input_ids", "attention_mask")),
}


def bundle_of(folder: Path, base: Path, **options: Any) -> Path:
    """Sign a bundle of an adapter with numbers in it, and write the root file that it is verified by."""
    model = lieref.load(base).attach("lora", r=2, **options)
    rng = np.random.default_rng(0)
    for array in model.parameters().values():
        array += (0.1 * rng.standard_normal(array.shape)).astype(array.dtype)
    model.save_adapter(folder / "adapter")
    made = create_bundle(folder / "bundle", folder / "adapter", base=base, signers=[signer("a")], counter=1)
    assert not [line for line in made.left_out if line.startswith("self-test")]
    (folder / "root.json").write_bytes(root_file())
    return folder / "bundle"


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """A bundle and its base."""
    base = saved(small_network(), tmp_path, "base.onnx")
    return bundle_of(tmp_path, base), base


def dilated(base: Path) -> Path:
    """The same weights and shapes, but the convolution is dilated."""
    proto = onnx.load(base)
    conv = next(node for node in proto.graph.node if node.op_type == "Conv")
    conv.attribute.append(onnx.helper.make_attribute("dilations", [2, 2]))
    next(each for each in conv.attribute if each.name == "pads").ints[:] = [2, 2, 2, 2]
    path = base.with_name("other.onnx")
    onnx.save(proto, path)
    return path


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NETS)
def test_a_right_network_passes(tmp_path: Path, name: str, runtime: str) -> None:
    base = saved(NETS[name](), tmp_path, "base.onnx")
    found = run_self_test(*read_adapter(bundle_of(tmp_path, base)), base, runtime=runtime)
    assert found.runtime.split()[0] == runtime
    assert 0 < found.of_bound < 0.5


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_base_of_other_attributes_is_refused(small: tuple[Path, Path], runtime: str) -> None:
    """Digests of weights do not tell it from the right one."""
    bundle, base = small
    other = dilated(base)
    assert weights_digest(decode_weights(other.read_bytes(), "other")) == weights_digest(
        decode_weights(base.read_bytes(), "base")
    )
    with pytest.raises(BundleRefused, match="logits must be within") as refused:
        run_self_test(*read_adapter(bundle), other, runtime=runtime)
    assert refused.value.slug == "self-test"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_damaged_weight_is_refused(small: tuple[Path, Path], runtime: str) -> None:
    bundle, base = small
    tensors, config = read_adapter(bundle)
    damaged = {name: array for name, array in tensors.items() if not name.startswith("selftest.tie")}
    key = "head.weight:lora_b"
    damaged[key] = damaged[key].copy()
    damaged[key].flat[0] += 0.25
    with pytest.raises(BundleRefused, match=f"by {runtime}") as refused:
        run_self_test(damaged, config, base, runtime=runtime)
    assert refused.value.slug == "self-test"


def test_a_damaged_base_is_refused(small: tuple[Path, Path]) -> None:
    bundle, base = small
    proto = onnx.load(base)
    head = next(tensor for tensor in proto.graph.initializer if tensor.name == "head.bias")
    head.CopyFrom(onnx.numpy_helper.from_array(np.float32([0, 0.1, 0]), "head.bias"))
    onnx.save(proto, base)
    with pytest.raises(BundleRefused, match="must be within"):
        run_self_test(*read_adapter(bundle), base)


@pytest.mark.parametrize("name", NETS)
def test_the_file_is_that_of_merging(tmp_path: Path, name: str) -> None:
    """Read by the onnx package it is the merged model, but for what the metadata say."""
    base = saved(NETS[name](), tmp_path, "base.onnx")
    tensors, config = read_adapter(bundle_of(tmp_path, base))
    data = base.read_bytes()
    own = onnx.load_from_string(merged_file(data, merge_weights(tensors, config, decode_weights(data, "base"))))
    onnx.checker.check_model(own)
    merged = lieref.load(base).load_adapter(tmp_path / "adapter").merge_and_unload().proto

    def numbers(proto: onnx.ModelProto) -> dict[str, tuple[Any, ...]]:
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
        return {name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()}

    assert numbers(own) == numbers(merged)
    assert list(own.graph.node) == list(merged.graph.node)
    assert (own.graph.input, own.graph.output, own.opset_import) == (
        merged.graph.input, merged.graph.output, merged.opset_import,
    )  # fmt: skip
    assert merged_file(data, {}) == data


def test_a_constant_takes_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in the nodes of a file are not exchanged in its bytes."""
    proto = small_network()
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == "conv.weight")
    node = onnx.helper.make_node("Constant", [], ["conv.weight"], value=weight)
    proto.graph.initializer.remove(weight)
    proto.graph.node.insert(0, node)
    base = saved(proto, tmp_path, "base.onnx")
    bundle = bundle_of(tmp_path, base)
    assert run_self_test(*read_adapter(bundle), base, runtime="onnxruntime").of_bound < 0.5
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "numba" else name)
    with pytest.raises(UnsupportedError, match=r"must be an initializer .*pip install 'lieref\[app\]'"):
        run_self_test(*read_adapter(bundle), base)


def test_what_cannot_be_run_is_said(small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, base = small
    tensors, config = read_adapter(bundle)
    with pytest.raises(DomainError, match="`runtime` must be one of onnxruntime, lieref; got 'tflite'"):
        run_self_test(tensors, config, base, runtime="tflite")
    with pytest.raises(DomainError, match="must be an ONNX file"):
        run_self_test(tensors, config, base.with_suffix(".safetensors"))
    with pytest.raises(DomainError, match="must be readable"):
        run_self_test(tensors, config, base.with_name("nowhere.onnx"))
    bare = {name: array for name, array in tensors.items() if not name.startswith("selftest.")}
    with pytest.raises(BundleRefused, match="must hold a self-test"):
        run_self_test(bare, config, base)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install onnxruntime, or"):
        run_self_test(tensors, config, base)


def test_a_network_that_does_not_run_is_refused(small: tuple[Path, Path]) -> None:
    bundle, base = small
    proto = onnx.load(base)
    proto.graph.node[2].op_type = "Nothing"
    onnx.save(proto, base)
    for runtime in RUNTIMES:
        with pytest.raises(BundleRefused, match="the merged network must run; ") as refused:
            run_self_test(*read_adapter(bundle), base, runtime=runtime)
        assert refused.value.slug == "self-test"


def test_a_file_that_is_none() -> None:
    with pytest.raises(FormatError):
        merged_file(b"\x3a\x99", {})
    named = b"\x3a\x05\x2a\x03\x42\x01\xff"  # a graph, an initializer, a name that is no UTF-8
    with pytest.raises(FormatError, match="UTF-8"):
        merged_file(named, {})
    odd = b"\x08\x96\x01\x11" + bytes(8) + b"\x1d" + bytes(4) + b"\x3a\x00"  # every kind of field
    assert merged_file(odd, {}) == odd


def test_the_command(small: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    bundle, base = small
    assert main([str(bundle), str(base)]) == 0
    assert capsys.readouterr().out.startswith(f"self-test passed: onnxruntime {onnxruntime.__version__}, at most ")
    assert main([str(bundle), str(dilated(base)), "--runtime", "lieref"]) == 3
    printed = capsys.readouterr()
    assert printed.out == "refused: self-test\n"
    assert printed.err.startswith("error: run_self_test: logits must be within ")
    assert main([str(bundle), str(bundle)]) == 2
    assert main([str(base), str(base)]) == 2
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())


def test_a_store_runs_it(small: tuple[Path, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """On a device with a wrong base of the right weights the bundle is not installed."""
    bundle, base = small
    command = f"{sys.executable} -m lieref.adapter.run_self_test"
    for name, path, status in (("right", base, 0), ("wrong", dilated(base), 3)):
        where = ["--store", str(tmp_path / name)]
        assert store(["init", "--base", str(path), "--trust", str(tmp_path / "root.json"), *where]) == 0
        assert store(["install", str(bundle), "--self-test", command, *where]) == status
        printed = capfd.readouterr()
        assert store(["status", "--json", *where]) == 0
        assert (json.loads(capfd.readouterr().out)["live"] is None) == bool(status)
    assert printed.out.splitlines()[-1] == "refused: self-test"
    assert "must be within" in printed.err


CODE = """
import sys
class Without:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"numba", "scipy", "onnx", "click", "llvmlite"}:
            raise ImportError(f"{name} is not on a device")
sys.meta_path.insert(0, Without())
import lieref.adapter.run_self_test as module
module.find_spec = lambda name: name if name == "onnxruntime" else None
print(module.run_self_test(*module.read_adapter(sys.argv[1]), sys.argv[2]))
"""


def test_with_onnx_runtime_numpy_is_enough(small: tuple[Path, Path]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(lieref.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, small)], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.startswith(f"{Ran.__name__}(runtime='onnxruntime ")
