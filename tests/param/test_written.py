"""Every option written out: a method made from it is the same, whatever the defaults."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lieref.param.registry import METHODS, get_method, options_of
from lieref.param.written import written_out

WEIGHTS = [((6, 4, 3, 3), 1), ((6, 2, 3, 3), 2), ((6, 1, 3, 3), 6), ((6, 8), 1)]
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("low-rank+additive+exp", {"r": 2, "rank_times_kernel": False}),
    ("lora", {"init_lora_weights": "olora", "r": 2, "use_rslora": True}),
    ("lora", {"init_lora_weights": "gaussian", "lora_dropout": 0.25}),
    ("low-rank+gl+taylor2+in", {"r": 1}),
    ("dense+so*gl+exp+out*in", {}),
    ("tucker+hadamard+bounded(0.25)", {"ranks": (2, 3, 1, 1)}),
    ("norm-stats+liera", {"map": "taylor3", "strict": True}),
    ("dora", {"detach_norm": True, "lora_alpha": 3.0}),
    ("rslora", {"share_groups": True}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in METHODS), *OTHERS])
def test_all_options_are_written_and_make_the_same_method(name: str, options: dict[str, Any]) -> None:
    method = get_method(name, **options)
    assert set(written_out(method)) == {"name", *options_of(name)}
    tried = 0
    for shape, groups in WEIGHTS:
        if method.supports(shape, groups) is not None:
            continue
        again = get_method(**written_out(method, shape, groups))
        assert written_out(again, shape, groups) == written_out(method, shape, groups)
        assert (again.scaling, again.alpha, again.rank) == (method.scaling, method.alpha, method.rank)
        weight = np.random.default_rng(1).standard_normal(shape)
        params = method.start(shape, groups, np.random.default_rng(2), np.float64, weight)
        params = {key: value + 0.125 for key, value in params.items()}
        expected = method.adapted_weight(params, weight, groups)
        assert np.array_equal(again.adapted_weight(params, weight, groups), expected)
        assert again.trainable(params) == method.trainable(params)
        tried += 1
    assert tried


def test_what_the_shape_decides_is_written_as_decided() -> None:
    method = get_method("lora", r=1)
    assert written_out(method)["share_groups"] is None
    assert written_out(method, (6, 1, 3, 3), 6)["share_groups"] is True
    assert written_out(method, (6, 2, 3, 3), 2)["share_groups"] is False
    assert written_out(method)["lora_alpha"] == 1.0
