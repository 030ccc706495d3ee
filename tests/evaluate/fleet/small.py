"""A fleet small enough to be adapted in a blink."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref.errors import FormatError
from lieref.evaluate.fleet.device import Device, Job
from lieref.evaluate.fleet.source import Source
from lieref.evaluate.plan import Plan
from lieref.evaluate.problem import Problem
from tests.cli.helpers import small_network
from tests.evaluate.jobs import samples

PLAN = Plan("liera", {"r": 1}, epochs=3, learning_rate=0.05)


def device(name: str, count: int = 20, *, seed: int | None = None, **fields: Any) -> Device:
    x, y = samples(count, sum(map(ord, name)) if seed is None else seed)
    return Device(name, x, y, **fields)


def job(plan: Plan | None = PLAN, **fields: Any) -> Job:
    return Job(Problem(small_network().SerializeToString(), np.zeros((0, 1), np.float32)), plan, **fields)


def source(names: str = "abc", broken: str = "") -> Source:
    """Return a device for each letter; the data of those in `broken` cannot be read."""

    def read(name: str) -> Device:
        if name in broken:
            raise FormatError(f"read: {name} must be whole")
        return device(name)

    return Source(names, read)
