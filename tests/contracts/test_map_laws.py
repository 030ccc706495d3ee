"""Every map on every group it is legal for: value and slope at zero, order, VJP, membership."""

import math

import numpy as np
import pytest

from lieref.errors import DomainError, LierefError, UnsupportedError
from lieref.group.base import Group
from lieref.group.maps import Cayley, Map, Taylor
from lieref.group.matrix import SL, GLPlus
from lieref.group.registry import MAPS, make_map
from lieref.group.tensor import Hadamard
from lieref.numerics.gradcheck import adjoint_gap
from tests.contracts.lie_cases import REGIMES, algebra_element, gap, groups, maps, name_of

PAIRS = [(m, g) for m in maps() for g in groups() if m.legal_for(g)]
every_pair = pytest.mark.parametrize(("a_map", "group"), PAIRS, ids=name_of)
every_regime = pytest.mark.parametrize("regime", REGIMES)


def argument(group: Group, rng: np.random.Generator, regime: str) -> np.ndarray:
    """An algebra element; "singular" is near the pole 2 of the Cayley map and the root -1 of 1 + x."""
    xi = algebra_element(group.algebra, rng, regime)
    return xi / 3.1 * 1.9 if regime == "singular" else xi / 2


@every_pair
@every_regime
def test_value_and_delta(a_map: Map, group: Group, regime: str, rng: np.random.Generator) -> None:
    xi = argument(group, rng, regime)
    g, delta = a_map.retract(group, xi), a_map.retract_minus_identity(group, xi)
    assert gap(g, delta + group.identity()) <= 1e-13
    if regime == "zero":
        np.testing.assert_array_equal(g, group.identity())
        np.testing.assert_array_equal(delta, 0)
    if regime == "tiny":
        assert np.abs(delta - xi).max() <= 10 * np.abs(xi).max() ** 2
    if a_map.stays_in(group) or regime != "singular":
        stays = a_map.stays_in(group) or group.is_open
        assert group.contains(g, 1e-12 * (1 + np.abs(g).max() ** 2)) or not stays


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
    if errors[1] <= 1e-15:
        return  # exact: translations, nilpotent matrices
    slope = math.log2(errors[0] / errors[1])
    assert slope > a_map.order + 0.8
    if isinstance(group, (GLPlus, Hadamard)):
        assert slope < a_map.order + 1.2  # the order is not understated


@every_pair
@every_regime
def test_vjp(a_map: Map, group: Group, regime: str, rng: np.random.Generator) -> None:
    xi = argument(group, rng, regime)

    def vjp(x: np.ndarray, g_bar: np.ndarray) -> np.ndarray:
        return a_map.retract_vjp(group, x, a_map.retract(group, x), g_bar)

    limit = 1e-6 if isinstance(a_map, Cayley) and regime == "singular" else 1e-9
    assert adjoint_gap(lambda x: a_map.retract(group, x), vjp, xi, rng, step=1e-3 if limit < 1e-6 else 1e-4) <= limit


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


@pytest.mark.parametrize("a_map", maps(), ids=name_of)
def test_spec_round_trips(a_map: Map) -> None:
    assert make_map(a_map.spec) == a_map


@pytest.mark.parametrize("spec", ["", "tailor", "exp2", "taylor", "taylor0", "taylor21", "cayley3", "bounded(x)",
                                  "bounded(0)", "bounded(-1)", "bounded(inf)", "exp(1)"])  # fmt: skip
def test_bad_specs(spec: str) -> None:
    if spec == "taylor":
        assert make_map(spec) == Taylor(1)
    else:
        with pytest.raises(LierefError):
            make_map(spec)


@pytest.mark.parametrize(
    ("spec", "value"), [("exp", 710.0), ("bounded(800)", 5000.0), ("taylor2", 1e200), ("cayley", 2.0)]
)
def test_a_result_that_does_not_exist_is_an_error(spec: str, value: float) -> None:
    for group, xi in ((Hadamard((1,)), np.array([value])), (GLPlus(2), value * np.eye(2))):
        with pytest.raises(DomainError):
            make_map(spec).retract(group, xi)


def test_names_are_the_keys() -> None:
    assert all(cls.name == key for key, cls in MAPS.items())
