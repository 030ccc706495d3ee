"""Operations counted by hand.

The small network: a convolution of 2 channels to 4 by 3 x 3 on 6 x 5 positions, 4 * 2 * 9 * 30 = 2,160 multiply-adds,
and a matrix 3 x 4, 12 of them.
"""

from __future__ import annotations

import pytest

from lieref.evaluate.flops import inference_flops, statistics_flops, training_flops
from tests.evaluate.jobs import problem

CONV, HEAD = 2160, 12
SAMPLE = (2, 6, 5)


def test_inference() -> None:
    assert inference_flops(problem().model(), SAMPLE) == 2 * (CONV + HEAD)


@pytest.mark.parametrize(
    ("method", "targets", "expected"),
    [
        ("liera", None, 2 * CONV + 3 * HEAD),  # no gradient of the image
        ("liera", ["conv"], 2 * CONV + 2 * HEAD),
        ("liera", ["head"], CONV + 2 * HEAD),
        ("head", None, CONV + 2 * HEAD),
        ("norm", None, CONV + 2 * HEAD),  # its vectors lie behind the convolution
    ],
)
def test_training_by_what_is_trained(method: str, targets: list[str] | None, expected: int) -> None:
    options = {"r": 1} if method == "liera" else {}
    model = problem().model().attach(method, target_modules=targets, **options)
    assert training_flops(model, SAMPLE, 7) == 2 * 7 * expected


def test_statistics_look_at_what_lies_before_them() -> None:
    model = problem().model().attach("norm-stats")
    assert training_flops(model, SAMPLE, 7) == 0
    assert statistics_flops(model, SAMPLE, 7) == 2 * 7 * CONV
