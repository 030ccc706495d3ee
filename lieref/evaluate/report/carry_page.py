"""The report of a float adapter that was carried into a quantised file."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from lieref.evaluate.report.content import Cell, Code, Column, Decision, Figure, Page, Row, Section, Table
from lieref.evaluate.report.environment import environment, facts
from lieref.evaluate.report.numbers import count_cell, whole, word_cell

Values = dict[str, Any]


def carry_page(values: Values) -> Page:
    """Return the page of what `lieref carry` recorded.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        If it is not what `lieref carry` gives.
    """
    net = PurePath(str(values["net"])).name
    rows = [
        Row((word_cell(each["node"]), *(Cell(f"{each[name]:.6g}", each[name]) for name in ("lowest", "highest")),
             word_cell("yes" if each["bias"] else "no"),
             *(count_cell(each[name]) for name in ("moved", "clipped", "most"))))
        for each in values["by_layer"]
    ]  # fmt: skip
    titles = ("Lowest factor", "Highest factor")
    counts = ("Weights moved", "Weights clipped", "Most steps")
    columns = (Column("Layer", numeric=False), *map(Column, titles), Column("Bias", numeric=False),
               *map(Column, counts))  # fmt: skip
    note = "Factors: of the weight scales. Moved: integers of weights that are others now; a step is one integer."
    commands = (Code("Command", str(values["command"])),) if values.get("command") else ()
    sections = (
        Section("layers", "Each layer", (Table("What the update changes", columns, tuple(rows), note),)),
        Section("recipe", "The same again", (*commands, facts("What it is of", {
            "adapter": values["adapter"], "method": values["method"], "quantised file": values["net"],
            "form": values["format"], "SHA-256 of the file": values["base_sha256"],
            "SHA-256 of the new file": values["result_sha256"],
        }),)),
        Section("environment", "Environment", environment(values)),
    )  # fmt: skip
    subtitle = f"{values['method']}, {whole(values['layers'])} layers"
    shown = tuple(each for each in sections if any(getattr(block, "items", True) for block in each.blocks))
    return Page(f"Adapter carried into {net}", subtitle, _decide(values), shown,
                f"lieref {values.get('lieref', '')}".rstrip())  # fmt: skip


def _decide(values: Values) -> Decision:
    moved, weights = values["weights_moved"], values["weights"]
    said = f"The update was computed, and nothing was measured. Of {whole(weights)} integers of weights "
    said += f"{whole(moved)} are others now." if moved else "none is another now."
    figures = (
        Figure("Bytes", whole(values["update_bytes"]), f"numbers alone {whole(values['payload_bytes'])}"),
        Figure("Layers", whole(values["layers"])),
        Figure("Weights moved", whole(moved), f"of {whole(weights)}"),
    )
    advice = "lieref eval NET --adapter UPDATE measures the file with it; lieref merge writes that file."
    return Decision("open", "No decision yet: nothing was tested", (said, advice), figures)
