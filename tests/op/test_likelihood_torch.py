"""Losses inside a network against PyTorch: values and gradients, with weights, ignored targets and positions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.op.registry import OPERATORS

N, C, IGNORED = 5, 4, -7
NAMES = {"NegativeLogLikelihoodLoss": "nll_loss", "SoftmaxCrossEntropyLoss": "cross_entropy"}
WEIGHT = np.array([0.5, 2.0, 1.25, 3.0])


@pytest.mark.parametrize(
    ("op", "positions", "weighted", "ignores", "reduction"),
    list(itertools.product(NAMES, ((), (3, 2)), (False, True), (False, True), ("none", "mean", "sum"))),
)
def test_losses_are_pytorchs(op: str, positions: Any, weighted: bool, ignores: bool, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, C, *positions))
    target = rng.integers(0, C, (N, *positions))
    if ignores:
        target.reshape(-1)[[0, 3]] = IGNORED
    inputs = (x, target, *([WEIGHT] if weighted else []))
    attrs = {"reduction": reduction, **({"ignore_index": IGNORED} if ignores else {})}
    y = OPERATORS[op].forward(*inputs, **attrs)
    y_bar = rng.normal(size=y.shape)
    bars = OPERATORS[op].vjp(*inputs, y=y, y_bar=y_bar, **attrs)
    given = torch.tensor(x, requires_grad=True)
    want = getattr(torch.nn.functional, NAMES[op])(
        given, torch.tensor(target), torch.tensor(WEIGHT) if weighted else None, ignore_index=IGNORED,
        reduction=reduction,
    )  # fmt: skip
    want.backward(torch.tensor(y_bar))
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=0, atol=1e-13)
    np.testing.assert_allclose(bars[0], given.grad.numpy(), rtol=0, atol=1e-13)
    assert all(bar is None for bar in bars[1:])


def test_log_probabilities_are_the_second_output() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    x, target = rng.normal(size=(N, C, 3)), rng.integers(0, C, (N, 3))
    y = OPERATORS["SoftmaxCrossEntropyLoss"].forward(x, target, output=1)
    y_bar = rng.normal(size=y.shape)
    (bar, _) = OPERATORS["SoftmaxCrossEntropyLoss"].vjp(x, target, y=y, y_bar=y_bar, output=1)
    given = torch.tensor(x, requires_grad=True)
    want = torch.log_softmax(given, 1)
    want.backward(torch.tensor(y_bar))
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=0, atol=1e-13)
    np.testing.assert_allclose(bar, given.grad.numpy(), rtol=0, atol=1e-13)


X, TARGET = np.zeros((N, C, 3)), np.zeros((N, 3), np.int64)


@pytest.mark.parametrize("op", NAMES)
@pytest.mark.parametrize(
    ("inputs", "attrs", "error", "words"),
    [
        ((X, TARGET + C), {}, DomainError, "`target` must be 0 to 3; got 4"),
        ((X, TARGET - 1), {}, DomainError, "`target` must be 0 to 3; got -1"),
        ((X, TARGET - 1), {"ignore_index": -1}, DomainError, "entries that count"),
        ((X, TARGET, np.zeros(C)), {}, DomainError, "entries that count"),
        ((X, TARGET[:, :2]), {}, ShapeError, r"target \(N, \*positions\)"),
        ((X, TARGET[:, 0]), {}, ShapeError, r"target \(N, \*positions\)"),
        ((X[:, 0, 0], TARGET[:, 0]), {}, ShapeError, r"target \(N, \*positions\)"),
        ((X, TARGET, np.ones(C + 1)), {}, ShapeError, r"`weight` must have shape \(4,\)"),
        ((X, TARGET, np.ones(C, np.float32)), {}, DTypeError, "one dtype"),
        ((X, TARGET + 0.0), {}, DTypeError, "`target` must be integers"),
        ((X.astype(np.int64), TARGET), {}, DTypeError, "float"),
    ],
)
def test_what_does_not_fit_is_refused(op: str, inputs: Any, attrs: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        OPERATORS[op].forward(*inputs, **attrs)


def test_ignored_targets_weigh_nothing_where_each_is_given() -> None:
    y = OPERATORS["NegativeLogLikelihoodLoss"].forward(X - 1, TARGET - 1, ignore_index=-1, reduction="none")
    assert y.shape == TARGET.shape
    assert not y.any()
