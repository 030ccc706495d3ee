"""Optimisers that update parameters in place: SGD with momentum, and Adam with decoupled weight decay.

The formulas and the order of their steps are PyTorch's, so a published learning rate means the same here. An
optimiser holds its settings and its state; `fresh` gives one with the same settings and no state.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from lieref._check import check_finite, check_real, check_same_dtype, check_shape
from lieref._flat import FlatParams, Shapes, gather
from lieref._types import Array, FloatArray, Params
from lieref.errors import DomainError, FormatError, ShapeError
from lieref.kernel.adamw import update_adamw


@dataclass
class Optimizer(ABC):
    """Base of the optimisers.

    Attributes
    ----------
    name : str
        Key in `OPTIMIZERS`.
    slots : tuple of str
        Names of the arrays kept for each parameter.
    prunes : bool
        Whether ranks that it has brought to zero are no longer stored after the run.
    steps : int
        Updates made so far.
    total : int or None
        Those of the whole run, once it is planned.
    """

    name: ClassVar[str]
    slots: ClassVar[tuple[str, ...]]
    prunes: ClassVar[bool] = False
    steps: int = field(default=0, init=False, repr=False, compare=False)
    total: int | None = field(default=None, init=False, repr=False, compare=False)
    _state: Params = field(default_factory=dict, init=False, repr=False, compare=False)
    _flat_slots: Params = field(default_factory=dict, init=False, repr=False, compare=False)
    _layout: Any = field(default=None, init=False, repr=False, compare=False)

    def plan(self, params: Params, total: int) -> None:
        """Take note of the number of updates of the whole run.

        Raises
        ------
        DomainError
            If the optimiser is not for such parameters.
        """
        self.total = total

    def step(
        self, params: Params, grads: Params, learning_rate: float, factors: Mapping[str, float] | None = None
    ) -> None:
        """Update every parameter in place.

        Parameters
        ----------
        params : dict of str to float array
            Written in place.
        grads : dict of str to float array
            Derivative of the loss in each parameter: same names, shapes and dtypes.
        learning_rate : float
            At least 0.
        factors : mapping of str to float, optional
            What the learning rate of single parameters is multiplied with.

        Raises
        ------
        ShapeError, DTypeError
            If the gradients do not match the parameters.
        DomainError
            If a gradient is not finite. Nothing has changed then.
        """
        check_real("Optimizer.step", "learning_rate", learning_rate, low=0.0)
        if params.keys() != grads.keys():
            raise ShapeError(
                f"Optimizer.step: `grads` must have the names of `params`; got a difference in "
                f"{sorted(params.keys() ^ grads.keys())}"
            )
        if not params:
            return
        theta, theta_bar = _same_memory(params, grads) or _gathered(params, grads)
        if not np.isfinite(theta_bar.flat).all():
            for name in params:
                check_finite("Optimizer.step", f"gradient of {name}", grads[name])
        self._move(theta, theta_bar, learning_rate, factors or {})
        if theta is not params:
            for name, array in params.items():
                array[...] = theta[name]

    def _move(
        self, theta: FlatParams, theta_bar: FlatParams, learning_rate: float, factors: Mapping[str, float]
    ) -> None:
        """Update all parameters in place by gradients that are finite, which are not written into."""
        slots = self._slots(theta)
        self.steps += 1
        for part, factor in _parts(theta.shapes, factors) if factors else [(slice(None), 1.0)]:
            state = {name: slot[part] for name, slot in slots.items()}
            self._update(theta.flat[part], theta_bar.flat[part], learning_rate * factor, state)

    def _slots(self, theta: FlatParams) -> Params:
        """Return each slot as one flat array over all parameters; `_state` holds views of them, by parameter.

        Raises
        ------
        ShapeError
            If a slot of an earlier run does not fit its parameter.
        """
        if self._layout != (theta.shapes, theta.flat.dtype):
            parts = {
                slot: {f"{slot}/{n}": self._state.get(f"{slot}/{n}", np.zeros_like(a)) for n, a in theta.items()}
                for slot in self.slots
            }
            for slot in self.slots:
                for name, array in theta.items():
                    check_shape("Optimizer.step", f"{slot}/{name}", parts[slot][f"{slot}/{name}"], array.shape)
            gathered = {slot: gather(part) for slot, part in parts.items()}
            self._flat_slots = {slot: part.flat for slot, part in gathered.items()}
            self._state = {name: view for part in gathered.values() for name, view in part.items()}
            self._layout = theta.shapes, theta.flat.dtype
        return self._flat_slots

    @abstractmethod
    def _update(self, parameter: FloatArray, gradient: FloatArray, learning_rate: float, state: Params) -> None:
        """Update all parameters and their slots, flat arrays, in place; `self.steps` counts this update."""

    def state(self) -> dict[str, Array]:
        """Return a copy of everything a resumed run needs: `steps`, and ``<slot>/<parameter>`` arrays."""
        return {"steps": np.array(self.steps), **{key: array.copy() for key, array in self._state.items()}}

    def load_state(self, state: dict[str, Array]) -> None:
        """Continue from what `state` returned.

        Raises
        ------
        FormatError
            If it is not the state of this kind of optimiser. Nothing has changed then.
        """
        slots = {key: array.copy() for key, array in state.items() if key != "steps"}
        foreign = [key for key in slots if key.split("/")[0] not in self.slots]
        if "steps" not in state or state["steps"].dtype.kind != "i" or state["steps"].shape != () or foreign:
            raise FormatError(f"{type(self).__name__}.load_state: `state` must be of this optimiser; got {list(state)}")
        self.steps = int(state["steps"])
        self._state, self._layout = slots, None

    def fresh(self) -> Self:
        """Return an optimiser with the same settings and no state."""
        return dataclasses.replace(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the name and the settings, plain JSON values."""
        settings = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}
        return {"name": self.name, **settings}


