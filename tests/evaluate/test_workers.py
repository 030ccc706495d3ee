from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lieref.errors import DomainError, DTypeError, LierefError, LierefWarning
from lieref.evaluate import on_dask
from lieref.evaluate.workers import WorkerError, run_all, versions
from tests.evaluate.dask_cluster import dask_cluster
from tests.evaluate.worker_functions import Item, scaled

COMMON = {"factor": 3}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with dask_cluster(tmp_path_factory.mktemp("dask")) as address:
        yield address


def results(items: list[Item], **where: Any) -> dict[int, Any]:
    """Return what came of each item: the number, or the text of its error."""
    done = list(run_all(scaled, COMMON, items, **where))
    assert sorted(item for item, _ in done) == sorted(items)  # each once
    return {item.number: str(got) if isinstance(got, WorkerError) else got[0] for item, got in done}


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_one_job_is_this_process_in_order_and_asks_for_items_one_by_one() -> None:
    made: list[int] = []

    def items() -> Iterator[Item]:
        for number in range(3):
            made.append(number)
            yield Item(number)

    for n, (item, result) in enumerate(run_all(scaled, COMMON, items())):
        assert (item, result[:2]) == (Item(n), (3 * n, os.getpid()))
        assert made == list(range(n + 1))


def test_a_refusal_costs_its_item_and_another_error_is_raised() -> None:
    items = [Item(0), Item(1, "refuse"), Item(2)]
    assert results(items) == {0: 0, 1: "scaled: `item` must be another; got 1", 2: 6}
    with pytest.raises(ZeroDivisionError, match="of the function"):
        list(run_all(scaled, COMMON, [Item(0, "fail")]))


# The one that dies every time is at the end: what is at work beside it is tried again without harm either way.
def with_deaths(folder: Path) -> tuple[list[Item], dict[int, Any]]:
    items = [Item(n) for n in range(6)]
    items[1] = Item(1, "die once", str(folder / "died"))
    items[3] = Item(3, "refuse")
    items[5] = Item(5, "die")
    return items, {0: 0, 1: 3, 2: 6, 3: "scaled: `item` must be another; got 3", 4: 12}


def test_a_killed_process_costs_its_item_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    items, expected = with_deaths(tmp_path)
    with pytest.warns(LierefWarning, match="a worker died; what was at work is tried again"):
        found = results(items, jobs=2, retries=1)
    assert "died every time" in found.pop(5)
    assert found == expected
    assert capfd.readouterr().err == ""


def test_a_process_that_died_idle_costs_no_item(tmp_path: Path) -> None:
    """It is found dead when the next items are handed out, before either has begun."""
    idle = {pid for _, (_, pid, _) in run_all(scaled, COMMON, [Item(n, "rest") for n in range(4)], jobs=2)}
    items, expected = with_deaths(tmp_path)
    for pid in idle:
        os.kill(pid, signal.SIGKILL)
    with pytest.warns(LierefWarning, match="a worker died; what was at work is tried again"):
        found = results(items, jobs=2, retries=1)
    assert "died every time" in found.pop(5)
    assert found == expected


def test_processes_have_one_thread_each_and_stay_for_the_next_call() -> None:
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    done = [result for _, result in run_all(scaled, COMMON, [Item(n) for n in range(4)], jobs=2)]
    assert sorted(value for value, _, _ in done) == [0, 3, 6, 9]
    assert {threads for _, _, threads in done} == {"1"}
    assert os.environ.get("OPENBLAS_NUM_THREADS") == before
    assert os.getpid() not in {pid for _, pid, _ in done}
    again = [result for _, result in run_all(scaled, {"factor": 5}, [Item(n) for n in range(4)], jobs=2)]
    assert sorted(value for value, _, _ in again) == [0, 5, 10, 15]
    assert {pid for _, pid, _ in again} & {pid for _, pid, _ in done}


def test_another_error_of_a_process_or_of_the_items_is_raised() -> None:
    done = run_all(scaled, COMMON, [Item(0), Item(1, "fail"), Item(2)], jobs=2)
    with pytest.raises(ZeroDivisionError, match="of the function"):
        list(done)

    def items() -> Iterator[Item]:
        yield Item(1)
        raise OSError("no such device")

    done = run_all(scaled, COMMON, items(), jobs=2)
    assert next(done)[1][0] == 3
    with pytest.raises(OSError, match="no such device"):
        next(done)


def interrupt_when_begun(flag: Path) -> threading.Thread:
    def wait() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end and not (flag.exists() and flag.read_text()):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_an_interruption_ends_the_processes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flag = tmp_path / "begun"
    thread = interrupt_when_begun(flag)
    with pytest.raises(KeyboardInterrupt):
        list(run_all(scaled, COMMON, [Item(0, "wait", str(flag))] * 3, jobs=2))
    thread.join()
    assert not is_alive(int(flag.read_text()))
    assert capfd.readouterr().err == ""


def test_a_cluster_gives_the_same_and_a_killed_worker_costs_its_item_only(
    cluster: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    items, expected = with_deaths(tmp_path)
    found = results(items, dask=cluster)
    assert found.pop(5) == "run_all: the workers of this item died all 2 times it was tried"
    assert found == expected
    assert capfd.readouterr().err == ""


def test_another_error_on_a_cluster_is_raised_and_the_rest_cancelled(cluster: str, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="of the function"):
        list(run_all(scaled, COMMON, [Item(0, "fail"), *(Item(n) for n in range(1, 50))], dask=cluster))
    done = [result for _, result in run_all(scaled, COMMON, [Item(1)], dask=cluster)]
    assert [(value, threads) for value, _, threads in done] == [(3, "1")]


def test_a_worker_with_other_versions_is_refused(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = versions()["numpy"]
    monkeypatch.setitem(versions(), "numpy", "1.0")
    done = run_all(scaled, COMMON, [Item(1)], dask=cluster)
    with pytest.raises(WorkerError, match=f"must have the versions of this process, numpy 1.0; got numpy {there}"):
        next(done)


def test_a_scheduler_that_is_not_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_dask, "SECONDS_TO_ANSWER", 1)
    with pytest.raises(WorkerError, match=r"must be the address of a scheduler .*; got tcp://127\.0\.0\.1:1"):
        list(run_all(scaled, COMMON, [Item(1)], dask="tcp://127.0.0.1:1"))
    for address in ("somewhere", "nix://127.0.0.1:1"):
        with pytest.raises(DomainError, match="`dask` must be an address such as"):
            list(run_all(scaled, COMMON, [Item(1)], dask=address))


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"jobs": 0}, DomainError, "`jobs` must be at least 1"),
        ({"jobs": 1.5}, DTypeError, "`jobs` must be an integer"),
        ({"retries": 0}, DomainError, "`retries` must be at least 1"),
        ({"jobs": 2, "dask": "tcp://127.0.0.1:1"}, DomainError, "`jobs` must be left out"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments: dict[str, Any], error: type[LierefError], text: str) -> None:
    with pytest.raises(error, match=text):
        run_all(scaled, COMMON, [Item(1)], **arguments)
