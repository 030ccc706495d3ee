"""``lieref methods``: the table of named methods, one method explained, and which parts go together."""

from __future__ import annotations

import math
import re
from typing import Any

import click

from lieref.cli.command import Command
from lieref.cli.completion import FLOAT_METHOD
from lieref.cli.console import print_json, print_table, working
from lieref.cli.live import quiet_option
from lieref.cli.method_options import method_settings

COLUMNS = ("method", "what it does", "parameterisation, group, map, action", "numbers", "preserves", "lr", "source")

MOST = 2**31
"""Numbers in a weight that is explained; no file of a network holds so many in one."""


def parse_shape(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Return ``(64, 64, 3, 3)`` of ``64,64,3,3`` or ``64x64x3x3``, None where nothing was given."""
    if value is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}(?:\s*[,x]\s*[0-9]{1,9})*", value.strip(), re.ASCII):
        raise click.BadParameter(f"{value!r} is no shape O,I/groups,kernel such as 64,64,3,3", ctx, param)
    shape = tuple(int(size) for size in re.split(r"\s*[,x]\s*", value.strip()))
    if math.prod(shape) > MOST:
        raise click.BadParameter(f"{value!r} holds more than {MOST:,} numbers", ctx, param)
    return shape


@click.command(
    cls=Command,
    examples=(
        "lieref methods",
        "lieref methods liera --shape 64,64,3,3 --rank 4",
        "lieref methods low-rank+so+cayley  # any legal combination",
        "lieref methods --legal",
    ),
)
@click.argument("name", required=False, shell_complete=FLOAT_METHOD)
@click.option(
    "--shape",
    callback=parse_shape,
    metavar="O,I[,K...]",
    help="Weight of the layer: outputs, inputs of a group, kernel.  [default: 64,64,3,3]",
)
@click.option("--groups", type=click.IntRange(min=1), help="Conv groups of the layer.  [default: 1]")
@method_settings("map=cayley, share_groups=true")
@click.option("--legal", is_flag=True, help="Show which parameterisation, group, map and action go together.")
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--markdown", is_flag=True, help="Print the table as lieref/param/README.md holds it.")
def methods(
    name: str | None,
    shape: tuple[int, ...] | None,
    groups: int | None,
    rank: int | None,
    alpha: float | None,
    method_options: dict[str, Any],
    legal: bool,
    as_json: bool,
    markdown: bool,
) -> None:
    """List the fine-tuning methods and the parts each is made of.

    With NAME one method is explained, on a layer of the given shape: a row of the list, any legal
    PARAMETERISATION+GROUP+MAP[+ACTION], or one of these after norm-stats+.
    """
    given = {"--shape": shape, "--groups": groups, "--rank": rank, "--alpha": alpha, "--option": method_options or None}
    of_one = [option for option, value in given.items() if value is not None]
    if name is None and of_one:
        raise click.UsageError(f"{of_one[0]} is for one method; name it")
    if (name is not None) + legal + markdown > 1:
        raise click.UsageError("NAME, --legal and --markdown each print something of their own; give one of them")
    if markdown and as_json:
        raise click.UsageError("--markdown and --json print the same in two forms; give one of them")
    if name is not None:
        options = {"r": rank, "lora_alpha": alpha, **method_options}
        config = {option: value for option, value in options.items() if value is not None or option in method_options}
        facts = explained(name, shape, groups or 1, config)
        if as_json:
            print_json(facts)
        else:
            from lieref.cli.methods_print import print_method

            print_method(facts)
    elif legal:
        from lieref.cli.methods_print import print_legal

        with working("methods") as step:
            step("which parts go together")
            matrix = legal_matrix()
        print_json(matrix) if as_json else print_legal(matrix)
    elif markdown:
        click.echo(markdown_table(), nl=False)
    elif as_json:
        from lieref.param.describe import describe_methods

        print_json({"methods": describe_methods()})
    else:
        # The rest of the table does not fit a terminal.
        kept = ("method", "what it does", "parameterisation, group, map, action", "lr")
        shown = [COLUMNS.index(column) for column in kept]
        rows = [[row[column] for column in shown] for row in table_rows()]
        print_table("Methods", [COLUMNS[column] for column in shown], rows)
        click.echo(
            "Any other legal combination: --method PARAMETERISATION+GROUP+MAP. First norm-stats: norm-stats+METHOD.\n"
            "One of them explained: lieref methods NAME. What is legal: lieref methods --legal."
        )


def explained(name: str, shape: tuple[int, ...] | None, groups: int, config: dict[str, Any]) -> dict[str, Any]:
    """Return what `lieref.param.explain` says of a method, and ``peers``: what other libraries have of it."""
    from lieref.adapter.exchange.peers import peers_of
    from lieref.param.explain import SHAPE, explain
    from lieref.param.registry import STATISTICS_FIRST

    facts = explain(name, SHAPE if shape is None else shape, groups, **config)
    return {**facts, "peers": peers_of([name.removeprefix(STATISTICS_FIRST), *facts["same_parts"]])}


def legal_matrix() -> dict[str, Any]:
    """Return every legal combination and what goes around them, as plain values; see `lieref.param.legal`."""
    import dataclasses

    from lieref.param.legal import WEIGHTS, couplings, legal_entries

    entries = legal_entries()
    pairs = dict.fromkeys((entry.parameterisation, entry.group) for entry in entries)
    return {
        "weights": {name: {"shape": list(shape), "groups": groups} for name, (shape, groups) in WEIGHTS.items()},
        "legal": [dataclasses.asdict(entry) for entry in entries],
        "couplings": [{"parameterisation": kind, "group": group, **couplings(kind, group)} for kind, group in pairs],
    }


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
    """Return the method table as lieref/param/README.md holds it."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *table_rows()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
