"""Unfolding, folding and mode products against einsum and as adjoint pairs."""

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, ShapeError
from lieref.numerics.gradcheck import adjoint_gap
from lieref.numerics.mode import (
    fold,
    fold_vjp,
    mode_dot,
    mode_dot_vjp,
    multi_mode_dot,
    multi_mode_dot_vjp,
    unfold,
    unfold_vjp,
)

SHAPE = (2, 3, 4, 5)
EINSUM = ["zj,jbcd->zbcd", "zj,ajcd->azcd", "zj,abjd->abzd", "zj,abcj->abcz"]


@pytest.mark.parametrize("mode", range(4))
def test_fold_undoes_unfold(mode: int, rng: np.random.Generator) -> None:
    x = rng.standard_normal(SHAPE)
    flat = unfold(x, mode)
    assert flat.shape == (SHAPE[mode], x.size // SHAPE[mode])
    np.testing.assert_array_equal(fold(flat, mode, SHAPE), x)
    np.testing.assert_array_equal(unfold_vjp(SHAPE, mode, flat), x)
    np.testing.assert_array_equal(fold_vjp(mode, x), flat)


def test_unfold_keeps_the_order_of_the_other_axes() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(unfold(x, 1)[1], [4, 5, 6, 7, 16, 17, 18, 19])


@pytest.mark.parametrize("mode", range(4))
def test_mode_dot_is_the_definition(mode: int, rng: np.random.Generator) -> None:
    x, m = rng.standard_normal(SHAPE), rng.standard_normal((7, SHAPE[mode]))
    np.testing.assert_allclose(mode_dot(x, m, mode), np.einsum(EINSUM[mode], m, x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("mode", range(4))
def test_mode_dot_vjp_is_the_adjoint(mode: int, rng: np.random.Generator) -> None:
    point = {"x": rng.standard_normal(SHAPE), "m": rng.standard_normal((7, SHAPE[mode]))}
    gap = adjoint_gap(
        lambda p: mode_dot(p["x"], p["m"], mode),
        lambda p, y_bar: dict(zip("xm", mode_dot_vjp(p["x"], p["m"], mode, y_bar), strict=True)),
        point,
        rng,
    )
    assert gap < 1e-11


def test_tucker_form_and_its_vjp(rng: np.random.Generator) -> None:
    core, modes = rng.standard_normal((2, 3, 4)), [0, 2]
    point = {"core": core, "a": rng.standard_normal((5, 2)), "b": rng.standard_normal((6, 4))}
    y = multi_mode_dot(core, [point["a"], point["b"]], modes)
    np.testing.assert_allclose(y, np.einsum("zi,ijk,yk->zjy", point["a"], core, point["b"]), rtol=0, atol=1e-13)

    def vjp(p: dict, y_bar: np.ndarray) -> dict:
        core_bar, (a_bar, b_bar) = multi_mode_dot_vjp(p["core"], [p["a"], p["b"]], modes, y_bar)
        return {"core": core_bar, "a": a_bar, "b": b_bar}

    assert adjoint_gap(lambda p: multi_mode_dot(p["core"], [p["a"], p["b"]], modes), vjp, point, rng) < 1e-11


def test_bad_operands(rng: np.random.Generator) -> None:
    x = rng.standard_normal(SHAPE)
    with pytest.raises(ShapeError, match="columns"):
        mode_dot(x, np.eye(7), 1)
    with pytest.raises(DTypeError):
        mode_dot(x, np.eye(3, dtype=np.float32), 1)
    with pytest.raises(DomainError, match="mode"):
        mode_dot(x, np.eye(3), 4)
    with pytest.raises(ShapeError):
        fold(np.zeros((3, 3)), 0, SHAPE)
