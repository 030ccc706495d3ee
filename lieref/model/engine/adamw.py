"""AdamW on the engine's flat factors: one compiled sweep in place of ten array operations a factor."""

from __future__ import annotations

import ctypes

import numpy as np

from lieref._types import FloatArray
from lieref.kernel.simd.machine_code import Library


class AdamW:
    """AdamW on one flat array, such as `Factors.theta`.

    Parameters
    ----------
    library : Library
    size : int
    betas : (float, float)
    eps, weight_decay : float
    """

    def __init__(
        self, library: Library, size: int, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(library.address("adamw"))
        self.m, self.v = np.zeros(size, library.dtype), np.zeros(size, library.dtype)
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.steps = 0
        self._settings = np.zeros(8)
        self._arguments = np.array([0, 0, self.m.ctypes.data, self.v.ctypes.data, size], np.int64)
        self._arrays: tuple[object, object] = (None, None)  # those whose addresses are in the arguments
        self._pointers = self._arguments.ctypes.data, self._settings.ctypes.data

    def step(self, theta: FloatArray, theta_bar: FloatArray, learning_rate: float) -> None:
        """Update `theta` in place."""
        self.steps += 1
        b1, b2 = self.betas
        self._settings[:] = (
            b1, 1 - b1, b2, 1 - b2, 1 - learning_rate * self.weight_decay, learning_rate / (1 - b1**self.steps),
            (1 - b2**self.steps) ** -0.5, self.eps,
        )  # fmt: skip
        if self._arrays[0] is not theta or self._arrays[1] is not theta_bar:
            self._arrays = theta, theta_bar
            self._arguments[:2] = theta.ctypes.data, theta_bar.ctypes.data
        self._call(*self._pointers)
