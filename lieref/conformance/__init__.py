"""Golden vectors with certified errors, verdicts with a reason, and the runner that applies them to any backend.

What users call is in `lieref.golden`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lieref._lazy import public_names

_OLD = {
    name: (f"lieref.golden.{name}", f"lieref.conformance.{module}:{name}")
    for name, module in {
        "Case": "case", "Expected": "case", "PROFILES": "profile", "Profile": "profile", "Report": "report",
        "check": "runner", "judge": "verdict", "read_vectors": "vectors", "torch_atol": "verdict",
    }.items()
}  # fmt: skip

if not TYPE_CHECKING:
    __getattr__ = public_names(__name__, {}, _OLD)[0]
