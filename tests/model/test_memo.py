from __future__ import annotations

import numpy as np

from lieref.model.memo import Memo


def test_computes_anew_only_when_an_object_or_a_number_changes() -> None:
    calls: list[int] = []
    memo: Memo[int] = Memo()
    a, b, live = object(), object(), np.arange(3.0)

    def compute() -> int:
        calls.append(1)
        return len(calls)

    assert [memo.get((a, b), compute, [live]) for _ in range(3)] == [1, 1, 1]
    live[1] += 1
    assert memo.get((a, b), compute, [live]) == 2
    assert memo.get((a, b), compute, [live.copy()]) == 2, "numbers count, not the array that holds them"
    assert memo.get((b, a), compute, [live]) == 3
    assert memo.get((b,), compute, [live]) == 4
    assert memo.get((b,), compute) == 5
    assert memo.get((b,), compute, []) == 5


def test_a_number_that_is_not_one_is_never_the_same() -> None:
    memo: Memo[float] = Memo()
    live = np.array([np.nan])
    values = iter([1.0, 2.0])
    assert [memo.get((), lambda: next(values), [live]) for _ in range(2)] == [1.0, 2.0]
