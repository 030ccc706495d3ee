"""``lieref compare``: from two files to a table, and what is refused before anything is written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import lieref
from lieref.cli import main
from tests.cli.helpers import small_network, snapshot, write_data

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
BASIC = ("compare", "base.onnx", "--train", "train.npz", "--test", "test.npz", "--out", "out", "--epochs", "1")
SHORT = (*BASIC, "--methods", "scale,lora", "--ranks", "1", "--lr", "default", "--seeds", "2")
pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.ManyTrainablesWarning")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]


def test_table_says_what_single_runs_say(workplace: Path, run_json: RunJson) -> None:
    write_data(workplace / "other.npz", seed=7)
    result = run_json(*SHORT, "--forget", "other.npz")
    assert json.loads((workplace / "out" / "comparison.json").read_text()) == result
    base, scale, lora = result["rows"]
    assert [base["label"], scale["label"], lora["label"]] == ["base", "scale", "lora r=1"]
    sets = {name: np.load(workplace / f"{name}.npz") for name in ("train", "test", "other")}
    for row, options in ((scale, {}), (lora, {"r": 1})):
        found, lost = [], []
        for seed in (0, 1):
            model = lieref.load(workplace / "base.onnx")
            before = np.mean(model.predict(sets["other"]["x"]).argmax(axis=1) == sets["other"]["y"])
            model.attach(row["method"], seed=seed, **options)
            lieref.fit(model, sets["train"]["x"], sets["train"]["y"], epochs=1, seed=seed)
            found.append(np.mean(model.predict(sets["test"]["x"]).argmax(axis=1) == sets["test"]["y"]))
            lost.append(before - np.mean(model.predict(sets["other"]["x"]).argmax(axis=1) == sets["other"]["y"]))
            assert row["trainable"] == model.num_trainable()
        assert row["values"] == found
        assert row["mean"] == pytest.approx(np.mean(found))
        assert row["forgotten"]["mean"] == pytest.approx(np.mean(lost))
        assert 0 < row["payload_bytes"] < row["update_bytes"] < row["bundle_bytes"]
        assert row["latency_us"]["attached"] > 0
        assert row["latency_us"]["merged"] > 0
        assert row["flops"] > 0
        assert row["memory_bytes"] > 0
    assert scale["against"]["against"] == "lora r=1"
    assert lora["against"] is None
    assert base["update_bytes"] == 0
    # Of the base one run, of each method one a seed: the test samples are read by these alone.
    assert sorted(line["trial"]["part"] for line in lines(workplace / "out")) == ["test"] * 5


def test_rates_are_searched_on_training_samples_alone(workplace: Path, run_json: RunJson) -> None:
    result = run_json(*BASIC, "--methods", "scale", "--seeds", "2")
    row = result["rows"][1]
    factors = [tried["factor"] for tried in row["rates_tried"]]
    assert {1 / 3, 1.0, 3.0} <= set(factors)
    best = max(row["rates_tried"], key=lambda tried: (tried["merit"], -tried["loss"]))
    assert row["rate_factor"] == best["factor"]
    parts = [line["trial"]["part"] for line in lines(workplace / "out")]
    assert parts.count("test") == 3
    assert parts.count("held-out") == 5 * len(factors)


def test_table_and_sentences(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SHORT]) == 0
    printed = capsys.readouterr()
    assert "lora r=1" in printed.out
    assert "p (Holm)" in printed.out
    assert "By the paired test" in printed.out
    assert "better of" in printed.out or "beats scale" in printed.out or "Better than scale" in printed.out
    assert "budget 29 trainables of the base's 99 numbers" in printed.err
    assert re.search(r"^compare: (\d+) of \1, test$", printed.err, re.M)


def test_one_seed_has_no_intervals_and_says_so(
    workplace: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SHORT, "--seeds", "1"]) == 0
    printed = capsys.readouterr()
    assert "one seed: no intervals over seeds" in printed.err
    assert "One seed: intervals and tests over seeds are refused" in printed.out
    result = json.loads((workplace / "out" / "comparison.json").read_text())
    row = result["rows"][1]
    assert row["low"] is row["high"] is row["against"]["p"] is row["against"]["low"] is None
    assert 0 <= row["against"]["p_mcnemar"] <= 1


def test_interrupted_and_resumed(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run_json: RunJson
) -> None:
    from lieref.evaluate.compare import ship

    whole, ran = ship.run, []

    def interrupted(problem: Any, trial: Any) -> Any:
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append(trial.id)
        return whole(problem, trial)

    monkeypatch.setattr(ship, "run", interrupted)
    assert main([*SHORT]) == 130
    said = capsys.readouterr().err
    assert "3 finished trials are kept in" in said
    assert "--resume goes on" in said
    kept = lines(workplace / "out")
    assert len(kept) == 3
    assert main([*SHORT]) == 2
    assert "add --resume" in capsys.readouterr().err

    monkeypatch.setattr(ship, "run", lambda problem, trial: (ran.append(trial.id), whole(problem, trial))[1])
    result = run_json(*SHORT, "--resume")
    assert len(ran) == len(set(ran)) == 5
    monkeypatch.setattr(ship, "run", None)  # nothing is left to run
    again = run_json(*SHORT, "--resume")
    for row, other in zip(result["rows"], again["rows"], strict=True):
        assert {**row, "latency_us": None} == {**other, "latency_us": None}
    assert main([*SHORT, "--resume", "--force"]) == 2


def test_another_base_is_refused_in_the_folder(workplace: Path, run_json: RunJson, fails: Fails) -> None:
    run_json(*SHORT)
    onnx.save(small_network(1), workplace / "base.onnx")
    assert "base_sha256" in fails(*SHORT, "--resume")
    monkey = run_json(*SHORT, "--force")
    assert monkey["base_sha256"] != ""
    assert len(list((workplace / "out").glob("trials-*.jsonl"))) == 1


def test_a_method_that_diverges_costs_its_row_only(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, run_json: RunJson
) -> None:
    from lieref.evaluate.compare import ship

    whole = ship.run

    def failing(problem: Any, trial: Any) -> Any:
        outcome = whole(problem, trial)
        if trial.plan.method == "scale":
            outcome.record["failed"] = "DomainError: fit: training must stay finite"
        return outcome

    monkeypatch.setattr(ship, "run", failing)
    result = run_json(*SHORT)
    base, scale, lora = result["rows"]
    assert len(scale["failed"]) == 2
    assert scale["mean"] is None
    assert lora["mean"] is not None
    assert base["mean"] is not None


def test_new_head(workplace: Path, run_json: RunJson) -> None:
    rng = np.random.default_rng(1)
    for name in ("train", "test"):
        y = np.arange(60) % 5
        write_data(workplace / f"{name}.npz", x=rng.normal(size=(60, 2, 6, 5)).astype(np.float32), y=y)
    result = run_json(*SHORT, "--head", "new", "--methods", "head,lora")
    head, lora = result["rows"]
    assert (head["trainable"], lora["trainable"]) == (0, 22)  # the convolution: 4 rows, 2 * 9 columns
    assert head["over_base"] is None
    assert result["baseline"] == "lora r=1"


def test_numbers_are_paired_over_seeds_and_samples(workplace: Path, run_json: RunJson) -> None:
    rng = np.random.default_rng(1)
    for name in ("train", "test"):
        x = rng.normal(size=(24, 2, 6, 5)).astype(np.float32)
        write_data(workplace / f"{name}.npz", x=x, y=rng.normal(size=(24, 3)).astype(np.float32))
    result = run_json(*SHORT, "--task", "numbers")
    scale = result["rows"][1]
    assert result["metric"] == "loss"
    assert result["less_is_better"] is True
    assert scale["against"]["basis"] == "seeds and samples"
    assert scale["against"]["p_mcnemar"] is None
    assert len(scale["against"]["loss"]) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "scale,nonsense"], "nonsense"),
        (["--methods", "scale,scale"], "got 'scale' twice"),
        (["--budget", "10"], "lora takes 29 at r=1"),
        (["--budget", "0%"], "`budget` must be a number of trainables"),
        (["--budget", "many"], "`budget` must be a number of trainables"),
        (["--ranks", "2,x"], "no list of ranks"),
        (["--ranks", "0"], "no list of ranks"),
        (["--baseline", "full"], "`baseline` must be one of the methods, scale, lora"),
        (["--option", "nonsense=1"], "none has 'nonsense'"),
        (["--test", "train.npz"], "`test` must be other samples than `train`"),
        (["--test", "none.npz"], "none.npz"),
        (["--seeds", "0"], "--seeds"),
        (["--jobs", "2", "--dask", "tcp://127.0.0.1:1"], "give one of them"),
        (["--resume"], "there is no comparison in"),
        (["--rank-of", "conv=2"], "ranks follow from"),
        (["--head", "new", "--forget", "test.npz"], "leave out --task and --forget"),
        (["--pool"], "add --head new"),
    ],
)
def test_what_is_refused(workplace: Path, fails: Fails, options: list[str], words: str) -> None:
    assert words in fails(*SHORT, *options)


def test_no_scheduler(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from lieref.evaluate import on_dask

    monkeypatch.setattr(on_dask, "SECONDS_TO_ANSWER", 0.2)
    assert main([*SHORT, "--dask", "tcp://127.0.0.1:9"]) == 2
    assert "error: run_all: `dask` must be the address of a scheduler" in capsys.readouterr().err
    assert not (workplace / "out").exists()


def test_test_samples_among_those_to_train_on_are_said(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(workplace / "train.npz") as train, np.load(workplace / "test.npz") as test:
        x, y = np.concatenate([train["x"][:5], test["x"]]), np.concatenate([train["y"][:5], test["y"]])
    write_data(workplace / "test.npz", x=x, y=y)
    assert main([*SHORT, "--methods", "scale", "--budget", "5%"]) == 0
    assert "5 of the 29 test samples are training samples too" in capsys.readouterr().err


def test_labels_of_the_test_set_are_looked_at_before_anything_is_trained(workplace: Path, fails: Fails) -> None:
    write_data(workplace / "test.npz", seed=1, y=np.arange(24) % 4)
    assert "3" in fails(*SHORT)
    assert not (workplace / "out").exists()


def test_folder_with_something_else_is_refused(workplace: Path, fails: Fails) -> None:
    (workplace / "out").mkdir()
    (workplace / "out" / "mine.txt").write_text("mine")
    assert "new or empty folder" in fails(*SHORT)


def test_what_is_to_be_replaced_stays_until_a_trial_is_done(
    workplace: Path, run_json: RunJson, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lieref.evaluate import on_dask

    run_json(*SHORT)
    before = snapshot(workplace)
    monkeypatch.setattr(on_dask, "SECONDS_TO_ANSWER", 0.2)
    assert main([*SHORT, "--force", "--dask", "tcp://127.0.0.1:9"]) == 2
    assert snapshot(workplace) == before


def test_of_several_budgets_each_is_paired_with_its_own(workplace: Path, run_json: RunJson) -> None:
    result = run_json(*SHORT, "--methods", "scale,lora,liera", "--ranks", "1,2")
    paired = {row["label"]: row["against"] and row["against"]["against"] for row in result["rows"]}
    assert result["baseline"] == "lora of the same budget"
    assert paired == {
        "base": "lora r=1", "scale": "lora r=1", "lora r=1": None, "liera r=1": "lora r=1", "lora r=2": None,
        "liera r=2": "lora r=2",
    }  # fmt: skip


def test_warnings_of_runs_are_said_once_with_their_methods(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SHORT, "--methods", "lora,liera", "--ranks", "4"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "lora asks for other" in line]
    assert said == [
        "warning: attach: lora asks for other ranks or blocks than some layers take: head rank 3 (lora r=4)"
    ]


def test_one_test_sample_is_refused_before_anything_is_trained(workplace: Path, fails: Fails) -> None:
    write_data(workplace / "test.npz", 1, seed=1)
    assert "test.npz must hold at least 2 samples; got 1" in fails(*SHORT)


def test_a_method_left_with_one_seed_is_not_tested(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, run_json: RunJson, capsys: pytest.CaptureFixture[str]
) -> None:
    from lieref.errors import DomainError
    from lieref.evaluate import trial

    whole = trial._run
    broken = {("lora", 1)}

    def run(problem: Any, one: Any, encoding: str | None) -> Any:
        if (one.plan.method, one.seed) in broken:
            raise DomainError("it diverged")
        return whole(problem, one, encoding)

    monkeypatch.setattr(trial, "_run", run)
    result = run_json(*SHORT)
    scale, lora = result["rows"][1:]
    assert scale["against"]["p"] is None
    assert len(lora["values"]) == 1
    assert "not tested against lora r=1: scale" in result["conclusions"][0]
    broken |= {(method, seed) for method in ("scale", "lora") for seed in (0, 1)}
    assert main([*SHORT[:7], "none", *SHORT[8:]]) == 2
    assert (
        "a run of a method must come through; all 4 failed, first: DomainError: it diverged" in capsys.readouterr().err
    )


def test_what_has_no_bundle_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    from lieref.cli.compare import _say_rows

    why = {"a": "no keys", "b": "no keys", "c": None, "d": "too large"}
    _say_rows([{"label": label, "warnings": [], "failed": [], "bundle_missing": text} for label, text in why.items()])
    assert capsys.readouterr().err.splitlines() == [
        "no signed bundle of a, b: no keys", "no signed bundle of d: too large",
    ]  # fmt: skip
