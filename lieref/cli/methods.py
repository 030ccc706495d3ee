"""``lieref methods``: the table of named methods."""

from __future__ import annotations

import click

from lieref.cli.console import print_json, print_table

COLUMNS = ("method", "what it does", "parameterisation, group, map, action", "numbers", "preserves", "lr", "source")


@click.command(short_help="List the fine-tuning methods.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--markdown", is_flag=True, help="Print the table as README.md holds it.")
def methods(as_json: bool, markdown: bool) -> None:
    """List the fine-tuning methods and the parts each is made of."""
    if markdown:
        click.echo(markdown_table(), nl=False)
        return
    if as_json:
        from lieref.param.describe import describe_methods

        print_json({"methods": describe_methods()})
        return
    # The rest of the table does not fit a terminal.
    shown = [COLUMNS.index(name) for name in ("method", "what it does", "parameterisation, group, map, action", "lr")]
    rows = [[row[column] for column in shown] for row in table_rows()]
    print_table("Methods", [COLUMNS[column] for column in shown], rows)
    click.echo("Any other legal combination: --method PARAMETERISATION+GROUP+MAP. First norm-stats: norm-stats+METHOD.")


def table_rows() -> list[tuple[str, ...]]:
    """Return the method table as text, a dash where a part has no meaning."""
    from lieref.param.describe import describe_methods

    rows: list[tuple[str, ...]] = []
    for row in describe_methods():
        trained = row["parameterisation"] is not None
        parts = ", ".join(row[part] for part in ("parameterisation", "group", "map", "action")) if trained else "-"
        rate = f"{row['learning_rate']:g}" if trained else "-"
        kept = ", ".join(row["preserves"]) or "-"
        rows.append((row["name"], row["summary"], parts, row["formula"], kept, rate, row["reference"] or "-"))
    return rows


def markdown_table() -> str:
    """Return the method table as README.md holds it."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *table_rows()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
