"""The tables of optimisers."""

from __future__ import annotations

from lieref._check import check_choice
from lieref.train.adalora import AdaLoRA
from lieref.train.optimizer import SGD, AdamW, Optimizer

OPTIMIZERS: dict[str, type[Optimizer]] = {optimizer.name: optimizer for optimizer in (SGD, AdamW)}
"""Those that treat every number alike."""

ALLOCATORS: dict[str, type[Optimizer]] = {optimizer.name: optimizer for optimizer in (AdaLoRA,)}
"""Those that also decide which ranks a network has."""


def make_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """Return an optimiser without state, from its name or from an instance that carries the settings.

    Raises
    ------
    DomainError
        If the name is unknown.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer.fresh()
    known = OPTIMIZERS | ALLOCATORS
    return known[check_choice("fit", "optimizer", optimizer, tuple(known))]()
