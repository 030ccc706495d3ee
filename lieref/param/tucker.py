"""Tucker form: a small core, and one factor for each mode of the kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_choice, check_int
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.errors import DTypeError, ShapeError
from lieref.param._base import (
    Parameterisation,
    adjusted_rank,
    check_scale,
    check_weight_shape,
    kaiming_uniform,
    transposed,
)


@dataclass(frozen=True)
class Tucker(Parameterisation):
    """xi = s G ×_1 U_1 ×_2 U_2 ..., with the core G (r_1, r_2, ...) and factors U_n (size of mode n, r_n).

    Factors: ``core`` and ``factor_0`` (O, r_1), ``factor_1`` (I, r_2), and one more for each kernel axis.

    Parameters
    ----------
    r : int
        Rank of the out mode, as far as it has room for it, and of the in mode as far as that has.
    kernel_rank : int
        Rank of each kernel mode, as far as it has room for it.
    ranks : tuple of int, optional
        All ranks, one a mode, as far as each has room for it; `r` and `kernel_rank` are then ignored.
    kernel_factors : bool
        Without them the core spans the whole kernel: LoCon's Tucker form.
    zero : {"core", "out"}
        Which factor starts at zero: the core (FLoRA) or the out factor (LoCon).
    scale : float
        s.

    References
    ----------
    [Si25F], whose code does not run on grouped kernels; per conv group here (derived here). [Kolda09] for the form.
    """

    name: ClassVar[str] = "tucker"
    formula: ClassVar[str] = "G·(r·s·t + O·r + I·s + u)"

    r: int = 4
    kernel_rank: int = 2
    ranks: tuple[int, ...] | None = None
    kernel_factors: bool = True
    zero: str = "core"
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_int("Tucker", "r", self.r, low=1)
        check_int("Tucker", "kernel_rank", self.kernel_rank, low=1)
        check_scale("Tucker", "scale", self.scale)
        check_choice("Tucker", "zero", self.zero, ("core", "out"))
        if self.ranks is not None:
            if not isinstance(self.ranks, (tuple, list)) or not self.ranks:
                raise DTypeError(f"Tucker: `ranks` must be integers, one for each axis; got {self.ranks!r}")
            object.__setattr__(self, "ranks", tuple(check_int("Tucker", "ranks", n, low=1) for n in self.ranks))

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        locon = cls(r=2, kernel_factors=False, zero="out")
        return cls(r=1), cls(r=3, kernel_rank=1, scale=4.0), locon, cls(ranks=(2, 3)), cls(ranks=(2, 3, 2, 1))

    def mode_ranks(self, shape: Shape) -> tuple[int, ...]:
        """Return the rank of every mode of one conv group, none beyond its mode.

        Raises
        ------
        ShapeError
            If `ranks` has another length than the shape.
        """
        r = min(self.r, shape[0])
        asked = self.ranks or (r, r, *[self.kernel_rank] * len(shape[2:]))
        if len(asked) != len(shape):
            raise ShapeError(f"tucker: `ranks` must have one rank for each axis of {shape}; got {self.ranks}")
        ranks = tuple(min(rank, size) for rank, size in zip(asked, shape, strict=True))
        return ranks if self.kernel_factors else (*ranks[:2], *shape[2:])

    def group_adjusted(self, shape: Shape) -> str:
        # An in mode or a kernel of one position has less room than r in most networks: nothing to be told about.
        ranks = self.mode_ranks(shape)
        if self.ranks is None:
            return adjusted_rank(self.r, ranks[0])
        lowered = any(used < asked for used, asked in zip(ranks, self.ranks, strict=True))
        return f"ranks {ranks}" if lowered else ""

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("tucker", shape)
        ranks = self.mode_ranks(shape)
        shapes: dict[str, Shape] = {"core": ranks}
        for mode in range(len(shape) if self.kernel_factors else 2):
            shapes[f"factor_{mode}"] = (shape[mode], ranks[mode])
        return shapes

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        shapes = {name: (groups, *one) for name, one in self.factor_shapes(shape).items()}
        if self.zero == "out":
            # LoCon's middle and down convolutions: fan in r_2 k_h k_w and I.
            bound = 1.0 / math.sqrt(math.prod(shapes["core"][2:]))
            params: Params = {
                "core": rng.uniform(-bound, bound, shapes["core"]),
                "factor_0": np.zeros(shapes["factor_0"]),
            }
            down = (groups, shapes["factor_1"][2], shapes["factor_1"][1])
            params["factor_1"] = transposed(kaiming_uniform(rng, down))
        else:
            params = {"core": np.zeros(shapes["core"])}
        for name, one in shapes.items():
            if name not in params:
                # kaiming_normal_(a=sqrt(3)) on (size, rank): variance 2 / (1 + 3) / rank.
                params[name] = rng.standard_normal(one) * math.sqrt(0.5 / one[-1])
        return params

    # Derivation.  xi = s G ×_1 U_1 ... ×_n U_n. Products on distinct modes commute, so with P_n the core after all
    # products but the n-th:  xi_(n) = s U_n P_n(n), hence  U_n_bar = s xi_bar_(n) P_n(n)^T, and the cotangent of P_n
    # is s xi_bar ×_n U_n^T. Going through the modes backwards gives every factor and, at the end, the core.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        return self.scale * self._partial_products(params)[-1]

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        partial = self._partial_products(params)
        bars: Params = {}
        y_bar = self.scale * xi_bar
        for mode in reversed(range(len(partial) - 1)):
            factor = params[f"factor_{mode}"]
            bars[f"factor_{mode}"] = _rows(y_bar, mode) @ transposed(_rows(partial[mode], mode))
            y_bar = _mode_dot(y_bar, transposed(factor), mode)
        return {"core": y_bar, **bars}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return sum(shapes["core"])

    def _partial_products(self, params: Params) -> list[FloatArray]:
        """Return the core, the core after the first product, and so on."""
        products = [params["core"]]
        for mode in range(len(params) - 1):
            products.append(_mode_dot(products[-1], params[f"factor_{mode}"], mode))
        return products


def _rows(x: FloatArray, mode: int) -> FloatArray:
    """Return the unfoldings (groups, n, rest) of a stack of tensors along one mode."""
    return np.moveaxis(x, mode + 1, 1).reshape(x.shape[0], x.shape[mode + 1], -1)


def _mode_dot(x: FloatArray, matrices: FloatArray, mode: int) -> FloatArray:
    """Return the product of each tensor of a stack with its own matrix (groups, m, n) on one mode of size n."""
    moved = np.moveaxis(x, mode + 1, 1)
    product = matrices @ moved.reshape(*moved.shape[:2], -1)
    return np.moveaxis(product.reshape(x.shape[0], matrices.shape[1], *moved.shape[2:]), 1, mode + 1)
