"""Choosing how to adapt a network to a job: `choose` tries a short list on samples held out."""

from lieref.evaluate.choose.choice import Choice, choose

__all__ = ["Choice", "choose"]
