"""What each named method is, as data for tables: its parts, what it keeps, where it works and what it costs."""

from __future__ import annotations

from typing import Any

from lieref._types import Shape
from lieref.param.method import Method
from lieref.param.registry import METHODS, PARAMETERISATIONS, get_method

# One weight of each kind; a method serves a kind if it serves this one at its smallest rank.
GEOMETRIES: dict[str, tuple[Shape, int]] = {
    "linear": ((8, 6), 1),
    "conv 1-D": ((8, 6, 3), 1),
    "conv 2-D": ((8, 6, 3, 5), 1),
    "conv 3-D": ((8, 6, 3, 5, 2), 1),
    "grouped": ((8, 6, 3, 5), 2),
    "depthwise": ((6, 1, 3, 5), 6),
}

LETTERS = {
    "G": "conv groups, or 1 where they share factors, as those of a depthwise kernel do",
    "O, I": "out and in channels of one conv group, or of all that share factors",
    "k": "kernel positions, p of them in rows and q in columns",
    "n": "size of the mode a matrix acts on",
    "r": "rank of the out mode; s of the in mode, t the product of those of the kernel modes",
    "u": "sum over the kernel modes of size times rank",
    "a, b, c, d": "O = a c and I = b d",
    "b": "block size",
    "N, e": "bases of a sum of them, N = ceil(e / r), and the smaller side of the matrix",
    "w": "sum of the sizes of the kernel axes",
    "f, v": "numbers in a filter of filter atoms, and filters in a row: k and I where there is a kernel",
    "m": "atoms, or stages of a butterfly; m1 atoms inside an atom",
}
"""Letters of the trainable counts."""


def describe(name: str) -> dict[str, Any]:
    """Return one row of the method table as plain values.

    Returns
    -------
    dict
        ``name``, ``summary``, ``group``, ``map``, ``parameterisation``, ``action``, ``preserves`` (list),
        ``geometry`` (list of kinds of weights it serves), ``formula`` (trainables), ``scope``, ``learning_rate``,
        ``reference``.
    """
    row = METHODS[name]
    served = {
        kind: at for kind, at in GEOMETRIES.items() if row.parameterisation and _smallest(name).supports(*at) is None
    }
    kept: list[str] = []
    if served:
        kept = sorted(_smallest(name).preserves(*next(iter(served.values()))))
    return {
        "name": name,
        "summary": row.summary,
        "group": row.group,
        "map": row.map,
        "parameterisation": row.parameterisation,
        "action": row.action,
        "preserves": kept,
        "geometry": list(served),
        "formula": _formula(name),
        "scope": row.scope,
        "learning_rate": row.learning_rate,
        "reference": row.reference,
    }


def describe_methods() -> list[dict[str, Any]]:
    """Return the table of named methods: a dict for each, in the order of the documentation.

    Returns
    -------
    list of dict
        Plain JSON values: ``name``, for `get_method`; ``summary``; its parts ``parameterisation``, ``group``, ``map``
        and ``action``, None where it has none; ``preserves``, what of a weight it keeps; ``geometry``, the kinds of
        weights it serves; ``formula``, how many numbers it trains, in the letters of `LETTERS`; ``scope``;
        ``learning_rate``, its default for AdamW; ``reference``, keys of `lieref.references`.
    """
    return [describe(name) for name in METHODS]


def _smallest(name: str) -> Method:
    """Return the method with the smallest rank it takes."""
    kind = METHODS[name].parameterisation
    if get_method(name).rank is None or kind is None:
        return get_method(name)
    return get_method(name, r=PARAMETERISATIONS[kind].least_rank)


def _formula(name: str) -> str:
    row = METHODS[name]
    if row.parameterisation is None:
        return "0"
    return row.formula or PARAMETERISATIONS[row.parameterisation].formula
