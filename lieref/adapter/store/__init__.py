"""The device's side of updates: signed adapters in slots, one of them live, and always a way back.

``python -m lieref.adapter.store VERB --store DIR`` and `Store` need Python and NumPy alone.
"""

from __future__ import annotations

from lieref.adapter.store.refusal import ALL_REFUSALS, STORE_REFUSALS, StoreRefused
from lieref.adapter.store.results import Candidate, Installed, Started
from lieref.adapter.store.store import Store

__all__ = ["ALL_REFUSALS", "STORE_REFUSALS", "Candidate", "Installed", "Started", "Store", "StoreRefused"]
