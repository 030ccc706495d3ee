"""One way to merge: a device with NumPy alone gets the bits that the model writes, on every machine."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import lieref
from lieref.adapter import read_adapter
from lieref.adapter.merge.margin import margins
from lieref.adapter.merge.merging import merge_weights, merged_digest, merged_values
from lieref.adapter.merge.ties import PLACE, SAFETY, VALUE, portable_ties, settled
from lieref.adapter.tensor_file import write_tensor_file
from lieref.adapter.weights import read_weights
from lieref.errors import DomainError, FormatError, LierefError, UnsupportedError, VerificationError
from lieref.param.registry import METHODS
from tests.adapter.bundle.bundles import SITE, adapter_config
from tests.adapter.merge_nets import NETS
from tests.model.nets import make_onnx, residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")

WITH = ["kinds", "cells", "halves"]
NAMES = [*METHODS, "norm-stats+liera", "dense+so*gl+exp+out*in", "low-rank+gl+taylor2+in", "low-rank+so+cayley"]

FEW: dict[str, dict[str, Any]] = {
    **{name: {"m": 2} for name in ("atoms", "atoms-recursive", "liera-atoms")},
    "lokr-tucker": {"r": 1},
}
"""Fewer atoms, because they are learned when they are attached."""


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("nets")
    return {name: saved(make(), folder, f"{name}.onnx") for name, make in NETS.items()}


@pytest.fixture(scope="module")
def bases(paths: dict[str, Path]) -> dict[str, lieref.Model]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: lieref.load(path) for name, path in paths.items()}


def trained(model: lieref.Model, name: str, seed: int = 0, size: float = 0.05, **options: Any) -> lieref.Model:
    """A method on a network, its factors moved; statistics too where the method has them estimated."""
    model.unload()
    model.attach(name, **options, **FEW.get(name, {}))
    rng = np.random.default_rng(seed)
    if model.wants_statistics:
        model.estimate_statistics(rng.standard_normal((8, *model.graph.inputs[0].shape[1:])).astype(np.float32))
    for array in model.parameters().values():
        array += (size * rng.standard_normal(array.shape)).astype(array.dtype)
    return model


def every(bases: dict[str, lieref.Model], name: str) -> Iterator[tuple[str, lieref.Model]]:
    """Every network that the method can adapt, adapted."""
    tried = 0
    for net in WITH:
        try:
            yield net, trained(bases[net], name)
        except LierefError:
            continue
        tried += 1
    assert tried or name == "norm-stats"


@pytest.mark.parametrize("name", NAMES)
def test_numpy_merges_to_the_bits_of_the_merged_file(
    bases: dict[str, lieref.Model], paths: dict[str, Path], tmp_path: Path, name: str
) -> None:
    for net, model in every(bases, name):
        model.save_adapter(tmp_path / net)
        tensors, config = read_adapter(tmp_path / net)
        base = read_weights(paths[net])
        merged = merge_weights(tensors, config, base)
        model.merge_and_unload().save(tmp_path / "merged.onnx")
        written = read_weights(tmp_path / "merged.onnx")
        assert list(merged) == sorted(merged)
        assert set(written) == set(base)
        for tensor, array in base.items():
            expected = merged.get(tensor, array)
            assert expected.dtype == array.dtype
            assert written[tensor].tobytes() == expected.tobytes(), (net, tensor)
        assert not merged or merged_digest(merged) != merged_digest({name: base[name] for name in merged})


def test_an_untrained_adapter_merges_to_the_base(bases: dict[str, lieref.Model], paths: dict[str, Path]) -> None:
    model = bases["kinds"]
    base = read_weights(paths["kinds"])
    for name in METHODS:
        model.unload()
        model.attach(name, **FEW.get(name, {}))
        for tensor, array in merge_weights(*model.adapter_state(), base).items():
            if METHODS[name].wrapper == "dora":  # lengths of filters are stored in float32, and what is merged has them
                np.testing.assert_array_max_ulp(array, base[tensor], 1)
            else:
                assert array.tobytes() == base[tensor].tobytes(), (name, tensor)
    model.unload()


DEVICE = """
import json, sys
for name in ("numba", "llvmlite", "scipy", "onnx", "click", "safetensors"):
    sys.modules[name] = None
