"""Rounding of merged tensors that comes out the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping

from lieref._types import Array
from lieref.adapter.merging import Merge, rounded


def settled(merge: Merge, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return the merged tensors in the types of the file."""
    return {name: rounded(name, value, merge.dtypes[name]) for name, value in merge.values.items()}
