"""``lieref eval``: accuracy and loss of a model, with or without an adapter."""

from __future__ import annotations

from pathlib import Path

import click

from lieref.cli.console import number, percent, print_facts, print_json, progress_bar


@click.command("eval", short_help="Measure a model on labelled data.")
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--adapter", type=click.Path(path_type=Path), help="Adapter folder made for MODEL.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Labelled data: .npz, .csv or folder.")
@click.option(
    "--loss",
    default="cross_entropy",
    show_default=True,
    type=click.Choice(["cross_entropy", "mean_squared_error"]),
    help="For classes, or for numbers.",
)
@click.option("--layout", type=click.Choice(["NCHW", "NHWC"]), help="Of the data, where both would fit.")
@click.option("--classes", help="Names of the model's outputs in order: a,b,c or @FILE.  [default: the adapter's]")
@click.option(
    "--max-bytes", type=click.IntRange(min=1), help="Memory the data may take.  [default: 100 times the file]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(
    model_path: Path,
    adapter: Path | None,
    data: Path,
    loss: str,
    layout: str | None,
    classes: str | None,
    max_bytes: int | None,
    as_json: bool,
) -> None:
    """Print accuracy and mean loss of MODEL on labelled data."""
    from lieref.adapter.model import load
    from lieref.cli.job import load_samples, parse_classes, score

    model = load(model_path)
    if adapter is not None:
        model.load_adapter(adapter)
    names = parse_classes(classes)
    with progress_bar("eval"):
        samples = load_samples(data, model, layout, loss=loss, classes=names, max_bytes=max_bytes)
        measured = score(model, samples, loss)
    report = {
        "model": str(model_path),
        "adapter": None if adapter is None else str(adapter),
        "method": model.method_name,
        "samples": len(samples.x),
        "classes": None if samples.classes is None else list(samples.classes),
        "missing_classes": list(samples.missing),
        "accuracy": measured.accuracy,
        "loss": measured.loss,
    }
    if as_json:
        print_json(report)
    else:
        texts = {
            "classes": ", ".join(samples.classes or ()) or "-",
            "missing_classes": ", ".join(samples.missing) or "-",
        }
        numbers = {"accuracy": percent(measured.accuracy), "loss": number(measured.loss)}
        print_facts(str(data), {**report, **texts, **numbers})
