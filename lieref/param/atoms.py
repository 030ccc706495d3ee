"""Filter atoms: every filter of a kernel is a fixed mixture of a few spatial atoms, and the atoms are trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from lieref._check import check_int, check_real
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.errors import DomainError
from lieref.param._base import Parameterisation, check_weight_shape, nearest_divisor
from lieref.param.dictionary import learned_codes

MOST_ATOMS = 4096
"""Largest number of atoms: a dictionary takes time in proportion to its square."""


@dataclass(frozen=True)
class FilterAtoms(Parameterisation):
    """xi[o, i, :] = sum_a c[o, i, a] D[a, :], with frozen coefficients c and atoms D zero at the start.

    The filters of a kernel are W0[o, i, :], k_h k_w numbers each; those of a linear weight or of a pointwise kernel are
    its blocks of about `block` x `block` entries, the sizes being the nearest divisors. The coefficients come from a
    sparse dictionary of the filters with m unit atoms, the filters scaled to unit RMS before. The dictionary itself is
    thrown away, so that its error does not matter.

    With `recursive` the atoms of input channel i are D[a, :] = sum_b beta[i, a, b] E[a, b, :], with E zero at the
    start.

    All conv groups share their atoms, which serves depthwise kernels too (derived here: the published code takes no
    grouped kernel; its recursive atoms use beta per input channel, of one group here).

    Factors: ``atoms`` (m, k), or ``mixture`` (I, m, m1) and ``atoms`` (m, m1, k), trained; ``coefficients`` (O, I, m),
    frozen; with k numbers in a filter and, where filters are blocks, O and I counted in blocks.

    Parameters
    ----------
    m : int
        Number of atoms, 1 to 4096.
    recursive : int, optional
        m1.
    sparsity : float
        Weight of the 1-norm in the dictionary, for filters of unit RMS.
    block : int
        Rows and columns of a filter of a weight without a kernel, as far as they divide it.
    unit_scale : bool
        Leave the coefficients at the scale of filters of unit RMS. Right where xi is a relative change, as in the
        Hadamard group; where xi is added, the coefficients have the scale of the weight.

    References
    ----------
    [Chen25].
    """

    name: ClassVar[str] = "filter-atoms"
    frozen: ClassVar[frozenset[str]] = frozenset({"coefficients"})
    needs_base_weight: ClassVar[bool] = True
    groups_matter: ClassVar[bool] = False
    formula: ClassVar[str] = "m·f or m·m1·(v + f)"

    m: int = 9
    recursive: int | None = None
    sparsity: float = 1e-3
    block: int = 4
    unit_scale: bool = False

    def __post_init__(self) -> None:
        check_int("FilterAtoms", "m", self.m, low=1, high=MOST_ATOMS)
        if self.share_groups is False:
            raise DomainError("FilterAtoms: `share_groups` must not be False, for all conv groups share their atoms")
        check_real("FilterAtoms", "sparsity", self.sparsity, above=0.0)
        check_int("FilterAtoms", "block", self.block, low=1)
        if self.recursive is not None:
            check_int("FilterAtoms", "recursive", self.recursive, low=1, high=MOST_ATOMS)

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        return cls(m=3), cls(m=2, recursive=2, block=3), cls(m=2, unit_scale=True, sparsity=0.1)

    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        check_weight_shape("filter-atoms", shape)
        _, columns, k = self.grid(shape)
        if self.recursive is None:
            return {"atoms": (self.m, k)}
        return {"mixture": (columns, self.m, self.recursive), "atoms": (self.m, self.recursive, k)}

    def frozen_shapes(self, shape: Shape) -> dict[str, Shape]:
        return {"coefficients": (*self.grid(shape)[:2], self.m)}

    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        assert base is not None  # `init` refuses a missing base weight
        rows, columns, k = self.grid(shape)
        filters = self.to_filters(base.reshape(1, *shape)).reshape(rows * columns, k)
        codes = sparse_codes(filters, self.m, self.sparsity, rng, self.unit_scale)
        params = {name: np.zeros((1, *one)) for name, one in self.factor_shapes(shape).items()}
        if self.recursive is not None:
            # kaiming_normal_ on (m, m1): variance 2 / m1.
            spread = math.sqrt(2.0 / self.recursive)
            params["mixture"] = spread * rng.standard_normal(params["mixture"].shape)
        return {**params, "coefficients": codes.reshape(1, rows, columns, self.m)}

    # Derivation.  Plain: xi_oik = c_oia D_ak gives D_bar_ak = sum_oi c_oia xi_bar_oik.
    # Recursive: let Y_iak = sum_o c_oia xi_bar_oik. With D_iak = beta_iab E_abk,
    #   beta_bar_iab = sum_k Y_iak E_abk,   E_bar_abk = sum_i beta_iab Y_iak.
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        codes, atoms = params["coefficients"], params["atoms"]
        if self.recursive is None:
            xi = codes @ atoms[:, None]
        else:
            xi = np.einsum("goia,giak->goik", codes, np.einsum("giab,gabk->giak", params["mixture"], atoms))
        return self.to_tensor(xi, shape)

    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        codes = params["coefficients"]
        m = self.to_filters(xi_bar)
        if self.recursive is None:
            return {"atoms": np.einsum("goia,goik->gak", codes, m)}
        y = np.einsum("goia,goik->giak", codes, m)
        return {
            "mixture": np.einsum("giak,gabk->giab", y, params["atoms"]),
            "atoms": np.einsum("giab,giak->gabk", params["mixture"], y),
        }

    @staticmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        return sum(shapes["atoms"][:-1])

    def grid(self, shape: Shape) -> tuple[int, int, int]:
        """Return how many rows and columns of filters a weight has, and the numbers in a filter."""
        if math.prod(shape[2:]) > 1:
            return shape[0], shape[1], math.prod(shape[2:])
        p, q = nearest_divisor(shape[0], self.block), nearest_divisor(shape[1], self.block)
        return shape[0] // p, shape[1] // q, p * q

    def to_filters(self, tensor: FloatArray) -> FloatArray:
        """Return weights (stack, *shape) as filters (stack, rows, columns, k)."""
        stack, shape = len(tensor), tensor.shape[1:]
        rows, columns, k = self.grid(shape)
        if math.prod(shape[2:]) > 1:
            return tensor.reshape(stack, rows, columns, k)
        blocks = tensor.reshape(stack, rows, shape[0] // rows, columns, shape[1] // columns)
        return blocks.swapaxes(2, 3).reshape(stack, rows, columns, k)

    def to_tensor(self, filters: FloatArray, shape: Shape) -> FloatArray:
        """Return filters (stack, rows, columns, k) as weights (stack, *shape): the inverse of `to_filters`."""
        stack, rows, columns, _ = filters.shape
        if math.prod(shape[2:]) > 1:
            return filters.reshape(stack, *shape)
        blocks = filters.reshape(stack, rows, columns, shape[0] // rows, shape[1] // columns)
        return blocks.swapaxes(2, 3).reshape(stack, *shape)

    def factor_groups(self, shape: Shape, groups: int = 1) -> int:
        super().factor_groups(shape, groups)
        return 1


def sparse_codes(
    filters: FloatArray, m: int, sparsity: float, rng: np.random.Generator, unit_scale: bool
) -> FloatArray:
    """Return sparse coefficients (n, m) of filters (n, k) over m unit atoms learned from them; zero for zeros."""
    rms = float(np.sqrt(np.mean(filters**2)))
    if rms == 0.0:
        return np.zeros((len(filters), m))
    codes = learned_codes(filters / rms, m, sparsity, rng)
    return codes if unit_scale else rms * codes
