"""``lieref eval``: accuracy and loss of a model, with or without an adapter."""

from __future__ import annotations

from pathlib import Path

import click

from lieref.cli.console import number, percent, print_facts, print_json


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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(model_path: Path, adapter: Path | None, data: Path, loss: str, layout: str | None, as_json: bool) -> None:
    """Print accuracy and mean loss of MODEL on labelled data."""
    from lieref.adapter.model import load
    from lieref.cli.job import load_samples, score

    model = load(model_path)
    if adapter is not None:
        model.load_adapter(adapter)
    samples = load_samples(data, model, layout)
    measured = score(model, samples, loss)
    report = {
        "model": str(model_path),
        "adapter": None if adapter is None else str(adapter),
        "method": model.method_name,
        "samples": len(samples.x),
        "accuracy": measured.accuracy,
        "loss": measured.loss,
    }
    if as_json:
        print_json(report)
    else:
        print_facts(str(data), {**report, "accuracy": percent(measured.accuracy), "loss": number(measured.loss)})
