"""LyCORIS's modules: each is what its formula says, written out here, and written again it has the same numbers."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from lieref.adapter.exchange import lycoris
from lieref.adapter.exchange.factors import Factors, Place
from lieref.adapter.exchange.lycoris_form import Adapted, Target
from lieref.adapter.exchange.lycoris_writer import write_module
from lieref.adapter.tensor_file import write_tensor_file
from lieref.errors import DomainError, FormatError, UnsupportedError
from lieref.model.layer import Layer
from lieref.param.registry import get_method

Tensors = dict[str, np.ndarray]
O, I = 12, 4  # noqa: E741  the letters of the formulas
SHAPES = [(O, I), (O, I, 5), (O, I, 3, 2), (O, I, 2, 1, 3)]


def draw(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def place(weight: np.ndarray, groups: int = 1, **more: bool) -> Place:
    layer = Layer("conv", "Conv", "conv.weight", "conv.bias", weight.shape, groups, False, False, False)
    return Place(layer, weight.astype(np.float64), **more)


def read(tensors: Tensors, weight: np.ndarray, groups: int = 1) -> Factors:
    foreign = lycoris.parse_lycoris({f"lycoris_conv.{key}": value for key, value in tensors.items()})
    return foreign.modules["conv"](place(weight, groups))


def adapted(factors: Factors, weight: np.ndarray, groups: int = 1) -> np.ndarray:
    params = {name: np.asarray(value, np.float64) for name, value in factors.params.items()}
    return get_method(**factors.method).adapted_weight(params, weight.astype(np.float64), groups)


def wide(tensors: Tensors) -> Tensors:
    return {key: value.astype(np.float64) for key, value in tensors.items()}


def check(tensors: Tensors, weight: np.ndarray, expected: np.ndarray, method: str, groups: int = 1) -> Factors:
    """Check the weight, and that writing the module gives its tensors bit for bit where it is no whole difference."""
    factors = read(tensors, weight, groups)
    assert factors.method["name"] == method
    np.testing.assert_allclose(adapted(factors, weight, groups), expected, rtol=1e-12, atol=1e-12)
    if method != "dense+additive+exp":
        params = {name: np.asarray(value, np.float32) for name, value in factors.params.items()}
        one = Adapted(get_method(**factors.method), params)
        again, _ = write_module(one, None, Target("conv", weight.astype(np.float64), None, groups))
        assert again.keys() == tensors.keys()
        for key, value in tensors.items():
            assert again[key].shape == value.shape, key
            assert again[key].astype(value.dtype).tobytes() == value.tobytes(), key
    return factors


def locon(rng: np.random.Generator, shape: tuple[int, ...], r: int = 2, alpha: float = 1.5) -> Tensors:
    ones = (1,) * (len(shape) - 2)
    return {"lora_up.weight": draw(rng, shape[0], r, *ones), "lora_down.weight": draw(rng, r, *shape[1:]),
            "alpha": np.asarray(alpha, np.float32)}  # fmt: skip


def product(tensors: Tensors, shape: tuple[int, ...], scale: float) -> np.ndarray:
    up, down = (wide(tensors)[f"lora_{name}.weight"] for name in ("up", "down"))
    return scale * (up.reshape(shape[0], -1) @ down.reshape(len(down), -1)).reshape(shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_locon_adds_up_times_down_by_alpha_over_rank(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    weight, tensors = draw(rng, *shape), locon(rng, shape)
    factors = check(tensors, weight, weight + product(tensors, shape, 1.5 / 2), "lora")
    assert factors.rows == ("lora_b",)
    assert not factors.notes


@pytest.mark.parametrize("groups", [2, 12])
def test_conv_groups_have_one_set_of_factors(rng: np.random.Generator, groups: int) -> None:
    shape = (O, I, 3, 3)
    weight, tensors = draw(rng, *shape), locon(rng, shape)
    check(tensors, weight, weight + product(tensors, shape, 0.75), "lora", groups)
    loha = {f"hada_w{n}_{side}": draw(rng, *size) for n in (1, 2) for side, size in (("a", (O, 2)), ("b", (2, I * 9)))}
    w = wide(loha)
    both = (w["hada_w1_a"] @ w["hada_w1_b"]) * (w["hada_w2_a"] @ w["hada_w2_b"])
    tensors = {**loha, "alpha": np.asarray(3.0, np.float32)}
    check(tensors, weight, weight + 1.5 * both.reshape(shape), "loha", groups)


def test_no_alpha_and_alpha_zero_are_the_rank_and_said(rng: np.random.Generator) -> None:
    weight, tensors = draw(rng, O, I), locon(rng, (O, I), r=3, alpha=0.0)
    for given in (tensors, {key: value for key, value in tensors.items() if key != "alpha"}):
        factors = read(given, weight)
        np.testing.assert_allclose(adapted(factors, weight), weight + product(tensors, (O, I), 1.0), rtol=1e-12)
        assert "the rank, 3" in factors.notes[0]


def test_a_rank_beyond_the_matrix_is_a_whole_difference(rng: np.random.Generator) -> None:
    weight, tensors = draw(rng, 3, 5), locon(rng, (3, 5), r=7)
    factors = check(tensors, weight, weight + product(tensors, (3, 5), 1.5 / 7), "dense+additive+exp")
    assert "rank is 7" in factors.notes[0]


def test_a_middle_is_the_core_of_a_tucker_form(rng: np.random.Generator) -> None:
    shape, r = (O, I, 3, 2), 2
    tensors = {"lora_up.weight": draw(rng, O, r, 1, 1), "lora_down.weight": draw(rng, r, I, 1, 1),
               "lora_mid.weight": draw(rng, r, r, 3, 2), "alpha": np.asarray(1.5, np.float32)}  # fmt: skip
    weight, w = draw(rng, *shape), wide(tensors)
    expected = weight.astype(np.float64)
    for o, i, p, q in itertools.product(range(O), range(I), range(r), range(r)):
        expected[o, i] += 0.75 * w["lora_up.weight"][o, p, 0, 0] * w["lora_mid.weight"][p, q] * (
            w["lora_down.weight"][q, i, 0, 0]
        )  # fmt: skip
    check(tensors, weight, expected, "locon-tucker")
    narrow = draw(rng, O, 1, 3, 2)
    tensors["lora_down.weight"] = draw(rng, r, 1, 1, 1)
    factors = read(tensors, narrow)
    assert factors.method["name"] == "dense+additive+exp"
    core = np.einsum("op,pqxy,q->oxy", w["lora_up.weight"][:, :, 0, 0], w["lora_mid.weight"],
                     tensors["lora_down.weight"][:, 0, 0, 0].astype(np.float64))  # fmt: skip
    np.testing.assert_allclose(adapted(factors, narrow), narrow + 0.75 * core[:, None], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_dora_has_the_lengths_of_filters_and_of_in_channels(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    weight, tensors = draw(rng, *shape), locon(rng, shape)
    ones = (1,) * (len(shape) - 2)
    v = weight + product(tensors, shape, 0.75)
    length = np.abs(draw(rng, O, 1, *ones))
    norm = np.sqrt((v**2).reshape(O, -1).sum(1)).reshape(O, 1, *ones)
    check({**tensors, "dora_scale": length}, weight, length * v / norm, "dora")
    inner = np.abs(draw(rng, 1, I, *ones))
    eps = 2.0**-23  # LyCORIS adds it to the norm; of the lengths of filters it is below rounding
    across = np.sqrt((v**2).swapaxes(0, 1).reshape(I, -1).sum(1)).reshape(1, I, *ones) + eps
    factors = check({**tensors, "dora_scale": inner}, weight, inner * v / across, "dense+additive+exp")
    assert factors.rows == ()
    with pytest.raises(FormatError, match="dora_scale"):
        read({**tensors, "dora_scale": length[1:]}, weight)


def test_dora_of_a_filter_as_short_as_the_eps_that_is_added_is_a_whole_difference(rng: np.random.Generator) -> None:
    weight, tensors = draw(rng, O, I), locon(rng, (O, I))
    weight[3] = 0
    tensors["lora_up.weight"][3] = 0
    length = np.abs(draw(rng, O, 1))
    factors = read({**tensors, "dora_scale": length}, weight)
    assert factors.method["name"] == "dense+additive+exp"
    assert np.array_equal(adapted(factors, weight)[3], weight[3])


@pytest.mark.parametrize("shape", SHAPES)
def test_loha_is_the_product_of_two_low_ranks(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    n = int(np.prod(shape[1:]))
    tensors = {"hada_w1_a": draw(rng, O, 2), "hada_w1_b": draw(rng, 2, n), "hada_w2_a": draw(rng, O, 2),
               "hada_w2_b": draw(rng, 2, n), "alpha": np.asarray(5.0, np.float32)}  # fmt: skip
    weight, w = draw(rng, *shape), wide(tensors)
    xi = 2.5 * (w["hada_w1_a"] @ w["hada_w1_b"]) * (w["hada_w2_a"] @ w["hada_w2_b"])
    check(tensors, weight, weight + xi.reshape(shape), "loha")
    length = np.abs(draw(rng, O, 1, *(1,) * (len(shape) - 2)))
    v = weight + xi.reshape(shape)
    norm = np.sqrt((v**2).reshape(O, -1).sum(1)).reshape(length.shape) + 2.0**-23
    check({**tensors, "dora_scale": length}, weight, length * v / norm, "dense+additive+exp")


def kron(w1: np.ndarray, w2: np.ndarray) -> np.ndarray:
    """The Kronecker product at every position of the kernel."""
    (a, b), (c, d) = w1.shape, w2.shape[:2]
    out = np.zeros((a * c, b * d, *w2.shape[2:]))
    for i, j, k, m in itertools.product(range(a), range(b), range(c), range(d)):
        out[i * c + k, j * d + m] = w1[i, j] * w2[k, m]
    return out


@pytest.mark.parametrize("shape", SHAPES)
def test_lokr_is_a_kronecker_product_whole_or_of_low_rank(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    weight, kernel = draw(rng, *shape), shape[2:]
    w1, w2 = draw(rng, 3, 2), draw(rng, 4, 2, *kernel)
    whole = {"lokr_w1": w1, "lokr_w2": w2, "alpha": np.asarray(2.0, np.float32)}
    # Both whole: the factor is 1 whatever alpha says. 2 is what the file of a rank of 2 has.
    factors = check(whole, weight, weight + kron(w1.astype(np.float64), w2.astype(np.float64)), "lokr")
    assert "has no effect" in factors.notes[0]
    a, b = draw(rng, 4, 1), draw(rng, 1, 2 * int(np.prod(kernel)))
    low = {"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": np.asarray(0.5, np.float32)}
    second = (a.astype(np.float64) @ b.astype(np.float64)).reshape(4, 2, *kernel)
    check(low, weight, weight + 0.5 * kron(w1.astype(np.float64), second), "lokr")


def test_lokr_of_a_first_product_is_multiplied_out_and_of_odd_sizes_whole(rng: np.random.Generator) -> None:
    weight = draw(rng, 12, 18)
    left, right, w2_a, w2_b = draw(rng, 4, 1), draw(rng, 1, 3), draw(rng, 3, 1), draw(rng, 1, 6)
    tensors = {"lokr_w1_a": left, "lokr_w1_b": right, "lokr_w2_a": w2_a, "lokr_w2_b": w2_b}
    expected = weight + np.kron(*(x.astype(np.float64) @ y for x, y in ((left, right), (w2_a, w2_b))))
    factors = read(tensors, weight)
    assert "multiplied out" in factors.notes[0]
    np.testing.assert_allclose(adapted(factors, weight), expected, atol=1e-6)  # w1 is rounded to float32
    # 12 = 6 x 2 and 18 = 3 x 6 come of no one factor.
    w1, w2 = draw(rng, 6, 3), draw(rng, 2, 6)
    factors = check({"lokr_w1": w1, "lokr_w2": w2}, weight, weight + np.kron(w1.astype(np.float64), w2),
                    "dense+additive+exp")  # fmt: skip
    assert "no factor gives" in " ".join(factors.notes)


@pytest.mark.parametrize("shape", SHAPES)
def test_ia3_multiplies_the_weight_alone(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    weight, ones = draw(rng, *shape), (1,) * (len(shape) - 2)
    for on_input, size in ((0, O), (1, I)):
        w = draw(rng, *((size,) if not ones else (1, size, *ones)))
        factor = (1 + w.astype(np.float64)).reshape(*((1, size) if on_input else (size, 1)), *ones)
        tensors = {"weight": w, "on_input": np.asarray(on_input)}
        factors = check(tensors, weight, weight * factor, "ia3")
        method = get_method(**factors.method)
        assert not factors.adds
        assert not method.moves_bias
    with pytest.raises(UnsupportedError, match="without conv groups"):
        read(tensors, weight, 2)


def turned(weight: np.ndarray, blocks: np.ndarray, at: list[list[int]], *, transpose: bool) -> np.ndarray:
    """The weight whose out channels `at` are multiplied by (I + Q)(I - Q)^-1, Q = B - B^T, or by its transpose."""
    result = weight.copy()
    for block, rows in zip(blocks.astype(np.float64), at, strict=True):
        q, eye = block - block.T, np.eye(len(block))
        r = (eye + q) @ np.linalg.inv(eye - q)
        result[rows] = np.tensordot(r.T if transpose else r, weight[rows], 1)
    return result


@pytest.mark.parametrize(("shape", "groups"), [*((shape, 1) for shape in SHAPES), ((O, I, 3, 3), 2)])
def test_diag_oft_turns_the_out_channels(rng: np.random.Generator, shape: tuple[int, ...], groups: int) -> None:
    weight, blocks = draw(rng, *shape), draw(rng, 4, 3, 3)
    at = np.arange(O).reshape(4, 3).tolist()
    tensors = {"oft_blocks": blocks, "alpha": np.asarray(0.0, np.float32)}
    expected = turned(weight.astype(np.float64), blocks, at, transpose=True)
    check(tensors, weight, expected, "block-diagonal+so+cayley+out", groups)
    scale = draw(rng, O, *(1,) * (len(shape) - 1))
    check({**tensors, "rescale": scale}, weight, expected * scale, "dense+additive+exp", groups)
    norm = np.linalg.norm((blocks - blocks.transpose(0, 2, 1)).astype(np.float64))
    loose, tight = 2 * norm / O, norm / O / 3
    factors = read({**tensors, "alpha": np.asarray(loose)}, weight, groups)
    np.testing.assert_allclose(adapted(factors, weight, groups), expected, rtol=1e-12, atol=1e-12)
    assert "does not bind" in factors.notes[0]
    shorter = turned(weight.astype(np.float64), blocks.astype(np.float64) / 3, at, transpose=True)
    factors = read({**tensors, "alpha": np.asarray(tight)}, weight, groups)
    np.testing.assert_allclose(adapted(factors, weight, groups), shorter, atol=1e-5)  # blocks rounded to float32
    assert "shortens" in factors.notes[0]


def test_diag_oft_across_conv_groups_and_of_one_channel(rng: np.random.Generator) -> None:
    weight, blocks = draw(rng, O, I, 3), draw(rng, 4, 3, 3)
    at = np.arange(O).reshape(4, 3).tolist()
    expected = turned(weight.astype(np.float64), blocks, at, transpose=True)
    assert read({"oft_blocks": blocks}, weight, 6).method["name"] == "dense+additive+exp"
    check({"oft_blocks": blocks}, weight, expected, "dense+additive+exp", 6)
    check({"oft_blocks": draw(rng, O, 1, 1)}, weight, weight.astype(np.float64), "dense+additive+exp")


def test_boft_goes_through_its_stages(rng: np.random.Generator) -> None:
    n, b = 8, 4
    weight, blocks = draw(rng, n, I, 3), draw(rng, 2, 2, b, b)
    # A block of stage 0 has 0, 1, 2, 3, as 0, 2, 1, 3; one of stage 1 has 0, 1, 4, 5, as 0, 4, 1, 5.
    stages = ([[0, 2, 1, 3], [4, 6, 5, 7]], [[0, 4, 1, 5], [2, 6, 3, 7]])
    expected = weight.astype(np.float64)
    for stage, at in zip(blocks, stages, strict=True):
        expected = turned(expected, stage, at, transpose=False)
    tensors = {"oft_blocks": blocks, "alpha": np.asarray(0.0, np.float32)}
    check(tensors, weight, expected, "dense+additive+exp")
    one = draw(rng, 1, 1, n, n)
    order = [0, 4, 1, 5, 2, 6, 3, 7]
    expected = turned(weight.astype(np.float64), one[0], [order], transpose=False)
    check({**tensors, "oft_blocks": one}, weight, expected, "block-diagonal+so+cayley+out")


def test_differences_of_weights_biases_and_normalisations(rng: np.random.Generator) -> None:
    weight, diff, diff_b, scale = draw(rng, O, I), draw(rng, O, I), draw(rng, O), draw(rng, 7)
    check({"diff": diff}, weight, weight.astype(np.float64) + diff, "dense+additive+exp")
    foreign = lycoris.parse_lycoris(
        {
            "lycoris_conv.diff": diff,
            "lycoris_conv.diff_b": diff_b,
            "lycoris_ln.w_norm": scale,
            "lycoris_ln.b_norm": -scale,
        }
    )
    assert set(foreign.modules) == {"conv"}
    assert foreign.added["conv"]["bias"].tobytes() == diff_b.tobytes()
    assert foreign.added["ln"]["weight"].tobytes() == scale.tobytes()
    assert foreign.added["ln"]["bias"].tobytes() == (-scale).tobytes()


@pytest.mark.parametrize(
    ("method", "groups"),
    [("liera", 1), ("hira", 1), ("lora-view", 1), ("oft-cayley", 2), ("flora", 1), ("boft", 1), ("lokr", 2)],
)
def test_what_is_no_algorithm_of_lycoris_is_written_as_a_whole_difference(
    rng: np.random.Generator, method: str, groups: int
) -> None:
    weight = rng.normal(size=(O, I, 3, 3))
    made = get_method(method)
    params = {name: rng.normal(size=p.shape) / 8 for name, p in made.start(weight.shape, groups, rng).items()}
    tensors, said = write_module(Adapted(made, params), None, Target("conv", weight, np.ones(O), groups))
    assert set(tensors) == {"diff"}
    assert method in said[0]
    np.testing.assert_allclose(weight + tensors["diff"], made.adapted_weight(params, weight, groups), rtol=1e-13)


@pytest.mark.parametrize("method", ["lora", "loha"])
def test_factors_of_conv_groups_are_those_of_one_matrix(rng: np.random.Generator, method: str) -> None:
    weight = rng.normal(size=(16, 16, 3, 3))
    made = get_method(method, r=1)
    params = {name: rng.normal(size=p.shape) for name, p in made.start(weight.shape, 2, rng).items()}
    tensors, said = write_module(Adapted(made, params), None, Target("conv", weight, None, 2))
    assert "2 conv groups" in said[0]
    factors = read(tensors, weight, 2)
    np.testing.assert_allclose(adapted(factors, weight, 2), made.adapted_weight(params, weight, 2), atol=1e-5)


def test_a_bias_that_moves_with_the_weight_is_a_difference_too(rng: np.random.Generator) -> None:
    weight, bias = rng.normal(size=(O, I)), rng.normal(size=O)
    made, xi = get_method("ia3"), rng.normal(size=O)
    tensors, _ = write_module(Adapted(made, {"xi": xi}), None, Target("fc", weight, bias))
    np.testing.assert_allclose(tensors["diff"], weight * xi[:, None], rtol=1e-12)
    np.testing.assert_allclose(tensors["diff_b"], bias * xi, rtol=1e-12)
    alone = Adapted(get_method("dense+additive+exp"), {"xi": xi})
    tensors, said = write_module(None, alone, Target("fc", weight, bias))
    assert not tensors["diff"].any()
    assert tensors["diff_b"].tobytes() == xi.tobytes()
    assert "zero" in said[0]


def test_a_folded_weight_is_scaled_back(rng: np.random.Generator) -> None:
    shape, a = (O, I, 3), rng.normal(size=O)
    own = rng.normal(size=shape)
    column = a.reshape(-1, 1, 1)
    for name in ("lora", "dora", "loha", "lokr", "liera", "oft-cayley", "block-diagonal+so+cayley+out", "ia3"):
        made = get_method(name, action="scaling") if name == "ia3" else get_method(name)
        start = made.start(shape, 1, rng, base_weight=a.reshape(-1, 1, 1) * own)
        params = {key: value + rng.normal(size=value.shape) / 8 for key, value in start.items()}
        in_file = made.adapted_weight(params, column * own)
        tensors, _ = write_module(Adapted(made, params), None, Target("conv", column * own, None), scales=a)
        np.testing.assert_allclose(column * adapted(read(tensors, own), own), in_file, atol=3e-6)


def test_a_prefix_is_no_part_of_the_path(rng: np.random.Generator) -> None:
    for prefix in ("lycoris", "lora_unet", "lora_te", "lora_te2"):
        foreign = lycoris.parse_lycoris({f"{prefix}_a_b.diff": draw(rng, 2, 3)})
        assert (set(foreign.modules), foreign.separator, foreign.kind) == ({"a_b"}, "_", "full")
    assert set(lycoris.parse_lycoris({"other_a.diff": draw(rng, 2, 3)}).modules) == {"other_a"}


@pytest.mark.parametrize(
    ("keys", "error", "said"),
    [
        (["lora_up.weight"], FormatError, "lora_down.weight"),
        (["lora_down.weight", "alpha"], FormatError, "lora_up.weight"),
        (["lora_up.weight", "lora_down.weight", "lora_left.weight"], FormatError, "lora_left.weight"),
        (["lora_up.weight", "lora_down.weight", "hada_w1_a"], FormatError, "one algorithm"),
        (["hada_w1_a", "hada_w1_b", "hada_w2_a"], FormatError, "hada_w2_b"),
        (["lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2"], FormatError, "lokr_w1 or"),
        (["lokr_w1", "lokr_w2_a"], FormatError, "lokr_w2_a with lokr_w2_b"),
        (["alpha"], FormatError, "an algorithm that is read"),
        (["weight"], FormatError, "on_input"),
        (["diff_b"], FormatError, "diff"),
        (["hada_w1_a", "hada_t1"], UnsupportedError, "Tucker form of LoHa"),
        (["lokr_w1", "lokr_w2_a", "lokr_w2_b", "lokr_t2"], UnsupportedError, "Tucker form of LoKr"),
        (["a1.weight", "a2.weight", "b1.weight", "b2.weight"], UnsupportedError, "GLoRA"),
        (["lambda_layer", "q_layer.weight"], UnsupportedError, "T-LoRA"),
    ],
)
def test_tensors_that_tell_no_one_algorithm_are_refused_by_name(
    keys: list[str], error: type[Exception], said: str
) -> None:
    tensors = {f"lycoris_conv.{key}": np.ones((2, 2), np.float32) for key in keys}
    with pytest.raises(error, match=said) as caught:
        lycoris.parse_lycoris(tensors)
    assert "lycoris_conv" in str(caught.value)


def test_a_scalar_beside_the_factors_must_be_one(rng: np.random.Generator) -> None:
    tensors = {f"lycoris_conv.{key}": value for key, value in locon(rng, (O, I)).items()}
    lycoris.parse_lycoris({**tensors, "lycoris_conv.scalar": np.ones((), np.float32)})
    with pytest.raises(UnsupportedError, match="scalar"):
        lycoris.parse_lycoris({**tensors, "lycoris_conv.scalar": np.full((), 0.5, np.float32)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lora_up.weight": np.ones((O - 1, 2), np.float32)}, "lora_up.weight"),
        ({"lora_down.weight": np.ones((2, I + 1), np.float32)}, "lora_down.weight"),
        ({"lora_down.weight": np.ones((3, I), np.float32)}, "one rank"),
        ({"lora_up.weight": np.ones(O, np.float32)}, "lora_up.weight"),
        ({"lora_up.weight": np.ones((O, 0), np.float32), "lora_down.weight": np.ones((0, I), np.float32)}, "shape"),
        ({"alpha": np.ones(2, np.float32)}, "alpha"),
    ],
)
def test_factors_of_other_shapes_are_refused(rng: np.random.Generator, change: Tensors, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        read({**locon(rng, (O, I)), **change}, draw(rng, O, I))


def test_a_negative_alpha_an_overflow_and_other_padding_are_refused(rng: np.random.Generator) -> None:
    weight = draw(rng, O, I)
    with pytest.raises(UnsupportedError, match="alpha"):
        read(locon(rng, (O, I), alpha=-1.0), weight)
    huge = {key: np.full(value.shape, 1e200) for key, value in locon(rng, (3, 5), r=7).items()}
    with pytest.raises(DomainError, match="finite"):
        read(huge, draw(rng, 3, 5))
    foreign = lycoris.parse_lycoris({f"lycoris_conv.{key}": value for key, value in locon(rng, (O, I, 3)).items()})
    with pytest.raises(UnsupportedError, match="pads with zeros"):
        foreign.modules["conv"](place(draw(rng, O, I, 3), padding_mode=True))


def test_files(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "adapter.safetensors"
    write_tensor_file(path, {f"lycoris_conv.{key}": value for key, value in locon(rng, (O, I)).items()})
    assert lycoris.recognises(path)
    assert lycoris.read(path).dtype == "float32"
    write_tensor_file(path, {"lycoris_conv.diff": np.ones((2, 2))})
    assert lycoris.read(path).dtype == "float64"
    pickled = tmp_path / "adapter.pt"
    pickled.write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(FormatError, match=r"pickle.*save_file"):
        lycoris.read(pickled)
    with pytest.raises(FormatError, match="there is none"):
        lycoris.read(tmp_path / "none.safetensors")
    for bad in ({}, {"conv": np.ones(2)}, {".diff": np.ones(2)}):
        with pytest.raises(FormatError):
            lycoris.parse_lycoris(bad)
    with pytest.raises(FormatError, match="once"):
        lycoris.parse_lycoris({"lycoris_a.diff": np.ones((2, 2)), "lora_unet_a.diff": np.ones((2, 2))})
