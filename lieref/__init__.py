"""Reference of Lie-group fine-tuning for convolution kernels and any other tensor, on a CPU.

Public names are loaded when they are first used: ``import lieref`` alone loads none of numba, scipy or onnx.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lieref import errors
from lieref.errors import (
    DomainError,
    DTypeError,
    FormatError,
    LierefError,
    MissingExtraError,
    NotInGroupError,
    ShapeError,
    UnsupportedError,
    VerificationError,
)

__version__ = "0.1.0"

# Public name -> module that defines it.
_LAZY = {
    "Model": "lieref.adapter.model",
    "load": "lieref.adapter.model",
    "conv": "lieref.kernel.conv",
    "conv_vjp": "lieref.kernel.conv",
    "fit": "lieref.train.loop",
    "History": "lieref.train.history",
    "HiraConfig": "lieref.param.config",
    "LieRAConfig": "lieref.param.config",
    "LoraConfig": "lieref.param.config",
    "MethodConfig": "lieref.param.config",
    "get_method": "lieref.param.registry",
}

if TYPE_CHECKING:
    from lieref.adapter.model import Model, load
    from lieref.kernel.conv import conv, conv_vjp
    from lieref.param.config import HiraConfig, LieRAConfig, LoraConfig, MethodConfig
    from lieref.param.registry import get_method
    from lieref.train.history import History
    from lieref.train.loop import fit

__all__ = [
    "DTypeError",
    "DomainError",
    "FormatError",
    "HiraConfig",
    "History",
    "LieRAConfig",
    "LierefError",
    "LoraConfig",
    "MethodConfig",
    "MissingExtraError",
    "Model",
    "NotInGroupError",
    "ShapeError",
    "UnsupportedError",
    "VerificationError",
    "__version__",
    "conv",
    "conv_vjp",
    "errors",
    "fit",
    "get_method",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'lieref' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
