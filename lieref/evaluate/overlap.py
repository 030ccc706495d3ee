"""Samples that stand in two sets: what was trained on tells nothing about new samples."""

from __future__ import annotations

import hashlib

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError


def overlap(x: Array, other: Array) -> int:
    """Return how many samples of `other` stand in `x`, bit for bit."""
    known = set(sample_digests(x))
    return sum(digest in known for digest in sample_digests(other))


def check_apart(function: str, x: Array, x_test: Array) -> int:
    """Return how many test samples are training samples: where samples are few tokens or counts, all may be by chance.

    Raises
    ------
    DomainError
        If the sets are the same, in this order or another.
    """
    train, test = sample_digests(x), sample_digests(x_test)
    if sorted(train) == sorted(test):
        digest = hashlib.sha256(b"".join(sorted(train))).hexdigest()
        raise DomainError(
            f"{function}: `test` must be other samples than `train`; both are the same {len(test):,}, of the digest "
            f"{digest[:16]}"
        )
    known = set(train)
    return sum(digest in known for digest in test)


def sample_digests(x: Array) -> list[bytes]:
    """Return a digest of 16 bytes of each sample, of its numbers, their type and its shape."""
    head = f"{x.dtype.str} {x.shape[1:]}".encode()
    return [hashlib.blake2b(head + np.ascontiguousarray(each).tobytes(), digest_size=16).digest() for each in x]
