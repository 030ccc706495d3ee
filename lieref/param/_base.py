"""What every parameterisation is: trainable factors of one tensor, and the algebra element they make.

A weight of a grouped convolution is `groups` independent kernels stacked on the out axis, so a factor is stored the
same way: the factors of all conv groups stacked on their first axis. With one group this is the factor itself, for
instance ``lora_a`` (r, in); with several it is (groups*r, in), the weight of a grouped convolution again. A subclass
sees every factor with the groups as a leading axis and the shape of one group, and never thinks about groups.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np

from lieref._check import check_float, check_int, check_real, check_shape
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.errors import DomainError, ShapeError
from lieref.errors import LierefWarning as LierefWarning


class ManyTrainablesWarning(LierefWarning):
    """An adapter holds more numbers than the tensor it adapts."""


class RankLoweredWarning(LierefWarning):
    """A weight has no room for the rank or the blocks asked for, and gets smaller ones."""


@dataclass(frozen=True)
class Parameterisation(ABC):
    """Recipe that turns a few trainable numbers into an element of the Lie algebra.

    Subclasses are frozen dataclasses whose fields are the configuration. They implement the abstract methods at the end
    of this class for one conv group; `init`, `delta`, `delta_vjp` and `num_params` are the interface.

    Parameters
    ----------
    share_groups : bool, optional
        One set of factors for all conv groups, as if the weight had one, instead of a set for each. By default shared
        where a group has one output channel: a set for each row of a depthwise kernel holds more numbers than the row.

    Attributes
    ----------
    name : str
        Key in the registry.
    frozen : frozenset of str
        Names of the factors that are stored but not trained.
    needs_base_weight : bool
        Whether `init` needs `base_weight`.
    groups_matter : bool
        Whether it makes a difference if the conv groups share their factors: `share_groups` is an option then.
    formula : str
        The trainable count in the letters of `lieref.param.describe.LETTERS`, alternatives joined by "or".
    lowers_rank : bool
        Whether `r`, where there is one, is lowered to the rank that a matrix has room for; else it counts something
        that has no such bound.
    least_rank : int
        The least `r`, where there is one.
    must_be_saved : tuple of str
        Options that a saved adapter must hold, because its factors are not all that xi is made of.
    """

    name: ClassVar[str]
    frozen: ClassVar[frozenset[str]] = frozenset()
    needs_base_weight: ClassVar[bool] = False
    groups_matter: ClassVar[bool] = True
    formula: ClassVar[str]
    lowers_rank: ClassVar[bool] = True
    least_rank: ClassVar[int] = 1
    must_be_saved: ClassVar[tuple[str, ...]] = ()

    share_groups: bool | None = dataclasses.field(default=None, kw_only=True)

    @property
    def starts_at_zero(self) -> bool:
        """Whether `delta` of the factors of `init` is zero."""
        return True

    def init(
        self,
        shape: Shape,
        groups: int,
        rng: np.random.Generator,
        dtype: Any = np.float64,
        base_weight: FloatArray | None = None,
    ) -> Params:
        """Return factors at which `delta` is exactly zero, if `starts_at_zero`.

        Parameters
        ----------
        shape : tuple of int
            Shape of the algebra element: (O, I/groups, *kernel), (O, I), or (n,).
        groups : int
            Conv groups; divides O.
        rng : numpy.random.Generator
            Source of the random factors. The numbers drawn do not depend on `dtype`.
        dtype : float32 or float64
        base_weight : array of `shape`, optional
            The frozen tensor, where the factors depend on it.

        Returns
        -------
        dict of str to array
            Trainable and frozen factors, the groups stacked on their first axis.

        Raises
        ------
        ShapeError
            If this parameterisation has no meaning for the shape.
        DomainError
            If `base_weight` is needed and missing, or so large that a factor overflows.
        """
        groups = self.factor_groups(shape, groups)
        one = self._checked(shape, groups)
        base = None
        if base_weight is not None:
            base = check_float(self.name, "base_weight", base_weight)
            check_shape(self.name, "base_weight", base, tuple(shape))
            base = base.astype(np.float64).reshape(groups, *one)
        elif self.needs_base_weight:
            raise DomainError(f"{self.name}: `base_weight` must be given to init; got None")
        factors = self.initial_factors(one, groups, rng, base)
        with np.errstate(over="ignore"):
            params = {name: np.array(stack(factor), dtype, order="C") for name, factor in factors.items()}
        if not all(np.isfinite(factor).all() for factor in params.values()):
            raise DomainError(f"{self.name}: `base_weight` must keep every factor finite in {np.dtype(dtype)}")
        return params

    def delta(self, params: Params, shape: Shape, groups: int = 1) -> FloatArray:
        """Return the algebra element of the factors, an array of `shape`.

        Raises
        ------
        ShapeError
            If a factor is missing or has another shape than `init` gives.
        """
        groups = self.factor_groups(shape, groups)
        one = self._checked(shape, groups)
        return self.group_delta(self._by_group(params, one, groups), one).reshape(shape)

    def delta_vjp(self, params: Params, shape: Shape, groups: int, xi_bar: FloatArray) -> Params:
        """Return the cotangents of the trainable factors for the cotangent `xi_bar` of `delta`.

        Raises
        ------
        ShapeError
            If a factor or `xi_bar` has another shape.
        """
        groups = self.factor_groups(shape, groups)
        one = self._checked(shape, groups)
        check_shape(self.name, "xi_bar", xi_bar, tuple(shape))
        factors = self._by_group(params, one, groups)
        bars = self.group_delta_vjp(factors, one, xi_bar.reshape(groups, *one))
        return {name: stack(bars[name]) for name in self.trainable(params)}

    def num_params(self, shape: Shape, groups: int = 1) -> int:
        """Return the number of trainable numbers for an algebra element of `shape`."""
        groups = self.factor_groups(shape, groups)
        one = self._checked(shape, groups)
        return groups * sum(math.prod(factor) for factor in self.factor_shapes(one).values())

    def trainable(self, params: Params) -> tuple[str, ...]:
        """Return the names of the factors that are trained, in the order of `params`."""
        return tuple(name for name in params if name not in self.frozen)

    def config(self) -> dict[str, Any]:
        """Return the fields as plain values; ``PARAMETERISATIONS[name](**config)`` makes an equal object."""
        return dataclasses.asdict(self)

    def adjusted(self, shape: Shape, groups: int = 1) -> str:
        """Return which smaller ranks or blocks this shape gets in place of those asked for, empty where all fit.

        Raises
        ------
        ShapeError
            As `init`.
        """
        return self.group_adjusted(self._checked(shape, self.factor_groups(shape, groups)))

    def group_adjusted(self, shape: Shape) -> str:
        """Return what `adjusted` says of one conv group."""
        return ""

    def magnitude(self, params: Params, shape: Shape, groups: int = 1) -> FloatArray:
        """Return, entry by entry, the sum of the absolute terms that make xi: rounding errors scale with it.

        Raises
        ------
        ShapeError
            As `delta`.
        """
        groups = self.factor_groups(shape, groups)
        one = self._checked(shape, groups)
        return self.group_magnitude(self._by_group(params, one, groups), one).reshape(shape)

    def group_magnitude(self, params: Params, shape: Shape) -> FloatArray:
        """Return what `magnitude` does of each conv group: where nothing is subtracted, xi of absolute factors."""
        return np.abs(self.group_delta({name: np.abs(factor) for name, factor in params.items()}, shape))

    @property
    def wants_inputs(self) -> bool:
        """Whether ``lora_a`` is to be made of the inputs of the layer before training begins."""
        return False

    def directions(self, params: Params) -> tuple[int, bool]:
        """Return how many directions of its inputs a layer is to be shown, and whether ranks move between layers.

        Of `wants_inputs` alone.
        """
        return 0, False

    def along(self, params: Params, rows: FloatArray) -> tuple[Self, Params]:
        """Return what starts along these directions (conv groups, rank, columns), at their rank and the same s."""
        return self, params

    def pruned(self, params: Params, shape: Shape, groups: int = 1) -> tuple[Self, Params] | None:
        """Return a parameterisation and factors of the same xi without ranks that have no part in it, 1 at least.

        None where no number of the factors says that a rank has no part.

        Raises
        ------
        ShapeError
            As `delta`.
        """
        return None

    @classmethod
    def examples(cls) -> tuple[Self, ...]:
        """Return members that the contract tests run on: every option but `share_groups` differs somewhere."""
        return (cls(),)

    @abstractmethod
    def factor_shapes(self, shape: Shape) -> dict[str, Shape]:
        """Return the shape of every trainable factor of one conv group, ranks no larger than the shape allows.

        Raises
        ------
        ShapeError
            As `init`.
        """

    @abstractmethod
    def initial_factors(self, shape: Shape, groups: int, rng: np.random.Generator, base: FloatArray | None) -> Params:
        """Return all factors in float64, each with a leading axis of length `groups`; `base` is (groups, *shape)."""

    @abstractmethod
    def group_delta(self, params: Params, shape: Shape) -> FloatArray:
        """Return the algebra elements (groups, *shape) of factors with a leading group axis."""

    @abstractmethod
    def group_delta_vjp(self, params: Params, shape: Shape, xi_bar: FloatArray) -> Params:
        """Return cotangents, with a leading group axis, of at least the trainable factors."""

    @staticmethod
    @abstractmethod
    def terms(shapes: Mapping[str, Shape]) -> int:
        """Return how many terms, one behind the other, the sums that make an entry of xi have at most.

        `shapes` are those of the factors of one conv group; 0 where entries are factors as they are stored.
        """

    def frozen_shapes(self, shape: Shape) -> dict[str, Shape]:
        """Return the shape of every frozen factor of one conv group."""
        return {}

    def factor_groups(self, shape: Shape, groups: int = 1) -> int:
        """Return the number of independent kernels the factors see: the conv groups, or 1 where they share factors.

        Raises
        ------
        ShapeError
            If a size is below 1, or the first no multiple of `groups`.
        """
        groups = check_int(self.name, "groups", groups, low=1)
        if not shape or min(shape) < 1 or shape[0] % groups:
            raise ShapeError(
                f"{self.name}: `shape` must have positive sizes, the first a multiple of {groups}; got {shape}"
            )
        shared = shape[:1] == (groups,) if self.share_groups is None else self.share_groups
        return 1 if shared else groups

    def _checked(self, shape: Shape, groups: int) -> Shape:
        """Return the shape of one conv group after checking that the configuration fits it."""
        one = (shape[0] // groups, *shape[1:])
        self.factor_shapes(one)
        return one

    def split(self, params: Params, shape: Shape, groups: int = 1) -> Params:
        """Return the factors with the conv groups as a leading axis; raises as `delta`."""
        groups = self.factor_groups(shape, groups)
        return self._by_group(params, self._checked(shape, groups), groups)

    def _by_group(self, params: Params, shape: Shape, groups: int) -> Params:
        """Return the factors with the conv groups as a leading axis."""
        expected = self.factor_shapes(shape) | self.frozen_shapes(shape)
        if set(params) != set(expected):
            raise ShapeError(f"{self.name}: `params` must hold {sorted(expected)}; got {sorted(params)}")
        split = {}
        for name, one in expected.items():
            check_shape(self.name, name, params[name], (groups * one[0], *one[1:]))
            split[name] = params[name].reshape(groups, *one)
        return split


MOST_SCALE = 1e30
"""Largest factor of a change of the weight: with it products of single-precision numbers of usual sizes are finite."""


def check_scale(function: str, name: str, value: float) -> float:
    """Return a factor of the change of a weight; raise an error unless it is above 0 and at most `MOST_SCALE`."""
    return check_real(function, name, value, above=0.0, high=MOST_SCALE)


def stack(factor: FloatArray) -> FloatArray:
    """Return (groups, a, ...) as (groups*a, ...)."""
    return factor.reshape(factor.shape[0] * factor.shape[1], *factor.shape[2:])


def transposed(matrices: FloatArray) -> FloatArray:
    """Return a stack of matrices (..., a, b) as (..., b, a)."""
    return np.swapaxes(matrices, -1, -2)


def kaiming_uniform(rng: np.random.Generator, shape: Shape) -> FloatArray:
    """Return U(-1/sqrt(f), 1/sqrt(f)), f the last size: PyTorch's ``kaiming_uniform_(a=sqrt(5))``, float64."""
    bound = 1.0 / math.sqrt(shape[-1])
    return rng.uniform(-bound, bound, size=shape)


