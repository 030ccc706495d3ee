"""Who computes which adapter in a training step: the backend all that it can, NumPy the rest."""

from __future__ import annotations

from dataclasses import dataclass

from lieref.model.backend import Backend
from lieref.model.fusion import FusedSite
from lieref.model.site import Site


@dataclass(frozen=True)
class Division:
    """Who computes which adapter in a training step.

    Attributes
    ----------
    fused : tuple of FusedSite
        Adapters that the backend computes.
    outside : tuple of Site
        The others; the backend sees the tensors they make.
    wanted : frozenset of str
        Tensors of the folded graph whose cotangents the others need.
    backend : Backend
    """

    fused: tuple[FusedSite, ...]
    outside: tuple[Site, ...]
    wanted: frozenset[str]
    backend: Backend
