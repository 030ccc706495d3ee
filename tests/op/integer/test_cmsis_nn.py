"""CMSIS-NN's public golden vectors: every output of every case that its headers describe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from validation.integer.cmsis_nn import FILES, cases, compute

COUNTS = {
    "convolve_s8": 31, "depthwise_s8": 12, "fully_connected_s8": 7, "elementwise_s8": 16, "pool_s8": 14,
    "softmax_s8": 2, "convolve_s16": 13, "depthwise_s16": 12, "fully_connected_s16": 3, "elementwise_s16": 4,
    "pool_s16": 7, "softmax_s16": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(data_dir: Path) -> Path:
    path = data_dir / "cmsis_nn"
    if not path.is_dir():
        pytest.skip("the vectors of CMSIS-NN are not there")
    return path


@pytest.mark.parametrize("file", FILES)
def test_every_output_is_equal(folder, file):
    seen = 0
    for name, case in cases(folder, file):
        y = compute(file, name, case)
        np.testing.assert_array_equal(y, case["output_ref"].ravel(), err_msg=name)
        seen += 1
    assert seen == COUNTS[file]


@pytest.mark.parametrize(("rounding", "outputs"), [("single", 6), ("half-up", 7)])
def test_the_vectors_hardly_tell_roundings_apart(folder, rounding, outputs):
    """The 43 convolutions of 8 bits: as many outputs of 19,103 differ under another rounding, and no more."""
    different = total = 0
    for file in ("convolve_s8", "depthwise_s8"):
        for name, case in cases(folder, file):
            different += int((compute(file, name, case, rounding) != case["output_ref"].ravel()).sum())
            total += case["output_ref"].size
    assert (different, total) == (outputs, 19_103)
