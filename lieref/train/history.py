"""The record of a training run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from lieref._table import html_table, html_text, shortened, text_table


@dataclass(frozen=True)
class EpochRecord:
    """One epoch.

    Attributes
    ----------
    epoch : int
        From 1.
    loss : float
        Mean over the epoch's samples, each taken when its batch was trained on.
    metrics : dict of str to float
        The metrics of the task over those samples, such as ``accuracy``.
    validation_loss : float or None
    validation_metrics : dict of str to float or None
        After the epoch; None without a validation set.
    learning_rate : float
        At the first step.
    seconds : float
        Wall time, validation included.
    steps : int or None
        Updates from the beginning of the run to the end of this epoch; None in a record of an earlier version.
    samples : int or None
        Trained on in this epoch.
    training_seconds : float or None
        Wall time without validation.
    xi_norm : float or None
        Root of the sum of |xi|^2 over the adapted tensors after the last step of the epoch, where the run looks at it
        (`lieref.train.algebra_decay`).
    """

    epoch: int
    loss: float
    metrics: dict[str, float]
    validation_loss: float | None
    validation_metrics: dict[str, float] | None
    learning_rate: float
    seconds: float
    steps: int | None = None
    samples: int | None = None
    training_seconds: float | None = None
    xi_norm: float | None = None

    @property
    def samples_per_second(self) -> float | None:
        """Samples trained on in a second, without validation; None where it is not known."""
        return self.samples / self.training_seconds if self.samples and self.training_seconds else None

    @property
    def accuracy(self) -> float | None:
        """Share of right answers, 0 to 1; None where the task has none."""
        return self.metrics.get("accuracy")

    @property
    def validation_accuracy(self) -> float | None:
        """The same on the validation set; None without one."""
        return None if self.validation_metrics is None else self.validation_metrics.get("accuracy")


@dataclass(frozen=True)
class Trial:
    """One learning rate tried on the held-out slice; metrics and loss are None where training diverged."""

    learning_rate: float
    metrics: dict[str, float] | None
    loss: float | None

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None where the task has none."""
        return None if self.metrics is None else self.metrics.get("accuracy")


MOST_HELD = 5
"""Tensors that are named of those that a trust region has held."""

MOST_EPOCHS = 24
"""Epochs that a history shows; of more the first twenty and the last four."""


