"""Images read at points, and the points of affine maps, against PyTorch: values and both gradients."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.op.registry import OPERATORS

MODES = {"linear": "bilinear", "nearest": "nearest", "cubic": "bicubic"}


def drawn(*extents: int, spread: float = 1.4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    outputs = (5, 6) if len(extents) == 2 else (3, 2, 4)
    return rng.normal(size=(2, 3, *extents)), rng.uniform(-spread, spread, (2, *outputs, len(extents)))


CASES = [
    (extents, align, mode, padding)
    for extents, align, mode, padding in itertools.product(
        ((4, 7), (1, 3), (3, 5, 4)), (0, 1), MODES, ("zeros", "border", "reflection")
    )
    if len(extents) == 2 or mode != "cubic"
]


@pytest.mark.parametrize(("extents", "align", "mode", "padding"), CASES)
def test_grid_sample_is_pytorchs(extents: tuple[int, ...], align: int, mode: str, padding: str) -> None:
    torch = pytest.importorskip("torch")
    # Beyond the border PyTorch's cubic goes on where ONNX's stops.
    x, grid = drawn(*extents, spread=0.95 if (mode, padding) == ("cubic", "border") else 1.4)
    attrs = {"align_corners": align, "mode": mode, "padding_mode": padding}
    operator = OPERATORS["GridSample"]
    y = operator.forward(x, grid, **attrs)
    y_bar = np.random.default_rng(1).normal(size=y.shape)
    bars = operator.vjp(x, grid, y=y, y_bar=y_bar, **attrs)
    inputs = [torch.tensor(a, requires_grad=True) for a in (x, grid)]
    want = torch.nn.functional.grid_sample(*inputs, mode=MODES[mode], padding_mode=padding, align_corners=bool(align))
    want.backward(torch.tensor(y_bar))
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=0, atol=1e-12)
    for bar, tensor in zip(bars, inputs, strict=True):
        gradient = np.zeros(bar.shape) if tensor.grad is None else tensor.grad.numpy()
        if not (padding == "reflection" and align and 1 in extents):  # PyTorch's has no finite derivative there
            np.testing.assert_allclose(bar, gradient, rtol=0, atol=1e-11)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", MODES)
def test_points_far_outside_read_what_the_padding_says(mode: str, padding: str) -> None:
    x = np.arange(1.0, 13.0).reshape(1, 1, 3, 4)
    grid = np.array([[[[1e30, -1e30], [1e12, 1e12]]]])
    y = OPERATORS["GridSample"].forward(x, grid, mode=mode, padding_mode=padding)
    assert np.isfinite(y).all()
    if padding == "zeros":
        assert not y.any()
    elif padding == "border":
        np.testing.assert_array_equal(y[0, 0, 0], [x[0, 0, 0, 3], x[0, 0, 2, 3]])


@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid:UserWarning")
@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("size", [(2, 3, 5, 4), (2, 3, 1, 6), (2, 1, 3, 4, 5)])
def test_affine_grid_is_pytorchs(size: tuple[int, ...], align: int) -> None:
    torch = pytest.importorskip("torch")
    rng, k = np.random.default_rng(2), len(size) - 2
    theta, operator = rng.normal(size=(2, k, k + 1)), OPERATORS["AffineGrid"]
    given = torch.tensor(theta, requires_grad=True)
    want = torch.nn.functional.affine_grid(given, list(size), align_corners=bool(align))
    y = operator.forward(theta, np.array(size), align_corners=align)
    y_bar = rng.normal(size=y.shape)
    want.backward(torch.tensor(y_bar))
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=0, atol=1e-14)
    (bar, none) = operator.vjp(theta, np.array(size), y=y, y_bar=y_bar, align_corners=align)
    assert none is None
    np.testing.assert_allclose(bar, given.grad.numpy(), rtol=0, atol=1e-12)


WRONG: list[tuple[str, tuple[Any, ...], type[Exception], str]] = [
    ("GridSample", (np.ones((2, 3, 4, 5)), np.ones((2, 3, 4, 3))), ShapeError, "must have points"),
    ("GridSample", (np.ones((2, 3, 4, 5)), np.ones((3, 3, 4, 2))), ShapeError, "must have points"),
    ("GridSample", (np.ones((2, 3)), np.ones((2, 3))), ShapeError, "must have points"),
    ("GridSample", (np.ones((2, 3, 0, 5)), np.ones((2, 3, 4, 2))), ShapeError, "must not be empty"),
    ("GridSample", (np.ones((2, 3, 4, 5)), np.ones((2, 3, 4, 2), np.float32)), DTypeError, "one dtype"),
    ("AffineGrid", (np.ones((2, 2, 3)), np.array([2, 1, 3, 4, 5])), ShapeError, "two or three dimensions"),
    ("AffineGrid", (np.ones((2, 3, 3)), np.array([2, 1, 3, 4])), ShapeError, "two or three dimensions"),
    ("AffineGrid", (np.ones((2, 2, 3)), np.array([3, 1, 3, 4])), ShapeError, "must be of 2 images; got 3"),
    ("AffineGrid", (np.ones((2, 2, 3)), np.array([2, 1, 0, 4])), DomainError, "at least 1"),
    ("AffineGrid", (np.ones((2, 2, 3)), np.array([2.0, 1, 3, 4])), DTypeError, "must be integers"),
    ("AffineGrid", (np.ones((2, 6)), np.array([2, 1, 3, 4])), ShapeError, "`theta` must be"),
    ("AffineGrid", (np.ones((2, 2, 3)), np.array([2, 1, 3])), ShapeError, "4 or 5 numbers"),
]


@pytest.mark.parametrize(("op", "inputs", "error", "words"), WRONG)
def test_what_does_not_fit_is_refused(op: str, inputs: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"{op}: .*{words}"):
        OPERATORS[op].forward(*inputs)
