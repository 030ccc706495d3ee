"""Dense differences: W0 + delta is the merged weight to the bit, and small changes keep their digits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

import lieref
from lieref.adapter.out.delta_file import CONFIG_NAME, TENSORS_NAME, apply_delta, read_delta, summing
from lieref.adapter.out.registry import export
from lieref.adapter.tensor_file import read_tensor_file
from lieref.errors import FormatError, LierefError, VerificationError
from tests.adapter.out.adapters import adapter_of
from tests.model.nets import in_halves, residual_net

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")


def tensors_of(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}


def written(folder: Path, files: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def in_doubles(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A float32 network in float64, of numbers that are no float32."""
    proto = onnx.ModelProto.FromString(proto.SerializeToString())
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            wide = numpy_helper.to_array(tensor).astype(np.float64) * (1 + 1e-9)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return proto


FILES = {"float32": lambda net: net, "float16": in_halves, "float64": in_doubles}
METHODS = (
    "full", "bias", "norm", "ia3", "lora", "loha", "flora", "atoms", "dora", "pissa", "oft-cayley", "hra", "elra",
    "affine", "liera", "liera-tucker", "hira",
)  # fmt: skip
"""One of every kind of parts."""

CASES = [(name, "float32") for name in METHODS]
CASES += [(name, file) for name in ("liera", "bias") for file in ("float16", "float64")]


@pytest.mark.parametrize(("method", "file"), CASES)
def test_the_sum_is_the_merged_file_to_the_bit(tmp_path: Path, method: str, file: str) -> None:
    source = adapter_of(tmp_path, method, net=FILES[file](residual_net()))
    folder = written(tmp_path / "delta", export(source, "delta").data)
    base, merged = tensors_of(onnx.load(tmp_path / "net.onnx")), tensors_of(source.proto)
    result = apply_delta(folder, base)
    changed = {name for name in base if base[name].tobytes() != merged[name].tobytes()}
    assert changed <= set(result)
    for name, value in result.items():
        assert value.dtype == base[name].dtype
        assert value.tobytes() == merged[name].tobytes()
    if file != "float16":  # which lose small changes when they are rounded
        assert changed


def test_changes_far_below_their_weight_keep_their_digits(tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "lora", r=2, scale=1e-5)
    tensors, _ = read_delta(written(tmp_path / "delta", export(source, "delta").data))
    site = source.model.sites["stem.weight"]
    b, a = (site.params[name].astype(np.float64) for name in ("lora_b", "lora_a"))
    exact = (b @ a).reshape(6, 3, 3, 3)
    delta = tensors["stem.weight:delta"]
    moved = np.abs(delta - exact) / np.abs(exact)
    assert np.max(moved) < 2.0**-22  # a unit in the last place beside the nearest
    assert np.mean(moved <= 2.0**-24) > 0.5
    change = next(change for change in source.changes if change.name == "stem.weight")
    subtracted = np.abs(change.after - change.before - exact) / np.abs(exact)
    assert np.max(subtracted) > 1e-3  # what the difference of the rounded weights is worth


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=20))
def test_every_pair_of_numbers(pairs: list[tuple[float, float]]) -> None:
    before, after = np.array(pairs, np.float32).T
    delta, missed = summing(before, after, after.astype(np.float64) - before.astype(np.float64))
    assert np.isfinite(delta).all()
    with np.errstate(over="ignore"):
        total = before + delta
    assert (total[~missed].view(np.int32) == after[~missed].view(np.int32)).all()
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        near = (np.abs(after) <= 2 * np.abs(before)) & (np.abs(before) <= 2 * np.abs(after)) & (before * after > 0)
    assert not missed[near].any()


