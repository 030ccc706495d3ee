"""Adapters of PEFT's, written by hand: the weights they become are those of its formulas."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import lieref
from lieref._types import Array
from lieref.adapter.exchange.build import Imported, attach_foreign
from lieref.adapter.exchange.given import Given
from lieref.adapter.exchange.peft import read, recognises
from lieref.adapter.model import Model, load
from lieref.errors import DomainError, FormatError, LierefError, ShapeError, UnsupportedError
from tests.adapter.exchange.network import scales, state, write, write_adapter

U = 2.0**-24
CONV, MIX, LOW = "block.0.conv", "mix", "low"
SHAPES = {CONV: (6, 4, 3, 3), MIX: (8, 3, 1, 1), LOW: (5, 8)}

Numbers = Callable[..., Array]


@pytest.fixture
def numbers() -> Numbers:
    generator = np.random.default_rng(7)
    return lambda *shape: generator.standard_normal(shape).astype(np.float32)


def imported(tmp_path: Path, kind: str, tensors: dict[str, Array], **config: Any) -> tuple[Model, Imported]:
    model = load(write(tmp_path / "base.onnx", state()))
    return model, attach_foreign(model, read(write_adapter(tmp_path / "peft", kind, tensors, **config)))


def weight_of(model: Model, module: str) -> Array:
    """Return the adapted weight of a module, out channels first."""
    names = {CONV: "block.0.conv.weight", MIX: "mix.weight", LOW: "onnx::MatMul_40"}
    stored = model.adapted_tensors()[names[module]]
    return stored.T if module == LOW else stored


def check(model: Model, module: str, expected: Array, roundings: int = 60) -> None:
    """Compare an adapted weight with the one of the formula; each entry is a sum of some tens of products."""
    ours = weight_of(model, module).astype(np.float64)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= roundings * U * (np.abs(expected).max() + 10)
    assert np.abs(expected - state()[f"{module}.weight"]).max() > 1e-3


@pytest.mark.parametrize("module", [CONV, LOW])
@pytest.mark.parametrize("rslora", [False, True])
def test_lora(tmp_path: Path, numbers: Numbers, module: str, rslora: bool) -> None:
    shape = SHAPES[module]
    a, b = numbers(2, *shape[1:]), numbers(shape[0], 2, *(1,) * len(shape[2:]))
    model, _ = imported(tmp_path, "LORA", {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b},
                        r=2, lora_alpha=3, use_rslora=rslora)  # fmt: skip
    s = 3 / np.sqrt(2) if rslora else 3 / 2
    delta = s * b.astype(np.float64).reshape(shape[0], 2) @ a.reshape(2, -1)
    check(model, module, state()[f"{module}.weight"] + delta.reshape(shape))
    assert model.method_name == ("rslora" if rslora else "lora")


def test_patterns_of_rank_and_alpha_end_a_path(tmp_path: Path, numbers: Numbers) -> None:
    tensors = {f"{CONV}.lora_A.weight": numbers(3, 4, 3, 3), f"{CONV}.lora_B.weight": numbers(6, 3, 1, 1),
               f"{LOW}.lora_A.weight": numbers(2, 8), f"{LOW}.lora_B.weight": numbers(5, 2)}  # fmt: skip
    config = {"r": 2, "lora_alpha": 4, "rank_pattern": {"0.conv": 3}, "alpha_pattern": {"^low": 5.0}}
    model, _ = imported(tmp_path, "LORA", tensors, **config)
    for module, s in ((CONV, 4 / 3), (LOW, 5 / 2)):
        shape, (a, b) = SHAPES[module], (tensors[f"{module}.lora_{x}.weight"].astype(float) for x in "AB")
        delta = s * b.reshape(len(b), -1) @ a.reshape(len(a), -1)
        check(model, module, state()[f"{module}.weight"] + delta.reshape(shape))


def test_rank_beyond_the_room_keeps_the_product(tmp_path: Path, numbers: Numbers) -> None:
    a, b = numbers(9, 8), numbers(5, 9)
    model, made = imported(tmp_path, "LORA", {"low.lora_A.weight": a, "low.lora_B.weight": b}, r=9, lora_alpha=9)
    check(model, LOW, state()["low.weight"] + b.astype(float) @ a)
    assert "its rank 9 is more than the weight has room for" in made.notes[0]


def test_lora_within_groups_is_that_of_a_grouped_convolution(tmp_path: Path, numbers: Numbers) -> None:
    a, b = np.zeros((4, 6, 1, 1), np.float32), numbers(8, 2, 1, 1)
    a[:2, :3], a[2:, 3:] = numbers(2, 3, 1, 1), numbers(2, 3, 1, 1)
    model, _ = imported(tmp_path, "LORA", {"mix.lora_A.weight": a, "mix.lora_B.weight": b}, r=4, lora_alpha=2)
    delta = np.concatenate(
        [b[:4, :, 0, 0] @ a[:2, :3, 0, 0].astype(float), b[4:, :, 0, 0] @ a[2:, 3:, 0, 0].astype(float)]
    )
    check(model, MIX, state()["mix.weight"] + 0.5 * delta.reshape(8, 3, 1, 1))


def test_lora_across_groups_is_refused(tmp_path: Path, numbers: Numbers) -> None:
    tensors = {"mix.lora_A.weight": numbers(2, 6, 1, 1), "mix.lora_B.weight": numbers(8, 1, 1, 1)}
    with pytest.raises(UnsupportedError, match="must read the channels of its group alone"):
        imported(tmp_path, "LORA", tensors, r=2, lora_alpha=2)


@pytest.mark.parametrize("module", [CONV, LOW])
def test_dora(tmp_path: Path, numbers: Numbers, module: str) -> None:
    shape = SHAPES[module]
    a, b, m = numbers(2, *shape[1:]), numbers(shape[0], 2, *(1,) * len(shape[2:])), np.abs(numbers(shape[0]))
    magnitude = m.reshape(1, -1, 1, 1) if module == CONV else m
    tensors = {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b, f"{module}.lora_magnitude_vector": magnitude}
    model, _ = imported(tmp_path, "LORA", tensors, r=2, lora_alpha=3, use_dora=True)
    v = state()[f"{module}.weight"].reshape(shape[0], -1) + 1.5 * b.astype(float).reshape(shape[0], 2) @ a.reshape(
        2, -1
    )
    check(model, module, (m[:, None] * v / np.linalg.norm(v, axis=1, keepdims=True)).reshape(shape))


@pytest.mark.parametrize("module", [CONV, MIX, LOW])
def test_loha(tmp_path: Path, numbers: Numbers, module: str) -> None:
    shape = SHAPES[module]
    n = int(np.prod(shape[1:]))
    factors = {"w1_a": numbers(shape[0], 2), "w1_b": numbers(2, n), "w2_a": numbers(shape[0], 2), "w2_b": numbers(2, n)}
    model, _ = imported(tmp_path, "LOHA", {f"{module}.hada_{k}": v for k, v in factors.items()}, r=2, alpha=3)
    a1, b1, a2, b2 = (factor.astype(float) for factor in factors.values())
    check(model, module, state()[f"{module}.weight"] + (1.5 * (a1 @ b1) * (a2 @ b2)).reshape(shape))


@pytest.mark.parametrize("low_rank", [False, True])
def test_lokr(tmp_path: Path, numbers: Numbers, low_rank: bool) -> None:
    r = 1 if low_rank else 4  # 6 = 2 x 3 out and 4 = 2 x 2 in channels
    w1, full = numbers(2, 2), numbers(3, 2, 3, 3)
    tensors = {f"{CONV}.lokr_w1": w1, f"{CONV}.lokr_w2": full}
    if low_rank:
        a, b = numbers(3, 1), numbers(1, 2 * 9)
        tensors = {f"{CONV}.lokr_w1": w1, f"{CONV}.lokr_w2_a": a, f"{CONV}.lokr_w2_b": b}
        full = (a @ b).reshape(3, 2, 3, 3)
    model, _ = imported(tmp_path, "LOKR", tensors, r=r, alpha=3)
    delta = np.zeros((6, 4, 3, 3))
    for i, j, k, m in np.ndindex(2, 3, 2, 2):
        delta[3 * i + j, 2 * k + m] = 3 / r * w1[i, k].astype(float) * full[j, m]
    check(model, CONV, state()[f"{CONV}.weight"] + delta)


def test_lokr_multiplies_a_decomposed_w1(tmp_path: Path, numbers: Numbers) -> None:
    a, b, w2 = numbers(2, 1), numbers(1, 2), numbers(3, 2, 3, 3)
    tensors = {f"{CONV}.lokr_w1_a": a, f"{CONV}.lokr_w1_b": b, f"{CONV}.lokr_w2": w2}
    model, made = imported(tmp_path, "LOKR", tensors, r=4, alpha=4)
    check(model, CONV, state()[f"{CONV}.weight"] + np.kron((a @ b)[:, :, None, None].astype(float), w2))
    assert "w1 is kept as the product of its two factors" in made.notes[0]


def test_ia3_multiplies_outputs_with_the_bias_and_inputs_without(tmp_path: Path, numbers: Numbers) -> None:
    out, inner = 1 + np.abs(numbers(5, 1)), numbers(1, 6, 1, 1)
    model, _ = imported(tmp_path, "IA3", {"low.ia3_l": out, "mix.ia3_l": inner}, feedforward_modules=["mix"])
    check(model, LOW, state()["low.weight"] * out.astype(float))
    expected = state()["mix.weight"].reshape(2, 4, 3) * inner.astype(float).reshape(2, 1, 3)
    check(model, MIX, expected.reshape(8, 3, 1, 1))
    assert np.abs(model.adapted_tensors()["low.bias"] - state()["low.bias"] * out[:, 0]).max() <= 8 * U


def test_ia3_says_where_small_factors_are_rounded(tmp_path: Path) -> None:
    factors = np.array([[0.1], [0.7], [3.3], [1e-3], [1.0]], np.float32)
    _, made = imported(tmp_path, "IA3", {"low.ia3_l": factors}, feedforward_modules=[])
    assert made.notes == ("low: 2 factors below 1/2 are kept to the spacing of numbers at 1",)


def skew(upper: Array, b: int) -> Array:
    q = np.zeros((b, b))
    q[np.triu_indices(b, 1)] = upper
    return q - q.T


def turned(weight: Array, blocks: list[Array]) -> Array:
    """Return V R^T with R block-diagonal."""
    b = len(blocks[0])
    rows = weight.astype(float).reshape(len(weight), -1)
    return np.concatenate([rows[:, i * b : (i + 1) * b] @ r.T for i, r in enumerate(blocks)], axis=1)


@pytest.mark.parametrize("neumann", [False, True])
def test_oft(tmp_path: Path, numbers: Numbers, neumann: bool) -> None:
    upper = 0.3 * numbers(2, 6)
    model, made = imported(
        tmp_path, "OFT", {"low.oft_R.weight": upper}, r=0, oft_block_size=4, use_cayley_neumann=neumann
    )
    eye = np.eye(4)
    exact = [(eye - q) @ np.linalg.inv(eye + q) for q in (skew(one, 4) for one in upper)]
    short = [eye + 2 * q + 2 * q @ q + 2 * q @ q @ q + q @ q @ q @ q for q in (skew(one, 4) for one in upper)]
    check(model, LOW, turned(state()["low.weight"], short if neumann else exact))
    assert made.methods == {"low": "oft-cayley-neumann" if neumann else "oft-cayley"}


@pytest.mark.parametrize(("terms", "map_"), [(2, "taylor1"), (3, "neumann3"), (4, "neumann3"), (6, "neumann5")])
def test_oft_of_other_terms(tmp_path: Path, numbers: Numbers, terms: int, map_: str) -> None:
    upper, eye = 0.3 * numbers(2, 6), np.eye(4)
    model, _ = imported(
        tmp_path, "OFT", {"low.oft_R.weight": upper}, r=0, oft_block_size=4, num_cayley_neumann_terms=terms
    )
    powers = [[np.linalg.matrix_power(skew(one, 4), k) for k in range(6)] for one in upper]
    last = {2: {1: 2}, 3: {1: 2, 2: 2, 3: 1}, 4: {1: 2, 2: 2, 3: 1}, 6: {1: 2, 2: 2, 3: 2, 4: 2, 5: 1}}[terms]
    check(model, LOW, turned(state()["low.weight"], [eye + sum(c * p[k] for k, c in last.items()) for p in powers]))
    assert [site.method.recipe.settings["map"] for site in model.sites.values()] == [map_]


def test_oft_of_no_terms_is_refused(tmp_path: Path, numbers: Numbers) -> None:
    for terms in (1, -5, 10**9, "5", 2.5):
        with pytest.raises(LierefError, match="`num_cayley_neumann_terms` must be"):
            imported(tmp_path, "OFT", {"low.oft_R.weight": numbers(2, 6)}, oft_block_size=4,
                     num_cayley_neumann_terms=terms)  # fmt: skip


def test_oft_with_a_shared_and_a_constrained_block(tmp_path: Path, numbers: Numbers) -> None:
    upper = numbers(1, 6)
    config = {"oft_block_size": 4, "use_cayley_neumann": False, "block_share": True, "coft": True, "eps": 0.2}
    model, _ = imported(tmp_path, "OFT", {"low.oft_R.weight": upper}, **config)
    q = skew(upper[0], 4)
    q = q * 0.2 / np.linalg.norm(q)  # one block: eps / sqrt(1)
    r = (np.eye(4) - q) @ np.linalg.inv(np.eye(4) + q)
    check(model, LOW, turned(state()["low.weight"], [r, r]))


def test_oft_of_a_larger_kernel_is_refused(tmp_path: Path, numbers: Numbers) -> None:
    with pytest.raises(UnsupportedError, match="must be 1x1"):
        imported(tmp_path, "OFT", {f"{CONV}.oft_R.weight": numbers(9, 6)}, oft_block_size=4)


@pytest.mark.parametrize("scaled", [False, True])
def test_boft(tmp_path: Path, numbers: Numbers, scaled: bool) -> None:
    blocks, s = 0.3 * numbers(1, 9, 4, 4), numbers(1, 6) if scaled else np.ones((1, 6), np.float32)
    model, made = imported(tmp_path, "BOFT", {f"{CONV}.boft_R": blocks, f"{CONV}.boft_s": s}, boft_block_size=4)
    each = [0.5 * (one - one.T).astype(float) for one in blocks[0]]
    rows = turned(state()[f"{CONV}.weight"], [(np.eye(4) - q) @ np.linalg.inv(np.eye(4) + q) for q in each])
    check(model, CONV, (rows * s.astype(float).T).reshape(6, 4, 3, 3))
    assert made.methods[CONV] == ("dense+additive+exp" if scaled else "boft")


@pytest.mark.parametrize(("r", "schmidt"), [(2, False), (4, False), (3, False), (4, True)])
def test_hra(tmp_path: Path, numbers: Numbers, r: int, schmidt: bool) -> None:
    u = numbers(8, r)
    model, made = imported(tmp_path, "HRA", {"low.hra_u": u}, r=r, apply_GS=schmidt)
    vectors = np.linalg.qr(u.astype(float))[0] if schmidt else u.astype(float)  # signs do not matter to reflections
    rows = state()["low.weight"].astype(float)
    for v in vectors.T:
        rows = rows @ (np.eye(8) - 2 * np.outer(v, v) / (v @ v))
    check(model, LOW, rows)
    assert made.methods["low"] == ("dense+additive+exp" if r % 2 else "hra")


@pytest.mark.parametrize("module", [CONV, LOW])
def test_hira(tmp_path: Path, numbers: Numbers, module: str) -> None:
    shape = SHAPES[module]
    a, b = numbers(2, *shape[1:]), numbers(shape[0], 2, *(1,) * len(shape[2:]))
    model, _ = imported(tmp_path, "HIRA", {f"{module}.hira_A": a, f"{module}.hira_B": b}, r=2)
    product = (b.astype(float).reshape(shape[0], 2) @ a.reshape(2, -1)).reshape(shape)
    check(model, module, state()[f"{module}.weight"] * (1 + product))


def test_biases_and_a_whole_module_are_replaced(tmp_path: Path, numbers: Numbers) -> None:
    shapes = {"low.lora_A.weight": (1, 8), "low.lora_B.weight": (5, 1), "low.base_layer.bias": (5,),
              "head.weight": (7, 5), "head.bias": (7,), "head.original_module.bias": (7,)}  # fmt: skip
    tensors = {key: numbers(*shape) for key, shape in shapes.items()}
    model, _ = imported(tmp_path, "LORA", tensors, r=1, lora_alpha=1, bias="all", modules_to_save=["head"])
    adapted = model.adapted_tensors()
    for name, key in (("low.bias", "low.base_layer.bias"), ("head.weight", "head.weight"), ("head.bias", "head.bias")):
        assert np.abs(adapted[name] - tensors[key]).max() <= 8 * U


def test_shift_of_a_normalisation_is_replaced(tmp_path: Path, numbers: Numbers) -> None:
    tensors = {"low.lora_A.weight": numbers(1, 8), "low.lora_B.weight": numbers(5, 1), "block.0.norm.bias": numbers(6)}
    foreign = read(write_adapter(tmp_path / "peft", "LORA", tensors, r=1, lora_alpha=1, bias="all"))
    model = load(write(tmp_path / "base.onnx", state(norm=True)))
    attach_foreign(model, foreign)
    assert np.abs(model.adapted_tensors()["block.0.norm.bias"] - tensors["block.0.norm.bias"]).max() <= 8 * U
    folded = load(write(tmp_path / "folded.onnx", state(norm=True), "dynamo", fold=True))
    with pytest.raises(DomainError, match=r"block.0.norm is nowhere"):
        attach_foreign(folded, foreign)


def test_a_weight_that_other_modules_read_is_refused(tmp_path: Path, numbers: Numbers) -> None:
    proto = onnx.load(write(tmp_path / "base.onnx", state()))
    proto.graph.node.append(onnx.helper.make_node("MatMul", ["y5", "onnx::MatMul_40"], ["second"], "/tied/MatMul"))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("second", onnx.TensorProto.FLOAT, ["n", 5]))
    onnx.save(proto, tmp_path / "tied.onnx")
    held = {"low.lora_A.weight": numbers(2, 8), "low.lora_B.weight": numbers(5, 2)}
    foreign = read(write_adapter(tmp_path / "peft", "LORA", held, r=2, lora_alpha=2))
    with pytest.raises(UnsupportedError, match="that of several, /low/MatMul, /tied/MatMul"):
        attach_foreign(load(tmp_path / "tied.onnx"), foreign)


def test_module_for_other_classes_becomes_a_new_head_to_the_bit(tmp_path: Path, numbers: Numbers) -> None:
    weight, bias = numbers(3, 5), numbers(3)
    tensors = {f"{CONV}.lora_A.weight": numbers(1, 4, 3, 3), f"{CONV}.lora_B.weight": numbers(6, 1, 1, 1),
               "head.weight": weight, "head.bias": bias}  # fmt: skip
    model, made = imported(tmp_path, "LORA", tensors, r=1, lora_alpha=1, modules_to_save=["head"])
    assert model.head is not None
    assert made.methods["head"] == "new-head"
    adapted = model.adapted_tensors()
    np.testing.assert_array_equal(adapted[model.head.weight], weight)
    np.testing.assert_array_equal(adapted[model.head.bias], bias)
    assert model.predict(np.zeros((2, 4, 5, 5), np.float32)).shape == (2, 3)


def test_bfloat16_is_read(tmp_path: Path, numbers: Numbers) -> None:
    words = {"low.lora_A.weight": numbers(2, 8), "low.lora_B.weight": numbers(5, 2)}
    words = {key: (value.view(np.uint32) >> 16).astype(np.uint16) for key, value in words.items()}
    folder = write_adapter(tmp_path / "peft", "LORA", words, r=2, lora_alpha=2)
    file = folder / "adapter_model.safetensors"
    file.write_bytes(_as_bfloat16(file.read_bytes()))
    model = load(write(tmp_path / "base.onnx", state()))
    attach_foreign(model, read(folder))
    a, b = ((value.astype(np.uint32) << 16).view(np.float32) for value in words.values())
    check(model, LOW, state()["low.weight"] + b.astype(float) @ a)


def _as_bfloat16(data: bytes) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].rstrip().replace(b'"U16"', b'"BF16"')
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


FOLDED = {
    "LORA": lambda n: {"lora_A.weight": n(2, 4, 3, 3), "lora_B.weight": n(6, 2, 1, 1)},
    "DORA": lambda n: {"lora_A.weight": n(2, 4, 3, 3), "lora_B.weight": n(6, 2, 1, 1),
                       "lora_magnitude_vector": np.abs(n(1, 6, 1, 1))},
    "LOHA": lambda n: {"hada_w1_a": n(6, 2), "hada_w1_b": n(2, 36), "hada_w2_a": n(6, 2), "hada_w2_b": n(2, 36)},
    "LOKR": lambda n: {"lokr_w1": n(2, 2), "lokr_w2": n(3, 2, 3, 3)},
    "HIRA": lambda n: {"hira_A": n(2, 4, 3, 3), "hira_B": n(6, 2, 1, 1)},
    "HRA": lambda n: {"hra_u": n(36, 2)},
    "BOFT": lambda n: {"boft_R": n(1, 9, 4, 4), "boft_s": n(1, 6)},
}  # fmt: skip
MULTIPLY = ("HIRA", "HRA", "BOFT")


@pytest.mark.parametrize("style", ["torchscript", "dynamo", "none"])
@pytest.mark.parametrize("kind", FOLDED)
def test_folded_normalisation(tmp_path: Path, numbers: Numbers, kind: str, style: str) -> None:
    tensors = state(norm=True)
    held = {f"{CONV}.{key}": value for key, value in FOLDED[kind](numbers).items()}
    config = {"r": 4 if kind == "LOKR" else 2, "lora_alpha": 3, "alpha": 3}
    foreign = read(write_adapter(tmp_path / "peft", kind.replace("DORA", "LORA"), held, **config))
    plain = load(write(tmp_path / "plain.onnx", tensors, "torchscript"))
    attach_foreign(plain, foreign)
    expected = plain.adapted_tensors()["block.0.conv.weight"].astype(float) * scales(tensors).reshape(-1, 1, 1, 1)

    folded = load(write(tmp_path / "folded.onnx", tensors, style, fold=True))
    given = Given(tensors=tensors)
    name_by = given if style == "none" else None  # a file without names needs the base to find the module at all
    if kind not in MULTIPLY and style != "none":
        with pytest.raises(UnsupportedError, match="BatchNormalization is folded into its weight"):
            attach_foreign(folded, foreign)
        assert not folded.sites
        name_by = given
    made = attach_foreign(folded, foreign, name_by)
    (name,) = (made.nodes[CONV],)
    layer = next(layer for layer in folded.layers if layer.node == name)
    ours = folded.adapted_tensors()[layer.weight]
    assert np.abs(ours - expected).max() <= 60 * U * np.abs(expected).max()
    x = np.random.default_rng(3).standard_normal((2, 4, 5, 5)).astype(np.float32)
    assert np.abs(folded.logits(x) - plain.logits(x)).max() <= 1e-4 * np.abs(plain.logits(x)).max()


def test_ia3_of_a_folded_module_moves_the_bias_as_the_module_would(tmp_path: Path, numbers: Numbers) -> None:
    tensors = state(norm=True)
    factor = np.abs(numbers(1, 6, 1, 1)) + 1
    foreign = read(write_adapter(tmp_path / "peft", "IA3", {f"{CONV}.ia3_l": factor}, feedforward_modules=[]))
    plain = load(write(tmp_path / "plain.onnx", tensors, "dynamo"))
    attach_foreign(plain, foreign)
    folded = load(write(tmp_path / "folded.onnx", tensors, "dynamo", fold=True))
    with pytest.raises(UnsupportedError, match="its bias must be known"):
        attach_foreign(folded, foreign)
    attach_foreign(folded, foreign, Given(tensors=tensors))
    x = np.random.default_rng(3).standard_normal((2, 4, 5, 5)).astype(np.float32)
    assert np.abs(folded.logits(x) - plain.logits(x)).max() <= 1e-5 * np.abs(plain.logits(x)).max()


def test_another_base_is_refused(tmp_path: Path, numbers: Numbers) -> None:
    held = {"low.lora_A.weight": numbers(2, 8), "low.lora_B.weight": numbers(5, 2)}
    model = load(write(tmp_path / "base.onnx", state()))
    foreign = read(write_adapter(tmp_path / "peft", "LORA", held, r=2, lora_alpha=2))
    with pytest.raises(DomainError, match="must be that of low in the given base"):
        attach_foreign(model, foreign, Given(tensors=state(seed=1)))


def test_what_is_imported_is_saved_trained_on_and_merged(tmp_path: Path, numbers: Numbers) -> None:
    held = {"low.lora_A.weight": numbers(2, 8), "low.lora_B.weight": numbers(5, 2)}
    model, _ = imported(tmp_path, "LORA", held, r=2, lora_alpha=2)
    model.save_adapter(tmp_path / "adapter")
    again = load(tmp_path / "base.onnx").load_adapter(tmp_path / "adapter")
    for name, value in model.adapted_tensors().items():
        np.testing.assert_array_equal(again.adapted_tensors()[name], value)
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((16, 4, 5, 5)).astype(np.float32), generator.integers(0, 7, 16)
    before = again.adapted_tensors()["onnx::MatMul_40"].copy()
    lieref.fit(again, x, y, epochs=2, seed=0)
    assert np.abs(again.adapted_tensors()["onnx::MatMul_40"] - before).max() > 0
    again.merge_and_unload().save(tmp_path / "merged.onnx")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "PSOFT"}, "lacks the singular vectors"),
        ({"peft_type": "PREFIX_TUNING"}, "must be a kind that has a form here"),
        ({"init_lora_weights": "pissa"}, "changes the base"),
        ({"use_qalora": True}, "QALoRA has no form here"),
        ({"rank_pattern": {"low(": 3}}, "must be a regular expression"),
        ({"rank_pattern": {"low": "3"}}, "must be numbers"),
        ({"alpha_pattern": [1]}, "must be an object of numbers"),
        ({"r": 3}, "must be the rank 2 of the tensors"),
        ({"lora_alpha": -1}, "lora_alpha"),
    ],
)  # fmt: skip
def test_settings_without_an_exact_form_are_refused(
    tmp_path: Path, numbers: Numbers, config: dict[str, Any], message: str
) -> None:
    held = {"low.lora_A.weight": numbers(2, 8), "low.lora_B.weight": numbers(5, 2)}
    folder = write_adapter(tmp_path / "peft", "LORA", held, r=2, lora_alpha=2)
    whole = json.loads((folder / "adapter_config.json").read_text()) | config
    (folder / "adapter_config.json").write_text(json.dumps(whole))
    model = load(write(tmp_path / "base.onnx", state()))
    with pytest.raises(LierefError, match=message):
        attach_foreign(model, read(folder))
    assert not model.sites


@pytest.mark.parametrize(
    ("tensors", "error", "message"),
    [
        ({"low.lora_A.weight": (2, 9), "low.lora_B.weight": (5, 2)}, LierefError, "low rank must have A"),
        ({"low.lora_A.weight": (2, 8)}, LierefError, "lora_B.weight"),
        ({"low.lora_embedding_A": (2, 8)}, UnsupportedError, "it is of an embedding"),
        ({"lows.lora_A.weight": (2, 8), "lows.lora_B.weight": (5, 2)}, DomainError, "lows is nowhere, close is low"),
        ({"low.lora_A.weight": (2, 8), "low.lora_B.weight": (5, 2), "low.strange": (2,)}, FormatError, "low.strange"),
        ({"low.bias": (5,)}, FormatError, "must hold tensors of LORA"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_refused(
    tmp_path: Path, numbers: Numbers, tensors: dict[str, tuple[int, ...]], error: type[Exception], message: str
) -> None:
    held = {key: numbers(*shape) for key, shape in tensors.items()}
    with pytest.raises(error, match=message):
        imported(tmp_path, "LORA", held, r=2, lora_alpha=2)


def test_pickles_are_never_read(tmp_path: Path, numbers: Numbers) -> None:
    folder = write_adapter(tmp_path / "peft", "LORA", {"low.lora_A.weight": numbers(2, 8)})
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    assert recognises(folder)
    with pytest.raises(FormatError, match=r"is a pickle.*safetensors.torch.save_file"):
        read(folder)


def test_shapes_of_kinds_are_checked(tmp_path: Path, numbers: Numbers) -> None:
    for kind, held in (
        ("LOHA", {"hada_w1_a": (5, 2), "hada_w1_b": (2, 9), "hada_w2_a": (5, 2), "hada_w2_b": (2, 8)}),
        ("IA3", {"ia3_l": (6, 1)}),
        ("OFT", {"oft_R.weight": (3, 6)}),
        ("BOFT", {"boft_R": (1, 3, 4, 4), "boft_s": (5, 1)}),
        ("HRA", {"hra_u": (9, 2)}),
        ("HIRA", {"hira_A": (2, 9), "hira_B": (5, 2)}),
    ):
        with pytest.raises((ShapeError, DomainError)):
            imported(tmp_path, kind, {f"low.{key}": numbers(*shape) for key, shape in held.items()}, r=2, alpha=2)
