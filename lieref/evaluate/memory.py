"""Peak memory of this process."""

from __future__ import annotations

import sys
from pathlib import Path

from lieref.errors import UnsupportedError

BYTES_PER_MB = 1e6


def peak_rss_mb() -> float:
    """Return the largest resident set of this process so far, in megabytes (10**6 bytes).

    Returns
    -------
    float

    Raises
    ------
    UnsupportedError
        Where the system does not tell (Windows).

    Notes
    -----
    Linux is asked through ``/proc``: its `getrusage` carries over the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / BYTES_PER_MB
    if sys.platform == "win32":
        raise UnsupportedError("peak_rss_mb: the system must report a peak; Windows is not supported")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes, every other system kibibytes.
    return peak * (1 if sys.platform == "darwin" else 1024) / BYTES_PER_MB