from pathlib import Path
from lieref.adapter import read_adapter
from lieref.adapter.folder import decode_tensors
from lieref.adapter.merge.merging import merge_weights, merged_digest
from lieref.adapter.weights import read_weights
found = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    tensors, config = read_adapter(folder)
    ties, _ = decode_tensors((folder / "ties.safetensors").read_bytes())
    found[folder.name] = merged_digest(merge_weights({**tensors, **ties}, config, read_weights(sys.argv[2])))
print(json.dumps(found))
"""


def test_a_device_without_numba_merges_every_method_to_the_same_digest(
    bases: dict[str, lieref.Model], paths: dict[str, Path], tmp_path: Path
) -> None:
    """Without numba matrix exponentials are computed another way: the last bits of float64 do differ."""
    base, expected = read_weights(paths["kinds"]), {}
    for name in METHODS:
        model = trained(bases["kinds"], name, size=0.1)
        model.save_adapter(tmp_path / name)
        state = model.adapter_state()
        ties = portable_ties(*state, base)
        write_tensor_file(tmp_path / name / "ties.safetensors", ties)
        expected[name] = merged_digest(merge_weights({**state[0], **ties}, state[1], base))
    done = subprocess.run(
        [sys.executable, "-c", DEVICE, str(tmp_path), str(paths["kinds"])], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == expected
    assert len(set(expected.values())) == len(expected) - 1  # hira is liera-taylor1 where alpha is r


@pytest.mark.parametrize("name", NAMES)
def test_two_machines_merge_to_the_same_bits(
    bases: dict[str, lieref.Model], paths: dict[str, Path], rng: np.random.Generator, name: str
) -> None:
    """Another machine's float64 is off by up to twice the bound anywhere; what it rounds is the same for all that."""
    for net, model in every(bases, name):
        for _ in range(3):
            for array in model.parameters().values():
                array += (0.05 * rng.standard_normal(array.shape)).astype(array.dtype)
            state, base = model.adapter_state(), read_weights(paths[net])
            ties = portable_ties(*state, base)
            merge = merged_values(*state, base)
            expected = merged_digest(settled(merge, ties))
            delta = {name: np.zeros(value.shape) for name, value in merge.values.items()}
            for site in merge.sites.values():
                delta |= margins(site, merge.base, merge.values)
            for _ in range(3):
                off = {name: 2 * rng.choice([-1.0, 1.0], each.shape) * each for name, each in delta.items()}
                other = replace(merge, values={name: value + off[name] for name, value in merge.values.items()})
                assert merged_digest(settled(other, ties)) == expected


def test_a_sum_that_cancels_is_the_same_zero_everywhere() -> None:
    """Of 0.1 + 0.2 - 0.3 float64 makes 6e-17, -6e-17 or 0, and float16 zeros of both signs: one is stored."""
    weight = np.array([[0.0, 1, 1], [1, 2, 1], [0.5, 0.25, 1]], np.float16)
    tensors = {
        "conv/w:lora_a": np.array([[0.1, 0.3, 1], [0.2, 0.1, 1], [-0.3, 0.2, 1]]),
        "conv/w:lora_b": np.array([[1, 1, 1], [0.1, 0.2, 0.3], [0.2, 0.1, 0.1]]),
    }
    site = {**SITE, "shape": [3, 3], "method": {"name": "lora", "r": 3, "lora_alpha": 3}}
    described = {"dtype": "float16", "shape": [3, 3], "source": "file"}
    config = adapter_config(b"", sites={"conv/w": site}, tensors={"conv/w": described})
    merge = merged_values(tensors, config, {"conv/w": weight})
    assert 0 < abs(merge.values["conv/w"][0, 0]) < 1e-16
    assert portable_ties(tensors, config, {"conv/w": weight}) == {}
    for value in (6e-17, -6e-17, 0.0, -0.0):
        merge.values["conv/w"][0, 0] = value
        found = settled(merge, tensors)["conv/w"]
        assert found.dtype == np.float16
        assert found[0, 0] == 0
        assert not np.signbit(found[0, 0])


