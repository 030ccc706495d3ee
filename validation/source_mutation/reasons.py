"""Mutants that no test can kill, each with what shows that it computes the same."""

from __future__ import annotations

REASONS: dict[str, str] = {
    "lieref/kernel/parallel.py::for_each_chunk: if threads == 1 or len(bounds) <= 1: -> if ((threads == 1)):": (
        "a single chunk is computed by a thread of the pool instead of the caller: the same call with the same numbers"
    ),
    "lieref/numerics/certified_array.py::Certified.sqrt: slope = np.where(least > 0, a.radius / np.where(least > 0, "
    "least, 1.0), np.inf) -> slope = np.where(least > 0, a.radius / np.where(least >= 0, least, 1.0), np.inf)": (
        "what is divided by zero is not looked at, and no warning is given there: the method runs under errstate"
    ),
    "lieref/model/engine/lowered.py::covers_image: return all(-rank <= axis < rank for axis in given) and sorted("
    "axis % rank for axis in given) == list(range(2, rank)) -> return all(-rank < axis < rank for axis in given) and "
    "sorted(axis % rank for axis in given) == list(range(2, rank))": (
        "the axis -rank is that of the batch, which the second half refuses"
    ),
}
"""Reason by the key of a mutant, `file::function: old line -> new line`."""
