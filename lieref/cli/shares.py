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
            self.fail(f"{value!r} is no share: at most 1, or 100%", param, ctx)
        return number


SHARE = Share()
