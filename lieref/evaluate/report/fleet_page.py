"""The report of a fleet."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from lieref.evaluate.report.content import Block, Cell, Column, Decision, Figure, Page, Row, Section, Table
from lieref.evaluate.report.environment import KNOWN, environment, facts
from lieref.evaluate.report.numbers import (
    between,
    count_cell,
    decimal_cell,
    metric_cell,
    of_metric,
    percent_cell,
    whole,
    word_cell,
)

Values = dict[str, Any]

NOT_SETTINGS = {"summary", "rounds", "devices", "manifest", "base", *KNOWN}


def fleet_page(values: Values) -> Page:
    """Return the page of what ``fleet.json`` holds.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        If it is not what `lieref fleet` gives.
    """
    summary = values["summary"]
    sections = (
        Section("devices", "Devices, the worst first", (_devices(values["devices"], metric_of(values)),)),
        Section("rounds", "Rounds", _rounds(values.get("rounds") or [])),
        Section("recipe", "The same again", (facts("What it is of", {
            "manifest": values["manifest"], "base": values["base"],
            **{name: value for name, value in values.items() if name not in NOT_SETTINGS},
        }),)),
        Section("environment", "Environment", environment(values)),
    )  # fmt: skip
    shown = tuple(each for each in sections if any(getattr(block, "items", True) for block in each.blocks))
    subtitle = f"{whole(summary['devices'])} devices"
    made_by = f"lieref {values.get('lieref', '')}".rstrip()
    name = PurePath(str(values["manifest"])).name
    return Page(f"Fine-tuning of a fleet: {name}", subtitle, _decide(values), shown, made_by)


def metric_of(values: Values) -> str:
    """Return what the gains are of."""
    return str(values.get("metric", "accuracy"))


def _decide(values: Values) -> Decision:
    summary, devices, metric = values["summary"], values["devices"], metric_of(values)
    kept, gain = summary["kept"], summary.get("mean_gain")
    adapted = kept["own"] + kept["start"]
    figures = [Figure("Devices with an adapter", whole(adapted), f"of {whole(summary['devices'])}")]
    limits = []
    if summary["failed"]:
        limits.append(f"{whole(summary['failed'])} devices failed and have no adapter; they are in no mean.")
    if any(each.get("judged_on") == "held-out" for each in devices):
        limits.append(
            "Where no test samples are given the gain is of samples that chose what is kept: it is flattered."
        )
    if gain is None:
        return Decision("open", "No decision: no device came to an end", (), tuple(figures), tuple(limits))
    ends = summary.get("mean_gain_interval")
    interval = f" (95 % interval over devices {between(metric, *ends, signed=True)})" if ends else ""
    told = f"{of_metric(metric, summary['base'])} before, {of_metric(metric, summary['adapted'])} after"
    said = [f"On the mean of the devices {told}: {of_metric(metric, gain, signed=True)}{interval}."]
    worst = min((each for each in devices if each.get("gain") is not None), key=lambda each: each["gain"])
    said.append(
        f"Devices that keep the base: {whole(kept['base'])}. The smallest gain is "
        f"{of_metric(metric, worst['gain'], signed=True)}, of {worst['device']}."
    )
    figures += [
        Figure("Mean gain", of_metric(metric, gain, signed=True), f"95 %: {between(metric, *ends, signed=True)}"
               if ends else ""),
        Figure("Smallest gain", of_metric(metric, worst["gain"], signed=True), str(worst["device"])),
        Figure("Bytes of all adapters", whole(summary["update_bytes"])),
    ]  # fmt: skip
    if ends is None:
        return Decision("open", "No decision yet: one device", tuple(said), tuple(figures), tuple(limits))
    if ends[0] <= 0:
        return Decision("keep", "Keep the base: no mean gain beyond chance", tuple(said), tuple(figures), tuple(limits))
    headline = f"Ship to {whole(adapted)} of {whole(summary['devices'])} devices"
    return Decision("ship", headline, tuple(said), tuple(figures), tuple(limits))


def _devices(devices: list[Values], metric: str) -> Table:
    rows = []
    for each in devices:
        gets = "failed" if each.get("failed") else each.get("kept") or ""
        cells = [word_cell(each["device"]), word_cell(gets), count_cell(each.get("samples"))]
        cells += [metric_cell(metric, each.get(name), each.get(f"{name}_interval")) for name in ("base", "adapted")]
        cells.append(metric_cell(metric, each.get("gain"), each.get("gain_interval"), signed=True))
        cells += [
            count_cell(each.get("update_bytes")),
            word_cell(each.get("failed") or each.get("bundle_failed") or ""),
        ]
        rows.append(Row(tuple(cells), "base" if gets in ("base", "failed") else ""))
    columns: tuple[Column, ...] = (
        Column("Device", numeric=False), Column("Gets", numeric=False), Column("Samples"), Column("Base"),
        Column("Adapted"), Column("Gain"), Column("Bytes"), Column("Why not", numeric=False),
    )  # fmt: skip
    if not any(row.cells[-1].text for row in rows):
        columns, rows = columns[:-1], [Row(row.cells[:-1], row.mark) for row in rows]
    return Table(
        "Each device", columns, tuple(rows), "Below a number: its 95 % interval, for other samples of the device."
    )


def _rounds(rounds: list[Values]) -> tuple[Block, ...]:
    if not rounds:
        return ()
    rows = [
        Row((Cell(str(each["round"]), each["round"]), percent_cell(each["merit"]), decimal_cell(each["loss"]),
             count_cell(each["devices"]), percent_cell(each["rank_error"])))
        for each in rounds
    ]  # fmt: skip
    columns = ("Round", "Held out, at its begin", "Loss", "Devices", "Left out of the mean")
    return (Table("Each round", tuple(map(Column, columns)), tuple(rows)),)
