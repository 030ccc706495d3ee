"""The compiled training engine: a network's forward and backward pass as one table of kernel calls."""

from __future__ import annotations

from lieref.model.engine.adapter import Adapter
from lieref.model.engine.engine import Engine, compile_graph
from lieref.model.engine.winograd import WINOGRAD

__all__ = ["WINOGRAD", "Adapter", "Engine", "compile_graph"]
