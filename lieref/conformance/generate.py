"""All golden cases, computed from nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from lieref.conformance.case import Case
from lieref.conformance.families import (
    actions,
    adapter,
    conv,
    expm,
    functions,
    groups,
    hadamard,
    integer_layers,
    integer_operators,
    layers,
    learning,
    methods,
    training,
)
from lieref.conformance.families.spec import Spec

_FAMILIES = (
    conv,
    hadamard,
    expm,
    adapter,
    training,
    methods,
    groups,
    actions,
    functions,
    learning,
    layers,
    integer_layers,
    integer_operators,
)
_FULL_START = 1000


def generate(full: bool = False, told: Callable[[int, int, str], None] | None = None) -> Iterator[Case]:
    """Return the core cases, then with `full` all others; ids do not depend on `full`.

    Parameters
    ----------
    full : bool
        Also the cases that are too many or too large to be stored with the package; their numbers start at 1001.

    told : callable, optional
        Called before each case with how many are done, of how many, and the family of the next.

    Raises
    ------
    MissingExtraError
        If python-flint or mpmath is not installed.
    UnsupportedError
        If an entry of a registry has no definition in `lieref.conformance.definitions`.
    """
    specs = list(numbered_specs(full))
    for done, (number, spec) in enumerate(specs):
        if told is not None:
            told(done, len(specs), spec.family)
        yield spec.complete(number)


def numbered_specs(full: bool = False) -> Iterator[tuple[int, Spec]]:
    """Return the cases of `generate` before their expected values are computed, each with its number in its file."""
    for start, kind in ((0, "core"), (_FULL_START, "full"))[: 2 if full else 1]:
        numbers: Counter[str] = Counter()
        for family in _FAMILIES:
            for spec in getattr(family, kind)():
                name = f"{spec.family}_{spec.dtype}"
                numbers[name] += 1
                yield start + numbers[name], spec
