"""Statistics matched without labels: every channel back to the mean and deviation that it had on samples of old.

A quantised file has no BatchNormalization any more whose statistics could be estimated anew. But what a layer computes
before its activation, y = W x + b, is what came out of it. On samples as the network was made for, say those that its
ranges were found on, channel c has mean m and deviation s; on the new ones, with the layers before it matched already,
m' and s'. Then

    r = s / s',   W' = r W,   b' = r (b - m') + m

gives the channel its old mean and deviation. r is a factor of the scaling group, it goes into the weight scale. Where
the float network of the file is there, its BatchNormalizations say m and s: see `lieref.adapter.integer.twin`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lieref._check import check_real
from lieref._types import Array, FloatArray
from lieref.adapter.integer.model import IntegerModel
from lieref.adapter.integer.moments import Moments, walk
from lieref.adapter.integer.update import IntegerUpdate, requantised_bias
from lieref.errors import DomainError
from lieref.model.integer.layers import IntegerLayer

NAME = "match-stats"
SAMPLES = 2000
"""Most samples of either kind, drawn evenly from all, for sets are often sorted by class: as many as re-estimate a
BatchNormalization."""
MOST = 2.0
"""Largest factor, and one over the smallest: a channel that is nearly dead has no deviation worth matching."""


@dataclass(frozen=True)
class Matched:
    """What matching found.

    Attributes
    ----------
    update : IntegerUpdate
    factors : dict of str to (out,) array
        r by the weight's name.
    """

    update: IntegerUpdate
    factors: dict[str, FloatArray]


def match_statistics(model: IntegerModel, old: Array, new: Array, *, share: float = 1.0) -> Matched:
    """Return the update that matches the channels of all layers with a scale and a bias for each channel.

    Parameters
    ----------
    model : IntegerModel
    old, new : (N, ...) array
        Samples as the network was made for, and as they come now; at least 2. At most `SAMPLES` are taken.
    share : float
        0 to 1: how far each channel goes from its statistics on the new samples to those of old, in the algebra.

    Raises
    ------
    DomainError
        If there are too few samples, or no layer has a scale for each channel.
    """
    return match_moments(model, moments_of(model, old), new, share=share)


def moments_of(model: IntegerModel, x: Array) -> Moments:
    """Return the moments of the layers that can be matched, on at most `SAMPLES` samples.

    Raises
    ------
    DomainError
        As `match_moments` does.
    """
    return walk(model, matchable(model), _few(model, x))


def match_moments(model: IntegerModel, wanted: Moments, new: Array, *, share: float = 1.0) -> Matched:
    """Return the update after which channels have these moments on samples; layers without any stay.

    Parameters
    ----------
    model : IntegerModel
    wanted : Moments
        Of layers with a scale and a bias for each channel.
    new, share
        As of `match_statistics`.

    Raises
    ------
    DomainError
        As `match_statistics`; and where a wanted layer is none of those.
    """
    check_real("match_statistics", "share", share, low=0.0, high=1.0)
    known = matchable(model)
    strange = sorted(wanted.keys() - known.keys())
    if strange:
        raise DomainError(f"match_statistics: `wanted` must be of layers with a scale a channel; got {strange[0]}")
    layers = {node: layer for node, layer in known.items() if node in wanted}
    done: dict[str, tuple[FloatArray, FloatArray]] = {}

    def change(layer: IntegerLayer, mean: FloatArray, deviation: FloatArray) -> tuple[FloatArray, FloatArray]:
        old_mean, old_deviation = wanted[layer.node]
        ratio = np.clip(old_deviation / np.maximum(deviation, 1e-12), 1 / MOST, MOST)
        r = np.exp(share * np.log(ratio))
        done[layer.node] = r, share * old_mean + (1 - share) * mean - r * mean
        return done[layer.node]

    walk(model, layers, _few(model, new), change)
    return _as_update(model, layers, done)


def matchable(model: IntegerModel) -> dict[str, IntegerLayer]:
    """Return the layers with a bias and a scale for each channel, by node.

    Raises
    ------
    DomainError
        If there are none.
    """
    found = {layer.node: layer for layer in model.integer_layers if layer.factors == layer.out and layer.bias}
    if not found:
        raise DomainError("match_statistics: the network must have a layer with a bias and a scale for each channel")
    return found


def _few(model: IntegerModel, x: Array) -> Array:
    arranged = model.arranged("match_statistics", x)
    if len(arranged) < 2:
        raise DomainError(f"match_statistics: samples must be at least 2 of either kind; got {len(arranged)}")
    return arranged[np.linspace(0, len(arranged) - 1, min(len(arranged), SAMPLES)).round().astype(np.int64)]


def _as_update(
    model: IntegerModel, layers: Mapping[str, IntegerLayer], done: Mapping[str, tuple[FloatArray, FloatArray]]
) -> Matched:
    """Return factors and shifts as scales and biases of the file."""
    scales, biases, factors = {}, {}, {}
    for node, (r, shift) in done.items():
        layer = layers[node]
        assert layer.bias is not None
        scales[layer.weight.name] = (layer.scales.astype(np.float64) * r).astype(np.float32)
        biases[layer.bias.name] = requantised_bias(layer, r * layer.real_bias() + shift, scales[layer.weight.name])
        factors[layer.weight.name] = r
    file = model.integer
    update = IntegerUpdate(NAME, file.digest, len(file.content), "given", scales, biases=biases)
    return Matched(update.sealed(file), factors)
