"""Reference of Lie-group fine-tuning for convolution kernels and any other tensor, on a CPU.

Public names are loaded when they are first used: ``import lieref`` alone loads none of numba, scipy or onnx.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lieref import errors
from lieref.errors import (
    BusyError,
    DomainError,
    DTypeError,
    FormatError,
    InternalError,
    LierefError,
    MissingExtraError,
    NotInGroupError,
    ShapeError,
    UnsupportedError,
    VerificationError,
)

__version__ = "0.1.0"

# Module -> the public names it defines.
_MODULES = {
    "lieref.conformance.verdict": ("torch_atol",),
    "lieref.adapter.model": (
        "Model",
        "load",
    ),
    "lieref.evaluate.metric": ("evaluate_model",),
    "lieref.group.registry": (
        "make_action",
        "make_group",
        "make_map",
    ),
    "lieref.kernel.conv": (
        "conv",
        "conv_vjp",
    ),
    "lieref.model.head": ("NewHead",),
    "lieref.numerics.expm": (
        "expm",
        "expm_frechet",
        "expm_minus_identity",
        "expm_vjp",
    ),
    "lieref.numerics.low_rank": (
        "exp_low_rank",
        "exp_low_rank_minus_identity",
        "exp_low_rank_vjp",
        "exp_skew_low_rank",
        "exp_skew_low_rank_vjp",
        "exp_traceless_low_rank",
        "exp_traceless_low_rank_vjp",
    ),
    "lieref.numerics.matrix_maps": ("logm",),
    "lieref.numerics.phi": (
        "matrix_phi",
        "matrix_phi_vjp",
    ),
    "lieref.param.compose": (
        "add_weighted_adapter",
        "compose_adapters",
    ),
    "lieref.param.config": (
        "HiraConfig",
        "LieRAConfig",
        "LoraConfig",
        "MethodConfig",
    ),
    "lieref.param.describe": ("describe_methods",),
    "lieref.param.registry": (
        "METHODS",
        "get_method",
    ),
    "lieref.train.data": (
        "Dataset",
        "load_data",
    ),
    "lieref.train.history": ("History",),
    "lieref.train.preprocess": ("Preprocess",),
    "lieref.train.loop": ("fit",),
    "lieref.train.task_registry": ("make_task",),
    "lieref.train.loss": (
        "CrossEntropy",
        "MeanSquaredError",
    ),
    "lieref.train.optimizer": (
        "AdamW",
        "SGD",
    ),
}
_LAZY = {name: module for module, names in _MODULES.items() for name in names}

if TYPE_CHECKING:
    from lieref.adapter.model import Model, load
    from lieref.conformance.verdict import torch_atol
    from lieref.evaluate.metric import evaluate_model
    from lieref.group.registry import make_action, make_group, make_map
    from lieref.kernel.conv import conv, conv_vjp
    from lieref.model.head import NewHead
    from lieref.numerics.expm import expm, expm_frechet, expm_minus_identity, expm_vjp
    from lieref.numerics.low_rank import (
        exp_low_rank,
        exp_low_rank_minus_identity,
        exp_low_rank_vjp,
        exp_skew_low_rank,
        exp_skew_low_rank_vjp,
        exp_traceless_low_rank,
        exp_traceless_low_rank_vjp,
    )
    from lieref.numerics.matrix_maps import logm
    from lieref.numerics.phi import matrix_phi, matrix_phi_vjp
    from lieref.param.compose import add_weighted_adapter, compose_adapters
    from lieref.param.config import HiraConfig, LieRAConfig, LoraConfig, MethodConfig
    from lieref.param.describe import describe_methods
    from lieref.param.registry import METHODS, get_method
    from lieref.train.data import Dataset, load_data
    from lieref.train.history import History
    from lieref.train.loop import fit
    from lieref.train.loss import CrossEntropy, MeanSquaredError
    from lieref.train.optimizer import SGD, AdamW
    from lieref.train.preprocess import Preprocess
    from lieref.train.task_registry import make_task

__all__ = [
    "METHODS",
    "SGD",
    "AdamW",
    "BusyError",
    "CrossEntropy",
    "DTypeError",
    "Dataset",
    "DomainError",
    "FormatError",
    "HiraConfig",
    "History",
    "InternalError",
    "LieRAConfig",
    "LierefError",
    "LoraConfig",
    "MeanSquaredError",
    "MethodConfig",
    "MissingExtraError",
    "Model",
    "NewHead",
    "NotInGroupError",
    "Preprocess",
    "ShapeError",
    "UnsupportedError",
    "VerificationError",
    "__version__",
    "add_weighted_adapter",
    "compose_adapters",
    "conv",
    "conv_vjp",
    "describe_methods",
    "errors",
    "evaluate_model",
    "exp_low_rank",
    "exp_low_rank_minus_identity",
    "exp_low_rank_vjp",
    "exp_skew_low_rank",
    "exp_skew_low_rank_vjp",
    "exp_traceless_low_rank",
    "exp_traceless_low_rank_vjp",
    "expm",
    "expm_frechet",
    "expm_minus_identity",
    "expm_vjp",
    "fit",
    "get_method",
    "load",
    "load_data",
    "logm",
    "make_action",
    "make_group",
    "make_map",
    "make_task",
    "matrix_phi",
    "matrix_phi_vjp",
    "torch_atol",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'lieref' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
