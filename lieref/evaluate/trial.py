"""One plan tried on one problem with one seed: what is run, and the record of it."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lieref import __version__
from lieref._check import check_choice, check_int
from lieref.errors import DomainError, LierefError, LierefWarning, UnsupportedError
from lieref.evaluate.flops import run_flops
from lieref.evaluate.judge import judge, pack_bits, pack_floats, score
from lieref.evaluate.moved import moved
from lieref.evaluate.plan import BASE, START, Plan
from lieref.evaluate.problem import Problem, fold_of, taken
from lieref.evaluate.quantised import carried_forms, integer_forms, is_quantised

if TYPE_CHECKING:
    from lieref.adapter.integer.model import IntegerModel
    from lieref.adapter.integer.update import IntegerUpdate
    from lieref.adapter.model import Model
    from lieref.train.history import History
    from lieref.train.task import Task

FORMAT = 1
"""Of the identity and the record; raised when either changes its meaning."""

PARTS = ("test", "held-out")


@dataclass(frozen=True)
class Trial:
    """A run to make; its `id` follows from all of it.

    Attributes
    ----------
    problem : str
        Digest of the problem.
    plan : Plan
    seed : int
        Of factors, order and augmentation.
    part : {"test", "held-out"}
        What it is judged on: test samples, after training on all others; or one fold of those, after training on the
        rest. The test samples are touched by "test" alone.
    fold, folds : int
        Which is held out, of how many. A trial of the part "test" holds one out only where its plan stops early.
    division_seed : int
        Of the division into folds.

    Raises
    ------
    DomainError, DTypeError
        If a field is out of range.
    """

    problem: str
    plan: Plan
    seed: int = 0
    part: str = "held-out"
    fold: int = 0
    folds: int = 5
    division_seed: int = 0

    def __post_init__(self) -> None:
        check_choice("Trial", "part", self.part, PARTS)
        check_int("Trial", "seed", self.seed, low=0, high=2**63 - 1)
        check_int("Trial", "folds", self.folds, low=2)
        check_int("Trial", "fold", self.fold, low=0, high=self.folds - 1)
        check_int("Trial", "division_seed", self.division_seed, low=0, high=2**63 - 1)

    @property
    def divides(self) -> bool:
        """Whether a fold is held out."""
        return self.part == "held-out" or self.plan.patience is not None

    @property
    def id(self) -> str:
        """SHA-256 of its canonical JSON, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; the division stands in them only where there is one."""
        division = {"fold": self.fold, "folds": self.folds, "division_seed": self.division_seed}
        found = {"problem": self.problem, "plan": self.plan.to_dict(), "seed": self.seed, "part": self.part}
        return {"format": FORMAT, **found, **(division if self.divides else {})}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trial:
        """Return the trial that `to_dict` gave."""
        own = {name: value for name, value in values.items() if name != "format"}
        return cls(**{**own, "plan": Plan.from_dict(own["plan"])})


@dataclass(frozen=True)
class Outcome:
    """A trial that was run.

    Attributes
    ----------
    record : dict
        Plain JSON values; see `run_trial`.
    files : dict of str to bytes
        The adapter's; empty where nothing was attached, or the trial failed.
    """

    record: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict, repr=False)


def run_trial(problem: Problem, trial: Trial) -> dict[str, Any]:
    """Return the record of a trial.

    Parameters
    ----------
    problem : Problem
        The one that the trial names.
    trial : Trial

    Returns
    -------
    dict
        ``id``, ``trial``; ``failed``, None or why; ``loss``, ``metrics``, ``merit`` (more is better) and ``right`` or
        ``losses`` of each sample that was judged; of the part "test" also ``classes`` (see `class_counts`) and
        ``moved`` (see there); ``other``: loss and metrics on the original job's samples;
        ``history``: the loss of each epoch; ``learning_rate``, ``epochs``, ``best_epoch``; ``trainable``,
        ``update_bytes`` of the adapter's files, ``payload_bytes`` of the numbers in it; ``seconds`` of training, of the
        processor and of the wall; ``memory_bytes`` of its steps, None where not known ahead; ``flops`` of training;
        ``warnings``; ``machine``; where quantised files are judged also ``forms``, what differs in each of the further
        forms that an update can have: see `lieref.evaluate.quantised`. All but seconds and machine are the same bits
        wherever instructions are the same.

    Raises
    ------
    Nothing of the `LierefError` family: its text is in ``failed``.
    """
    return run(problem, trial).record


def run(problem: Problem, trial: Trial, *, encoding: str | None = None) -> Outcome:
    """Return the record of a trial and the adapter's files; see `run_trial`.

    Of a quantised file they are those of the update in an encoding of `lieref.adapter.integer.form`, and none where
    none is asked for: integers that may move are chosen, and trained beside once more, for them alone.
    """
    begin = {"id": trial.id, "trial": trial.to_dict(), "failed": None, "machine": machine()}
    said: list[str] = []
    try:
        if trial.problem != problem.digest:
            raise DomainError(
                f"run_trial: `trial` must be of this problem, {problem.digest[:12]}; got {trial.problem[:12]}"
            )
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", LierefWarning)
            found, files = _run(problem, trial, encoding)
        said = list(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, LierefWarning)))
    except LierefError as error:
        return Outcome({**begin, "failed": f"{type(error).__name__}: {error}", "warnings": said})
    return Outcome({**begin, **found, "warnings": said}, files)


def _run(problem: Problem, trial: Trial, encoding: str | None) -> tuple[dict[str, Any], dict[str, bytes]]:
    plan = trial.plan
    indices, held = _division(problem, trial)
    # Looked up before anything is trained: a missing test set should not cost a training run.
    x, y = _judged(problem, trial, held)
    model = problem.model()
    if is_quantised(model) and not problem.semantics:
        raise DomainError("run_trial: `semantics` must be given for a quantised file; the problem has none")
    task = task_of(problem.task, plan)
    attach(problem, model, plan, trial.seed)
    found: dict[str, Any] = {
        "history": [], "learning_rate": None, "epochs": 0, "best_epoch": None, "trainable": 0, "update_bytes": 0,
        "payload_bytes": 0, "seconds": {"processor": 0.0, "wall": 0.0}, "memory_bytes": None, "flops": 0,
    }  # fmt: skip
    files: dict[str, bytes] = {}
    seen = indices if trial.part == "held-out" else None
    if plan.method != BASE:
        found |= _train(problem, model, trial, task, indices, held)
        if is_quantised(model):
            if encoding is not None:
                from lieref.adapter.integer.folder import encode_update

                update = _learnt(problem, model, trial, task, seen, encoding)
                files = encode_update(replace(update, preprocessing=model.preprocessing), model.integer)
        else:
            from lieref.adapter.folder import encode_adapter

            tensors, config = model.adapter_state()
            files = encode_adapter(tensors, config)
            found["update_bytes"] = sum(map(len, files.values()))
            found["payload_bytes"] = sum(array.nbytes for array in tensors.values())
    judged = judge(model, x, y, problem.task, both=trial.part == "held-out")
    found |= {"loss": judged.score.loss, "metrics": judged.score.metrics, "merit": judged.score.merit}
    found |= {"right": pack_bits(judged.right), "losses": pack_floats(judged.losses), "judged": len(x), "other": None}
    if trial.part == "test":
        found |= {"classes": judged.classes, "moved": moved(model.graph.initializers, model.adapted_tensors())}
    if trial.part == "test" and problem.x_other is not None and problem.head is None:
        other = score(model, problem.x_other, problem.y_other, problem.task)
        found["other"] = {"loss": other.loss, "metrics": other.metrics, "merit": other.merit}
    if not math.isfinite(found["loss"]):
        raise DomainError(f"run_trial: the loss must be finite; got {found['loss']}")
    if trial.part == "test" and is_quantised(model):
        found |= integer_forms(problem, model, partial(_learnt, problem, model, trial, task, seen))
    elif trial.part == "test" and files and problem.into is not None:
        found["forms"] = carried_forms(problem, plan.method, files)
    model.unload()
    return found, files


def attach(problem: Problem, model: Model, plan: Plan, seed: int) -> None:
    """Attach a plan's method to the fresh model of a problem, with the problem's new head where it has one.

    Raises
    ------
    DomainError
        If the base of a new head is asked for, which has no answers, or there is no adapter to start from.
    LierefError
        As `attach` and `load_adapter` do.
    """
    if plan.method == BASE:
        if problem.head is not None:
            raise DomainError("run_trial: `method` must train where the head is new; the base has no answers")
    elif plan.method == START:
        if problem.start is None:
            raise DomainError("run_trial: `start` must be given for the method 'start'; the problem has none")
        with tempfile.TemporaryDirectory() as folder:
            for name, data in problem.start.items():
                (Path(folder) / name).write_bytes(data)
            model.load_adapter(folder)
    else:
        model.attach(plan.method, head=problem.head, seed=seed, **plan.options)


def _division(problem: Problem, trial: Trial) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    """Return the samples to train on, None for all, and those held out, None for none."""
    if not trial.divides:
        return None, None
    folds = fold_of(problem, trial.folds, trial.division_seed)
    return np.flatnonzero(folds != trial.fold), np.flatnonzero(folds == trial.fold)


def _judged(problem: Problem, trial: Trial, held: NDArray[np.int64] | None) -> tuple[Any, Any]:
    """Return the samples and targets that a trial is judged on."""
    if trial.part == "held-out" and held is not None:
        return problem.x[held], taken(problem.y, held)
    if problem.x_test is None:
        raise DomainError("run_trial: `x_test` must be given for a trial of the part 'test'; the problem has none")
    return problem.x_test, problem.y_test


def task_of(task: Task, plan: Plan) -> Task:
    """Return the task with the plan's label smoothing."""
    if not plan.label_smoothing:
        return task
    if not hasattr(task, "label_smoothing"):
        raise UnsupportedError(f"Plan: `label_smoothing` must be 0 for the task {task.name!r}")
    return replace(task, label_smoothing=plan.label_smoothing)  # type: ignore[type-var]