def test_not_every_pair_has_a_delta() -> None:
    # every sum of the first and a number of this size is a multiple of 2^-24
    before, after = np.float32([1 + 2**-23, 1.0, -0.0, -0.0]), np.float32([1e-9, 1.5, -0.0, 0.0])
    delta, missed = summing(before, after, after.astype(np.float64) - before)
    assert missed.tolist() == [True, False, False, False]
    assert np.signbit(before[2:] + delta[2:]).tolist() == [True, False]


def test_replaced_numbers_are_said_and_read_back(tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "liera", r=2, target_modules=["head"])  # which keeps signs
    change = source.changes[0]
    after = change.after.copy()
    before = change.before.copy()
    before.reshape(-1)[7], after.reshape(-1)[7] = 1 + 2**-23, 1e-9
    stub = type(change)(change.name, before, after, after.astype(np.float64) - before, change.layer, before, False)
    source.__dict__["changes"] = (stub,)
    exported = export(source, "delta")
    assert exported.facts["replaced_numbers"] == 1
    assert exported.notes == ("no delta adds up to some merged numbers, which are stored themselves: head.weight (1)",)
    result = apply_delta(written(tmp_path / "delta", exported.data), {"head.weight": before})
    assert result["head.weight"].tobytes() == after.tobytes()


def test_another_base_and_damaged_files_are_refused(tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "liera", r=1)
    files = export(source, "delta").data
    assert not isinstance(files, bytes)
    base = tensors_of(onnx.load(tmp_path / "net.onnx"))
    folder = written(tmp_path / "delta", files)
    other = {**base, "stem.weight": base["stem.weight"] * np.float32(2)}
    with pytest.raises(VerificationError, match=r"must hold the 'stem\.weight' that the delta was made for"):
        apply_delta(folder, other)
    with pytest.raises(VerificationError, match="it does not"):
        apply_delta(folder, {name: value for name, value in base.items() if name != "head.weight"})

    def edited(change: Callable[[dict[str, Any]], Any]) -> dict[str, bytes]:
        config = json.loads(files[CONFIG_NAME])
        change(config)
        return {**files, CONFIG_NAME: json.dumps(config).encode()}

    after = "after_sha256"
    for changed in (
        {**files, TENSORS_NAME: files[TENSORS_NAME][:-1]},
        {**files, TENSORS_NAME: files[TENSORS_NAME][:-1] + b"\0"},
        {**files, CONFIG_NAME: b"{}"},
        edited(lambda c: c.update(format="lieref-delta/9")),
        edited(lambda c: c.update(tensors=[])),
        edited(lambda c: c["tensors"]["stem.weight"].update(dtype="int8")),
        edited(lambda c: c["tensors"]["stem.weight"].update(shape=[6, 27])),
        edited(lambda c: c["tensors"]["stem.weight"].update({after: c["tensors"]["head.weight"][after]})),
        edited(lambda c: c["tensors"].pop("stem.weight")),
        edited(lambda c: c["tensors"].update(more=c["tensors"]["stem.weight"])),
    ):
        with pytest.raises((FormatError, VerificationError)):
            apply_delta(written(folder, changed), base)
    (folder / CONFIG_NAME).unlink()
    with pytest.raises(LierefError, match=r"must hold delta\.json"):
        apply_delta(folder, base)


def test_the_folder_says_what_it_was_made_from(tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "liera", r=1)
    _, config = read_delta(written(tmp_path / "delta", export(source, "delta").data))
    model = lieref.load(tmp_path / "net.onnx")
    assert config["base_sha256"] == model.base_sha256
    assert config["network_sha256"] == model.network_sha256
    adapter = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["adapter_sha256"] == adapter["lieref"]["tensors_sha256"]
    assert set(read_tensor_file(tmp_path / "delta" / TENSORS_NAME)[0]) == {
        f"{name}:delta" for name in config["tensors"]
    }


def test_adding_needs_numpy_alone() -> None:
    code = (
        "import sys, lieref.adapter.out.delta_file\n"
        "print(sorted({'numba', 'scipy', 'onnx', 'click'} & {name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
