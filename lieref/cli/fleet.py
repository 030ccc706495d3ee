"""``lieref fleet``: an adapter for every device of a fleet, or one for all by federated rounds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lieref.cli.command import Command
from lieref.cli.console import print_json, print_table, progress_bar, say, word, wrote
from lieref.cli.live import quiet_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lieref.adapter.integer.model import IntegerModel
    from lieref.evaluate.fleet.device import Device, Job
    from lieref.evaluate.fleet.fleet import Signing
    from lieref.evaluate.fleet.manifest import Manifest
    from lieref.evaluate.fleet.source import Source
    from lieref.evaluate.fleet.table import Row
    from lieref.train.task import Task

REPORT_NAME = "fleet.json"
FLEET = "fleet"
MOST_ROWS = 40
"""Devices in the printed table; the report has all."""


@click.command(
    cls=Command,
    examples=(
        "lieref fleet fleet.toml --out fleet --jobs 2",
        "lieref fleet fleet.toml --out fleet --resume",
        "lieref fleet fleet.toml --out together --rounds 5",
    ),
)
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="New folder, or with --resume an earlier.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes on this machine.  [default: 1]")
@click.option("--dask", metavar="ADDRESS", help="Dask scheduler whose workers train: tcp://10.0.0.1:8786.")
@click.option("--rounds", type=click.IntRange(min=1), help="Federated rounds that make one adapter of all devices.")
@click.option("--resume", is_flag=True, help="Go on in OUT: what is there is not done again.")
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def fleet(
    manifest: Path, out: Path, jobs: int | None, dask: str | None, rounds: int | None, resume: bool, as_json: bool
) -> None:
    """Train an adapter for each device in MANIFEST, a TOML file.

    MANIFEST is, for example:

    \b
    base = "base.onnx"
    method = "liera"                 # rank, epochs, learning_rate, ... or "auto"
    devices = "data/*/train.npz"     # the * is the name; also [[device]] tables
    test = "data/*/test.npz"         # for the report only
    [bundle]
    key = "KEYDIR"                   # of lieref bundle keygen: signs bundles

    Of a quantised base (.tflite, ONNX) the method is tied-scale, scale, bias or liera-int8, what devices get are
    updates, and MANIFEST may have semantics = "cmsis-nn", whose integers judge, and codes = true, one byte a scale.

    OUT/adapters and OUT/bundles hold what each device gets, OUT/fleet.json the table of gains. One fold of a device's
    samples is held out: a device whose adapter does not beat the base there keeps the base. With --rounds OUT/fleet
    holds one adapter for all; start = "OUT/fleet" begins with it.
    """  # noqa: D301  click reads the control character
    if jobs is not None and dask is not None:
        raise click.UsageError("--jobs and --dask are two ways to share the work; name one")
    report, rows = run_command(manifest, Path(os.path.abspath(out)), jobs or 1, dask, rounds, resume)
    if as_json:
        print_json(report)
        return
    _print(report, rows)
    wrote(f"All of it is in {out / REPORT_NAME}", f"lieref report {word(out)} --out fleet.html")


def run_command(
    path: Path, out: Path, jobs: int, dask: str | None, rounds: int | None, resume: bool
) -> tuple[dict[str, Any], list[Row]]:
    """Adapt the fleet, write the report, and return it with the rows of its table."""
    from lieref._atomic import write_file, write_folder
    from lieref._lock import exclusive
    from lieref.adapter.strict_json import format_json, path_text
    from lieref.cli.job import versions
    from lieref.cli.output import ADAPTER_NAMES
    from lieref.errors import DomainError
    from lieref.evaluate.fleet.fleet import run_fleet
    from lieref.evaluate.fleet.manifest import read_manifest
    from lieref.evaluate.fleet.rounds import federate
    from lieref.evaluate.fleet.table import metric_of, rows_of, summary_of
    from lieref.evaluate.ledger import STUDY_NAME

    manifest = read_manifest(path)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if resume and not (out / STUDY_NAME).exists():
            raise click.UsageError(f"there is no fleet in {out} to go on with; name another --out")
        if not resume:
            raise click.UsageError(f"{out} is not empty; add --resume to go on there, or name another --out")
    job, source = prepare(manifest, averages=rounds is not None)
    signing = _signing(manifest, job)
    if rounds is not None and signing is not None:
        raise click.UsageError("--rounds makes one adapter for all: leave out [bundle], and sign OUT/fleet")
    where: dict[str, Any] = {"jobs": jobs, "dask": dask}
    made: list[dict[str, Any]] = []
    with exclusive(out, "fleet", "out"), progress_bar("fleet") as progress:
        if rounds is None:
            records = run_fleet(job, source, out, signing=signing, progress=progress, **where)
        else:
            how: dict[str, Any] = {"epochs": manifest.round_epochs, "mean": manifest.mean, "progress": progress}
            files, made = federate(job, source, out, rounds, **how, **where)
            write_folder(out / FLEET, files, replaces=ADAPTER_NAMES)
            records = run_fleet(job.judging(files), source, None, progress=progress, **where)
        metric, falls = metric_of(job.problem.task)
        rows = rows_of(records, metric, falls=falls)
        report = {
            "manifest": path_text(path),
            "base": path_text(manifest.base),
            **{name: value for name, value in job.identity.items() if name not in ("kind", "network", "fleet_format")},
            "metric": metric,
            "less_is_better": falls,
            "summary": summary_of(rows),
            "rounds": made,
            "devices": [row.to_dict() for row in rows],
            **versions(),
        }
        write_file(out / REPORT_NAME, format_json(report))
    if all(row.failed is not None for row in rows):
        raise DomainError(
            f"fleet: at least one device must be adapted; all {len(rows)} failed, the first: "
            f"{rows[0].device}: {rows[0].failed}"
        )
    return report, rows


def prepare(manifest: Manifest, *, averages: bool = False) -> tuple[Job, Source]:
    """Return the job of a manifest and its devices, which are read when they are asked for.

    What cannot work on any device raises here: a method that the base does not take, adapters that have no product, or
    no mean where they are averaged.
    """
    import numpy as np

    from lieref.adapter.folder import CONFIG_NAME, TENSORS_NAME, encode_adapter
    from lieref.adapter.model import load
    from lieref.cli.job import load_sets
    from lieref.cli.task_options import chosen_task
    from lieref.errors import DomainError
    from lieref.evaluate.fleet.average import check_mean
    from lieref.evaluate.fleet.device import Device, Job, check_product, composed, merged_base
    from lieref.evaluate.fleet.source import Source
    from lieref.evaluate.plan import START
    from lieref.evaluate.problem import make_problem
    from lieref.evaluate.quantised import is_quantised
    from lieref.train.preprocess import Preprocess

    model = load(manifest.base)
    quantised = is_quantised(model)
    if quantised and averages:
        raise DomainError("fleet: rounds average adapters of float networks; got a quantised file: leave out --rounds")
    start = None
    if manifest.start is not None:
        model.load_adapter(manifest.start)
        start = {name: (manifest.start / name).read_bytes() for name in (TENSORS_NAME, CONFIG_NAME)}
    if manifest.preprocess is not None:
        model.preprocessing = Preprocess.from_text(manifest.preprocess).fitted(model.input_shape).to_dict()
    task = chosen_task(model, (manifest.task, {}))
    if manifest.compose:
        check_product(model)
    merged = merged_base(model) if manifest.compose else None
    untrained = None
    if manifest.plan is not None and manifest.plan.method != START:
        model.unload()
        model.attach(manifest.plan.method, seed=manifest.seed, **manifest.plan.options)
        if manifest.compose:
            check_product(model)
            untrained = encode_adapter(*model.adapter_state())
    if averages:
        if manifest.compose or manifest.plan is None:
            raise DomainError("fleet: rounds average adapters of one method: leave out `compose`, and name `method`")
        check_mean(model)
    model.unload()
    classes, preprocessing = model.classes, model.preprocessing
    semantics = (_semantics(manifest, model, task),) if is_quantised(model) else ()
    none = np.zeros((0, 1), np.float32)
    problem = make_problem(manifest.base, model, none, None, task=task, semantics=semantics)
    if untrained is not None:
        composed(replace(problem, start=start), untrained)
    entries = {entry.name: entry for entry in manifest.devices}

    def read(name: str) -> Device:
        model.classes = classes
        entry = entries[name]
        model.preprocessing = preprocessing
        given: dict[str, Any] = {"task": task, "classes": None, "max_bytes": None, "at_once": True}
        given["preprocess"] = manifest.preprocess
        training, testing = load_sets(model, entry.train, entry.test, None, **given)
        tested = (None, None) if testing is None else (testing.x, testing.y)
        return Device(name, training.x, training.y, *tested)

    encoding = None if not quantised else "codes" if manifest.codes else "finished"
    job = Job(problem, manifest.plan, manifest.seed, manifest.folds, start, merged, encoding=encoding)
    return job, Source(entries, read)


def _semantics(manifest: Manifest, model: IntegerModel, task: Task) -> str:
    """Return whose integers a quantised file is judged by; raise unless it runs there, where integers judge it."""
    import numpy as np

    from lieref.evaluate.integer import USUAL, check_runs

    name = manifest.semantics or USUAL[model.integer.format]
    check_runs("fleet", model, np.zeros([n or 1 for n in (1, *model.input_shape[1:])], np.float32), (name,))
    losses = "; losses are of the simulation in real numbers" if task.name == "classes" else ""
    say(f"devices are judged by integers, as {name} rounds them{losses}")
    return name


def _signing(manifest: Manifest, job: Job) -> Signing | None:
    from lieref.adapter.bundle.signing import read_signer
    from lieref.evaluate.fleet.fleet import Signing

    bundling = manifest.bundling
    if bundling is None:
        return None
    options = {"version": bundling.version, "compatible": bundling.compatible, "counter": bundling.counter,
               "semantics": next(iter(job.problem.semantics), None)}  # fmt: skip
    return Signing(manifest.base, tuple(read_signer(key) for key in bundling.keys), options)


def _print(report: dict[str, Any], rows: Sequence[Row]) -> None:
    from lieref.evaluate.compare.sentences import amount

    metric = report["metric"]
    for made in report["rounds"]:
        at = f"loss {made['loss']:.4f}"
        if metric != "loss":
            at = f"{amount(metric, made['merit'] * (-1 if report['less_is_better'] else 1))} ({at})"
        say(
            f"round {made['round']}: began at {at} held out, {made['devices']} devices; its mean leaves out "
            f"{100 * made['rank_error']:.2g} % of xi, of factors {100 * made['factor_error']:.2g} %"
        )
    columns = ("device", "gets", "samples", "judged on", "base", "adapted", "gain", "95 %", "bytes", "bundle")
    shown = [_cells(row, metric) for row in rows[:MOST_ROWS]]
    print_table(f"Devices, the worst first, by {metric.replace('_', ' ')}", columns, shown)
    if len(rows) > MOST_ROWS:
        say(f"and {len(rows) - MOST_ROWS} devices more")
    for row in rows:
        if row.failed is not None:
            say(f"{row.device} has no adapter: {row.failed}")
        elif row.bundle_failed is not None:
            say(f"{row.device} has no bundle: {row.bundle_failed}")
    total = report["summary"]
    if total["kept"]["base"]:
        say(
            f"{total['kept']['base']} of {total['devices']} devices keep the base: nothing beats it on what is held out"
        )
    if any(row.judged_on == "held-out" for row in rows):
        say("without test samples the gain is of the samples that chose what is kept, which flatters it")
    between = total.get("mean_gain_interval")
    if "mean_gain" in total:
        ends = [amount(metric, end, signed=True).removesuffix(" points") for end in between or ()]
        said = f", {ends[0]} to {ends[1]} (95 %, over devices)" if ends else ""
        failed = f"{total['failed']} device{'' if total['failed'] == 1 else 's'} failed"
        click.echo(f"Mean gain {amount(metric, total['mean_gain'], signed=True)}{said}; {failed}.")


def _cells(row: Row, metric: str) -> tuple[str, ...]:
    from lieref.evaluate.compare.sentences import amount

    def text(value: float | None, *, signed: bool = False) -> str:
        return amount(metric, value, signed=signed).removesuffix(" points").removesuffix(" %")

    if row.failed is not None:
        return (row.device, "failed", *("-" for _ in range(8)))
    between = row.gain_interval
    interval = "-" if between is None else f"{text(between[0], signed=True)} to {text(between[1], signed=True)}"
    judged = f"{row.judged} {row.judged_on}"
    sizes = (str(row.update_bytes or 0), "-" if row.bundle_bytes is None else str(row.bundle_bytes))
    return (row.device, row.kept or "-", str(row.samples), judged, text(row.base), text(row.adapted),
            text(row.gain, signed=True), interval, *sizes)  # fmt: skip
