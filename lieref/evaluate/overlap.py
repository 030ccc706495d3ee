"""Samples that stand in two sets: what was trained on tells nothing about new samples."""

from __future__ import annotations

import hashlib

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError
from lieref.evaluate.problem import samples_digest


def overlap(x: Array, other: Array) -> int:
    """Return how many samples of `other` stand in `x`, bit for bit."""
    if x.shape[1:] != other.shape[1:] or x.dtype != other.dtype:
        return 0
    known = {_digest(sample) for sample in x}
    return sum(_digest(sample) in known for sample in other)


def check_apart(function: str, x: Array, x_test: Array) -> int:
    """Return how many test samples are training samples.

    Raises
    ------
    DomainError
        If the sets are the same by their digests, or every test sample is a training sample.
    """
    digest = samples_digest(x)
    if digest == samples_digest(x_test):
        raise DomainError(
            f"{function}: `test` must be other samples than `train`; both have the SHA-256 {digest[:16]}..."
        )
    both = overlap(x, x_test)
    if both == len(x_test):
        raise DomainError(f"{function}: `test` must be other samples than `train`; all {both} are among those")
    return both


def _digest(sample: Array) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(sample).tobytes(), digest_size=16).digest()
