"""Every map on every group it is legal for: value and slope at zero, order, VJP, membership."""

import itertools
import math

import numpy as np
import pytest

from lieref.errors import DomainError, LierefError, UnsupportedError
from lieref.group.base import Group
from lieref.group.maps import Bounded, Cayley, CayleyNeumann, Map, Taylor
from lieref.group.matrix import SL, SO, GLPlus, Unipotent
from lieref.group.product import Product
from lieref.group.registry import MAPS, make_map
from lieref.group.tensor import Additive, Hadamard
from lieref.numerics.gradcheck import adjoint_gap
from tests.contracts.lie_cases import REGIMES, algebra_element, gap, groups, maps, name_of

PAIRS = [(m, g) for m in maps() for g in groups() if m.legal_for(g)]
every_pair = pytest.mark.parametrize(("a_map", "group"), PAIRS, ids=name_of)


def argument(group: Group, rng: np.random.Generator, regime: str) -> np.ndarray:
    """An algebra element; "singular" is near the pole 2 of the Cayley map and the root -1 of 1 + x."""
    xi = algebra_element(group.algebra, rng, regime)
    return xi / 3.1 * 1.9 if regime == "singular" else xi / 2


@every_pair
def test_value_and_delta(a_map: Map, group: Group, rng: np.random.Generator) -> None:
    for regime in REGIMES:
        xi = argument(group, rng, regime)
        g, delta = a_map.retract(group, xi), a_map.retract_minus_identity(group, xi)
        assert gap(g, delta + group.identity()) <= 1e-13, regime
        if regime == "zero":
            np.testing.assert_array_equal(g, group.identity())
            np.testing.assert_array_equal(delta, 0)
        if regime == "tiny":
            assert np.abs(delta - xi).max() <= 10 * np.abs(xi).max() ** 2
        if a_map.stays_in(group) or regime != "singular":
            stays = a_map.stays_in(group) or group.is_open
            assert group.contains(g, 1e-12 * (1 + np.abs(g).max() ** 2)) or not stays, regime


@every_pair
def test_order(a_map: Map, group: Group, rng: np.random.Generator) -> None:
    xi = algebra_element(group.algebra, rng, "generic")
    if a_map.order == math.inf:
        np.testing.assert_array_equal(a_map.retract(group, xi), group.exp(xi))
        return
    errors = [
        np.abs(a_map.retract_minus_identity(group, h * xi) - group.exp_minus_identity(h * xi)).max()
        for h in (0.08, 0.04)
    ]
    if equals_exp(a_map, group):
        assert errors[0] <= 1e-15
        return
    slope = math.log2(errors[0] / errors[1])
    assert slope > a_map.order + 0.8
    if isinstance(group, (GLPlus, Hadamard)):
        assert slope < a_map.order + 1.2  # the order is not understated


def equals_exp(a_map: Map, group: Group) -> bool:
    """Whether a map that is not exp is exp on this group: series on translations, long ones on nilpotent matrices."""
    if isinstance(a_map, Bounded):
        return a_map.bound > 1e6  # c tanh(x / c) - x is x^3 / (3 c^2), far below rounding
    if isinstance(group, Additive):
        return True
    return isinstance(group, Unipotent) and a_map.order >= group.size - 1


@pytest.mark.parametrize("a_map", maps(), ids=name_of)
def test_values_on_numbers(a_map: Map, rng: np.random.Generator) -> None:
    """Each map on the positive numbers, from its formula: a new map has to be written down here."""
    x = np.array([-1.7, -0.9, -1e-3, 0.0, 0.4, 1.9])
    q, degree = x / 2, getattr(a_map, "degree", 0)
    formulas = {
        "exp": np.exp(x),
        "taylor": sum(x**k / math.factorial(k) for k in range(degree + 1)),
        "cayley": (1 + q) / (1 - q),
        "neumann": (1 + q) * sum(q**k for k in range(degree)),
        "bounded": np.exp(getattr(a_map, "bound", 1.0) * np.tanh(x / getattr(a_map, "bound", 1.0))),
    }
    np.testing.assert_allclose(a_map.retract(Hadamard(x.shape), x), formulas[a_map.name], rtol=1e-14)
    np.testing.assert_allclose(a_map.retract_minus_identity(Hadamard(x.shape), x), formulas[a_map.name] - 1, rtol=1e-12)


