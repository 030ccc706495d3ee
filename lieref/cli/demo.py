"""``lieref demo``: four methods on a small network that meets another camera."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lieref._atomic import write_folder
from lieref.adapter.strict_json import format_json, path_text
from lieref.cli.command import Command
from lieref.cli.console import percent, print_json, print_reports, progress_bar
from lieref.cli.evidence import Outcomes, command_line, heard, measured
from lieref.cli.live import quiet_option
from lieref.cli.output import ADAPTER_NAMES, reserved_folder
from lieref.cli.page import PAGES, check_pages, pages_of

if TYPE_CHECKING:
    from lieref.cli.job import Samples
    from lieref.evaluate.report import Report
    from lieref.train.history import History

METHODS = ("head", "lora", "liera", "full")
KEPT = "liera"
"""The method whose adapter and merged model are left in the folder."""

REPORT_NAME, HISTORY_NAME = "report.json", "history.json"
NAMES = ADAPTER_NAMES | {"base.onnx", "merged.onnx", "train.npz", "test.npz", REPORT_NAME, HISTORY_NAME, *PAGES}
"""What the folder holds; a folder of these alone is an earlier demo's, and replaced."""

# Enough steps (420) for each method's default learning rate to get where it gets.
EPOCHS, BATCH = 60, 32


@click.command(
    cls=Command,
    examples=(
        "lieref demo",
        "lieref demo --out tour --seed 1",
    ),
)
@click.option(
    "--out",
    default="lieref-demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="New folder, or an earlier demo's.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**63 - 1))
@click.option("--threads", type=click.IntRange(min=1), help="Changes the speed, never the result.  [default: all]")
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def demo(out: Path, seed: int, threads: int | None, as_json: bool) -> None:
    """Adapt a network for handwritten digits to another camera, and compare methods.

    The network was trained on other images of the same set. It is fine-tuned on 200 labelled images of the new camera
    and tested on images that neither training has seen. OUT receives the LieRA adapter, base and merged model as ONNX,
    the data, report.json, and report.html to read; the folder of an earlier demo is replaced.
    """
    reports, facts = run_demo(Path(os.path.abspath(out)), seed, threads)
    if as_json:
        print_json({**facts, "methods": [report.to_dict() for report in reports]})
        return
    click.echo(f"Handwritten digits from another camera: {facts['shift']}.")
    click.echo(f"{facts['train_samples']} labelled images to train, {facts['test_samples']} to test.")
    print_reports(reports)
    click.echo(f"On the camera it was trained for, the base reaches {percent(facts['accuracy_before_shift'])}.")
    click.echo(f"Adapter, merged.onnx and report.json are in {out}; to read and to send: {out / 'report.html'}.")


def run_demo(out: Path, seed: int, threads: int | None) -> tuple[list[Report], dict[str, Any]]:
    """Run the demo, write its folder, and return a report for each method and the facts they share."""
    check_pages()
    with reserved_folder("demo", out, NAMES, force=True) as replaces:
        reports, history, facts, files = _compare(seed, threads)
        facts["out"] = path_text(out)
        values = {**facts, "methods": [report.to_dict() for report in reports]}
        texts = {REPORT_NAME: format_json(values), HISTORY_NAME: format_json(history.to_dict())}
        write_folder(out, {**files, **texts, **pages_of(values, history)}, replaces=replaces)
    return reports, facts


def _compare(seed: int, threads: int | None) -> tuple[list[Report], History, dict[str, Any], dict[str, bytes]]:
    """Return a report for each method, the history of `KEPT`, the facts they share, and the files but the report."""
    import numpy as np

    from lieref.adapter.model import load
    from lieref.cli import job
    from lieref.cli.demo_data import BASE_MODEL, SHIFT, camera_shift, load_digits
    from lieref.train.npz import write_npz

    begin = time.perf_counter()
    _, tune, test = load_digits()
    tune_y, test_y = np.asarray(tune.y), np.asarray(test.y)
    training = job.Samples(camera_shift(tune.x), tune_y)
    testing = job.Samples(camera_shift(test.x), test_y)
    base = load(BASE_MODEL)
    threads = threads or base.threads
    with progress_bar("demo"):
        before = job.score(base, job.Samples(test.x, test.y)).accuracy
        warm_up = job.Samples(training.x[:BATCH], tune_y[:BATCH])
        _fine_tune("full", "", warm_up, testing, seed, threads, epochs=1)
    files = {
        "base.onnx": BASE_MODEL.read_bytes(),
        "train.npz": write_npz({"x": training.x, "y": tune_y}),
        "test.npz": write_npz({"x": testing.x, "y": test_y}),
    }
    reports = []
    for number, method in enumerate(METHODS, 1):
        name = f"{method} ({number} of {len(METHODS)})"
        report, history, made = _fine_tune(method, name, training, testing, seed, threads, epochs=EPOCHS)
        reports.append(report)
        if method == KEPT:
            kept = history
            files.update(made)
    facts = {
        "shift": SHIFT,
        "train_samples": len(training.x),
        "test_samples": len(testing.x),
        "accuracy_before_shift": before,
        "kept": KEPT,
        "batch": BATCH,
        "threads": threads,
        "seconds": time.perf_counter() - begin,
        "command": command_line(),
        "base_sha256": base.base_sha256,
        **job.versions(),
    }
    return reports, kept, facts, files


def _fine_tune(
    method: str, name: str, training: Samples, testing: Samples, seed: int, threads: int, *, epochs: int
) -> tuple[Report, History, dict[str, bytes]]:
    """Return report and history of one method, and the files of its adapter with the merged model.

    The training is shown under a name, where there is one.
    """
    from lieref.adapter.model import load
    from lieref.cli import job
    from lieref.cli.demo_data import BASE_MODEL
    from lieref.cli.watch import watching
    from lieref.train.sample_tasks import Classes

    model = load(BASE_MODEL)
    model.threads = threads
    outcomes, task = Outcomes(), Classes()
    before = outcomes.judge("base", model, testing, task)
    with heard() as said:
        job.attach_method(model, method, rank=None, alpha=None, targets=(), seed=seed)
        with watching(model, name) if name else nullcontext() as watch:
            history = job.train(model, training, watch, epochs=epochs, batch_size=BATCH, seed=seed)
        after = outcomes.judge("adapted", model, testing, task)
        evidence = measured(model, training, history, model.wants_statistics)
        report, merged, files = job.finish(
            model, history, training, before=before, after=after, seed=seed, epochs=epochs, warnings=said,
            test_outcomes=outcomes.to_dict(), **evidence,
        )  # fmt: skip
    return report, history, {**files, "merged.onnx": merged.proto.SerializeToString()}
