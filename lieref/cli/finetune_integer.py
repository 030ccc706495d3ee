"""``lieref finetune`` of a quantised file: other scales and biases for it, measured as integers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from lieref._atomic import remove_folder, write_folder
from lieref._text import did_you_mean
from lieref.adapter.strict_json import format_json, parse_json, path_text
from lieref.cli.choosing import AUTO
from lieref.cli.console import progress_bar, say
from lieref.cli.doubts import tell_same
from lieref.cli.evidence import Outcomes, command_line, digests, heard
from lieref.cli.finetune_options import HISTORY_NAME, REPORT_NAME, Given
from lieref.cli.integer_scores import counted
from lieref.cli.output import reserved_folder, reserved_history
from lieref.cli.page import PAGES, run_page
from lieref.cli.preprocess_option import recorded_text
from lieref.cli.unfinished import Unfinished

if TYPE_CHECKING:
    from lieref.adapter.integer.model import IntegerModel
    from lieref.adapter.integer.update import IntegerUpdate
    from lieref.cli.job import Samples
    from lieref.evaluate.report import Report
    from lieref.train.history import History

_FLOAT_ONLY = {
    "start": "--from", "budget_seconds": "--budget-seconds", "alpha": "--alpha", "method_options": "--option",
    "targets": "--target", "exclude": "--exclude", "blocks": "--blocks", "rank_pattern": "--rank-of",
    "alpha_pattern": "--alpha-of", "features": "--features", "pool": "--pool", "outputs": "--output",
    "algebra_decay": "--algebra-decay", "trust_region": "--trust-region",
}  # fmt: skip
"""Options of networks of real numbers."""


def check_method(method: str) -> str:
    """Return the name of a method for quantised files.

    Raises
    ------
    UsageError
        If it is one for networks of real numbers.
    """
    from lieref.adapter.integer.methods import INTEGER_METHODS

    known = ", ".join(INTEGER_METHODS)
    if method == AUTO:
        raise click.UsageError(f"--method auto chooses among methods of networks of real numbers; use one of {known}")
    if method not in INTEGER_METHODS:
        raise click.UsageError(
            f"--method {method} moves weights, and those of a quantised file are integers; use one of {known} "
            "(lieref carry takes adapters of scale, ia3 and norm-stats over)"
        )
    return method


def run_integer(given: Given) -> Report:
    """Train an update of a quantised file, measure it, write the folder OUT, and return the report."""
    from lieref.adapter.integer.clipping import clipped, summary
    from lieref.adapter.integer.folder import BIN_NAME, JSON_NAME, encode_update
    from lieref.adapter.integer.methods import INTEGER_METHODS, RANK
    from lieref.adapter.integer.model import load_integer
    from lieref.adapter.integer.settle import check_budget
    from lieref.cli import job, label_free
    from lieref.cli.label_free_options import Asked
    from lieref.cli.task_options import chosen_task
    from lieref.cli.watch import watching
    from lieref.evaluate.clipping_text import line
    from lieref.evaluate.report import Report
    from lieref.train.preprocess import Preprocess

    refused = [option for name, option in _FLOAT_ONLY.items() if getattr(given, name) not in (None, (), {}, False)]
    refused += ["--head new"] if given.head == "new" else []
    if refused:
        raise click.UsageError(f"{given.base} is a quantised file, which {refused[0]} does not go with")
    check_method(given.method)
    if given.codes and given.method == "bias":
        raise click.UsageError("--codes is for factors of scales; --method bias has none")
    moves = INTEGER_METHODS[given.method].moves
    for value, option in ((given.budget_bytes, "--budget-bytes"), (given.rank, "--rank")):
        if value is not None and not moves:
            raise click.UsageError(f"{option} is for integers that move; --method {given.method} moves none")
    asked = Asked(given.train, given.unlabelled, given.original, given.float_base, given.trained_with)
    job.parse_augment(given.augment)  # what it says wrong is said before anything is read
    trains = {"--epochs": given.epochs, "--lr": given.lr, "--average": given.average, "--mixup": given.mixup}
    trains["--augment"] = given.augment not in ("auto", "none")
    labelled = {"--validation": given.validation, "--patience": given.patience, "--resume": given.resume}
    asked.check(given.method, given.codes, labelled, trains)
    names = {BIN_NAME, JSON_NAME, REPORT_NAME, HISTORY_NAME, *PAGES}
    with (
        heard() as said,
        reserved_folder("finetune", given.out, names, force=given.force) as replaces,
        reserved_history(given.history_file, given.out, replaces=given.force or given.resume),
        run_page(given.page_path, given.out, force=given.force) as page,
    ):
        unfinished = Unfinished(given.out)
        unfinished.check(given.resume, given.force)
        model = load_integer(given.base, rounding=given.rounding or "clamp")
        model.threads = given.threads or model.threads
        chosen = chosen_task(model, given.task)
        how = check_semantics(given.semantics, model)
        if given.preprocess is not None:  # of samples without labels too
            model.preprocessing = Preprocess.from_text(given.preprocess).fitted(model.input_shape).to_dict()
            if given.train is None:
                say(f"images: {recorded_text(model)} (--preprocess)")
        encoding = "codes" if given.codes else "finished"
        check_budget(model, encoding, given.budget_bytes)
        model.attach(given.method, seed=given.seed, **({} if given.rank is None else {"r": given.rank}))
        with progress_bar("finetune"):
            training, testing = label_free.load_sets(
                model,
                given.train,
                given.test,
                given.layout,
                task=chosen,
                classes=given.classes,
                max_bytes=given.max_bytes,
                text=given.text,
                preprocess=given.preprocess,
            )
        sets = digests(train=training, test=testing)
        tell_same(sets)
        with unfinished.kept(given.resume):
            with watching(model, given.method) as watch:
                settings = given.settings(chosen, unfinished.folder)
                if training is None or asked.concerns:
                    made, seen = label_free.run(
                        model,
                        asked,
                        training,
                        given.layout,
                        given.max_bytes,
                        given.method,
                        given.codes,
                        watch,
                        given.history_file,
                        settings,
                    )
                else:
                    history = job.train(model, training, watch, given.history_file, **settings)
                    seen, made = training.x, None
            unfinished.trained = True
            if made is None:
                assert training is not None  # `asked` has refused to go without
                update = _update_of(model, training, history, encoding, given.budget_bytes, settings)
                made = label_free.Made(update, history, model.num_trainable(), {})
                model.unload()
            update, history = replace(made.update, preprocessing=model.preprocessing), made.history
            files = encode_update(update, model.integer)
            new = model.patched(update)
            new.threads = model.threads
            measured = _measure(model, new, testing, chosen, how)
            clips = [summary(clipped(model, graph, seen)) for graph in (model.integer, new.integer)]
            say(line(*clips))
            report = Report(
                method=update.method,
                rank=(given.rank or RANK) if moves else None,
                trainable=made.trainable,
                base_accuracy=measured.pop("base_accuracy"),
                accuracy=measured.pop("accuracy"),
                train_seconds=history.seconds,
                update_bytes=len(files[BIN_NAME]) + len(files[JSON_NAME]),
                latency_us_base=None,
                latency_us_merged=None,
                peak_rss_mb=None,
                lr=history.learning_rate,
                seed=given.seed,
                epochs=len(history.epochs) or history.recipe.get("epochs", 0),
                details={
                    **measured,
                    **made.facts,
                    "task": chosen.to_dict(),
                    "payload_bytes": len(files[BIN_NAME]),
                    "integer_bytes": parse_json(files[JSON_NAME], str(given.out))["weight_differences"],
                    "changed": _changed(update, model),
                    "clipping": {"base": clips[0], "updated": clips[1]},
                    "rounding": model.rounding_rule,
                    "train_samples": 0 if training is None else len(training.x),
                    "test_samples": None if testing is None else len(testing.x),
                    "batch": given.batch,
                    "optimizer": given.optimizer,
                    "engine": model.engine,
                    "warnings": said,
                    "classes": None if model.classes is None else list(model.classes),
                    "preprocessing": recorded_text(model),
                    "command": command_line(),
                    "samples_sha256": sets,
                    "base": path_text(given.base),
                    "base_sha256": model.base_sha256,
                    "result_sha256": update.result_sha256,
                    "file_format": model.integer.format,
                    "out": path_text(given.out),
                    **job.versions(),
                },
            )
            texts = {REPORT_NAME: format_json(report.to_dict()), HISTORY_NAME: format_json(history.to_dict())}
            write_folder(given.out, {**files, **texts, **page.make(report, history)}, replaces=replaces)
            page.write()
        remove_folder(unfinished.folder)
    return report


def _update_of(
    model: IntegerModel,
    training: Samples,
    history: History,
    encoding: str,
    most_bytes: int | None,
    settings: dict[str, Any],
) -> IntegerUpdate:
    """Return what a model has learnt; where integers may move, the scales are trained once more, half as long."""
    from lieref.adapter.integer.settle import epochs_again, learnt
    from lieref.cli import job
    from lieref.cli.watch import watching

    kept = ("mixup", "task", "batch_size", "optimizer", "augment", "memory_limit")
    again = {name: settings[name] for name in kept}
    again |= {"epochs": epochs_again(history.recipe["epochs"]), "seed": settings["seed"] + 1}

    def train_again(network: IntegerModel) -> None:
        say(f"the scales are trained again beside the integers that have moved, for {again['epochs']} epochs")
        with watching(network, model.method_name) as watch:
            job.train(network, training, watch, phase="scales again", **again)

    return learnt(
        model, training.x, encoding=encoding, most_bytes=most_bytes, seed=settings["seed"],
        classes=settings["task"].has_labels and training.y.ndim == 1,
        train=train_again,
    )  # fmt: skip


def check_semantics(name: str | None, model: IntegerModel) -> str:
    """Return the semantics that a file is judged in.

    Raises
    ------
    UsageError
        If there are none of that name.
    """
    from lieref.evaluate.integer import USUAL
    from lieref.op.integer.semantics import SEMANTICS

    if name is not None and name not in SEMANTICS:
        raise click.UsageError(
            f"--semantics must be one of {', '.join(SEMANTICS)}; got {name}{did_you_mean(name, SEMANTICS)}"
        )
    return name or USUAL[model.integer.format]


def _changed(update: IntegerUpdate, model: IntegerModel) -> dict[str, int]:
    """Return how many bytes of the file an update writes, how many of them differ, and how many integers."""
    from lieref.adapter.integer.changes import changes

    new, made = update.patched(model.integer)
    return {"file_bytes": len(new.content), "bytes_written": len(made), **changes(model.integer, new)}


def _measure(model: IntegerModel, new: IntegerModel, testing: Samples | None, task: Any, how: str) -> dict[str, Any]:
    """Return the metrics of both files in integers; of classes the accuracy, beside the rest in real numbers."""
    from lieref.cli import job
    from lieref.evaluate.class_counts import class_counts
    from lieref.evaluate.integer import classes
    from lieref.evaluate.judge import Judgement
    from lieref.model.samples import own_layout

    found: dict[str, Any] = {"base_accuracy": None, "accuracy": None, "semantics": None}
    if testing is None:
        return found
    before, after = (job.score(each, testing, task) for each in (model, new))
    found |= {"base_loss": before.loss, "loss": after.loss}
    found |= {"base_metrics": before.metrics, "metrics": after.metrics}
    found |= {"base_accuracy": before.accuracy, "accuracy": after.accuracy}
    if task.has_labels and testing.y.ndim == 1:
        found["simulated"] = {"base_accuracy": before.accuracy, "accuracy": after.accuracy}
        outcomes, outputs = Outcomes(), model.logits(testing.x[:1], layout=own_layout(model.input_shape)).shape[1]
        pairs = {"base_accuracy": ("base", model.integer, before), "accuracy": ("adapted", new.integer, after)}
        with progress_bar("test") as progress:
            for number, (key, (name, graph, score)) in enumerate(pairs.items()):

                def told(done: int, first: int = number * len(testing.x), name: str = name) -> None:
                    progress(first + done, len(pairs) * len(testing.x), f"{name}, integers of {how}")

                answers = classes(model, graph, testing.x, how, told=told)
                right = answers == testing.y
                outcomes.keep(name, Judgement(score, right, None, class_counts(answers, testing.y, outputs)))
                found[key] = float(right.mean())
        found["test_outcomes"] = outcomes.to_dict()
        found["base_metrics"] = {**before.metrics, "accuracy": found["base_accuracy"]}
        found["metrics"] = {**after.metrics, "accuracy": found["accuracy"]}
    else:
        simulated = {key: found[key] for key in ("base_loss", "loss", "base_metrics", "metrics")}
        found |= {**_scores(model, new, testing, task, how), "simulated": simulated}
    return {**found, "semantics": how}


def _scores(model: IntegerModel, new: IntegerModel, testing: Samples, task: Any, how: str) -> dict[str, Any]:
    """Return loss and metrics of both files in integers."""
    from lieref.evaluate import judge
    from lieref.evaluate.integer_scores import IntegerScores

    found: dict[str, Any] = {}
    pairs = {"base_": ("base", model.integer), "": ("adapted", new.integer)}
    with progress_bar("test") as progress:
        for order, (key, (name, graph)) in enumerate(pairs.items()):
            told = counted(progress, f"{name}, integers of {how}", order * len(testing.x), len(pairs) * len(testing.x))
            score = judge.score(IntegerScores(graph, model.source, how), testing.x, testing.y, task, told)
            found |= {f"{key}loss": score.loss, f"{key}metrics": score.metrics, f"{key}accuracy": score.accuracy}
    return found
