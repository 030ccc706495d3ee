"""Golden vectors with certified errors, verdicts with a reason, and the runner that applies them to any backend."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lieref.conformance.case import Case, Expected
    from lieref.conformance.profile import PROFILES, Profile
    from lieref.conformance.report import Report
    from lieref.conformance.runner import check
    from lieref.conformance.truth import truth
    from lieref.conformance.vectors import read_vectors
    from lieref.conformance.verdict import judge, torch_atol

__all__ = ["PROFILES", "Case", "Expected", "Profile", "Report", "check", "judge", "read_vectors", "torch_atol", "truth"]

# Public name -> module that defines it; loaded when first used.
_LAZY = {
    "Case": "case",
    "Expected": "case",
    "PROFILES": "profile",
    "Profile": "profile",
    "Report": "report",
    "check": "runner",
    "judge": "verdict",
    "read_vectors": "vectors",
    "torch_atol": "verdict",
    "truth": "truth",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'lieref.conformance' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lieref.conformance.{_LAZY[name]}"), name)
