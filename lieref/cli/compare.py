"""``lieref compare``: several methods on one job, at one budget, with intervals and paired tests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lieref._atomic import write_file
from lieref.cli.command import Choice, Command
from lieref.cli.compare_integer import read_quantised
from lieref.cli.compare_job import METHODS, float_methods, read_problem
from lieref.cli.compare_table import print_comparison
from lieref.cli.completion import METHOD, SEMANTICS_NAME
from lieref.cli.console import print_json, progress_bar, say
from lieref.cli.evidence import command_line
from lieref.cli.live import quiet_option
from lieref.cli.method_options import parse_options
from lieref.cli.page import PAGES, check_pages, pages_of
from lieref.cli.preprocess_option import preprocess_option, recorded_text
from lieref.cli.semantics_option import parse_semantics
from lieref.cli.target_options import target_options
from lieref.cli.task_options import output_option, task_options
from lieref.cli.text_options import text_options
from lieref.errors import LierefWarning
from lieref.model.integer.reader import is_integer_file

if TYPE_CHECKING:
    from lieref.adapter.model import Model
    from lieref.evaluate.compare.budget import Entry
    from lieref.evaluate.problem import Problem

RESULT_NAME, STUDY_NAME = "comparison.json", "study.json"


def parse_numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Return the numbers in ``2,4,8``, None where nothing was given."""
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 10**6 for part in parts):
        raise click.BadParameter(f"{value!r} is no list of ranks such as 2,4,8", ctx, param)
    return tuple(map(int, parts))


