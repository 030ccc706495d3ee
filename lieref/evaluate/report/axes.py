"""Axes of a plot: round numbers for ticks, and numbers to places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Scale:
    """Numbers from `low` to `high` on places from `start` to `end`, in pixels; logarithmic ones are above 0."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a number."""
        low, high = (math.log(self.low), math.log(self.high)) if self.logarithmic else (self.low, self.high)
        share = ((math.log(value) if self.logarithmic else value) - low) / ((high - low) or 1.0)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers from at most `low` to at least `high`, about as many as wanted; both must be finite."""
    if high <= low:
        pad = abs(low) / 10 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def logarithmic_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten from at most `low` to at least `high`, above 0; of many decades powers."""
    factors = (1, 2, 5) if math.log10(high / low) < 3 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [factor * 10.0**power for power in powers for factor in factors]
    first = max((n for n, tick in enumerate(every) if tick <= low * (1 + 1e-9)), default=0)
    last = min((n for n, tick in enumerate(every) if tick >= high * (1 - 1e-9)), default=len(every) - 1)
    return every[first : max(last, first + 1) + 1]


def tick_labels(values: Sequence[float], unit: str = "") -> list[str]:
    """Return ticks as text, all with as many digits as their distance asks for."""
    step = min((abs(b - a) for a, b in pairwise(values)), default=1.0)
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step else 0
    suffix = f" {unit}" if unit else ""
    return [f"{value + 0.0:,.{digits}f}{suffix}" for value in values]


def byte_labels(values: Sequence[float]) -> list[str]:
    """Return bytes as text, in kB and MB."""

    def text(value: float) -> str:
        for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if value >= size:
                return f"{value / size:,.3g} {unit}"
        return f"{value:,.3g} B"

    return [text(value) for value in values]
