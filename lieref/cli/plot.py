"""``lieref plot``: curves of training runs from their history files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lieref._atomic import write_file
from lieref.cli.command import Command
from lieref.cli.console import print_facts, print_json, wrote
from lieref.cli.output import reserved_file
from lieref.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lieref.train.history import EpochRecord

HISTORY_NAME = "history.json"
ENDINGS = (".png", ".svg", ".pdf")
WIDTH, HEIGHT, DOTS = 4.8, 3.6, 150
"""Inches of one pair of axes, and dots an inch of a PNG."""


@click.command(
    cls=Command,
    examples=(
        "lieref plot adapted --out run.png",
        "lieref plot liera/history.json lora/history.json --out both.svg",
    ),
)
@click.argument("histories", metavar="HISTORY...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Figure to write: .png, .svg, .pdf.")
@click.option("--metric", help="Beside the loss.  [default: the task's first, such as accuracy]")
@click.option("--force", is_flag=True, help="Replace the figure where it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plot(histories: tuple[Path, ...], out: Path, metric: str | None, force: bool, as_json: bool) -> None:
    """Draw loss and accuracy against the epochs, of one run or of several.

    HISTORY is a file that `lieref finetune --history` wrote (.csv, .json, .jsonl), or the folder of an adapter, in
    which history.json lies. Runs are told apart by colour and mark; what a validation set says is dashed.
    """
    from lieref.train.curves import metric_of
    from lieref.train.history_file import read_epochs

    ending = out.suffix.lower()
    if ending not in ENDINGS:
        raise DomainError(f"plot: `out` must end in {', '.join(ENDINGS)}; got {out}")
    with reserved_file("plot", out, "out"):
        if out.exists() and not force:
            raise click.UsageError(f"{out} exists; add --force to replace it")
        files = [path / HISTORY_NAME if path.is_dir() else path for path in histories]
        runs = {name: read_epochs(path) for name, path in zip(names_of(files), files, strict=True)}
        chosen = metric_of(runs, metric)
        write_file(out, picture(runs, chosen, ending))
    rows = [
        {"run": name, "epochs": len(epochs), "loss": epochs[-1].loss, "validation_loss": epochs[-1].validation_loss,
         "metrics": epochs[-1].metrics, "validation_metrics": epochs[-1].validation_metrics}
        for name, epochs in runs.items()
    ]  # fmt: skip
    if as_json:
        print_json({"out": str(out), "metric": chosen, "runs": rows})
    else:
        print_facts("Drawn", {"figure": str(out), "runs": ", ".join(runs), "beside the loss": chosen or "-"})
        wrote(f"The figure is {out}")


def names_of(files: Sequence[Path]) -> list[str]:
    """Return a name for each file, of as few parts of its path as make all of them different.

    The folder alone where all files have the same name, as those of adapters do.

    Raises
    ------
    DomainError
        If a file stands twice.
    """
    paths = [Path(os.path.abspath(path)) for path in files]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    if twice is not None:
        raise DomainError(f"plot: HISTORY must be different files; got {twice} twice")
    if all(path.name == HISTORY_NAME for path in paths):
        paths = [path.parent for path in paths]
    elif len({path.stem for path in paths}) == len(paths):
        return [path.stem for path in paths]
    for parts in range(1, max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def picture(runs: Mapping[str, Sequence[EpochRecord]], metric: str | None, ending: str) -> bytes:
    """Return the figure as the bytes of a file, the same for the same runs.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    from lieref._check import need
    from lieref.train.curves import draw

    wanted = 1 if metric is None else 2
    need("matplotlib", "app", "lieref plot")
    import matplotlib
    from matplotlib.figure import Figure

    out, metadata = io.BytesIO(), {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[ending]
    with matplotlib.rc_context({"svg.hashsalt": "lieref", "svg.fonttype": "none", "pdf.fonttype": 42}):
        figure = Figure(figsize=(WIDTH * wanted, HEIGHT), layout="constrained")
        draw(runs, figure.subplots(1, wanted), metric)
        figure.savefig(out, format=ending[1:], dpi=DOTS, metadata=metadata)
    return out.getvalue()
