"""The page beside the figures: every claim with the published number and ours, every figure with its numbers."""

from __future__ import annotations

import base64
import csv
from html import escape
from pathlib import Path
from typing import Any

from lieref._atomic import write_file
from paper_figures.drawn import ABSENT, FAILS, HOLDS, OPEN, PARTLY, UNCHECKABLE
from paper_figures.own import MADE_BY
from paper_figures.registry import FIGURES
from paper_figures.written import read_described

NAME = "index.html"
ROWS_SHOWN = 60

_CLASS = {HOLDS: "holds", PARTLY: "partly", FAILS: "fails", OPEN: "open", UNCHECKABLE: "not", ABSENT: "not"}
_SIGN = {HOLDS: "●", PARTLY: "◐", FAILS: "○", OPEN: "?", UNCHECKABLE: "-", ABSENT: "…"}

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #111; --quiet: #444; --rule: #bbb; --head: #f0f0f0;
--holds: #d7ecf9; --fails: #fbe0cf; --partly: #fdf3c8; --open: #eee; --quick: #b34700; --link: #0058a3; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --ink: #e8ebee; --quiet: #b0b8c0; --rule: #4a525a;
--head: #23282d; --holds: #153a52; --fails: #55290f; --partly: #4a3c08; --open: #2c3136; --quick: #ff9d57;
--link: #7cc0f5; } }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem;
color: var(--ink); background: var(--page); overflow-wrap: break-word; } a { color: var(--link); }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-top: 1px solid var(--rule);
padding-top: .8rem; } table { border-collapse: collapse; margin: .6rem 0; } th, td { border: 1px solid var(--rule);
padding: .25rem .5rem; text-align: left; vertical-align: top; } th { background: var(--head); }
img { max-width: 100%; height: auto; background: #fff; } .verdict { white-space: nowrap; font-weight: 600; }
.holds { background: var(--holds); } .fails { background: var(--fails); } .partly { background: var(--partly); }
.open { background: var(--open); } .not { color: var(--quiet); } .quick { color: var(--quick); font-weight: 700; }
.small { font-size: .8rem; color: var(--quiet); } code { font-size: .85em; } .scroll { overflow-x: auto; }
.numbers td, .numbers th { font-size: .75rem; padding: .1rem .35rem; overflow-wrap: normal; }
@media (max-width: 40rem) { #claims, #claims tbody, #claims tr, #claims td { display: block; }
#claims tr:first-child { display: none; } #claims tr { border: 1px solid var(--rule); margin: 0 0 .8rem; }
#claims td { border: 0; padding: .3rem .6rem; } #claims td[data-of]::before { content: attr(data-of) ": ";
color: var(--quiet); font-size: .8rem; } #claims td.nothing { display: none; } }
"""


def write_index(folder: Path) -> None:
    """Write the page of all figures that are in the folder, whichever call drew them.

    Raises
    ------
    FormatError
        If what stands beside a figure is not whole.
    """
    found = {name: one for name in FIGURES if (one := read_described(folder, name)) is not None}
    sections = [_section(folder, name, described) for name, described in found.items()]
    quick = [name for name, described in found.items() if described.get("quick")]
    marked = f'<p class="quick">Drawn with --quick, at smaller sizes: {", ".join(quick)}.</p>' if quick else ""
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Figures and claims</title>'
        f'<meta name="generator" content="{MADE_BY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>\n<h1>Figures and claims</h1>\n<p>What the papers on LieRA and its "
        "relatives say, and what this package finds on a CPU. Each verdict is computed from the numbers beside it. "
        "A verdict speaks of the networks and data named there, not of the models of the "
        f"papers.</p>\n{marked}{_claims(found)}\n{''.join(sections)}</body></html>\n"
    )
    write_file(folder / NAME, page.encode())


def _claims(found: dict[str, dict[str, Any]]) -> str:
    lines = []
    for name, described in found.items():
        for claim in described.get("claims", ()):
            verdict = claim["verdict"]
            lines.append(
                f'<tr><td>{escape(claim["text"])}<div class="small">{escape(claim["source"])}</div></td>'
                f"{_cell('published', claim['published'])}{_cell('here', claim['here'])}"
                f'<td class="verdict {_CLASS[verdict]}">{_SIGN[verdict]} {escape(verdict)}</td>'
                f'<td><a href="#{name}">{escape(name)}</a></td></tr>'
            )
    if not lines:
        return "<p>No figure that was drawn bears on a claim.</p>"
    head = "<tr><th>claim</th><th>published</th><th>here</th><th>verdict</th><th>figure</th></tr>"
    return f'<table id="claims">{head}{"".join(lines)}</table>'


def _cell(of: str, text: str) -> str:
    """Return a cell that says of itself what it is of, for a narrow screen, where it stands in no column."""
    return f'<td data-of="{of}"{" class=nothing" if text in ("", "-") else ""}>{escape(text)}</td>'


def _section(folder: Path, name: str, described: dict[str, Any]) -> str:
    title = f'<h2 id="{name}">{escape(described["title"])} <span class="small">({escape(name)})</span></h2>'
    if described["absent"] is not None:
        return f'{title}<p class="absent">Not drawn: {escape(described["absent"])}</p>\n'
    image = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
    links = " ".join(f'<a href="{name}.{suffix}">{suffix.upper()}</a>' for suffix in ("pdf", "png", "csv", "json"))
    versions = ", ".join(f"{key} {value}" for key, value in described["versions"].items())
    sources = "".join(
        f"<br><code>{escape(file)}</code> SHA-256 <code>{digest}</code>"
        for file, digest in described["sources"].items()
    )
    quick = ' <span class="quick">drawn with --quick</span>' if described["quick"] else ""
    seed = "nothing drawn at random" if described["seed"] is None else f"seed {described['seed']}"
    return (
        f'{title}<img alt="{escape(described["title"])}" src="data:image/png;base64,{image}">'
        f"<p>{escape(described['caption'])}{quick}</p><p>{links}</p>"
        f"<details><summary>numbers</summary>{_numbers(folder / f'{name}.csv')}</details>"
        f'<details><summary>provenance</summary><p class="small">{seed}; commit '
        f"<code>{escape(described['commit'])}</code>; "
        f"{escape(versions)}{sources}</p></details>\n"
    )


def _numbers(path: Path) -> str:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("# ")]
    rows = list(csv.reader(lines))
    cells = "".join(
        "<tr>" + "".join(f"<{tag}>{escape(_short(cell))}</{tag}>" for cell in row) + "</tr>"
        for tag, part in (("th", rows[:1]), ("td", rows[1 : ROWS_SHOWN + 1]))
        for row in part
    )
    more = len(rows) - 1 - ROWS_SHOWN
    rest = f'<p class="small">and {more} more rows in the CSV</p>' if more > 0 else ""
    return f'<div class="scroll"><table class="numbers">{cells}</table></div>{rest}'


def _short(cell: str) -> str:
    """Return a number with five digits."""
    try:
        return cell if cell.lstrip("-").isdigit() else f"{float(cell):.5g}"
    except ValueError:
        return cell
