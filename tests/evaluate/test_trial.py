"""Trials: the same bits wherever they run, judged on what they should be, and a failure is a record."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

import lieref
from lieref.errors import DomainError
from lieref.evaluate.judge import judge, unpack_bits, unpack_floats
from lieref.evaluate.plan import Plan
from lieref.evaluate.problem import Problem, fold_of
from lieref.evaluate.trial import Trial, run, run_trial
from lieref.train.sample_tasks import Numbers
from tests.cli.helpers import small_network
from tests.evaluate.jobs import problem

JOB = problem()
PLAN = Plan("liera", {"r": 1}, epochs=2, batch_size=8)
SAME = ("id", "loss", "metrics", "merit", "right", "history", "learning_rate", "trainable", "update_bytes", "flops")


def test_test_trial_is_fit_on_all_and_judged_on_the_test_samples() -> None:
    outcome = run(JOB, Trial(JOB.digest, PLAN, seed=4, part="test"))
    record = outcome.record
    model = JOB.model().attach("liera", r=1, seed=4)
    history = lieref.fit(model, JOB.x, JOB.y, epochs=2, batch_size=8, seed=4)
    right = model.predict(JOB.x_test).argmax(axis=1) == JOB.y_test
    assert record["failed"] is None
    assert record["history"] == [epoch.loss for epoch in history.epochs]
    np.testing.assert_array_equal(unpack_bits(record["right"]), right)
    assert record["metrics"] == {"accuracy": right.mean()}
    assert record["judged"] == 20
    assert record["trainable"] == model.num_trainable()
    other = model.predict(JOB.x_other).argmax(axis=1) == JOB.y_other
    assert record["other"]["metrics"] == {"accuracy": other.mean()}
    assert record["update_bytes"] == sum(map(len, outcome.files.values()))
    assert set(outcome.files) == {"adapter_model.safetensors", "adapter_config.json"}
    json.dumps(record, allow_nan=False)


def test_held_out_trial_never_sees_the_fold_it_is_judged_on() -> None:
    folds = fold_of(JOB, 5, 0)
    record = run_trial(JOB, Trial(JOB.digest, PLAN, fold=3))
    model = JOB.model().attach("liera", r=1, seed=0)
    lieref.fit(model, JOB.x[folds != 3], JOB.y[folds != 3], epochs=2, batch_size=8)
    right = model.predict(JOB.x[folds == 3]).argmax(axis=1) == JOB.y[folds == 3]
    np.testing.assert_array_equal(unpack_bits(record["right"]), right)
    assert record["other"] is None


def test_held_out_trial_works_without_test_samples_and_test_trial_says_so() -> None:
    job = problem(x_test=None, y_test=None)
    assert run_trial(job, Trial(job.digest, PLAN))["failed"] is None
    assert "`x_test` must be given" in run_trial(job, Trial(job.digest, PLAN, part="test"))["failed"]


def test_the_same_bits_whatever_ran_before() -> None:
    trial = Trial(JOB.digest, PLAN, seed=1)
    first = run_trial(JOB, trial)
    run_trial(JOB, Trial(JOB.digest, Plan("norm-stats+full", epochs=1)))
    again = run_trial(problem(), trial)
    assert {name: first[name] for name in SAME} == {name: again[name] for name in SAME}


def test_identity_follows_from_everything_that_matters() -> None:
    trial = Trial(JOB.digest, PLAN)
    others = [
        replace(trial, seed=1), replace(trial, fold=1), replace(trial, folds=4), replace(trial, division_seed=1),
        replace(trial, part="test"), replace(trial, plan=replace(PLAN, epochs=3)), replace(trial, problem="0" * 64),
    ]  # fmt: skip
    assert len({each.id for each in (trial, *others)}) == 8
    assert Trial.from_dict(json.loads(json.dumps(trial.to_dict()))).id == trial.id
    # A division that is not made makes no difference.
    assert replace(trial, part="test", fold=2).id == replace(trial, part="test").id


def test_base_is_judged_as_it_is() -> None:
    record = run_trial(JOB, Trial(JOB.digest, Plan("base"), part="test"))
    right = JOB.model().predict(JOB.x_test).argmax(axis=1) == JOB.y_test
    np.testing.assert_array_equal(unpack_bits(record["right"]), right)
    assert record["update_bytes"] == record["flops"] == record["trainable"] == 0


def test_start_goes_on_training_the_adapter() -> None:
    outcome = run(JOB, Trial(JOB.digest, PLAN, part="test"))
    job = problem(start=outcome.files)
    record = run_trial(job, Trial(job.digest, replace(PLAN, method="start", options={}), part="test"))
    assert record["failed"] is None
    assert record["trainable"] == outcome.record["trainable"]
    assert record["history"][0] < outcome.record["history"][0]


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (Plan("nonsense"), "`name` must be"),
        (Plan("liera", {"r": -1}), "r"),
        (Plan("start"), "`start` must be given"),
        (Plan("full", epochs=2, learning_rate=1e30), "must stay finite"),
    ],
)
def test_a_trial_that_cannot_be_run_is_a_record(plan: Plan, text: str) -> None:
    record = run_trial(JOB, Trial(JOB.digest, plan))
    assert text in record["failed"]
    assert record["id"] == Trial(JOB.digest, plan).id


def test_a_trial_of_another_problem_is_refused() -> None:
    assert "of this problem" in run_trial(JOB, Trial("0" * 64, PLAN))["failed"]


@pytest.mark.parametrize("fields", [{"part": "both"}, {"fold": 5}, {"folds": 1}, {"seed": -1}])
def test_fields_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(DomainError, match=r"^Trial: "):
        Trial(JOB.digest, PLAN, **fields)


def test_rate_factor_is_on_the_default() -> None:
    plain = run_trial(JOB, Trial(JOB.digest, PLAN))["learning_rate"]
    third = run_trial(JOB, Trial(JOB.digest, replace(PLAN, rate_factor=1 / 3)))["learning_rate"]
    assert third == pytest.approx(plain / 3, rel=1e-15)


def test_losses_of_single_samples_where_there_is_no_right_answer() -> None:
    y = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    job = problem(y=y, task=Numbers(), x_test=None, y_test=None, x_other=None, y_other=None)
    record = run_trial(job, Trial(job.digest, Plan("base")))
    held = fold_of(job, 5, 0) == 0
    expected = np.mean((job.model().predict(job.x[held]) - y[held]) ** 2, axis=1)
    assert record["right"] is None
    losses = unpack_floats(record["losses"])
    assert losses is not None
    # Sums of three numbers in another order, rounded to float32.
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert record["merit"] == 0.0


def test_ignored_labels_are_no_answers() -> None:
    y = JOB.y.copy()
    y[:5] = 2
    task = lieref.make_task("classes", ignore_index=2)
    found = judge(JOB.model(), JOB.x, y, task)
    kept = y != 2
    assert found.right is not None
    np.testing.assert_array_equal(found.right, (JOB.model().predict(JOB.x).argmax(axis=1) == y)[kept])


def test_averaging_mixing_and_smoothing_are_what_fit_and_the_task_do() -> None:
    plan = Plan("scale", epochs=3, batch_size=8, average=0.5, mixup=0.4, label_smoothing=0.1)
    record = run_trial(JOB, Trial(JOB.digest, plan, part="test"))
    model = JOB.model().attach("scale", seed=0)
    task = lieref.make_task("classes", label_smoothing=0.1)
    history = lieref.fit(model, JOB.x, JOB.y, task=task, epochs=3, batch_size=8, average=0.5, mixup=0.4)
    assert record["failed"] is None
    assert record["history"] == [epoch.loss for epoch in history.epochs]
    # Judged by the task itself, without smoothing.
    assert record["loss"] == judge(model, JOB.x_test, JOB.y_test, JOB.task).score.loss


def test_patience_holds_a_fold_out_also_where_the_test_samples_judge() -> None:
    plan = Plan("scale", epochs=20, batch_size=8, learning_rate=5.0, patience=1)
    record = run_trial(JOB, Trial(JOB.digest, plan, part="test", fold=2))
    folds = fold_of(JOB, 5, 0)
    model = JOB.model().attach("scale", seed=0)
    held = folds == 2
    history = lieref.fit(
        model, JOB.x[~held], JOB.y[~held], epochs=20, batch_size=8, learning_rate=5.0, patience=1,
        validation=(JOB.x[held], JOB.y[held]),
    )  # fmt: skip
    assert record["epochs"] == len(history.epochs) < 20
    assert record["best_epoch"] == history.best_epoch
    assert record["history"] == [epoch.loss for epoch in history.epochs]


def test_smoothing_of_a_task_without_it_is_refused() -> None:
    job = problem(y=np.zeros((30, 3), np.float32), task=Numbers(), x_test=None, y_test=None, x_other=None, y_other=None)
    record = run_trial(job, Trial(job.digest, Plan("scale", label_smoothing=0.1)))
    assert "`label_smoothing` must be 0 for the task 'numbers'" in record["failed"]


def test_a_choice_has_the_loss_of_each_sample_however_many_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lieref.evaluate.judge.MOST_ALONE", 5)
    found = judge(JOB.model(), JOB.x, JOB.y, JOB.task, both=True)
    assert found.losses is not None
    assert found.losses.mean() == pytest.approx(found.score.loss, rel=1e-5)


def test_several_outputs_have_the_loss_of_each_sample() -> None:
    base = small_network()
    base.graph.output.append(onnx.helper.make_tensor_value_info("e", onnx.TensorProto.FLOAT, ["N", 4]))
    load = {"output": {"logits": 1.0, "e": 0.5}, "derive": False}
    y = {"logits": JOB.y, "e": np.arange(len(JOB.x)) % 4}
    both = Problem(base.SerializeToString(), JOB.x, y, load=load)
    found = judge(both.model(), both.x, both.y, both.task, both=True)
    assert found.right is None
    assert found.losses is not None
    assert found.losses.mean() == pytest.approx(found.score.loss, rel=1e-5)
    assert len(set(found.losses.tolist())) == len(both.x)
