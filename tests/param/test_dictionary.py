"""Sparse codes: the conditions of a least objective, and what a dictionary finds."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lieref.param.dictionary import lasso, learned_codes
from lieref.param.registry import get_method


def unit_rows(rng: np.random.Generator, m: int, k: int) -> np.ndarray:
    """Unit rows with angles of about 70 to 110 degrees, over which descent settles in a few turns."""
    rows = np.linalg.qr(rng.standard_normal((k, k)))[0][:m] + 0.15 * rng.standard_normal((m, k))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("sparsity", [1e-3, 0.1, 0.7])
@pytest.mark.parametrize(("n", "m", "k"), [(30, 4, 7), (20, 6, 6), (1, 1, 3)])
def test_codes_meet_the_conditions_of_the_lasso(
    n: int, m: int, k: int, sparsity: float, rng: np.random.Generator
) -> None:
    """With R = X - Z D and c = R D^T: c = sparsity sign(z) where z is not zero, |c| <= sparsity where it is."""
    x, atoms = rng.standard_normal((n, k)), unit_rows(rng, m, k)
    z = lasso(x, atoms, sparsity, np.zeros((n, m)))
    c = (x - z @ atoms) @ atoms.T
    # Descent ends when no code changes by more than 1e-9 of the largest, after 50 turns at the latest.
    np.testing.assert_allclose(c[z != 0], sparsity * np.sign(z[z != 0]), atol=1e-6)
    assert np.abs(c[z == 0]).max(initial=0.0) <= sparsity + 1e-6
    assert (z == 0).any() or sparsity < 0.7 or n == 1
    again = lasso(x, atoms, sparsity, z)
    np.testing.assert_allclose(again, z, atol=1e-7)


def test_codes_over_orthonormal_atoms_are_shrunken_products(rng: np.random.Generator) -> None:
    atoms = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    x = rng.standard_normal((9, 5))
    along = x @ atoms.T
    expected = np.sign(along) * np.maximum(np.abs(along) - 0.3, 0.0)
    np.testing.assert_allclose(lasso(x, atoms, 0.3, np.zeros((9, 5))), expected, atol=1e-12)


def test_vectors_of_two_patterns_are_coded_over_two_atoms(rng: np.random.Generator) -> None:
    patterns, mixture = rng.standard_normal((2, 9)), rng.standard_normal((300, 2))
    x = mixture @ patterns
    codes = learned_codes(x, 2, 1e-3, rng)
    atoms = np.linalg.lstsq(codes, x, rcond=None)[0]
    assert np.linalg.norm(codes @ atoms - x) <= 1e-2 * np.linalg.norm(x)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1.0, atol=1e-2)


def test_more_vectors_than_are_learned_from_are_all_coded(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2500, 4))
    codes = learned_codes(x, 4, 1e-3, np.random.default_rng(7))
    assert codes.shape == (2500, 4)
    atoms = np.linalg.lstsq(codes, x, rcond=None)[0]
    assert np.abs(codes @ atoms - x).max() <= 0.05 * np.abs(x).max()
    np.testing.assert_array_equal(codes, learned_codes(x, 4, 1e-3, np.random.default_rng(7)))


def test_more_atoms_than_numbers(rng: np.random.Generator) -> None:
    x = rng.standard_normal((40, 3))
    codes = learned_codes(x, 7, 0.05, rng)
    assert codes.shape == (40, 7)
    assert (np.count_nonzero(codes, axis=1) < 7).all()


@pytest.mark.parametrize("name", ["atoms", "atoms-recursive", "liera-atoms"])
def test_filter_atoms_need_no_package_beyond_the_core(
    name: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    base = rng.standard_normal((6, 4, 2, 3))
    params = get_method(name, m=3).init(base.shape, 1, rng, base_weight=base)
    assert params["coefficients"].any()
