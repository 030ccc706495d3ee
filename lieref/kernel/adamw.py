"""AdamW over flat arrays, in one compiled sweep through memory."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from lieref._types import FloatArray
from lieref.kernel.simd.adamw import SETTINGS
from lieref.kernel.simd.isa import best
from lieref.kernel.simd.machine_code import library
from lieref.kernel.simd.memory import address_of


def update_adamw(
    parameter: FloatArray, gradient: FloatArray, first: FloatArray, second: FloatArray, **settings: float
) -> None:
    """Update parameters and both moments in place by the formula of `lieref.kernel.simd.adamw`.

    Parameters
    ----------
    parameter, gradient, first, second : contiguous (n,) arrays, all float32 or all float64
    settings : float
        The names in `SETTINGS`.
    """
    addresses = map(address_of, (parameter, gradient, first, second))
    arguments = np.array([*addresses, parameter.size], np.int64)
    numbers = np.array([settings[name] for name in SETTINGS])
    _sweep(parameter.dtype)(address_of(arguments), address_of(numbers))


@lru_cache(maxsize=2)
def _sweep(dtype: np.dtype[Any]) -> Callable[[int, int], None]:
    address = library(best().name, dtype.name).address("adamw")
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(address)
