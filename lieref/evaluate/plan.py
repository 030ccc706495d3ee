"""How to adapt a network: everything but the seed and the data."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lieref._check import check_int, check_real
from lieref.errors import DomainError, DTypeError

BASE, START = "base", "start"
"""Methods of a plan that no table of methods has: nothing attached, and the adapter that a problem starts from."""

_FIT = ("epochs", "batch_size", "optimizer", "schedule", "warmup_steps", "clip_norm", "augment", "average", "mixup")


@dataclass(frozen=True)
class Plan:
    """A way to adapt a network.

    Attributes
    ----------
    method : str
        A name that `Model.attach` takes; "base" for nothing attached, "start" for the problem's own adapter.
    options : mapping
        Further keywords of `attach`: r, lora_alpha, target_modules; plain JSON values.
    epochs : int or None
        None for the default of `fit`.
    learning_rate : float or None
        None for the default of the method for a run of so many steps.
    rate_factor : float
        On that default; above 0.
    batch_size, optimizer, schedule, warmup_steps, clip_norm, augment, average, mixup, patience
        Those of `fit`; `patience` stops early by a fold that is held out.
    label_smoothing : float
        Setting of the task "classes", 0 to 1.

    Raises
    ------
    DomainError, DTypeError
        If a field is out of range, or both a rate and a factor are given.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    learning_rate: float | None = None
    rate_factor: float = 1.0
    batch_size: int = 128
    optimizer: str = "adamw"
    schedule: str = "cosine"
    warmup_steps: int = 0
    clip_norm: float | None = None
    augment: str | tuple[str, ...] = "auto"
    average: bool | float = False
    mixup: float = 0.0
    label_smoothing: float = 0.0
    patience: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or not self.method:
            raise DTypeError(f"Plan: `method` must be a name; got {self.method!r}")
        try:
            object.__setattr__(self, "options", json.loads(json.dumps(dict(self.options), default=list)))
        except (TypeError, ValueError) as error:
            raise DTypeError(f"Plan: `options` must be plain JSON values by name; got {self.options!r:.80}") from error
        if not isinstance(self.augment, str):
            object.__setattr__(self, "augment", tuple(self.augment))
        if self.epochs is not None:
            check_int("Plan", "epochs", self.epochs, low=1)
        if self.learning_rate is not None:
            check_real("Plan", "learning_rate", self.learning_rate, above=0.0)
        check_real("Plan", "rate_factor", self.rate_factor, above=0.0)
        if self.learning_rate is not None and self.rate_factor != 1.0:
            raise DomainError("Plan: `rate_factor` must be 1 where a learning rate is given")
        check_int("Plan", "batch_size", self.batch_size, low=1)
        check_int("Plan", "warmup_steps", self.warmup_steps, low=0)
        check_real("Plan", "mixup", self.mixup, low=0.0)
        check_real("Plan", "label_smoothing", self.label_smoothing, low=0.0, high=1.0)
        if self.patience is not None:
            check_int("Plan", "patience", self.patience, low=1)

    @property
    def label(self) -> str:
        """A short name for tables, such as "liera r=4"."""
        others = {name: value for name, value in self.options.items() if value is not None}
        return " ".join([self.method, *(f"{name}={_short(value)}" for name, value in others.items())])

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` reads them back."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**values, "augment": list(self.augment) if isinstance(self.augment, tuple) else self.augment}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Return the plan that `to_dict` gave.

        Raises
        ------
        DomainError
            If a field is unknown or missing.
        """
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown or "method" not in values:
            raise DomainError(f"Plan: must have a method and fields among {', '.join(sorted(known))}; got {unknown}")
        return cls(**values)

    def fit_options(self) -> dict[str, Any]:
        """Return keywords of `fit`, those that are not its defaults: all but rate, patience and smoothing."""
        from lieref.train.loop import fit

        defaults = {name: p.default for name, p in inspect.signature(fit).parameters.items()}
        wanted = {name: getattr(self, name) for name in _FIT}
        own = {f.name: f.default for f in dataclasses.fields(self)}
        return {name: value for name, value in wanted.items() if value != defaults.get(name, own[name])
                and not (name == "epochs" and value is None)}  # fmt: skip


def _short(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (list, dict)) else str(value)
