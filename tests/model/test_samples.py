"""Layouts: what fits is found, what fits twice is asked for, and every function decides alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import lieref
from lieref.errors import DomainError, DTypeError, LierefError, ShapeError
from lieref.model.samples import arrange, check_samples
from lieref.train.loss import CrossEntropy
from tests.model.nets import make_onnx, saved

NCHW = (None, 3, 5, 7)

# A network that begins with a Transpose, or has free sizes, is run operator by operator, and says so.
pytestmark = pytest.mark.filterwarnings("ignore::lieref.model.speed.SlowPathWarning")


@pytest.mark.parametrize(
    ("shape", "input_shape", "layout", "axes"),
    [
        ((2, 3, 5, 7), NCHW, None, (0, 1, 2, 3)),
        ((2, 5, 7, 3), NCHW, None, (0, 3, 1, 2)),
        ((2, 5, 7, 3), NCHW, "NHWC", (0, 3, 1, 2)),
        ((2, 3, 5, 7), (None, 5, 7, 3), None, (0, 2, 3, 1)),
        ((2, 5, 7, 3), (None, 5, 7, 3), "NHWC", (0, 1, 2, 3)),
        ((2, 3, 3, 3), (None, None, None, 3), "NHWC", (0, 1, 2, 3)),
        ((2, 3, 3, 3), (None, None, None, 3), "NCHW", (0, 2, 3, 1)),
        ((2, 5, 7, 3), (None, 3, None, None), None, (0, 3, 1, 2)),
        ((2, 5, 5, 5), (None, 5, 5, 5), "NHWC", (0, 3, 1, 2)),
        ((2, 5, 5, 5), (None, 5, 5, 5), "NCHW", (0, 1, 2, 3)),
        # Nothing is declared that speaks against the samples as they are.
        ((2, 5, 5, 5), (None, None, None, None), None, (0, 1, 2, 3)),
        ((2, 9, 4), (None, 4, 9), None, (0, 2, 1)),
        ((2, 9), (None, 9), None, (0, 1)),
    ],
)
def test_arrange_finds_the_layout(
    shape: tuple[int, ...],
    input_shape: tuple[int | None, ...],
    layout: str | None,
    axes: tuple[int, ...],
    rng: np.random.Generator,
) -> None:
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    result = arrange(x, input_shape, layout, function="f")
    np.testing.assert_array_equal(result, x.transpose(axes))
    assert np.shares_memory(result, x)


@pytest.mark.parametrize("input_shape", [(None, 1, 5, 7), (None, 5, 7, 1), (None, 1, None, None)])
def test_arrange_adds_the_axis_of_a_single_channel(input_shape: tuple[int | None, ...]) -> None:
    x = np.arange(2 * 5 * 7).reshape(2, 5, 7)
    result = arrange(x, input_shape, function="f")
    np.testing.assert_array_equal(result.reshape(x.shape), x)
    assert all(want in (None, have) for have, want in zip(result.shape, input_shape, strict=True))


@pytest.mark.parametrize(
    ("shape", "input_shape"),
    [((2, 5, 5, 5), (None, 5, 5, 5)), ((2, 3, 8, 3), (None, 3, None, None)), ((2, 6, 6), (None, 6, None))],
)
def test_arrange_asks_where_both_layouts_fit(shape: tuple[int, ...], input_shape: tuple[int | None, ...]) -> None:
    with pytest.raises(DomainError, match="f: `layout` must be given where both fit"):
        arrange(np.zeros(shape), input_shape, function="f")


@pytest.mark.parametrize(
    ("shape", "input_shape", "layout"),
    [
        ((2, 4, 5, 7), NCHW, None),
        ((2, 3, 5, 7), NCHW, "NHWC"),
        ((2, 5, 7), NCHW, None),
        ((2, 8), (None, 9), None),
        ((2, 9, 1), (None, 9), None),
    ],
)
def test_arrange_refuses_what_does_not_fit(
    shape: tuple[int, ...], input_shape: tuple[int | None, ...], layout: str | None
) -> None:
    with pytest.raises(ShapeError, match=r"f: `x` must fit the model's input \(N, "):
        arrange(np.zeros(shape), input_shape, layout, function="f")


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([[1.0, 2.0], [3.0]], ShapeError, "of one shape"),
        ([["a", "b"]], DTypeError, "integers or floats"),
        ([[1j, 2j]], DTypeError, "integers or floats"),
        ([1.0, 2.0], ShapeError, r"shape \(N, ...\)"),
        (np.zeros((0, 2)), DomainError, "at least one sample"),
        (np.zeros((2, 0)), ShapeError, "at least one value"),
        ([[1.0, np.inf]], DomainError, "must be finite"),
    ],
)
def test_check_samples_refuses(x: Any, error: type[LierefError], message: str) -> None:
    with pytest.raises(error, match=f"f: `x` .*{message}"):
        check_samples("f", x)


def network(folder: Path, input_shape: tuple[int | None, ...], channels: int, axes: list[int] | None) -> Path:
    """Write convolution, normalisation, mean and linear layer; the input is moved by `axes` first."""
    rng = np.random.default_rng(0)
    start = [] if axes is None else [helper.make_node("Transpose", ["x"], ["t"], perm=axes)]
    nodes = [
        *start,
        helper.make_node("Conv", ["x" if axes is None else "t", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", "one", "zero", "mean", "var"], ["n"], name="norm"),
        helper.make_node("GlobalAveragePool", ["n"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["y"], name="head", transB=1),
    ]
    tensors = {
        "w": rng.standard_normal((4, channels, 3, 2)),
        "one": np.ones(4),
        "zero": np.zeros(4),
        "mean": np.zeros(4),
        "var": np.ones(4),
        "v": rng.standard_normal((3, 4)),
    }
    floats = {name: value.astype(np.float32) for name, value in tensors.items()}
    shape = ["N" if d is None else d for d in input_shape]
    return Path(saved(make_onnx(nodes, floats, shape, "y", ["N", 3]), folder))


# The model's input and how it begins; samples as the model takes them; the same samples given otherwise.
WAYS: dict[str, tuple[tuple[int | None, ...], int, list[int] | None, Callable[[np.ndarray], np.ndarray]]] = {
    "last for first": ((None, 3, 8, 6), 3, None, lambda x: np.moveaxis(x, 1, -1)),
    "first for last": ((None, 8, 6, 3), 3, [0, 3, 1, 2], lambda x: np.moveaxis(x, -1, 1)),
    "grey": ((None, 1, 8, 6), 1, None, lambda x: x[:, 0]),
    "grey for last": ((None, 8, 6, 1), 1, [0, 3, 1, 2], lambda x: x[..., 0]),
    "free": ((None, 3, None, None), 3, None, lambda x: np.moveaxis(x, 1, -1)),
    "booleans": ((None, 1, 8, 6), 1, None, lambda x: (x > 0)[:, 0]),
    "as it is": ((None, 3, 8, 6), 3, None, lambda x: x),
}


@pytest.mark.parametrize("engine", ["f2", "reference"])
@pytest.mark.parametrize("way", WAYS)
def test_every_function_takes_the_same_samples(way: str, engine: str, tmp_path: Path, rng: np.random.Generator) -> None:
    input_shape, channels, axes, move = WAYS[way]
    path = network(tmp_path, input_shape, channels, axes)
    shape = [{1: channels, 2: 8, 3: 6}[a] if d is None else d for a, d in enumerate(input_shape[1:], start=1)]
    own = rng.integers(0, 2 if way == "booleans" else 256, (48, *shape)).astype(np.uint8)
    given, y = move(own), np.arange(48) % 3

    def model() -> Any:
        loaded = lieref.load(path)
        loaded.engine = engine
        return loaded

    loss = CrossEntropy()
    np.testing.assert_array_equal(model().predict(given), model().predict(own))
    np.testing.assert_array_equal(model().logits(given), model().logits(own))
    assert lieref.evaluate_model(model(), given, y) == lieref.evaluate_model(model(), own, y)
    gradients = [model().attach("full").loss_and_grad(x, y, loss)[2] for x in (given, own)]
    models = [model().attach("full"), model().attach("full")]
    statistics = [model(), model()]
    for trained, estimated, x in zip(models, statistics, (given, own), strict=True):
        lieref.fit(trained, x, y, epochs=1, augment=())
        estimated.estimate_statistics(x)
    for name, gradient in gradients[0].items():
        np.testing.assert_array_equal(gradient, gradients[1][name])
    for name, parameter in models[0].parameters().items():
        np.testing.assert_array_equal(parameter, models[1].parameters()[name])
    for name, value in statistics[0].statistics.items():
        np.testing.assert_array_equal(value, statistics[1].statistics[name])


REFUSED: dict[str, Any] = {
    "neither fits": np.zeros((40, 4, 8, 6), np.uint8),
    "both fit": np.zeros((40, 3, 8, 3), np.uint8),
    "empty": np.zeros((0, 3, 8, 6), np.uint8),
    "nan": np.full((40, 3, 8, 6), np.nan, np.float32),
    "text": np.full((40, 3, 8, 6), "a"),
    "ragged": [[1.0, 2.0], [3.0]],
    "no batch": np.zeros((3, 8, 6), np.uint8),
}


@pytest.mark.parametrize("samples", REFUSED)
def test_every_function_refuses_the_same_samples(samples: str, tmp_path: Path) -> None:
    path, x, y = network(tmp_path, (None, 3, None, None), 3, None), REFUSED[samples], np.arange(40) % 3
    calls: dict[str, Callable[[], Any]] = {
        "predict": lambda: lieref.load(path).predict(x),
        "logits": lambda: lieref.load(path).logits(x),
        "evaluate_model": lambda: lieref.evaluate_model(lieref.load(path), x, y),
        "loss_and_grad": lambda: lieref.load(path).attach("bias").loss_and_grad(x, y, CrossEntropy()),
        "estimate_statistics": lambda: lieref.load(path).estimate_statistics(x),
        "fit": lambda: lieref.fit(lieref.load(path).attach("full"), x, y, epochs=1),
    }
    kinds = set()
    for name, call in calls.items():
        with pytest.raises(LierefError, match=r"`(x|layout)` must") as caught:
            call()
        kinds.add(type(caught.value))
        assert str(caught.value).startswith("predict:" if name == "logits" else f"{name}:")
    assert len(kinds) == 1


def test_a_layout_that_is_given_holds_everywhere(tmp_path: Path, rng: np.random.Generator) -> None:
    """Three rows, three columns, three channels: both fit, and the two are different images."""
    path = network(tmp_path, (None, 3, 3, 3), 3, None)
    last, y = rng.integers(0, 256, (48, 3, 3, 3), dtype=np.uint8), np.arange(48) % 3
    first = np.moveaxis(last, -1, 1)
    model = lieref.load(path)
    want = model.predict(first, layout="NCHW")
    np.testing.assert_array_equal(model.predict(last, layout="NHWC"), want)
    assert not np.array_equal(model.predict(last, layout="NCHW"), want)
    models = [lieref.load(path).attach("full") for _ in range(2)]
    lieref.fit(models[0], first, y, epochs=2, layout="NCHW", augment=("flip",), validation=0.25)
    lieref.fit(models[1], last, y, epochs=2, layout="NHWC", augment=("flip",), validation=0.25)
    for name, parameter in models[0].parameters().items():
        np.testing.assert_array_equal(parameter, models[1].parameters()[name])
    assert lieref.evaluate_model(models[0], first, y, layout="NCHW") == lieref.evaluate_model(
        models[1], last, y, layout="NHWC"
    )