@pytest.mark.parametrize("shape", [[2**40], [2**40, 2**40], [2, 2]])
def test_a_new_head_is_no_larger_than_its_adapter(shape: list[int]) -> None:
    site = {**SITE, "shape": shape, "method": {"name": "full"}}
    described = {"dtype": "float32", "shape": shape, "source": "zeros"}
    config = adapter_config(b"", sites={"head/w": site}, tensors={"head/w": described})
    with pytest.raises(FormatError, match="among the 3 numbers of the adapter"):
        merge_weights({"head/w:xi": np.zeros(3)}, config, {})


def tied(bases: dict[str, lieref.Model]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """An adapter that has ties, without them; its configuration; and the ties."""
    state = trained(bases["kinds"], "so", size=0.25).adapter_state()
    base = {name: value for name, value in bases["kinds"].graph.initializers.items() if value.dtype == np.float32}
    ties = portable_ties(*state, base)
    assert len(ties[PLACE]) > 2
    return *state, ties


def test_ties_decide(bases: dict[str, lieref.Model], paths: dict[str, Path]) -> None:
    tensors, config, ties = tied(bases)
    base = read_weights(paths["kinds"])
    merge = merged_values(tensors, config, base)
    sizes = np.cumsum([value.size for value in merge.values.values()])
    where = int(np.searchsorted(sizes, ties[PLACE][0], side="right"))
    name = [*merge.values][where]
    at = int(ties[PLACE][0]) - int(sizes[where] - merge.values[name].size)
    exact = merge.values[name].flat[at]
    delta = next(margins(site, merge.base, merge.values)[name] for site in merge.sites.values() if name in site.tensors)
    own = np.float32(exact)
    other = np.nextafter(own, np.float32(np.inf if exact > own else -np.inf))
    assert abs(exact - (float(own) + float(other)) / 2) <= SAFETY * delta.flat[at] * 1.01
    for value in (own, other):
        changed = {**ties, VALUE: np.concatenate([[value], ties[VALUE][1:]]).astype(np.float32)}
        assert merge_weights({**tensors, **changed}, config, base)[name].flat[at] == value
    beyond = np.nextafter(other, np.float32(np.inf if other > own else -np.inf))
    for value in (beyond, np.float32(0), -own, np.float32(3e38)):
        changed = {**ties, VALUE: np.concatenate([[value], ties[VALUE][1:]]).astype(np.float32)}
        with pytest.raises(VerificationError, match="what its numbers round to"):
            merge_weights({**tensors, **changed}, config, base)


def test_ties_that_are_none_are_refused(bases: dict[str, lieref.Model], paths: dict[str, Path]) -> None:
    tensors, config, ties = tied(bases)
    base = read_weights(paths["kinds"])
    place, value = ties[PLACE], ties[VALUE]
    wrong: list[tuple[dict[str, Any], type[LierefError]]] = [
        ({PLACE: place}, FormatError), ({VALUE: value}, FormatError), ({PLACE: place[1:], VALUE: value}, FormatError),
        ({PLACE: place[::-1], VALUE: value}, FormatError), ({PLACE: place * 0, VALUE: value}, FormatError),
        ({PLACE: place + 10**6, VALUE: value}, FormatError), ({PLACE: place.astype(float), VALUE: value}, FormatError),
        ({PLACE: place[None], VALUE: value[None]}, FormatError), ({PLACE: place, VALUE: value * np.nan}, DomainError),
        ({PLACE: place, VALUE: value.astype(float)}, FormatError),
        ({PLACE: place - 1, VALUE: value}, VerificationError),
    ]  # fmt: skip
    for changed, kind in wrong:
        with pytest.raises(kind):
            merge_weights({**tensors, **changed}, config, base)


def test_a_new_head_and_statistics_are_merged(paths: dict[str, Path], tmp_path: Path, rng: np.random.Generator) -> None:
    model = lieref.load(paths["residual"])
    model.attach("norm-stats+lora", head=lieref.NewHead(["cat", "dog", "frog"]))
    model.estimate_statistics(rng.standard_normal((8, 3, 9, 8)).astype(np.float32))
    for array in model.parameters().values():
        array += 0.1 * rng.standard_normal(array.shape).astype(np.float32)
    model.save_adapter(tmp_path / "a")
    tensors, config = read_adapter(tmp_path / "a")
    merged = merge_weights(tensors, config, read_weights(paths["residual"]))
    assert {"bn0.mean", "bn2.var", "new_head.weight", "new_head.bias", "stem.weight"} <= set(merged)
    lieref.load(paths["residual"]).load_adapter(tmp_path / "a").merge_and_unload().save(tmp_path / "merged.onnx")
    written = read_weights(tmp_path / "merged.onnx")
    assert all(written[name].tobytes() == array.tobytes() for name, array in merged.items())
    assert portable_ties(tensors, config, read_weights(paths["residual"])) is not None
    with pytest.raises(FormatError, match="must not be in the base"):
        merge_weights(tensors, config, {**read_weights(paths["residual"]), "new_head.bias": np.zeros(3, np.float32)})


def test_float64_is_merged_but_not_to_the_same_bits_everywhere(tmp_path: Path, rng: np.random.Generator) -> None:
    weight = rng.standard_normal((4, 3))
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)]
    path = saved(make_onnx(nodes, {"w": weight}, ["N", 3], "y", ["N", 4], input_type=onnx.TensorProto.DOUBLE), tmp_path)
    for dtype in ("float32", "float64"):
        model = trained(lieref.load(path, dtype=dtype), "liera", r=1)
        state = model.adapter_state()
        merged = merge_weights(*state, read_weights(path))
        assert merged["w"].dtype == np.float64
        a, b = (np.float64(state[0][f"w:lora_{part}"]) for part in "ab")
        np.testing.assert_allclose(merged["w"], weight * np.exp(b @ a), rtol=1e-14)
        (written,) = (t for t in model.merge_and_unload().proto.graph.initializer if t.name == "w")
        assert numpy_helper.to_array(written).tobytes() == merged["w"].tobytes()
        with pytest.raises(UnsupportedError, match="w must not be float64"):
            portable_ties(*state, read_weights(path))
        # a sum of two numbers is rounded alike everywhere
        assert portable_ties(*trained(lieref.load(path, dtype=dtype), "full").adapter_state(), read_weights(path)) == {}


