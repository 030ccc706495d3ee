"""Rows of a comparison that is about a quantised file: what is trained on it, on its float twin, and carried over."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lieref._text import did_you_mean
from lieref.adapter.integer.methods import INTEGER_METHODS
from lieref.adapter.integer.model import IntegerModel
from lieref.adapter.model import Model
from lieref.errors import DomainError, LierefWarning
from lieref.evaluate.compare.budget import FORMS, Entry, matched
from lieref.evaluate.quantised import CARRIED, FINISHED, carries, encodings_of

_SUFFIXES = (*(text for text in FORMS.values() if text), " float")


@dataclass(frozen=True)
class Wanted:
    """What was asked for: a method, or with a suffix such as " carried" one of its rows."""

    method: str
    suffix: str = ""

    def __str__(self) -> str:
        return self.method + self.suffix

    def takes(self, entry: Entry) -> bool:
        """Tell whether an entry is a row of it."""
        return entry.method == self.method and (not self.suffix or entry.label.endswith(self.suffix))


def parse_rows(names: Sequence[str]) -> list[Wanted]:
    """Return what names of methods and of rows ask for."""
    found = []
    for name in names:
        suffix = next((each for each in _SUFFIXES if name.endswith(each)), "")
        found.append(Wanted(name.removesuffix(suffix).strip(), suffix))
    return found


def integer_entries(model: IntegerModel, methods: Sequence[str]) -> list[Entry]:
    """Return the entries of methods of `INTEGER_METHODS`, one a form of the update.

    Raises
    ------
    LierefError
        If a method cannot be attached to the file.
    """
    found = []
    for name in methods:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LierefWarning)  # they come when a run attaches the method
            try:
                count = model.attach(name).num_trainable()
            finally:
                model.unload()
        found += [Entry(name, trainable=count, budget=count, form=form, on_file=True) for form in encodings_of(name)]
    return found


def quantised_entries(model: IntegerModel, twin: Model | None, names: Sequence[str], **float_only: Any) -> list[Entry]:
    """Return the entries of a comparison of a quantised file: its own, then those of its float twin.

    Parameters
    ----------
    model : IntegerModel
    twin : Model or None
        The same network in real numbers. A method that it has is trained on it too, and where the file can take its
        adapter in its scales there is a row of that.
    names : sequence of str
        Methods, or labels of single rows: "scale" is all that is called so, "scale carried" that one.
    **float_only
        Arguments of `matched`.

    Raises
    ------
    DomainError
        If a name is of no row.
    LierefError
        As `matched` does.
    """
    wanted = parse_rows(names)
    methods = list(dict.fromkeys(each.method for each in wanted))
    if not methods:
        raise DomainError("compare: `methods` must name at least one method")
    integer = [name for name in methods if name in INTEGER_METHODS]
    found = integer_entries(model, integer)
    if twin is None:
        strange = next((name for name in methods if name not in INTEGER_METHODS), None)
        if strange is not None:
            raise DomainError(
                f"compare: `methods` of a quantised file must be among {', '.join(INTEGER_METHODS)}, which leave its "
                f"grid as it is; got {strange!r}: add --float BASE.onnx to compare it on the float twin"
                f"{did_you_mean(strange, INTEGER_METHODS)}"
            )
    else:
        real = [name for name in methods if _has_float(name)]
        for entry in matched(twin, real, **float_only) if real else ():
            if carries(entry.method):
                found.append(replace(entry, on_twin=True, form=CARRIED))
            found.append(replace(entry, on_twin=True, form=FINISHED))
    for each in wanted:
        if not any(map(each.takes, found)):
            labels = [entry.label for entry in found]
            raise DomainError(
                f"compare: `methods` must name rows that there are; got {str(each)!r}, and has "
                f"{', '.join(labels) or 'none'}{did_you_mean(each, labels)}"
            )
    return [entry for entry in found if any(each.takes(entry) for each in wanted)]


def _has_float(name: str) -> bool:
    """Return whether a method is for the twin too: any but those of quantised files alone."""
    from lieref.param.registry import METHODS

    return name not in INTEGER_METHODS or name in METHODS
