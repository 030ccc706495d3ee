"""What the demo runs on: scikit-learn's handwritten digits, and the camera that the base network was not made for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lieref import rng
from lieref._check import need
from lieref._types import Array, FloatArray

BASE_MODEL = Path(__file__).parent / "data" / "digits.onnx"
"""Network trained on the base part of the digits by ``python -m validation.demo_network``."""

BASE_SAMPLES, TUNE_SAMPLES = 1000, 200

ANGLE_DEGREES, BLUR_PIXELS, CONTRAST, GLARE = 15.0, 0.5, 0.6, 3.0
SHIFT = (
    f"rotated by {ANGLE_DEGREES:g} degrees, blurred by {BLUR_PIXELS:g} pixels, "
    f"contrast times {CONTRAST:g}, glare plus {GLARE:g} of 16"
)
"""The camera shift in words."""


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 8, 8) float32 from 0 to 16 and their labels (N,) int64."""

    x: FloatArray
    y: Array


def load_digits() -> tuple[Digits, Digits, Digits]:
    """Return three parts without a common image: for training the base, for fine-tuning, for the test.

    Raises
    ------
    MissingExtraError
        If scikit-learn, which ships the images, is not installed.
    """
    images, labels = need("sklearn.datasets", "app", "the demo").load_digits(return_X_y=True)
    x = images.reshape(-1, 1, 8, 8).astype(np.float32)
    order = rng.stream(0, "demo", "split").permutation(len(x))
    parts = np.split(order, [BASE_SAMPLES, BASE_SAMPLES + TUNE_SAMPLES])
    base, tune, test = (Digits(x[part], labels[part].astype(np.int64)) for part in parts)
    return base, tune, test


def camera_shift(x: FloatArray) -> FloatArray:
    """Return the images (N, 1, H, W) as the other camera takes them: see `SHIFT`."""
    from scipy import ndimage

    turned = ndimage.rotate(x, ANGLE_DEGREES, axes=(2, 3), reshape=False, order=1)
    blurred = ndimage.gaussian_filter(turned, (0, 0, BLUR_PIXELS, BLUR_PIXELS))
    exposed: FloatArray = np.clip(CONTRAST * blurred + GLARE, 0, 16).astype(np.float32)
    return exposed
