"""Names of classes: which output of the model a folder or a word stands for.

A number in the data is the number of an output. A name is not: what a set happens to hold says nothing about how the
model numbers its classes. Names are therefore matched with those of the model's outputs, which the adapter and the
merged model carry; only where a set has as many names as the model has outputs may their sorted order define them.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref.errors import DomainError, DTypeError, LierefWarning

_SHOWN = 5
"""Names that a message lists; the rest are counted."""


class MissingClassesWarning(LierefWarning):
    """A set holds no sample of some classes."""


def check_classes(function: str, classes: Any) -> tuple[str, ...]:
    """Return names of outputs as a tuple, in Unicode's composed form, which not every file system keeps.

    Raises
    ------
    DTypeError
        If they are not text.
    DomainError
        If there is none, one is empty, or one stands twice.
    """
    if isinstance(classes, str) or not isinstance(classes, Sequence) or not all(isinstance(c, str) for c in classes):
        raise DTypeError(f"{function}: `classes` must be a sequence of names; got {classes!r}")
    names = tuple(unicodedata.normalize("NFC", name) for name in classes)
    if not names or not all(name.strip() for name in names):
        raise DomainError(f"{function}: `classes` must be names, none of them empty; got {listed(names)}")
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DomainError(f"{function}: `classes` must differ; got {twice[0]!r} twice")
    return names


def number_by_name(
    function: str, found: Sequence[str], labels: NDArray[np.int64], classes: Sequence[str], source: str
) -> NDArray[np.int64]:
    """Return labels that count in `found` as labels that count in `classes`.

    Parameters
    ----------
    function : str
        Name of the caller, for the message.
    found : sequence of str
        Name of each label.
    labels : (N,) int64
    classes : sequence of str
        Names of the model's outputs, in their order.
    source : str
        Where the labels come from.

    Raises
    ------
    DomainError
        If a name is not one of the model's.
    """
    number = {name: index for index, name in enumerate(classes)}
    unknown = [name for name in found if name not in number]
    if unknown:
        raise DomainError(
            f"{function}: the classes of {source} must be among the model's ({listed(classes)}); got {listed(unknown)}"
        )
    return np.array([number[name] for name in found], dtype=np.int64)[labels]


def check_number_of_classes(function: str, found: Sequence[str], outputs: int, source: str, *, given: bool) -> None:
    """Raise `DomainError` unless names can stand for a model's outputs.

    Parameters
    ----------
    function : str
        Name of the caller, for the message.
    found : sequence of str
        Names of the classes.
    outputs : int
        Of the model.
    source : str
    given : bool
        Whether the names are known to be those of the outputs, in order; the last outputs may then have none. Other
        names define the outputs by their sorted order, which must then be one.
    """
    if given and len(found) <= outputs:
        return
    if len(found) == outputs:
        # Sorted as text, 10 stands before 2: whoever numbered the outputs may have meant either.
        if all(name.isdecimal() and len(name) < 10 for name in found) and sorted(map(int, found)) != list(
            map(int, found)
        ):
            raise DomainError(
                f"{function}: the classes of {source} must have an order; sorted as text their numbers are "
                f"{listed(found)} (give the names of the outputs in order: --classes, or load_data(..., classes=...))"
            )
        return
    if len(found) > outputs:
        raise DomainError(
            f"{function}: {source} must hold at most as many classes as the model has outputs, {outputs}; "
            f"got {len(found)}: {listed(found)}"
        )
    raise DomainError(
        f"{function}: which of the model's {outputs} outputs are the {len(found)} classes of {source} must be known; "
        f"got no names of outputs (give them in order: --classes, or load_data(..., classes=...))"
    )


def warn_missing(function: str, labels: NDArray[np.int64], classes: Sequence[str], source: str) -> tuple[str, ...]:
    """Return the classes without a sample, and say them in one warning."""
    counts = np.bincount(labels, minlength=len(classes))
    missing = tuple(str(name) for name, count in zip(classes, counts, strict=False) if not count)
    if missing:
        warnings.warn(
            f"{function}: {source} holds no sample of {len(missing)} of the {len(classes)} classes: {listed(missing)}",
            MissingClassesWarning,
            stacklevel=3,
        )
    return missing


def listed(names: Sequence[str]) -> str:
    """Return names for a message, the first few in full."""
    shown = ", ".join(str(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
