"""``lieref roi``: what updates of a fleet cost and bring, line by line."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lieref.cli.command import Command
from lieref.cli.console import print_json, print_table
from lieref.cli.naming import names_itself
from lieref.cli.shares import GAIN
from lieref.errors import LierefWarning

if TYPE_CHECKING:
    from lieref.evaluate.roi.arithmetic import Case, Swing

NAMES = {
    "devices": ("--devices", "devices"),
    "update_bytes": ("--bytes", "bytes of an update"),
    "link_cost": ("--link-cost", "cost of a MB"),
    "updates": ("--updates", "updates a year"),
    "decisions": ("--decisions", "decisions of a device and day"),
    "error_value": ("--error-value", "value of an error avoided"),
    "gain": ("--gain", "gain of accuracy"),
    "images": ("--images", "images labelled for an update"),
    "image_cost": ("--image-cost", "cost of a label"),
    "hours": ("--hours", "machine hours of an update"),
    "hour_cost": ("--hour-cost", "cost of a machine hour"),
    "setup": ("--setup", "set-up, once"),
}
NEEDED = ("update_bytes", "gain")


@click.command(
    cls=Command,
    examples=(
        "lieref roi --devices 5000 --updates 4 --decisions 200 --error-value 0.05 --gain 1.2% --bytes 6000",
        "lieref roi --devices 5000 --updates 4 --decisions 200 --error-value 0.05 --from comparison --plot roi.png",
    ),
)
@click.option("--devices", type=int, required=True, help="Devices in the fleet.")
@click.option("--bytes", "update_bytes", type=float, help="Bytes sent to a device with an update.  [or --from]")
@click.option("--link-cost", type=float, default=0.0, show_default=True, help="Cost of a megabyte to a device.")
@click.option("--updates", type=float, required=True, help="Updates a year.")
@click.option("--images", type=float, default=0.0, show_default=True, help="Images labelled for an update.")
@click.option("--image-cost", type=float, default=0.0, show_default=True, help="Cost of labelling one.")
@click.option("--hours", type=float, help="Machine hours for an update.  [default: --from, or 0]")
@click.option("--hour-cost", type=float, default=0.0, show_default=True, help="Cost of a machine hour.")
@click.option("--setup", type=float, default=0.0, show_default=True, help="Cost once, such as of the pilot.")
@click.option("--decisions", type=float, required=True, help="Decisions of one device and day.")
@click.option("--error-value", type=float, required=True, help="What one error avoided is worth.")
@click.option("--gain", type=GAIN, help="Gain of accuracy: 0.012 or 1.2%.  [or --from]")
@click.option("--gain-low", type=GAIN, help="Lower end of its interval, where known.")
@click.option("--gain-high", type=GAIN, help="Upper end.")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="Take gain, bytes and hours from a report: of finetune or compare (or its folder), ab test --json or ab look "
    "--json.",
)
@click.option("--method", help="Of a comparison: whose numbers.  [default: the best]")
@click.option("--currency", default="EUR", show_default=True, help="Name of the unit of money.")
@click.option(
    "--factor", type=float, default=2.0, show_default=True, help="By which each input is varied, up and down."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw what decides to this .png or .svg.")
@click.option("--force", is_flag=True, help="Replace the picture where it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@names_itself
def roi(
    source: Path | None,
    method: str | None,
    currency: str,
    factor: float,
    plot: Path | None,
    force: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Say what updates of a fleet cost and bring.

    Add --link-cost, --images with --image-cost, --hours with --hour-cost and --setup for the costs, --plot roi.png for
    a picture.

    Plain arithmetic, shown line by line: the gain of accuracy holds all year on all devices and avoids as many errors.
    Then each input is divided and multiplied by --factor, alone; a gain with an interval moves between its ends. What
    moves the net most is what a pilot should find out.
    """
    from lieref._atomic import write_file
    from lieref.cli.output import reserved_result
    from lieref.evaluate.roi.arithmetic import net_of_first_year, sensitivity
    from lieref.evaluate.roi.tornado import FORMATS, tornado

    form = "" if plot is None else plot.suffix.lower().removeprefix(".")
    if plot is not None and form not in FORMATS:
        raise click.UsageError(f"--plot draws a .png or .svg; got {plot}")
    case = _case(source, method, given)
    swings = sensitivity(case, factor)
    if plot is not None:
        net = net_of_first_year(case)
        labels = [f"{NAMES[swing.name][1]}\n{_range(swing)}" for swing in swings]
        with reserved_result("roi", plot, "plot", force=force):
            write_file(plot, tornado(swings, net, labels, unit=currency, form=form))
    report = _report(case, swings, currency, factor)
    if as_json:
        print_json(report)
    else:
        _print(report, swings, plot)


