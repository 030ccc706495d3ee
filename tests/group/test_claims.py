"""What groups and maps claim of themselves, both ways: a claim too small is as wrong as one too large.

A claim that is denied must have a counterexample among random elements; one that is made must have none.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from lieref.errors import LierefError
from lieref.group.base import Group
from lieref.group.maps import Map
from lieref.group.registry import GROUPS, MAPS
from lieref.group.tensor import Hadamard, TensorGroup
from tests.contracts.lie_cases import algebra_element, gap, groups, maps, name_of

every_group = pytest.mark.parametrize("group", groups(), ids=name_of)


def elements(group: Group, rng: np.random.Generator, count: int = 8) -> np.ndarray:
    return np.stack([algebra_element(group.algebra, rng, "generic") for _ in range(count)])


@pytest.mark.parametrize("cls", GROUPS.values(), ids=lambda cls: cls.name)
def test_abelian_where_all_elements_commute(cls: type[Group], rng: np.random.Generator) -> None:
    """A class that denies it has a member whose elements do not commute: SO(2) may deny it, for SO(4) must."""
    gaps = {}
    for group in cls.examples():
        xi = elements(group, rng)
        g, h = group.exp(xi[:4]), group.exp(xi[4:])
        gaps[group] = gap(group.compose(g, h), group.compose(h, g))
    assert all(gaps[group] <= 1e-12 for group in gaps if group.is_abelian)
    assert all(group.is_abelian for group in gaps) or max(gaps.values()) > 1e-3


@every_group
def test_open_where_a_small_step_along_every_element_stays(group: Group, rng: np.random.Generator) -> None:
    # Off the group, e + h xi misses it by about h^2 / 2 = 5e-7 of elements of size 1.
    steps = group.identity() + 1e-3 * elements(group, rng)
    assert group.is_open == all(group.contains(g, 1e-9) for g in steps)


@pytest.mark.parametrize("group", [g for g in groups() if not g.is_open], ids=name_of)
def test_cayley_where_it_stays(group: Group, rng: np.random.Generator) -> None:
    g = group.calculus.cayley(elements(group, rng))
    assert group.keeps_cayley == all(group.contains(one, 1e-9) for one in g)


@every_group
@pytest.mark.parametrize("a_map", maps(), ids=name_of)
def test_a_map_stays_in_the_group_as_it_says(a_map: Map, group: Group, rng: np.random.Generator) -> None:
    """Elements of norm up to 5: there odd polynomials turn negative and the Cayley map passes its pole."""
    if not a_map.legal_for(group):
        return
    found = []
    for size in (0.5, 1.9, 5.0):
        for xi in np.concatenate([size * elements(group, rng), -size * elements(group, rng)]):
            try:
                found.append(group.contains(a_map.retract(group, xi), 1e-9))
            except LierefError:
                continue
    if a_map.stays_in(group):
        assert all(found)
    elif isinstance(group, TensorGroup):
        assert not all(found)


DEFINITIONS = {
    "exp": lambda x, m: mpmath.exp(x),
    "taylor": lambda x, m: mpmath.fsum(x**k / mpmath.factorial(k) for k in range(m.degree + 1)),
    "cayley": lambda x, m: (1 + x / 2) / (1 - x / 2),
    "bounded": lambda x, m: mpmath.exp(mpmath.mpf(m.bound) * mpmath.tanh(x / m.bound)),
}


@pytest.mark.parametrize("a_map", maps(), ids=name_of)
def test_definition_on_positive_numbers(a_map: Map, rng: np.random.Generator) -> None:
    """Value and derivative against the formula in 40 digits; the numbers reach beyond 1, the bound of `bounded`."""
    assert set(DEFINITIONS) == set(MAPS)
    xi = np.concatenate([rng.uniform(-1.9, 1.9, 8), rng.uniform(-1e-9, 1e-9, 3)])
    group = Hadamard(xi.shape)
    g = a_map.retract(group, xi)
    xi_bar = a_map.retract_vjp(group, xi, g, np.ones_like(g))
    with mpmath.workdps(40):
        for x, value, slope in zip(xi, g, xi_bar, strict=True):
            wanted = DEFINITIONS[a_map.name](mpmath.mpf(float(x)), a_map)
            derivative = mpmath.diff(lambda t: DEFINITIONS[a_map.name](t, a_map), mpmath.mpf(float(x)))
            # sums of at most 21 terms whose absolute sum is below e^1.9 = 6.7, or 40 near the pole of the Cayley map
            scale = 40 + abs(wanted)
            assert abs(value - wanted) <= 2**-53 * 25 * scale
            assert abs(slope - derivative) <= 2**-53 * 50 * (scale + abs(derivative) * 40)
