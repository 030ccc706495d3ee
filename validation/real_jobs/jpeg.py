"""ResNet-8 of MLPerf Tiny, trained on lossless CIFAR-10, meets the images of a camera that compresses (JPEG 75)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from validation.real_jobs.job import Job, balanced


def jpeg(data: Path, work: Path, seed: int, *, samples: int = 500) -> Job:
    """Return the job with so many labelled images, as many a class; all 10,000 test images."""
    with np.load(data / "cifar10" / "jpeg75_train.npz") as file:
        x, y = file["x"], file["y"].astype(np.int64)
    if samples < len(y):
        chosen = balanced(y, samples, seed)
        x, y = x[chosen], y[chosen]
    with np.load(data / "cifar10" / "jpeg75_test.npz") as file:
        x_test, y_test = file["x"], file["y"].astype(np.int64)
    base = data / "mlperf_tiny" / "resnet8.onnx"
    return Job(f"jpeg-{samples}", base, channels_first(x), y, channels_first(x_test), y_test)


def channels_first(x: np.ndarray) -> np.ndarray:
    """Return images (N, H, W, C) as (N, C, H, W)."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