def default_epochs(plan: Plan, samples: int) -> int:
    """Return the epochs of a plan on so many samples: its own, or the default of `fit`."""
    from lieref.train import epochs

    return plan.epochs or epochs.default_epochs(samples, plan.batch_size)


def rate_of(plan: Plan, model: Model, samples: int) -> float | None:
    """Return the learning rate to give to `fit`, None for its default."""
    from lieref.train.learning_rate import default_learning_rate
    from lieref.train.recipe import steps_per_epoch

    if plan.learning_rate is not None or plan.rate_factor == 1.0 or not model.parameters():
        return plan.learning_rate
    steps = default_epochs(plan, samples) * steps_per_epoch(samples, plan.batch_size)
    return plan.rate_factor * default_learning_rate(model.default_learning_rate, steps, batch_size=plan.batch_size)


def _train(
    problem: Problem, model: Model, trial: Trial, task: Task, indices: NDArray[np.int64] | None,
    held: NDArray[np.int64] | None,
) -> dict[str, Any]:  # fmt: skip
    """Train what is attached, and return what the record says of it."""
    from lieref.model.samples import own_layout
    from lieref.train.loop import STATISTICS_SAMPLES, fit

    plan = trial.plan
    x, y = (problem.x, problem.y) if indices is None else (problem.x[indices], taken(problem.y, indices))
    options = {**plan.fit_options(), "epochs": default_epochs(plan, len(x))}
    if plan.patience is not None and held is not None:
        options |= {"patience": plan.patience, "validation": (problem.x[held], taken(problem.y, held))}
    estimates = model.wants_statistics
    trainable = model.num_trainable()
    start, processor = time.perf_counter(), time.process_time()
    history: History = fit(
        model, x, y, task=task, learning_rate=rate_of(plan, model, len(x)), seed=trial.seed, threads=1,
        layout=own_layout(model.input_shape), **options,
    )  # fmt: skip
    seconds = {"processor": time.process_time() - processor, "wall": time.perf_counter() - start}
    model.adapted_tensors()  # raises where a weight is not finite
    estimated_of = min(len(x), STATISTICS_SAMPLES) if estimates else None
    flops = run_flops(model, x.shape[1:], len(x), len(history.epochs), estimated_of)
    return {
        "history": [record.loss for record in history.epochs],
        "learning_rate": history.learning_rate,
        "epochs": len(history.epochs),
        "best_epoch": history.best_epoch,
        "trainable": trainable,
        "seconds": seconds,
        "memory_bytes": _memory(model, min(plan.batch_size, len(x))),
        "flops": flops,
    }


