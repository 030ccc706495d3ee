"""Rounding of merged tensors that comes out the same on every machine.

A merged number is computed in float64 and rounded to the type of the file. Where it lies further than `margins` from
the midpoint of two neighbours, every machine rounds it to the same one. The few others are *ties*: the machine that
makes a bundle stores their places and what it rounded them to, as ``selftest.ties.place`` and ``selftest.ties.value``,
and every other takes these, after making sure that it might have rounded to the same.

Let x be a number on the machine that makes the bundle and y on another, both within delta of the exact one. With the
margin 4 delta, of which 2 delta would do: no midpoint within the margin of x means none between x and y. A stored
value is what x rounds to, and x is within the margin of y: so it lies between what y - margin and y + margin round to,
and nothing else is taken. The margins of two machines differ in their own last bits, which the other half covers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lieref._types import Array, FloatArray
from lieref.adapter.merge.merging import SELF_TEST, Merge, merged_values, rounded
from lieref.errors import DomainError, FormatError, UnsupportedError, VerificationError

PLACE, VALUE = f"{SELF_TEST}ties.place", f"{SELF_TEST}ties.value"
"""Names of the two tensors: positions in all merged tensors one behind the other, sorted by name; and their values."""
SAFETY = 4.0
"""Margin in units of `delta`, see above."""
MOST_SHARE = 1 / 16
"""From this share of ties on a merge is called not portable: they would take as much as the weights themselves."""


def portable_ties(
    tensors: Mapping[str, Array], config: Mapping[str, Any], base_tensors: Mapping[str, Array]
) -> dict[str, Array]:
    """Return what a bundle has to carry so that every machine merges to the same bits.

    Parameters
    ----------
    tensors, config, base_tensors
        As `merge_weights` takes them.

    Returns
    -------
    dict of str to array
        ``selftest.ties.place``, uint32 or uint64, increasing, and ``selftest.ties.value``, float32; empty without ties.

    Raises
    ------
    UnsupportedError
        If the bits cannot be made the same: the file has a tensor in float64, or computes it from others, or the method
        has no bound on its errors, or one so wide that more than `MOST_SHARE` of the numbers are ties. The message
        names the tensor. The digest of the merged weights is left out then.
    FormatError, DomainError
        As `merge_weights` does.
    """
    merge = merged_values(tensors, config, base_tensors)
    delta = _deltas(merge, merge.values)
    places: list[Array] = []
    values: list[Array] = []
    start = 0
    for name, value in merge.values.items():
        dtype = merge.dtypes[name]
        found = rounded(name, value, dtype)
        low, high = _reach(value, delta[name], dtype)
        tied = np.flatnonzero(low != high)
        if dtype == np.float64 and len(tied):
            raise UnsupportedError(
                f"portable_ties: {name} must not be float64, in which two machines merge to different bits; it is"
            )
        if len(tied) > max(MOST_SHARE * value.size, 64):
            raise UnsupportedError(
                f"portable_ties: the error of {name} must have a narrow bound; of {value.size} numbers {len(tied)} may "
                f"be rounded in two ways (delta up to {delta[name].max():.3g})"
            )
        places.append(start + tied)
        values.append(found.reshape(-1)[tied].astype(np.float32))
        start += value.size
    place = np.concatenate([np.zeros(0, np.int64), *places])
    if not len(place):
        return {}
    wide = np.uint32 if start <= 2**32 else np.uint64
    return {PLACE: place.astype(wide), VALUE: np.concatenate(values)}


def settled(merge: Merge, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return the merged tensors in the types of the file, with the ties that come with an adapter.

    Raises
    ------
    FormatError
        If the ties are not in their form.
    VerificationError
        If a value is not what this machine's may round to.
    """
    found = {name: rounded(name, value, merge.dtypes[name]) for name, value in merge.values.items()}
    place, value = _ties(tensors, sum(array.size for array in found.values()))
    ends = np.cumsum([array.size for array in found.values()])
    cuts = np.searchsorted(place, ends)
    held = {name: slice(low, high) for name, low, high in zip(found, [0, *cuts], cuts, strict=False) if high > low}
    delta = _deltas(merge, held)
    for name, part in held.items():
        start = int(ends[list(found).index(name)]) - found[name].size
        at = (place[part] - place.dtype.type(start)).astype(np.int64)
        with np.errstate(over="ignore"):
            chosen = value[part].astype(found[name].dtype)
        low, high = _reach(merge.values[name].reshape(-1)[at], delta[name].reshape(-1)[at], found[name].dtype)
        if not ((low <= chosen) & (chosen <= high) & (chosen == value[part])).all():
            raise VerificationError(
                f"merge_weights: {VALUE} of {name} must be what its numbers round to; got another number"
            )
        found[name].reshape(-1)[at] = chosen
    return found


def _ties(tensors: Mapping[str, Array], size: int) -> tuple[Array, Array]:
    """Return places and values, checked; empty where there are none."""
    place, value = tensors.get(PLACE), tensors.get(VALUE)
    if place is None and value is None:
        return np.zeros(0, np.uint32), np.zeros(0, np.float32)
    if place is None or value is None or place.ndim != 1 or place.shape != value.shape:
        raise FormatError(f"merge_weights: {PLACE} and {VALUE} must be two vectors of one length; they are not")
    if place.dtype not in (np.uint32, np.uint64) or value.dtype != np.float32:
        raise FormatError(f"merge_weights: {PLACE} must be uint32 or uint64 and {VALUE} float32; they are not")
    if (place[1:] <= place[:-1]).any() or (len(place) and int(place[-1]) >= size):
        raise FormatError(f"merge_weights: {PLACE} must increase and stay below {size}; it does not")
    if not np.isfinite(value).all():
        raise DomainError(f"merge_weights: {VALUE} must be finite; got NaN or infinity")
    return place, value


def _deltas(merge: Merge, names: Mapping[str, Any]) -> dict[str, FloatArray]:
    """Return `delta` of the tensors of these names; a statistic is stored as it is."""
    found: dict[str, FloatArray] = {name: np.zeros(merge.values[name].shape) for name in names}
    if not found:  # as in most bundles: the bounds of no method are needed
        return found
    from lieref.adapter.merge.margin import margins

    for site in merge.sites.values():
        if any(name in found for name in site.tensors):
            found |= {name: each for name, each in margins(site, merge.base, merge.values).items() if name in found}
    return found


def _reach(value: FloatArray, delta: FloatArray, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Return what the ends of an interval around numbers round to."""
    with np.errstate(over="ignore", invalid="ignore"):
        margin = SAFETY * delta
        return (value - margin).astype(dtype), (value + margin).astype(dtype)
