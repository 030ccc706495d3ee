"""Times as options take them: a date, a number of days from now, or never."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

MOST_DAYS = 36525
"""Of --expires: a hundred years."""


class Expiry(click.ParamType[Any]):
    """A date, a number of days from now, or never."""

    name = "date|DAYSd|never"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | timedelta | str:
        """Return a time, a time from now, or the text ``never``."""
        if value == "never":
            return "never"
        if value.endswith("d") and value[:-1].isascii() and value[:-1].isdigit():
            days = int(value[:-1]) if len(value) < 8 else 0
            if not 1 <= days <= MOST_DAYS:
                self.fail(f"{value} is not 1d to {MOST_DAYS}d; a bundle without an end is `never`", param, ctx)
            return timedelta(days=days)
        return Moment().convert(value, param, ctx)


class Moment(click.ParamType[datetime]):
    """A date or a time; UTC unless it says otherwise."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return a time with its zone, whole seconds."""
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no date such as 2027-06-30, nor a time such as 2027-06-30T12:00:00Z", param, ctx)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).replace(microsecond=0)
