from __future__ import annotations

import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.adapter.bundle.signing import make_key, read_signer
from lieref.adapter.bundle.trust import read_root
from lieref.adapter.bundle.verify import verify_bundle
from lieref.adapter.folder import read_adapter
from lieref.errors import DomainError
from lieref.evaluate.fleet import fleet as module
from lieref.evaluate.fleet.device import Device, Job, adapt, best, judged_with, load_files, merged_base
from lieref.evaluate.fleet.fleet import Signing, run_fleet
from lieref.evaluate.fleet.source import Source
from lieref.evaluate.fleet.table import metric_of, rows_of, summary_of
from lieref.evaluate.plan import Plan
from lieref.evaluate.workers import WorkerError
from lieref.train.epoch import Score
from tests.cli.helpers import small_network
from tests.evaluate.fleet.small import PLAN, device, job, source
from tests.evaluate.jobs import samples


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the devices that are adapted from now on."""
    names: list[str] = []

    def count(task: Job, one: Device) -> Any:
        names.append(one.name)
        return adapt(task, one)

    monkeypatch.setattr(module, "adapt", count)
    return names


def test_the_best_wins_by_merit_then_loss_and_the_earlier_on_a_tie() -> None:
    base = Score(1.0, {}, 0.5)
    assert best({"base": base, "start": Score(0.5, {}, 0.4), "own": Score(0.9, {}, 0.6)}) == "own"
    assert best({"base": base, "own": Score(0.9, {}, 0.5)}) == "own"
    assert best({"base": base, "start": Score(1.0, {}, 0.5), "own": Score(1.1, {}, 0.5)}) == "base"


def test_every_device_gets_an_adapter_and_a_broken_one_costs_its_row_only(tmp_path: Path) -> None:
    records = run_fleet(job(), source("abc", broken="b"), tmp_path)
    assert [(r["device"], r["failed"]) for r in records] == [("a", None), ("b", "read: b must be whole"), ("c", None)]
    for record in records[::2]:
        assert record["kept"] == "own"
        assert record["own"]["loss"] < record["base"]["loss"]
        assert (record["samples"], record["held_out"], record["judged"]) == (20, 4, 4)
        folder = tmp_path / "adapters" / record["device"]
        assert record["update_bytes"] == sum(path.stat().st_size for path in folder.iterdir())
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        problem = job().problem_of(device(record["device"]))
        from lieref.evaluate.problem import fold_of

        held = np.flatnonzero(fold_of(problem, 5, 0) == 0)
        again = judged_with(problem, files, problem.x[held], problem.y[held])
        assert again.score.loss == record["own"]["loss"]


def test_progress_counts_devices_and_failures_and_skips_what_is_there(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    run_fleet(job(), source("ab"), tmp_path)
    run_fleet(job(), source("abc", broken="c"), tmp_path, progress=lambda *state: seen.append(state))
    assert seen == []
    run_fleet(job(), source("cabde", broken="c"), tmp_path, progress=lambda *state: seen.append(state))
    assert seen == [(4, 5, "d, 1 failed"), (5, 5, "e, 1 failed")]


def test_a_device_that_its_adapter_does_not_help_keeps_the_base(tmp_path: Path) -> None:
    # Labels are the answers of the base: nothing can be better, and a large rate makes it worse.
    problem = job().problem
    x, _ = samples(30, 0)
    y = problem.model().predict(x).argmax(axis=1)
    one = Source("a", lambda name: Device(name, x, y, x, y))
    plan = Plan("scale", epochs=30, learning_rate=3.0, batch_size=2)
    (record,) = run_fleet(job(plan), one, tmp_path)
    assert (record["kept"], record["update_bytes"]) == ("base", 0)
    assert record["own"]["merit"] <= record["base"]["merit"] == 1.0
    assert record["judged_on"] == "test"
    assert not (tmp_path / "adapters").exists()
    (row,) = rows_of([record])
    assert (row.kept, row.gain, row.gain_interval) == ("base", 0.0, None)


def test_another_run_repeats_nothing_but_what_is_new_or_missing(tmp_path: Path, counted: list[str]) -> None:
    first = run_fleet(job(), source("ab"), tmp_path)
    assert run_fleet(job(), source("abc"), tmp_path)[:2] == first
    assert counted == ["a", "b", "c"]
    (tmp_path / "adapters" / "b" / "adapter_config.json").unlink()
    run_fleet(job(), source("abc"), tmp_path)
    assert counted[3:] == ["b"]
    changed = Source("a", lambda name: device(name, 25))
    assert run_fleet(job(), changed, tmp_path)[0]["samples"] == 25
    assert counted[4:] == ["a"]


def test_a_device_gets_what_its_samples_make_also_where_it_had_others_between(tmp_path: Path) -> None:
    first = run_fleet(job(), source("a"), tmp_path)
    path = tmp_path / "adapters" / "a" / "adapter_model.safetensors"
    own = path.read_bytes()
    run_fleet(job(), Source("a", lambda name: device(name, 25)), tmp_path)
    assert path.read_bytes() != own
    assert run_fleet(job(), source("a"), tmp_path)[0]["own"] == first[0]["own"]
    assert path.read_bytes() == own
    path.write_bytes(own[:-1])
    run_fleet(job(), source("a"), tmp_path)
    assert path.read_bytes() == own


def test_bundles_are_signed_anew_for_other_keys_or_options(tmp_path: Path) -> None:
    (tmp_path / "base.onnx").write_bytes(small_network().SerializeToString())
    keys = []
    for name in "kl":
        make_key(tmp_path / name)
        keys.append(read_signer(tmp_path / name))
    envelope = tmp_path / "fleet" / "bundles" / "a" / "bundle.dsse.json"

    def made(key: int, **options: Any) -> bytes:
        signing = Signing(tmp_path / "base.onnx", (keys[key],), options)
        (record,) = run_fleet(job(), source("a"), tmp_path / "fleet", signing=signing)
        assert record["bundle_bytes"] > 0
        return envelope.read_bytes()

    first = made(0, version="1", counter=1)
    assert made(0, version="1", counter=1) == first
    second = made(0, version="2", counter=2)
    assert second != first
    other = made(1, version="2", counter=2)
    assert other != second
    envelope.write_bytes(b"{}")
    assert made(1, version="2", counter=2)[:20] == other[:20]


def test_a_task_without_a_metric_is_judged_by_its_loss() -> None:
    rng = np.random.default_rng(0)

    def regression(name: str) -> Device:
        x = rng.normal(size=(40, 2, 6, 5)).astype(np.float32)
        return Device(name, x, rng.normal(size=(40, 3)).astype(np.float32))

    task = lieref.make_task("numbers")
    own = job(Plan("scale", epochs=3, learning_rate=0.05))
    record, _ = adapt(replace(own, problem=replace(own.problem, task=task)), regression("a"))
    assert record["kept"] == "own"
    (row,) = rows_of([record], *metric_of(task)[:1], falls=metric_of(task)[1])
    assert (row.base, row.adapted) == (record["base_judged"]["loss"], record["kept_judged"]["loss"])
    assert row.gain == row.base - row.adapted > 0
    assert row.gain_interval is not None
    assert row.gain_interval[0] <= row.gain <= row.gain_interval[1]


def test_a_folder_of_another_base_or_plan_is_refused(tmp_path: Path) -> None:
    run_fleet(job(), source("a"), tmp_path)
    other = job()
    object.__setattr__(other.problem, "base", small_network(1).SerializeToString())
    with pytest.raises(DomainError, match="must be of the same study; it has base"):
        run_fleet(other, source("a"), tmp_path)
    with pytest.raises(DomainError, match="must be of the same study; it has plan"):
        run_fleet(job(Plan("scale")), source("a"), tmp_path)


def test_a_lost_worker_costs_its_device_until_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(function: Any, common: Any, items: Any, **where: Any) -> Any:
        for item in items:
            yield item, WorkerError("it died") if item.name == "a" else function(common, item)

    with monkeypatch.context() as patch:
        patch.setattr(module, "run_all", lost)
        records = run_fleet(job(), source("ab"), tmp_path)
    assert [record["failed"] for record in records] == ["its worker was lost: it died", None]
    assert [record["failed"] for record in run_fleet(job(), source("ab"), tmp_path)] == [None, None]


def test_bundles_are_signed_here_and_say_what_they_are_for(tmp_path: Path) -> None:
    base, key, out = tmp_path / "base.onnx", tmp_path / "key", tmp_path / "out"
    base.write_bytes(small_network().SerializeToString())
    make_key(key)
    signing = Signing(base, (read_signer(key),), {"version": "7", "compatible": "camera", "counter": 5})
    (record,) = run_fleet(job(), source("a"), out, signing=signing)
    found = verify_bundle(out / "bundles" / "a", base=base, trust=read_root(key), compatible="camera")
    assert (found.statement.version, found.statement.counter) == ("7", 5)
    assert record["bundle_bytes"] == sum(path.stat().st_size for path in (out / "bundles" / "a").iterdir())
    own, _ = read_adapter(out / "adapters" / "a")
    for name, array in own.items():
        assert np.array_equal(found.tensors[name], array)
    assert run_fleet(job(), source("a"), out, signing=signing)[0]["bundle_bytes"] == record["bundle_bytes"]
    private = (key / "private_key.pem").read_bytes().splitlines()[1]
    assert not any(private in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_a_bundle_that_cannot_be_made_costs_its_row_only(tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(small_network(1).SerializeToString())
    (record,) = run_fleet(job(), source("a"), tmp_path / "out", signing=Signing(other, (), {}))
    assert record["failed"] is None
    assert "must belong to this base model" in record["bundle_failed"]


def fleet_adapter() -> dict[str, bytes]:
    record, files = adapt(job(Plan("liera", {"r": 1}, epochs=4, learning_rate=0.05)), device("fleet", 60))
    assert record["kept"] == "own"
    return files


def test_a_device_goes_on_from_the_adapter_of_the_fleet() -> None:
    start = fleet_adapter()
    record, files = adapt(job(Plan("start", epochs=3, learning_rate=0.05), start=start), device("a"))
    assert record["failed"] is None
    assert record["base"]["loss"] > record["start"]["loss"] > record["own"]["loss"]
    assert files.keys() == start.keys()
    record, files = adapt(job().judging(start), device("a"))
    assert record["kept"] == "start"
    assert files == start
    assert "own" not in record


def test_a_composed_adapter_is_the_product_of_both_on_the_base() -> None:
    start = fleet_adapter()
    model = job().problem.model()
    load_files(model, start)
    merged = merged_base(model)
    model.unload()
    task = job(start=start, merged=merged)
    record, files = adapt(task, device("a"))
    assert record["failed"] is None
    # The same, from its definition: the device's own adapter on the merged base.
    alone, own = adapt(Job(type(task.problem)(merged, task.problem.x), PLAN), device("a"))
    assert record["own"]["loss"] == pytest.approx(alone["own"]["loss"], rel=1e-5)
    assert alone["base"]["loss"] == pytest.approx(record["start"]["loss"], rel=1e-5)
    if record["kept"] == "own":
        model = task.problem.model()
        load_files(model, files)
        ours = {name: value.copy() for name, value in model.adapted_tensors().items()}
        model = Job(type(task.problem)(merged, task.problem.x), PLAN).problem.model()
        load_files(model, own)
        for name, value in model.adapted_tensors().items():
            assert ours[name] == pytest.approx(value, rel=1e-5, abs=1e-6)


def test_a_method_is_chosen_without_what_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plans = [Plan("scale", epochs=3, learning_rate=0.1), Plan("base")]

    def choose(problem: Any, *, seed: int) -> Any:
        seen.append((len(problem.x), len(problem.y), problem.x_test, seed))
        return SimpleNamespace(plan=plans[len(seen) - 1], evidence={"tried": 1})

    monkeypatch.setitem(sys.modules, "lieref.evaluate.choose", SimpleNamespace(choose=choose))
    one = device("a", x_test=samples(9, 3)[0], y_test=samples(9, 3)[1])
    record, files = adapt(job(None, seed=6), one)
    assert (record["failed"], record["plan"]["method"], record["evidence"]) == (None, "scale", {"tried": 1})
    assert bool(files) == (record["kept"] == "own")
    record, files = adapt(job(None), one)
    assert (record["failed"], record["kept"], files) == (None, "base", {})
    assert seen == [(16, 16, None, 6), (16, 16, None, 0)]


def test_a_worker_that_is_sent_the_job_gives_the_same() -> None:
    here, files = adapt(job(), device("a"))
    there, same = adapt(*pickle.loads(pickle.dumps((job(), device("a")))))
    assert same == files
    for record in (here, there):
        del record["trial"]["seconds"]
    assert here == there


def test_too_few_samples_are_a_failed_row() -> None:
    record, files = adapt(job(), device("a", 3))
    assert "`folds` must be 2 to the number of samples, 3" in record["failed"]
    assert files == {}


def test_rows_come_worst_first_with_intervals() -> None:
    def record(name: str, base: list[int], kept: list[int]) -> dict[str, Any]:
        from lieref.evaluate.judge import pack_bits

        sides = {
            key: {"merit": float(np.mean(right)), "loss": 1.0, "right": pack_bits(np.array(right, bool))}
            for key, right in (("base_judged", base), ("kept_judged", kept))
        }
        return {"device": name, "failed": None, "kept": "own", "samples": 9, "judged": 4, "judged_on": "test",
                "update_bytes": 10, **sides}  # fmt: skip

    records = [
        record("good", [0, 0, 1, 1], [1, 1, 1, 1]),
        record("worse", [1, 1, 1, 0], [1, 0, 1, 0]),
        {"device": "broken", "failed": "no file"},
    ]
    rows = rows_of(records)
    assert [(row.device, row.gain) for row in rows] == [("broken", None), ("worse", -0.25), ("good", 0.5)]
    # Wilson's interval of 2 of 4: (2 + z^2/2 +- z sqrt(1 + z^2/4)) / (4 + z^2) with z the 97.5 % point of the normal
    z = 1.959963984540054
    half = z * np.sqrt(1 + z**2 / 4) / (4 + z**2)
    assert rows[2].base_interval == pytest.approx((0.5 - half, 0.5 + half), rel=1e-12)
    assert rows[2].gain_interval is not None
    assert rows[2].gain_interval[0] <= 0.5 <= rows[2].gain_interval[1]
    summary = summary_of(rows)
    assert (summary["devices"], summary["failed"], summary["below_base"]) == (3, 1, 1)
    assert summary["mean_gain"] == 0.125
    # Student's t of two values -0.25 and 0.5: 0.125 +- 12.7062 * 0.75 / 2
    assert summary["mean_gain_interval"] == pytest.approx([0.125 - 4.76483, 0.125 + 4.76483], abs=1e-4)
    assert json.dumps(summary)
