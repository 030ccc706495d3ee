"""A model small enough to check by hand: softmax regression, logits = x w + b, in plain NumPy."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np


class SoftmaxRegression:
    """Flattens its input; `feature_mean` stands for a BatchNormalization statistic."""

    def __init__(
        self,
        input_shape: tuple[int | None, ...] = (None, 6),
        classes: int = 3,
        *,
        dtype: Any = np.float32,
        base_sha256: str = "0" * 64,
        learning_rate: float = 0.05,
        wants_statistics: bool = False,
        has_weights: bool = True,
    ) -> None:
        features = int(np.prod([d for d in input_shape if d is not None]))
        self.input_shape = input_shape
        self.vocabulary = None
        self.base_sha256 = base_sha256
        self.default_learning_rate = learning_rate
        self.threads = 1
        self.recomputation = 0
        self.scores_shape = (classes,)
        self.reading = "Softmax"
        self.outputs = ("logits",)
        self.output_weights: dict[str, float] = {}
        self.undecided: dict[str, tuple[int, ...]] = {}
        self.task: dict[str, Any] | None = None
        self.arithmetic: dict[str, str | int] = {"engine": "toy", "program": 1}
        self.compiles_first = False
        self.configuration: dict[str, Any] = {"padding_id": None}
        self.rate_factors: dict[str, float] = {}
        self.new_head: dict[str, Any] | None = None
        self.statistics: dict[str, np.ndarray] = {}
        self.wants_statistics = wants_statistics
        self.wants_inputs = False
        self.wants_other_inputs: tuple[str, ...] = ()
        self.sites: Any = None
        self.attached = [SimpleNamespace(method=SimpleNamespace(config=lambda: {"method": "toy"}), target_modules=None)]
        self.weights = np.zeros((features, classes), dtype)
        self.bias = np.zeros(classes, dtype)
        self.has_weights = has_weights
        self.batches: list[np.ndarray] = []

    def output_shapes(self, sample: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        return (self.bias.shape,)

    def training(self, doing: str) -> AbstractContextManager[None]:
        return nullcontext()

    def parameters(self) -> dict[str, np.ndarray]:
        return {"dense/w:full": self.weights, "dense/b:full": self.bias} if self.has_weights else {}

    def frozen_parameters(self) -> dict[str, np.ndarray]:
        return {}

    def _features(self, x: np.ndarray) -> np.ndarray:
        assert all(w in (None, h) for w, h in zip(self.input_shape[1:], x.shape[1:], strict=True))
        flat = np.ascontiguousarray(x).reshape(len(x), -1).astype(self.weights.dtype)
        return flat - self.statistics.get("feature_mean", self.weights.dtype.type(0))

    def logits(self, x: np.ndarray, *, layout: str | None = None) -> np.ndarray:
        return self._features(x) @ self.weights + self.bias

    def loss_and_grad(self, x: np.ndarray, y: np.ndarray, loss: Any, *, layout: str | None = None) -> Any:
        self.batches.append(np.array(x))
        logits = self.logits(x)
        value, bar = loss.value_and_grad(logits, y)
        return value, logits, {"dense/w:full": self._features(x).T @ bar, "dense/b:full": bar.sum(axis=0)}

    def dropout_masks(self, generator: np.random.Generator) -> dict[str, np.ndarray]:
        return {}

    def estimate_statistics(self, x: np.ndarray, *, layout: str | None = None) -> None:
        mean = np.asarray(x, np.float64).reshape(len(x), -1).mean(axis=0)
        self.statistics = {**self.statistics, "feature_mean": mean.astype(self.weights.dtype)}
        self.wants_statistics = False


def blobs(n: int = 60, *, seed: int = 0, features: int = 6, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return well separated clusters: (n, features) float32 and (n,) labels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = 2.0 * np.random.default_rng(99).standard_normal((classes, features))
    return (centres[y] + rng.standard_normal((n, features))).astype(np.float32), y


def bits(model: SoftmaxRegression) -> tuple[bytes, ...]:
    return tuple(array.tobytes() for array in model.parameters().values())
