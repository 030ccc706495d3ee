"""Actions by matrices: on one mode of a weight, by conjugation, on weight with bias, and on several modes at once."""

from __future__ import annotations

import math
from typing import ClassVar, Self, TypeAlias

import numpy as np

from lieref._check import check_float, check_int, check_shape
from lieref._record import dataclass
from lieref._types import FloatArray, Shape
from lieref.algebra.matrix import transpose
from lieref.errors import DomainError, NotInGroupError, ShapeError
from lieref.group.action import Action
from lieref.group.base import Group
from lieref.group.matrix import SE, SL, SO, AffineGroup, MatrixGroup, Sp, Unipotent
from lieref.group.mode import check_mode, mode_view
from lieref.group.product import Product

View: TypeAlias = tuple[int, int, int, int, int]
"""Conv groups, lead, blocks, size, trail: reshaped so, a weight has a block of the mode on axis 3."""


@dataclass(frozen=True)
class MatrixOnMode(Action):
    """W'[.., i, ..] = sum_j g[i, j] W[.., j, ..] on one mode.

    There is one matrix for each conv group on the out, in and fan-in modes, and with `blocks` > 1 the mode is cut into
    that many equal pieces with a matrix each, as in block-diagonal OFT [Qiu23]: xi is (matrices, n, n), or (n, n) for
    one. With `with_bias` the out mode moves the bias too: the outputs of the layer are mixed.
    """

    mode: str = "out"
    with_bias: bool = False
    blocks: int = 1
    name: ClassVar[str] = "matrix"

    def __post_init__(self) -> None:
        check_mode("MatrixOnMode", self.mode, self.with_bias)
        check_int("MatrixOnMode", "blocks", self.blocks, low=1)

    @property
    def spec(self) -> str:
        return f"{self.mode}{f'/{self.blocks}' if self.blocks > 1 else ''}{'+bias' if self.with_bias else ''}"

    @property
    def equation(self) -> str:
        blocks = f", in {self.blocks} equal blocks with a g each" if self.blocks > 1 else ""
        bias = "; b' = g b" if self.with_bias else ""
        return f"W'[.., i, ..] = sum_j g[i, j] W[.., j, ..], i and j on the mode {self.mode}{blocks}{bias}"

    @property
    def moves_bias(self) -> bool:
        return self.with_bias

    def algebra_shape(self, weight_shape: Shape, groups: int = 1) -> Shape:
        count, _, blocks, size, _ = self._view(weight_shape, groups)
        if size < 2:
            raise ShapeError(
                f"MatrixOnMode: `weight` must have at least 2 indices in each block of the mode {self.spec!r}; "
                f"got shape {weight_shape} and groups {groups}"
            )
        return (size, size) if count * blocks == 1 else (count * blocks, size, size)

    def act(self, g: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        weight = check_float("MatrixOnMode", "weight", weight)
        view = self._view(weight.shape, groups)
        check_shape("MatrixOnMode", "g", g, self.algebra_shape(weight.shape, groups))
        return _fold(g @ _unfold(weight, view), view, weight.shape)

    # With M the unfolding of a block: M' = g M, so g_bar = M'_bar M^T.
    def act_vjp(self, g: FloatArray, weight: FloatArray, groups: int, weight_bar: FloatArray) -> FloatArray:
        view = self._view(weight.shape, groups)
        check_shape("MatrixOnMode", "weight_bar", weight_bar, weight.shape)
        return (_unfold(weight_bar, view) @ transpose(_unfold(weight, view))).reshape(g.shape)

    def act_delta(self, g_minus_e: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        return self.act(g_minus_e, weight, groups)

    def act_bias(self, g: FloatArray, bias: FloatArray, groups: int = 1) -> FloatArray:
        return self.act(g, bias[:, None], groups)[:, 0] if self.with_bias else bias

    def act_bias_vjp(self, g: FloatArray, bias: FloatArray, groups: int, bias_bar: FloatArray) -> FloatArray:
        if not self.with_bias:
            return np.zeros_like(g)
        return self.act_vjp(g, bias[:, None], groups, bias_bar[:, None])

    def unfoldings(self, weight: FloatArray, groups: int = 1) -> FloatArray:
        """Return what each matrix multiplies from the left, (matrices, n, rest)."""
        return _unfold(weight, self._view(weight.shape, groups))

    def legal_for(self, group: Group) -> bool:
        return isinstance(group, MatrixGroup) and not isinstance(group, (AffineGroup, SE))

    def preserves(self, group: Group) -> frozenset[str]:
        # One matrix on one axis multiplies every unfolding by an invertible matrix; one on several axes mixes them.
        one_axis = self.blocks == 1 and self.mode not in ("kernel", "fan-in")
        kept = {"multilinear rank"} if one_axis else set()
        if isinstance(group, (SO, SL, Sp, Unipotent)):
            kept |= {"determinant"}
        if isinstance(group, SO):
            kept |= {"gram matrix"} | ({"singular values"} if one_axis else set())
            kept |= {"filter norms", "filter angles"} if self.mode != "out" else set()
        if isinstance(group, Sp):
            kept |= {"symplectic form"}
        return frozenset(kept)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        modes = ("out", "in", "rows", "columns", "kernel", "fan-in")
        return (*(cls(mode) for mode in modes), cls(with_bias=True), cls("fan-in", blocks=2))

    def _view(self, weight_shape: Shape, groups: int) -> View:
        count, lead, size, trail = mode_view("MatrixOnMode", self.mode, weight_shape, groups)
        if size % self.blocks:
            raise ShapeError(
                f"MatrixOnMode: `weight` must have a multiple of {self.blocks} indices on the mode {self.mode!r}; "
                f"got {size}"
            )
        return count, lead, self.blocks, size // self.blocks, trail


@dataclass(frozen=True)
class Conjugation(Action):
    """W'[:, :, u] = g W[:, :, u] g^-1 at each kernel position, where a conv group has as many outputs as inputs.

    The change of basis of a feature space that the layer maps to itself.
    """

    name: ClassVar[str] = "conjugation"

    @property
    def spec(self) -> str:
        return self.name

    @property
    def equation(self) -> str:
        return "W'[:, :, u] = g W[:, :, u] g^-1 at each kernel position u"

    def algebra_shape(self, weight_shape: Shape, groups: int = 1) -> Shape:
        count, _, size, _ = mode_view("Conjugation", "out", weight_shape, groups)
        if size != weight_shape[1] or size < 2:
            raise ShapeError(
                "Conjugation: `weight` must have as many outputs as inputs in each conv group, at least 2; "
                f"got shape {weight_shape} and groups {groups}"
            )
        return (size, size) if count == 1 else (count, size, size)

    def act(self, g: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        m, g = self._operands(g, weight, groups)
        return self._weight(g @ m @ _inverse(g), weight.shape)

    # M' = g M g^-1: dM' = dg M g^-1 - M' dg g^-1, so with H = M'_bar g^-T: g_bar = H M^T - M'^T H, over all positions.
    def act_vjp(self, g: FloatArray, weight: FloatArray, groups: int, weight_bar: FloatArray) -> FloatArray:
        m, matrices = self._operands(g, weight, groups)
        inverse = _inverse(matrices)
        m_bar, _ = self._operands(g, weight_bar, groups)
        h = m_bar @ transpose(inverse)
        g_bar = h @ transpose(m) - transpose(matrices @ m @ inverse) @ h
        total: FloatArray = g_bar.sum(axis=1).reshape(g.shape)
        return total

    # g M g^-1 - M = (D M - M D) g^-1 with D = g - e.
    def act_delta(self, g_minus_e: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        m, d = self._operands(g_minus_e, weight, groups)
        inverse = _inverse(d + np.eye(d.shape[-1], dtype=d.dtype))
        return self._weight((d @ m - m @ d) @ inverse, weight.shape)

    def legal_for(self, group: Group) -> bool:
        return isinstance(group, MatrixGroup) and not isinstance(group, (AffineGroup, SE))

    def preserves(self, group: Group) -> frozenset[str]:
        # g on the out axis and g^-T on the in axis: both invertible, and both rotations where g is.
        kept = {"eigenvalues", "multilinear rank"}
        return frozenset(kept | {"singular values"} if isinstance(group, SO) else kept)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return (cls(),)

    def _operands(self, g: FloatArray, weight: FloatArray, groups: int) -> tuple[FloatArray, FloatArray]:
        """Return the weight as (conv groups, positions, n, n) and g as (conv groups, 1, n, n)."""
        weight = check_float("Conjugation", "weight", weight)
        check_shape("Conjugation", "g", g, self.algebra_shape(weight.shape, groups))
        n = weight.shape[1]
        m = np.moveaxis(weight.reshape(groups, n, n, -1), 3, 1)
        return m, g.reshape(groups, 1, n, n)

    def _weight(self, m: FloatArray, shape: Shape) -> FloatArray:
        return np.ascontiguousarray(np.moveaxis(m, 1, 3)).reshape(shape)


@dataclass(frozen=True)
class AffineOnOut(Action):
    """W' = A W and b' = A b + t on the out mode: the outputs y of the layer become A y + t.

    g holds [[A, t], [0, 1]] of size n + 1 for each conv group of n outputs.
    """

    name: ClassVar[str] = "affine"

    @property
    def spec(self) -> str:
        return self.name

    @property
    def equation(self) -> str:
        return "W' = A W on the mode out; b' = A b + t, with g = [[A, t], [0, 1]]"

    @property
    def moves_bias(self) -> bool:
        return True

    @property
    def shifts_bias(self) -> bool:
        return True

    def algebra_shape(self, weight_shape: Shape, groups: int = 1) -> Shape:
        shape = MatrixOnMode().algebra_shape(weight_shape, groups)
        return (*shape[:-2], shape[-2] + 1, shape[-1] + 1)

    def act(self, g: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        return MatrixOnMode().act(g[..., :-1, :-1], weight, groups)

    def act_vjp(self, g: FloatArray, weight: FloatArray, groups: int, weight_bar: FloatArray) -> FloatArray:
        g_bar = np.zeros_like(g)
        g_bar[..., :-1, :-1] = MatrixOnMode().act_vjp(g[..., :-1, :-1], weight, groups, weight_bar)
        return g_bar

    def act_delta(self, g_minus_e: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        return self.act(g_minus_e, weight, groups)

    def act_bias(self, g: FloatArray, bias: FloatArray, groups: int = 1) -> FloatArray:
        linear = MatrixOnMode(with_bias=True).act_bias(g[..., :-1, :-1], bias, groups)
        return linear + g[..., :-1, -1].reshape(-1)

    # b' = A b + t: A_bar = b'_bar b^T, t_bar = b'_bar.
    def act_bias_vjp(self, g: FloatArray, bias: FloatArray, groups: int, bias_bar: FloatArray) -> FloatArray:
        g_bar = np.zeros_like(g)
        g_bar[..., :-1, :-1] = MatrixOnMode(with_bias=True).act_bias_vjp(g[..., :-1, :-1], bias, groups, bias_bar)
        g_bar[..., :-1, -1] = bias_bar.reshape(*g.shape[:-2], g.shape[-1] - 1)
        return g_bar

    def legal_for(self, group: Group) -> bool:
        return isinstance(group, (AffineGroup, SE))

    def preserves(self, group: Group) -> frozenset[str]:
        linear = SO(group.size - 1) if isinstance(group, SE) else None
        return MatrixOnMode().preserves(linear) if linear else frozenset({"multilinear rank"})

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return (cls(),)


@dataclass(frozen=True)
class OnModes(Action):
    """One matrix on each of several distinct modes, W' = W x_1 g_1 x_2 g_2 ...; they commute.

    xi and g are vectors: the entries of the matrices of the first mode, then of the second, and so on.
    """

    parts: tuple[MatrixOnMode, ...]
    name: ClassVar[str] = "modes"

    def __post_init__(self) -> None:
        modes = [part.mode for part in self.parts]
        overlap = len(set(modes)) < len(modes) or (len(modes) > 1 and {"fan-in"} & set(modes))
        if not modes or overlap or ("kernel" in modes and {"rows", "columns"} & set(modes)):
            raise DomainError(f"OnModes: `parts` must act on distinct modes; got {self.spec}")
        if any(part.with_bias for part in self.parts):
            raise DomainError(f"OnModes: `parts` must leave the bias alone; got {self.spec}")

    @property
    def spec(self) -> str:
        return "*".join(part.spec for part in self.parts)

    @property
    def equation(self) -> str:
        products = " ".join(f"x_{part.spec} g_{n}" for n, part in enumerate(self.parts, 1))
        return f"W' = W {products}, g_n on the mode of x, as in the other actions on a mode"

    def algebra_shape(self, weight_shape: Shape, groups: int = 1) -> Shape:
        return (sum(math.prod(part.algebra_shape(weight_shape, groups)) for part in self.parts),)

    def act(self, g: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        for part, piece in zip(self.parts, self.split(g, weight.shape, groups), strict=True):
            weight = part.act(piece, weight, groups)
        return weight

    # Reverse order: part k sees the weight after the parts before it, and hands back the cotangent of that weight.
    def act_vjp(self, g: FloatArray, weight: FloatArray, groups: int, weight_bar: FloatArray) -> FloatArray:
        pieces = self.split(g, weight.shape, groups)
        stages = [weight]
        for part, piece in zip(self.parts, pieces, strict=True):
            stages.append(part.act(piece, stages[-1], groups))
        bars: list[FloatArray] = []
        for part, piece, before in zip(self.parts[::-1], pieces[::-1], stages[-2::-1], strict=True):
            bars.append(part.act_vjp(piece, before, groups, weight_bar).reshape(-1))
            weight_bar = part.act(transpose(piece), weight_bar, groups)
        return np.concatenate(bars[::-1])

    # With D = g - e: g_1 g_2 W - W = D_1 (g_2 W) + D_2 W, part after part.
    def act_delta(self, g_minus_e: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        delta = np.zeros_like(weight)
        for part, piece in zip(self.parts, self.split(g_minus_e, weight.shape, groups), strict=True):
            delta = delta + part.act_delta(piece, weight + delta, groups)
        return delta

    def group_of(self, classes: list[type[Group]], weight_shape: Shape, groups: int) -> Product:
        """Return the product of one member of each class, in the sizes of the modes."""
        shapes = [part.algebra_shape(weight_shape, groups) for part in self.parts]
        members = tuple(cls.for_shape(shape) for cls, shape in zip(classes, shapes, strict=True))
        return Product(members, tuple(math.prod(shape[:-2]) for shape in shapes))

    def legal_for(self, group: Group) -> bool:
        if not isinstance(group, Product) or len(group.parts) != len(self.parts):
            return False
        return all(action.legal_for(part) for action, part in zip(self.parts, group.parts, strict=True))

    def preserves(self, group: Group) -> frozenset[str]:
        if not isinstance(group, Product):
            return frozenset()
        kept = [action.preserves(part) for action, part in zip(self.parts, group.parts, strict=True)]
        return frozenset.intersection(*kept) - {"gram matrix", "symplectic form", "determinant"}

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return (cls((MatrixOnMode("out"), MatrixOnMode("in"))), cls((MatrixOnMode("rows"), MatrixOnMode("columns"))))

    def split(self, g: FloatArray, weight_shape: Shape, groups: int) -> list[FloatArray]:
        """Return the matrices of each part."""
        shapes = [part.algebra_shape(weight_shape, groups) for part in self.parts]
        check_shape("OnModes", "g", g, (sum(math.prod(shape) for shape in shapes),))
        pieces = np.split(g, np.cumsum([math.prod(shape) for shape in shapes])[:-1])
        return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def _inverse(g: FloatArray) -> FloatArray:
    try:
        return np.linalg.inv(g)
    except np.linalg.LinAlgError as error:
        raise NotInGroupError("Conjugation: `g` must be invertible; got a singular matrix") from error


def _unfold(weight: FloatArray, view: View) -> FloatArray:
    """Return the unfoldings of the mode, (matrices, size, rest)."""
    count, lead, blocks, size, trail = view
    return weight.reshape(view).transpose(0, 2, 3, 1, 4).reshape(count * blocks, size, lead * trail)


def _fold(m: FloatArray, view: View, shape: Shape) -> FloatArray:
    """Return the weight whose unfoldings are `m`."""
    count, lead, blocks, size, trail = view
    return m.reshape(count, blocks, size, lead, trail).transpose(0, 3, 1, 2, 4).reshape(shape)
