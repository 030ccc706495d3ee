"""``lieref finetune`` of a network of real numbers: an adapter, measured, and the report of it."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lieref._atomic import remove_folder, write_folder
from lieref.adapter.strict_json import format_json, path_text
from lieref.cli.choosing import AUTO, Chooser, flattery, report_of_nothing, run_settings
from lieref.cli.console import progress_bar, say
from lieref.cli.doubts import look_at_base, tell_same, tell_unlike, without_doubts
from lieref.cli.evidence import Outcomes, command_line, digests, heard, measured
from lieref.cli.finetune_options import HISTORY_NAME, REPORT_NAME, Given
from lieref.cli.kept import start_from_original
from lieref.cli.output import ADAPTER_NAMES, reserved_folder, reserved_history
from lieref.cli.page import PAGES, run_page
from lieref.cli.preprocess_option import recorded_text
from lieref.cli.start_from import check_options, recorded, started
from lieref.cli.task_options import chosen_task
from lieref.cli.text_options import with_padding_of, without_padding
from lieref.cli.unfinished import Unfinished
from lieref.cli.unlabelled import load_others, method_for, train_with

if TYPE_CHECKING:
    from lieref.evaluate.report import Report
    from lieref.model.head import NewHead
    from lieref.train.data import Dataset
    from lieref.train.epoch import Score


def run_float(given: Given) -> Report:
    """Train, measure, write the folder OUT, and return the report."""
    from lieref.cli import job
    from lieref.cli.loading import load_for
    from lieref.cli.watch import watching
    from lieref.evaluate.unlabelled.self_training import check_alike
    from lieref.model.mask_inputs import describe

    assert given.train is not None  # the command has asked for it
    train, outcomes = given.train, Outcomes()
    names = {*ADAPTER_NAMES, REPORT_NAME, HISTORY_NAME, *PAGES}
    with (
        heard() as said,
        reserved_folder("finetune", given.out, names, force=given.force) as replaces,
        reserved_history(given.history_file, given.out, replaces=given.force or given.resume),
        run_page(given.page_path, given.out, force=given.force) as page,
    ):
        unfinished = Unfinished(given.out)
        unfinished.check(given.resume, given.force)
        known = recorded(given.start)
        text = with_padding_of(given.text, known)
        model = load_for(given.base, train, text, given.outputs or known.get("output"), known)
        if given.start is not None:
            model.load_adapter(given.start)
            asked = {name: getattr(given, name) for name in ("method", "rank", "task", "outputs", "classes")}
            check_options(given.start, model, known, asked)
        classes = given.classes if given.start is None or model.head is None else None
        model.threads = given.threads or model.threads
        chosen = chosen_task(model, given.task)
        where = given.where()
        # Labels are matched with a new head before anything is chosen.
        first = "head" if given.method == AUTO else method_for(given.method, given.unlabelled, model)
        attach = partial(job.attach_method, model, first, rank=given.rank, alpha=given.alpha, seed=given.seed, **where)
        new = given.head == "new"
        heads: list[NewHead] = []

        def give_head(data: Dataset) -> None:
            heads.append(job.new_head(data, train, classes=classes, features=given.features, pool=given.pool))
            attach(head=heads[0])

        with progress_bar("finetune"):
            training, testing = job.load_sets(
                model,
                train,
                given.test,
                given.layout,
                task=chosen,
                classes=classes,
                max_bytes=given.max_bytes,
                give_head=give_head if new else None,
                text=text,
                preprocess=given.preprocess,
                at_once=given.method == AUTO or given.unlabelled is not None,
            )
            others = None
            if given.unlabelled is not None:
                others = load_others(given.unlabelled, model, given.layout, given.max_bytes, chosen, given.preprocess)
                check_alike(training.x, others)
            if model.derived_inputs:
                say(describe(model.derived_inputs, model.padding_id))
            for samples in (training, testing):
                if samples is not None and samples.described:
                    say(samples.described)
            chosen = without_padding(chosen, (training.text or {}).get("padding"))
            # Before what takes its time; a training without it looks by itself, and statistics may cure a base.
            slow = testing is not None or training.preprocessed or given.method == AUTO
            looks = slow and given.start is None and not given.resume and "norm-stats" not in first
            look = look_at_base(model, training, chosen, given.augment, given.seed) if looks else None
            sets = digests(train=training, test=testing)  # reads every image: a damaged one is named before the run
            tell_same(sets)
            # The base has no answers to the questions of a new head.
            before = None
            if testing is not None and model.head is None:
                with model.disable_adapter():
                    before = outcomes.judge("base", model, testing, chosen)
            if look is not None:
                tell_unlike(look, before)
            begun = None if testing is None or given.start is None else job.score(model, testing, chosen)
        settings = given.settings(chosen, unfinished.folder)
        evidence: dict[str, Any] = {}
        if given.method == AUTO:
            fixed = {name: settings[name] for name in ("batch_size", "optimizer", "augment")}
            budget = given.budget_bytes, given.budget_seconds
            chooser = Chooser(given.base, unfinished.folder, *budget, fixed, given.seed, given.resume)
            choice = chooser.choose(model, training, chosen, heads[0] if heads else None)
            say(choice.table())
            known_by_base = flattery(lambda samples: job.score(model, samples, chosen), training, testing, before)
            evidence = {"choice": {**choice.evidence, "base_knew": known_by_base}}
            if not choice.ships:
                shared = {"task": chosen.to_dict(), "train_samples": len(training.x), "base": path_text(given.base)}
                shared |= {"base_sha256": model.base_sha256, "out": path_text(given.out), "warnings": said}
                shared |= {**evidence, **job.versions()}
                report = report_of_nothing(before, given.seed, shared)
                files = {REPORT_NAME: format_json(report.to_dict()), **page.make(report)}
                write_folder(given.out, files, replaces=replaces)
                page.write()
                remove_folder(unfinished.folder)
                return report
            plan = choice.plan
            model.unload()
            job.attach_method(
                model, plan.method, rank=plan.options.get("r"), alpha=None, seed=given.seed,
                head=heads[0] if heads else None, **where,
            )  # fmt: skip
            settings |= run_settings(plan, model, len(training.x), chosen)
            if others is not None:
                settings["epochs"] = None  # they were chosen for the labelled samples; others make more of them
        elif given.start is not None:
            say(started(given.start, model))
        elif model.head is None:
            attach()
        else:
            say(f"new head: {model.head.describe()}")
        if given.original is not None:
            start_from_original(model, given.original, given.layout, given.max_bytes, given.preprocess)
        with unfinished.kept(given.resume):
            with watching(model, model.method_name) as watch, ExitStack() as silence:
                labels, estimates = None, model.wants_statistics
                if look is not None and look.is_at_chance:
                    silence.enter_context(without_doubts())
                if others is None:
                    history = job.train(model, training, watch, given.history_file, **settings)
                else:
                    history, labels = train_with(model, training, others, watch, given.history_file, **settings)
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
                seed=given.seed,
                epochs=len(history.epochs) or history.recipe["epochs"],
                batch=given.batch,
                optimizer=given.optimizer,
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
                **({} if given.original is None else {"original": path_text(given.original)}),
                **({} if given.start is None else {"from": _beginning(given.start, known, begun)}),
                base=path_text(given.base),
                base_sha256=model.base_sha256,
                out=path_text(given.out),
                **job.versions(),
            )
            texts = {REPORT_NAME: format_json(report.to_dict()), HISTORY_NAME: format_json(history.to_dict())}
            write_folder(given.out, {**files, **texts, **page.make(report, history)}, replaces=replaces)
            page.write()
        remove_folder(unfinished.folder)
    return report


def _beginning(start: Path, known: dict[str, Any], score: Score | None) -> dict[str, Any]:
    """Return what a report says of the adapter that was trained on."""
    measured = None if score is None else score.metrics
    return {"adapter": path_text(start), "tensors_sha256": known["tensors_sha256"], "metrics": measured}
