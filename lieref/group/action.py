"""Actions of a group on a weight, the base class and the two that need no matrix: element-wise and scaling.

A weight is (O, I/groups, *kernel) for a convolution and (O, I) for a linear layer. It is frozen: the only cotangent an
action computes is the one of g.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_choice, check_float, check_shape
from lieref._record import dataclass
from lieref._types import FloatArray, Shape
from lieref.errors import NotInGroupError
from lieref.group.base import Group
from lieref.group.mode import check_mode, check_weight_shape, mode_view
from lieref.group.tensor import Additive, Hadamard, Scaling


class Action(ABC):
    """Left action of a group on weights: act(e, W) = W and act(compose(g, h), W) = act(g, act(h, W)).

    Every method that takes `groups` means the number of conv groups, 1 for an ordinary or linear layer.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def spec(self) -> str:
        """Text from which `make_action` builds this action."""

    @property
    @abstractmethod
    def equation(self) -> str:
        """What becomes of the weight W, and of the bias b where it moves, as text in g."""

    @abstractmethod
    def algebra_shape(self, weight_shape: Shape, groups: int = 1) -> Shape:
        """Return the shape of xi and of g, any batch axes of a block-wise action included.

        Raises
        ------
        ShapeError
            If the action has no meaning for this weight: no such mode, or a matrix on a mode of size 1.
        """

    @abstractmethod
    def act(self, g: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        """Return W' = g . W."""

    @abstractmethod
    def act_vjp(self, g: FloatArray, weight: FloatArray, groups: int, weight_bar: FloatArray) -> FloatArray:
        """Return the cotangent of g."""

    @abstractmethod
    def act_delta(self, g_minus_e: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        """Return W' - W without cancellation from g - e (`Group.exp_minus_identity`)."""

    @abstractmethod
    def legal_for(self, group: Group) -> bool:
        """Return whether the group has this action."""

    @abstractmethod
    def preserves(self, group: Group) -> frozenset[str]:
        """Return what every element of the group keeps of every weight; names are those of `PRESERVED`."""

    @classmethod
    @abstractmethod
    def examples(cls) -> tuple[Self, ...]:
        """Return members that the contract tests run on."""

    @property
    def moves_bias(self) -> bool:
        """Whether `act_bias` depends on g."""
        return False

    @property
    def shifts_bias(self) -> bool:
        """Whether `act_bias` moves a bias of zeros."""
        return False

    def act_bias(self, g: FloatArray, bias: FloatArray, groups: int = 1) -> FloatArray:
        """Return the bias (O,) after the action: unchanged unless the spec says otherwise."""
        return bias

    def act_bias_vjp(self, g: FloatArray, bias: FloatArray, groups: int, bias_bar: FloatArray) -> FloatArray:
        """Return the cotangent of g that comes through the bias."""
        return np.zeros_like(g)


PRESERVED = {
    "signs": "the sign of every entry",
    "support": "which entries are zero",
    "singular values": "the singular values of every unfolding, in each block",
    "gram matrix": "M^T M for the unfolding M of the mode, in each block",
    "filter norms": "the 2-norm of every output filter",
    "filter angles": "the angle between any two output filters of one conv group",
    "determinant": "the determinant of the unfolding of the mode where it is square, in each block",
    "symplectic form": "M^T J M for the unfolding M of the mode, in each block",
    "multilinear rank": "the rank of every unfolding, in each block",
    "eigenvalues": "the eigenvalues of the square matrix at each kernel position",
}


@dataclass(frozen=True)
class ElementWise(Action):
    """Each number of g acts on one number of the weight: W g for the Hadamard group, W + g for the additive group.

    A zero weight is a fixed point of the Hadamard action and its entry of g has a zero gradient. With `strict` such a
    weight is refused, because it is not in the group of [Si25].
    """

    operation: str = "multiply"
    strict: bool = False
    name: ClassVar[str] = "element-wise"

    def __post_init__(self) -> None:
        check_choice("ElementWise", "operation", self.operation, ("multiply", "add"))

    @property
    def spec(self) -> str:
        return self.name

    @property
    def equation(self) -> str:
        return "W' = W + g" if self.adds else "W' = g * W, entry by entry"

    @property
    def adds(self) -> bool:
        """Whether g is added."""
        return self.operation == "add"

    def algebra_shape(self, weight_shape: Shape, groups: int = 1) -> Shape:
        check_weight_shape("ElementWise", weight_shape, groups)
        return weight_shape

    def fixed_points(self, weight: FloatArray) -> int:
        """Return how many entries no g can move: the zeros of the weight under the Hadamard action."""
        return 0 if self.adds else int(weight.size - np.count_nonzero(weight))

    def act(self, g: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        self._check(g, weight)
        return weight + g if self.adds else weight * g

    # W' = W + g: g_bar = W'_bar. W' = W g: g_bar = W W'_bar, zero where W is.
    def act_vjp(self, g: FloatArray, weight: FloatArray, groups: int, weight_bar: FloatArray) -> FloatArray:
        self._check(g, weight)
        return weight_bar if self.adds else weight * weight_bar

    def act_delta(self, g_minus_e: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        self._check(g_minus_e, weight)
        return g_minus_e if self.adds else weight * g_minus_e

    def legal_for(self, group: Group) -> bool:
        return type(group) is (Additive if self.adds else Hadamard)

    def preserves(self, group: Group) -> frozenset[str]:
        return frozenset() if self.adds else frozenset({"signs", "support"})

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls("multiply"), cls("add")

    def _check(self, g: FloatArray, weight: FloatArray) -> None:
        check_float("ElementWise", "weight", weight)
        check_shape("ElementWise", "g", g, weight.shape)
        if self.strict and self.fixed_points(weight):
            raise NotInGroupError(
                f"ElementWise: `weight` must have no zero in strict mode; got {self.fixed_points(weight)} zeros"
            )


@dataclass(frozen=True)
class ScaleMode(Action):
    """Positive factors on the indices of one mode: W'[.., i, ..] = g[i] W[.., i, ..].

    On the out mode with `with_bias` the outputs of the layer are scaled, bias included.
    """

    mode: str = "out"
    with_bias: bool = False
    name: ClassVar[str] = "scaling"

    def __post_init__(self) -> None:
        check_mode("ScaleMode", self.mode, self.with_bias)

    @property
    def spec(self) -> str:
        mode = "" if self.mode == "out" else f"({self.mode})"
        return f"{self.name}{mode}{'+bias' if self.with_bias else ''}"

    @property
    def equation(self) -> str:
        bias = "; b' = g * b" if self.with_bias else ""
        return f"W'[.., i, ..] = g[i] W[.., i, ..], i on the mode {self.mode}{bias}"

    @property
    def moves_bias(self) -> bool:
        return self.with_bias

    def algebra_shape(self, weight_shape: Shape, groups: int = 1) -> Shape:
        blocks, _, size, _ = mode_view("ScaleMode", self.mode, weight_shape, groups)
        return (blocks * size,)

    def act(self, g: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        view, factor = self._views(g, weight, groups)
        return (view * factor).reshape(weight.shape)

    # <W'_bar, g W> summed over everything but the mode.
    def act_vjp(self, g: FloatArray, weight: FloatArray, groups: int, weight_bar: FloatArray) -> FloatArray:
        view, _ = self._views(g, weight, groups)
        g_bar: FloatArray = np.einsum("blnt,blnt->bn", view, weight_bar.reshape(view.shape)).reshape(g.shape)
        return g_bar

    def act_delta(self, g_minus_e: FloatArray, weight: FloatArray, groups: int = 1) -> FloatArray:
        return self.act(g_minus_e, weight, groups)

    def fixed_points(self, weight: FloatArray) -> int:
        """Return how many entries no g can move: the zeros of the weight."""
        return int(weight.size - np.count_nonzero(weight))

    def act_bias(self, g: FloatArray, bias: FloatArray, groups: int = 1) -> FloatArray:
        return g * bias if self.with_bias else bias

    def act_bias_vjp(self, g: FloatArray, bias: FloatArray, groups: int, bias_bar: FloatArray) -> FloatArray:
        return bias * bias_bar if self.with_bias else np.zeros_like(g)

    def legal_for(self, group: Group) -> bool:
        return isinstance(group, Scaling)

    def preserves(self, group: Group) -> frozenset[str]:
        # A diagonal matrix on one axis multiplies every unfolding; factors on several axes are no such product.
        kept = {"signs", "support"} | ({"multilinear rank"} if self.mode not in ("kernel", "fan-in") else set())
        return frozenset(kept | {"filter angles"} if self.mode == "out" else kept)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(), cls(with_bias=True), cls("in"), cls("columns"), cls("kernel"), cls("fan-in")

    def _views(self, g: FloatArray, weight: FloatArray, groups: int) -> tuple[FloatArray, FloatArray]:
        check_float("ScaleMode", "weight", weight)
        blocks, lead, size, trail = mode_view("ScaleMode", self.mode, weight.shape, groups)
        check_shape("ScaleMode", "g", g, (blocks * size,))
        return weight.reshape(blocks, lead, size, trail), g.reshape(blocks, 1, size, 1)