@click.command(
    cls=Command,
    examples=(
        "lieref compare base.onnx --train train.npz --test test.npz --out comparison",
        "lieref compare base.onnx --train train.npz --test test.npz --out comparison --methods liera,lora",
        "lieref compare net.tflite --train train.npz --test test.npz --out comparison",
    ),
)
@click.argument("base", type=click.Path(path_type=Path))
@click.option("--train", required=True, type=click.Path(path_type=Path), help="Labelled data, as for finetune.")
@click.option("--test", required=True, type=click.Path(path_type=Path), help="Labelled data that judge at the end.")
@click.option(
    "--forget", type=click.Path(path_type=Path), help="Labelled data of the base's own job: what is lost on them."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for trials, comparison.json and report.html."
)
@click.option(
    "--methods",
    shell_complete=METHOD,
    help=f"Names separated by commas; see: lieref methods.  [default: {','.join(METHODS)}]",
)
@click.option(
    "--ranks",
    callback=parse_numbers,
    metavar="2,4,8",
    help="Without --budget: a budget for each, what the first method with a rank trains at it. With it: the ranks to "
    "choose from.  [default: 1 to 64]",
)
@click.option(
    "--budget",
    metavar="5%|N",
    help="Most numbers a method may train: each takes its largest rank that keeps it.  [default: 5% of the base's]",
)
@click.option(
    "--baseline",
    metavar="METHOD",
    shell_complete=METHOD,
    help="What the others are paired with, or base.  [default: lora]",
)
@click.option("--seeds", default=5, show_default=True, type=click.IntRange(min=1), help="Runs of each method.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**62), help="The first of them.")
@click.option("--epochs", type=click.IntRange(min=1), help="[default: as finetune takes for so many samples]")
@click.option("--batch", default=128, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--lr",
    default="auto",
    show_default=True,
    type=Choice(["auto", "default"]),
    help="auto searches a ladder around each method's default, on held-out training samples.",
)
@click.option("--optimizer", default="adamw", show_default=True, type=Choice(["adamw", "sgd"]))
@click.option("--augment", default="auto", show_default=True, help="As for finetune.")
@click.option("--alpha", type=click.FloatRange(min=0, min_open=True), help="Of the methods that have one.")
@click.option(
    "--option",
    "method_options",
    multiple=True,
    callback=parse_options,
    metavar="NAME=VALUE",
    help="Another option, repeatable, for the methods that have it.",
)
@target_options
@click.option("--head", default="keep", show_default=True, type=Choice(["keep", "new"]), help="As for finetune.")
@click.option("--features", metavar="TENSOR", help="What a new head reads.  [default: what the last layer reads]")
@click.option("--pool", is_flag=True, help="Average features that are images over their positions.")
@click.option(
    "--float",
    "float_base",
    type=click.Path(path_type=Path),
    metavar="BASE.onnx",
    help="Of a quantised BASE: the network that it was made of, whose methods are compared too, and carried over.",
)
@click.option(
    "--semantics",
    shell_complete=SEMANTICS_NAME,
    callback=parse_semantics,
    metavar="PC,DEVICE",
    help="Of a quantised BASE: whose integers judge, and whose are set beside them.  [default: tflite-reference, "
    "onnxruntime]",
)
@output_option
@task_options
@text_options
@preprocess_option
@click.option("--layout", type=Choice(["NCHW", "NHWC"]), help="Of the data, where both would fit.")
@click.option("--classes", help="Names of the outputs in order, as for finetune.")
@click.option("--max-bytes", type=click.IntRange(min=1), help="Memory a data set may take, as for finetune.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Processes on this machine.")
@click.option("--dask", metavar="tcp://HOST:PORT", help="Address of a Dask scheduler whose workers run the trials.")
@click.option("--resume", is_flag=True, help="Go on with the trials in OUT; machines that share OUT may do so at once.")
@click.option("--force", is_flag=True, help="Drop the trials in OUT.")
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(base: Path, out: Path, as_json: bool, **options: Any) -> None:
    """Compare fine-tuning methods for the model BASE on one job.

    Each method gets the same budget of trainable numbers, the same epochs, and its learning rate by the same search on
    held-out training samples. Then it is trained on all of them, once a seed, and judged on the test samples, by which
    nothing is chosen. OUT keeps every trial as a line, so that an interrupted comparison goes on with --resume.

    Of a quantised BASE (.tflite, or ONNX in the QDQ or QOperator form) the methods are those that leave its integers,
    each with finished numbers and with one byte a scale, judged by the integers of --semantics. With --float the
    methods of its float twin stand beside them, and what of those can be carried over; --methods then also takes single
    rows, such as "scale carried".
    """
    if options["head"] == "keep" and (options["features"] is not None or options["pool"]):
        raise click.UsageError("--features and --pool say what a new head reads; add --head new")
    if options["head"] == "new" and (options["task"][0] not in (None, "classes") or options["forget"] is not None):
        raise click.UsageError("--head new is for other classes than the base's; leave out --task and --forget")
    if options["head"] == "new" and len(options["outputs"] or ()) > 1:
        raise click.UsageError("--head new is for one output; name one --output")
    patterns = options.pop("rank_pattern"), options.pop("alpha_pattern")
    if any(patterns):
        raise click.UsageError("--rank-of and --alpha-of are for one method; ranks follow from --budget or --ranks")
    if options["jobs"] > 1 and options["dask"] is not None:
        raise click.UsageError("--jobs is for this machine, --dask for a cluster; give one of them")
    result = run_compare(base, Path(os.path.abspath(out)), **options)
    if as_json:
        print_json(result)
        return
    print_comparison(result)
    click.echo(f"Every number is in {out / RESULT_NAME}, every trial beside it; to read and to send: {out}/report.html")


def run_compare(
    base: Path,
    out: Path,
    *,
    train: Path,
    test: Path,
    forget: Path | None,
    methods: str | None,
    ranks: tuple[int, ...] | None,
    budget: str | None,
    baseline: str | None,
    seeds: int,
    seed: int,
    epochs: int | None,
    batch: int,
    lr: str,
    optimizer: str,
    augment: str,
    alpha: float | None,
    method_options: dict[str, Any],
    targets: tuple[str, ...],
    exclude: tuple[str, ...],
    blocks: tuple[int, ...] | None,
    head: str,
    float_base: Path | None,
    semantics: tuple[str, ...],
    jobs: int,
    dask: str | None,
    resume: bool,
    force: bool,
    **reading: Any,
) -> dict[str, Any]:
    """Compare, write ``comparison.json``, and return what it holds; see `compare` for the arguments."""
    from lieref.cli import job
    from lieref.evaluate.compare.baseline import baseline_of
    from lieref.evaluate.compare.budget import matched, parameters
    from lieref.evaluate.compare.sweep import compare as run
    from lieref.evaluate.compare.tuning import folds_for
    from lieref.evaluate.quantised import is_quantised
    from lieref.train.epochs import default_epochs

    check_pages()
    _check_out(out, resume=resume, force=force)
    where: dict[str, Any] = {"target_modules": list(targets) or None, "exclude_modules": list(exclude) or None}
    where |= {"layers_to_transform": None if blocks is None else list(blocks)}
    sizes: dict[str, Any] = {
        "budget": budget,
        "ranks": ranks,
        "options": {**method_options, **({} if alpha is None else {"lora_alpha": alpha})},
        "where": {name: value for name, value in where.items() if value is not None},
    }
    job_of: dict[str, Any] = {"train": train, "test": test, "forget": forget, "head": head, **reading}
    twin: Problem | None = None
    model: Model
    real: Model | None
    with progress_bar("compare"):
        if is_integer_file(base):
            given = {"--budget": budget, "--ranks": ranks, "--alpha": alpha, "--option": method_options,
                     "--target": targets, "--exclude": exclude, "--blocks": blocks}  # fmt: skip
            model, problem, real, twin, entries = read_quantised(
                base,
                float_base=float_base,
                semantics=semantics,
                methods=methods,
                float_only=sizes,
                given=given,
                **job_of,
            )
        else:
            for name, value in (("--float", float_base), ("--semantics", semantics)):
                if value:
                    raise click.UsageError(f"{name} is for a quantised BASE; {base} is none")
            model, problem = read_problem(base, **job_of)
            real = model
            entries = matched(model, float_methods(model, methods), head=problem.head, **sizes)
        baseline_of(entries, baseline, has_base=problem.head is None, has_twin=twin is not None)
    plan = {"epochs": epochs or default_epochs(len(problem.x), batch), "batch_size": batch, "optimizer": optimizer}
    with _ledger(out, problem, twin, force=force, resume=resume) as ledger, progress_bar("compare") as progress:
        _say_plan(entries, None if real is None else parameters(real), seeds)
        _say_trainings(entries, seeds, folds_for(len(problem.x)) if lr == "auto" else 0)
        found = run(
            problem,
            entries,
            twin=twin,
            baseline=baseline,
            seeds=range(seed, seed + seeds),
            tuned=lr == "auto",
            ledger=ledger,
            jobs=jobs,
            dask=dask,
            told=lambda doing, done, total: progress(done, total, doing),
            augment=job.parse_augment(augment),
            **plan,
        )
        result = {
            **found,
            "base_sha256": model.base_sha256,
            **({} if not is_quantised(model) else {"file_format": model.integer.format}),
            "parameters": parameters(model),
            "preprocessing": recorded_text(model),
            "command": command_line(),
        }
        write_file(out / RESULT_NAME, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
        for name, page in pages_of(result).items():
            write_file(out / name, page)
    _say_rows(result["rows"])
    return result


def _say_rows(rows: list[dict[str, Any]]) -> None:
    """Say once what runs warned of, with the methods, and which failed."""
    warned: dict[str, list[str]] = {}
    for row in rows:
        for text in row["warnings"]:
            warned.setdefault(text, []).append(row["label"])
    for text, labels in warned.items():
        warnings.warn(f"{text} ({', '.join(labels)})", LierefWarning, stacklevel=2)
    missing: dict[str, list[str]] = {}
    for row in rows:
        for text in row["failed"]:
            say(f"failed: {row['label']}, {text}")
        if row["bundle_missing"] is not None:
            missing.setdefault(row["bundle_missing"], []).append(row["label"])
    for text, labels in missing.items():
        say(f"no signed bundle of {', '.join(labels)}: {text}")


def _say_plan(entries: list[Entry], whole: int | None, seeds: int) -> None:
    """Say what is trained: of a network in real numbers, which has so many, by budget; of a quantised file at once."""

    def listed(mine: list[Entry]) -> str:
        return ", ".join(f"{entry.label} ({entry.trainable:,})" for entry in mine)

    own = [entry for entry in entries if entry.on_file]
    if own:
        say(f"trained on the quantised file: {listed(own)}")
    for budget in sorted({entry.budget for entry in entries if not entry.on_file}):
        mine = [entry for entry in entries if entry.budget == budget and not entry.on_file]
        say(f"budget {budget:,} trainables of the base's {whole:,} numbers: {listed(mine)}")
    over = [entry.label for entry in entries if not entry.within]
    if over:
        say(f"over the budget, for they have no rank to choose: {', '.join(over)}")
    if seeds == 1:
        say("one seed: no intervals over seeds, and no test of methods; --seeds 5 gives them")


def _say_trainings(entries: list[Entry], seeds: int, folds: int) -> None:
    """Say how many trainings there are at least: three rates on each fold, more where the best is at an end."""
    searched = 3 * folds * sum(entry.trainable > 0 for entry in entries)
    tested = seeds * len(entries)
    rates = f"some {searched} for learning rates, which --lr default leaves out, then " if searched else ""
    say(f"trainings: {rates}{tested} for the test; --jobs N runs N at once")


def _check_out(out: Path, *, resume: bool, force: bool) -> None:
    """Raise `UsageError` unless the options say what becomes of what is in `out`."""
    from lieref._atomic import check_new_folder

    if resume and force:
        raise click.UsageError("--resume goes on with the trials in OUT, --force drops them; give one of them")
    holds = (out / STUDY_NAME).exists()
    if resume and not holds:
        raise click.UsageError(f"there is no comparison in {out}; leave out --resume")
    if holds and not (resume or force):
        raise click.UsageError(f"{out} holds a comparison; add --resume to go on with it, or --force to begin anew")
    if not holds:
        check_new_folder(out)


@contextmanager
def _ledger(out: Path, problem: Problem, twin: Problem | None, *, force: bool, resume: bool) -> Iterator[Any]:
    """Open the ledger in `out`; what has no trial goes away again, else it is said how to go on."""
    from lieref.evaluate.ledger import Ledger
    from lieref.model.engine.version import PROGRAM_VERSION

    identity = {
        "what": "comparison",
        "base_sha256": hashlib.sha256(problem.base).hexdigest(),
        "problem": problem.digest,
        "program": PROGRAM_VERSION,
        **({} if twin is None else {"twin": twin.digest}),
    }
    existed, aside = out.exists(), out.with_name(f".{out.name}.earlier")
    if force:
        _move(out, aside)
    ledger = None
    try:
        ledger = Ledger(out, identity)
        if resume:
            say(f"{len(ledger):,} trials are there already")
        yield ledger
    except BaseException:
        if ledger is not None and len(ledger):
            again = "the same command with --resume" + (" in place of --force" if force else "")
            say(f"{len(ledger):,} finished trials are kept in {out}: {again} goes on")
        else:
            if ledger is not None and not resume:
                (out / STUDY_NAME).unlink(missing_ok=True)
            if aside.exists():
                _move(aside, out)
            elif ledger is not None and not existed:
                out.rmdir()
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    """Move the files of a comparison to another folder."""
    paths = [
        path
        for path in (*source.glob("trials-*.jsonl"), *(source / name for name in (RESULT_NAME, STUDY_NAME, *PAGES)))
        if path.exists()
    ]
    if paths:
        target.mkdir(exist_ok=True)
    for path in paths:
        path.replace(target / path.name)
