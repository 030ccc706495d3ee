"""Adapters on disk; all but `lieref.adapter.model` needs NumPy alone, because a device has nothing more."""

from lieref.adapter.folder import adapter_bytes, check_base, read_adapter, write_adapter
from lieref.adapter.tensor_file import read_tensor_file, write_tensor_file

__all__ = [
    "adapter_bytes",
    "check_base",
    "read_adapter",
    "read_tensor_file",
    "write_adapter",
    "write_tensor_file",
]
