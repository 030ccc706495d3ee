"""One device: an adapter of its own from its own samples, kept only where held-out samples say that it helps."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lieref._types import Array
from lieref.adapter.folder import CONFIG_NAME, TENSORS_NAME, decode_adapter_tensors, decode_config, encode_adapter
from lieref.adapter.integer.folder import BIN_NAME, JSON_NAME, decode_update
from lieref.errors import DomainError, LierefError, UnsupportedError
from lieref.evaluate.integer import judge_integers
from lieref.evaluate.judge import Judgement, judge, pack_bits, pack_floats
from lieref.evaluate.plan import BASE, Plan
from lieref.evaluate.problem import Problem, fold_of, taken
from lieref.evaluate.quantised import is_quantised
from lieref.evaluate.trial import Trial, machine, run

if TYPE_CHECKING:
    from lieref.adapter.model import Model
    from lieref.train.epoch import Score

FORMAT = 2

Files = dict[str, bytes]


@dataclass(frozen=True, eq=False)
class Device:
    """The samples of a device, in the model's layout; the test samples are judged on and nothing else."""

    name: str
    x: Array = field(repr=False)
    y: Any = field(repr=False)
    x_test: Array | None = field(default=None, repr=False)
    y_test: Any = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Job:
    """What the devices of a fleet share: what a worker is sent once.

    Attributes
    ----------
    problem : Problem
        Without samples.
    plan : Plan or None
        None: chosen for each device, by `lieref.evaluate.choose`.
    seed, folds : int
        Fold 0 of a device's samples is held out.
    start : mapping of str to bytes, or None
        Files of the adapter that every device begins with.
    merged : bytes or None
        The base with `start` merged into it, where a device's adapter is to be composed with `start`.
    trains : bool
        Whether devices get adapters of their own; else `start` or the base, whichever does better there.
    encoding : str or None
        Of a quantised file: how updates hold their scales, one of `lieref.adapter.integer.form.ENCODINGS`. None of a
        float network.
    """

    problem: Problem
    plan: Plan | None
    seed: int = 0
    folds: int = 5
    start: Mapping[str, bytes] | None = field(default=None, repr=False)
    merged: bytes | None = field(default=None, repr=False)
    trains: bool = True
    encoding: str | None = None

    @property
    def file_names(self) -> tuple[str, str]:
        """Names of the files that a device gets."""
        return (TENSORS_NAME, CONFIG_NAME) if self.encoding is None else (BIN_NAME, JSON_NAME)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the results of a folder are of, plain JSON values."""
        start = {name: hashlib.sha256(data).hexdigest() for name, data in sorted((self.start or {}).items())}
        return {
            "kind": "fleet",
            "fleet_format": FORMAT,
            "base": hashlib.sha256(self.problem.base).hexdigest(),
            "network": self.problem.network,
            "task": self.problem.task.to_dict(),
            "plan": None if self.plan is None else self.plan.to_dict(),
            "seed": self.seed,
            "folds": self.folds,
            "start": start,
            "composed": self.merged is not None,
            "trains": self.trains,
            **({} if self.encoding is None else {"encoding": self.encoding, "semantics": self.problem.semantics[0]}),
        }

    def problem_of(self, device: Device) -> Problem:
        """Return the problem of a device: the base as it is, its samples, and what to start from."""
        own = {"x": device.x, "y": device.y, "x_test": device.x_test, "y_test": device.y_test}
        return replace(self.problem, start=self.start, **own)

    def judging(self, files: Mapping[str, bytes]) -> Job:
        """Return the job of judging one adapter on every device."""
        return replace(self, start=files, merged=None, trains=False)

    def id_of(self, device: Device) -> str:
        """Return the identity of what a device gets: of the job, its name, and its samples."""
        parts = [self.identity, device.name, self.problem_of(device).digest]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def adapt(job: Job, device: Device) -> tuple[dict[str, Any], Files]:
    """Return the record of a device, and the files of the adapter that it gets; none where it keeps the base.

    What was trained on the other folds is judged on fold 0, and so are the base and the adapter to start from. A device
    gets the best of them, by the task's metric and then by the loss; on a tie the earlier of base, start, own.

    Returns
    -------
    record : dict
        ``id``, ``device``, ``failed``, ``kept`` ("base", "start" or "own"), ``samples``, ``held_out`` (their number);
        ``base``, ``start``, ``own``: loss, metrics and merit on the held-out samples; ``judged_on`` ("test" or
        "held-out"), ``judged`` (their number), ``base_judged`` and ``kept_judged``: the same on the samples of the
        report, with ``right`` or ``losses`` of each; ``plan``, ``trial``: of the training; ``update_bytes``.
    files : dict of str to bytes
    """
    begin: dict[str, Any] = {
        "id": job.id_of(device), "device": device.name, "failed": None, "samples": len(device.x), "machine": machine(),
    }  # fmt: skip
    try:
        found, files = _adapted(job, device)
    except LierefError as error:
        return {**begin, "failed": str(error)}, {}
    return {**begin, **found}, files


def _adapted(job: Job, device: Device) -> tuple[dict[str, Any], Files]:
    problem = job.problem_of(device)
    folds = fold_of(problem, job.folds, 0)
    held = np.flatnonzero(folds == 0)
    x, y = problem.x[held], taken(problem.y, held)
    candidates: dict[str, Files] = {"base": {}}
    if job.start is not None:
        candidates["start"] = dict(job.start)
    said: dict[str, Any] = {}
    if job.trains:
        files, said = _trained(job, problem, np.flatnonzero(folds != 0))
        if files:
            candidates["own"] = files
    judged = {name: judged_with(problem, files, x, y) for name, files in candidates.items()}
    kept = best({name: one.score for name, one in judged.items()})
    shown, number, judged_on = judged, len(held), "held-out"
    if problem.x_test is not None:
        number, judged_on = len(problem.x_test), "test"
        shown = {
            name: judged_with(problem, candidates[name], problem.x_test, problem.y_test) for name in {"base", kept}
        }
    return {
        "kept": kept,
        "held_out": len(held),
        **{name: _said(one) for name, one in judged.items()},
        "judged_on": judged_on,
        "judged": number,
        "base_judged": _said(shown["base"], each=True),
        "kept_judged": _said(shown[kept], each=True),
        **said,
        "update_bytes": sum(map(len, candidates[kept].values())),
    }, candidates[kept]


def _trained(job: Job, problem: Problem, rest: NDArray[np.int64]) -> tuple[Files, dict[str, Any]]:
    """Return the files of a device's own adapter, and what the record says of its training."""
    trainer = problem if job.merged is None else replace(problem, base=job.merged, start=None)
    plan, evidence = (job.plan, None) if job.plan is not None else _chosen(job, trainer, rest)
    if plan.method == BASE:
        return {}, {"plan": plan.to_dict(), "evidence": evidence}
    outcome = run(trainer, Trial(trainer.digest, plan, job.seed, "held-out", folds=job.folds), encoding=job.encoding)
    if outcome.record["failed"]:
        raise DomainError(outcome.record["failed"].partition(": ")[2])
    files = outcome.files if job.merged is None else composed(problem, outcome.files)
    names = ("epochs", "learning_rate", "trainable", "seconds", "history", "warnings")
    trial = {name: outcome.record[name] for name in names}
    return files, {"plan": plan.to_dict(), "evidence": evidence, "trial": trial}


