"""Training of an adapted convolution in any arithmetic with plain loops: the definition, written a second time.

Groups, dilations and layouts are those of the golden trajectory: two spatial axes, one conv group, the `view` layout,
the Hadamard update with exp.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np


def numbers(context: Any, array: Any) -> Any:
    out = np.empty(np.shape(array), dtype=object)
    for index in np.ndindex(*out.shape):
        out[index] = context.mpf(float(array[index]))
    return out


def taps(x_shape: Any, y_shape: Any, kernel: Any, attrs: Any) -> Any:
    """Yield (output position, kernel position, input position) inside the input."""
    for p in product(*map(range, y_shape[2:])):
        for k in product(*map(range, kernel)):
            q = tuple(p[i] * attrs["strides"][i] + k[i] * attrs["dilations"][i] - attrs["pads"][i] for i in (0, 1))
            if all(0 <= q[i] < x_shape[2 + i] for i in (0, 1)):
                yield p, k, q


def run(context: Any, inputs: Any, attrs: Any) -> dict[str, Any]:
    """Return the outputs of the `training` operation in the arithmetic of an mpmath context."""
    x, base, bias, target, a, b = (
        numbers(context, inputs[name]) for name in ("x", "base_weight", "bias", "target", "lora_a", "lora_b")
    )
    scaling, rate, momentum = (context.mpf(attrs[name]) for name in ("scaling", "learning_rate", "momentum"))
    velocity = {"a": 0 * a, "b": 0 * b}
    positions = list(taps(x.shape, target.shape, base.shape[2:], attrs))
    losses = []
    for _ in range(attrs["steps"]):
        delta = scaling * (b @ a).reshape(base.shape)
        weight = np.vectorize(context.exp, otypes=[object])(delta) * base
        y = np.broadcast_to(bias.reshape(1, -1, 1, 1), target.shape).copy()
        for p, k, q in positions:
            y[(slice(None), slice(None), *p)] += (
                x[(slice(None), slice(None), *q)] @ weight[(slice(None), slice(None), *k)].T
            )
        residual = y - target
        losses.append((residual * residual).sum() / (2 * residual.size))
        y_bar = residual / residual.size
        weight_bar = 0 * base
        for p, k, q in positions:
            rows = y_bar[(slice(None), slice(None), *p)].T @ x[(slice(None), slice(None), *q)]
            weight_bar[(slice(None), slice(None), *k)] += rows
        m = scaling * (weight_bar * weight).reshape(b.shape[0], a.shape[1])
        gradients = {"a": b.T @ m, "b": m @ a.T}
        velocity = {name: momentum * velocity[name] + gradients[name] for name in velocity}
        a, b = a - rate * velocity["a"], b - rate * velocity["b"]
    return {"losses": np.array(losses, dtype=object), "lora_a": a, "lora_b": b}
