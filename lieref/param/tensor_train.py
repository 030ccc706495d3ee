"""Tensor train of the pretrained kernel, of which only the output-side core is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.param._base import Parameterisation, check_weight_shape, transposed
from lieref.param.scaled import RankOfMatrix


@dataclass(frozen=True)
class TensorTrain(RankOfMatrix, Parameterisation):
    """xi = C S: a trained core C (O, r), zero at the start, times the frozen tail S of a tensor train of W0.

    The tensor-train decomposition of W0 over the axes (O, I, *kernel) with every rank at most r gives cores
    G_1 ... G_n; S = G_2 ... G_n is stored as one (r, I k_h k_w) matrix. xi never leaves the row space of S: directions
    of the input that W0 does not use stay unused.

    Factors: ``core`` (O, r), trained; ``suffix`` (r, I k_h k_w), frozen.

    Parameters
    ----------
    r : int
        Bound on the tensor-train ranks.

    References
    ----------
    [LoRAEdge25]; per conv group derived here.
    """

    name: ClassVar[str] = "tensor-train"
    frozen: ClassVar[frozenset[str]] = frozenset({"suffix"})
    needs_base_weight: ClassVar[bool] = True
    formula: ClassVar[str] = "G·O·r"

    r: int = 4

    def __post_init__(self) -> None:
        check_int("TensorTrain", "r", self.r, low=1)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(r=1), cls(r=2)

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("tensor-train", shape)
        return {"core": (shape[0], self.rank_for(shape))}

    def frozen_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"suffix": (self.rank_for(shape), math.prod(shape[1:]))}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        assert base is not None  # `init` refuses a missing base weight
        _, suffix = split_train(base.reshape(groups, shape[0], -1), shape[1:], self.rank_for(shape))
        return {"core": np.zeros((groups, shape[0], self.rank_for(shape))), "suffix": suffix}

    # Derivation.  xi = C S with S frozen:  C_bar = xi_bar S^T.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        return (params["core"] @ params["suffix"]).reshape(-1, *shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        m = xi_bar.reshape(xi_bar.shape[0], shape[0], -1)
        return {"core": m @ transposed(params["suffix"])}

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return shapes["core"][1]


def split_train(matrices: FloatArray, sizes: Shape, r: int) -> tuple[FloatArray, FloatArray]:
    """Return the first core and the contracted other cores of the tensor trains of a stack of tensors.

    Parameters
    ----------
    matrices : (groups, rows, product of sizes)
        The tensors, all axes but the first flattened.
    sizes : tuple of int
        Sizes of the axes after the first.
    r : int
        Every singular value decomposition is cut at this rank.

    Returns
    -------
    first : (groups, rows, q)
    rest : (groups, q, product of sizes), with q at most r
    """
    u, s, vt = np.linalg.svd(matrices, full_matrices=False)
    q = min(r, s.shape[-1])
    rest = s[:, :q, None] * vt[:, :q]
    if len(sizes) > 1:
        first, others = split_train(rest.reshape(len(rest), q * sizes[0], -1), sizes[1:], r)
        rest = (first @ others).reshape(rest.shape)
    return u[:, :, :q], rest