def _case(source: Path | None, method: str | None, given: dict[str, Any]) -> Case:
    """Return the assumptions: the options, and what they leave open from a report."""
    from lieref.evaluate.roi.arithmetic import Case
    from lieref.evaluate.roi.source import keeps_base, read_source

    if method is not None and source is None:
        raise click.UsageError("--method chooses from a comparison; name it with --from")
    found: dict[str, Any] = {} if source is None else dict(read_source(source, method))
    if given["gain"] is not None:
        for name in ("gain", "gain_low", "gain_high"):  # the ends belong to another gain
            found.pop(name, None)
    elif source is not None and (headline := keeps_base(source)):
        warnings.warn(
            f'the report of {source} says "{headline}": its gain is not told from chance, nor is what follows from it',
            LierefWarning,
            stacklevel=2,
        )
    values = {**found, **{name: value for name, value in given.items() if value is not None}}
    lacking = [NAMES[name][0] for name in NEEDED if name not in values]
    if lacking:
        raise click.UsageError(f"missing {' and '.join(lacking)}, or a report that says it: --from")
    return Case(**values)


def _report(case: Case, swings: list[Swing], currency: str, factor: float) -> dict[str, Any]:
    import dataclasses

    from lieref.evaluate.roi.arithmetic import DAYS, break_even, lines_of, net_of_first_year

    ends = None
    if case.gain_low is not None and case.gain_high is not None:
        ends = [
            net_of_first_year(dataclasses.replace(case, gain=end, gain_low=None, gain_high=None))
            for end in (case.gain_low, case.gain_high)
        ]
    return {
        "currency": currency,
        "inputs": dataclasses.asdict(case),
        "lines": [dataclasses.asdict(line) for line in lines_of(case)],
        "net_of_first_year": net_of_first_year(case),
        "net_of_first_year_between": ends,
        "break_even": dataclasses.asdict(break_even(case)),
        "days_between_updates": DAYS / case.updates,
        "factor": factor,
        "sensitivity": [swing.to_dict() for swing in swings],
    }


def _print(report: dict[str, Any], swings: list[Swing], plot: Path | None) -> None:
    currency = report["currency"]
    rows = [(line["name"], line["formula"], f"{_money(line['value'])} {line['unit'] or currency}")
            for line in report["lines"]]  # fmt: skip
    print_table("Costs and value", ("what", "how", "result"), rows)
    for line in _sentences(report):
        click.echo(line)
    table = [(NAMES[swing.name][1], _range(swing), _money(swing.net_low), _money(swing.net_high), _money(swing.width))
             for swing in swings]  # fmt: skip
    columns = ("input", "from, to", "net with the smaller", "net with the larger", "apart")
    print_table(f"What decides: net of the first year in {currency}, each input alone", columns, table)
    if plot is not None:
        click.echo(f"The picture is {plot}.")


def _sentences(report: dict[str, Any]) -> list[str]:
    currency, even, ends = report["currency"], report["break_even"], report["net_of_first_year_between"]
    said = []
    if ends is not None:
        low, high = (report["inputs"][name] for name in ("gain_low", "gain_high"))
        said.append(f"With a gain of {100 * low:+.2f} to {100 * high:+.2f} points the net of the first year is "
                    f"{_money(ends[0])} to {_money(ends[1])} {currency}.")  # fmt: skip
    if even["gain"] is None:
        said.append("No gain of accuracy pays for the updates.")
    elif even["gain"] == 0 and report["inputs"]["gain"] > 0:
        said.append("Updates cost nothing here: any gain pays for them.")
    elif even["gain"] == 0:
        said.append("Updates cost nothing here, but without a gain of accuracy they bring nothing.")
    else:
        aside = ", set-up aside" if report["inputs"]["setup"] else ""
        said.append(f"Updates pay from a gain of {100 * even['gain']:.3g} points on{aside}.")
    between = report["days_between_updates"]
    if even["update_days"] is None and even["gain"] != 0:
        said.append("An update never earns what it costs.")
    elif even["update_days"] is not None:
        late = "" if even["update_days"] <= between else ", later than the next one comes"
        said.append(f"An update has earned its cost after {even['update_days']:,.3g} days{late} (one comes every "
                    f"{between:,.3g} days).")  # fmt: skip
    if report["inputs"]["setup"]:
        days = even["setup_days"]
        said.append("The set-up is never earned back." if days is None else
                    f"The set-up is earned back after {days:,.3g} days.")  # fmt: skip
    return said


def _range(swing: Swing) -> str:
    if swing.name == "gain":
        return f"{100 * swing.low:.3g} to {100 * swing.high:.3g} points"
    return f"{swing.low:,.6g} to {swing.high:,.6g}"


def _money(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}"
