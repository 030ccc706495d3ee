"""Why a store refuses, beside what `lieref.adapter.bundle.refusal` lists: a word for each reason, the same for ever."""

from __future__ import annotations

from lieref.adapter.bundle.refusal import REFUSALS, BundleRefused

STORE_REFUSALS = {
    "busy": "another process is installing, or holds the state for longer than a caller can wait",
    "no-previous": "there is nothing to roll back to",
    "not-started": "what is to be marked good is not what runs: it was not started since it was installed",
    "slot": "the files of a slot that is kept are damaged or gone",
    "state": "the state file is damaged or gone: this store can no longer be trusted; make a new one",
}
"""Slug -> what it means, beside `lieref.adapter.bundle.refusal.REFUSALS`. A slug is never renamed."""

ALL_REFUSALS = {**REFUSALS, **STORE_REFUSALS}


class StoreRefused(BundleRefused):
    """A store refuses for a reason of its own; `slug` is a key of `STORE_REFUSALS`."""
