"""What a fine-tuning method offers: from trainable factors and a frozen weight to the adapted weight, and back."""

from __future__ import annotations

import dataclasses
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

import numpy as np

from lieref._check import check_finite, check_float, check_same_dtype, check_shape
from lieref._record import dataclass
from lieref._types import FloatArray, Params, Shape
from lieref.errors import DomainError, LierefError
from lieref.param._base import ManyTrainablesWarning, RankLoweredWarning

P = ParamSpec("P")
R = TypeVar("R")

FEWER = "a smaller rank, or `full`, would need fewer"
"""What to do about an adapter with more numbers than its weight."""


def cotangent_last(function: Callable[P, R]) -> Callable[P, R]:
    """Let a VJP be called as in the version before, its cotangent behind two arguments, with a `DeprecationWarning`."""
    names = list(signature(function).parameters)

    @wraps(function)
    def either(*args: P.args, **named: P.kwargs) -> R:
        if len(args) < 4 or not isinstance(args[3], np.ndarray):
            return function(*args, **named)
        text = f"{function.__name__}: `{names[-1]}` is now the last argument, behind `groups`"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        others = dict(zip(names, (*args[:3], *args[4:]), strict=False))
        old: Callable[..., R] = function
        return old(**{"groups": 1, **others, **named, names[-1]: args[3]})

    return either


@dataclass(frozen=True)
class Recipe:
    """The part of a method that is the same for every method: its name and how it is trained.

    Attributes
    ----------
    name : str
        Row of `METHODS`, or the parts joined by "+".
    settings : mapping
        Fields and values from which `get_method` makes the same method again.
    scope : {"weight", "head", "bias", "norm", "all", "statistics"}
        What the method trains: target weights through their factors, only the last layer, only biases, only scales and
        shifts of normalisations, every tensor, or no tensor at all (statistics are re-estimated).
    default_learning_rate : float
        For AdamW; works at a few hundred steps without tuning.
    statistics_first : bool
        Whether the statistics of every BatchNormalization are re-estimated before the training: ``norm-stats+NAME``.
    """

    name: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scope: str = "weight"
    default_learning_rate: float = 1e-2
    statistics_first: bool = False


