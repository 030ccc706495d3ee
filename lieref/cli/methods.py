"""``lieref methods``: the table of named methods."""

from __future__ import annotations

from typing import Any

import click

from lieref.cli.console import print_json, print_table

COLUMNS = ("method", "what it does", "parameterisation, group, map, action", "lr", "source")


@click.command(short_help="List the fine-tuning methods.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--markdown", is_flag=True, help="Print the table as README.md holds it.")
def methods(as_json: bool, markdown: bool) -> None:
    """List the fine-tuning methods and the parts each is made of."""
    if markdown:
        click.echo(markdown_table(), nl=False)
        return
    if as_json:
        print_json({"methods": describe_methods()})
        return
    print_table("Methods", COLUMNS, table_rows())
    click.echo("Any other legal combination: --method PARAMETERISATION+GROUP+MAP. First norm-stats: norm-stats+METHOD.")


def describe_methods() -> list[dict[str, Any]]:
    """Return every row of the method table as plain values."""
    from lieref.param.registry import METHODS

    return [
        {
            "name": row.name,
            "summary": row.summary,
            "parameterisation": row.parameterisation,
            "group": row.group,
            "map": row.map,
            "action": row.action,
            "scope": row.scope,
            "learning_rate": row.learning_rate,
            "reference": row.reference,
        }
        for row in METHODS.values()
    ]


def table_rows() -> list[tuple[str, ...]]:
    """Return the method table as text, a dash where a part has no meaning."""
    rows: list[tuple[str, ...]] = []
    for row in describe_methods():
        trained = row["parameterisation"] is not None
        parts = ", ".join(row[part] for part in ("parameterisation", "group", "map", "action")) if trained else "-"
        rate = f"{row['learning_rate']:g}" if trained else "-"
        rows.append((row["name"], row["summary"], parts, rate, row["reference"] or "-"))
    return rows


def markdown_table() -> str:
    """Return the method table as README.md holds it."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *table_rows()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
