"""What a coverage-guided fuzzer drives: a reader as a function of bytes, whole inputs, and their words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np

Change = Callable[[bytes], bytes]

NOISE_BYTES = 2**17
"""What one allocation may take besides: buffers of files, the end of an archive that is searched for its directory
(64 KiB), tables of the interpreter and of decoders."""


class Target(ABC):
    """A reader. Nothing of lieref is imported before `open` or `seeds`, so that it can be instrumented first."""

    name: str
    modules: tuple[str, ...]
    """What is instrumented: modules, or packages with all their modules."""

    max_length: int
    """Bytes of an input; small ones keep the rate high."""

    words: tuple[bytes, ...] = ()
    """The dictionary."""

    @abstractmethod
    def seeds(self) -> list[bytes]:
        """Return inputs that are read."""

    @abstractmethod
    def open(self, folder: Path) -> Callable[[bytes], None]:
        """Return the function that reads one input, by way of files in a folder where the reader takes files."""

    def limit(self, length: int) -> int:
        """Return how many bytes one allocation may take for an input: twice its own where it is uncompressed."""
        return 2 * length + NOISE_BYTES

    def mutate(self, data: bytes, change: Change, rng: np.random.Generator) -> bytes:
        """Return a changed input; `change` changes bytes, and what is under a checksum needs more than that."""
        return change(data)


def pack(*parts: bytes) -> bytes:
    """Return several files as one input: each but the last after its length in four bytes."""
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts[:-1]) + parts[-1]


def unpack(data: bytes, count: int) -> list[bytes]:
    """Return the files of an input, whatever it is."""
    parts = []
    for _ in range(count - 1):
        length = int.from_bytes(data[:4], "little")
        parts.append(data[4 : 4 + length])
        data = data[4 + length :]
    return [*parts, data]


def put(path: Path, data: bytes) -> None:
    """Write a file."""
    with open(path, "wb", buffering=0) as file:
        file.write(data)
