"""What can be trained of a quantised network while its integers stay: factors of its scales, or its biases."""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from typing import NamedTuple

from lieref.group.action import ScaleMode
from lieref.group.maps import Exp
from lieref.model.integer.layers import IntegerLayer
from lieref.param.combination import Combination
from lieref.param.dense import Dense
from lieref.param.method import Method, Recipe
from lieref.param.registry import METHODS, get_method
from lieref.param.uniform import Uniform


class IntegerMethod(NamedTuple):
    """One method for quantised networks.

    Attributes
    ----------
    summary : str
    scales, ties : bool
        Whether factors of the weight scales are trained; and whether they multiply the bias too, as they do where its
        integers stay.
    """

    summary: str
    scales: bool
    ties: bool


INTEGER_METHODS: dict[str, IntegerMethod] = {
    "tied-scale": IntegerMethod("one positive factor for each weight scale; it multiplies the bias too", True, True),
    "scale": IntegerMethod("one positive factor for each weight scale; the real bias stays, its integers move", True,
                           False),
    "bias": IntegerMethod("every bias; the scales stay", False, False),
}  # fmt: skip


def sites_of(name: str, layers: Sequence[IntegerLayer]) -> list[tuple[Method, tuple[str, ...] | None]]:
    """Return the methods to attach, each with the patterns of its layers; a layer of one scale has one factor.

    A method without patterns is for the whole network.
    """
    chosen = INTEGER_METHODS[name]
    if not chosen.scales:
        return [(get_method(name), None)]
    recipe = Recipe(name, {}, "weight", METHODS["scale"].learning_rate)
    action, found = ScaleMode("out", chosen.ties), list[tuple[Method, tuple[str, ...] | None]]()
    for alone, parameterisation in ((False, Dense()), (True, Uniform())):
        nodes = tuple(escape(layer.node) for layer in layers if (layer.factors < layer.out) == alone)
        if nodes:
            found.append((Combination(recipe, parameterisation, "scaling", Exp(), action), nodes))
    return found
