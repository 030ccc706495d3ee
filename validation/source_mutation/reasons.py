"""Mutants that no test can kill, each with what shows that it computes the same."""

from __future__ import annotations

REASONS: dict[str, str] = {}
"""Reason by the key of a mutant, `file::function: old line -> new line`."""
