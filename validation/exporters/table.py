"""The rows as a table in Markdown, and their counts."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
QUESTIONS = ("load", "agree", "gradients", "train", "merge")
COMPILED = ("f2", "f4", "direct")


def counts(rows: list[Row]) -> dict[str, int]:
    """Return how many files pass each question."""
    found = {what: sum(row.get(what) is True for row in rows) for what in QUESTIONS}
    return {"files": len(rows), **found, "wholly_compiled": sum(row.get("engine") in COMPILED for row in rows)}


def markdown(rows: list[Row]) -> str:
    """Return the support table: a row a file, what each question said, and what is not compiled."""
    titles = ("network", "exporter", *QUESTIONS, "engine", "compiled share", "not compiled")
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    for row in rows:
        engine = row.get("engine") or "-"
        named = "whole" if engine in COMPILED else str(engine)
        share = row.get("share")
        slow = sorted({node["op"] for node in row.get("slow", ())})
        cells = [row["network"], row["exporter"], *(_mark(row, what) for what in QUESTIONS), named]
        lines.append("| " + " | ".join([*cells, "-" if share is None else f"{share:.0%}", ", ".join(slow)]) + " |")
    total = counts(rows)
    text = ", ".join(f"{what.replace('_', ' ')} {n}" for what, n in total.items() if what != "files")
    notes = [f"- {row['network']}, {row['exporter']}, {what}: {error}"
             for row in rows for what, error in row.get("errors", {}).items()]  # fmt: skip
    end = ["", *notes] if notes else []
    return "\n".join([*lines, "", f"Of {total['files']} files: {text}.", *end, "", by_operator(rows)])


def by_operator(rows: list[Row]) -> str:
    """Return the same by operator: of the files that hold one, how many pass, and how many call it back in Python."""
    titles = ("operator", "files", "agree", "gradients", "train", "merge", "called back")
    lines = ["| " + " | ".join(titles) + " |", "|" + " --- |" * len(titles)]
    for op in sorted({op for row in rows for op in row.get("operators", ())}):
        own = [row for row in rows if op in row.get("operators", ())]
        back = sum(any(node["op"] == op for node in row.get("slow", ())) for row in own)
        passed = [sum(row.get(what) is True for row in own) for what in titles[2:-1]]
        lines.append("| " + " | ".join([op, *map(str, (len(own), *passed, back))]) + " |")
    return "\n".join(lines)


def _mark(row: Row, what: str) -> str:
    """Return yes with its figure, no, or nothing where it could not be asked."""
    value = row.get(what)
    if value is None:
        return "-"
    figure = {"agree": "agreement", "gradients": "gradient_error", "train": "training_error",
              "merge": "merged_agreement"}.get(what)  # fmt: skip
    known = "" if figure is None or figure not in row else f" {row[figure]:.0e}"
    return ("yes" if value else "NO") + known
