"""Adapters on disk and in the field.

All but `model`, `signing` and the exchange with other libraries needs NumPy alone, because a device has nothing more.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lieref.adapter.folder import adapter_bytes, check_base, read_adapter, write_adapter
from lieref.adapter.tensor_file import read_tensor_file, write_tensor_file

if TYPE_CHECKING:
    from lieref.adapter.bundle.refusal import REFUSALS, BundleRefused
    from lieref.adapter.bundle.statement import BaseDigests
    from lieref.adapter.bundle.verify import Verified, verify_bundle

# Loaded when first used.
_LAZY = {
    "BaseDigests": "bundle.statement",
    "BundleRefused": "bundle.refusal",
    "REFUSALS": "bundle.refusal",
    "Verified": "bundle.verify",
    "verify_bundle": "bundle.verify",
}

__all__ = [
    "REFUSALS",
    "BaseDigests",
    "BundleRefused",
    "Verified",
    "adapter_bytes",
    "check_base",
    "read_adapter",
    "read_tensor_file",
    "verify_bundle",
    "write_adapter",
    "write_tensor_file",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'lieref.adapter' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lieref.adapter.{_LAZY[name]}"), name)
