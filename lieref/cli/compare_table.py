"""How a comparison is printed: what decides in one table, what it costs in another, then the sentences."""

from __future__ import annotations

from typing import Any

import click

from lieref.cli.console import print_table


def print_comparison(result: dict[str, Any]) -> None:
    """Print a comparison on stdout."""
    from lieref.evaluate.report.compare_decision import decide

    rows, metric = result["rows"], result["metric"]
    few = len(result["seeds"]) < 2
    forgets = any(row["forgotten"] is not None for row in rows)
    shown = metric.replace("_", " ")
    columns = ["method", "trainable", shown, "95 % over seeds", f"against {result['baseline']}", "95 %", "p (Holm)"]
    columns += ["p (McNemar)"] + (["forgotten"] if forgets else []) + ["lr"]
    print_table(f"Methods on {result['samples']['test']:,} test samples", columns,
                [_quality(row, metric, few, forgets) for row in rows])  # fmt: skip
    _print_costs(result)
    if "semantics" in result:
        _print_integers(rows)
        _print_semantics(result["semantics"])
    for sentence in result["conclusions"]:
        click.echo(sentence)
    decision = decide(result)  # what the report begins with, last: the sentences alone say what is small and good
    click.echo(f"{decision.headline}. {decision.reasons[0]}")


def _print_costs(result: dict[str, Any]) -> None:
    """Print what rows cost, and once below why numbers of quantised files are missing."""
    from lieref.evaluate.report.summary import DEVICE_LATENCY

    rows, of_file = result["rows"], "semantics" in result
    timed = any(row["latency_us"]["merged"] is not None for row in rows)
    costs = ["method", "payload B", "update B" if of_file else "adapter B", "signed bundle B", "CPU s"]
    costs += ["GFLOP", "memory MB", *(["attached us", "merged us"] if timed else [])]
    print_table("What they cost", costs, [_cost(row)[: len(costs)] for row in rows])
    if of_file:
        bundles = "of updates no bundle is made here, which lieref bundle create does"
        click.echo(f"-: {bundles}; {DEVICE_LATENCY}; a base is not trained." if timed else
                   f"-: {bundles}; a base is not trained. No latency: {DEVICE_LATENCY}.")  # fmt: skip


def _print_integers(rows: list[dict[str, Any]]) -> None:
    from lieref.adapter.integer.clipping import MATTERS
    from lieref.evaluate.clipping_text import whole_text, worst_text

    own = [row for row in rows if row["integers"] is not None]
    lines = []
    for row in own:
        clips, counts = row["clipping"], row["integers"]
        cut, worst = whole_text(clips), worst_text(clips)
        names = ("weights", "biases", "bytes_that_differ")
        lines.append([row["label"], *(f"{counts[name]:,.6g}" for name in names), cut, worst])
    print_table(
        "What changes in the quantised file",
        ("method", "integers of weights", "of biases", "bytes that differ", "numbers clipped", "most in a layer"),
        lines,
    )
    click.echo(
        "Numbers clipped: those beyond the ranges that the file has fixed, on training samples, the mean over layers; "
        f"most in a layer: where that is {100 * MATTERS:g} % or more."
    )


def _print_semantics(found: dict[str, Any]) -> None:
    from lieref.evaluate.compare.semantics import changed_text, share_text

    first, others = found["first"], found["others"]
    if not others:
        return
    columns = ["method", first]
    for name in others:
        columns += [name, "top-1 changes", "95 %"]
    lines = []
    for row in found["rows"]:
        line = [row["label"], share_text(row["accuracy"][first]["mean"])]
        for name in others:
            share = row["changed"][name]["share"]
            ends = f"{100 * share['low']:.2f} to {100 * share['high']:.2f} %"
            line += [share_text(row["accuracy"][name]["mean"]), changed_text(row["changed"][name]), ends]
        lines.append(line)
    print_table(f"Accuracy by semantics, and test samples whose class is not that of {first}", columns, lines)


def _quality(row: dict[str, Any], metric: str, few: bool, forgets: bool) -> list[str]:
    from lieref.evaluate.compare.sentences import amount, is_share

    factor, digits = (100, ".2f") if is_share(metric) else (1, ".4g")

    def ends(low: float | None, high: float | None) -> str:
        return "-" if low is None or high is None else f"{factor * low:{digits}} to {factor * high:{digits}}"

    test = row["against"] or {}
    over = "" if row["within_budget"] or row["budget"] is None else " (over)"
    cells = [row["label"], f"{row['trainable']:,}{over}", amount(metric, row["mean"])]
    cells += ["one seed" if few and row["low"] is None else ends(row["low"], row["high"])]
    cells += [amount(metric, test.get("difference"), signed=True).removesuffix(" points")]
    cells += [ends(test.get("low"), test.get("high")), _p(test.get("p_holm")), _p(test.get("p_mcnemar_holm"))]
    if forgets:
        lost = row["forgotten"]
        cells.append("-" if lost is None else amount(metric, lost["mean"]))
    return [*cells, "-" if row["learning_rate"] is None else f"{row['learning_rate']:.3g}"]


def _cost(row: dict[str, Any]) -> list[str]:
    def scaled(value: float | None, unit: float, digits: str) -> str:
        return "-" if value is None else format(value / unit, digits)

    seconds = None if row["seconds"] is None else row["seconds"]["processor"]
    return [
        row["label"],
        *(scaled(row[name], 1, ",.0f") for name in ("payload_bytes", "update_bytes", "bundle_bytes")),
        scaled(seconds, 1, ",.2f"),
        scaled(row["flops"], 1e9, ",.2f"),
        scaled(row["memory_bytes"], 1e6, ",.1f"),
        scaled(row["latency_us"]["attached"], 1, ",.0f"),
        scaled(row["latency_us"]["merged"], 1, ",.0f"),
    ]


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value >= 0.0005 else f"{value:.0e}"