@dataclass(frozen=True, repr=False)
class History:
    """A training run: what `fit` returns. It prints as a table of its epochs, and a notebook shows it as one.

    Attributes
    ----------
    epochs : tuple of EpochRecord
        Empty where a method has no gradient, such as `norm-stats`.
    learning_rate : float or None
        The largest of the schedule; None where there was no gradient.
    recipe : dict
        Every setting of the run, plain JSON values.
    best_epoch : int or None
        Epoch whose parameters the model has now; None without a validation set, where it is the last.
    trials : tuple of Trial
        Learning rates tried, with ``learning_rate="auto"``.
    preparation_seconds : float
        Wall time of the statistics and of the learning-rate search.
    ranks : dict of str to int
        What an optimiser that allocates ranks has left each tensor, or a start that moves them given it, 0 for none.
    held : dict of str to int
        In how many steps a trust region brought each tensor back, of those that it did; empty without one.
    """

    epochs: tuple[EpochRecord, ...]
    learning_rate: float | None
    recipe: dict[str, Any] = field(default_factory=dict)
    best_epoch: int | None = None
    trials: tuple[Trial, ...] = ()
    preparation_seconds: float = 0.0
    ranks: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Wall time of the whole run."""
        return self.preparation_seconds + sum(record.seconds for record in self.epochs)

    def __repr__(self) -> str:
        """Return a line about the run and a row for each epoch."""
        return "\n".join([self._title(), text_table(self._rows(), left=0)]) if self.epochs else self._title()

    def _repr_html_(self) -> str:
        """Return the same for a notebook."""
        return html_table(self._rows(), left=0, title=self._title()) if self.epochs else html_text(self._title())

    def plot(self, ax: Any = None) -> Any:
        """Draw the loss and the first metric against the epochs.

        Parameters
        ----------
        ax : matplotlib Axes or two of them, optional
            Where to draw: the loss alone on one, loss and metric on two; None makes a figure.

        Returns
        -------
        numpy array of Axes
            Those that were drawn on.

        Raises
        ------
        DomainError
            If there is no epoch, or two axes and no metric.
        MissingExtraError
            If matplotlib is not installed.
        """
        from lieref.train.curves import draw

        return draw({self._name(): self.epochs}, ax)

    def _title(self) -> str:
        """Return what there is to say of the run beside its epochs."""
        count = len(self.epochs)
        best = "" if self.best_epoch is None else f"; the model has the parameters of epoch {self.best_epoch}"
        bound = f"; {self.held_text()}" if self.held else ""
        return f"History: {count} epoch{'' if count == 1 else 's'}, {self._name()}, {self.seconds:.1f} s{best}{bound}"

    def held_text(self) -> str:
        """Return what the trust region has held, the tensors with most steps first."""
        most = sorted(self.held.items(), key=lambda each: -each[1])
        names = ", ".join(f"{tensor} in {steps:,}" for tensor, steps in most[:MOST_HELD])
        rest = most[MOST_HELD:]
        more = f" and {len(rest):,} others in {rest[0][1]:,} or fewer" if rest else ""
        whole = self.epochs[-1].steps if self.epochs else 0
        return f"the trust region {self.recipe.get('trust_region')} held {names}{more} of {whole:,} steps"

    def _rows(self) -> list[Sequence[str]]:
        """Return the head and a row for each epoch, cut where there are many."""
        judged = any(record.validation_loss is not None for record in self.epochs)
        measured = any(record.xi_norm is not None for record in self.epochs)
        names = list(self.epochs[0].metrics)
        head = ["epoch", "loss", *names, *(f"validation {name}" for name in ("loss", *names) if judged)]
        head += ["|xi|", "seconds"] if measured else ["seconds"]
        rows = []
        for record in self.epochs:
            row = [str(record.epoch), *_numbers(record.loss, record.metrics, names)]
            row += _numbers(record.validation_loss, record.validation_metrics, names) if judged else []
            row += _numbers(record.xi_norm, {}, ()) if measured else []
            rows.append([*row, f"{record.seconds:.1f}"])
        between = [f"... {len(rows) - MOST_EPOCHS:,} more", *[""] * (len(head) - 1)]
        return [[name.replace("_", " ") for name in head], *shortened(rows, MOST_EPOCHS, between)]

    def _name(self) -> str:
        """Return what a legend calls the run."""
        return "training" if self.learning_rate is None else f"learning rate {self.learning_rate:.3g}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """Return the record as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """Return the record that `to_dict` gave.

        Raises
        ------
        KeyError, TypeError, ValueError
            If a field is missing, unknown, or not of its kind.
        """
        history = cls(
            **{
                **values,
                "epochs": tuple(EpochRecord(**record) for record in values["epochs"]),
                "trials": tuple(Trial(**trial) for trial in values["trials"]),
            }
        )
        numbers = [history.learning_rate, history.preparation_seconds, history.best_epoch, *history.held.values()]
        fields = [*chain(*(vars(record).items() for record in (*history.epochs, *history.trials)))]
        for name, value in fields:
            if name.endswith("metrics") and value is not None:
                numbers += {**value}.values()
            else:
                numbers.append(value)
        for number in numbers:
            if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float))):
                raise TypeError(f"{number!r:.60} where a number belongs")
        if history.best_epoch is not None and history.best_epoch not in [record.epoch for record in history.epochs]:
            raise ValueError(f"a best epoch that is none of the {len(history.epochs)}")
        if [record.epoch for record in history.epochs] != list(range(1, len(history.epochs) + 1)):
            raise ValueError("epochs that do not count from 1")
        return history


def in_percent(metric: str) -> bool:
    """Tell whether a metric is a share, 0 to 1, that is shown in per cent."""
    return metric.rpartition(".")[2].endswith("accuracy")


def _numbers(loss: float | None, metrics: Mapping[str, float] | None, names: Sequence[str]) -> list[str]:
    """Return a loss and the metrics of these names as text, a dash where there is none."""
    values = [loss, *((metrics or {}).get(name) for name in names)]
    shares = [False, *map(in_percent, names)]
    return [
        "-" if value is None else f"{100 * value:.2f} %" if share else f"{value:.4g}"
        for value, share in zip(values, shares, strict=True)
    ]