@lru_cache(maxsize=1024)
def nearest_divisor(n: int, wanted: int, low: int = 1) -> int:
    """Return the divisor of n, at least `low`, that is nearest to `wanted`, the smaller of two as near."""
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    divisors = [*small, *(n // d for d in reversed(small))]
    return min((d for d in divisors if d >= low), key=lambda d: abs(d - wanted))


DEFAULT_ALPHA = 4.0
"""alpha under alpha / sqrt(r) where none is given: the default rank, at which alpha / r and alpha / sqrt(r) were tuned.

alpha = r, the default under alpha / r, would give sqrt(r) there: a step that grows with the rank, which the root is
there to prevent [Kalajdzievski23].
"""


def alpha_of(lora_alpha: float | None, r: int, use_rslora: bool = False) -> float:
    """Return alpha; by default r, or `DEFAULT_ALPHA` where it is rank-stabilised."""
    if lora_alpha is None:
        return DEFAULT_ALPHA if use_rslora else float(r)
    return float(lora_alpha)


def scaling_of(lora_alpha: float | None, r: int, use_rslora: bool = False) -> float:
    """Return alpha / r, or alpha / sqrt(r) where it is rank-stabilised."""
    return alpha_of(lora_alpha, r, use_rslora) / (math.sqrt(r) if use_rslora else r)


def adjusted_rank(asked: int, used: int) -> str:
    """Return what `Parameterisation.adjusted` says of a rank."""
    return f"rank {used}" if used < asked else ""


def check_weight_shape(function: str, shape: Shape) -> None:
    """Raise `ShapeError` unless this is a linear or convolution weight: two to five axes."""
    if not 2 <= len(shape) <= 5:
        raise ShapeError(f"{function}: `shape` must be (O, I/groups, *kernel) with 2 to 5 axes; got {shape}")