@dataclass(frozen=True)
class Method(ABC):
    """Fine-tuning method of one weight tensor, which `get_method` returns.

    It has no state: factors and weights are arguments. `init` makes the factors, a dict of arrays; `delta` gives the
    algebra element xi of them, `adapted_weight` the weight W', `adapted_weight_vjp` the gradients of the factors.

    A weight is (O, I/groups, *kernel) for a convolution and (O, I) for a linear layer, float32 or float64; factors have
    its dtype. The base weight is never changed.
    """

    recipe: Recipe

    @property
    def name(self) -> str:
        """Name of the method."""
        return self.recipe.name

    @property
    def scope(self) -> str:
        """What is trained; see `Recipe`."""
        return self.recipe.scope

    @property
    def default_learning_rate(self) -> float:
        """Learning rate for AdamW; see `Recipe`."""
        return self.recipe.default_learning_rate

    @property
    def rank(self) -> int | None:
        """Rank of the factors, or None for a method without one."""
        return None

    @property
    def alpha(self) -> float | None:
        """The number alpha in `scaling`; None for a method without one."""
        return None

    @property
    def scaling(self) -> float | None:
        """The factor alpha / r, or alpha / sqrt(r), in xi; None for a method without one."""
        return None

    @property
    def starts_at_base(self) -> bool:
        """Whether the factors of `init` leave the weight as it is."""
        return True

    @property
    @abstractmethod
    def equations(self) -> tuple[str, ...]:
        """What becomes of the weight W, line by line down to xi, as text."""

    @property
    def moves_bias(self) -> bool:
        """Whether `adapted_bias` differs from the bias."""
        return False

    @property
    def shifts_bias(self) -> bool:
        """Whether `adapted_bias` makes something of a bias of zeros, so that a layer without one misses something."""
        return False

    def config(self) -> dict[str, Any]:
        """Return plain values; ``get_method(**config)`` makes an equal method."""
        return {"name": self.name, **self.recipe.settings}

    def init(
        self,
        shape: Shape,
        groups: int,
        rng: np.random.Generator,
        dtype: Any = None,
        base_weight: FloatArray | None = None,
    ) -> Params:
        """Return factors at which the adapted weight is the base weight, bit for bit, if `starts_at_base`.

        Parameters
        ----------
        shape : tuple of int
            Shape of the weight.
        groups : int
            Conv groups.
        rng : numpy.random.Generator
        dtype : float32 or float64, optional
            By default that of `base_weight`, or float64 without one.
        base_weight : array of `shape`, optional
            Needed by the methods whose factors depend on it.

        Raises
        ------
        ShapeError
            If the method has no meaning for this shape.
        DomainError
            If `base_weight` is needed and missing.

        Warns
        -----
        RankLoweredWarning
            If the weight has no room for the rank or the blocks asked for.
        ManyTrainablesWarning
            If the factors hold more numbers than the weight.
        """
        params = self.start(shape, groups, rng, dtype, base_weight)
        shape, trainables = tuple(shape), self.num_params(tuple(shape), groups)
        if adjusted := self.adjusted(shape, groups):
            text = f"{self.name}: a weight of shape {shape} has room for less than asked for: {adjusted}"
            warnings.warn(text, RankLoweredWarning, stacklevel=2)
        if trainables > math.prod(shape):
            text = f"{self.name}: {trainables} trainable numbers for a tensor {shape} of {math.prod(shape)}; {FEWER}"
            warnings.warn(text, ManyTrainablesWarning, stacklevel=2)
        return params

    def start(
        self,
        shape: Shape,
        groups: int,
        rng: np.random.Generator,
        dtype: Any = None,
        base_weight: FloatArray | None = None,
    ) -> Params:
        """Return what `init` does, without its warnings: for who gathers those of many weights."""
        shape = tuple(shape)
        if base_weight is not None:
            base_weight = check_float(self.name, "base_weight", base_weight)
            check_shape(self.name, "base_weight", base_weight, shape)
        if dtype is None:
            dtype = np.float64 if base_weight is None else base_weight.dtype
        return self._init(shape, groups, rng, dtype, base_weight)

    def supports(self, shape: Shape, groups: int = 1) -> str | None:
        """Return None where the method can adapt a weight of this shape, else the reason why not."""
        try:
            self.num_params(shape, groups)
        except LierefError as error:
            return str(error)
        return None

    def adjusted(self, shape: Shape, groups: int = 1) -> str:
        """Return which smaller ranks or blocks this weight gets in place of those asked for, empty where all fit."""
        return ""

    @property
    def wants_inputs(self) -> bool:
        """Whether ``lora_a`` is to be made of the inputs of the layer before training begins."""
        return False

    def directions(self, params: Params) -> tuple[int, bool]:
        """Return how many directions of its inputs a layer is to be shown, and whether ranks move between layers.

        Of `wants_inputs` alone.
        """
        return 0, False

    def along(self, params: Params, rows: FloatArray) -> tuple[Method, Params]:
        """Return what starts along these directions (conv groups, rank, columns), at their rank and the same s."""
        return self, params

    def pruned(self, params: Params, shape: Shape, groups: int = 1) -> tuple[Method, Params] | None:
        """Return a method and factors of the same weight without ranks that have no part in it; see `Parameterisation`.

        Raises
        ------
        ShapeError
            As `adapted_weight`.
        """
        return None

    def fixed_points(self, base_weight: FloatArray) -> int:
        """Return how many entries this method can never change, whatever the factors: zeros that are multiplied."""
        return 0

    def is_still(self, params: Params, base_weight: FloatArray, bias: FloatArray | None, groups: int = 1) -> bool:
        """Return whether training cannot move the weight, nor the bias the method moves: every derivative is zero.

        The derivative is taken at `params` along one direction of W' and of the bias with no zero in it. Factors of
        `init` at which it vanishes stay where they are for any loss.
        """
        # Repeated, for a weight may be large; the prime length keeps the repeats out of step with its axes.
        along = np.random.default_rng(0).uniform(0.5, 1.5, 1021)
        weight_bar = np.resize(along.astype(base_weight.dtype), base_weight.shape)
        try:
            bars = self.adapted_weight_vjp(params, base_weight, groups, weight_bar)
        except DomainError:
            return False  # a derivative too large for its dtype is not zero
        if any(bar.any() for bar in bars.values()):
            return False
        if bias is None or not self.moves_bias:
            return True
        bias_bar = np.resize(along.astype(bias.dtype), bias.shape)
        bars = self.adapted_bias_vjp(params, bias, base_weight.shape, groups, bias_bar)
        return not any(bar.any() for bar in bars.values())

    def preserves(self, shape: Shape, groups: int = 1) -> frozenset[str]:
        """Return what the method keeps of every weight of this shape; names as in `lieref.group.action.PRESERVED`."""
        return frozenset()

    def adapted_bias(self, params: Params, bias: FloatArray, shape: Shape, groups: int = 1) -> FloatArray:
        """Return the bias (O,) of the adapted layer; `shape` is that of the weight. Unchanged unless `moves_bias`."""
        return bias

    @cotangent_last
    def adapted_bias_vjp(
        self, params: Params, bias: FloatArray, shape: Shape, groups: int, bias_bar: FloatArray
    ) -> Params:
        """Return the cotangents of the trainable factors that come through the bias, for the cotangent (O,) of it."""
        return {name: np.zeros_like(params[name]) for name in self.trainable(params)}

    def dropout_masks(self, shape: Shape, groups: int, rng: np.random.Generator) -> Params:
        """Return what factors are multiplied with in one step of training, of their shapes; empty without dropout."""
        return {}

    @abstractmethod
    def num_params(self, shape: Shape, groups: int = 1) -> int:
        """Return the number of trainable numbers for a weight of this shape; raises as `init` does."""

    @abstractmethod
    def trainable(self, params: Params) -> tuple[str, ...]:
        """Return the names of the factors that are trained."""

    @abstractmethod
    def delta(self, params: Params, shape: Shape, groups: int = 1) -> FloatArray:
        """Return the algebra element xi of the factors; `shape` is that of the weight, `groups` its conv groups."""

    @abstractmethod
    def delta_vjp(self, params: Params, shape: Shape, groups: int, xi_bar: FloatArray) -> Params:
        """Return the cotangents of the trainable factors for the cotangent of `delta`, which has its shape."""

    @abstractmethod
    def adapted_weight(self, params: Params, base_weight: FloatArray, groups: int = 1) -> FloatArray:
        """Return W', of the shape and dtype of the base weight.

        Parameters
        ----------
        params : dict of str to array
            Factors as `init` makes them, of the dtype of the weight.
        base_weight : (O, I / groups, *kernel) or (O, I) array
            float32 or float64, finite.
        groups : int
            Conv groups.

        Raises
        ------
        ShapeError, DTypeError
            If a factor does not fit the weight.
        DomainError
            If an input is not finite, the map leaves its domain, or the result is too large for its dtype.
        NotInGroupError
            If a weight is zero in strict mode.
        """

    @abstractmethod
    def adapted_weight_vjp(
        self, params: Params, base_weight: FloatArray, groups: int, weight_bar: FloatArray
    ) -> Params:
        """Return the cotangents of the trainable factors for the cotangent of W'. The base weight is frozen.

        Parameters
        ----------
        params, base_weight, groups
            Those of `adapted_weight`.
        weight_bar : array
            Of the shape and dtype of the base weight, finite.

        Returns
        -------
        dict of str to array
            By the names of `trainable`, of their shapes.

        Raises
        ------
        ShapeError, DTypeError, DomainError
            As `adapted_weight` does, or if `weight_bar` is not as described.
        """

    @abstractmethod
    def weight_delta(self, params: Params, base_weight: FloatArray, groups: int = 1) -> FloatArray:
        """Return W' - W0, computed without the cancellation of that difference."""

    @abstractmethod
    def _init(
        self, shape: Shape, groups: int, rng: np.random.Generator, dtype: Any, base_weight: FloatArray | None
    ) -> Params:
        """Return the factors of `init` after its checks."""


