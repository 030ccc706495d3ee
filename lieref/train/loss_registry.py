"""The table of losses; a task (`lieref.train.task_registry`) says which is used for what."""

from __future__ import annotations

from lieref.train.binary_cross_entropy import BinaryCrossEntropy
from lieref.train.ctc import ConnectionistTemporalClassification
from lieref.train.loss import CrossEntropy, Loss, MeanSquaredError

LOSSES: dict[str, type[Loss]] = {
    loss.name: loss
    for loss in (CrossEntropy, MeanSquaredError, BinaryCrossEntropy, ConnectionistTemporalClassification)
}
