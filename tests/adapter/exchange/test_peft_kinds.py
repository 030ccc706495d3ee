"""The newer kinds of PEFT's, read by their formulas and written as they were read; every other kind refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref._types import Array
from lieref.adapter.exchange.build import attach_foreign
from lieref.adapter.exchange.factors import DENSE, Factors, Place
from lieref.adapter.exchange.peft import foreign_of, read
from lieref.adapter.exchange.peft_form import own_form
from lieref.adapter.exchange.peft_kinds import KINDS
from lieref.adapter.exchange.peft_refused import WHY_NOT
from lieref.adapter.exchange.peft_write import write_peft
from lieref.adapter.exchange.torch_places import randperm
from lieref.adapter.model import load
from lieref.adapter.tensor_file import decode_tensors
from lieref.errors import LierefError, UnsupportedError
from lieref.model.layer import Layer
from lieref.model.site import Site
from lieref.param.registry import get_method
from tests.adapter.exchange.network import state, write, write_adapter

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")

PEFT_TYPES = """
PROMPT_TUNING MULTITASK_PROMPT_TUNING P_TUNING PREFIX_TUNING LORA ADALORA ADAMSS BOFT ADAPTION_PROMPT IA3 BEFT LILY LOHA
LOKR OFT POLY LN_TUNING VERA FROD PVERA FOURIERFT GLORA XLORA HRA VBLORA UNILORA CPT MISS RANDLORA ROAD TRAINABLE_TOKENS
HIRA SHIRA C3A WAVEFT OSF DELORA GRALORA CARTRIDGE TINYLORA PSOFT PEANUT SHADOW SUPERTUNING DEFT
""".split()
"""`peft.PeftType` of 0.21.2."""

OUT, N = 6, 8
RNG = np.random.default_rng(2)
WEIGHT = RNG.standard_normal((OUT, N))
LAYER = Layer("low", "Gemm", "low.weight", None, (OUT, N), 1, False, False, False)


def numbers(*shape: int) -> Array:
    return RNG.standard_normal(shape)


def factors_of(
    kind: str, tensors: Mapping[str, Array], layer: Layer = LAYER, weight: Array = WEIGHT, **config: Any
) -> Factors:
    held = {("base_model." if key in KINDS[kind].shared else "base_model.model.low.") + key: value
            for key, value in tensors.items()}  # fmt: skip
    return foreign_of(kind, config, held, "the file").modules["low"](Place(layer, weight))


def change_of(factors: Factors, weight: Array = WEIGHT) -> Array:
    return get_method(**factors.method).weight_delta(dict(factors.params), weight)


def near(found: Array, expected: Array) -> None:
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * (1 + np.abs(expected).max()))


def test_every_kind_is_read_or_refused_with_its_reason(tmp_path: Path) -> None:
    assert set(KINDS) | set(WHY_NOT) == {*PEFT_TYPES, "BONE"}
    assert not set(KINDS) & set(WHY_NOT)
    for kind, why in WHY_NOT.items():
        write_adapter(tmp_path / "adapter", kind, {"low.x": np.ones(1, np.float32)})
        with pytest.raises(UnsupportedError) as caught:
            read(tmp_path / "adapter")
        assert str(caught.value).endswith(why)
        assert f"'{kind}'" in str(caught.value)


def test_the_list_is_that_of_peft() -> None:
    peft = pytest.importorskip("peft")
    assert {one.value for one in peft.PeftType} == set(PEFT_TYPES)


@pytest.mark.parametrize(
    ("seed", "n", "first"),
    [
        (777, 40, [15, 9, 39, 27, 3, 22, 7, 29, 2]),
        (2024, 7, [6, 3, 0, 1, 4, 5, 2]),
        (5, 100_000, [53411, 99184, 41565, 33006, 87522, 16190]),
        (2**40 + 3, 40, [26, 33, 37, 20, 32]),
    ],
)
def test_places_are_those_of_pytorch(seed: int, n: int, first: list[int]) -> None:
    """Printed by PyTorch 2.13."""
    assert randperm(seed, n, len(first)).tolist() == first


def test_adalora() -> None:
    a, e, b = numbers(3, N), numbers(3, 1), numbers(OUT, 3)
    tensors = {"lora_A": a, "lora_E": e, "lora_B": b}
    found = factors_of("ADALORA", tensors, init_r=4, lora_alpha=5, rank_pattern={"low.lora_E": [True] * 3 + [False]})
    near(change_of(found), 5 / (4 + 1e-5) * b @ (a * e))
    assert found.method["name"] == "lora-svd"
    none = {"lora_A": a[:0], "lora_E": e[:0], "lora_B": b[:, :0]}
    assert not change_of(factors_of("ADALORA", none, init_r=4, lora_alpha=5)).any()


def test_delora() -> None:
    a, b, lengths = numbers(2, N), numbers(OUT, 2), np.linalg.norm(WEIGHT, axis=0)
    tensors = {"delora_A": a, "delora_B": b, "delora_lambda": np.array([7.0]), "delora_w_norm": lengths}
    expected = sum(
        7 / 2 * np.outer(b[:, q] / np.linalg.norm(b[:, q]), a[q] / np.linalg.norm(a[q]) * lengths) for q in range(2)
    )
    near(change_of(factors_of("DELORA", tensors, r=2)), np.asarray(expected))


def test_vera() -> None:
    a, b, diagonal_b, diagonal_d = numbers(3, N + 2), numbers(OUT + 4, 3), numbers(OUT), numbers(3)
    tensors = {"vera_A": a, "vera_B": b, "vera_lambda_b": diagonal_b, "vera_lambda_d": diagonal_d}
    near(change_of(factors_of("VERA", tensors)), np.diag(diagonal_b) @ b[:OUT] @ np.diag(diagonal_d) @ a[:, :N])
    with pytest.raises(LierefError, match="vera_A must be in the file"):
        factors_of("VERA", {"vera_lambda_b": diagonal_b, "vera_lambda_d": diagonal_d})


@pytest.mark.parametrize("wide", [True, False])
def test_randlora(wide: bool) -> None:
    layer, weight = (LAYER, WEIGHT) if wide else (
        Layer("low", "Gemm", "low.weight", None, (N, OUT), 1, False, False, False), WEIGHT.T,
    )  # fmt: skip
    a, b, scale, gain = numbers(4, 1, OUT + 1), numbers(N + 1, 3, 4), numbers(4, 2), numbers(2, OUT)
    tensors = {"randlora_A": a, "randlora_B": b, "randlora_lambda": scale, "randlora_gamma": gain}
    found = factors_of("RANDLORA", tensors, layer, weight, randlora_alpha=6)
    flat = b[:N, :2].reshape(N, 8)  # column c meets rank c div 2 of term c mod 2
    tall = sum(
        6 / 4 * np.outer(flat[:, 2 * q + j], scale[q, j] * a[q, 0, :OUT] * gain[j]) for q in range(4) for j in range(2)
    )
    near(change_of(found, weight), np.asarray(tall).T if wide else np.asarray(tall))
    assert found.method["name"] == DENSE


def test_fourierft() -> None:
    spectrum = numbers(5)
    found = factors_of("FOURIERFT", {"fourierft_spectrum": spectrum}, random_loc_seed=777, scaling=3.0)
    p, q = np.mgrid[:OUT, :N]
    expected = np.zeros((OUT, N))
    for place, value in zip(randperm(777, OUT * N, 5), spectrum, strict=True):
        u, v = divmod(int(place), N)
        expected += 3 / (OUT * N) * value * np.cos(2 * np.pi * (u * p / OUT + v * q / N))
    near(change_of(found), expected)


def test_waveft() -> None:
    spectrum = numbers(5)
    config = {"random_loc_seed": 4, "scaling": 3.0, "wavelet_family": "db1"}
    coefficients = np.zeros((OUT, N))
    coefficients.flat[randperm(4, OUT * N, 5)] = spectrum
    tensors = {"waveft_spectrum": spectrum}
    near(change_of(factors_of("WAVEFT", tensors, use_idwt=False, **config)), 3 * coefficients)

    expected = np.zeros((OUT, N))
    halves, p, q = coefficients.reshape(2, OUT // 2, 2, N // 2), np.arange(OUT // 2), np.arange(N // 2)
    for a in (0, 1):
        for b in (0, 1):
            parts = [halves[0, :, 0], (-1) ** a * halves[0, :, 1], (-1) ** b * halves[1, :, 0],
                     (-1) ** (a + b) * halves[1, :, 1]]  # fmt: skip
            expected[np.ix_(2 * p + a, 2 * q + b)] = 3 / 2 * sum(parts)
    near(change_of(factors_of("WAVEFT", tensors, **config)), expected)
    with pytest.raises(LierefError, match="wavelet_family"):
        factors_of("WAVEFT", tensors, **{**config, "wavelet_family": "sym4"})


def test_shira() -> None:
    places = np.array([[0, 3, 5], [7, 1, 0]], np.int32)
    expected = np.zeros((OUT, N))
    expected[0, 7], expected[3, 1], expected[5, 0] = values = numbers(3)
    near(change_of(factors_of("SHIRA", {"shira_weight": values, "shira_indices": places})), expected)
    with pytest.raises(LierefError, match="must lie in a weight"):
        factors_of("SHIRA", {"shira_weight": values, "shira_indices": places + 3})


def test_c3a() -> None:
    kernel = numbers(3, 4, 2)
    expected = np.array([[kernel[o // 2, i // 2, (i - o) % 2] / N for i in range(N)] for o in range(OUT)])
    near(change_of(factors_of("C3A", {"c3a_kernel": kernel}, block_size=2)), expected)


def test_miss() -> None:
    block, part, own = numbers(3, OUT), numbers(3, 2), numbers(OUT // 2, 2, 2)
    columns = np.arange(N) % 3
    near(change_of(factors_of("MISS", {"miss_block": block}, init_weights=True)), block.T[:, columns])
    mini = factors_of("MISS", {"miss_block": part}, init_weights="mini", mini_r=2)
    near(change_of(mini), part[:, np.arange(OUT) % 2].T[:, columns])
    expected = np.zeros((OUT, N))
    for i in range(OUT // 2):
        for j in range(N // 2):
            rows, at = slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2)
            expected[rows, at] = WEIGHT[rows, at] @ own[i] + own[i]
    near(change_of(factors_of("MISS", {"miss_block": own}, init_weights="bat")), expected)


@pytest.mark.parametrize("beside", [0, 3])
def test_gralora(beside: int) -> None:
    a, b, low_a, low_b = numbers(2, N // 2, 4), numbers(2, 4, OUT // 2), numbers(3, N), numbers(OUT, 3)
    tensors = {"gralora_A": a, "gralora_B": b}
    if beside:
        tensors |= {"gralora_A_general.weight": low_a, "gralora_B_general.weight": low_b}
    expected = low_b @ low_a if beside else np.zeros((OUT, N))
    for row in range(2):
        for column in range(2):
            # Ranks 2 row and 2 row + 1 of a run of inputs go to the run of outputs, there as 2 column and 2 column + 1.
            one = a[column][:, 2 * row : 2 * row + 2] @ b[row][2 * column : 2 * column + 2]
            expected[3 * row : 3 * row + 3, 4 * column : 4 * column + 4] += one.T
    near(change_of(factors_of("GRALORA", tensors, r=4, alpha=6, gralora_k=2)), 6 / (4 + beside) * expected)


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("kind", ["LOHA", "LOKR"])
def test_tucker_forms(kind: str, axes: int) -> None:
    """PEFT keeps the core of a kernel of one axis with a second one of size 1."""
    k = (3, 2) if axes == 2 else (3, 1)
    layer = Layer("low", "Conv", "low.weight", None, (6, 4, *k[:axes]), 1, False, False, False)
    weight = numbers(6, 4, *k[:axes])
    if kind == "LOHA":
        tensors = {"hada_w1_a": numbers(2, 6), "hada_w1_b": numbers(2, 4), "hada_t1": numbers(2, 2, *k),
                   "hada_w2_a": numbers(2, 6), "hada_w2_b": numbers(2, 4), "hada_t2": numbers(2, 2, *k)}  # fmt: skip
        one, two = (
            np.einsum("ijkl,io,jc->ockl", tensors[f"hada_t{n}"], tensors[f"hada_w{n}_a"], tensors[f"hada_w{n}_b"])
            for n in (1, 2)
        )
        expected = 3 / 2 * one * two
    else:
        tensors = {"lokr_w1": numbers(2, 2), "lokr_w2_a": numbers(1, 3), "lokr_w2_b": numbers(1, 2),
                   "lokr_t2": numbers(1, 1, *k)}  # fmt: skip
        inner = np.einsum("ijkl,io,jc->ockl", tensors["lokr_t2"], tensors["lokr_w2_a"], tensors["lokr_w2_b"])
        expected = 3 * np.einsum("ab,cdkl->acbdkl", tensors["lokr_w1"], inner).reshape(6, 4, *k)
    found = factors_of(kind, tensors, layer, weight, r=2 if kind == "LOHA" else 1, alpha=3)
    near(change_of(found, weight), expected.reshape(weight.shape))
    form = own_form(Site("low.weight", get_method(**found.method), dict(found.params), 1, layer),
                    Place(layer, weight, (1,) * axes, (1,) * axes, (0,) * 2 * axes), False)  # fmt: skip
    if kind == "LOKR":
        assert form is None  # PEFT fails on some of these itself
        return
    assert form is not None
    assert form.settings["use_effective_conv2d"]
    assert {name: value.tolist() for name, value in form.tensors.items()} == {k: v.tolist() for k, v in tensors.items()}


METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora-svd": ("ADALORA", {"r": 3, "lora_alpha": 4.0}), "vera": ("VERA", {"r": 3}), "shira": ("SHIRA", {"r": 1}),
    "c3a": ("C3A", {"block_size": 2}), "miss": ("MISS", {"r": 3}), "gralora": ("GRALORA", {"r": 4, "lora_alpha": 6.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_methods_go_out_as_these_kinds(name: str) -> None:
    kind, options = METHODS[name]
    method = get_method(name, **options)
    params = {key: value + 0.2 * numbers(*value.shape) for key, value in
              method.init((OUT, N), 1, RNG, np.float64, WEIGHT).items()}  # fmt: skip
    form = own_form(Site("low.weight", method, params, 1, LAYER), Place(LAYER, WEIGHT), False)
    assert form is not None
    assert form.kind == kind
    config = dict(form.settings)
    if kind == "ADALORA":
        config = {"init_r": 3, "lora_alpha": 3 + 1e-5}
    found = factors_of(kind, {**form.tensors, **form.shared}, **config)
    near(change_of(found), method.weight_delta(params, WEIGHT))


@pytest.mark.parametrize("name", ["fourierft", "waveft", "randlora", "lora-xs", "psoft"])
def test_methods_without_room_for_their_places_have_no_form(name: str) -> None:
    method = get_method(name, r=2)
    params = method.init((OUT, N), 1, RNG, np.float64, WEIGHT)
    assert own_form(Site("low.weight", method, params, 1, LAYER), Place(LAYER, WEIGHT), False) is None


def test_ranks_and_matrices_of_several_layers(tmp_path: Path) -> None:
    model = load(write(tmp_path / "base.onnx", state()))
    model.attach("vera", target_modules=["/low/MatMul", "/head/Gemm"], r=2)
    tensors, _ = decode_tensors(write_peft(model).files["adapter_model.safetensors"])
    assert tensors["base_model.vera_A"].shape == (2, 8)  # the widest, of which the others are a corner
    assert tensors["base_model.vera_B"].shape == (7, 2)
    model.unload().attach("lora-svd", target_modules=["/low/MatMul"], r=2)
    model.attach("lora-svd", target_modules=["/head/Gemm"], r=3)
    before = model.adapted_tensors()
    for array in model.parameters().values():
        array += 0.5 * np.random.default_rng(0).standard_normal(array.shape).astype(array.dtype)
    expected = model.adapted_tensors()
    made = write_peft(model)
    assert json.loads(made.files["adapter_config.json"])["rank_pattern"] == {"low.lora_E": [True, True, False]}
    folder = tmp_path / "out"
    folder.mkdir()
    for file, data in made.files.items():
        (folder / file).write_bytes(data)
    attach_foreign(model, read(folder))
    for name, value in model.adapted_tensors().items():
        assert np.abs(value - before[name]).max() > 1e-3
        np.testing.assert_allclose(value, expected[name], atol=1e-6)


@pytest.mark.parametrize("kind", [kind for kind, row in KINDS.items() if row.read is not None])
@pytest.mark.parametrize("shape", [(), (99,), (0, 3), (3, 0), (2, 3, 4), (0, 0, 0)])
def test_tensors_of_other_shapes_are_refused(kind: str, shape: tuple[int, ...]) -> None:
    row = KINDS[kind]
    tensors = dict.fromkeys((*row.names, *row.shared), np.ones(shape))
    for start in (True, "bat", "mini"):
        with pytest.raises(LierefError):
            change_of(factors_of(kind, tensors, r=2, init_r=2, init_weights=start))


@pytest.mark.parametrize("text", ["x", None, True, [1]])
def test_settings_that_are_no_numbers_are_refused(text: Any) -> None:
    with pytest.raises(LierefError, match="scaling must be a number"):
        factors_of("WAVEFT", {"waveft_spectrum": numbers(3)}, scaling=text)


def test_normalisations_come_in_and_go_out(tmp_path: Path) -> None:
    from tests.adapter.exchange.network_norms import write_norms

    base = write_norms(tmp_path / "norms.onnx")
    scale, shift = (RNG.standard_normal(6).astype(np.float32) for _ in range(2))
    tensors = {"norm.ln_tuning_layers.weight": scale, "norm.ln_tuning_layers.bias": shift}
    model = lieref.load(base)
    attach_foreign(model, read(write_adapter(tmp_path / "peft", "LN_TUNING", tensors)))
    found = model.adapted_tensors()
    np.testing.assert_allclose(found["norm.weight"], scale, atol=1e-6)
    np.testing.assert_allclose(found["norm.bias"], shift, atol=1e-6)
    made = write_peft(model)
    assert made.kind == "LN_TUNING"
    again, _ = decode_tensors(made.files["adapter_model.safetensors"])
    assert {key: value.tolist() for key, value in again.items()} == {
        f"base_model.model.norm.ln_tuning_layers.{end}": found[f"norm.{end}"].tolist() for end in ("weight", "bias")
    }
    statistics = {**tensors, "norm.ln_tuning_layers.running_mean": scale}
    with pytest.raises(UnsupportedError, match="a statistic of a BatchNormalization"):
        read(write_adapter(tmp_path / "batch", "LN_TUNING", statistics))
