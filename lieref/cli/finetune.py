"""``lieref finetune``: train an adapter for a model, measure it, and write both together."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lieref._atomic import remove_folder, write_folder
from lieref.adapter.strict_json import format_json, path_text
from lieref.cli import finetune_integer
from lieref.cli.choosing import AUTO, Chooser, check_choosing, flattery, report_of_nothing, run_settings
from lieref.cli.command import Choice, Command
from lieref.cli.completion import METHOD, SEMANTICS_NAME
from lieref.cli.console import print_json, print_reports, progress_bar, say
from lieref.cli.doubts import look_at_base, tell_same, tell_unlike, without_doubts
from lieref.cli.evidence import Outcomes, command_line, digests, heard, measured
from lieref.cli.kept import check_original, start_from_original
from lieref.cli.label_free_options import label_free_options
from lieref.cli.live import quiet_option
from lieref.cli.method_options import method_settings, parse_rate
from lieref.cli.near_base_options import check_near_base, near_base_options
from lieref.cli.output import ADAPTER_NAMES, reserved_folder, reserved_history
from lieref.cli.page import PAGES, run_page
from lieref.cli.preprocess_option import preprocess_option, recorded_text
from lieref.cli.start_from import check_options, recorded, started
from lieref.cli.target_options import target_options
from lieref.cli.task_options import chosen_task, output_option, task_options
from lieref.cli.text_options import TextOptions, text_options, with_padding_of, without_padding
from lieref.cli.unfinished import Unfinished
from lieref.cli.unlabelled import load_others, method_for, train_with, unlabelled_option
from lieref.model.integer.reader import is_integer_file

if TYPE_CHECKING:
    from lieref.evaluate.report import Report
    from lieref.model.head import NewHead
    from lieref.train.data import Dataset
    from lieref.train.epoch import Score

REPORT_NAME, HISTORY_NAME = "report.json", "history.json"


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
def finetune(
    base: Path, out: Path, as_json: bool, codes: bool, semantics: str | None, rounding: str | None, **options: Any
) -> None:
    """Train an adapter for the model BASE.

    OUT holds adapter_model.safetensors, adapter_config.json, report.json and history.json, and appears when everything
    is done; lieref report OUT shows it as a page later, too. While it runs, the state is kept in a hidden folder beside
    OUT; --resume continues from there.

    A quantised BASE (.tflite, or ONNX in the QDQ or QOperator form) keeps its integers: --method is tied-scale (the
    default there), scale or bias, and OUT holds the update of its scales and biases for lieref merge; or liera-int8,
    which moves those integers that pay. It also learns without --train, from --unlabelled alone: with --float or
    --original its channels are first brought back to what they were made for, then what it is sure of is learnt.
    """
    from lieref.adapter.integer.methods import DEFAULT_METHOD, INTEGER_METHODS
    from lieref.cli.job import parse_augment
    from lieref.param.registry import METHODS

    if is_integer_file(base):
        source = click.get_current_context().get_parameter_source("method")
        if source is click.core.ParameterSource.DEFAULT:
            options["method"] = DEFAULT_METHOD
        report = finetune_integer.run_integer(
            base, Path(os.path.abspath(out)), codes=codes, semantics=semantics, rounding=rounding, **options
        )
        _print(report, base, out, "Update", as_json)
        return
    if codes or semantics is not None or rounding is not None:
        raise click.UsageError(f"--codes, --semantics and --rounding are for quantised files; {base} is none")
    if any([options.pop(name) is not None for name in ("trained_with", "float_base")]):
        raise click.UsageError(f"--float and --trained-with are for quantised files; {base} is none")
    if options["method"] in INTEGER_METHODS.keys() - METHODS.keys():
        raise click.UsageError(f"--method {options['method']} is for quantised files; {base} is none")
    if options["train"] is None:
        raise click.UsageError("Missing option '--train'.")
    if options["head"] == "keep" and (options["features"] is not None or options["pool"]):
        raise click.UsageError("--features and --pool say what a new head reads; add --head new")
    if options["patience"] is not None and options["validation"] is None:
        raise click.UsageError("--patience judges by a validation set; add --validation 0.2")
    parse_augment(options["augment"])  # what it says wrong is said before anything is read
    check_choosing(options["method"], options["budget_bytes"], options["budget_seconds"])
    check_near_base(options["method"], algebra_decay=options["algebra_decay"], trust_region=options["trust_region"])
    check_original(base, options["original"], options["method"], options["method_options"])
    if options["head"] == "new" and options["task"][0] not in (None, "classes"):
        raise click.UsageError("--head new is for classes; leave out --task")
    if options["head"] == "new" and len(options["outputs"] or ()) > 1:
        raise click.UsageError("--head new is for one output; name one --output")
    report = run_finetune(base, Path(os.path.abspath(out)), **options)
    _print(report, base, out, "Adapter", as_json, options["page_path"])


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


def run_finetune(
    base: Path,
    out: Path,
    *,
    train: Path,
    unlabelled: Path | None = None,
    original: Path | None = None,
    test: Path | None,
    start: Path | None = None,
    method: str,
    budget_bytes: int | None = None,
    budget_seconds: float | None = None,
    rank: int | None,
    alpha: float | None,
    targets: tuple[str, ...],
    exclude: tuple[str, ...],
    blocks: tuple[int, ...] | None,
    rank_pattern: dict[str, int],
    alpha_pattern: dict[str, float],
    method_options: dict[str, Any],
    head: str,
    features: str | None,
    pool: bool,
    epochs: int | None,
    batch: int,
    lr: float | str | None,
    optimizer: str,
    average: bool,
    mixup: float,
    algebra_decay: float | None = None,
    trust_region: float | None = None,
    patience: int | None,
    task: tuple[str | None, dict[str, Any]],
    text: TextOptions,
    outputs: dict[str, float] | None,
    validation: float | None,
    augment: str,
    seed: int,
    threads: int | None,
    memory_limit: str | None,
    preprocess: str | None = None,
    layout: str | None,
    classes: str | None,
    max_bytes: int | None,
    page_path: Path | None = None,
    resume: bool,
    force: bool,
    history_file: Path | None = None,
) -> Report:
    """Train, measure, write the folder `out`, and return the report; see `finetune` for the arguments."""
    from lieref.cli import job
    from lieref.cli.loading import load_for
    from lieref.cli.watch import watching
    from lieref.evaluate.unlabelled.self_training import check_alike
    from lieref.model.mask_inputs import describe

    outcomes = Outcomes()
    names = {*ADAPTER_NAMES, REPORT_NAME, HISTORY_NAME, *PAGES}
    with (
        heard() as said,
        reserved_folder("finetune", out, names, force=force) as replaces,
        reserved_history(history_file, out, replaces=force or resume),
        run_page(page_path, out, force=force) as page,
    ):
        unfinished = Unfinished(out)
        unfinished.check(resume, force)
        known = recorded(start)
        text = with_padding_of(text, known)
        model = load_for(base, train, text, outputs or known.get("output"), known)
        if start is not None:
            model.load_adapter(start)
            asked = {"method": method, "rank": rank, "task": task, "outputs": outputs, "classes": classes}
            check_options(start, model, known, asked)
            classes = None if model.head is not None else classes
        model.threads = threads or model.threads
        chosen = chosen_task(model, task)
        where: dict[str, Any] = {"targets": targets, "exclude": exclude, "blocks": blocks}
        where |= {"rank_pattern": rank_pattern, "alpha_pattern": alpha_pattern, "method_options": method_options}
        # Labels are matched with a new head before anything is chosen.
        first = "head" if method == AUTO else method_for(method, unlabelled, model)
        attach = partial(job.attach_method, model, first, rank=rank, alpha=alpha, seed=seed, **where)
        new = head == "new"
        heads: list[NewHead] = []

        def give_head(data: Dataset) -> None:
            heads.append(job.new_head(data, train, classes=classes, features=features, pool=pool))
            attach(head=heads[0])

        with progress_bar("finetune"):
            training, testing = job.load_sets(
                model,
                train,
                test,
                layout,
                task=chosen,
                classes=classes,
                max_bytes=max_bytes,
                give_head=give_head if new else None,
                text=text,
                preprocess=preprocess,
                at_once=method == AUTO or unlabelled is not None,
            )
            others = None
            if unlabelled is not None:
                others = load_others(unlabelled, model, layout, max_bytes, chosen, preprocess)
                check_alike(training.x, others)
            if model.derived_inputs:
                say(describe(model.derived_inputs, model.padding_id))
            for samples in (training, testing):
                if samples is not None and samples.described:
                    say(samples.described)
            chosen = without_padding(chosen, (training.text or {}).get("padding"))
            # Before what takes its time; a training without it looks by itself, and statistics may cure a base.
            slow = testing is not None or training.preprocessed or method == AUTO
            looks = slow and start is None and not resume and "norm-stats" not in first
            look = look_at_base(model, training, chosen, augment, seed) if looks else None
            sets = digests(train=training, test=testing)  # reads every image: a damaged one is named before the run
            tell_same(sets)
            # The base has no answers to the questions of a new head.
            before = None
            if testing is not None and model.head is None:
                with model.disable_adapter():
                    before = outcomes.judge("base", model, testing, chosen)
            if look is not None:
                tell_unlike(look, before)
            begun = None if testing is None or start is None else job.score(model, testing, chosen)
        settings: dict[str, Any] = {"epochs": epochs, "learning_rate": lr, "average": average, "mixup": mixup}
        settings["task"] = chosen
        evidence: dict[str, Any] = {}
        if method == AUTO:
            given = {"batch_size": batch, "optimizer": optimizer, "augment": job.parse_augment(augment)}
            chooser = Chooser(base, unfinished.folder, budget_bytes, budget_seconds, given, seed, resume)
            choice = chooser.choose(model, training, chosen, heads[0] if heads else None)
            say(choice.table())
            known_by_base = flattery(lambda samples: job.score(model, samples, chosen), training, testing, before)
            evidence = {"choice": {**choice.evidence, "base_knew": known_by_base}}
            if not choice.ships:
                shared = {"task": chosen.to_dict(), "train_samples": len(training.x), "base": path_text(base)}
                shared |= {"base_sha256": model.base_sha256, "out": path_text(out), "warnings": said}
                shared |= {**evidence, **job.versions()}
                report = report_of_nothing(before, seed, shared)
                files = {REPORT_NAME: format_json(report.to_dict()), **page.make(report)}
                write_folder(out, files, replaces=replaces)
                page.write()
                remove_folder(unfinished.folder)
                return report
            plan = choice.plan
            model.unload()
            job.attach_method(
                model, plan.method, rank=plan.options.get("r"), alpha=None, seed=seed, head=heads[0] if heads else None,
                **where,
            )  # fmt: skip
            settings = run_settings(plan, model, len(training.x), chosen)
            if others is not None:
                settings["epochs"] = None  # they were chosen for the labelled samples; others make more of them
        elif start is not None:
            say(started(start, model))
        elif model.head is None:
            attach()
        else:
            say(f"new head: {model.head.describe()}")
        if original is not None:
            start_from_original(model, original, layout, max_bytes, preprocess)
        with unfinished.kept(resume):
            with watching(model, model.method_name) as watch, ExitStack() as silence:
                settings |= {
                    "batch_size": batch,
                    "optimizer": optimizer,
                    "algebra_decay": algebra_decay,
                    "trust_region": trust_region,
                    "patience": patience,
                    "validation": validation,
                    "augment": job.parse_augment(augment),
                    "seed": seed,
                    "memory_limit": memory_limit,
                    "checkpoint": unfinished.folder,
                    "resume": resume,
                }
                labels, estimates = None, model.wants_statistics
                if look is not None and look.is_at_chance:
                    silence.enter_context(without_doubts())
                if others is None:
                    history = job.train(model, training, watch, history_file, **settings)
                else:
                    history, labels = train_with(model, training, others, watch, history_file, **settings)
                unfinished.trained = True
                if history.ranks:
                    left = ", ".join(f"{tensor} {rank}" for tensor, rank in history.ranks.items())
                    say(f"ranks that are left, and stored: {left}")
                if history.held:
                    say(history.held_text())
                after = None if testing is None else outcomes.judge("adapted", model, testing, chosen)
            evidence |= {"command": command_line(), "test_outcomes": outcomes.to_dict()}
            evidence |= {"samples_sha256": sets}
            evidence |= measured(model, training, None if others is not None else history, estimates)
            report, _, files = job.finish(
                model,
                history,
                training,
                task=chosen,
                before=before,
                after=after,
                seed=seed,
                epochs=len(history.epochs) or history.recipe["epochs"],
                batch=batch,
                optimizer=optimizer,
                threads=model.threads,
                engine=model.engine,
                slow=list(model.slow_reasons),
                warnings=said,  # and what `finish` is still to say
                train_samples=len(training.x),
                test_samples=None if testing is None else len(testing.x),
                classes=None if model.classes is None else list(model.classes),
                missing_classes=list(training.missing),
                preprocessing=recorded_text(model),
                text=training.text,
                test_text=None if testing is None else testing.text,
                outputs=list(model.output_weights or model.outputs[:1]),
                **evidence,
                **({} if labels is None else {"unlabelled": labels.to_dict()}),
                **({} if original is None else {"original": path_text(original)}),
                **({} if start is None else {"from": _beginning(start, known, begun)}),
                base=path_text(base),
                base_sha256=model.base_sha256,
                out=path_text(out),
                **job.versions(),
            )
            texts = {REPORT_NAME: format_json(report.to_dict()), HISTORY_NAME: format_json(history.to_dict())}
            write_folder(out, {**files, **texts, **page.make(report, history)}, replaces=replaces)
            page.write()
        remove_folder(unfinished.folder)
    return report


def _beginning(start: Path, known: dict[str, Any], score: Score | None) -> dict[str, Any]:
    """Return what a report says of the adapter that was trained on."""
    measured = None if score is None else score.metrics
    return {"adapter": path_text(start), "tensors_sha256": known["tensors_sha256"], "metrics": measured}
