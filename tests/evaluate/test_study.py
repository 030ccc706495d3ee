"""Studies: nothing is run twice, and what is done is kept whatever comes after."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lieref.errors import DomainError
from lieref.evaluate import study
from lieref.evaluate.ledger import Ledger
from lieref.evaluate.plan import Plan
from lieref.evaluate.study import run_trials
from lieref.evaluate.trial import Trial
from tests.evaluate.jobs import problem

JOB = problem()
TRIALS = [Trial(JOB.digest, Plan("scale", epochs=1), seed=seed) for seed in range(3)]


def test_what_the_ledger_has_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    whole = study.run_trial

    def counted(problem: object, trial: Trial) -> dict[str, object]:
        ran.append(trial.seed)
        return whole(problem, trial)  # type: ignore[arg-type]

    monkeypatch.setattr(study, "run_trial", counted)
    seen: list[tuple[int, int]] = []
    first = run_trials(JOB, TRIALS[:2], ledger=Ledger(tmp_path, {}))
    both = run_trials(
        JOB, [*TRIALS, TRIALS[0]], ledger=Ledger(tmp_path, {}), progress=lambda done, of, _: seen.append((done, of))
    )
    assert ran == [0, 1, 2]
    assert seen == [(3, 3)]
    assert both[:2] == first
    assert [record["id"] for record in both] == [trial.id for trial in [*TRIALS, TRIALS[0]]]


def test_an_interrupted_study_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = study.run_trial

    def interrupted(problem: object, trial: Trial) -> dict[str, object]:
        if trial.seed == 1:
            raise KeyboardInterrupt
        return whole(problem, trial)  # type: ignore[arg-type]

    monkeypatch.setattr(study, "run_trial", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_trials(JOB, TRIALS, ledger=Ledger(tmp_path, {}))
    assert TRIALS[0].id in Ledger(tmp_path, {})


def test_trials_of_another_problem_are_refused() -> None:
    with pytest.raises(DomainError, match="of this problem"):
        run_trials(JOB, [Trial("0" * 64, Plan("scale"))])


def test_what_another_process_does_meanwhile_is_not_done_again(tmp_path: Path) -> None:
    other, here = Ledger(tmp_path, {}), Ledger(tmp_path, {})
    ran: list[int] = []

    def one_by_another(job: object, trial: Trial) -> dict[str, object]:
        ran.append(trial.seed)
        if trial.seed == 0:
            other.add(study.run_trial(JOB, TRIALS[1]))
        return study.run_trial(job, trial)  # type: ignore[arg-type]

    records = run_trials(JOB, TRIALS, ledger=here, function=one_by_another)
    assert ran == [0, 2]
    assert [record["id"] for record in records] == [trial.id for trial in TRIALS]
    assert here.is_shared


def test_two_that_begin_together_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are always at work at once: only what one is at when the other chooses can be done twice."""
    monkeypatch.setattr(study.random, "randrange", random.Random(0).randrange)
    wanted = {trial.id: trial for trial in (Trial(JOB.digest, Plan("scale"), seed=seed) for seed in range(40))}
    ledgers = [Ledger(tmp_path, {}), Ledger(tmp_path, {})]
    both = [study._left(wanted, ledger) for ledger in ledgers]
    done: list[str] = []
    while at_work := [
        (trial, ledger) for left, ledger in zip(both, ledgers, strict=True) if (trial := next(left, None))
    ]:
        for trial, ledger in at_work:
            ledger.add({"id": trial.id})
            done.append(trial.id)
    assert set(done) == set(wanted)
    assert len(done) < 50
