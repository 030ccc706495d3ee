"""Clipping in words: counted on numbers known by hand, in per cent, and only the layers where it matters."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.adapter.integer.clipping import Clipped, clipped, summary
from lieref.adapter.integer.model import IntegerModel
from lieref.evaluate.clipping_text import layers_text, line, share_text, worst_text
from lieref.model.integer.tflite_reader import read_tflite
from validation.integer.tflite_file import Operator, Tensor, build

pytest.importorskip("tflite")


def found(*shares: float) -> tuple[Clipped, ...]:
    return tuple(Clipped(f"scope/conv_{n}/Conv2D", f"conv_{n}", share, 0.0, 1.5) for n, share in enumerate(shares))


def test_clipping_is_counted() -> None:
    """y = x / 2 in steps of 1 / 8 reaches from -16 to 15.875: of eight numbers, two lie above and one below."""
    tensors = [
        Tensor("int8", (1, 2), 0.5),
        Tensor("int8", (2, 2), 0.5, 0, 0, np.eye(2, dtype=np.int8)),
        Tensor("int8", (1, 2), 0.125),
    ]
    operators = [Operator("FULLY_CONNECTED", (0, 1, -1), (2,), "FullyConnectedOptions")]
    graph = read_tflite(build(tensors, operators, (0,), (2,)))
    x = np.array([[1, 2], [40, -33], [31, 34], [-31, 0]], np.float32)
    said = summary(clipped(IntegerModel(graph, "net"), graph, x))
    layer = said["worst_layer"]
    assert (said["above"], said["below"], said["tensors"]) == (0.25, 0.125, 1)
    assert said["layers"] == [[layer, 0.375]]
    assert said["largest_over_range"] == 20 / 15.875
    assert line(said, said) == (
        f"numbers clipped to the file's ranges: 37.50 % before, 37.50 % now; by layer: {layer} 37.50 %"
    )


@pytest.mark.parametrize(
    ("share", "text"), [(0, "none"), (1e-7, "under 0.01 %"), (0.0001, "0.01 %"), (0.1234, "12.34 %"), (1, "100.00 %")]
)
def test_shares_are_in_per_cent_with_two_digits(share: float, text: str) -> None:
    assert share_text(share) == text


def test_layers_that_do_not_matter_are_left_out_and_counted() -> None:
    said = summary(found(0.0, 0.0005, 0.25, 0.002, 0.5, 0.04, 0.001))
    assert (
        layers_text(said) == "by layer: conv_4 50.00 %, conv_2 25.00 %, conv_5 4.00 %, 2 more from 0.1 %, 2 under 0.1 %"
    )
    assert worst_text(said) == "conv_4 50.00 %"
    nothing = summary(found(0.0, 0.00095))
    assert layers_text(nothing) == "no layer clips 0.1 % or more"
    assert worst_text(nothing) == "-"
    assert line(summary(()), nothing).startswith("numbers clipped to the file's ranges: none before, 0.05 % now;")


def test_an_earlier_report_names_what_it_knows() -> None:
    earlier = {"above": 0.015, "below": 0.01, "worst": "logits", "worst_share": 0.0475, "largest_over_range": 1.4}
    assert layers_text(earlier) == "most in logits 4.75 %"