def _chosen(job: Job, problem: Problem, rest: NDArray[np.int64]) -> tuple[Plan, Any]:
    """Return the plan that is chosen on the samples of a device that are not held out, and why."""
    try:
        from lieref.evaluate.choose import choose  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise UnsupportedError("fleet: `method` must be named; there is nothing that chooses it") from error
    part = replace(problem, x=problem.x[rest], y=taken(problem.y, rest), x_test=None, y_test=None, start=None)
    choice = choose(part, seed=job.seed)
    return choice.plan, choice.evidence


def best(scores: Mapping[str, Score]) -> str:
    """Return the name of the best score, by merit and then by loss; on a tie the first."""
    first, *others = scores
    for name in others:
        if scores[name].is_better_than(scores[first]):
            first = name
    return first


def judged_with(problem: Problem, files: Mapping[str, bytes] | None, x: Array, y: Any) -> Judgement:
    """Return how the base with an adapter, or alone, does on samples; of a quantised file with an update, or alone."""
    model = problem.model()
    if is_quantised(model):
        if files:
            update = decode_update(files[JSON_NAME], files[BIN_NAME], model.integer, problem.name)
            model = model.patched(update)
            model.threads = 1
        return judge_integers(model, x, y, problem.task, problem.semantics[0])
    if files:
        load_files(model, files)
    try:
        return judge(model, x, y, problem.task)
    finally:
        model.unload()


def load_files(model: Model, files: Mapping[str, bytes]) -> None:
    """Load the adapter in the bytes of its files."""
    with folder_of(files) as folder:
        model.load_adapter(folder)


@contextmanager
def folder_of(files: Mapping[str, bytes]) -> Iterator[Path]:
    """Give the files of an adapter a folder for a moment."""
    with tempfile.TemporaryDirectory(prefix="lieref-") as name:
        for file, data in files.items():
            (Path(name) / file).write_bytes(data)
        yield Path(name)


def merged_base(model: Model) -> bytes:
    """Return the file of a model with what is attached to it merged in."""
    merged = model.merge_and_unload()
    with tempfile.TemporaryDirectory(prefix="lieref-") as name:
        merged.save(Path(name) / "merged.onnx")
        return (Path(name) / "merged.onnx").read_bytes()


def check_product(model: Model) -> None:
    """Raise `UnsupportedError` if what is attached has statistics or a new head, which have no product."""
    if model.statistics or model.wants_statistics or model.head is not None:
        raise UnsupportedError(
            f"fleet: `compose` must be of adapters without statistics and new heads; got {model.method_name}"
        )


def composed(problem: Problem, files: Mapping[str, bytes]) -> Files:
    """Return the product of the problem's `start` and an adapter trained on the base with that merged in.

    W' = g_device . (g_start . W0): one element of the group for each tensor, on the base as it is.

    Raises
    ------
    UnsupportedError
        If the adapters have no product: other groups, statistics, a method that is no one element.
    """
    start = problem.start or {}
    origin = decode_config(start[CONFIG_NAME], CONFIG_NAME)["lieref"]
    config = decode_config(files[CONFIG_NAME], CONFIG_NAME)
    tensors = decode_adapter_tensors(files[TENSORS_NAME], config, TENSORS_NAME)
    moved = {name: origin.get(name) for name in ("base_sha256", "network_sha256")}
    own = encode_adapter(tensors, {**config, "lieref": {**config["lieref"], **moved}})
    model = problem.model()
    with folder_of(start) as first, folder_of(own) as second:
        model.add_weighted_adapter([first, second], [1.0, 1.0], combination_type="product")
    try:
        return encode_adapter(*model.adapter_state())
    finally:
        model.unload()


def _said(judged: Judgement, *, each: bool = False) -> dict[str, Any]:
    score = judged.score
    found = {"loss": score.loss, "metrics": score.metrics, "merit": score.merit}
    if each:
        found |= {"right": pack_bits(judged.right), "losses": pack_floats(judged.losses)}
    return found
