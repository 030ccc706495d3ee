"""What can be trained of a quantised network: factors of its scales, its biases, or low-rank factors of its weights."""

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
    moves : bool
        Whether integers of weights may move, as few as pay: see `lieref.adapter.integer.settle`.
    """

    summary: str
    scales: bool
    ties: bool
    moves: bool = False


INTEGER_METHODS: dict[str, IntegerMethod] = {
    "tied-scale": IntegerMethod("one positive factor for each weight scale; it multiplies the bias too", True, True),
    "scale": IntegerMethod("one positive factor for each weight scale; the real bias stays, its integers move", True,
                           False),
    "bias": IntegerMethod("every bias; the scales stay", False, False),
    "liera-int8": IntegerMethod("low-rank factors of all weights (LieRA); scales take them, and the few integers that "
                                "pay", True, False, True),
}  # fmt: skip


DEFAULT_METHOD = "tied-scale"

RANK = 4
"""Default of the factors of `liera-int8`, as of LieRA elsewhere; 1 is as good on 500 images of the JPEG job."""


def sites_of(
    name: str, layers: Sequence[IntegerLayer], rank: int | None = None
) -> list[tuple[Method, tuple[str, ...] | None]]:
    """Return the methods to attach, each with the patterns of its layers; a layer of one scale has one factor.

    A method without patterns is for the whole network. The rank is that of one that moves integers.
    """
    chosen = INTEGER_METHODS[name]
    if chosen.moves:
        return [(get_method("liera", r=RANK if rank is None else rank), tuple(escape(layer.node) for layer in layers))]
    if not chosen.scales:
        return [(get_method(name), None)]
    recipe = Recipe(name, {}, "weight", METHODS["scale"].learning_rate)
    action, found = ScaleMode("out", chosen.ties), list[tuple[Method, tuple[str, ...] | None]]()
    for alone, parameterisation in ((False, Dense()), (True, Uniform())):
        nodes = tuple(escape(layer.node) for layer in layers if (layer.factors < layer.out) == alone)
        if nodes:
            found.append((Combination(recipe, parameterisation, "scaling", Exp(), action), nodes))
    return found
