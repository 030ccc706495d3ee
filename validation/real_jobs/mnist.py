"""A small CNN that has learnt clean digits meets digits turned by 30 degrees, or noised."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from validation.real_jobs.job import Job, balanced

BASE_DIGITS = 8000
"""The base learns from the first so many of the training digits; the labelled ones are drawn from the others."""

DEGREES = 30.0
NOISE = 0.3
"""Standard deviation of what is added to every pixel; clean pixels are 0 to 1."""


def mnist(data: Path, work: Path, seed: int, *, shift: str = "turned", samples: int = 300) -> Job:
    """Return the job with so many labelled digits, as many of each; all 3,000 test digits."""
    with np.load(data / "mnist" / "mnist_12k_3k.npz") as file:
        x, x_test = (file[name][:, None].astype(np.float32) / 255 for name in ("x_train", "x_test"))
        y, y_test = (file[name].astype(np.int64) for name in ("y_train", "y_test"))
    base = work / "mnist.onnx"
    if not base.exists():
        _make_base(x[:BASE_DIGITS], y[:BASE_DIGITS], base)
    x, y = x[BASE_DIGITS:], y[BASE_DIGITS:]
    chosen = balanced(y, samples, seed)
    x, x_test = shifted(x[chosen], shift, seed), shifted(x_test, shift, 2**32)
    return Job(f"mnist-{shift}", base, x, y[chosen], x_test, y_test)


def shifted(x: np.ndarray, shift: str, seed: int) -> np.ndarray:
    """Return digits turned, or noised by the seed."""
    if shift == "noised":
        return x + np.random.default_rng(seed).normal(0.0, NOISE, x.shape).astype(np.float32)
    from scipy.ndimage import rotate

    turned: np.ndarray = rotate(x, DEGREES, axes=(2, 3), reshape=False, order=1)
    return turned


def _make_base(x: np.ndarray, y: np.ndarray, path: Path) -> None:
    import torch
    from torch import nn

    from validation.real_jobs.bases import train, write_onnx

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    train(net, x, y, epochs=4, rate=3e-3)
    write_onnx(net, x.shape[1:], path)
