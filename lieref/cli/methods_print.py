"""What ``lieref methods NAME`` and ``lieref methods --legal`` print for people."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from lieref.cli.console import print_table

WIDTH = 100

_TENSORS = {"weight": "the weight", "bias": "the bias", "scale": "the scale of a normalisation",
            "shift": "the shift of one"}  # fmt: skip


def print_method(facts: Mapping[str, Any]) -> None:
    """Print what `lieref.cli.methods.explained` returns."""
    parts = facts["parts"]
    _write(f"{facts['name']}: {facts['summary']}")
    made = [str(parts[part]) for part in ("parameterisation", "group", "map", "action") if parts[part] is not None]
    wrapper = f"; around it {parts['wrapper']}" if parts["wrapper"] else ""
    _write(f"{', '.join(made) or 'no parts: nothing is trained'}{wrapper}")
    if facts["same_parts"]:
        _write(f"The same as {' and '.join(facts['same_parts'])}, but for the default learning rate.")
    if facts["statistics_first"]:
        _write("First the statistics of every BatchNormalization are re-estimated, without labels.")

    _head("Formula")
    for line in facts["equations"]:
        _write(line, "  ")
    if about := facts["about"].get("parameterisation"):
        _write(about[0], "  ")
    if algebra := facts["about"].get("algebra"):
        _write(" ".join(algebra), "  ")
    if facts["scaling"] is not None:
        _write(f"s = {facts['scaling']:g}, with alpha {facts['alpha']:g} and rank {facts['rank']}", "  ")
    if facts["layer"]["factors"]:
        _write("The factors start at the base, bit for bit." if facts["starts_at_base"] else
               "The factors do not start at the base: the weight is another before any training.", "  ")  # fmt: skip

    print_layer(facts["layer"])
    if facts["linear"] is not None:
        print_layer(facts["linear"])
    count = facts["count"]
    whose = ", with the sizes of xi in place of those of the weight" if count["of_xi"] else ""
    _head("Numbers of one tensor")
    _write(f"{count['formula']}{whose}", "  ")
    for letter, meaning in count["letters"].items():
        _write(f"{letter}: {meaning}", "  ")

    _options(facts["options"])
    _head("Preserves")
    for kept, meaning in facts["preserves"].items():
        _write(f"{kept}: {meaning}", "  ")
    if not facts["preserves"]:
        _write("nothing of every weight", "  ")
    _head("Learning rate")
    rate = facts["learning_rate"]
    _write(f"{rate:g} with AdamW" if rate else "none: nothing is trained", "  ")

    for part, texts in facts["about"].items():
        rest = {"parameterisation": texts[1:], "algebra": []}.get(part, texts)  # what stands above already
        if rest:
            _head(f"About the {part}")
            _paragraphs(rest)
    _peers(facts["peers"])
    _citations("Source", facts["sources"])
    _citations("Also cited above", facts["cited"])


def print_layer(layer: Mapping[str, Any]) -> None:
    """Print what a method trains in one layer."""
    shape = "x".join(map(str, layer["shape"]))
    kind = "Linear layer" if len(layer["shape"]) == 2 else "Convolution"
    groups = f" in {layer['groups']} groups" if layer["groups"] > 1 else ""
    if "refused" in layer:
        _head(f"{kind} {shape}{groups}: none")
        _write(layer["refused"], "  ")
        return
    share = f"{100 * layer['numbers'] / layer['of']:.3g} % of the {layer['of']:,} of its weight"
    _head(f"{kind} {shape}{groups}: {layer['numbers']:,} trained numbers, {share}")
    if layer["factors"]:
        rows = [
            (factor["tensor"], factor["name"], "x".join(map(str, factor["shape"])),
             "trained" if factor["trained"] else "frozen", factor["start"])
            for factor in layer["factors"]
        ]  # fmt: skip
        _lines(("of", "factor", "shape", "", "at the start"), rows)
    if layer["tensors"] != ["weight"]:
        _write(f"Of the layer it trains {_listed(_TENSORS[one] for one in layer['tensors']) or 'nothing'}.", "  ")
    if layer["moves_bias"]:
        _write("The same factors move the bias.", "  ")
    if layer["adjusted"]:
        _write(f"There is room for less than asked for: {layer['adjusted']}.", "  ")


def print_legal(matrix: Mapping[str, Any]) -> None:
    """Print what `lieref.cli.methods.legal_matrix` returns."""
    weights = list(matrix["weights"])
    by_pair: dict[tuple[str, str], dict[tuple[str, ...], tuple[list[str], set[str]]]] = {}
    for entry in matrix["legal"]:
        rows = by_pair.setdefault((entry["group"], entry["parameterisation"]), {})
        actions, served = rows.setdefault(tuple(entry["maps"]), ([], set()))
        actions += [action for action in entry["actions"] if action not in actions]
        served |= set(entry["weights"])
    alike: dict[tuple[str, tuple[Any, ...]], list[str]] = {}
    for (group, kind), rows in by_pair.items():
        key = tuple((maps, tuple(actions), _where(served, weights)) for maps, (actions, served) in rows.items())
        alike.setdefault((group, key), []).append(kind)
    order = list(dict.fromkeys(group for group, _ in alike))
    table = [
        (group, ", ".join(kinds), ", ".join(maps), ", ".join(actions), where)
        for (group, key), kinds in sorted(alike.items(), key=lambda pair: order.index(pair[0][0]))
        for maps, actions, where in key
    ]
    print_table("Legal", ("group", "parameterisations", "maps", "actions", "weights"), table)
    _write("taylor stands for taylor1, taylor2, ..., neumann for neumann2, neumann3, ..., bounded for bounded(c), "
           "fan-in/2 for any number of blocks. On several modes, out*in, a group may be named for each: "
           "dense+so*gl+exp+out*in. A weight counts by one of "
           f"its kind: {'; '.join(weights)}.")  # fmt: skip
    _couplings(matrix["couplings"])


def _couplings(couplings: Sequence[Mapping[str, Any]]) -> None:
    alike: dict[tuple[str, ...], list[str]] = {}
    for one in couplings:
        around = "; ".join(f"{wrapper}: {', '.join(names)}" for wrapper, names in one["wrappers"].items())
        starts = ", ".join(_value(start) for start in one["starts"])
        more = ", ".join([*one["settings"], *(["moves nothing"] if one["still"] else [])])
        if around or starts or more:
            key = (one["group"], around or "-", starts or "-", more or "-")
            alike.setdefault(key, []).append(one["parameterisation"])
    rows = [(group, ", ".join(kinds), *rest) for (group, *rest), kinds in alike.items()]
    columns = ("group", "parameterisations", "methods with something around them", "init_lora_weights", "also")
    print_table("What goes around them", columns, rows)
    without = [f"{one['parameterisation']}+{one['group']}" for one in couplings if not one["norm-stats+"]]
    _write("norm-stats+ may stand before every one of them." if not without else
           f"norm-stats+ may stand before every one of them but {', '.join(without)}.")  # fmt: skip


def _where(served: set[str], weights: Sequence[str]) -> str:
    missing = [name for name in weights if name not in served]
    if not missing:
        return "all"
    if len(missing) <= len(served):
        return f"all but {', '.join(missing)}"
    return ", ".join(name for name in weights if name in served)


def _options(options: Sequence[Mapping[str, Any]]) -> None:
    _head("Options")
    if not options:
        _write("none", "  ")
    for one in options:
        default, value = _value(one["default"]), _value(one["value"])
        given = "" if value == default else f", here {value}"
        _write(f"{one['name']} ({one['type']}; default {default}{given}): {one['meaning']}", "  ", "    ")
        if "legal" in one:
            _write(f"On this layer: {', '.join(one['legal'])}.", "    ")


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _peers(peers: Mapping[str, Any]) -> None:
    if not peers["forms"]:
        return
    _head("In " + " and ".join(f"{library} {version}" for library, version in peers["versions"].items()))
    _lines(
        ("library", "kind", "weight or output there", "here"),
        [(form["library"], form["kind"], form["computes"], form["here"]) for form in peers["forms"]],
    )
    if peers["defects"]:
        _write("What they compute wrongly themselves, each shown by a script of the repository:", "  ")
    for defect in peers["defects"]:
        _write(f"{defect['library']}: {defect['what']} ({defect['script']})", "  - ", "    ")


def _citations(title: str, citations: Mapping[str, str]) -> None:
    if citations:
        _head(title)
    for key, text in citations.items():
        _write(f"[{key}] {text}", "  ", "    ")


def _paragraphs(texts: Iterable[str]) -> None:
    for text in texts:
        if "\n" in text:
            click.echo(textwrap.indent(text, "  "))
        else:
            _write(text, "  ")


def _lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a small table without rules, two spaces from the left."""
    widths = [max(len(row[at]) for row in (columns, *rows)) for at in range(len(columns))]
    for row in (columns, *rows):
        click.echo("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _listed(words: Iterable[str]) -> str:
    return " and ".join(words)


def _head(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)


def _write(text: str, first: str = "", later: str | None = None) -> None:
    """Print a paragraph, broken at `WIDTH`."""
    later = " " * len(first) if later is None else later
    click.echo(textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False))
