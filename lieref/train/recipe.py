"""Every setting of a training run, checked before anything is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lieref._check import check_choice, check_int, check_real
from lieref.errors import DomainError
from lieref.train.augment import Augmentation
from lieref.train.optimizer import Optimizer
from lieref.train.schedule import SCHEDULES
from lieref.train.task import Task

AUTO = "auto"


@dataclass(frozen=True)
class Recipe:
    """Settings of a training run; two runs with equal recipes, models and data give equal bits.

    Attributes
    ----------
    epochs : int
        At least 1.
    batch_size : int
        At least 1; the last batch of an epoch may be smaller.
    learning_rate : float or "auto"
        Above 0.
    optimizer : Optimizer
        Its settings; every run begins with a fresh state.
    schedule : str
        One of `SCHEDULES`.
    warmup_steps : int
        At least 0.
    clip_norm : float or None
        Above 0; largest global norm of the gradient.
    task : Task
    augmentation : Augmentation
    seed : int
        0 to 2**63 - 1.
    average : bool or float
        Decay of the moving average of the parameters, below 1; False or 0 for none, True for `default_decay`.
    mixup : float
        At least 0; 0 mixes nothing.
    patience : int or None
        At least 1; epochs without a better one on the validation set after which the run ends.
    algebra_decay : float or None
        Above 0; factor of half the sum of |xi|^2 in the objective.
    trust_region : float or None
        Above 0; largest |xi| of each tensor.
    """

    epochs: int
    batch_size: int
    learning_rate: float | str
    optimizer: Optimizer
    schedule: str
    warmup_steps: int
    clip_norm: float | None
    task: Task
    augmentation: Augmentation
    seed: int
    average: bool | float = False
    mixup: float = 0.0
    patience: int | None = None
    algebra_decay: float | None = None
    trust_region: float | None = None

    def __post_init__(self) -> None:
        check_int("fit", "epochs", self.epochs, low=1)
        check_int("fit", "batch_size", self.batch_size, low=1)
        check_int("fit", "seed", self.seed, low=0, high=2**63 - 1)
        check_int("fit", "warmup_steps", self.warmup_steps, low=0)
        check_choice("fit", "schedule", self.schedule, SCHEDULES)
        if self.learning_rate != AUTO:
            check_real("fit", "learning_rate", self.learning_rate, above=0.0)
        if self.clip_norm is not None:
            check_real("fit", "clip_norm", self.clip_norm, above=0.0)
        if self.algebra_decay is not None:
            check_real("fit", "algebra_decay", self.algebra_decay, low=1e-30, high=1e30)  # as float32 holds it
        if self.trust_region is not None:
            check_real("fit", "trust_region", self.trust_region, above=0.0)
            if self.average:
                raise DomainError(
                    "fit: `average` must be False with a trust region, which the average of factors may leave; got "
                    f"{self.average}"
                )
        if not isinstance(self.average, bool) and check_real("fit", "average", self.average, low=0.0) >= 1.0:
            raise DomainError(f"fit: `average` must be True, False or a decay below 1; got {self.average}")
        check_real("fit", "mixup", self.mixup, low=0.0)
        if self.patience is not None:
            check_int("fit", "patience", self.patience, low=1)

    def total_steps(self, samples: int) -> int:
        """Return the number of updates a run makes on so many samples.

        Raises
        ------
        DomainError
            If the warm-up would not end before the run does.
        """
        total = self.epochs * steps_per_epoch(samples, self.batch_size)
        if self.warmup_steps > total:
            raise DomainError(
                f"fit: `warmup_steps` must be at most the {total} steps of the run; got {self.warmup_steps}"
            )
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "optimizer": self.optimizer.to_dict(),
            "schedule": self.schedule,
            "warmup_steps": self.warmup_steps,
            "clip_norm": self.clip_norm,
            "task": self.task.to_dict(),
            "augmentation": self.augmentation.to_dict(),
            "seed": self.seed,
            "average": self.average,
            "mixup": self.mixup,
            "patience": self.patience,
            "algebra_decay": self.algebra_decay,
            "trust_region": self.trust_region,
        }


def steps_per_epoch(samples: int, batch_size: int) -> int:
    """Return the number of batches, the last one possibly smaller."""
    return -(-samples // batch_size)
