"""A plan is plain values: checked, written and read back, and given to `fit`."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

import lieref
from lieref.errors import LierefError
from lieref.evaluate.plan import Plan


def test_written_and_read_back() -> None:
    plan = Plan("liera", {"r": 2, "target_modules": ("conv*",)}, 7, rate_factor=0.5, augment=("flip", "shift(2)"))
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert again.augment == ("flip", "shift(2)")
    assert plan.label == 'liera r=2 target_modules=["conv*"]'


def test_fit_is_given_what_is_no_default_of_its_own() -> None:
    assert Plan("liera").fit_options() == {}
    options = Plan("liera", epochs=3, batch_size=16, augment=(), warmup_steps=2, optimizer="sgd").fit_options()
    assert options == {"epochs": 3, "batch_size": 16, "augment": (), "warmup_steps": 2, "optimizer": "sgd"}
    assert set(options) <= set(inspect.signature(lieref.fit).parameters)


@pytest.mark.parametrize(
    "fields",
    [
        {"method": ""}, {"method": 3}, {"options": {"r": object()}}, {"epochs": 0}, {"rate_factor": 0.0},
        {"learning_rate": -1.0}, {"learning_rate": 0.1, "rate_factor": 2.0}, {"batch_size": 0}, {"mixup": -0.1},
        {"label_smoothing": 1.5}, {"patience": 0},
    ],
)  # fmt: skip
def test_fields_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(LierefError, match=r"^Plan: "):
        Plan(**{"method": "liera", **fields})


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(LierefError, match=r"\['rank'\]"):
        Plan.from_dict({"method": "liera", "rank": 3})
