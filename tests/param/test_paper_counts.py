"""Trainable counts published for ConvNeXt-V2, from the architecture alone."""

from __future__ import annotations

import pytest

from lieref.param.low_rank import LowRank
from validation.against_paper.parameter_counts import PUBLISHED, WIDTHS, backbone, depthwise_trap, loralib_count


@pytest.mark.parametrize(("name", "r"), PUBLISHED)
def test_loralib_counts_are_the_published_ones(name: str, r: int) -> None:
    count = sum(loralib_count(layer, r) for layer in backbone(WIDTHS[name]))
    millions, expected = PUBLISHED[name, r]
    assert count == expected
    assert int(count / 1e4) / 100 == millions


def test_view_layout_counts_as_loralib_where_both_are_defined() -> None:
    layers = [layer for layer in backbone(WIDTHS["ConvNeXt-V2-B"]) if layer.groups == 1 and layer.name != "stem"]
    for layer in layers:
        assert LowRank(r=8, matricisation="view").num_params(layer.shape) == loralib_count(layer, 8)


def test_depthwise_trap_is_eight_times_the_kernel() -> None:
    trap = depthwise_trap()
    assert trap["kernel"] == 6272
    assert trap["trainables"]["loralib, r = 8"] == 50568
    assert trap["trainables"]["lieref unfold per group, r = 1"] == 128 * (1 + 49)