def test_weights_that_the_file_computes_are_refused_by_name(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [
        helper.make_node("Transpose", ["v"], ["w"], perm=[1, 0]),
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
    ]
    v = rng.standard_normal((3, 4)).astype(np.float32)
    path = saved(make_onnx(nodes, {"v": v}, ["N", 3], "y", ["N", 4]), tmp_path)
    model = trained(lieref.load(path), "lora", r=1)
    state = model.adapter_state()
    assert state[1]["lieref"]["tensors"]["w"]["source"] == "computed"
    for function in (merge_weights, portable_ties):
        with pytest.raises(UnsupportedError, match="'w' must be stored in the base"):
            function(*state, read_weights(path))
    expected = merge_weights(*state, {"w": np.ascontiguousarray(v.T)})
    model.merge_and_unload().save(tmp_path / "merged.onnx")
    assert read_weights(tmp_path / "merged.onnx")["w"].tobytes() == expected["w"].tobytes()


def test_what_does_not_fit_is_refused(bases: dict[str, lieref.Model], paths: dict[str, Path]) -> None:
    tensors, config = trained(bases["kinds"], "ia3").adapter_state()
    base = read_weights(paths["kinds"])
    key = next(iter(tensors))
    assert merge_weights(tensors, config, base)

    def edited(*path: str, value: Any) -> dict[str, Any]:
        copy = json.loads(json.dumps(config))
        place = copy["lieref"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        return dict(copy)

    cases: list[tuple[Any, Any, Any, type[LierefError]]] = [
        ({}, config, base, FormatError),
        ({**tensors, "x:xi": np.ones(3)}, config, base, FormatError),
        ({**tensors, "conv.w:more": np.ones(3)}, config, base, FormatError),
        ({**tensors, key: tensors[key][:-1]}, config, base, FormatError),
        ({**tensors, key: tensors[key].astype(int)}, config, base, FormatError),
        ({**tensors, key: tensors[key] * np.nan}, config, base, DomainError),
        ({**tensors, key: tensors[key] + 3e38}, config, base, DomainError),
        (tensors, config, {}, FormatError),
        (tensors, config, {**base, "conv.w": base["conv.w"][:-1]}, FormatError),
        (tensors, config, {**base, "conv.w": base["conv.w"].astype(float)}, FormatError),
        (tensors, config, {**base, "conv.w": base["conv.w"] * np.nan}, DomainError),
        (tensors, {**config, "lieref": {**config["lieref"], "format": "lieref-adapter/2"}}, base, UnsupportedError),
        (tensors, edited("sites", "conv.w", "groups", value=4), base, FormatError),
        (tensors, edited("sites", "fc.w", "transposed", value=False), base, FormatError),
        (tensors, edited("sites", "conv.w", "directions", value=7), base, FormatError),
        (tensors, edited("sites", "conv.w", "bias", value="fc.w"), base, FormatError),
        (tensors, edited("sites", "conv.w", "bias", value="none"), base, FormatError),
        (tensors, edited("sites", "conv.w", "bias", value=None), base, FormatError),
        (tensors, edited("sites", "conv.w", "shape", value=[6, 27]), base, FormatError),
        (tensors, edited("sites", "conv.w", "method", value={"name": "unknown"}), base, FormatError),
        (tensors, edited("sites", "conv.w", "method", value={"name": "ia3", "map": 3}), base, FormatError),
        (tensors, edited("sites", "conv.w", "weight", value=1), base, FormatError),
        (tensors, edited("tensors", "conv.w", "dtype", value="float16"), base, FormatError),
        (tensors, edited("tensors", "conv.w", "source", value="zeros"), base, FormatError),
        (tensors, edited("tensors", value={}), base, FormatError),
        (tensors, edited("statistics", value=["bn.mean"]), base, FormatError),
    ]
    for number, (some, settings, weights, kind) in enumerate(cases):
        with pytest.raises(kind) as caught:
            merge_weights(some, settings, weights)
        assert type(caught.value) is kind, number
        assert len(str(caught.value)) < 500


def test_merged_file_says_where_it_comes_from(
    bases: dict[str, lieref.Model], paths: dict[str, Path], tmp_path: Path
) -> None:
    model = trained(lieref.load(paths["residual"]), "liera", r=1)
    model.save_adapter(tmp_path / "a")
    config = read_adapter(tmp_path / "a")[1]
    merged = model.merge_and_unload()
    assert {entry.key: entry.value for entry in merged.proto.metadata_props} == {
        "lieref.base_sha256": model.base_sha256,
        "lieref.adapter_sha256": config["lieref"]["tensors_sha256"],
        "lieref.method": "liera",
        "lieref.version": lieref.__version__,
    }
    assert not residual_net().metadata_props


def test_ties_of_a_loaded_adapter_are_kept_until_it_changes(
    bases: dict[str, lieref.Model], paths: dict[str, Path], tmp_path: Path
) -> None:
    tensors, config, ties = tied(bases)
    base = read_weights(paths["kinds"])
    own = merge_weights(tensors, config, base)
    flipped = dict(ties)
    merge = merged_values(tensors, config, base)
    sizes = np.cumsum([value.size for value in merge.values.values()])
    where = int(np.searchsorted(sizes, ties[PLACE][0], side="right"))
    name = [*merge.values][where]
    exact = merge.values[name].flat[int(ties[PLACE][0]) - int(sizes[where] - merge.values[name].size)]
    rounded = np.float32(exact)
    other = np.nextafter(rounded, np.float32(np.inf if exact > rounded else -np.inf))
    flipped[VALUE] = np.concatenate([[other], ties[VALUE][1:]]).astype(np.float32)
    lieref.adapter.write_adapter(tmp_path / "bundle", {**tensors, **flipped}, config)
    expected = merged_digest(merge_weights({**tensors, **flipped}, config, base))
    assert expected != merged_digest(own)
    model = lieref.load(paths["kinds"]).load_adapter(tmp_path / "bundle")
    merged = model.merge_and_unload()
    merged.save(tmp_path / "merged.onnx")
    written = read_weights(tmp_path / "merged.onnx")
    assert merged_digest({name: written[name] for name in own}) == expected
    again = lieref.load(paths["kinds"]).load_adapter(tmp_path / "bundle")
    next(iter(again.parameters().values()))[...] += 1e-3
    again.merge_and_unload().save(tmp_path / "again.onnx")
    again = lieref.load(paths["kinds"]).load_adapter(tmp_path / "bundle")
    again.save_adapter(tmp_path / "saved")
    assert not [name for name in read_adapter(tmp_path / "saved")[0] if name.startswith("selftest.")]
