"""Low rank: xi is a product of two thin matrices, laid into the tensor in one of the three published ways."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_choice, check_int
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.errors import ShapeError, UnsupportedError
from lieref.param._base import (
    Parameterisation,
    adjusted_rank,
    alpha_of,
    check_scale,
    check_weight_shape,
    kaiming_uniform,
    scaling_of,
    stack,
    transposed,
)

MATRICISATIONS = ("unfold", "view", "structured")


@dataclass(frozen=True)
class LowRank(Parameterisation):
    """xi = s B A, with B (rows, R) zero and A (R, columns) random at the start, unless `init_lora_weights` is False.

    The kernel axes are dealt to rows (product p) and columns (product q); one conv group has O out and I in channels.

    ============== ============ =========== ======= ====================================================
    matricisation  rows         columns     R       entry of xi[o, i, u, v] for a kernel (k_h, k_w)
    ============== ============ =========== ======= ====================================================
    ``unfold``     O            I k_h k_w   r       (B A)[o, (i, u, v)]                    PEFT, LoCon
    ``view``       O k_h        I k_w       r k_h   the entries of B A in memory order     loralib
    ``structured`` O k_h        I k_w       r k_h   (B A)[(o, u), (i, v)]                  derived here
    ============== ============ =========== ======= ====================================================

    ``view`` is a plain reshape, so in channels and kernel rows are mixed; ``structured`` keeps every index apart. For a
    1-D kernel both equal ``unfold``; for a 3-D kernel the rows take the first kernel axis (derived here: loralib's own
    1-D and 3-D layers do not run). On a linear weight all three are LoRA.

    Parameters
    ----------
    r : int
        Rank, at least 1. A matrix with fewer rows or columns gets as much as it has room for; s stays that of r.
    lora_alpha : float, optional
        s = lora_alpha / r. By default alpha = r, so s = 1.
    matricisation : {"unfold", "view", "structured"}
        How the matrix B A is laid into the tensor, see the table.
    use_rslora : bool
        s = lora_alpha / sqrt(r) instead, with alpha = 4 by default [Kalajdzievski23].
    rank_times_kernel : bool
        Whether R is r k_h (loralib) or r itself (LoRA-C) in the last two matricisations.
    init_lora_weights : bool or str
        True: A uniform within 1 / sqrt(columns), B zero. "gaussian": A normal with the deviation 1 / r, B zero. False:
        A as for True and B uniform within 1 / sqrt(R), so that xi is not zero, as PEFT has it for its tests. "eva": as
        for True, and before the first step of training the rows of A are put along the largest inputs of the layer
        [Paischer24], all ranks staying where they are; for ``unfold`` on element-wise actions. "eva_rho_N", N at least
        1: up to N r directions of each layer are looked at, and those with the largest shares of their layers' inputs
        get the ranks, as many as before in all. Added low ranks take starts of `Principal` too, see
        `lieref.param.starts`.
    share_groups : bool, optional
        One pair of factors for the whole (O, I/groups k_h k_w) matrix, instead of a pair for each conv group. By
        default shared where a group has one output channel.

    References
    ----------
    [Hu21] for xi = s B A.
    """

    name: ClassVar[str] = "low-rank"
    formula: ClassVar[str] = "G·r·(O + I·k)"

    r: int = 4
    lora_alpha: float | None = None
    matricisation: str = "unfold"
    use_rslora: bool = False
    rank_times_kernel: bool = True
    init_lora_weights: bool | str = True

    def __post_init__(self) -> None:
        check_int("LowRank", "r", self.r, low=1)
        if self.lora_alpha is not None:
            check_scale("LowRank", "lora_alpha", self.lora_alpha)
        check_choice("LowRank", "matricisation", self.matricisation, MATRICISATIONS)
        if not isinstance(self.init_lora_weights, bool):
            from lieref.param.starts import check_draw

            check_draw("LowRank", self.init_lora_weights)
            if self.wants_inputs and self.matricisation != "unfold":
                raise UnsupportedError(
                    f"LowRank: `init_lora_weights` must not be {self.init_lora_weights!r} with the matricisation "
                    f"{self.matricisation!r}: its A does not read the inputs of a layer"
                )

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return (
            cls(r=1), cls(r=2, lora_alpha=2.5), cls(r=1, matricisation="view"), cls(r=1, matricisation="structured"),
            cls(r=2, use_rslora=True), cls(r=1, matricisation="view", rank_times_kernel=False),
            cls(r=1, init_lora_weights="gaussian"), cls(r=2, init_lora_weights=False),
            cls(r=1, init_lora_weights="eva"), cls(r=1, init_lora_weights="eva_rho_2"),
        )  # fmt: skip

    @property
    def starts_at_zero(self) -> bool:
        return self.init_lora_weights is not False

    @property
    def wants_inputs(self) -> bool:
        return self.init_lora_weights not in (True, False, "gaussian")

    def directions(self, params: Params) -> tuple[int, bool]:
        from lieref.param.starts import WITH_RANKS, rho_of

        a, b = params["lora_a"], params["lora_b"]
        rank, moves = b.shape[1], str(self.init_lora_weights).startswith(WITH_RANKS.removesuffix("N"))
        room = min(len(b) * rank // len(a), a.shape[1])
        return (min(round(rho_of(self.init_lora_weights) * self.r), room) if moves else rank), moves

    def along(self, params: Params, rows: FloatArray) -> tuple[Self, Params]:
        rank, b = rows.shape[1], params["lora_b"]
        power = 0.5 if self.use_rslora else 1.0
        plain = self.lora_alpha is None and not self.use_rslora
        alpha = None if plain else self.scaling * rank**power
        chosen = dataclasses.replace(self, r=rank, lora_alpha=alpha, init_lora_weights="eva")
        return chosen, {"lora_a": stack(rows).astype(b.dtype), "lora_b": np.zeros((len(b), rank), b.dtype)}

    @property
    def alpha(self) -> float:
        """The number alpha in s."""
        return alpha_of(self.lora_alpha, self.r, self.use_rslora)

    @property
    def scaling(self) -> float:
        """The factor s in front of B A."""
        return scaling_of(self.lora_alpha, self.r, self.use_rslora)

    def rank_for(self, shape: Shape) -> int:
        """Return the rank for one conv group of this shape: r, or the largest it has room for.

        Raises
        ------
        ShapeError
            If there is no room for rank 1.
        """
        check_weight_shape("low-rank", shape)
        p, q = self._kernel_split(shape)
        room = min(shape[0] * p, shape[1] * q) // self._rank_factor(p)
        if room < 1:
            raise ShapeError(f"low-rank: `shape` must have room for rank 1 as {self.matricisation!r}; got {shape}")
        return min(self.r, room)

    def group_adjusted(self, shape: Shape) -> str:
        return adjusted_rank(self.r, self.rank_for(shape))

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        rank = self.rank_for(shape)
        p, q = self._kernel_split(shape)
        rank *= self._rank_factor(p)
        return {"lora_a": (rank, shape[1] * q), "lora_b": (shape[0] * p, rank)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        a, b = ((groups, *one) for one in self.factor_shapes(shape).values())
        if self.init_lora_weights == "gaussian":
            return {"lora_a": rng.standard_normal(a) / self.r, "lora_b": np.zeros(b)}
        uniform = kaiming_uniform(rng, a)
        return {"lora_a": uniform, "lora_b": np.zeros(b) if self.starts_at_zero else kaiming_uniform(rng, b)}

    # Derivation.  xi = s P(B A), where P only moves entries, so its adjoint moves them back: P^T = P^-1.
    #   <xi_bar, s P(dB A + B dA)> = <s P^-1(xi_bar) A^T, dB> + <s B^T P^-1(xi_bar), dA>.
    # Hence B_bar = s M A^T and A_bar = s B^T M with M = P^-1(xi_bar).  [Hu21]; [Huang25], section 4.7.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        return self.to_tensor(self.scaling * (params["lora_b"] @ params["lora_a"]), shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        m = self.scaling * self.to_matrix(xi_bar)
        return {"lora_a": transposed(params["lora_b"]) @ m, "lora_b": m @ transposed(params["lora_a"])}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return shapes["lora_a"][0]

    def scaled_factors(self, params: Params, shape: Shape, groups: int) -> tuple[FloatArray, FloatArray]:
        """Return s B (groups, rows, R) and A (groups, R, columns), whose products are the matrices of xi."""
        split = self.split(params, shape, groups)
        return self.scaling * split["lora_b"], split["lora_a"]

    def scaled_factors_vjp(self, b_bar: FloatArray, a_bar: FloatArray) -> Params:
        """Return the cotangents of the factors."""
        return {"lora_a": stack(a_bar), "lora_b": stack(self.scaling * b_bar)}

    def to_tensor(self, matrix: FloatArray, shape: Shape) -> FloatArray:
        """Return the matrices (groups, O p, I q) laid out as tensors (groups, *shape)."""
        groups = matrix.shape[0]
        if self.matricisation != "structured":
            return matrix.reshape(groups, *shape)
        p, q = self._kernel_split(shape)
        return matrix.reshape(groups, shape[0], p, shape[1], q).transpose(0, 1, 3, 2, 4).reshape(groups, *shape)

    def to_matrix(self, tensor: FloatArray) -> FloatArray:
        """Return tensors (groups, *shape) as matrices (groups, O p, I q): the inverse of `to_tensor`."""
        groups, *shape = tensor.shape
        p, q = self._kernel_split(tuple(shape))
        rows, columns = shape[0] * p, shape[1] * q
        if self.matricisation != "structured":
            return tensor.reshape(groups, rows, columns)
        apart = tensor.reshape(groups, shape[0], shape[1], p, q)
        return apart.transpose(0, 1, 3, 2, 4).reshape(groups, rows, columns)

    def columns_of_channel(self, shape: Shape) -> int | None:
        """Return how many columns of A, one behind the other, read one in channel; None where columns mix channels."""
        p, q = self._kernel_split(shape)
        return None if self.matricisation == "view" and p > 1 else q

    def _kernel_split(self, shape: Shape) -> tuple[int, int]:
        """Return the kernel sizes (p, q) that go to the rows and to the columns."""
        kernel = shape[2:]
        rows = 0 if self.matricisation == "unfold" else len(kernel) // 2
        return math.prod(kernel[:rows]), math.prod(kernel[rows:])

    def _rank_factor(self, p: int) -> int:
        return p if self.rank_times_kernel else 1
