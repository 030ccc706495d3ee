"""Every group of the registry: axioms, exponential and logarithm, adjoints, Jacobians, VJPs."""

import numpy as np
import pytest

from lieref.errors import DomainError, NotInGroupError, ShapeError
from lieref.group.base import Group
from lieref.group.registry import GROUPS
from lieref.numerics.expm import expm
from lieref.numerics.gradcheck import adjoint_gap
from tests.contracts.lie_cases import REGIMES, algebra_element, gap, groups, name_of

every_group = pytest.mark.parametrize("group", groups(), ids=name_of)
every_regime = pytest.mark.parametrize("regime", REGIMES)


def elements(group: Group, rng: np.random.Generator, regime: str, count: int) -> list[np.ndarray]:
    return [group.exp(algebra_element(group.algebra, rng, regime)) for _ in range(count)]


@every_group
@every_regime
def test_axioms(group: Group, regime: str, rng: np.random.Generator) -> None:
    g, h, k = elements(group, rng, regime, 3)
    e = group.identity()
    size = np.abs(g).max() * np.abs(h).max() + 1
    assert all(group.contains(x, 1e-13 * size**2) for x in (g, h, group.compose(g, h), group.inverse(g)))
    assert group.contains(e)
    np.testing.assert_array_equal(group.compose(e, g), g)
    np.testing.assert_array_equal(group.compose(g, e), g)
    assert gap(group.compose(group.compose(g, h), k), group.compose(g, group.compose(h, k))) <= 1e-14
    for product in (group.compose(g, group.inverse(g)), group.compose(group.inverse(g), g)):
        np.testing.assert_allclose(product, e, rtol=0, atol=1e-13 * size**2)


@every_group
def test_abelian_exactly_where_claimed(group: Group, rng: np.random.Generator) -> None:
    xi, eta = (algebra_element(group.algebra, rng, "generic") for _ in range(2))
    g, h = group.exp(xi), group.exp(eta)
    commutes = gap(group.compose(g, h), group.compose(h, g)) <= 1e-15
    adds = gap(group.exp(xi + eta), group.compose(g, h)) <= 1e-15
    assert (commutes, adds) == (group.is_abelian, group.is_abelian)


@every_group
def test_open_exactly_where_claimed(group: Group, rng: np.random.Generator) -> None:
    """Truncated exponentials near e are in the group, or miss it by the order of what was cut off."""
    xi = 1e-2 * algebra_element(group.algebra, rng, "generic")
    for degree in (1, 2, 3):
        near = group.calculus.taylor(xi, degree)
        assert group.contains(near, 1e-14) == (group.is_open or group.keeps_taylor(degree))
        assert group.contains(near, 1.0)


@every_group
def test_what_is_near_the_group_is_not_in_it(group: Group, rng: np.random.Generator) -> None:
    """`contains` measures the equations of the group entry by entry: 1e-3 away is not within 1e-6, but within 1."""
    g = group.exp(algebra_element(group.algebra, rng, "generic"))
    off = g + 1e-3 * rng.standard_normal(g.shape)
    everywhere = {"additive", "hadamard", "scaling", "gl"}
    parts = {part.name for part in getattr(group, "parts", (group,))}
    assert group.contains(off, 1e-6) == (parts <= everywhere)
    assert group.contains(off, 1.0)
    if not parts <= everywhere:
        with pytest.raises(NotInGroupError):
            group.log(g + rng.standard_normal(g.shape))


@every_group
def test_random_elements_have_the_scale_asked_for(group: Group, rng: np.random.Generator) -> None:
    for scale in (1e-3, 0.1):
        draws = np.stack([group.algebra.vee(group.log(group.random(rng, scale))) for _ in range(30)])
        assert abs(draws.std() / scale - 1) < 6 / np.sqrt(2 * draws.size)


@every_group
@every_regime
def test_exponential(group: Group, regime: str, rng: np.random.Generator) -> None:
    xi = algebra_element(group.algebra, rng, regime, (2,))
    g = group.exp(xi)
    third, half = group.exp(xi / 3), group.exp(xi / 2)
    assert gap(group.compose(third, group.compose(third, third)), g) <= 1e-13
    assert gap(group.compose(half, half), g) <= 1e-13
    assert gap(group.exp(-xi), group.inverse(g)) <= 1e-12
    assert gap(group.log(g), xi) <= (1e-11 if regime == "singular" else 1e-13 if regime != "tiny" else 1e-6)
    for i in range(2):
        np.testing.assert_array_equal(group.exp(xi[i]), g[i])
    if regime == "zero":
        np.testing.assert_array_equal(g[0], group.identity())


