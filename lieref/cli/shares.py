"""Shares as options take them: 0.9 or 90%."""

from __future__ import annotations

import math
from typing import Any

import click


class Share(click.ParamType[float]):
    """A share, as a number from 0 to 1 or in percent."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the share as a number."""
        if isinstance(value, float):
            return value
        text, percent = value.strip().removesuffix("%"), value.strip().endswith("%")
        try:
            number = float(text) / (100 if percent else 1)
        except ValueError:
            self.fail(f"{value!r} is no share such as 0.9 or 90%", param, ctx)
        if not math.isfinite(number) or abs(number) > 1:
            meant = f"; did you mean {text}%?" if not percent and 1 < abs(number) <= 100 else ""
            self.fail(f"{value!r} is no share: at most 1, or 100%{meant}", param, ctx)
        return number


class Gain(Share):
    """A share that is never all: who writes 1 means one percent."""

    name = "gain"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the share as a number."""
        number = super().convert(value, param, ctx)
        if abs(number) == 1 and not isinstance(value, float) and not value.strip().endswith("%"):
            self.fail(f"{value!r} is a share of 1, all images; did you mean {value.strip()}%?", param, ctx)
        return number


SHARE, GAIN = Share(), Gain()
