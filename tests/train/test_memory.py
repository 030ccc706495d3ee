"""A limit of memory: fewer threads to the same bits, or one error before anything has happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.errors import DomainError, UnsupportedError
from lieref.train.loop import fit
from lieref.train.memory import FewerThreadsWarning, parse_bytes
from tests.model.nets import residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")

RUN: dict[str, Any] = {"epochs": 1, "batch_size": 40, "seed": 0, "optimizer": "adamw"}


@pytest.fixture
def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((80, 3, 9, 8)).astype(np.float32), rng.integers(0, 5, 80)


def model(tmp_path: Path, threads: int = 2, method: str = "liera") -> lieref.Model:
    found = lieref.load(saved(residual_net(), tmp_path)).attach(method)
    found.threads = threads
    return found


def needed(one: lieref.Model, samples: int, threads: int) -> int:
    """AdamW has two moments; gradient, values before the run, twice, and of the best epoch make six."""
    parameters = sum(array.nbytes for array in one.parameters().values())
    return sum(one.training_memory(samples, threads).values()) + 6 * parameters


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
        (12345, 12345),
    ],
)
def test_a_limit_is_bytes(text: int | str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "MB", "64mb", "64 TB", "-1", "0", "1e6", "0MB", 0, -5])
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
