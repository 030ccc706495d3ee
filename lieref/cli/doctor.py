"""``lieref doctor``: what is installed, what this machine offers, and whether lieref computes what it should."""

from __future__ import annotations

from typing import Any

import click

from lieref.cli.command import Command
from lieref.cli.live import quiet_option


@click.command(
    cls=Command,
    examples=(
        "lieref doctor",
        "lieref doctor --no-self-check  # only what is installed and set",
        "lieref doctor --json > doctor.json  # for a report of a defect",
    ),
)
@click.option(
    "--no-self-check", is_flag=True, help="Leave out the golden values: some 5 seconds, the first time some more."
)
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(no_self_check: bool, as_json: bool) -> int:
    """Check this installation of lieref, and say what to do where something is wrong.

    Needs nothing but click: what else is missing is in the answer. The self-check computes a fixed choice of golden
    cases, and a small network by the machine code of this CPU against a certified bound. Exit status 1: something is
    wrong, and each finding says what to do. An extra that is not installed is no finding.
    """
    from lieref.cli.diagnosis import diagnose

    report = diagnose(self_check=not no_self_check)
    if as_json:
        from lieref.cli.console import print_json

        print_json(report)
    else:
        _print(report)
    return 0 if report["ok"] else 1


def _print(report: dict[str, Any]) -> None:
    """Print the report as plain lines, for which nothing has to be installed."""
    from lieref._text import printable

    for name, value in _lines(report):
        click.echo(printable(f"{name:<20} {value}"))
    for finding in report["findings"]:
        click.echo(printable(f"wrong: {finding['what']}"))
        click.echo(printable(f"  do: {finding['do']}"))
    if report["ok"]:
        click.echo("Nothing is wrong.")


def _lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and values, in the order of the report."""
    machine, cache, blas, check = (report[name] for name in ("machine", "cache", "blas", "self_check"))
    lines = [(name, version or "missing") for name, version in report["versions"].items()]
    for extra, state in report["extras"].items():
        lacks = f"{', '.join(state['missing'])} missing: {state['install']}"
        lines.append((f"extra {extra}", lacks if state["missing"] else "installed"))
    lines += [
        ("system", f"{machine['system']}, {machine['machine']}"),
        ("CPU", f"{machine['cpu'] or 'unknown'}, {machine['usable_cores']} of {machine['cores']} cores may be used"),
        ("instruction set", f"{machine['instruction_set'] or 'unknown'} of {', '.join(machine['instruction_sets'])}"),
        ("cache", "off" if cache["folder"] is None else f"{cache['folder']}, {cache['files']} files, "
                  f"{cache['bytes'] / 2**20:.1f} MiB, {'writable' if cache['writable'] else 'not writable'}"),
        ("BLAS", f"{blas['library'] or 'unknown'}, {blas['threads'] or 'as many as it likes'} threads"),
    ]  # fmt: skip
    lines += list(report["environment"].items())
    if check is not None:
        engine = check["engine_of_bound"]
        of_bound = "not checked" if engine is None else f"errors are {engine:.2g} of their certified bound"
        lines.append(("golden cases", f"{check['passed']} of {check['cases']} pass, in {check['seconds']:.1f} s"))
        lines.append(("machine code", of_bound))
        lines += [("left out", text) for text in check["left_out"]]
    return lines
