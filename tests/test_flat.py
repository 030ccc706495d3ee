"""Arrays in one memory: found, used at once by the optimiser, and not trusted once a name stands for another array."""

from __future__ import annotations

import numpy as np
import pytest

from lieref._flat import FlatParams, gather, in_place
from lieref.errors import DTypeError, ShapeError
from lieref.train.optimizer import SGD, AdamW, Optimizer


def arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"a": rng.standard_normal((2, 3)), "b": rng.standard_normal(4), "c": rng.standard_normal((1, 1))}


def test_gathered_arrays_are_views_of_one_copy(rng: np.random.Generator) -> None:
    params = arrays(rng)
    flat = gather(params)
    assert list(flat) == list(params)
    for name, array in params.items():
        np.testing.assert_array_equal(flat[name], array)
        assert np.shares_memory(flat[name], flat.flat)
        assert not np.shares_memory(flat[name], array)


def test_successive_views_are_found(rng: np.random.Generator) -> None:
    flat = gather(arrays(rng))
    found = in_place({name: flat[name] for name in ("b", "c")})
    assert isinstance(found, FlatParams)
    assert np.shares_memory(found.flat, flat.flat)
    np.testing.assert_array_equal(found.flat, flat.flat[6:])


@pytest.mark.parametrize("names", [("b", "a"), ("a", "c"), ("a", "a")])
def test_other_orders_are_left_as_they_are(rng: np.random.Generator, names: tuple[str, str]) -> None:
    flat = gather(arrays(rng))
    assert not isinstance(in_place({str(i): flat[name] for i, name in enumerate(names)}), FlatParams)
    assert not isinstance(in_place(arrays(rng)), FlatParams)
    assert in_place({}) == {}


@pytest.mark.parametrize("optimizer", [AdamW(weight_decay=0.1), SGD(weight_decay=0.1)])
def test_one_memory_changes_no_bit(rng: np.random.Generator, optimizer: Optimizer) -> None:
    params, grads = arrays(rng), [arrays(rng) for _ in range(3)]
    flat, one, other = gather(params), optimizer.fresh(), optimizer.fresh()
    for gradient in grads:
        one.step(params, gradient, 0.1)
        other.step(flat, gather(gradient), 0.1)
    for name, array in params.items():
        np.testing.assert_array_equal(flat[name], array)
    assert one.state().keys() == other.state().keys()


def test_other_names_and_shapes_of_one_memory(rng: np.random.Generator) -> None:
    flat = gather(arrays(rng))
    for shapes in ((("x", (2, 3)), ("y", (4,)), ("z", (1, 1))), (("x", (6,)), ("y", (2, 2)), ("z", ()))):
        other = flat.renamed(shapes)
        assert list(other) == ["x", "y", "z"]
        assert other.whole()
        assert tuple((name, array.shape) for name, array in other.items()) == shapes == other.shapes
        for array, same in zip(other.values(), flat.values(), strict=True):
            assert np.shares_memory(array, same)
            np.testing.assert_array_equal(array.ravel(), same.ravel())


def test_an_array_put_in_its_place_is_used(rng: np.random.Generator) -> None:
    flat, gradient = gather(arrays(rng)), gather(arrays(rng))
    expected = flat["b"].copy()
    gradient["b"] = np.zeros(4)
    SGD(momentum=0.0).step(flat, gradient, 0.1)
    np.testing.assert_array_equal(flat["b"], expected)


def test_what_does_not_match_is_refused(rng: np.random.Generator) -> None:
    flat = gather(arrays(rng))
    before = flat.flat.copy()
    with pytest.raises(ShapeError, match="b"):
        AdamW().step(flat, gather({**arrays(rng), "b": np.ones(5)}), 0.1)
    with pytest.raises(DTypeError):
        AdamW().step(flat, gather({k: v.astype(np.float32) for k, v in flat.items()}), 0.1)
    np.testing.assert_array_equal(flat.flat, before)
