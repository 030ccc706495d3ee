"""The compiled training engine: a network's forward and backward pass as one table of kernel calls."""

from __future__ import annotations

from lieref.model.engine.engine import Engine, compile_graph
from lieref.model.engine.fusion import Adapter
from lieref.model.engine.winograd_rows import WINOGRAD

__all__ = ["WINOGRAD", "Adapter", "Engine", "compile_graph"]
