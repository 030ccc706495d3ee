"""Random elements have the normal coordinates they promise, of standard deviation 1 where nothing is said."""

from __future__ import annotations

import numpy as np
import pytest

from lieref.algebra.base import Algebra
from lieref.group.base import Group
from tests.contracts.lie_cases import algebras, groups, name_of


@pytest.mark.parametrize("algebra", algebras(), ids=name_of)
def test_coordinates_are_the_generators_normal_numbers(algebra: Algebra) -> None:
    normal = np.random.default_rng(5).standard_normal(algebra.dimension)
    for scale in ({}, {"scale": 0.3}):
        xi = algebra.random(np.random.default_rng(5), **scale)
        np.testing.assert_allclose(algebra.vee(xi), scale.get("scale", 1.0) * normal, rtol=1e-14)


@pytest.mark.parametrize("group", groups(), ids=name_of)
def test_a_random_group_element_is_the_exponential_of_one(group: Group) -> None:
    for scale in ({}, {"scale": 0.3}):
        xi = group.algebra.random(np.random.default_rng(5), scale.get("scale", 1.0))
        np.testing.assert_array_equal(group.random(np.random.default_rng(5), **scale), group.exp(xi))
