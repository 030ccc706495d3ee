"""Every number of a run at the ends of its range, where it is taken, and just outside, where it is refused by name."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, ShapeError
from lieref.model.samples import arrange
from lieref.train.augment import Augmentation
from lieref.train.optimizer import SGD, AdamW
from lieref.train.recipe import Recipe
from lieref.train.sample_tasks import Classes
from lieref.train.schedule import learning_rate_factor

RECIPE = Recipe(2, 16, 0.1, SGD(), "cosine", 0, 1.0, Classes(), Augmentation(), seed=0)
TINY, BELOW_ONE = 5e-324, math.nextafter(1.0, 0.0)


@pytest.mark.parametrize(
    ("made", "name", "inside", "outside"),
    [
        (RECIPE, "epochs", [1], [0]),
        (RECIPE, "batch_size", [1], [0]),
        (RECIPE, "learning_rate", [TINY], [0.0]),
        (RECIPE, "warmup_steps", [0], [-1]),
        (RECIPE, "clip_norm", [TINY, None], [0.0]),
        (RECIPE, "seed", [0, 2**63 - 1], [-1, 2**63]),
        (SGD(), "momentum", [0.0, BELOW_ONE], [-TINY, 1.0]),
        (SGD(), "weight_decay", [0.0], [-TINY]),
        (AdamW(), "beta1", [0.0, BELOW_ONE], [-TINY, 1.0]),
        (AdamW(), "beta2", [0.0, BELOW_ONE], [-TINY, 1.0]),
        (AdamW(), "epsilon", [TINY], [0.0]),
        (AdamW(), "weight_decay", [0.0], [-TINY]),
    ],
)
def test_the_range_of_a_setting(made: Any, name: str, inside: list[Any], outside: list[Any]) -> None:
    for value in inside:
        assert getattr(dataclasses.replace(made, **{name: value}), name) == value
    for value in outside:
        with pytest.raises(DomainError, match=f": `{name}` must"):
            dataclasses.replace(made, **{name: value})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("schedule", ("linear", 0, 1)),
        ("step", ("cosine", 3, 3)),
        ("step", ("cosine", -1, 3)),
        ("total_steps", ("cosine", 0, 0)),
        ("warmup_steps", ("cosine", 0, 3, 4)),
        ("warmup_steps", ("cosine", 0, 3, -1)),
    ],
)
def test_a_schedule_names_what_is_out_of_range(name: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(DomainError, match=f"^learning_rate_factor: `{name}` must"):
        learning_rate_factor(*arguments)


def test_a_warm_up_may_last_the_whole_run_and_no_longer() -> None:
    assert dataclasses.replace(RECIPE, warmup_steps=6).total_steps(33) == 6
    with pytest.raises(DomainError, match="`warmup_steps` must be at most the 6 steps"):
        dataclasses.replace(RECIPE, warmup_steps=7).total_steps(33)


def test_a_plain_list_of_numbers_is_no_batch_of_vectors() -> None:
    """The axis of one channel may be left out of images; there is none to add to vectors."""
    assert arrange(np.zeros((4, 6, 5)), (None, 1, 6, 5), function="arrange").shape == (4, 1, 6, 5)
    for width in (1, None):
        with pytest.raises(ShapeError, match="arrange"):
            arrange(np.zeros(4), (None, width), function="arrange")
