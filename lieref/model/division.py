"""Who computes which adapter in a training step: the backend all that it can, NumPy the rest."""

from __future__ import annotations

import operator
from dataclasses import dataclass

from lieref.model.backend import Backend
from lieref.model.fusion import FusedSite
from lieref.model.site import Site


@dataclass(frozen=True)
class Division:
    """Who computes which adapter in a training step.

    Attributes
    ----------
    made_for : tuple
        The objects it follows from.
    fused : tuple of FusedSite
        Adapters that the backend computes.
    outside : tuple of Site
        The others; the backend sees the tensors they make.
    wanted : frozenset of str
        Tensors of the folded graph whose cotangents the others need.
    backend : Backend
    """

    made_for: tuple[object, ...]
    fused: tuple[FusedSite, ...]
    outside: tuple[Site, ...]
    wanted: frozenset[str]
    backend: Backend


def same_objects(a: tuple[object, ...], b: tuple[object, ...]) -> bool:
    """Return whether both hold the same objects in the same order."""
    return len(a) == len(b) and all(map(operator.is_, a, b))
