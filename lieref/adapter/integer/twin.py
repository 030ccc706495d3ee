"""What the float network that a file was quantised from knows of its channels, and the file does not.

Behind a BatchNormalization with scale g, shift b and running statistics m, v a channel has, on samples as those that
the statistics are of,

    g (z - m) / sqrt(v + eps) + b,   hence mean b and deviation |g| sqrt(v / (v + eps)).

The file has it folded into weight and bias, where b and g cannot be seen any more. They are what channels of a network
in the field are brought back to, without a sample of those that it was trained on.
"""

from __future__ import annotations

import numpy as np

from lieref.adapter.integer.carry import twin_layers
from lieref.adapter.integer.moments import Moments
from lieref.errors import UnsupportedError
from lieref.model.fold import fold_batch_norm
from lieref.model.graph import Graph
from lieref.model.integer.graph import IntegerGraph


def twin_moments(graph: IntegerGraph, base: Graph) -> Moments:
    """Return mean and deviation that the BatchNormalizations of the float network give the channels of the file.

    Parameters
    ----------
    graph : IntegerGraph
    base : Graph
        The float network.

    Raises
    ------
    UnsupportedError
        If it is another network, or none of its BatchNormalizations stands behind a layer.
    """
    folds = {fold.folded_weight: fold for fold in fold_batch_norm(base)[1]}
    found = Moments()
    for layer, name in twin_layers(graph, base):
        fold = folds.get(name)
        if fold is not None:
            scale, shift, var = (
                base.initializers[each].astype(np.float64) for each in (fold.scale, fold.shift, fold.var)
            )
            found[layer.node] = shift, np.abs(scale) * np.sqrt(var / (var + fold.epsilon))
    if not found:
        raise UnsupportedError(
            "twin_moments: the float network must have a BatchNormalization behind a layer, whose statistics are "
            "what is matched; it has none: give the one from before they were folded, or original samples"
        )
    return found
