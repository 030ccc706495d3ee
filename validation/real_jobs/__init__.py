"""Real jobs of adaptation: a base, a few labelled samples of what it meets in the field, and a test set.

    from validation.real_jobs import JOBS
    job = JOBS["har"](data, work, seed)

`data` is the folder of real data, `work` one for the bases that are trained here, which are made once. The seed draws
the labelled samples; the test set is the same for all seeds where it is a set of its own, and else all that is not
drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from validation.real_jobs.har import har
from validation.real_jobs.job import Job
from validation.real_jobs.jpeg import jpeg
from validation.real_jobs.mnist import mnist
from validation.real_jobs.sentiment import sentiment

JOBS: dict[str, Callable[[Path, Path, int], Job]] = {
    "jpeg-500": partial(jpeg, samples=500),
    "jpeg-10000": partial(jpeg, samples=10_000),
    "har": har,
    "mnist-turned": partial(mnist, shift="turned"),
    "mnist-noised": partial(mnist, shift="noised"),
    "sentiment": sentiment,
}
"""Name of the job to what makes it of the data's folder, a folder for bases, and a seed."""

__all__ = ["JOBS", "Job"]