@every_group
@every_regime
def test_minus_identity_keeps_digits(group: Group, regime: str, rng: np.random.Generator) -> None:
    xi = algebra_element(group.algebra, rng, regime)
    delta = group.exp_minus_identity(xi)
    assert gap(delta + group.identity(), group.exp(xi)) <= 1e-14
    if regime in ("zero", "tiny"):
        assert np.abs(delta - xi).max() <= 10 * np.abs(xi).max() ** 2  # xi^2/2 and nothing larger


@every_group
@every_regime
def test_adjoint(group: Group, regime: str, rng: np.random.Generator) -> None:
    (g, h), xi = elements(group, rng, "generic", 2), algebra_element(group.algebra, rng, regime)
    eta = algebra_element(group.algebra, rng, "generic")
    moved = group.adjoint(g, xi)
    assert group.algebra.contains(moved, 1e-13)
    assert gap(group.compose(g, group.exp(xi)), group.compose(group.exp(moved), g)) <= 1e-12
    assert gap(group.adjoint(group.compose(g, h), xi), group.adjoint(g, group.adjoint(h, xi))) <= 1e-12
    bracket = group.algebra.bracket
    np.testing.assert_allclose(
        group.adjoint(g, bracket(xi, eta)), bracket(moved, group.adjoint(g, eta)), rtol=0, atol=1e-11
    )
    # Ad_exp(xi) = exp(ad_xi), the second from the bracket alone.
    basis = group.algebra.hat(np.eye(group.algebra.dimension))
    ad = group.algebra.vee(np.stack([group.small_adjoint(xi, b) for b in basis])).T
    by_series = group.algebra.hat(expm(ad) @ group.algebra.vee(eta))
    assert gap(group.adjoint(group.exp(xi), eta), by_series) <= 1e-11


@every_group
@every_regime
def test_jacobians(group: Group, regime: str, rng: np.random.Generator) -> None:
    xi, eta = algebra_element(group.algebra, rng, regime), algebra_element(group.algebra, rng, "generic")
    left, right = group.left_jacobian(xi), group.right_jacobian(xi)
    vee, step, inverse = group.algebra.vee, 1e-4, group.inverse(group.exp(xi))

    def difference(left_side: bool) -> np.ndarray:
        logs = []
        for t in (step, -step):
            g = group.exp(xi + t * eta)
            logs.append(group.log(group.compose(g, inverse) if left_side else group.compose(inverse, g)))
        return vee(logs[0] - logs[1]) / (2 * step)

    scale = max(1.0, float(np.abs(left).max()))
    np.testing.assert_allclose(left @ vee(eta), difference(True), rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(right @ vee(eta), difference(False), rtol=0, atol=1e-5 * scale)
    moved = vee(group.adjoint(group.exp(xi), group.algebra.hat(right @ vee(eta))))
    assert gap(left @ vee(eta), moved) <= 1e-11


@every_group
@every_regime
def test_exp_vjp(group: Group, regime: str, rng: np.random.Generator) -> None:
    xi = algebra_element(group.algebra, rng, regime, (2,))
    assert adjoint_gap(group.exp, lambda x, g_bar: group.exp_vjp(x, group.exp(x), g_bar), xi, rng) <= 1e-9
    g_bar = rng.standard_normal(xi.shape)
    assert group.algebra.contains(group.exp_vjp(xi, group.exp(xi), g_bar), 1e-12 * np.abs(g_bar).max() * 25)


@every_group
def test_dtypes(group: Group, rng: np.random.Generator) -> None:
    xi = algebra_element(group.algebra, rng, "generic").astype(np.float32)
    g = group.exp(xi)
    results = [g, group.exp_vjp(xi, g, g), group.exp_minus_identity(xi), group.compose(g, g), group.inverse(g),
               group.log(g), group.adjoint(g, xi), group.left_jacobian(xi), group.identity(np.float32),
               group.random(rng, 0.1, np.float32)]  # fmt: skip
    assert [r.dtype for r in results] == [np.float32] * len(results)
    assert gap(g, group.exp(xi.astype(np.float64))) <= 1e-6
    assert group.contains(group.random(rng, 0.1), 1e-13)


@every_group
def test_refusals(group: Group) -> None:
    xi = np.zeros(group.element_shape)
    with pytest.raises(ShapeError):
        group.exp(np.zeros((*group.element_shape[:-1], group.element_shape[-1] + 1)))
    for bad in (np.nan, np.inf):
        with pytest.raises(DomainError):
            group.exp(xi + bad)
        assert not group.contains(group.identity() + bad, 1.0)
    reflected = group.identity()
    reflected[0] = -reflected[0]
    assert group.contains(reflected, 1e-3) == (group.name == "additive")


def test_names_are_the_keys() -> None:
    assert all(cls.name == key for key, cls in GROUPS.items())
