"""Cases of every group and every map: exp, log, product, inverse, adjoint, bracket, and the maps in place of exp.

They come from the registries: each group in the size of its last example, each map on every group it is legal for.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, Final

import numpy as np

from lieref._types import FloatArray
from lieref.conformance.case import DTYPES
from lieref.conformance.data import Draw
from lieref.conformance.definitions.evaluate import evaluate
from lieref.conformance.families.spec import Spec
from lieref.group.base import Group
from lieref.group.product import Product
from lieref.group.registry import GROUPS, MAPS, make_map
from lieref.numerics.certified_array import certify

SIZES: Final = {"zero": 0.0, "tiny": 2.0**-20, "generic": 0.5, "large": 1.5}
FLAGS: Final = {"zero": ("IdentityInit",), "tiny": ("ScaleTiny",), "generic": ("FirstOrder",), "large": ("WideRange",)}

SPECS: Final = {"taylor": ("taylor2", "taylor3"), "cayley": ("cayley",), "neumann": ("neumann4",),
                "bounded": ("bounded(0.75)",)}  # fmt: skip
"""Texts of each map other than exp; one that is not listed has its first example."""

SHOWN_IN_DOUBLE: Final = ("hadamard", "gl")
"""Groups whose maps have cases in float64 too."""


def member(name: str) -> Group:
    """Return the group of a name that the cases are about."""
    return GROUPS[name].examples()[0 if name == Product.name else -1]


def attrs_of(group: Group) -> dict[str, Any]:
    """Return the attributes that name a group: itself, or its parts with their shapes and copies."""
    if not isinstance(group, Product):
        return {"group": group.name}
    pairs = zip(group.parts, group.copies, strict=True)
    parts = [{"group": p.name, "shape": list(p.element_shape), "copies": copies} for p, copies in pairs]
    return {"group": group.name, "parts": parts}


def element(group: Group, draw: Draw, size: float) -> FloatArray:
    """Return an algebra element of short binary fractions, exact in both dtypes and in the algebra."""
    drawn = np.rint(draw.normal(group.element_shape) * 2.0**8) * 2.0**-8
    return group.algebra.project(drawn) * size


def group_element(group: Group, xi: FloatArray, dtype: str) -> FloatArray:
    """Return exp(xi) from its definition, rounded to the dtype."""
    inputs = {"xi": certify(xi)}
    return evaluate("retract", inputs, {**attrs_of(group), "map": "exp"})["g"].hi.astype(DTYPES[dtype])


def retractions(
    family: str, group: Group, map_: str, xi: FloatArray, comment: str, flags: tuple[str, ...], dtype: str
) -> Iterator[Spec]:
    """Return the forward and the backward case of a map."""
    attrs = {**attrs_of(group), "map": map_}
    yield Spec(family, "retract", {"xi": xi}, attrs, dtype, comment, flags)
    inputs = {"xi": xi, "g_bar": Draw(family, map_, comment, "cotangent").short(group.element_shape, dtype)}
    yield Spec(family, "retract_vjp", inputs, attrs, dtype, comment, flags)


def operations(name: str, dtype: str) -> Iterator[Spec]:
    """Return the cases of exp and of every operation of one group."""
    group, family, attrs = member(name), f"group_{name}", attrs_of(member(name))
    draw = Draw("group", name)
    for regime, size in SIZES.items():
        xi = element(group, draw, size)
        yield from retractions(family, group, "exp", xi, f"exp, {regime}", FLAGS[regime], dtype)
    # Closer to e than that, the rounding of g itself is a percent of its logarithm in float32.
    for regime, size in (("near e", 2.0**-6), ("generic", 0.5), ("large", 1.0)):
        g = group_element(group, element(group, draw, size), dtype)
        yield Spec(family, "group_log", {"g": g}, attrs, dtype, f"log, {regime}")
    x, y = (element(group, draw, 0.5) for _ in range(2))
    g, h = (group_element(group, xi, dtype) for xi in (x, y))
    yield Spec(family, "group_compose", {"g": g, "h": h}, attrs, dtype, "product", ("Noncommuting",))
    yield Spec(family, "group_inverse", {"g": g}, attrs, dtype, "inverse")
    yield Spec(family, "group_adjoint", {"g": g, "xi": y}, attrs, dtype, "adjoint", ("Noncommuting",))
    yield Spec(family, "group_bracket", {"xi": x, "eta": y}, attrs, dtype, "bracket", ("Noncommuting",))


def maps(name: str) -> Iterator[Spec]:
    """Return the cases of one map on every group it is legal for."""
    for text in SPECS.get(name, (MAPS[name].examples()[0].spec,)):
        for group_name in GROUPS:
            group = member(group_name)
            if not make_map(text).legal_for(group):
                continue
            draw, family = Draw("map", text, group_name), f"map_{name}"
            for regime in ("generic", "tiny") if group_name in SHOWN_IN_DOUBLE else ("generic",):
                xi = element(group, draw, SIZES[regime])
                for dtype in ("f32", "f64") if group_name in SHOWN_IN_DOUBLE else ("f32",):
                    comment = f"{text}, {regime}"
                    yield from retractions(family, group, text, xi, comment, FLAGS[regime], dtype)
            if group_name in SHOWN_IN_DOUBLE:
                yield from _near_singular(family, group, text)


def _near_singular(family: str, group: Group, text: str) -> Iterator[Spec]:
    """Return cases next to where a map leaves its domain or its group: 2 for Cayley, -1 for the first degree."""
    xi = np.zeros(group.element_shape)
    near = np.array([2.0 - 2.0**-6, -1.0 + 2.0**-6, -2.0 + 2.0**-6, 1.5])
    if len(group.element_shape) == 2 and group.element_shape[0] == group.element_shape[1]:
        np.fill_diagonal(xi, near[: len(xi)])
        xi[0, 1:], xi[1, 2:] = 0.25, -0.5
    else:
        xi.flat[:] = np.resize(near, prod(xi.shape))
    for dtype in ("f32", "f64"):
        yield from retractions(family, group, text, xi, f"{text}, near the singular set", ("NearSingular",), dtype)


def core() -> Iterator[Spec]:
    """Return the cases of the core set."""
    for name in GROUPS:
        for dtype in ("f32", "f64"):
            yield from operations(name, dtype)
    for name in MAPS:
        yield from maps(name)


def full() -> Iterator[Spec]:
    """Return the cases beyond the core set: every example of every group, exp and its substitutes in every regime."""
    for name in GROUPS:
        for index, group in enumerate(GROUPS[name].examples()):
            for regime, size in SIZES.items():
                draw = Draw("group", name, "full", index, regime)
                for text in ("exp", "taylor1", "taylor5", "cayley", "bounded"):
                    if make_map(text).legal_for(group):
                        comment = f"{text}, {regime}, shape {group.element_shape}"
                        yield from retractions(
                            f"group_{name}", group, text, element(group, draw, size), comment, FLAGS[regime], "f64"
                        )
