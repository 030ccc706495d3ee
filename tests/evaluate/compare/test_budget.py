"""Matched budgets: ranks counted by hand.

The network: a convolution of 2 channels to 4 by 3 x 3 with a bias, a BatchNormalization of 4, a matrix 3 x 4 with a
bias. A low rank of the convolution has 4 rows and 2 * 9 columns, of the matrix 3 and 4.
"""

from __future__ import annotations

from typing import Any

import pytest

from lieref.errors import DomainError, LierefError
from lieref.evaluate.compare.budget import Entry, matched, parameters, parse_budget
from tests.evaluate.jobs import problem

WHOLE = 72 + 4 + 8 + 12 + 3
A_RANK = 22 + 7


def entries(*methods: str, **options: Any) -> list[Entry]:
    return matched(problem().model(), methods, **options)


def test_what_the_base_has() -> None:
    assert parameters(problem().model()) == WHOLE


@pytest.mark.parametrize(("text", "count"), [("5%", 4), ("100 %", 99), ("60", 60), ("1.5%", 1)])
def test_budgets_as_text(text: str, count: int) -> None:
    assert parse_budget(text, WHOLE) == count


@pytest.mark.parametrize("text", ["", "%", "0", "0.5", "1%x", "nan", "inf", "-3", "0.9%", "1e400"])
def test_budgets_that_are_none(text: str) -> None:
    with pytest.raises(DomainError, match="`budget` must be a number of trainables"):
        parse_budget(text, WHOLE)


def test_each_takes_its_largest_rank_that_keeps_the_budget() -> None:
    found = {entry.method: entry for entry in entries("scale", "lora", "atoms", "norm-stats", "full", budget="60")}
    assert (found["lora"].rank, found["lora"].trainable) == (2, 2 * A_RANK)
    assert (found["atoms"].label, found["atoms"].trainable) == ("atoms m=2", 2 * (9 + 12))
    assert (found["scale"].rank, found["scale"].trainable) == (None, 4 + 3)
    assert found["norm-stats"].trainable == 0
    assert found["full"].trainable == WHOLE
    assert [entry.method for entry in found.values() if not entry.within] == ["full"]


def test_of_ranks_that_train_as_much_the_least() -> None:
    # The convolution has room for rank 4 and the matrix for 3, so that 5 and more train what 4 trains.
    (found,) = entries("lora", budget="1000")
    assert (found.rank, found.trainable) == (4, 4 * 22 + 3 * 7)


def test_only_the_ranks_that_are_asked_for() -> None:
    (found,) = entries("lora", budget="60", ranks=[1, 3, 8])
    assert found.rank == 1


def test_a_budget_for_each_rank_of_the_first_method_with_one() -> None:
    found = entries("scale", "liera", "lora", "atoms", ranks=[2, 1])
    assert [entry.label for entry in found] == [
        "scale", "liera r=1", "lora r=1", "atoms m=1", "liera r=2", "lora r=2", "atoms m=2",
    ]  # fmt: skip
    assert {entry.budget for entry in found} == {A_RANK, 2 * A_RANK}


def test_options_and_layers_go_to_the_methods_that_take_them() -> None:
    full, lora = entries("full", "lora", budget="60", options={"lora_alpha": 2.0}, where={"target_modules": ["conv"]})
    assert full.options == {}
    assert lora.options == {"lora_alpha": 2.0, "target_modules": ["conv"], "r": 2}
    assert lora.trainable == 2 * 22


def test_the_model_is_left_as_it_was() -> None:
    model = problem().model()
    matched(model, ["lora", "full"], budget="60")
    assert model.attached == []


@pytest.mark.parametrize(
    ("methods", "options", "words"),
    [
        (["lora", "nonsense"], {}, "nonsense"),
        (["lora", "lora"], {}, "twice"),
        (["liear"], {}, "compare: `methods` must be methods; `name` must be a method, such as liera"),
        ([], {}, "at least one"),
        (["lora"], {"budget": "28"}, r"28 trainables, and lora takes 29 at r=1; raise it, or leave lora out"),
        (["lora"], {"budget": "60", "ranks": [8]}, "lora takes 109 at r=8"),
        (["lora"], {"ranks": [0]}, "ranks"),
        (["scale"], {"ranks": [2]}, "left out where no method has one"),
        (["scale"], {"options": {"r": 2, "x": 1}}, "none has 'r'"),
        (["lora"], {"where": {"target_modules": ["nothing"]}}, "nothing"),
    ],
)
def test_what_is_refused(methods: list[str], options: dict[str, Any], words: str) -> None:
    with pytest.raises(LierefError, match=words):
        entries(*methods, **options)


def test_sizes_that_a_method_does_not_have_are_passed_over() -> None:
    # Reflections come in pairs of vectors, of 18 and of 4 numbers.
    (found,) = entries("hra", budget="60")
    assert (found.rank, found.trainable) == (2, 2 * (18 + 4))


def test_a_larger_size_may_train_less_and_leave_layers_out() -> None:
    # Blocks of 2 fit the convolution alone, 4 x 2 outputs and inputs; of 1 both.
    found = [entries("c3a", budget=budget)[0] for budget in ("40", "84")]
    assert [(entry.options["block_size"], entry.trainable) for entry in found] == [(2, 36), (1, 84)]


def test_the_first_of_sizes_that_train_as_much() -> None:
    # Random bases of rank r, ceil(n / r) of them: r + n numbers each, n = 4 and 3.
    (found,) = entries("randlora", budget="15")
    assert (found.rank, found.trainable) == (4, 8 + 6)