def test_bounded_keeps_every_exponent_inside_its_bound_and_ends_flat() -> None:
    for bound in (0.25, 1.0, 7.0):
        group, x = Hadamard((6,)), bound * np.array([-1e6, -400.0, -0.5, 0.5, 400.0, 1e6])
        g = Bounded(bound).retract(group, x)
        assert np.abs(np.log(g)).max() <= bound * (1 + 1e-15)
        x_bar = Bounded(bound).retract_vjp(group, x, g, np.ones(6))
        np.testing.assert_allclose(x_bar, g / np.cosh(np.clip(x / bound, -300, 300)) ** 2, rtol=1e-13)
        assert x_bar[0] == pytest.approx(0.0, abs=1e-250)


def candidates(group: Group, rng: np.random.Generator) -> list[np.ndarray]:
    """Algebra elements at which a truncated exponential is likely to leave the group."""
    if isinstance(group, Product):
        each = [candidates(part, rng) for part in group.parts]
        pieces = [[np.stack([x] * n) for x in found] for found, n in zip(each, group.copies, strict=True)]
        return [
            group.algebra.join([column[i % len(column)] for column in pieces]) for i in range(max(map(len, pieces)))
        ]
    found = [s * algebra_element(group.algebra, rng, "generic") for s in (0.1, 1.0, 3.0, 6.0) for _ in range(5)]
    shape = group.element_shape
    if len(shape) == 2 and shape[0] == shape[1]:
        turn = np.zeros(shape)
        turn[:2, :2] = [[-1.0, 1.0], [-1.0, -1.0]]  # eigenvalues -1 + i and -1 - i: 1 + x + x^2 / 2 is zero there
        for special in (turn, *(np.diag([x] + [0.0] * (shape[0] - 1)) for x in (-3.0, -2.0, 3.0))):
            found.append(group.algebra.project(special))
    return [*found, *(group.algebra.project(np.full(shape, x)) for x in (-3.0, -2.0))]


def leaves(a_map: Map, group: Group, xi: np.ndarray) -> bool:
    """Whether the map at xi is no element of the group; at its poles it is refused, which is no leaving."""
    calculus = group.calculus
    raw = {
        "exp": lambda: calculus.exp(xi),
        "taylor": lambda: calculus.taylor(xi, getattr(a_map, "degree", 1)),
        "cayley": lambda: calculus.cayley(xi),
        "neumann": lambda: calculus.polynomial(xi, getattr(a_map, "coefficients", ())),
        "bounded": lambda: calculus.exp(getattr(a_map, "bound", 1.0) * np.tanh(xi / getattr(a_map, "bound", 1.0))),
    }[a_map.name]
    try:
        g = raw()
    except DomainError:
        return False
    return not group.contains(g, 1e-11 * (1 + np.abs(g).max() ** 2))


@pytest.mark.parametrize("group", groups(), ids=name_of)
@pytest.mark.parametrize("a_map", maps(), ids=name_of)
def test_claims_to_stay_are_neither_too_strong_nor_too_weak(a_map: Map, group: Group, rng: np.random.Generator) -> None:
    elements = candidates(group, rng)
    left = [xi for xi in elements if leaves(a_map, group, xi)]
    if isinstance(a_map, Bounded) and a_map.bound > 1e6:
        return  # as good as exp, which leaves no group; tanh is what leaves sl
    assert a_map.stays_in(group) == (not left)
    if not a_map.legal_for(group):
        assert any(np.abs(xi).max() < 0.2 for xi in left), "an illegal map leaves the group also near e"


@every_pair
def test_vjp(a_map: Map, group: Group, rng: np.random.Generator) -> None:
    def vjp(x: np.ndarray, g_bar: np.ndarray) -> np.ndarray:
        return a_map.retract_vjp(group, x, a_map.retract(group, x), g_bar)

    for regime in REGIMES:
        limit = 1e-6 if isinstance(a_map, Cayley) and regime == "singular" else 1e-9
        xi, step = argument(group, rng, regime), 1e-3 if limit < 1e-6 else 1e-4
        assert adjoint_gap(lambda x: a_map.retract(group, x), vjp, xi, rng, step=step) <= limit, regime


