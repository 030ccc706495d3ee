"""Federated rounds: devices train one adapter on samples that stay with them, and what comes back is their mean.

In each round every device begins with the same adapter, trains it on its own samples, and sends it back; the next
adapter is their mean, weighted by numbers of samples [McMahan17]. Where the mean is taken is `average`'s matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lieref._atomic import remove_folder, write_folder
from lieref._check import check_int
from lieref.adapter.folder import CONFIG_NAME, TENSORS_NAME, encode_adapter
from lieref.errors import DomainError, LierefError, UnsupportedError
from lieref.evaluate.fleet.average import Mean, mean_adapter
from lieref.evaluate.fleet.device import Device, Files, Job, folder_of, judged_with
from lieref.evaluate.fleet.source import Source
from lieref.evaluate.ledger import Ledger
from lieref.evaluate.plan import START, Plan
from lieref.evaluate.problem import Problem, fold_of, taken
from lieref.evaluate.trial import Trial, run
from lieref.evaluate.workers import WorkerError, run_all
from lieref.train.learning_rate import RATED_STEPS, default_learning_rate
from lieref.train.recipe import steps_per_epoch

ROUNDS = "rounds"


@dataclass(frozen=True)
class Round:
    """The job of one round: number from 1, and epochs over the samples of each device."""

    job: Job
    number: int
    epochs: int


def update(task: Round, device: Device) -> tuple[dict[str, Any], Files]:
    """Return what a device sends back from a round: how the adapter that it got did, and the trained one."""
    job = task.job
    begin: dict[str, Any] = {"device": device.name, "failed": None}
    try:
        problem = job.problem_of(device)
        folds = fold_of(problem, job.folds, 0)
        held = np.flatnonzero(folds == 0)
        judged = judged_with(problem, job.start or {}, problem.x[held], taken(problem.y, held)).score
        plan = job.plan
        if plan is None:
            raise UnsupportedError("fleet: `method` must be named where rounds average adapters; got auto")
        if job.start is not None:
            plan = replace(plan, method=START, options={})
        # The same seed in the first round: all devices draw the same A. Later another order of the samples each time.
        seed = job.seed + task.number - 1
        plan = _at_full_rate(replace(plan, epochs=task.epochs), int((folds != 0).sum()))
        trial = Trial(problem.digest, plan, seed, "held-out", folds=job.folds)
        outcome = run(problem, trial)
        if outcome.record["failed"]:
            raise DomainError(outcome.record["failed"].partition(": ")[2])
    except LierefError as error:
        return {**begin, "failed": str(error)}, {}
    samples = {"trained": int((folds != 0).sum()), "held_out": len(held)}
    return {**begin, **samples, "loss": judged.loss, "merit": judged.merit}, outcome.files


def _at_full_rate(plan: Plan, samples: int) -> Plan:
    """Return a plan with the method's rate for long runs: rounds are one together, however few steps each has.

    The default of a run so short is less by the root of its steps; on the simulated cameras of the validation what
    devices held out preferred about ten to thirty times that, for two steps a round.
    """
    if plan.learning_rate is not None:
        return plan
    steps = plan.epochs * steps_per_epoch(samples, plan.batch_size) if plan.epochs else RATED_STEPS
    return replace(plan, rate_factor=plan.rate_factor / default_learning_rate(1.0, steps))


def federate(
    job: Job,
    source: Source,
    folder: Path,
    rounds: int,
    *,
    epochs: int = 1,
    mean: str = "algebra",
    jobs: int = 1,
    dask: str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[Files, list[dict[str, Any]]]:
    """Return the adapter after so many rounds, and a record of each.

    What a device has sent back in a round, and the mean of a round that is over, are in ``rounds/``: an interrupted run
    goes on there, and more rounds may follow later. A device that fails in a round is left out of its mean.

    Parameters
    ----------
    job : Job
        Its `start` is what the first round begins with; without one all devices attach the method with one seed.
    source : Source
    folder : Path
        Of this federation, or new.
    rounds, epochs : int
        At least 1; epochs over the samples of a device in each round.
    mean : str
        Of `lieref.evaluate.fleet.manifest.MEANS`.
    jobs, dask
        See `lieref.evaluate.workers.run_all`.
    progress : callable, optional
        Called with devices done, devices in all, and the round, with how many failed in it.

    Returns
    -------
    files : dict of str to bytes
    records : list of dict
        ``round``, ``devices``, ``samples``; ``merit`` and ``loss`` of what the round began with, on the held-out
        samples of all devices; ``rank_error`` and ``factor_error`` of its mean, see `Mean`; ``bytes`` of the mean;
        ``failed``: reasons by device.

    Raises
    ------
    UnsupportedError
        If the method has no mean of its form, or is to be chosen.
    DomainError
        If the folder is of another fleet, or every device failed in a round.
    LierefError
        As `run_all` does; what is done stays in the folder.
    """
    check_int("federate", "rounds", rounds, low=1)
    if job.merged is not None:
        raise UnsupportedError("fleet: `compose` must be false in rounds, whose adapters go on from one another")
    identity = {**job.identity, "kind": "rounds", "epochs": epochs, "mean": mean}
    found: list[dict[str, Any]] = []
    files = None if job.start is None else dict(job.start)
    ledger = Ledger(folder, identity)
    for number in range(1, rounds + 1):
        place = folder / ROUNDS / f"{number:04}"
        record = ledger.get(f"round-{number}")
        if record is None or not _is_there(place / "mean"):
            task = Round(replace(job, start=files), number, epochs)
            lost = _collect(task, source, place / "devices", ledger, jobs, dask, progress)
            made, record = _over(task, source, place / "devices", ledger, mean, lost)
            write_folder(place / "mean", made.files, replaces=(TENSORS_NAME, CONFIG_NAME))
            ledger.add(record)
            remove_folder(place / "devices")
        files = _read(place / "mean")
        found.append(record)
    assert files is not None
    return files, found


def _collect(
    task: Round, source: Source, place: Path, ledger: Ledger, jobs: int, dask: str | None,
    progress: Callable[[int, int, str], None] | None,
) -> dict[str, str]:  # fmt: skip
    """Have every device do its part of a round, keep what it sends back, and return those whose workers died."""
    place.mkdir(parents=True, exist_ok=True)

    def waiting() -> Iterator[Device]:
        for device in source.devices():
            record = ledger.get(_id(task.number, device.name))
            if record is None or (record["failed"] is None and not _is_there(place / device.name)):
                yield device

    total, done, failed = len(source.names), 0, 0
    lost: dict[str, str] = {}
    for device, result in run_all(update, task, waiting(), jobs=jobs, dask=dask):
        if isinstance(result, WorkerError):
            lost[device.name] = f"its worker was lost: {result}"
        else:
            record, files = result
            if files:
                write_folder(place / device.name, files, replaces=(TENSORS_NAME, CONFIG_NAME))
            ledger.add({"id": _id(task.number, device.name), **record})
        done += 1
        failed += device.name in lost or record["failed"] is not None
        if progress is not None:
            progress(done, total, f"round {task.number}, {failed} failed" if failed else f"round {task.number}")
    return lost


def _over(
    task: Round, source: Source, place: Path, ledger: Ledger, mean: str, lost: dict[str, str]
) -> tuple[Mean, dict[str, Any]]:
    """Return the mean of what the devices of a round have sent back, and the record of the round."""
    records = [r for name in source.names if (r := ledger.get(_id(task.number, name))) is not None]
    good = sorted((r for r in records if r["failed"] is None), key=lambda record: str(record["device"]))
    failed = {**source.broken, **lost, **{r["device"]: r["failed"] for r in records if r["failed"] is not None}}
    if not good:
        raise DomainError(
            f"fleet: a device must come through round {task.number}; got {len(failed)} failures, the first: "
            f"{next(iter(failed.values()), 'no device')}"
        )
    updates = ((_read(place / record["device"]), float(record["trained"])) for record in good)
    made = (
        exact_mean(task.job.problem, list(updates))
        if mean == "exact"
        else mean_adapter(task.job.problem, updates, mean)
    )
    held = np.array([record["held_out"] for record in good], np.float64)

    def over_all(name: str) -> float:
        return float(held @ [record[name] for record in good] / held.sum())

    return made, {
        "id": f"round-{task.number}",
        "round": task.number,
        "devices": len(good),
        "samples": sum(record["trained"] for record in good),
        "merit": over_all("merit"),
        "loss": over_all("loss"),
        "rank_error": made.rank_error,
        "factor_error": made.factor_error,
        "bytes": sum(map(len, made.files.values())),
        "failed": failed,
    }


def exact_mean(problem: Problem, updates: list[tuple[Files, float]]) -> Mean:
    """Return the mean in the algebra as it is: the factors of all side by side, or dense where that has no room.

    Raises
    ------
    UnsupportedError
        If the group is not Abelian, adapters differ in kind, or one holds statistics or a new head.
    """
    from contextlib import ExitStack

    model, total = problem.model(), sum(weight for _, weight in updates)
    with ExitStack() as stack:
        folders = [stack.enter_context(folder_of(files)) for files, _ in updates]
        model.add_weighted_adapter(folders, [weight / total for _, weight in updates])
        try:
            return Mean(encode_adapter(*model.adapter_state()), 0.0, 0.0, {})
        finally:
            model.unload()


def pooled(job: Job, source: Source, epochs: int) -> tuple[Files, dict[str, Any]]:
    """Return the adapter that is trained on the samples of all devices in one place, for comparison, and how it does.

    The samples that rounds train on are trained on, and those that they hold out are judged on.
    """
    parts: list[list[Any]] = [[], [], [], []]
    for device in source.devices():
        problem = job.problem_of(device)
        held = fold_of(problem, job.folds, 0) == 0
        for n, (values, where) in enumerate(
            ((problem.x, ~held), (problem.y, ~held), (problem.x, held), (problem.y, held))
        ):
            parts[n].append(taken(values, np.flatnonzero(where)))
    if not parts[0] or job.plan is None:
        raise DomainError("fleet: a device must be readable, and `method` named, to train on all; got none")
    x, y, x_test, y_test = map(np.concatenate, parts)
    problem = replace(job.problem, x=x, y=y, x_test=x_test, y_test=y_test, start=job.start)
    outcome = run(problem, Trial(problem.digest, replace(job.plan, epochs=epochs), job.seed, "test"))
    if outcome.record["failed"]:
        raise DomainError(outcome.record["failed"].partition(": ")[2])
    return outcome.files, {
        name: outcome.record[name] for name in ("merit", "loss", "epochs", "learning_rate", "seconds")
    }


def _id(number: int, device: str) -> str:
    return f"round-{number}-{device}"


def _is_there(place: Path) -> bool:
    return all((place / name).is_file() for name in (TENSORS_NAME, CONFIG_NAME))


def _read(place: Path) -> Files:
    return {name: (place / name).read_bytes() for name in (TENSORS_NAME, CONFIG_NAME)}
