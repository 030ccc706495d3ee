"""Groups, maps and actions built from text, in the sizes a weight needs, and what is refused."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, DTypeError, NotInGroupError, ShapeError, UnsupportedError
from lieref.group.action import ElementWise, ScaleMode
from lieref.group.matrix import SE, SL, SO, AffineGroup, GLPlus, Sp, Unipotent
from lieref.group.mode_action import AffineOnOut, Conjugation, MatrixOnMode, OnModes
from lieref.group.product import Product
from lieref.group.registry import make_action, make_group, make_map
from lieref.group.tensor import Additive, Hadamard, Scaling

WEIGHT = (8, 6, 3, 5)


@pytest.mark.parametrize(
    ("group", "spec", "conv_groups", "member", "xi_shape"),
    [
        ("additive", "element-wise", 1, Additive(WEIGHT), WEIGHT),
        ("hadamard", "element-wise", 2, Hadamard(WEIGHT), WEIGHT),
        ("scaling", "scaling", 2, Scaling((8,)), (8,)),
        ("scaling", "scaling(in)", 2, Scaling((12,)), (12,)),
        ("scaling", "scaling(kernel)", 2, Scaling((15,)), (15,)),
        ("gl", "out", 1, GLPlus(8), (8, 8)),
        ("so", "out", 2, SO(4), (2, 4, 4)),
        ("so", "in", 2, SO(6), (2, 6, 6)),
        ("sl", "rows", 2, SL(3), (3, 3)),
        ("so", "columns", 1, SO(5), (5, 5)),
        ("gl", "kernel", 1, GLPlus(15), (15, 15)),
        ("so", "fan-in/9", 2, SO(10), (18, 10, 10)),
        ("sp", "out+bias", 1, Sp(8), (8, 8)),
        ("unipotent", "in", 1, Unipotent(6), (6, 6)),
        ("affine", "affine", 1, AffineGroup(9), (9, 9)),
        ("se", "affine", 2, SE(5), (2, 5, 5)),
        ("so", "out*in", 2, Product((SO(4), SO(6)), (2, 2)), (2 * 16 + 2 * 36,)),
        ("so*gl", "rows*columns", 1, Product((SO(3), GLPlus(5)), (1, 1)), (9 + 25,)),
    ],
)
def test_sizes(group: str, spec: str, conv_groups: int, member: object, xi_shape: tuple) -> None:
    action = make_action(spec, group)
    assert action.spec == spec
    assert make_group(group, action, WEIGHT, conv_groups) == member
    assert action.algebra_shape(WEIGHT, conv_groups) == xi_shape


@pytest.mark.parametrize(
    ("group", "spec", "shape", "conv_groups", "error"),
    [
        ("so", "out", (6, 1, 3, 3), 6, ShapeError),  # depthwise: one output in each conv group
        ("so", "in", (6, 1, 3, 3), 6, ShapeError),
        ("gl", "rows", (4, 3, 1, 5), 1, ShapeError),
        ("gl", "rows", (4, 3, 5), 1, ShapeError),
        ("gl", "kernel", (4, 3), 1, ShapeError),
        ("sp", "out", (5, 3), 1, ShapeError),
        ("so", "out/3", (8, 3), 1, ShapeError),
        ("so", "conjugation", (4, 3), 1, ShapeError),
        ("so", "out", (8,), 1, ShapeError),
        ("so", "out", (9, 4), 2, ShapeError),
        ("so", "out", (0, 4), 1, ShapeError),
        ("product", "out", (4, 4), 1, UnsupportedError),
        ("hadamard", "out", (4, 4), 1, UnsupportedError),
        ("so", "element-wise", (4, 4), 1, UnsupportedError),
        ("so", "scaling", (4, 3), 1, ShapeError),
        ("affine", "out", (4, 4), 1, UnsupportedError),
        ("so", "affine", (4, 4), 1, UnsupportedError),
        ("scaling", "element-wise", (4,), 1, ShapeError),
        ("so*gl", "out", (4, 4), 1, UnsupportedError),
        ("so*gl*sl", "out*in", (4, 4), 1, DomainError),
        ("su", "out", (4, 4), 1, DomainError),
    ],
)
def test_refused_combinations(group: str, spec: str, shape: tuple, conv_groups: int, error: type[Exception]) -> None:
    with pytest.raises(error, match="must"):
        make_group(group, make_action(spec, group), shape, conv_groups)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "outer",
        "in+bias",
        "out+weight",
        "scaling(up)",
        "out*out",
        "kernel*rows",
        "fan-in*in",
        "out*scaling",
        "out+bias*in",
        "fan-in/0",
        "element-wise+bias",
    ],
)
def test_bad_action_specs(spec: str) -> None:
    with pytest.raises(DomainError):
        make_action(spec)


@pytest.mark.parametrize("spec", [None, 1e-320, True, ["out"], {}])
def test_what_is_no_text_is_refused(spec: Any) -> None:
    for make in (make_action, make_map):
        with pytest.raises(DTypeError, match="must be text"):
            make(spec)


def test_each_action_is_built() -> None:
    assert make_action("element-wise", "additive") == ElementWise("add")
    assert make_action("element-wise", strict=True) == ElementWise(strict=True)
    assert make_action("scaling+bias") == ScaleMode("out", with_bias=True)
    assert make_action("conjugation") == Conjugation()
    assert make_action("affine") == AffineOnOut()
    assert make_action("in*rows/2") == OnModes((MatrixOnMode("in"), MatrixOnMode("rows", blocks=2)))


def test_sizes_that_no_group_has() -> None:
    for cls in (GLPlus, SL, SO, Unipotent, AffineGroup):
        with pytest.raises(ShapeError, match="at least 2"):
            cls(1)
    with pytest.raises(ShapeError, match="at least 3"):
        SE(2)
    for size in (3, 5):
        with pytest.raises(ShapeError, match="even"):
            Sp(size)
    with pytest.raises(DTypeError):
        SO(2.0)
    with pytest.raises(DomainError):
        Hadamard((3, 0))
    with pytest.raises(DomainError):
        Product((SO(2),), ())


def test_the_registry_needs_no_compiler() -> None:
    code = "import sys, lieref.group.registry; sys.exit(bool({'numba', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_zero_weights() -> None:
    weight = np.array([[1.0, 0.0], [-2.0, 0.0]])
    g, bar = np.full((2, 2), 3.0), np.ones((2, 2))
    action = make_action("element-wise", "hadamard")
    assert isinstance(action, ElementWise)
    assert action.fixed_points(weight) == 2
    np.testing.assert_array_equal(action.act(g, weight), [[3, 0], [-6, 0]])
    np.testing.assert_array_equal(action.act_vjp(g, weight, 1, bar), weight)
    strict = make_action("element-wise", "hadamard", strict=True)
    for call in (lambda: strict.act(g, weight), lambda: strict.act_vjp(g, weight, 1, bar),
                 lambda: strict.act_delta(g, weight)):  # fmt: skip
        with pytest.raises(NotInGroupError, match="2 zeros"):
            call()
    np.testing.assert_array_equal(strict.act(g, weight + 1), 3 * (weight + 1))
    added = make_action("element-wise", "additive", strict=True)
    np.testing.assert_array_equal(added.act(g, weight), weight + 3)


def test_bad_operands_of_actions() -> None:
    weight = np.ones((4, 3))
    for spec in ("element-wise", "scaling", "out", "in", "affine", "out*in"):
        action = make_action(spec)
        with pytest.raises(ShapeError, match="`g`"):
            action.act(np.ones((7, 7)), weight)
    with pytest.raises(DomainError, match="`weight`"):
        make_action("out").act(np.eye(4), weight * np.nan)
    with pytest.raises(ShapeError, match="weight_bar"):
        make_action("out").act_vjp(np.eye(4), weight, 1, np.ones((3, 4)))


def test_conjugation_by_a_singular_matrix_is_refused(rng: np.random.Generator) -> None:
    """A truncated exponential can be singular; -e is what it leaves of the identity."""
    action, weight = Conjugation(), rng.standard_normal((3, 3))
    with pytest.raises(NotInGroupError, match="invertible"):
        action.act(np.zeros((3, 3)), weight)
    with pytest.raises(NotInGroupError, match="invertible"):
        action.act_vjp(np.zeros((3, 3)), weight, 1, weight)
    with pytest.raises(NotInGroupError, match="invertible"):
        action.act_delta(-np.eye(3), weight)
