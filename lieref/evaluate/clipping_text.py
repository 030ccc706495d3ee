"""Clipping in words: shares in per cent, layers by their short names, and only those where it matters."""

from __future__ import annotations

from typing import Any

from lieref.adapter.integer.clipping import MATTERS

_NAMED = 3
"""Layers in a line."""
_LEAST = 1e-4
"""Smallest share that is written as a number: 0.01 %."""

Summary = dict[str, Any]
"""Of `lieref.adapter.integer.clipping.summary`; earlier ones say of layers only which clips most."""


def share_text(share: float) -> str:
    """Return a share of numbers: ``1.25 %``, or that it is below 0.01 %, or none."""
    return (
        "none" if share == 0 else f"under {_LEAST:.2%}".replace("%", " %") if share < _LEAST else f"{100 * share:.2f} %"
    )


def whole_text(found: Summary) -> str:
    """Return the mean share of the numbers that are clipped."""
    return share_text(found["above"] + found["below"])


def worst_text(found: Summary) -> str:
    """Return the layer that clips most with its share, a dash where that does not matter."""
    if found["worst_share"] < MATTERS:
        return "-"
    return f"{found.get('worst_layer') or found['worst']} {share_text(found['worst_share'])}"


def layers_text(found: Summary) -> str:
    """Return the layers that clip enough to matter, at most three of them, and how many are left out."""
    least = f"{100 * MATTERS:g} %"
    if found["worst_share"] < MATTERS:
        return f"no layer clips {least} or more"
    if "layers" not in found:
        return f"most in {worst_text(found)}"
    named = [f"{layer} {share_text(share)}" for layer, share in found["layers"][:_NAMED]]
    more, rest = len(found["layers"]) - len(named), found["tensors"] - len(found["layers"])
    left = [f"{more} more from {least}"] if more else []
    left += [f"{rest} under {least}"] if rest else []
    return f"by layer: {', '.join([*named, *left])}"


def line(before: Summary, after: Summary) -> str:
    """Return what is clipped before and after an update, in a line."""
    return (
        f"numbers clipped to the file's ranges: {whole_text(before)} before, {whole_text(after)} now; "
        f"{layers_text(after)}"
    )