@dataclass(frozen=True)
class Untrained(Method):
    """Method without trainable numbers: the weight stays the base weight."""

    @property
    def equations(self) -> tuple[str, ...]:
        return ("W' = W",)

    def num_params(self, shape: Shape, groups: int = 1) -> int:
        return 0

    def trainable(self, params: Params) -> tuple[str, ...]:
        return ()

    def delta(self, params: Params, shape: Shape, groups: int = 1) -> FloatArray:
        return np.zeros(shape)

    def delta_vjp(self, params: Params, shape: Shape, groups: int, xi_bar: FloatArray) -> Params:
        return {}

    def adapted_weight(self, params: Params, base_weight: FloatArray, groups: int = 1) -> FloatArray:
        return base_weight.copy()

    @cotangent_last
    def adapted_weight_vjp(
        self, params: Params, base_weight: FloatArray, groups: int, weight_bar: FloatArray
    ) -> Params:
        return {}

    def weight_delta(self, params: Params, base_weight: FloatArray, groups: int = 1) -> FloatArray:
        return np.zeros_like(base_weight)

    def _init(
        self, shape: Shape, groups: int, rng: np.random.Generator, dtype: Any, base_weight: FloatArray | None
    ) -> Params:
        return {}


def checked_base(method: Method, params: Params, base_weight: FloatArray) -> FloatArray:
    """Return the base weight after checking that it and the factors are finite and share their dtype."""
    base = check_float(method.name, "base_weight", base_weight)
    for name, factor in params.items():
        check_finite(method.name, name, factor)
    check_same_dtype(method.name, base_weight=base, **params)
    return base


OVERFLOW_IS_CHECKED = np.errstate(over="ignore", invalid="ignore")
"""Decorator of what ends in `check_fits`: the error takes the place of NumPy's warning."""


def check_fits(method: Method, array: FloatArray) -> FloatArray:
    """Return the result of a method; raise `DomainError` if it overflowed."""
    if not np.isfinite(array).all():
        raise DomainError(f"{method.name}: `params` must keep every result finite in {array.dtype}; got an overflow")
    return array


def checked_bar(method: Method, base: FloatArray, weight_bar: FloatArray) -> FloatArray:
    """Return the cotangent of W' after checking that it is finite and has the shape and dtype of the base weight."""
    bar = check_float(method.name, "weight_bar", weight_bar)
    check_shape(method.name, "weight_bar", bar, base.shape)
    check_same_dtype(method.name, base_weight=base, weight_bar=bar)
    return bar


def check_bars(method: Method, bars: Params) -> Params:
    """Return the cotangents of the factors; raise `DomainError` if one overflowed."""
    return {name: check_fits(method, bar) for name, bar in bars.items()}


def keep_equal(method: Method, base_weight: FloatArray, weight: FloatArray) -> FloatArray:
    """Return `weight`, checked by `check_fits`, with the bits of the base where both are equal: -0 + 0 is not -0."""
    return np.where(weight == base_weight, base_weight, check_fits(method, weight))
