"""``lieref report``: what an earlier command found, as one page for people."""

from __future__ import annotations

import os
from pathlib import Path

import click

from lieref._atomic import write_file
from lieref._text import one_line
from lieref.cli.command import Command
from lieref.cli.console import print_json
from lieref.cli.page import reserved_page
from lieref.cli.unfinished import Unfinished


@click.command(
    cls=Command,
    examples=(
        "lieref report comparison",
        "lieref report adapted --out report.html",
    ),
)
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write; its name ends in .html, .md or .json.  [default: Markdown on stdout]",
)
@click.option("--force", is_flag=True, help="Replace the file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, the report as JSON.")
def report(source: Path, out: Path | None, force: bool, as_json: bool) -> None:
    """Show what finetune, compare, fleet, demo or carry found: what to ship and why, then the numbers.

    SOURCE is the folder of such a command, the JSON file in it, or a report as JSON. The HTML page loads nothing from
    anywhere: it can be sent as it is.
    """
    from lieref.evaluate.report.markdown import to_markdown
    from lieref.evaluate.report.reading import read_page

    if not source.exists() and Unfinished(Path(os.path.abspath(source))).folder.is_dir():
        raise click.UsageError(
            f"{source} is not there: its run is not finished; the same command with --resume goes on, and lieref plot "
            "draws the file of its --history so far"
        )
    if out is None:
        page = read_page(source)
        if as_json:
            print_json(page.to_dict())
        else:
            click.echo(to_markdown(page), nl=False)
        return
    with reserved_page("report", out, "out", force=force) as (path, end):
        from lieref.evaluate.report.forms import write_form

        page = read_page(source)
        write_file(path, write_form(page, end))
    if as_json:
        print_json(page.to_dict())
    else:
        click.echo(one_line(f"The report is in {out}: {page.decision.headline}."))
