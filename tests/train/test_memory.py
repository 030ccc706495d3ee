"""A limit of memory: fewer threads to the same bits, or one error before anything has happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

import lieref
from lieref.errors import DomainError, UnsupportedError
from lieref.train.loop import fit
from lieref.train.memory import FewerThreadsWarning, RecomputationWarning, parse_bytes
from tests.model.nets import make_onnx, residual_net, saved
from tests.model.task_nets import NETS, learnable

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")

RUN: dict[str, Any] = {"epochs": 1, "batch_size": 40, "seed": 0, "optimizer": "adamw"}


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((80, 3, 9, 8)).astype(np.float32), rng.integers(0, 5, 80)


def model(tmp_path: Path, threads: int = 2, method: str = "liera") -> lieref.Model:
    found = lieref.load(saved(residual_net(), tmp_path)).attach(method)
    found.threads = threads
    return found


def needed(one: lieref.Model, samples: int, threads: int, level: int = 0, *, predicts: bool = True) -> int:
    """AdamW has two moments; gradient, values before the run, twice, and of the best epoch make six."""
    parameters = sum(array.nbytes for array in one.parameters().values())
    taken = one.training_memory(samples, threads, predicts=predicts, recomputation=level)
    return sum(taken.values()) + 6 * parameters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("64MB", 64 * 10**6),
        ("1.5 GiB", 3 * 2**29),
        ("300kB", 300_000),
        ("2GB", 2 * 10**9),
        ("5KiB", 5120),
        ("3 MiB", 3 * 2**20),
        (" 7 ", 7),
        ("2B", 2),
        ("9007199254740993", 2**53 + 1),
        (12345, 12345),
    ],
)
def test_a_limit_is_bytes(text: int | str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text", ["", "MB", "64mb", "64 TB", "-1", "0", "1e6", "0MB", "1" * 400, "1" * 5000, "٣MB", 0, -5]
)
def test_what_is_no_limit_is_refused_before_any_work(text: int | str) -> None:
    with pytest.raises(DomainError, match="`memory_limit` must"):
        fit(None, None, None, memory_limit=text)  # type: ignore[arg-type]


def test_fewer_threads_reach_the_same_bits(tmp_path: Path, data: Any) -> None:
    free, tight = model(tmp_path), model(tmp_path)
    one, two = needed(tight, 40, 1), needed(tight, 40, 2)
    assert one < two
    fit(free, *data, **RUN)
    with pytest.warns(FewerThreadsWarning, match="leaves room for 1 of 2 threads"):
        fit(tight, *data, **RUN, memory_limit=(one + two) // 2)
    for name, array in free.parameters().items():
        np.testing.assert_array_equal(tight.parameters()[name], array)
    assert tight.threads == 2


def test_enough_is_enough(tmp_path: Path, data: Any, recwarn: pytest.WarningsRecorder) -> None:
    fit(one := model(tmp_path), *data, **RUN, memory_limit=needed(one, 40, 2))
    assert not [warning for warning in recwarn if issubclass(warning.category, FewerThreadsWarning)]


def test_the_least_that_works_works_and_a_byte_less_changes_nothing(tmp_path: Path, data: Any) -> None:
    one = model(tmp_path)
    least, smallest = needed(one, 40, 1), needed(one, 1, 1)
    assert smallest < least
    before = {name: array.copy() for name, array in one.parameters().items()}
    with pytest.raises(DomainError) as error:
        fit(one, *data, **RUN, memory_limit=least - 1, checkpoint=tmp_path / "run")
    assert f"must be at least {least:,} bytes for batches of 40, or {smallest:,} for batches of 1" in str(error.value)
    assert "arenas" in str(error.value)
    assert not (tmp_path / "run").exists()
    for name, array in one.parameters().items():
        np.testing.assert_array_equal(array, before[name])
    fit(one, *data, **RUN, memory_limit=least)
    fit(one, *data, **{**RUN, "batch_size": 1}, memory_limit=smallest)


def test_adapters_in_numpy_are_counted(tmp_path: Path) -> None:
    assert model(tmp_path, method="dora").training_memory(8, 1)["adapters in NumPy"] > 0
    head = lieref.load(saved(residual_net(), tmp_path)).attach("lora", target_modules=["head"])
    assert head.training_memory(8, 1)["adapters in NumPy"] == 0


def test_the_reference_path_knows_no_limit(tmp_path: Path, data: Any) -> None:
    one = model(tmp_path)
    one.engine = "reference"
    with pytest.raises(UnsupportedError, match="the reference path is asked for"):
        fit(one, *data, **RUN, memory_limit="1GB")


def deep(tmp_path: Path, threads: int = 2) -> lieref.Model:
    """Eight convolutions on an image that is large beside their weights."""
    rng = np.random.default_rng(5)
    tensors = {f"w{i}": (0.3 * rng.standard_normal((6, 6 if i else 3, 3, 3))).astype(np.float32) for i in range(8)}
    nodes = []
    for i in range(8):
        read = f"r{i - 1}" if i else "x"
        nodes.append(helper.make_node("Conv", [read, f"w{i}"], [f"c{i}"], name=f"conv{i}", pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"], name=f"relu{i}"))
    nodes.append(helper.make_node("GlobalAveragePool", ["r7"], ["g"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["g"], ["f"], name="flatten"))
    found = lieref.load(saved(make_onnx(nodes, tensors, ["N", 3, 40, 40], "f", ["N", 6]), tmp_path)).attach("liera")
    found.threads = threads
    return found


def test_what_does_not_fit_is_computed_again_to_the_same_bits(tmp_path: Path, rng: np.random.Generator) -> None:
    data = rng.standard_normal((16, 3, 40, 40)).astype(np.float32), rng.integers(0, 6, 16)
    run: dict[str, Any] = {"epochs": 2, "batch_size": 8, "augment": ()}
    free, tight = deep(tmp_path), deep(tmp_path)
    fit(free, *data, **run)
    totals = [needed(tight, 8, 1, level, predicts=False) for level in range(len(tight.recomputations))]
    assert len(totals) > 2
    assert totals == sorted(totals, reverse=True)
    with pytest.warns(RecomputationWarning, match=r"on 1 thread and computes \d layers again .* about \d+% more time"):
        fit(tight, *data, **run, memory_limit=totals[0] - 1)
    for name, array in free.parameters().items():
        np.testing.assert_array_equal(tight.parameters()[name], array)
    assert (tight.recomputation, tight.threads) == (0, 2)
    with pytest.raises(DomainError, match=f"must be at least {totals[-1]:,} bytes for batches of 8"):
        fit(tight, *data, **run, memory_limit=totals[-1] - 1)
    one = deep(tmp_path, threads=1)
    with pytest.warns(RecomputationWarning, match=r"memory_limit it computes"):
        fit(one, *data, **run, memory_limit=totals[-1])
    for name, array in free.parameters().items():
        np.testing.assert_array_equal(one.parameters()[name], array)


def test_predictions_are_counted_where_there_are_some(tmp_path: Path, data: Any) -> None:
    least = needed(model(tmp_path), 40, 1, predicts=False)
    assert least < needed(model(tmp_path), 40, 1)
    fit(model(tmp_path), *data, **RUN, augment=(), memory_limit=least)
    for more in ({}, {"augment": (), "validation": 0.25}, {"augment": (), "learning_rate": "auto"}):
        with pytest.raises(DomainError, match="predictions"):
            fit(model(tmp_path), *data, **RUN, **more, memory_limit=least)


def test_a_run_that_predicts_nothing_packs_no_weights_for_predictions(tmp_path: Path, data: Any) -> None:
    one = model(tmp_path)
    fit(one, *data, **RUN, augment=())
    assert len(one.choice.compiled["f2"]._engines) == 1
    assert one._current._known is None  # no copy of all adapted weights either
    before = one.predict(data[0])
    fit(one, *data, **RUN, augment=(), validation=0.25)
    assert len(one.choice.compiled["f2"]._engines) == 2
    assert not np.array_equal(one.predict(data[0]), before)


def test_scores_that_are_kept_for_their_ranks_count(tmp_path: Path) -> None:
    one, data = lieref.load(saved(NETS["multilabel"](), tmp_path)).attach("liera"), learnable("multilabel")
    one.threads, one.reading = 1, "Sigmoid"
    x, y = data["x"], data["y"]
    run = {**RUN, "task": "multilabel", "validation": (x[:5], y[:5])}
    kept = 2 * y.size * (4 + 1)  # a score and an answer, and once more while they are joined
    with pytest.raises(DomainError, match=f"must be at least .*outputs kept for the metrics {kept:,}"):
        fit(one, x, y, **run, memory_limit=1000)
    limit = needed(one, RUN["batch_size"], 1) + kept
    with pytest.raises(DomainError, match=f"must be at least {limit:,} bytes"):
        fit(one, x, y, **run, memory_limit=1000)
    fit(one, x, y, **run, memory_limit=limit)
