"""Tensors that several nodes read: gradients by a central difference of the float64 loss, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import lieref
from lieref.errors import DomainError, UnsupportedError
from lieref.train.loss import CrossEntropy
from tests.model.nets import make_onnx, saved

OPTIONS: dict[str, dict[str, Any]] = {"full": {}, "bias": {}, "liera": {"r": 1}}


def net(tmp_path: Path, rng: np.random.Generator, shared: str, *, second_norm: bool = True) -> Path:
    """Two convolutions with BatchNormalization that share a vector."""
    tensors: dict[str, Any] = {"w0": rng.standard_normal((5, 3, 3, 3)), "w1": rng.standard_normal((5, 5, 3, 3))}
    tensors["head"] = rng.standard_normal((4, 5))
    names: list[dict[str, str]] = []
    for number in range(2):
        own = {
            kind: kind if kind == shared else f"{kind}{number}" for kind in ("bias", "scale", "shift", "mean", "var")
        }
        names.append(own)
        for kind, name in own.items():
            draw = rng.uniform(0.5, 1.5, 5) if kind in ("scale", "var") else rng.standard_normal(5)
            tensors.setdefault(name, draw)
    nodes, x = [], "x"
    for number, own in enumerate(names):
        nodes.append(
            helper.make_node("Conv", [x, f"w{number}", own["bias"]], [f"c{number}"], name=f"conv{number}", pads=[1] * 4)
        )
        x = f"c{number}"
        if number == 0 or second_norm:
            norm = [x, own["scale"], own["shift"], own["mean"], own["var"]]
            nodes.append(helper.make_node("BatchNormalization", norm, [f"n{number}"], name=f"norm{number}"))
            x = f"n{number}"
        nodes.append(helper.make_node("Tanh", [x], [f"t{number}"], name=f"tanh{number}"))
        x = f"t{number}"
    nodes += [
        helper.make_node("GlobalAveragePool", [x], ["g"], name="mean"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "head"], ["y"], name="last", transB=1),
    ]
    used = {name for node in nodes for name in node.input}
    tensors = {name: value.astype(np.float32) for name, value in tensors.items() if name in used}
    return saved(make_onnx(nodes, tensors, ["N", 3, 6, 6], "y", ["N", 4]), tmp_path)


@pytest.mark.parametrize("method", OPTIONS)
@pytest.mark.parametrize(
    ("shared", "second_norm"),
    [("scale", True), ("shift", True), ("mean", True), ("var", True), ("bias", True), ("bias", False)],
)
def test_gradients_of_a_shared_vector_are_summed(
    tmp_path: Path, rng: np.random.Generator, shared: str, second_norm: bool, method: str
) -> None:
    path = net(tmp_path, rng, shared, second_norm=second_norm)
    x, y, loss = rng.standard_normal((4, 3, 6, 6)), np.array([0, 3, 1, 2]), CrossEntropy()
    model = lieref.load(path, dtype="float64").attach(method, **OPTIONS[method])
    params = model.parameters()
    for parameter in params.values():
        parameter += 0.05 * rng.standard_normal(parameter.shape)
    grads = model.loss_and_grad(x, y, loss)[2]
    step = 1e-5
    for name, parameter in params.items():
        along = rng.standard_normal(parameter.shape)
        values = []
        for sign in (1, -1):
            parameter += sign * step * along
            values.append(model.loss_and_grad(x, y, loss)[0])
            parameter -= sign * step * along
        # A central difference is off by u / step, 1e-11, and by step^2 |along|^3 times a third derivative below one:
        # 1e-10 for five numbers, 3e-8 for the weights. A cotangent left out was 0.02 and more.
        assert abs((values[0] - values[1]) / (2 * step) - np.sum(grads[name] * along)) <= 1e-8 * (1 + len(along)), name
    compiled = lieref.load(path).attach(method, **OPTIONS[method])
    for name, parameter in compiled.parameters().items():
        parameter[...] = params[name]
    for name, gradient in compiled.loss_and_grad(x.astype(np.float32), y, loss)[2].items():
        assert np.linalg.norm(gradient - grads[name]) <= 1e-5 * np.linalg.norm(grads[name]) + 1e-7


def test_a_bias_that_moves_with_a_weight_belongs_to_one_layer(tmp_path: Path, rng: np.random.Generator) -> None:
    path = net(tmp_path, rng, "bias", second_norm=False)
    with pytest.raises(UnsupportedError, match="bias"):
        lieref.load(path).attach("affine", r=1, target_modules=["conv*"])


@pytest.mark.parametrize(("first", "second"), [("affine", "bias"), ("bias", "affine")])
def test_a_bias_carries_one_adapter(tmp_path: Path, rng: np.random.Generator, first: str, second: str) -> None:
    model = lieref.load(net(tmp_path, rng, "mean"))
    options = {"affine": {"r": 1, "target_modules": ["conv*"]}, "bias": {}}
    model.attach(first, **options[first])
    before = model.method_name, set(model.sites)
    with pytest.raises(DomainError, match=r"bias.*one adapter"):
        model.attach(second, **options[second])
    assert (model.method_name, set(model.sites)) == before
