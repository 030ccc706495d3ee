"""``lieref finetune``: train an adapter for a model, measure it, and write both together."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lieref.cli.choosing import check_choosing
from lieref.cli.command import Choice, Command
from lieref.cli.completion import METHOD, SEMANTICS_NAME
from lieref.cli.console import print_json, print_reports
from lieref.cli.finetune_float import run_float
from lieref.cli.finetune_integer import run_integer
from lieref.cli.finetune_options import Given
from lieref.cli.kept import check_original
from lieref.cli.label_free_options import label_free_options
from lieref.cli.live import quiet_option
from lieref.cli.method_options import method_settings, parse_rate
from lieref.cli.near_base_options import check_near_base, near_base_options
from lieref.cli.preprocess_option import preprocess_option
from lieref.cli.target_options import target_options
from lieref.cli.task_options import output_option, task_options
from lieref.cli.text_options import text_options
from lieref.cli.unlabelled import unlabelled_option
from lieref.model.integer.reader import is_integer_file

if TYPE_CHECKING:
    from lieref.evaluate.report import Report


@click.command(
    cls=Command,
    examples=(
        "lieref finetune base.onnx --train train.npz --out adapted",
        "lieref finetune base.onnx --train images --test unseen --head new --out adapted",
        "lieref finetune net.tflite --train train.npz --test test.npz --out update",
    ),
)
@click.argument("base", type=click.Path(path_type=Path))
@click.option(
    "--train",
    type=click.Path(path_type=Path),
    help="Labelled data: .npz (an array for each input), .csv, folder or texts.  [required, but for a quantised file "
    "with --unlabelled]",
)
@unlabelled_option
@label_free_options
@click.option("--test", type=click.Path(path_type=Path), help="Labelled data for the report only.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New or empty folder for the adapter.")
@click.option(
    "--from",
    "start",
    type=click.Path(path_type=Path),
    metavar="ADAPTER",
    help="Go on training this adapter, which says method, rank, layers and head; the optimiser begins anew.",
)
@click.option(
    "--method",
    default="liera",
    show_default=True,
    shell_complete=METHOD,
    help="See: lieref methods. auto: chosen on training data that are held out, with rank, rate and epochs.",
)
@click.option(
    "--budget-bytes",
    type=click.IntRange(min=1),
    metavar="B",
    help="With --method auto: most bytes of the adapter; with liera-int8: of the update's payload.",
)
@click.option(
    "--budget-seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="With --method auto: most seconds for choosing and training, by the clock.",
)
@method_settings("init_lora_weights=pissa, lora_dropout=0.1, use_rslora=true")
@target_options
@click.option(
    "--head",
    default="keep",
    show_default=True,
    type=Choice(["keep", "new"]),
    help="new: a last layer for other classes, trained along with the adapter; alone with --method head.",
)
@click.option("--features", metavar="TENSOR", help="What a new head reads.  [default: what the last layer reads]")
@click.option("--pool", is_flag=True, help="Average features that are images over their positions.")
@click.option("--epochs", type=click.IntRange(min=1), help="[default: as many as the number of samples wants]")
@click.option("--batch", default=128, show_default=True, type=click.IntRange(min=1))
@click.option("--lr", callback=parse_rate, metavar="auto|X", help="auto searches a ladder.  [default: the method's]")
@click.option("--optimizer", default="adamw", show_default=True, type=Choice(["adamw", "sgd", "adalora"]))
@click.option(
    "--average", is_flag=True, help="End with a moving average of the factors over the last fifth of the run."
)
@click.option(
    "--mixup",
    default=0.0,
    type=click.FloatRange(min=0),
    metavar="ALPHA",
    help="Train on mixtures of two samples each, with shares from Beta(ALPHA, ALPHA).",
)
@near_base_options
@click.option(
    "--patience",
    type=click.IntRange(min=1),
    metavar="K",
    help="Stop after K epochs that did no better on the validation set; needs --validation.",
)
@output_option
@task_options
@text_options
@click.option(
    "--validation",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Fraction of the training data held out to choose the best epoch.  [default: none]",
)
@click.option(
    "--augment",
    default="auto",
    show_default=True,
    help="auto (flip where the base knows images mirrored), none, or of flip and shift(2), separated by commas.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1))
@click.option("--threads", type=click.IntRange(min=1), help="Changes the speed, never the result.  [default: all]")
@click.option("--memory-limit", metavar="64MB", help="Memory that training may take beside the data.")
@preprocess_option
@click.option("--layout", type=Choice(["NCHW", "NHWC"]), help="Of the data, where both would fit.")
@click.option(
    "--classes",
    help="Names of the outputs in order: a,b,c or @FILE; of a new head also their number.  "
    "[default: the model's; of a new head the data's]",
)
@click.option(
    "--max-bytes", type=click.IntRange(min=1), help="Memory a data set may take.  [default: 100 times its file]"
)
@click.option(
    "--history",
    "history_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Record of the run, written after every epoch: .csv, .json or .jsonl; see: lieref plot.",
)
@click.option(
    "--report",
    "page_path",
    type=click.Path(path_type=Path),
    metavar="R.html",
    help="Write the report as a page for people too: .html, .md or .json.",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run with the same options.")
@click.option("--force", is_flag=True, help="Replace the adapter in OUT; without --resume drop an unfinished run too.")
@click.option("--codes", is_flag=True, help="Of a quantised file: one byte for each scale, not four.")
@click.option(
    "--rounding",
    type=Choice(["clamp", "straight-through"]),
    help="Of a quantised file: training sees the ranges of its integers, or their grid.  [default: clamp]",
)
@click.option(
    "--semantics",
    metavar="NAME",
    shell_complete=SEMANTICS_NAME,
    help="Of a quantised file: whose integers the test is judged by.  [default: tflite-reference, onnxruntime]",
)
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def finetune(out: Path, as_json: bool, **options: Any) -> None:
    """Train an adapter for the model BASE.

    OUT holds adapter_model.safetensors, adapter_config.json, report.json and history.json, and appears when everything
    is done; lieref report OUT shows it as a page later, too. While it runs, the state is kept in a hidden folder beside
    OUT; --resume continues from there.

    A quantised BASE (.tflite, or ONNX in the QDQ or QOperator form) keeps its integers: --method is tied-scale (the
    default there), scale or bias, and OUT holds the update of its scales and biases for lieref merge; or liera-int8,
    which moves those integers that pay. It also learns without --train, from --unlabelled alone: with --float or
    --original its channels are first brought back to what they were made for, then what it is sure of is learnt.
    """
    from lieref.adapter.integer.methods import DEFAULT_METHOD

    given = Given(out=Path(os.path.abspath(out)), **options)
    quantised = is_integer_file(given.base)
    if quantised:
        source = click.get_current_context().get_parameter_source("method")
        given = replace(given, method=DEFAULT_METHOD) if source is click.core.ParameterSource.DEFAULT else given
        report = run_integer(given)
    else:
        _check_float(given)
        report = run_float(given)
    _print(report, given.base, out, "Update" if quantised else "Adapter", as_json, given.page_path)


def _check_float(given: Given) -> None:
    """Raise `click.UsageError` unless these options go with a network of real numbers and with each other."""
    from lieref.adapter.integer.methods import INTEGER_METHODS
    from lieref.cli.job import parse_augment
    from lieref.param.registry import METHODS

    base, method = given.base, given.method
    if given.codes or given.semantics is not None or given.rounding is not None:
        raise click.UsageError(f"--codes, --semantics and --rounding are for quantised files; {base} is none")
    if given.trained_with is not None or given.float_base is not None:
        raise click.UsageError(f"--float and --trained-with are for quantised files; {base} is none")
    if method in INTEGER_METHODS.keys() - METHODS.keys():
        raise click.UsageError(f"--method {method} is for quantised files; {base} is none")
    if given.train is None:
        raise click.UsageError("Missing option '--train'.")
    if given.head == "keep" and (given.features is not None or given.pool):
        raise click.UsageError("--features and --pool say what a new head reads; add --head new")
    if given.patience is not None and given.validation is None:
        raise click.UsageError("--patience judges by a validation set; add --validation 0.2")
    parse_augment(given.augment)  # what it says wrong is said before anything is read
    check_choosing(method, given.budget_bytes, given.budget_seconds)
    check_near_base(method, algebra_decay=given.algebra_decay, trust_region=given.trust_region)
    check_original(base, given.original, method, given.method_options)
    if given.head == "new" and given.task[0] not in (None, "classes"):
        raise click.UsageError("--head new is for classes; leave out --task")
    if given.head == "new" and len(given.outputs or ()) > 1:
        raise click.UsageError("--head new is for one output; name one --output")


def _print(report: Report, base: Path, out: Path, what: str, as_json: bool, page: Path | None = None) -> None:
    """Print a report, where its page is, and what to do next."""
    from lieref.evaluate.report.summary import DEVICE_LATENCY

    if as_json:
        print_json(report.to_dict())
        return
    if page is not None:
        click.echo(f"The page is {page}.")
    if not report.details.get("ships", True):
        click.echo(f"No adapter did better than the base on samples held out; the report is in {out}.")
        return
    print_reports([report])
    if report.latency_us_merged is None:
        click.echo(f"-: {DEVICE_LATENCY}; of the rest the base or the method has none.")
    if "payload_bytes" in report.details:
        numbers = report.details["payload_bytes"]
        click.echo(f"Of the update's bytes {numbers:,} are its numbers; the rest names the file, layers and digests.")
    how = report.details.get("semantics")
    task = (report.details.get("task") or {}).get("name", "classes")
    if how is not None and task != "classes":
        click.echo(
            f"The metrics are those of integers as {how} rounds; other kernels give others: lieref eval {base} "
            f"--adapter {out} --data TEST --task {task} --semantics {how},OTHER."
        )
    elif how is not None:
        click.echo(
            f"Accuracy is that of integers as {how} rounds; other kernels give others: lieref eval {base} --adapter "
            f"{out} --data TEST --semantics {how},OTHER says how many samples change their class."
        )
    click.echo(f"{what} and report are in {out}. {advice(report.to_dict(), base, out)}")


def advice(values: dict[str, Any], base: Path, out: Path) -> str:
    """Return what the report decides, and what to do next."""
    from lieref.evaluate.report.finetune_decision import decide, doubt

    merge = f"lieref merge {base} {out} -o merged{base.suffix or '.onnx'}"
    decision = decide(values)
    reason = decision.reasons[-1 if decision.verdict == "open" else 1]
    if decision.verdict == "keep":
        return f"{decision.headline}. {reason} Next: lieref report {out}, or lieref compare for other methods."
    return f"{decision.headline}. {reason}" + ("" if doubt(values) else f" Next: {merge}")
