"""What differs between a quantised file and itself with an update in it."""

from __future__ import annotations

import numpy as np

from lieref._types import Array
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.layers import integer_layers


def changes(base: IntegerGraph, changed: IntegerGraph) -> dict[str, int]:
    """Return how many integers of ``weights`` and of ``biases`` are others, and how many bytes: ``bytes_that_differ``.

    Parameters
    ----------
    base, changed : IntegerGraph
        Two files of one length and the same layers.
    """
    weights = biases = 0
    for old, new in zip(integer_layers(base), integer_layers(changed), strict=True):
        weights += _differing(old.weight.data, new.weight.data)
        if old.bias is not None and new.bias is not None:
            biases += _differing(old.bias.data, new.bias.data)
    one, other = (np.frombuffer(graph.content, np.uint8) for graph in (base, changed))
    return {"weights": weights, "biases": biases, "bytes_that_differ": _differing(one, other)}


def _differing(old: Array | None, new: Array | None) -> int:
    return 0 if old is None or new is None else int(np.count_nonzero(old != new))
