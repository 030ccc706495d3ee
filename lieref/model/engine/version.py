"""The version of the engine's order of sums, on which every bit of a training run depends."""

from __future__ import annotations

PROGRAM_VERSION = 7
"""Raised with every change after which some network is trained to other bits: another tiling of a sum over pixels or
samples, another transform, another exponential, another cut of a batch. A run that began under another version is not
resumed."""
