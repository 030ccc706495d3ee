"""Memory as the kernels take it: aligned arrays, and their addresses."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np

from lieref._types import Array

PAGE_BYTES = mmap.PAGESIZE
NO_HUGE_PAGES = 15
"""MADV_NOHUGEPAGE of Linux."""


def allocate(size: int) -> Array:
    """Return `size` bytes of zeros that start on a 64-byte boundary: unaligned vectors cost up to 30 %.

    All memory that compiled code is given comes from here, but for the caller's own arrays.
    """
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def aligned(count: int, dtype: str) -> Array:
    """Return `count` zeros."""
    return allocate(count * np.dtype(dtype).itemsize).view(dtype)


def leave_holes(array: Array) -> None:
    """Let the pages of an array of zeros that nobody writes to take no memory; without Linux nothing happens.

    NumPy asks for huge pages of 2 MB for large arrays, which take memory as soon as one element is written.
    """
    first = -(-address_of(array) // PAGE_BYTES) * PAGE_BYTES
    size = address_of(array) + array.nbytes - first
    if sys.platform == "linux" and size > 0:
        _advise()(ctypes.c_void_p(first), ctypes.c_size_t(size), NO_HUGE_PAGES)


@cache
def _advise() -> Any:
    """Return the C library's madvise; what it answers is no matter, for a hint that is not taken harms nobody."""
    return ctypes.CDLL(None).madvise


def placed(array: Array) -> Array:
    """Return a flat copy of an array."""
    found = aligned(array.size, array.dtype.name)
    found[:] = array.ravel()
    return found


def integers(values: Iterable[int]) -> Array:
    """Return int64 numbers."""
    return placed(np.array([*values], np.int64))


def address_of(array: Array) -> int:
    """Return where the elements of a contiguous array start."""
    try:
        return ctypes.addressof(ctypes.c_byte.from_buffer(array.data))  # a third of the time of the general way
    except (TypeError, ValueError):  # read-only or empty
        return int(array.ctypes.data)
