"""``lieref predict``: what a model says of images, vectors and arrays, as a table or as JSON."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from lieref._atomic import write_file
from lieref.adapter.strict_json import path_text
from lieref.cli.command import Choice, Command
from lieref.cli.console import print_json, progress_bar, say
from lieref.cli.live import quiet_option
from lieref.cli.output import reserved_result
from lieref.cli.preprocess_option import preprocess_option
from lieref.cli.task_options import output_option


@click.command(
    cls=Command,
    examples=(
        "lieref predict net.onnx photo.jpg  # a line of CSV",
        "lieref predict net.onnx photos --adapter adapted --top 3 --out classes.csv",
        "lieref predict net.onnx photos --preprocess imagenet --json",
    ),
)
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--adapter",
    type=click.Path(path_type=Path),
    help="Adapter folder made for MODEL; of a quantised file an update, by its folder or a file in it.",
)
@click.option("--top", default=1, show_default=True, type=click.IntRange(min=1), help="Classes that are listed.")
@output_option
@preprocess_option
@click.option("--layout", type=Choice(["NCHW", "NHWC"]), help="Of the arrays, where both would fit.")
@click.option("--classes", help="Names of the model's outputs in order: a,b,c or @FILE.  [default: the adapter's]")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="F.csv|F.json", help="File for it.  [default: CSV on stdout]"
)
@click.option("--force", is_flag=True, help="Replace the file where it exists.")
@click.option(
    "--max-bytes", type=click.IntRange(min=1), help="Memory a source may take.  [default: 100 times its file]"
)
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def predict(
    model_path: Path,
    files: tuple[Path, ...],
    adapter: Path | None,
    top: int,
    outputs: dict[str, float] | None,
    preprocess: str | None,
    layout: str | None,
    classes: str | None,
    out: Path | None,
    force: bool,
    max_bytes: int | None,
    as_json: bool,
) -> None:
    """Print what MODEL says of FILES: images, folders of them, an .npz with x, or a .csv of vectors.

    A line for each of the --top classes: file, number of the sample in it, rank, class, and the number that the network
    gives for it, a probability where it ends in Softmax. Of a task without classes every output is listed, in order.
    Labels that happen to be there, folders of classes or a column, are not read.
    """
    from lieref.cli.job import parse_classes
    from lieref.cli.predictions import format_json_file, format_table, predictions, table
    from lieref.cli.predictors import predictor

    if out is not None and out.suffix.lower() not in (".csv", ".json"):
        raise click.UsageError(f"--out must end in .csv or .json; got {out}")
    held = nullcontext() if out is None else reserved_result("predict", out, "out", force=force)
    with held:
        with progress_bar("predict") as progress:
            asked = predictor(model_path, files, adapter, outputs, preprocess, layout, max_bytes)
            found = predictions(asked, parse_classes(classes), top, progress)
        report: dict[str, Any] = {
            "model": path_text(model_path),
            "adapter": None if adapter is None else path_text(adapter),
            "method": asked.method,
            "task": asked.task,
            "preprocessing": asked.preprocessing,
            "semantics": asked.semantics,
            "predictions": found,
        }
        if out is not None:
            write_file(out, format_json_file(report) if out.suffix.lower() == ".json" else format_table(found))
            say(f"{len(found)} samples: {out}")
    if as_json:
        print_json(report)
    elif out is None:
        click.echo(table(found), nl=False)
