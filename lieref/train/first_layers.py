"""What a network says of its own preprocessing: its first operators, or the range of its quantised input.

A network that begins with (x - mean) / std tells which pixels it was made for: those that this brings to about -1 to 1,
or 0 to 1. One that begins with a convolution tells nothing, for a scale may be in its weights.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lieref._types import Array, FloatArray
from lieref.model.graph import Graph, Node
from lieref.train.preprocess import PRESETS, Preprocess

_MOVING = frozenset({"Cast", "Dropout", "Identity", "Transpose"})
_ARITHMETIC = frozenset({"Add", "Div", "Mul", "Sub"})

LEAST, MOST = 0.4, 12.0
"""Widths that normalised pixels have: 0 to 1 is 1, -1 to 1 is 2, by the deviations of ImageNet 4.5."""

_IMAGENET = 255 * np.array(PRESETS["imagenet"].mean)
"""Means of red, green and blue among pixels 0 to 255, usual where only a mean is subtracted."""


def of_first_layers(graph: Graph) -> tuple[Preprocess, str] | None:
    """Return what the first operators of a network say of the pixels it takes, and their names; None where nothing.

    Parameters
    ----------
    graph : Graph
        As it is loaded, with one input of images.

    Returns
    -------
    preprocess : Preprocess
        ``raw`` or ``unit``, with the channels as BGR where the means are those of ImageNet in that order.
    nodes : str
    """
    name, slope, offset, nodes = graph.inputs[0].name, np.ones(1), np.zeros(1), []
    while True:
        readers = graph.consumers(name)
        if len(readers) != 1 or name in graph.outputs:
            break
        (node,) = readers
        if node.op in _ARITHMETIC:
            found = _affine(graph, node, name)
            if found is None:
                break
            slope, offset = slope * found[0], offset * found[0] + found[1]
            nodes.append(node.name)
        elif node.op not in _MOVING:
            break
        name = node.outputs[0]
    # y = slope x + offset, of each channel; x0 is the pixel that becomes 0
    if not nodes or slope.size not in (1, 3) or offset.size not in (1, 3) or not np.all(slope > 0):
        return None
    centre = -offset / slope
    if np.all((LEAST <= 255 * slope) & (255 * slope <= MOST)) or (np.all(slope == 1) and np.all(abs(centre) > 2)):
        preset, pixels = PRESETS["raw"], centre
    elif np.all((LEAST <= slope) & (slope <= MOST)) and np.all((-0.1 <= centre) & (centre <= 1)):
        preset, pixels = PRESETS["unit"], 255 * centre
    else:
        return None
    if pixels.size == 3 and np.all(abs(pixels - _IMAGENET[::-1]) < 1):
        preset = replace(preset, channels="bgr")
    return preset, ", ".join(nodes)


def of_range(low: float, high: float) -> Preprocess | None:
    """Return what a quantised input that holds real numbers from `low` to `high` is made for, None where unknown."""
    near = 0.02 * (high - low)
    for text, least, most in (
        ("unit", 0.0, 1.0), ("raw", 0.0, 255.0), ("scale=127.5,mean=1", -1.0, 1.0), ("mean=128", -128.0, 127.0),
        ("imagenet", -0.485 / 0.229, 0.594 / 0.225),
    ):  # fmt: skip
        if abs(low - least) <= near and abs(high - most) <= near:
            return Preprocess.from_text(text)
    return None


def _affine(graph: Graph, node: Node, name: str) -> tuple[FloatArray, FloatArray] | None:
    """Return slope and offset of a node that reads a tensor and a constant of one number or three."""
    other = node.inputs[1 - node.inputs.index(name)]
    value = graph.initializers.get(other)
    first = node.inputs[0] == name
    if value is None or value.size not in (1, 3) or value.dtype.kind not in "iuf":
        return None
    constant: Array = value.astype(np.float64).reshape(-1)
    one, none = np.ones_like(constant), np.zeros_like(constant)
    match node.op:
        case "Add":
            return one, constant
        case "Sub":
            return (one, -constant) if first else None
        case "Mul":
            return constant, none
        case "Div" if first and np.all(constant):
            return 1 / constant, none
    return None