def _learnt(
    problem: Problem, model: IntegerModel, trial: Trial, task: Task, indices: NDArray[np.int64] | None, form: str
) -> IntegerUpdate:
    """Return the update that a form is; where integers have moved, scales are trained once more, half as long.

    What is held out of the samples, all but those of the indices, is not seen.
    """
    from lieref.adapter.integer.settle import epochs_again, learnt
    from lieref.model.samples import own_layout
    from lieref.train.loop import fit

    plan, samples, y = trial.plan, np.asarray(problem.x), problem.y
    if indices is not None:
        samples, y = samples[indices], taken(y, indices)
    options = {**plan.fit_options(), "epochs": epochs_again(default_epochs(plan, len(samples)))}
    options |= {"seed": trial.seed + 1, "threads": 1, "task": task, "layout": own_layout(model.input_shape)}
    scores = task.has_labels and problem.y.ndim == 1
    return learnt(
        model, samples, encoding=form, seed=trial.seed, classes=scores,
        train=lambda network: fit(network, samples, y, **options),
    )  # fmt: skip


def _memory(model: Model, batch: int) -> int | None:
    """Return the bytes of a training step with the default optimiser, None where they are not known ahead."""
    from lieref.train.memory import COPIES
    from lieref.train.optimizer_registry import make_optimizer

    parameters = model.parameters()
    if not parameters:
        return None
    own = (len(make_optimizer("adamw").slots) + COPIES) * sum(array.nbytes for array in parameters.values())
    try:
        return own + sum(model.training_memory(batch, 1, predicts=False).values())
    except UnsupportedError:
        return None


def machine() -> dict[str, str]:
    """Return what ran a trial: node, processor type and versions."""
    return {
        "node": platform.node(),
        "processor": platform.machine(),
        "lieref": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
