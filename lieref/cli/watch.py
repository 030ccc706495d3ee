"""What a training run is doing, in a few words on a line: its place, the time left, loss and metric, the speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lieref.cli.live import Line, TimeLeft, left_text, live_line
from lieref.train.history import in_percent

if TYPE_CHECKING:
    from lieref.adapter.model import Model
    from lieref.train.epoch import Progress as State
    from lieref.train.history import EpochRecord, History

COST = 50.0
"""Times as long as a look took, for metrics of ranks sort all answers, there is no other one: 2 % of the time."""

HALF = 0.5
"""Of an epoch, from which its own mean is shown and not that of the one before."""


class Watch:
    """Shows a run: `step` and `epoch` are for `fit`, as `progress` and `each_epoch`.

    Loss and metric are means over the last epoch that is done, or over this one once half of it is; what a validation
    set says is that of the last.

    Parameters
    ----------
    line : Line
    name : str
        Of the run.
    unit : str
        What samples are called.
    """

    def __init__(self, line: Line, name: str, unit: str = "samples") -> None:
        self._line, self._name, self._unit = line, name, unit
        self._state: State | None = None
        self._record: EpochRecord | None = None
        self._left = TimeLeft(line.clock)
        # Of steps between which lay no validation.
        self._seconds, self._samples = 0.0, 0
        self._last = self._not_before = line.clock()

    def step(self, state: State) -> None:
        """Take in an update, or that machine code is made before the first."""
        now, before = self._line.clock(), self._state
        if not state.step:
            if self._line.moves:
                self._line.show(0, None, f"{self._name}: {state.phase}")
            return
        if before is None or state.phase != before.phase:
            self._left = TimeLeft(self._line.clock)
            self._seconds, self._samples = 0.0, 0
            self._record = None if before is not None else self._record  # the other training's, which counts alike
        elif state.epoch == before.epoch:
            self._seconds, self._samples = self._seconds + now - self._last, self._samples + state.samples
        self._state, self._last = state, now
        left = self._left.after(state.step, state.total_steps)
        if state.step < state.total_steps and self._line.due() and now >= self._not_before:
            self._show(state, left)
            self._not_before = now + COST * (self._line.clock() - now)

    def epoch(self, history: History) -> None:
        """Take in that an epoch is done, with its validation."""
        if history.epochs:
            self._record = history.epochs[-1]
            known = [r for r in history.epochs if r.samples and r.training_seconds]
            self._samples = sum(r.samples or 0 for r in known)
            self._seconds = sum(r.training_seconds or 0.0 for r in known)

    def close(self) -> None:
        """Show how the run ended."""
        if self._state is not None:
            self._show(self._state, None)

    def _show(self, state: State, left: float | None) -> None:
        record, done = self._record, state.step * state.epochs / state.total_steps
        if record is not None and (done - record.epoch < HALF or state.score is None):
            loss, metrics = record.loss, record.metrics
        elif state.score is not None:
            score = state.score()
            loss, metrics = score.loss, score.metrics
        else:
            loss, metrics = state.loss, {}
        short = self._line.moves  # to fit into 80 columns
        kind = state.phase.removesuffix("training").strip(", ")
        place = f"{state.epoch}/{state.epochs}" if short else f"epoch {state.epoch} of {state.epochs}"
        head = f"{self._name}{' ' if short else ': '}{f'{kind}, ' if kind else ''}{place}{left_text(left)}"
        words = [head, f"loss {loss:#.3g}" if short else f"loss {loss:.4f}"]
        words += [" ".join(metric_words(metrics))] if metrics else []
        if record is not None and record.validation_loss is not None:
            shown = metric_words(record.validation_metrics or {}) or ("loss", f"{record.validation_loss:.4g}")
            words.append(f"{'val.' if short else 'validation'} {shown[1] if metrics else ' '.join(shown)}")
        if self._seconds > 0.0:
            words.append(f"{self._samples / self._seconds:,.0f} {self._unit}/s")
        said = ", ".join(words)
        self._line.show(state.step, state.total_steps, said.replace(" %", "%") if short else said)


def metric_words(metrics: Mapping[str, float]) -> tuple[str, ...]:
    """Return name and value of the first metric, nothing where there is none."""
    for name, value in metrics.items():
        return name.replace("_", " "), f"{100 * value:.1f} %" if in_percent(name) else f"{value:.4g}"
    return ()


def unit_of(model: Model) -> str:
    """Return what the samples of a model are called."""
    from lieref.train.augment import image_axes

    return "samples" if image_axes(model.input_shape) is None else "images"


@contextmanager
def watching(model: Model, name: str) -> Iterator[Watch]:
    """Give the watch of a run; where the block ends well its last line stays in a log."""
    with live_line(name) as line:
        watch = Watch(line, name, unit_of(model))
        yield watch
        watch.close()
