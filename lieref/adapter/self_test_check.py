"""The self-test that a bundle carries: inputs, some numbers that must come out, and how far off they may be.

Tensors of the safetensors file: ``selftest.input.NAME``, whole numbers or floats that an input of the network takes,
whatever its type; ``selftest.place.NAME``, positions in the flattened output; ``selftest.output.NAME``, what the merged
network gives there; ``selftest.bound.NAME``, how far a float32 evaluation may be from it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lieref._types import Array
from lieref.errors import FormatError, VerificationError

INPUT, PLACE, OUTPUT, BOUND = (f"selftest.{part}." for part in ("input", "place", "output", "bound"))
"""How the names begin."""


def self_test_inputs(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return the inputs by their names in the network; empty where there is no self-test."""
    return {name.removeprefix(INPUT): array for name, array in tensors.items() if name.startswith(INPUT)}


def check_self_test(tensors: Mapping[str, Array], outputs: Mapping[str, Array]) -> dict[str, float]:
    """Return the largest error of each output in units of its bound; at most 1, for else it raises.

    Parameters
    ----------
    tensors : mapping of str to array
        Of the bundle; what is no self-test is ignored.
    outputs : mapping of str to array
        What the merged network gives for `self_test_inputs`, by the names of the outputs.

    Raises
    ------
    FormatError
        If there is no self-test, or it is not in its form.
    VerificationError
        If an output is missing, of another size or type, not finite, or further off than its bound.
    """
    names = [name.removeprefix(OUTPUT) for name in tensors if name.startswith(OUTPUT)]
    if not names:
        raise FormatError("check_self_test: `tensors` must hold a self-test; got none")
    found = {}
    for name in names:
        place, expected, bound = (_vector(tensors, prefix, name) for prefix in (PLACE, OUTPUT, BOUND))
        if place.shape != expected.shape or bound.shape != expected.shape or place.dtype.kind != "u":
            raise FormatError(f"check_self_test: the self-test of {name} must have one place and bound a number")
        if not (np.isfinite(expected).all() and (bound >= 0).all() and np.isfinite(bound).all()):
            raise FormatError(f"check_self_test: the self-test of {name} must be finite, its bounds not negative")
        if name not in outputs:
            raise VerificationError(f"check_self_test: `outputs` must hold {name}; got {', '.join(outputs) or 'none'}")
        given = np.asarray(outputs[name])
        if given.dtype.kind != "f" or int(place.max(initial=0)) >= given.size:
            raise VerificationError(
                f"check_self_test: {name} must hold floats, more than {int(place.max(initial=0))}; got {given.dtype} "
                f"of shape {given.shape}"
            )
        got = given.reshape(-1)[place.astype(np.int64)].astype(np.float64)
        off = np.abs(got - expected.astype(np.float64))
        wrong = ~(off <= bound)  # a NaN is wrong too
        if wrong.any():
            worst = int(np.flatnonzero(wrong)[0])
            raise VerificationError(
                f"check_self_test: {name} must be within {bound[worst]:.3g} of {expected[worst]:.6g} at place "
                f"{int(place[worst])}; got {got[worst]:.6g}"
            )
        share = np.divide(off, bound, out=np.zeros_like(off), where=bound > 0)
        found[name] = float(share.max(initial=0.0))
    return found


def _vector(tensors: Mapping[str, Array], prefix: str, name: str) -> Array:
    array = tensors.get(prefix + name)
    if array is None or array.ndim != 1 or not array.size:
        raise FormatError(f"check_self_test: `tensors` must hold a vector {prefix}{name}; they do not")
    return array
