"""Cases of training: single optimiser steps, and ten steps on an adapted convolution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lieref.conformance.data import Draw
from lieref.conformance.families.adapter import adapted_conv_inputs
from lieref.conformance.families.spec import Spec

# Hyper-parameters are short binary fractions: a port that stores them in float32 loses nothing.
SGD: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.125, "momentum": 0.875, "weight_decay": 0.0625}
ADAMW: dict[str, Any] = {
    "optimizer": "adamw", "learning_rate": 0.03125, "beta1": 0.875, "beta2": 0.984375, "epsilon": 2.0**-20,
    "weight_decay": 0.0625,
}  # fmt: skip
SHAPE = (9, 8)
SGD_VARIANTS: dict[str, dict[str, Any]] = {
    "SGD with Nesterov's momentum": {**SGD, "nesterov": True},
    "SGD without decay, of a short memory": {**SGD, "momentum": 0.25, "weight_decay": 0.0},
}
ADAMW_VARIANTS: dict[str, dict[str, Any]] = {
    "Adam": {**ADAMW, "weight_decay": 0.0},
    "AdamW of another memory": {**ADAMW, "beta1": 0.5, "beta2": 0.75, "epsilon": 2.0**-10, "learning_rate": 0.5},
}


def _steps(dtype: str, purpose: str) -> Iterator[Spec]:
    draw = Draw("optimizer", purpose)
    param, grad = draw.normal(SHAPE), draw.normal(SHAPE)
    flags = ("OptimizerState",)
    inputs = {"param": param, "grad": grad, "velocity": draw.normal(SHAPE)}
    yield Spec("optimizer_step", "optimizer_step", inputs, dict(SGD), dtype, "SGD", flags)
    few = {name: value[:2, :6] for name, value in inputs.items()}
    for comment, settings in SGD_VARIANTS.items():
        yield Spec("optimizer_step", "optimizer_step", few, dict(settings), dtype, comment, flags)
    zero = np.zeros(SHAPE)
    # The first step of a factor that nothing moves yet: its gradient is zero, and so is the root under the quotient.
    still = {"param": param[:2, :6], "grad": zero[:2, :6], "mean": zero[:2, :6], "square": zero[:2, :6]}
    attrs: dict[str, Any] = {**ADAMW, "step": 1}
    yield Spec("optimizer_step", "optimizer_step", still, attrs, dtype, "AdamW without a gradient", flags)
    # Gradients away from zero: next to it Adam's quotient is ill-conditioned, and no port could be judged.
    grad = np.where(grad < 0, -0.5, 0.5) + grad
    for step, mean, square in ((1, zero, zero), (7, draw.normal(SHAPE) * 0.25, 0.25 + draw.uniform(SHAPE))):
        inputs = {"param": param, "grad": grad, "mean": mean, "square": square}
        attrs = {**ADAMW, "step": step}
        yield Spec("optimizer_step", "optimizer_step", inputs, attrs, dtype, f"AdamW, step {step}", flags)
        few = {name: value[:2, :6] for name, value in inputs.items()}
        for comment, settings in ADAMW_VARIANTS.items():
            attrs = {**settings, "step": step}
            yield Spec("optimizer_step", "optimizer_step", few, attrs, dtype, f"{comment}, step {step}", flags)


# Update and learning rate; the additive update is not scaled by the weights and needs the smaller one.
RUNS = (
    ({"group": "additive"}, 0.015625),
    ({"group": "hadamard", "map": "exp"}, 0.125),
    ({"group": "hadamard", "map": "taylor1"}, 0.125),
)


def core() -> Iterator[Spec]:
    """Return the cases of the core set."""
    common = {"parameterisation": "low-rank", "matricisation": "view", "scaling": 1.0, "groups": 1}
    for dtype in ("f32", "f64"):
        yield from _steps(dtype, "core")
        for group, rate in RUNS:
            inputs, geometry = adapted_conv_inputs("training")
            attrs = {**common, **group, **geometry, "steps": 10, "learning_rate": rate, "momentum": 0.5}
            comment = f"ten steps, {' '.join(group.values())}"
            yield Spec("training", "training", inputs, attrs, dtype, comment, ("LongRun",))


def full() -> Iterator[Spec]:
    """Return the cases beyond the core set: optimiser steps on other states."""
    for i in range(4):
        yield from _steps("f32", f"full {i}")
