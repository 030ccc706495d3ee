"""The engine and the reference path compute one network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import lieref
from lieref.errors import DomainError
from lieref.model.backend import MOST_ENGINES
from lieref.model.error_bound import branch_residual, logit_error_bound
from lieref.model.graph import Node
from lieref.model.site import Site
from lieref.param.registry import METHODS
from lieref.train.loss import CrossEntropy, MeanSquaredError
from tests.model.nets import make_onnx, residual_net, saved
from tests.pairs import EVERYTHING

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return saved(residual_net(), tmp_path)


@pytest.mark.parametrize("engine", ["f2", "f4", "direct", "reference"])
@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(0.1, (1.0, 2.0, 0.5, 1.0, 3.0))])
def test_gradients_agree_with_float64(path: Path, rng: np.random.Generator, engine: str, loss: CrossEntropy) -> None:
    x, y = rng.standard_normal((7, 3, 9, 8)).astype(np.float32), np.array([0, 4, 2, 2, 1, 3, 3])
    exact = lieref.load(path, dtype="float64").attach("full")
    value, logits, expected = exact.loss_and_grad(x, y, loss)
    model = lieref.load(path).attach("full")
    model.engine = engine
    got_value, got_logits, got = model.loss_and_grad(x, y, loss)
    assert abs(got_value - value) <= 1e-5 * value
    # 5e-6 is what the engine promises of every gradient tensor, F(4x4, 3x3) included.
    assert np.linalg.norm(got_logits - logits) <= 5e-6 * np.linalg.norm(logits)
    assert set(got) == set(expected)
    for name, gradient in expected.items():
        assert got[name].dtype == np.float32
        assert np.linalg.norm(got[name] - gradient) <= 5e-6 * np.linalg.norm(gradient), name


OUTSIDE = {
    "bias",  # of the layer or its BatchNormalization, which is folded into the weight
    "oft", "oft-cayley", "oft-cayley-neumann", "boft", "goft", "qgoft", "hra",  # a matrix acts
    "elra", "so", "sl", "sp", "unitriangular", "affine",  # the same on the outputs
    "dora", "dvora", "dora-liera",  # a length, and a direction
    "low-rank+hadamard+taylor3",  # a map the engine does not have
}  # fmt: skip
"""Methods that the engine does not compute itself; a new one that acts entry by entry must come inside."""

NO_DEPTHWISE = {"lora-view", "lora-structured"}
"""Their rank is a multiple of the kernel height, for which a depthwise kernel has no room."""


GRADIENTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in METHODS if name != "norm-stats"), ("liera", {"r": 3, "lora_alpha": 1.5}),
    ("liera", {"share_groups": True}), ("lora", {"share_groups": True}), ("low-rank+hadamard+taylor3", {}),
    ("low-rank+hadamard+bounded(0.01)", {}), ("low-rank+hadamard+bounded(1000)", {}),
    ("dense+scaling+bounded+scaling", {}), ("dense+hadamard+exp", {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "options", "statistics"),
    [(*one, flag) for at, one in enumerate(GRADIENTS) for flag in ((False, True) if EVERYTHING else (at % 2 == 0,))],
)
def test_factor_gradients_agree_with_float64(
    path: Path, rng: np.random.Generator, method: str, options: dict[str, Any], statistics: bool
) -> None:
    targets = ["stem", "point", "down", "head"] if method in NO_DEPTHWISE else None
    x, y = rng.standard_normal((7, 3, 9, 8)).astype(np.float32), np.array([0, 4, 2, 2, 1, 3, 3])
    results = []
    for dtype in ("float64", "float32"):
        model = lieref.load(path, dtype=dtype)
        if statistics:
            model.attach("norm-stats").estimate_statistics(x)
        model.attach(method, target_modules=targets, **options)
        draws = np.random.default_rng(5)
        for array in model.parameters().values():
            array += 0.2 * draws.standard_normal(array.shape)
        results.append(model.loss_and_grad(x, y, CrossEntropy()))
        inside = {site.tensor for site in model.division().fused.sites}
    normalised = {"stem.weight", "depth.weight", "down.weight"}
    # A factor that multiplies the bias too goes in where no normalisation is folded into the layer.
    tied = {t for t, site in model.sites.items() if site.bias and (method != "ia3" or t in normalised)}
    weights = {t for t, site in model.sites.items() if site.layer} - tied
    assert inside == (set() if method in OUTSIDE else weights - (normalised if method == "full" else set()))
    (value, logits, exact), (got_value, got_logits, got) = results
    assert abs(got_value - value) <= 1e-5 * value
    assert np.linalg.norm(got_logits - logits) <= 5e-6 * np.linalg.norm(logits)
    for name, gradient in exact.items():
        # An adapter's gradient is a sum of a weight's gradient that may cancel, so the size of the factor counts too.
        assert np.linalg.norm(got[name] - gradient) <= 5e-6 * np.linalg.norm(gradient) + 1e-7, name


@pytest.mark.parametrize("method", ["liera", "lora", "scale", "atoms", "head"])
def test_weights_stored_as_in_times_out_are_adapted_inside(
    tmp_path: Path, rng: np.random.Generator, method: str
) -> None:
    tensors = {name: rng.standard_normal(shape) for name, shape in (("a", (7, 12)), ("c", (12, 5)))}
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "c"], ["y"], name="last"),
    ]
    proto = make_onnx(nodes, {k: v.astype(np.float32) for k, v in tensors.items()}, ["N", 7], "y", ["N", 5])
    file = saved(proto, tmp_path)
    x, y = rng.standard_normal((6, 7)).astype(np.float32), np.array([0, 4, 2, 2, 1, 3])
    results = []
    for dtype in ("float64", "float32"):
        model = lieref.load(file, dtype=dtype).attach(method)
        draws = np.random.default_rng(5)
        for array in model.parameters().values():
            array += 0.2 * draws.standard_normal(array.shape)
        results.append(model.loss_and_grad(x, y, CrossEntropy()))
    assert {site.tensor for site in model.division().fused.sites} == set(model.sites)
    for name, gradient in results[0][2].items():
        assert np.linalg.norm(results[1][2][name] - gradient) <= 5e-6 * np.linalg.norm(gradient) + 1e-7, name


def test_an_adapter_on_the_bias_too_is_computed_outside(path: Path, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((7, 3, 9, 8)).astype(np.float32), np.array([0, 4, 2, 2, 1, 3, 3])
    results = []
    for dtype in ("float64", "float32"):
        model = lieref.load(path, dtype=dtype).attach("bias").attach("lora", r=2, target_modules=["stem", "head"])
        for array in model.parameters().values():
            array += 0.1
        assert [site.tensor for site in model.division().fused.sites] == ([] if dtype == "float64" else ["head.weight"])
        results.append(model.loss_and_grad(x, y, CrossEntropy())[2])
    for name, gradient in results[0].items():
        assert np.linalg.norm(results[1][name] - gradient) <= 1e-5 * np.linalg.norm(gradient) + 1e-7, name


def test_the_engine_is_used_where_it_can_be(path: Path) -> None:
    model = lieref.load(path)
    assert type(model.choice.backend(frozenset(), 1)[0]).__name__ == "Compiled"
    model.engine = "reference"
    assert type(model.choice.backend(frozenset(), 1)[0]).__name__ == "Reference"
    assert type(lieref.load(path, dtype="float64").choice.backend(frozenset(), 1)[0]).__name__ == "Reference"


@pytest.mark.parametrize("engine", ["f2", "f4", "direct", "reference"])
def test_factors_that_are_not_finite_are_refused(path: Path, rng: np.random.Generator, engine: str) -> None:
    x, y = rng.standard_normal((3, 3, 9, 8)).astype(np.float32), np.array([0, 4, 2])
    model = lieref.load(path).attach("lora", target_modules=["stem", "head"])
    model.engine = engine
    before = model.logits(x)
    factor = next(iter(model.parameters().values()))
    kept = factor.copy()
    for bad in (np.nan, np.inf):
        factor[...] = bad
        with pytest.raises(DomainError, match="finite"):
            model.logits(x)
        with pytest.raises(DomainError, match="finite"):
            model.loss_and_grad(x, y, CrossEntropy())
    factor[...] = kept
    np.testing.assert_array_equal(model.logits(x), before)


def test_an_unknown_engine_is_refused(path: Path) -> None:
    model = lieref.load(path)
    with pytest.raises(DomainError, match=r"engine.*f2, f4, direct, reference; got 'gpu'"):
        model.engine = "gpu"
    assert model.engine == "f2"


def test_weights_changed_in_place_are_seen(path: Path, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 3, 9, 8)).astype(np.float32)
    model = lieref.load(path).attach("scale")
    before = model.logits(x)
    for array in model.parameters().values():
        array += 0.5
    changed = model.logits(x)
    assert not np.allclose(before, changed)
    model.engine = "reference"
    np.testing.assert_allclose(model.logits(x), changed, rtol=1e-4, atol=1e-5)
    model.engine = "f2"
    model.unload()
    np.testing.assert_array_equal(model.logits(x), before)


def test_adapted_tensors_are_computed_once_for_the_same_factors(
    path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = rng.standard_normal((2, 3, 9, 8)).astype(np.float32)
    model = lieref.load(path).attach("liera", r=1)
    first = model.logits(x)
    monkeypatch.setattr(Site, "adapted", lambda *arguments: pytest.fail("computed again"))
    np.testing.assert_array_equal(model.logits(x), first)


@pytest.mark.parametrize("engine", ["f2", "reference"])
def test_threads_change_no_bit(path: Path, rng: np.random.Generator, engine: str) -> None:
    x, y = rng.standard_normal((37, 3, 9, 8)).astype(np.float32), rng.integers(0, 5, 37)
    results = []
    for threads in (1, 2, 4):
        model = lieref.load(path).attach("liera", r=1)
        model.engine, model.threads = engine, threads
        _, logits, grads = model.loss_and_grad(x, y, CrossEntropy())
        results.append((logits, grads))
    for logits, grads in results[1:]:
        np.testing.assert_array_equal(logits, results[0][0])
        for name, gradient in grads.items():
            np.testing.assert_array_equal(gradient, results[0][1][name])


def test_a_loss_the_engine_does_not_have(path: Path, rng: np.random.Generator) -> None:
    class Cubic:
        def value_and_grad(self, logits: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
            difference = logits - y
            return float(np.sum(np.abs(difference) ** 3)), 3 * difference * np.abs(difference)

        def compiled_form(self, y: np.ndarray, outputs: int) -> None:
            return None

    x, y = rng.standard_normal((4, 3, 9, 8)).astype(np.float32), rng.standard_normal((4, 5)).astype(np.float32)
    values = []
    for dtype in ("float32", "float64"):
        model = lieref.load(path, dtype=dtype).attach("head")
        values.append(model.loss_and_grad(x, y.astype(dtype), Cubic()))
    assert abs(values[0][0] - values[1][0]) <= 1e-5 * values[1][0]
    for name, gradient in values[1][2].items():
        assert np.linalg.norm(values[0][2][name] - gradient) <= 1e-5 * np.linalg.norm(gradient)


def test_regression_without_softmax(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="first"),
        helper.make_node("Tanh", ["h"], ["t"], name="tanh"),
        helper.make_node("MatMul", ["t", "w2"], ["y"], name="second"),
    ]
    tensors = {
        "w1": rng.standard_normal((6, 5)).astype(np.float32),
        "w2": rng.standard_normal((5, 3)).astype(np.float32),
    }
    path = saved(make_onnx(nodes, tensors, ["N", 6], "y", ["N", 3]), tmp_path)
    x, y = rng.standard_normal((8, 6)).astype(np.float32), rng.standard_normal((8, 3)).astype(np.float32)
    results = [
        lieref.load(path, dtype=dtype).attach("lora", r=2).loss_and_grad(x, y, MeanSquaredError())
        for dtype in ("float32", "float64")
    ]
    assert abs(results[0][0] - results[1][0]) <= 1e-5 * results[1][0]
    for name, gradient in results[1][2].items():
        assert np.linalg.norm(results[0][2][name] - gradient) <= 1e-5 * np.linalg.norm(gradient) + 1e-12


def test_float32_logits_lie_within_the_certified_bound(path: Path, rng: np.random.Generator) -> None:
    x = (50 * rng.standard_normal((5, 3, 9, 8))).astype(np.float32)
    model = lieref.load(path).attach("liera", r=1)
    for array in model.parameters().values():
        array += (0.3 * rng.standard_normal(array.shape)).astype(np.float32)
    exact, bound = logit_error_bound(model, x)
    assert exact.shape == bound.shape == (5, 5)
    assert (bound > 0).all()
    assert (bound < 1e-3 * np.abs(exact).max()).all(), "a bound this loose would see nothing"
    for engine in ("direct", "reference"):
        model.engine = engine
        assert (np.abs(model.logits(x).T - exact) <= bound).all(), engine
    model.graph.initializers["head.weight"][...] *= np.float32(1.001)
    wrong = lieref.Model(model.graph, model.proto, "", model.base_sha256)
    assert (np.abs(wrong.logits(x).T - exact) > bound).any(), "a weight wrong by a thousandth must be seen"


def test_the_bound_of_one_linear_layer_is_n_u_s(tmp_path: Path, rng: np.random.Generator) -> None:
    weight = rng.standard_normal((4, 7)).astype(np.float32)
    bias = rng.standard_normal(4).astype(np.float32)
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="only", transB=1)
    path = saved(make_onnx([node], {"w": weight, "b": bias}, ["N", 7], "y", ["N", 4]), tmp_path)
    x = rng.standard_normal((3, 7)).astype(np.float32)
    exact, bound = logit_error_bound(lieref.load(path), x)
    wide = [v.astype(np.float64) for v in (x, weight, bias)]
    np.testing.assert_allclose(exact.T, wide[0] @ wide[1].T + wide[2], rtol=1e-14)
    n, u = 7 + 9, 2.0**-24
    expected = n * u / (1 - n * u) * (np.abs(wide[0]) @ np.abs(wide[1]).T + np.abs(wide[2]))
    np.testing.assert_allclose(bound.T, expected * (1 + 2**-10), rtol=1e-12)


def test_a_flipped_relu_is_counted() -> None:
    node = Node("relu", "Relu", ("a",), ("b",))
    exact, rounded = np.array([1.0, -1e-7, 1e-7, -2.0]), np.array([1.1, 2e-7, -2e-7, -2.1])
    np.testing.assert_allclose(branch_residual(node, exact, rounded), [0, 2e-7, 2e-7, 0], atol=1e-20)


def test_gradients_that_overflow_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)]
    tensors = {"w": rng.standard_normal((4, 6)).astype(np.float32)}
    model = lieref.load(saved(make_onnx(nodes, tensors, ["N", 6], "y", ["N", 4]), tmp_path)).attach("full")
    x = np.full((3, 6), 1e25, np.float32)
    with pytest.raises(DomainError, match="finite"):
        model.loss_and_grad(x, np.zeros((3, 4), np.float32), MeanSquaredError())


def test_a_bounded_number_of_engines_is_kept(path: Path, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 3, 9, 8)).astype(np.float32), np.array([0, 3])
    model = lieref.load(path)
    for rank in range(1, MOST_ENGINES + 3):
        model.unload().attach("lora", r=rank, target_modules=["head"])
        model.loss_and_grad(x, y, CrossEntropy())
        model.logits(x)
    assert len(model.choice.compiled[model.engine]._engines) == MOST_ENGINES


def test_graph_made_for_one_sample_gives_several_their_own(tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"], name="flatten")]
    net = make_onnx(nodes, {"shape": np.array([1, -1])}, [1, 3, 2], "y", [1, 6])
    model = lieref.load(saved(net, tmp_path))
    model.engine = "reference"
    x = rng.standard_normal((4, 3, 2)).astype(np.float32)
    np.testing.assert_array_equal(model.predict(x), x.reshape(4, 6))
    np.testing.assert_array_equal(model.predict(x[:1]), x[:1].reshape(1, 6))


@pytest.mark.parametrize("case", ["auto-pad", "unfolded-norm"])
def test_tensors_of_reference_rows_are_seen_when_they_change(
    tmp_path: Path, rng: np.random.Generator, case: str
) -> None:
    """The engine calls the reference function of an operator it lacks, with the tensors as they are now."""

    def f32(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    tensors = {"w": f32(8, 3, 3, 3), "v": f32(5, 8), "s": f32(3), "b": f32(3), "m": f32(3), "u": np.abs(f32(3)) + 1}
    first = [helper.make_node("Conv", ["x", "w"], ["a"], name="conv", auto_pad="SAME_UPPER")]
    if case == "unfolded-norm":
        first = [
            helper.make_node("BatchNormalization", ["x", "s", "b", "m", "u"], ["n"], name="norm"),
            helper.make_node("Conv", ["n", "w"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        ]
    nodes = [
        *first,
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "v"], ["y"], name="head", transB=1),
    ]
    path = saved(make_onnx(nodes, tensors, ["N", 3, 8, 9], "y", ["N", 5]), tmp_path)
    x = f32(4, 3, 8, 9)
    model = lieref.load(path)
    before = model.logits(x)
    if case == "unfolded-norm":
        model.attach("norm-stats").estimate_statistics(2 * x + 1)
        assert not np.allclose(model.logits(x), before)
    model.attach("full")
    for array in model.parameters().values():
        array += 0.2 * rng.standard_normal(array.shape).astype(np.float32)
    changed = model.logits(x)
    assert not np.allclose(changed, before)
    model.engine = "reference"
    np.testing.assert_allclose(changed, model.logits(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(changed, model.merge_and_unload().logits(x), rtol=1e-5, atol=1e-5)


def test_a_trained_weight_that_a_call_back_reads_is_read_anew(tmp_path: Path, rng: np.random.Generator) -> None:
    """A convolution of three axes is called back in Python: it must not keep the weight of the first run."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["columns"], name="conv", pads=[0, 1, 0, 1]),
        helper.make_node("Reshape", ["columns", "s"], ["volume"], name="volume"),
        helper.make_node("Conv", ["volume", "v"], ["letters"], name="letters"),
        helper.make_node("ReduceMean", ["letters"], ["y"], name="mean", axes=[2, 3, 4], keepdims=0),
    ]
    draw = {"w": (9, 1, 3, 3), "v": (4, 3, 2, 1, 2)}
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in draw.items()}
    proto = make_onnx(nodes, {**tensors, "s": np.array([0, 3, 3, 1, -1])}, ["N", 1, 3, 8], "y", ["N", 4])
    model = lieref.load(saved(proto, tmp_path)).attach("full")
    x = rng.standard_normal((5, 1, 3, 8)).astype(np.float32)
    first = model.logits(x)
    assert model.engine == "mixed"
    model.parameters()["v:xi"][...] += 0.25
    compiled = model.logits(x)
    model.engine = "reference"
    assert np.abs(model.logits(x) - first).max() > 0.1
    np.testing.assert_allclose(compiled, model.logits(x), rtol=1e-4, atol=1e-5)
