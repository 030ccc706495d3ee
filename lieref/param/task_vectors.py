"""Sums of several arrays of trained numbers with fewer conflicts: some are left out, or only those of one sign count.

A task vector is what training has added. These rules take the coordinates of adapters for it: factors, or entries of
algebra elements. Each is a function of a stack (k, ...) of arrays and k weights. At density 1 nothing is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lieref._record import dataclass
from lieref._types import Array, FloatArray

MAJORITIES = ("total", "frequency")
"""How the sign of an entry is elected: by the sum of its values, or by the number of them."""


@dataclass(frozen=True)
class Options:
    """What the rules are told.

    Attributes
    ----------
    density : float
        Share of the entries that is kept, in ]0, 1].
    majority_sign_method : str
        One of `MAJORITIES`.
    rng : numpy.random.Generator
        Decides which entries are dropped.
    """

    density: float
    majority_sign_method: str
    rng: np.random.Generator


Rule = Callable[[FloatArray, FloatArray, Options], FloatArray]


def magnitude_pruned(array: FloatArray, density: float) -> FloatArray:
    """Return the array with all but the largest magnitudes zero: int(density size) stay, of equal ones the first."""
    kept = int(density * array.size)
    order = np.argsort(-np.abs(array), axis=None, kind="stable")[:kept]
    result = np.zeros(array.size, array.dtype)
    result[order] = array.ravel()[order]
    return result.reshape(array.shape)


def dropped(array: FloatArray, density: float, rng: np.random.Generator) -> FloatArray:
    """Return the array with each entry kept with the probability `density`, divided by it: the same in the mean.

    [Yu24], with the drop rate p = 1 - density.
    """
    return np.where(rng.random(array.shape) < density, array / density, 0.0)


def agrees(stack: FloatArray, majority_sign_method: str) -> Array:
    """Return which entries of a stack have the elected sign of their place; zeros have none, and a tie elects plus.

    [Yadav23], the step that elects: the sign of the sum of the values. "frequency" counts heads in place of values.
    """
    votes = np.sign(stack) if majority_sign_method == "frequency" else stack
    elected = np.where(votes.sum(axis=0) >= 0, 1.0, -1.0)
    return np.asarray(np.sign(stack) == elected)


def disjoint_mean(weighted: FloatArray, agreeing: Array) -> FloatArray:
    """Return the mean of what agrees, place by place, zero where nothing does. [Yadav23], the disjoint merge."""
    count = agreeing.sum(axis=0)
    return np.asarray((weighted * agreeing).sum(axis=0) / np.maximum(count, 1))


def linear(stack: FloatArray, weights: FloatArray, options: Options) -> FloatArray:
    """Return the weighted sum."""
    return _total(stack, weights)


def magnitude_prune(stack: FloatArray, weights: FloatArray, options: Options) -> FloatArray:
    """Return the weighted sum of what `magnitude_pruned` leaves of each."""
    return _total(_pruned(stack, options), weights)


def dare_linear(stack: FloatArray, weights: FloatArray, options: Options) -> FloatArray:
    """Return the weighted sum of what `dropped` leaves of each: DARE. [Yu24]."""
    return _total(_dropped(stack, options), weights)


def ties(stack: FloatArray, weights: FloatArray, options: Options) -> FloatArray:
    """Return the mean of the weighted values that have the elected sign: TIES, trim, elect, merge. [Yadav23].

    The weights count in the mean and not in the election, as in PEFT; with equal ones they are the paper's lambda.
    """
    return _elected(_pruned(stack, options), weights, options)


def dare_ties(stack: FloatArray, weights: FloatArray, options: Options) -> FloatArray:
    """Return what `ties` does with `dropped` in place of the trimming. [Yu24] [Yadav23]."""
    return _elected(_dropped(stack, options), weights, options)


RULES: dict[str, Rule] = {rule.__name__: rule for rule in (linear, magnitude_prune, dare_linear, ties, dare_ties)}
"""By the names of PEFT."""


def _elected(stack: FloatArray, weights: FloatArray, options: Options) -> FloatArray:
    return disjoint_mean(_weighted(stack, weights), agrees(stack, options.majority_sign_method))


def _total(stack: FloatArray, weights: FloatArray) -> FloatArray:
    return np.asarray(_weighted(stack, weights).sum(axis=0))


def _weighted(stack: FloatArray, weights: FloatArray) -> FloatArray:
    return stack * weights.reshape(-1, *(1,) * (stack.ndim - 1))


def _pruned(stack: FloatArray, options: Options) -> FloatArray:
    return np.stack([magnitude_pruned(array, options.density) for array in stack])


def _dropped(stack: FloatArray, options: Options) -> FloatArray:
    return np.stack([dropped(array, options.density, options.rng) for array in stack])