def _parts(shapes: Shapes, factors: Mapping[str, float]) -> list[tuple[slice, float]]:
    """Return the successive parts of a memory that have one learning rate each, with its factor."""
    parts: list[tuple[slice, float]] = []
    end = 0
    for name, shape in shapes:
        start, end, factor = end, end + math.prod(shape), factors.get(name, 1.0)
        if parts and parts[-1][1] == factor:
            start = parts.pop()[0].start
        parts.append((slice(start, end), factor))
    return parts


def _same_memory(params: Params, grads: Params) -> tuple[FlatParams, FlatParams] | None:
    """Return both if each lies in one memory, in the same order."""
    if isinstance(params, FlatParams) and isinstance(grads, FlatParams):
        same = params.shapes == grads.shapes and params.flat.dtype == grads.flat.dtype
        return (params, grads) if same and params.whole() and grads.whole() else None
    return None


def _gathered(params: Params, grads: Params) -> tuple[FlatParams, FlatParams]:
    """Return copies of both in one memory each.

    Raises
    ------
    ShapeError, DTypeError
        If they do not match, or the parameters do not share one dtype.
    """
    check_same_dtype("Optimizer.step", **params)
    for name, parameter in params.items():
        check_shape("Optimizer.step", name, grads[name], parameter.shape)
        check_same_dtype("Optimizer.step", parameter=parameter, gradient=grads[name])
    return gather(params), gather({name: grads[name] for name in params})


@dataclass
class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    g <- g + decay w;  v <- momentum v + g;  w <- w - lr v, or w - lr (g + momentum v) with Nesterov's variant.

    The formula is PyTorch's. For the argument `optimizer` of `fit`, or `step` by step.

    Attributes
    ----------
    momentum : float
        0 up to, but not including, 1; 0 is plain gradient descent.
    nesterov : bool
        Needs momentum above 0.
    weight_decay : float
        At least 0; added to the gradient (L2 penalty).

    Raises
    ------
    DomainError
        If a setting is out of range.
    """

    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0

    name: ClassVar[str] = "sgd"
    slots: ClassVar[tuple[str, ...]] = ("velocity",)

    def __post_init__(self) -> None:
        check_fraction("SGD", "momentum", self.momentum)
        check_real("SGD", "weight_decay", self.weight_decay, low=0.0)
        if self.nesterov and self.momentum == 0.0:
            raise DomainError("SGD: `momentum` must be above 0 with nesterov; got 0.0")

    def _update(self, parameter: FloatArray, gradient: FloatArray, learning_rate: float, state: Params) -> None:
        if self.weight_decay:
            gradient = gradient + self.weight_decay * parameter
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity += gradient
        parameter -= learning_rate * (gradient + self.momentum * velocity if self.nesterov else velocity)


@dataclass
class AdamW(Optimizer):
    """Adam with decoupled weight decay; without decay it is Adam [Kingma15], with it AdamW [Loshchilov19].

    w <- (1 - lr decay) w;  m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;
    w <- w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)

    For the argument `optimizer` of `fit`, which counts the steps t from 1, or `step` by step.

    Attributes
    ----------
    beta1, beta2 : float
        0 up to, but not including, 1.
    epsilon : float
        Above 0.
    weight_decay : float
        At least 0.

    Raises
    ------
    DomainError
        If a setting is out of range.

    References
    ----------
    [Kingma15] algorithm 1; [Loshchilov19] algorithm 2, with the decay scaled by the learning rate as in PyTorch.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    name: ClassVar[str] = "adamw"
    slots: ClassVar[tuple[str, ...]] = ("first_moment", "second_moment")

    def __post_init__(self) -> None:
        check_fraction("AdamW", "beta1", self.beta1)
        check_fraction("AdamW", "beta2", self.beta2)
        check_real("AdamW", "epsilon", self.epsilon, above=0.0)
        check_real("AdamW", "weight_decay", self.weight_decay, low=0.0)

    def _update(self, parameter: FloatArray, gradient: FloatArray, learning_rate: float, state: Params) -> None:
        # The corrections undo the pull of the zero start.
        first_correction = 1.0 - self.beta1**self.steps
        second_correction = 1.0 - self.beta2**self.steps
        update_adamw(
            parameter,
            gradient,
            state["first_moment"],
            state["second_moment"],
            beta1=self.beta1,
            rest1=1.0 - self.beta1,
            beta2=self.beta2,
            rest2=1.0 - self.beta2,
            keep=1.0 - learning_rate * self.weight_decay,
            step=learning_rate / first_correction,
            root=second_correction**-0.5,
            epsilon=self.epsilon,
        )


def check_fraction(function: str, name: str, value: float) -> None:
    """Raise `DomainError` unless the value is at least 0 and below 1."""
    if check_real(function, name, value, low=0.0) >= 1.0:
        raise DomainError(f"{function}: `{name}` must be below 1; got {value}")
