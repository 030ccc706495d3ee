"""Curves of runs: which numbers are drawn, what the axes say, and what cannot be drawn."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from lieref.errors import DomainError
from lieref.train.curves import COLOURS, MARKS, MOST_RUNS, draw, metric_of
from lieref.train.history import EpochRecord, History

FIRST = EpochRecord(1, 2.0, {"accuracy": 0.25, "f1": 0.1}, 1.5, {"accuracy": 0.5, "f1": 0.2}, 0.1, 3.0)
JUDGED = (FIRST, replace(FIRST, epoch=2, loss=1.0, validation_loss=1.25))
PLAIN = tuple(replace(record, validation_loss=None, validation_metrics=None) for record in JUDGED)


def axes(count: int = 2) -> Any:
    return Figure().subplots(1, count, squeeze=False)[0]


def curves(ax: Any) -> list[tuple[list[float], list[float], str]]:
    return [(list(line.get_xdata()), list(line.get_ydata()), line.get_linestyle()) for line in ax.lines]


def test_loss_and_metric_are_drawn_with_validation_dashed() -> None:
    loss, accuracy = draw({"a": JUDGED}, axes())
    assert curves(loss) == [([1, 2], [2.0, 1.0], "-"), ([1, 2], [1.5, 1.25], "--")]
    assert curves(accuracy) == [([1, 2], [25.0, 25.0], "-"), ([1, 2], [50.0, 50.0], "--")]
    assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss (mean over samples)")
    assert (accuracy.get_xlabel(), accuracy.get_ylabel()) == ("epoch", "accuracy (%)")
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]


def test_one_run_without_validation_needs_no_legend() -> None:
    loss, accuracy = draw({"a": PLAIN}, axes())
    assert len(loss.lines) == len(accuracy.lines) == 1
    assert loss.get_legend() is None


def test_runs_are_told_apart_by_colour_and_mark() -> None:
    loss, _ = draw({"one": PLAIN, "_two": PLAIN, "$three": PLAIN}, axes())
    looks = [(line.get_color(), line.get_marker()) for line in loss.lines]
    assert looks == list(zip(COLOURS, MARKS, strict=False))[:3]
    assert [text.get_text().strip() for text in loss.get_legend().get_texts()] == ["one", "_two", r"\$three"]
    with matplotlib.rc_context():
        loss.figure.savefig("/dev/null", format="svg")


def test_neighbouring_colours_differ_in_grey() -> None:
    # Rec. 709: what a grey print keeps
    grey = [float(np.dot((0.2126, 0.7152, 0.0722), to_rgb(colour))) for colour in COLOURS]
    assert all(abs(a - b) > 0.1 for a, b in pairwise(grey))
    looks = {(COLOURS[k % len(COLOURS)], MARKS[k % len(MARKS)]) for k in range(MOST_RUNS)}
    assert len(looks) == MOST_RUNS


def test_a_long_legend_stands_beside_the_axes() -> None:
    places = draw({f"run {k}": PLAIN for k in range(7)}, axes())
    assert places[0].get_legend() is None
    assert len(places[1].get_legend().get_texts()) == 7


def test_another_metric_and_an_epoch_without_one() -> None:
    _, f1 = draw({"a": JUDGED}, axes(), "f1")
    assert f1.get_ylabel() == "f1"
    assert curves(f1)[0][1] == [0.1, 0.1]
    late = (JUDGED[0], replace(JUDGED[1], validation_loss=None, validation_metrics=None))
    loss, _ = draw({"a": late}, axes())
    np.testing.assert_array_equal(curves(loss)[1][1], [1.5, np.nan])


def test_what_is_learnt_from_is_called_so_where_nothing_was_held_out() -> None:
    loss, accuracy = draw({"a": PLAIN}, axes())
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss (mean over samples)", "training accuracy (%)")


def test_runs_without_a_metric_have_one_pair_of_axes() -> None:
    bare = tuple(replace(record, metrics={}) for record in PLAIN)
    assert metric_of({"a": bare}) is None
    assert len(draw({"a": bare}, axes(1))) == 1
    with pytest.raises(DomainError, match="`ax` must be at most 1"):
        draw({"a": bare}, axes())


def test_history_draws_itself() -> None:
    history = History(JUDGED, 0.1)
    [alone] = history.plot(axes(1)[0])
    assert curves(alone) == [([1, 2], [2.0, 1.0], "-"), ([1, 2], [1.5, 1.25], "--")]
    matplotlib.use("Agg")
    from matplotlib import pyplot

    places = history.plot()
    assert [place.get_ylabel() for place in places] == ["loss (mean over samples)", "accuracy (%)"]
    pyplot.close(places[0].figure)


@pytest.mark.parametrize(
    ("runs", "metric", "words"),
    [
        ({}, None, "`runs` must be 1 to 56; got 0"),
        ({"a": ()}, None, "one epoch or more; a has none"),
        ({"a": PLAIN, "b": (replace(FIRST, metrics={"rmse": 1.0}),)}, None, "a has accuracy, f1, b has rmse"),
        ({"a": PLAIN, "b": (replace(FIRST, metrics={}),)}, None, "a has accuracy, f1, b has none"),
        ({"a": PLAIN}, "rmse", "`metric` must be one of accuracy, f1; got 'rmse'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(runs: Any, metric: str | None, words: str) -> None:
    with pytest.raises(DomainError) as caught:
        draw(runs, axes(), metric)
    assert words in str(caught.value)
