"""Adapters on disk and in the field.

All but `model`, `signing` and the exchange with other libraries needs NumPy alone, because a device has nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref._lazy import public_names
from lieref.adapter.folder import adapter_bytes, check_base, read_adapter, write_adapter
from lieref.adapter.tensor_file import read_tensor_file, write_tensor_file

if TYPE_CHECKING:
    from lieref.adapter.bundle.refusal import REFUSALS, BundleRefused
    from lieref.adapter.bundle.statement import BaseDigests
    from lieref.adapter.bundle.verify import Verified, verify_bundle

_PLACES = {
    "BaseDigests": "lieref.adapter.bundle.statement:BaseDigests",
    "BundleRefused": "lieref.adapter.bundle.refusal:BundleRefused",
    "REFUSALS": "lieref.adapter.bundle.refusal:REFUSALS",
    "Verified": "lieref.adapter.bundle.verify:Verified",
    "verify_bundle": "lieref.adapter.bundle.verify:verify_bundle",
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


if not TYPE_CHECKING:
    __getattr__ = public_names(__name__, _PLACES)[0]
