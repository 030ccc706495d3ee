"""Cases of functions of matrices beside exp: logarithm, phi, and maps straight from low-rank factors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from lieref._types import FloatArray
from lieref.conformance.case import DTYPES
from lieref.conformance.data import Draw
from lieref.conformance.definitions.evaluate import evaluate
from lieref.conformance.families.expm import scaled
from lieref.conformance.families.spec import Spec
from lieref.numerics.certified_array import certify
from lieref.numerics.certified_exp import norm1
from lieref.numerics.phi import SWITCH
from lieref.param.low_rank_group import FORMS

LOW_RANK_SIZES: Final = {"zero": 0.0, "tiny": 2.0**-20, "generic": 0.5, "large": 1.75}


def _exponential(a: FloatArray, dtype: str) -> FloatArray:
    return evaluate("retract", {"xi": certify(a)}, {"group": "gl", "map": "exp"})["g"].hi.astype(DTYPES[dtype])


def logarithms(dtype: str) -> Iterator[Spec]:
    """Return logarithms of matrices near the identity, far from it, of a defective one and next to the branch cut."""
    draw = Draw("logm")
    a = draw.normal((4, 4))
    named = (
        ("near the identity", _exponential(scaled(a, 2.0**-6), dtype), ("DeltaForm",)),
        ("generic", _exponential(scaled(a, 1.0), dtype), ("Noncommuting",)),
        ("far", _exponential(scaled(draw.normal((3, 3)), 3.0), dtype), ("WideRange",)),
        ("defective", np.eye(3) + np.diag([1.0, 1.0], 1), ("Nilpotent",)),
        ("rotation by 3.1", _exponential(np.array([[0.0, -3.1], [3.1, 0.0]]), dtype), ("NearSingular",)),
    )
    for comment, matrix, flags in named:
        yield Spec("logm", "logm", {"a": matrix}, {}, dtype, comment, flags)


def phis(dtype: str) -> Iterator[Spec]:
    """Return phi of numbers of every size, next to the switch from series to recurrence too, and of matrices."""
    draw = Draw("phi")
    switch = np.array([sign * x * near for x in SWITCH.values() for sign in (1.0, -1.0) for near in (0.999, 1.001)])
    sizes = [0.0, 2.0**-30, -(2.0**-30), 1.0, -1.0, 20.0, -20.0]
    x = np.concatenate([sizes, switch, draw.normal((8,)), 8.0 * draw.normal((8,))])
    for k in range(4):
        yield Spec("phi", "phi", {"x": x}, {"k": k}, dtype, f"phi_{k}, numbers of every size", ("ThetaBranch",))
    for k in (1, 2):
        for comment, norm in (("zero", 0.0), ("tiny", 2.0**-20), ("generic", 1.0), ("large", 3.0)):
            a = scaled(draw.normal((3, 3)), norm)
            inputs = {"a": a, "y_bar": draw.normal((3, 3))}
            yield Spec("matrix_phi", "matrix_phi", {"a": a}, {"k": k}, dtype, comment, ("Noncommuting",))
            yield Spec("matrix_phi", "matrix_phi_vjp", inputs, {"k": k}, dtype, comment, ("Noncommuting",))


def low_rank(dtype: str) -> Iterator[Spec]:
    """Return every map that has a form for low-rank factors."""
    for group, map_ in ((group, map_class.examples()[0].spec) for group, map_class in FORMS):
        for comment, size in LOW_RANK_SIZES.items():
            if dtype == "f64" and comment in ("zero", "large"):
                continue
            draw = Draw("low rank retract", group, map_, comment)
            lora_b, lora_a = draw.normal((4, 2)), draw.normal((2, 4))
            inputs = {"lora_b": lora_b * (size / norm1(lora_b @ lora_a)), "lora_a": lora_a}
            attrs, family = {"group": group, "map": map_}, "low_rank_retract"
            yield Spec(family, family, inputs, attrs, dtype, f"{group}, {map_}, {comment}", ("Noncommuting",))
            inputs = {**inputs, "g_bar": draw.short((4, 4), dtype)}
            yield Spec(family, f"{family}_vjp", inputs, attrs, dtype, f"{group}, {map_}, {comment}", ("Noncommuting",))


def core() -> Iterator[Spec]:
    """Return the cases of the core set."""
    for dtype in ("f32", "f64"):
        yield from logarithms(dtype)
        yield from phis(dtype)
        yield from low_rank(dtype)


def full() -> Iterator[Spec]:
    """Return the cases beyond the core set: logarithms of larger matrices."""
    for n in (2, 5, 8):
        for norm in (0.03, 0.5, 2.0):
            a = scaled(Draw("logm", "full", n).normal((n, n)), norm)
            yield Spec("logm", "logm", {"a": _exponential(a, "f64")}, {}, "f64", f"{n} by {n}, norm {norm}")
