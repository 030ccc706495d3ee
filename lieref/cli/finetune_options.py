"""What ``lieref finetune`` was asked for, of a network of real numbers and of a quantised file alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lieref.cli.text_options import TextOptions
    from lieref.train.task import Task

REPORT_NAME, HISTORY_NAME = "report.json", "history.json"


@dataclass(frozen=True)
class Given:
    """The options, as `lieref.cli.finetune` names and explains them."""

    base: Path
    out: Path
    train: Path | None
    test: Path | None
    unlabelled: Path | None
    original: Path | None
    trained_with: str | None
    float_base: Path | None
    start: Path | None
    method: str
    budget_bytes: int | None
    budget_seconds: float | None
    rank: int | None
    alpha: float | None
    targets: tuple[str, ...]
    exclude: tuple[str, ...]
    blocks: tuple[int, ...] | None
    rank_pattern: dict[str, int]
    alpha_pattern: dict[str, float]
    method_options: dict[str, Any]
    head: str
    features: str | None
    pool: bool
    epochs: int | None
    batch: int
    lr: float | str | None
    optimizer: str
    average: bool
    mixup: float
    algebra_decay: float | None
    trust_region: float | None
    patience: int | None
    validation: float | None
    augment: str
    seed: int
    threads: int | None
    memory_limit: str | None
    task: tuple[str | None, dict[str, Any]]
    text: TextOptions
    outputs: dict[str, float] | None
    preprocess: str | None
    layout: str | None
    classes: str | None
    max_bytes: int | None
    codes: bool
    rounding: str | None
    semantics: str | None
    history_file: Path | None
    page_path: Path | None
    resume: bool
    force: bool

    def settings(self, task: Task, checkpoint: Path) -> dict[str, Any]:
        """Return what `fit` is told."""
        from lieref.cli.job import parse_augment

        return {
            "epochs": self.epochs,
            "batch_size": self.batch,
            "learning_rate": self.lr,
            "optimizer": self.optimizer,
            "average": self.average,
            "mixup": self.mixup,
            "algebra_decay": self.algebra_decay,
            "trust_region": self.trust_region,
            "patience": self.patience,
            "validation": self.validation,
            "augment": parse_augment(self.augment),
            "seed": self.seed,
            "memory_limit": self.memory_limit,
            "task": task,
            "checkpoint": checkpoint,
            "resume": self.resume,
        }

    def where(self) -> dict[str, Any]:
        """Return what `lieref.cli.job.attach_method` is told of layers, their ranks, and the method's own options."""
        return {
            "targets": self.targets,
            "exclude": self.exclude,
            "blocks": self.blocks,
            "rank_pattern": self.rank_pattern,
            "alpha_pattern": self.alpha_pattern,
            "method_options": self.method_options,
        }
