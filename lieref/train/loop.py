"""Fine-tuning: from a model, samples and targets to trained parameters and a record of the run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lieref import rng
from lieref._check import check_int
from lieref._types import Array, Params
from lieref.errors import DomainError
from lieref.model.lazy_samples import lazy, rows_of
from lieref.model.samples import Samples, own_layout
from lieref.train._protocol import Trainable
from lieref.train.afterwards import StillFallingWarning as StillFallingWarning
from lieref.train.afterwards import noting, warn_falling, warn_unmoved
from lieref.train.augment import make_augmentation
from lieref.train.checkpoint import Checkpoint, checkpoint_folder, read_checkpoint, run_identity, write_checkpoint
from lieref.train.data import Dataset
from lieref.train.epoch import Part, Progress, Score, evaluate, reporting_divergence, train_epoch
from lieref.train.epochs import default_epochs
from lieref.train.evidence import Witness, warn_one_class
from lieref.train.history import EpochRecord, History
from lieref.train.image_array import PixelArray
from lieref.train.judge_base import look_at_base, looks_before, show_labelled
from lieref.train.learning_rate import default_learning_rate, search_learning_rate
from lieref.train.memory import parse_bytes, within
from lieref.train.mixup import check_mixup
from lieref.train.moving_average import MovingAverage, inside, moving_average
from lieref.train.optimizer import Optimizer
from lieref.train.optimizer_registry import make_optimizer
from lieref.train.parts import check_moves, check_start, parts_of
from lieref.train.recipe import AUTO, Recipe, steps_per_epoch
from lieref.train.restoring import all_or_nothing, assign, copies, reading
from lieref.train.still_falling import FEWEST_EPOCHS
from lieref.train.task import Task
from lieref.train.task_registry import make_task
from lieref.train.trust_region import TrustRegion, make_trust_region

COMPILING = "compiling (once after installation)"
"""The phase before the first step where machine code is not yet there."""

STATISTICS_SAMPLES = 2000
"""Random training samples that re-estimate BatchNormalization; more of them change nothing measurable."""


def fit(
    model: Trainable,
    x: Samples | Dataset,
    y: Array | None = None,
    *,
    task: str | Task = "classes",
    epochs: int | None = None,
    batch_size: int = 128,
    learning_rate: float | str | None = None,
    optimizer: str | Optimizer = "adamw",
    schedule: str = "cosine",
    warmup_steps: int = 0,
    clip_norm: float | None = None,
    algebra_decay: float | None = None,
    trust_region: float | None = None,
    average: bool | float = False,
    mixup: float = 0.0,
    patience: int | None = None,
    augment: str | Sequence[str] = AUTO,
    validation: float | tuple[Samples, Array] | None = None,
    layout: str | None = None,
    seed: int = 0,
    threads: int | None = None,
    memory_limit: int | str | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    each_epoch: Callable[[History], None] | None = None,
) -> History:
    """Train the adapters of a model on labelled samples.

    The same arguments give the same bits, on any number of threads. A run that fails or is interrupted changes nothing
    in the model. Other threads predict meanwhile with the model as it was before.

    Parameters
    ----------
    model : Model
        With a method attached; its adapters are trained, its base is not.
    x : (N, ...) array of integers or floats, or dict of them, images of `load_data` with a `Preprocess`, or a
        `Dataset` alone
        In the model's layout, or with the channels at the other end; by the names of `model.inputs` where those are
        several. Values go to the model as they are; a base that does no better than chance on them is said in a
        warning.
    y : array
        Targets as the task wants them: (N,) integers for ``"classes"``; (N, K) of 0 and 1 for ``"multilabel"``; numbers
        of the output's shape for ``"numbers"``; (N, H, W) integers for ``"dense"``; (N, S) integers padded with -1, or
        lists, for ``"sequence"``; none for ``"tokens"``, whose targets are the ids of `x` one place on. A dict of them
        by output where the model was loaded for several.
    task : str or Task
        A name, or what `make_task` returns, with settings.
    epochs : int, optional
        At least 1; None makes as many as `default_epochs` finds for the number of samples.
    batch_size : int
        At least 1.
    learning_rate : float, "auto" or None
        None takes the default of the method, less for runs of few steps or small batches (`default_learning_rate`);
        ``"auto"`` searches a short ladder around that on a held-out fifth of the training set.
    optimizer : {"adamw", "sgd", "adalora"} or Optimizer
        The last moves ranks to the layers that use them, and afterwards stores no others (`lieref.train.adalora`).
    schedule : {"cosine", "constant"}
        Cosine falls to 0 over the run, step by step.
    warmup_steps : int
        Steps of linear warm-up.
    clip_norm : float, optional
        Largest global norm of the gradient.
    algebra_decay : float, optional
        Above 0 adds ``algebra_decay / 2 * sum |xi|^2`` to the objective: weight decay to the base, in the algebra
        (`lieref.train.algebra_decay`). The loss that is reported is without it; each epoch records ``xi_norm``.
    trust_region : float, optional
        Above 0: largest |xi| of each adapted tensor, a new head left out. What a step takes beyond goes back towards
        the start of the run (`lieref.train.trust_region`); the record counts the steps of each tensor.
    average : bool or float
        Whether the model ends with an exponential moving average of its factors over the last steps, in the algebra
        (`lieref.train.moving_average`); a number below 1 is its decay a step, True looks back on a fifth of the run. It
        is also what is judged on the validation set.
    mixup : float
        Above 0 trains on convex combinations of samples and of their losses, with shares from Beta(mixup, mixup); for
        the task ``"classes"`` on samples that are numbers.
    patience : int, optional
        At least 1: ends the run after so many epochs none of which did better on the validation set, which must be
        given. The schedule stays that of all epochs.
    augment : "auto" or sequence of str
        ``"flip"``, ``"shift(2)"``; ``"auto"`` flips colour images that are classified where the base recognises them
        as often mirrored, and says what it chose.
    validation : float or (x, y), optional
        Share of the training set to hold out (the same of every class), or a set of its own. The model ends with the
        parameters of the epoch that did best on it: by the metric of the task, then by loss.
    layout : {"NCHW", "NHWC"}, optional
        Of `x`; needed only where both fit the model.
    seed : int
        0 to 2**63 - 1: order of the samples, augmentation, held-out slices.
    threads : int, optional
        At least 1; None leaves the model's.
    memory_limit : int or str, optional
        Bytes, or text such as "64MB", that the run may take beside data, file and interpreter. It is trained on as many
        threads as that leaves room for, and where one takes more, some activations are computed again instead of kept,
        to the same bits; a limit that is too low is refused before the first step, with the least that works.
    checkpoint : str or Path, optional
        Folder for a checkpoint after every epoch.
    resume : bool
        Go on from the checkpoint, if there is one; without it an existing one is an error.
    progress : callable, optional
        Called with a `Progress` after every update; and once before the first, with step 0, where machine code has to
        be compiled, which takes seconds once after installation.
    each_epoch : callable, optional
        Called with the record so far after every epoch and its checkpoint; and once before the first where the run is
        resumed. `lieref.train.history_file.write_history` keeps it in a file.

    Returns
    -------
    History

    Raises
    ------
    DomainError
        If an argument is out of range, the data are empty or not finite, targets are out of range, nothing is
        attached, the limit of memory is too low, or training diverges.
    UnsupportedError
        If there is a limit of memory and training is not compiled.
    DTypeError, ShapeError
        If the data are of the wrong kind, or do not fit the model or the task.
    FormatError, VerificationError
        If the checkpoint is damaged, or belongs to another run.
    BusyError
        If another thread trains or changes the model.
    """
    if isinstance(x, Dataset):
        if y is not None:
            raise DomainError("fit: `y` must be left out with a Dataset, which has targets of its own")
        data = x
        x, y, layout = data.x, data.y, layout or data.layout
    chosen = make_task(task)
    limit = None if memory_limit is None else parse_bytes(memory_limit)
    params = model.parameters()
    if not params and not model.wants_statistics:
        raise DomainError("fit: `model` must have a method attached; call model.attach(...) first")
    recipe = Recipe(
        epochs=1 if epochs is None else epochs,  # None is replaced below, once the number of samples is known
        batch_size=batch_size,
        learning_rate=1.0 if learning_rate is None else learning_rate,
        optimizer=make_optimizer(optimizer),
        schedule=schedule,
        warmup_steps=warmup_steps,
        clip_norm=clip_norm,
        algebra_decay=algebra_decay,
        trust_region=trust_region,
        task=chosen,
        augmentation=make_augmentation(augment, model.input_shape, classifies=chosen.has_labels),
        seed=seed,
        average=average,
        mixup=mixup,
        patience=patience,
    )
    if recipe.average and recipe.optimizer.prunes:
        raise DomainError(
            f"fit: `average` must be False with the optimizer {recipe.optimizer.name}, which takes ranks "
            f"away; got {average}"
        )
    if patience is not None and validation is None:
        raise DomainError(f"fit: `patience` must have a validation set to judge by; got {patience} without one")
    check_start(model)
    if threads is not None:
        check_int("fit", "threads", threads, low=1)
    with reading(model, chosen):
        if progress is not None and model.compiles_first:
            progress(Progress(0, recipe.epochs, 0, 1, math.nan, 0.0, COMPILING))
        training, held_out, chosen = parts_of(model, x, y, chosen, validation, layout, seed)
        recipe = replace(recipe, task=chosen)
        if chosen.name == "classes" and training.y.ndim == 1:
            warn_one_class(training.y[training.indices], training.outputs)
        if epochs is None:
            recipe = replace(recipe, epochs=default_epochs(len(training), batch_size))
        check_moves(recipe, model, training)
        check_mixup(mixup, model, training.x, chosen)
        steps = recipe.total_steps(len(training))
        if learning_rate is None and params:  # statistics alone have no gradient, hence no rate of their own
            rate = default_learning_rate(model.default_learning_rate, steps, batch_size)
            recipe = replace(recipe, learning_rate=rate)
        recomputation = None
        if limit is not None:
            batch = min(batch_size, len(training))
            predicts = held_out is not None or recipe.learning_rate == AUTO or looks_before(training, recipe)
            most = threads or model.threads
            kept = chosen.kept_bytes(training.outputs * max(len(training), len(held_out or ())))
            run = model, recipe.optimizer, batch, most, limit
            threads, recomputation = within(*run, predicts=predicts, kept=kept, averages=bool(average))
        with (
            checkpoint_folder(checkpoint, resume=resume),
            model.training("fit"),
            all_or_nothing(model, threads, recomputation),
        ):
            recipe, witness = look_at_base(model, training, recipe, augment == AUTO, resume)
            whole = _Run(model, recipe, training, held_out, checkpoint, resume, progress, each_epoch, witness)
            history = _train(whole)
            model.task = chosen.to_dict()
            pixels = lazy(x)
            if isinstance(pixels, PixelArray):
                model.preprocessing = pixels.preprocess.to_dict()
            return history


@dataclass(frozen=True)
class _Run:
    """A run whose every argument has been checked."""

    model: Trainable
    recipe: Recipe
    training: Part
    held_out: Part | None
    folder: str | Path | None
    resume: bool
    progress: Callable[[Progress], None] | None
    each_epoch: Callable[[History], None] | None
    witness: Witness | None


def _train(run: _Run) -> History:
    """Prepare or resume, train the epochs that are left, and leave the best parameters in the model."""
    model, recipe, training = run.model, run.recipe, run.training
    started = time.perf_counter()
    identity = {} if run.folder is None else run_identity(model, recipe, training, run.held_out)
    if model.wants_statistics:
        chosen = rng.stream(recipe.seed, "statistics").permutation(len(training))[:STATISTICS_SAMPLES]
        model.estimate_statistics(rows_of(training.x, training.indices[chosen]), layout=own_layout(model.input_shape))
    ranks: Mapping[str, int] = {}
    if model.wants_inputs:  # of a resumed run too: ranks, and what factors count from, are in no checkpoint
        chosen = rng.stream(recipe.seed, "inputs").permutation(len(training))[:STATISTICS_SAMPLES]
        few = rows_of(training.x, training.indices[chosen])
        ranks = model.start_from_inputs(few, layout=own_layout(model.input_shape), final=False)
    params = model.parameters()
    saved = read_checkpoint(run.folder, identity, params) if run.folder is not None and run.resume else None
    if not params:
        return History((), None, recipe.to_dict(), preparation_seconds=time.perf_counter() - started)

    region = make_trust_region(model, recipe, None if saved is None else saved.history.held)
    optimizer = recipe.optimizer.fresh()
    optimizer.plan(params, recipe.total_steps(len(training)))
    history = History((), None, recipe.to_dict(), ranks=ranks)
    best_params: Params = {}
    if saved is not None:
        history, best_params, peak = saved.history, saved.best_params, saved.learning_rate
        assign(params, saved.params)
        optimizer.load_state(saved.optimizer)
    elif recipe.learning_rate == AUTO:
        peak, trials = search_learning_rate(model, training, recipe, run.progress)
        history = replace(history, trials=trials)
    else:
        peak = float(recipe.learning_rate)
    average = moving_average(params, recipe, len(training))
    if average is not None and saved is not None:
        average.load(saved.average, len(history.epochs) * steps_per_epoch(len(training), recipe.batch_size))
    preparation = history.preparation_seconds + time.perf_counter() - started
    history = replace(history, learning_rate=peak, preparation_seconds=preparation)

    if saved is not None and run.each_epoch is not None:
        run.each_epoch(history)
    unmoved = set(params)
    steps: list[tuple[float, float]] = []  # loss and rate of each one, where the epochs are too few to say anything
    if recipe.epochs < FEWEST_EPOCHS:
        run = replace(run, progress=noting(steps, run.progress))
    while len(history.epochs) < recipe.epochs and not _out_of_patience(history, recipe):
        epoch = len(history.epochs)
        history = _add_epoch(run, history, peak, optimizer, unmoved, average, region)
        # In the first step what lies before a layer of zeros has no gradient yet.
        if epoch + 1 == recipe.epochs or recipe.total_steps(len(training)) > recipe.epochs:
            warn_unmoved(params, unmoved)
            unmoved.clear()
        if history.best_epoch == epoch + 1:
            best_params = copies(params if average is None else average.values)
        if run.folder is not None:
            averaged = {} if average is None else average.values
            state = Checkpoint(identity, history, peak, params, best_params, optimizer.state(), averaged)
            write_checkpoint(run.folder, state)
        if run.each_epoch is not None:
            run.each_epoch(history)
    warn_falling(history, recipe, steps if len(steps) == recipe.total_steps(len(training)) else [])
    assign(params, best_params if average is None or history.best_epoch is not None else average.values)
    return replace(history, ranks=model.prune_ranks()) if optimizer.prunes else history


def _add_epoch(
    run: _Run,
    history: History,
    peak: float,
    optimizer: Optimizer,
    unmoved: set[str],
    average: MovingAverage | None,
    region: TrustRegion | None,
) -> History:
    """Train one epoch, score it on the validation set if there is one, and return the longer history."""
    started, epoch = time.perf_counter(), len(history.epochs)
    see = None if run.witness is None else run.witness.see
    if see is not None and getattr(run.recipe.task, "ignore_index", None) is not None:
        see = partial(show_labelled, see, run.recipe.task)
    how = peak, optimizer, epoch, run.progress, unmoved, see, average, region
    score, rate = train_epoch(run.model, run.training, run.recipe, *how)
    trained, samples = time.perf_counter() - started, len(run.training)
    steps = (epoch + 1) * steps_per_epoch(samples, run.recipe.batch_size)
    xi = math.hypot(*run.model.algebra_norms().values()) if run.recipe.algebra_decay or region else None
    record = EpochRecord(epoch + 1, score.loss, score.metrics, None, None, rate, 0.0, steps, samples, trained, xi)
    best_epoch = None
    if run.held_out is not None:
        place = f"on the validation set after epoch {epoch + 1}, at a learning rate of {peak:.3g}"
        with reporting_divergence(place), inside(average, run.model.parameters()):
            after = evaluate(run.model, run.held_out, run.recipe.task)
        record = replace(record, validation_loss=after.loss, validation_metrics=after.metrics)
        best = _best_score(history, run.recipe.task)
        best_epoch = record.epoch if best is None or after.is_better_than(best) else history.best_epoch
    record = replace(record, seconds=time.perf_counter() - started)
    held = history.held if region is None else dict(region.held)
    return replace(history, epochs=(*history.epochs, record), best_epoch=best_epoch, held=held)


def _out_of_patience(history: History, recipe: Recipe) -> bool:
    """Tell whether the validation set has seen as many epochs in vain as the recipe allows."""
    if recipe.patience is None or history.best_epoch is None:
        return False
    return len(history.epochs) - history.best_epoch >= recipe.patience


def _best_score(history: History, task: Task) -> Score | None:
    """Return the score of the best epoch so far, None before the first."""
    if history.best_epoch is None:
        return None
    record = history.epochs[history.best_epoch - 1]
    if record.validation_loss is None or record.validation_metrics is None:
        return None
    return Score(record.validation_loss, record.validation_metrics, task.merit(record.validation_metrics))