@every_pair
def test_dtype(a_map: Map, group: Group, rng: np.random.Generator) -> None:
    xi = argument(group, rng, "generic").astype(np.float32)
    g = a_map.retract(group, xi)
    results = [g, a_map.retract_vjp(group, xi, g, g), a_map.retract_minus_identity(group, xi)]
    assert [r.dtype for r in results] == [np.float32] * 3


@pytest.mark.parametrize("a_map", maps(), ids=name_of)
def test_an_illegal_pair_is_refused(a_map: Map) -> None:
    for group in groups():
        if not a_map.legal_for(group):
            for call in (a_map.retract, a_map.retract_minus_identity):
                with pytest.raises(UnsupportedError):
                    call(group, np.zeros(group.element_shape))


def test_cayley_is_refused_where_it_leaves_the_group() -> None:
    assert Cayley().legal_for(SL(2))
    assert not Cayley().legal_for(SL(3))
    with pytest.raises(UnsupportedError, match="Cayley"):
        Cayley().retract(SL(3), np.zeros((3, 3)))


def test_odd_taylor_leaves_the_positive_numbers_and_even_does_not() -> None:
    group, xi = Hadamard((3,)), np.array([-1.0, -2.0, 0.5])
    assert not group.contains(Taylor(1).retract(group, xi))
    assert not group.contains(Taylor(3).retract(group, np.array([-1.7, -2.0, -3.0])))
    assert group.contains(Taylor(2).retract(group, 100 * xi))


def test_cayley_neumann_is_off_by_the_power_of_the_norm(rng: np.random.Generator) -> None:
    """cayley(xi) (1 - q^k) for q = xi / 2: ||q||^k away from it, singular at ||q|| = 1 where 4 | k."""
    skew = rng.standard_normal((5, 5))
    skew = (skew - skew.T) / np.linalg.norm(skew - skew.T, 2)
    for k, norm in itertools.product((2, 3, 4, 7), (0.1, 0.9, 1.0, 3.0)):
        g = CayleyNeumann(k).retract(GLPlus(5), 2 * norm * skew)
        exact = Cayley().retract(SO(5), 2 * norm * skew)
        np.testing.assert_allclose(np.linalg.norm(g - exact, 2), norm**k, rtol=1e-12, atol=1e-14)
        assert np.abs(np.linalg.svd(g, compute_uv=False) - 1).max() <= norm**k * (1 + 1e-12) + 1e-14
        assert (abs(np.linalg.det(g)) < 1e-14) == (k % 4 == 0 and norm == 1)


@pytest.mark.parametrize("a_map", maps(), ids=name_of)
def test_spec_round_trips(a_map: Map) -> None:
    assert make_map(a_map.spec) == a_map
    assert make_map("bounded") == Bounded(1.0), "lieref/param/README.md: no weight changes by more than e^c"


@pytest.mark.parametrize("spec", ["", "tailor", "exp2", "taylor", "taylor0", "taylor21", "cayley3", "neumann1",
                                  "neumann21", "bounded(x)", "bounded(0)", "bounded(-1)", "bounded(inf)",
                                  "exp(1)"])  # fmt: skip
def test_bad_specs(spec: str) -> None:
    if spec == "taylor":
        assert make_map(spec) == Taylor(1)
    else:
        with pytest.raises(LierefError):
            make_map(spec)


@pytest.mark.parametrize(
    ("spec", "value"),
    [("exp", 710.0), ("bounded(800)", 5000.0), ("taylor2", 1e200), ("neumann4", 1e200), ("cayley", 2.0)],
)
def test_a_result_that_does_not_exist_is_an_error(spec: str, value: float) -> None:
    for group, xi in ((Hadamard((1,)), np.array([value])), (GLPlus(2), value * np.eye(2))):
        with pytest.raises(DomainError):
            make_map(spec).retract(group, xi)


def test_names_are_the_keys() -> None:
    assert all(cls.name == key for key, cls in MAPS.items())
