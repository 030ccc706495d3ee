"""Costs and value of updating a fleet, as sums and products that are shown one by one.

    cost of an update = devices * megabytes * link cost + images * image cost + hours * hour cost
    cost a year       = updates a year * cost of an update
    value a year      = devices * decisions a day * 365 * gain * value of an error avoided
    net a year        = value a year - cost a year, in the first year less the set-up

The gain of accuracy is taken to hold all year on all devices, against a fleet that keeps the base, and each point of it
to avoid one error in a hundred decisions. A megabyte is 10^6 bytes, a year 365 days.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from lieref._check import check_int, check_real
from lieref.errors import DomainError

DAYS = 365
MEGABYTE = 10**6
MOST = 10**15
"""No input may be larger: so no product overflows."""
LEAST_UPDATES = 0.01
"""A year."""
LONG = 10**6
"""Days that are as good as never."""


@dataclass(frozen=True)
class Case:
    """What is assumed.

    Attributes
    ----------
    devices : int
        In the fleet, at least 1. No input may exceed `MOST`.
    update_bytes : float
        Sent to each device with an update, at least 0.
    link_cost : float
        Of a megabyte to a device, at least 0.
    updates : float
        A year, at least `LEAST_UPDATES`.
    decisions : float
        Of one device and day, at least 0.
    error_value : float
        What an error avoided is worth, at least 0.
    gain : float
        Of accuracy, -1 to 1.
    gain_low, gain_high : float or None
        Where it may lie; both or none.
    images, image_cost : float
        Images labelled for an update, and the cost of one; at least 0.
    hours, hour_cost : float
        Machine hours for an update, and the cost of one; at least 0.
    setup : float
        Cost once, at least 0.
    """

    devices: int
    update_bytes: float
    link_cost: float
    updates: float
    decisions: float
    error_value: float
    gain: float
    gain_low: float | None = None
    gain_high: float | None = None
    images: float = 0.0
    image_cost: float = 0.0
    hours: float = 0.0
    hour_cost: float = 0.0
    setup: float = 0.0

    def __post_init__(self) -> None:
        """Check ranges."""
        check_int("roi", "devices", self.devices, low=1, high=MOST)
        check_real("roi", "updates", self.updates, low=LEAST_UPDATES, high=MOST)
        for name in ("update_bytes", "link_cost", "decisions", "error_value", "images", "image_cost", "hours",
                     "hour_cost", "setup"):  # fmt: skip
            check_real("roi", name, getattr(self, name), low=0.0, high=MOST)
        for name in ("gain", "gain_low", "gain_high"):
            if getattr(self, name) is not None:
                check_real("roi", name, getattr(self, name), low=-1.0, high=1.0)
        if (self.gain_low is None) != (self.gain_high is None):
            raise DomainError("roi: `gain_low` and `gain_high` must be given both or not at all; got one")
        if self.gain_low is not None and self.gain_high is not None and not (
            self.gain_low <= self.gain <= self.gain_high
        ):  # fmt: skip
            raise DomainError(
                f"roi: `gain` must lie between its ends, {self.gain_low:g} and {self.gain_high:g}; got {self.gain:g}"
            )


@dataclass(frozen=True)
class Line:
    """One step of the arithmetic.

    Attributes
    ----------
    name, formula : str
        What it is, and how it is computed, with the numbers.
    value : float
    unit : str
        "" for the currency.
    """

    name: str
    formula: str
    value: float
    unit: str = ""


def lines_of(case: Case) -> list[Line]:
    """Return the arithmetic line by line; `Line.name` is unique."""
    c = case
    megabytes = c.devices * c.update_bytes / MEGABYTE
    transfer, labelling, machine = megabytes * c.link_cost, c.images * c.image_cost, c.hours * c.hour_cost
    each = transfer + labelling + machine
    yearly = each * c.updates
    decisions = c.devices * c.decisions * DAYS
    avoided = decisions * c.gain
    value = avoided * c.error_value
    lines = [
        Line("sent for an update", f"{c.devices:,} devices * {c.update_bytes:,.0f} bytes / 10^6", megabytes, "MB"),
        Line("transfer of an update", f"{_n(megabytes)} MB * {_n(c.link_cost)} a MB", transfer),
        Line("labels of an update", f"{_n(c.images)} images * {_n(c.image_cost)} an image", labelling),
        Line("machine of an update", f"{_n(c.hours)} hours * {_n(c.hour_cost)} an hour", machine),
        Line("cost of an update", f"{_n(transfer)} + {_n(labelling)} + {_n(machine)}", each),
        Line("cost a year", f"{_n(each)} * {_n(c.updates)} updates", yearly),
        Line(
            "decisions a year", f"{c.devices:,} devices * {_n(c.decisions)} a day * {DAYS} days", decisions, "decisions"
        ),
        Line("errors avoided a year", f"{_n(decisions)} * {100 * c.gain:.4g} points / 100", avoided, "errors"),
        Line("value a year", f"{_n(avoided)} errors * {_n(c.error_value)}", value),
        Line("net a year", f"{_n(value)} - {_n(yearly)}", value - yearly),
    ]
    if c.setup:
        lines.append(Line("net of the first year", f"{_n(value - yearly)} - {_n(c.setup)} of set-up",
                          value - yearly - c.setup))  # fmt: skip
    return lines


def net_of_first_year(case: Case) -> float:
    """Return value less costs of the first year, set-up included."""
    values = {line.name: line.value for line in lines_of(case)}
    return values["net a year"] - case.setup


@dataclass(frozen=True)
class BreakEven:
    """From where on updates pay.

    Attributes
    ----------
    gain : float or None
        Gain of accuracy with which the value of a year is its cost; None if no gain up to 1 is enough.
    update_days : float or None
        After so many days an update has brought what it cost; None if never.
    setup_days : float or None
        After so many days the set-up is earned back by the net of the days; None if never, or without set-up.
    """

    gain: float | None
    update_days: float | None
    setup_days: float | None


def break_even(case: Case) -> BreakEven:
    """Return from where on updates pay."""
    values = {line.name: line.value for line in lines_of(case)}
    of_all, net = values["decisions a year"] * case.error_value, values["net a year"]
    pays = values["cost a year"] <= of_all and of_all > 0
    return BreakEven(
        values["cost a year"] / of_all if pays else None,
        _days(values["cost of an update"], values["value a year"]),
        _days(case.setup, net) if case.setup else None,
    )


def _days(cost: float, yearly: float) -> float | None:
    """Return after how many days so much a year has brought a cost, None for never."""
    return cost / yearly * DAYS if yearly > 0 and cost * DAYS <= LONG * yearly else None


@dataclass(frozen=True)
class Swing:
    """How far one input moves the net of the first year.

    Attributes
    ----------
    name : str
        Field of `Case`.
    low, high : float
        The input, made smaller and larger.
    net_low, net_high : float
        The net of the first year with it.
    """

    name: str
    low: float
    high: float
    net_low: float
    net_high: float

    @property
    def width(self) -> float:
        """Return how far apart the two are."""
        return abs(self.net_high - self.net_low)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**self.__dict__, "width": self.width}


VARIED = ("devices", "update_bytes", "link_cost", "updates", "decisions", "error_value", "gain", "images", "image_cost",
          "hours", "hour_cost", "setup")  # fmt: skip


def sensitivity(case: Case, factor: float = 2.0) -> list[Swing]:
    """Return how far each input moves the net of the first year, alone, the most important first.

    Parameters
    ----------
    case : Case
    factor : float
        Above 1, at most 1,000: each input is divided and multiplied by it. A gain stays in [-1, 1]; where its ends are
        known, it is varied between them instead. Inputs of 0 are left out.

    Raises
    ------
    DomainError, DTypeError
        If the factor is out of range or of another kind.
    """
    by = check_real("sensitivity", "factor", factor, above=1.0, high=1000.0)
    swings = []
    for name in VARIED:
        value = getattr(case, name)
        if not value and not (name == "gain" and case.gain_low is not None):
            continue
        low, high = sorted((value / by, min(value * by, MOST)))
        if name == "devices":
            low, high = max(1, round(low)), round(high)
        if name == "updates":
            low = max(LEAST_UPDATES, low)
        if name == "gain":
            low, high = (max(-1.0, low), min(1.0, high)) if case.gain_low is None else (case.gain_low, case.gain_high)
        ends = [
            net_of_first_year(dataclasses.replace(case, **{"gain_low": None, "gain_high": None, name: end}))
            for end in (low, high)
        ]
        swings.append(Swing(name, float(low), float(high), *ends))
    return sorted(swings, key=lambda swing: -swing.width)


def _n(value: float) -> str:
    """Return a number for a formula: whole ones in full, others with four digits."""
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 10_000 else f"{value:,.4g}"
