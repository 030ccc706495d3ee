"""How much memory a file of data may ask for before anything is allocated.

An uncompressed file is its own bound: what it claims to hold is compared with its length. A compressed one can claim a
thousand times its size, so that 1.5 MB ask for gigabytes; it has a cap.
"""

from __future__ import annotations

from lieref._check import check_int

FREE_BYTES = 2**28
"""What every source may take, 256 MiB: small sets are never refused, whatever their compression."""

EXPANSION = 100
"""Times its own size that a larger source may take. NumPy archives of handwritten digits take 5 (as bytes) to 22 times
(as float64), of photographs 1 to 6 times; deflate reaches 1,032 times, on zeros alone."""

MAX_BYTES = 2**33
"""What no source may take, 8 GiB: more than a small device's training set, less than most memories."""


def memory_cap(source_bytes: int, max_bytes: int | None) -> int:
    """Return how many bytes the arrays of a source may take.

    Parameters
    ----------
    source_bytes : int
        Size of the file, or of the files of a folder together.
    max_bytes : int or None
        The caller's own cap, at least 1; None takes the default, `EXPANSION` times the source but at least
        `FREE_BYTES` and at most `MAX_BYTES`.
    """
    if max_bytes is not None:
        return check_int("load_data", "max_bytes", max_bytes, low=1)
    return min(max(EXPANSION * source_bytes, FREE_BYTES), MAX_BYTES)
