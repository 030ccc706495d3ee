"""Ids of tokens on their way to a network: of its vocabulary, and a token that is no padding in each sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from lieref._types import Array
from lieref.errors import DomainError
from lieref.model.vocabulary import Vocabulary

_AT_ONCE = 2**20
"""Ids that are compared at once, so that a check takes no copy of the set."""


def check_ids(function: str, x: Array, known: Vocabulary | None, *, padding: int | None = None, of: str = "") -> None:
    """Raise `DomainError` unless samples are ids that a network has rows for, and none is padding alone.

    ONNX's Gather takes negative indices from the end of a table: an id of -1 would be read as the last token.

    Parameters
    ----------
    function : str
        Name of the caller, for the message.
    x : (N, ...) array of numbers
    known : Vocabulary or None
        Of the network; of None, which reads no ids, nothing is asked.
    padding : int, optional
        Id of padding; by default the one that the network itself compares with.
    of : str
        What holds the samples, for the message; `x`, or the input, by default.
    """
    if known is None:
        return
    for other in known.others:
        check_ids(function, x, other)
    of = of or f"`{known.name or 'x'}`"
    x = known.ids(x)
    padding = known.padding if padding is None else padding
    step = max(1, _AT_ONCE // max(1, x[:1].size))
    for start in range(0, len(x), step):
        ids = x[start : start + step].reshape(len(x[start : start + step]), -1)
        outside = ~((ids >= 0) & (ids < known.rows))
        if ids.dtype.kind == "f":
            outside |= ids != np.floor(ids)
        if outside.any():
            row, place = map(int, np.argwhere(outside)[0])
            raise DomainError(
                f"{function}: {of} must be ids of the vocabulary, 0 to {known.rows - 1}; "
                f"got {ids[row, place]} in sample {start + row}, place {place}"
            )
        empty = np.zeros(len(ids), bool) if padding is None else (ids == padding).all(axis=1)
        if empty.any():
            raise DomainError(
                f"{function}: {of} must hold a token that is no padding in each sample; "
                f"got {padding} alone in sample {start + int(np.argmax(empty))}"
            )


def known_padding(function: str, known: Vocabulary | None, wanted: int | None, source: str) -> int | None:
    """Return the id of padding: what was asked for, or else what the network compares its ids with.

    Raises
    ------
    DomainError
        If it is outside the vocabulary, or the network takes another id for padding: its mask would hide nothing.
    """
    own = None if known is None else known.padding
    if wanted is None:
        return own
    if known is not None and not 0 <= wanted < known.rows:
        raise DomainError(
            f"{function}: the id of padding of {source} must be in the vocabulary, 0 to {known.rows - 1}; got {wanted}"
        )
    if own is not None and own != wanted:
        raise DomainError(
            f"{function}: the id of padding of {source} must be {own}, which the network masks; got {wanted}"
        )
    return wanted


def lengths_of(x: Array, padding: int | None) -> dict[str, Any]:
    """Return how long samples of ids are, without what is padding: plain JSON values for a report.

    Parameters
    ----------
    x : (N, T) array of integers
    padding : int or None
        None where it is not known; then only `places`, T, is said.
    """
    found: dict[str, Any] = {"places": int(x.shape[1]), "padding": padding}
    if padding is None:
        return found
    lengths = (x != padding).sum(axis=1)
    middle = int(np.median(lengths))
    return {**found, "shortest": int(lengths.min()), "median": middle, "longest": int(lengths.max())}
