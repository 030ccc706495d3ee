"""Named mistakes, each as the right answer to another question: what a port that makes it would return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations, product
from typing import Any, Final, TypeAlias

import numpy as np

from lieref._types import Array
from lieref.conformance import formulas
from lieref.conformance.case import Case, Expected
from lieref.conformance.truth import truth

Rearrange: TypeAlias = Callable[[Array], Array]


@dataclass(frozen=True)
class Question:
    """What a mistake amounts to: the right answer to another question, with some outputs rearranged.

    Parameters
    ----------
    op, inputs, attrs
        The other question.
    arrange : dict of str to callable
        Outputs that may come in another arrangement.
    """

    op: str
    inputs: dict[str, Array]
    attrs: dict[str, Any]
    arrange: dict[str, Rearrange] = field(default_factory=dict)

    def answers(self) -> dict[str, list[Expected]]:
        """Return for each output what the mistake may give."""
        found = {name: [e] for name, e in truth(self.op, self.inputs, self.attrs).items()}
        for name in found.keys() & self.arrange.keys():
            found[name].insert(0, rearranged(found[name][0], self.arrange[name]))
        return found


def rearranged(e: Expected, move: Rearrange) -> Expected:
    """Return an expected value with its entries in another order."""
    hi, lo, radius, bound, conversion = map(move, (e.hi, e.lo, e.radius, e.bound, e.conversion))
    floor = None if e.floor is None else move(e.floor)
    return Expected(hi, lo, radius, bound, conversion, e.count, floor)


Answer: TypeAlias = "Question | dict[str, list[Expected]]"
Mistake: TypeAlias = Callable[[Case], Iterator[Answer]]

# --- builders --------------------------------------------------------------------------------------------------------


def attribute(name: str, change: Callable[[Any], Any]) -> Mistake:
    """Return the mistake of reading one attribute wrongly."""

    def ask(case: Case) -> Iterator[Answer]:
        if name in case.attrs and (changed := change(case.attrs[name])) != case.attrs[name]:
            yield Question(case.op, case.inputs, {**case.attrs, name: changed})

    return ask


def reading(*names: str, changes: Callable[[Case, Array], Iterator[Array]], also: Rearrange | None = None) -> Mistake:
    """Return the mistake of reading one input wrongly, and perhaps of writing its cotangent in the same way."""

    def ask(case: Case) -> Iterator[Answer]:
        for name in names:
            if name not in case.inputs:
                continue
            value = case.inputs[name]
            arrange = {f"{name}_bar": also} if also else {}
            for changed in changes(case, value):
                changed = np.asarray(changed, order="C")
                if changed.shape == value.shape and not np.array_equal(changed, value):
                    yield Question(case.op, {**case.inputs, name: changed}, case.attrs, arrange)

    return ask


def as_input(*names: str, change: Rearrange, also: bool = False) -> Mistake:
    """Return the mistake of reading an input changed in one way."""
    return reading(*names, changes=lambda _, value: iter([change(value)]), also=change if also else None)


def operation(op: str, **renamed: str) -> Mistake:
    """Return the mistake of computing another operation; keywords rename inputs (new name = old name)."""

    def ask(case: Case) -> Iterator[Answer]:
        inputs = dict(case.inputs)
        for new, old in renamed.items():
            inputs[new] = inputs.pop(old)
        yield Question(op, inputs, case.attrs)

    return ask


def first_of(*mistakes: Mistake) -> Mistake:
    """Return several forms of one mistake."""

    def ask(case: Case) -> Iterator[Answer]:
        for mistake in mistakes:
            yield from mistake(case)

    return ask


# --- arrangements ----------------------------------------------------------------------------------------------------


def flip(kernel: Array) -> Array:
    """Return a kernel flipped in all its spatial axes."""
    return np.flip(kernel, tuple(range(2, kernel.ndim)))


def transpose(a: Array) -> Array:
    """Return the last two axes exchanged, in the memory of the shape there was."""
    return np.swapaxes(a, -1, -2).reshape(a.shape)


def exchange(kernel: Array) -> Array:
    """Return a kernel with input and output channels exchanged, in the memory of the shape there was."""
    return np.swapaxes(kernel, 0, 1).reshape(kernel.shape)


def channels_last(x: Array) -> Array:
    """Return the memory of an array (N, C, ...) as a port writes it that keeps its channels last."""
    return np.moveaxis(x, 1, -1).reshape(x.shape)


def from_channels_last(x: Array) -> Array:
    """Return an array (N, C, ...) as a port reads it that takes its memory for (N, ..., C)."""
    return np.moveaxis(x.reshape(x.shape[0], *x.shape[2:], x.shape[1]), -1, 1)


def from_kernel_last(w: Array) -> Array:
    """Return a kernel (O, I, ...) as a port reads it that takes its memory for (..., I, O)."""
    return np.moveaxis(w.reshape(*w.shape[2:], w.shape[1], w.shape[0]), (-1, -2), (0, 1))


def orders(n: int, groups: int) -> Iterator[Array]:
    """Return orders of channels that mistakes lead to: reversed, shifted, two exchanged, dealt to groups in turn."""
    index = np.arange(n)
    yield index[::-1]
    yield np.roll(index, 1)
    yield np.roll(index, -1)
    for inner in {groups, n // max(groups, 1), 2} - {1, n}:
        if inner and n % inner == 0:
            yield index.reshape(inner, -1).T.reshape(-1)
    pairs = combinations(range(n), 2) if n <= _ALL_PAIRS else zip(range(n - 1), range(1, n), strict=True)
    for i, j in pairs:
        swapped = index.copy()
        swapped[[i, j]] = j, i
        yield swapped


_ALL_PAIRS: Final = 6
"""Up to so many channels every pair is tried, beyond only neighbours."""


def _grouped(order: Array, groups: int) -> Iterator[Array]:
    """Return the order of channels that an order of groups is."""
    if groups > 1 and len(order) % groups == 0:
        block = np.arange(len(order)).reshape(groups, -1)
        for permuted in orders(groups, 1):
            yield block[permuted].reshape(-1)


def in_other_orders(axis: int, whole_groups: bool) -> Callable[[Case, Array], Iterator[Array]]:
    """Return an array with channels on an axis in other orders, whole conv groups or any."""

    def changes(case: Case, value: Array) -> Iterator[Array]:
        groups = int(case.attrs.get("groups", 1))
        found = _grouped(np.arange(value.shape[axis]), groups) if whole_groups else orders(value.shape[axis], groups)
        for order in found:
            yield np.take(value, order, axis=axis)

    return changes


def without_an_end(case: Case, value: Array) -> Iterator[Array]:
    """Return an array without the first or the last slice of each axis."""
    for axis, end in product(range(value.ndim), (-1, 0)):
        if value.shape[axis] > 1:
            changed = value.copy()
            np.moveaxis(changed, axis, 0)[end] = 0
            yield changed


def _channels_last(case: Case) -> Iterator[Answer]:
    """Return what ports with channels last would compute from and write into arrays with channels first."""
    x = "x_bar" if case.op.endswith("_vjp") else "y"
    for data, kernel, write in product((False, True), (None, channels_first_kernel, from_kernel_last), (True, False)):
        inputs = dict(case.inputs)
        for name in ("x", "y_bar", "target"):
            if data and name in inputs:
                inputs[name] = np.ascontiguousarray(from_channels_last(inputs[name]))
        if kernel is not None and "weight" in inputs:
            inputs["weight"] = np.ascontiguousarray(kernel(inputs["weight"]))
        arrange: dict[str, Rearrange] = {x: channels_last} if write else {}
        if write and kernel is not None:
            arrange["weight_bar"] = channels_last
        if data or kernel is not None or write:
            yield Question(case.op, inputs, case.attrs, arrange)


channels_first_kernel = from_channels_last
"""A kernel (O, ..., I) is data (N, ..., C) to whoever reads it."""


def _other_padding(case: Case) -> Iterator[Answer]:
    pads = case.attrs["pads"]
    half = len(pads) // 2
    if not any(pads):
        return
    both = [(0, 0), (0, 0), *zip(pads[:half], pads[half:], strict=True)]
    for mode in ("edge", "reflect", "wrap"):
        if all(max(p) < n for p, n in zip(both, case.inputs["x"].shape, strict=True)):
            padded = np.pad(case.inputs["x"], both, mode=mode)
            yield Question(case.op, {**case.inputs, "x": padded}, {**case.attrs, "pads": [0] * len(pads)})


def _factor_left_out(*names: str) -> Mistake:
    return first_of(*(as_input(name, change=np.ones_like) for name in names))


# --- the table -------------------------------------------------------------------------------------------------------


def _always(value: str, _: Any) -> str:
    return value


def _swap_halves(pads: list[int]) -> list[int]:
    half = len(pads) // 2
    return pads[half:] + pads[:half]


_LAYOUTS: Final[dict[str, Mistake]] = {
    f"the {name} layout of low-rank factors": attribute("matricisation", partial(_always, name))
    for name in ("unfold", "view", "structured")
}
_MAPS: Final[dict[str, Mistake]] = {
    "the first-order map or its gradient (1 + delta) instead of exp": attribute("map", lambda _: "taylor1"),
    "exp or its gradient instead of the first-order map": attribute("map", lambda _: "exp"),
    "an additive update": attribute("group", lambda _: "additive"),
    "a missing scaling": attribute("scaling", lambda _: 1.0),
}
FLIPPED: Final = "a flipped kernel (a true convolution, not a correlation)"
TRANSPOSED: Final = "a transposed kernel (its spatial axes, or its channels, exchanged)"
CHANNELS: Final = "channels in another order"
GROUPS: Final = "conv groups in another order"
NHWC: Final = "channels last where they come first (NHWC data, OHWI or HWIO kernels)"
TERM: Final = "a sum without its first or last term (channel, sample, row or tap)"
FACTOR: Final = "a gradient without one of its factors"
SERIES: Final = "a series of exp that ends too early"
CANCELLED: Final = "exp minus one as a difference: its digits cancel"

_PLACES: Final[dict[str, Mistake]] = {
    "begin and end pads swapped": attribute("pads", _swap_halves),
    "dilations ignored": attribute("dilations", lambda values: [1] * len(values)),
    "dilations one too small": attribute("dilations", lambda values: [max(v - 1, 1) for v in values]),
    "dilations one too large": attribute("dilations", lambda values: [v + 1 if v > 1 else v for v in values]),
    "strides ignored": attribute("strides", lambda values: [1] * len(values)),
}
_CONV: Final[dict[str, Mistake]] = {
    FLIPPED: as_input("weight", change=flip, also=True),
    **_PLACES,
    "a missing bias": as_input("bias", change=np.zeros_like),
    TRANSPOSED: first_of(
        as_input("weight", change=transpose, also=True),
        as_input("weight", change=exchange, also=True),
        as_input("weight", change=lambda w: flip(transpose(w)), also=True),
    ),
    NHWC: _channels_last,
    GROUPS: first_of(
        reading("x", changes=in_other_orders(1, True)),
        reading("weight", "bias", changes=in_other_orders(0, True)),
        reading("y_bar", changes=in_other_orders(1, True)),
    ),
    CHANNELS: first_of(
        reading("x", "weight", "y_bar", changes=in_other_orders(1, False)),
        reading("weight", "bias", changes=in_other_orders(0, False)),
    ),
    "something else than zeros in the padding": _other_padding,
    TERM: reading("x", "weight", "y_bar", changes=without_an_end),
}
_FACTOR_TERM: Final = reading(
    "lora_a", "lora_b", "core", "coefficients", "atoms", "delta_bar", "weight_bar", changes=without_an_end
)
_ADAPTED: Final[dict[str, Mistake]] = {
    **_LAYOUTS,
    **_MAPS,
    FLIPPED: as_input("base_weight", change=flip),
    **_PLACES,
    "a missing bias": as_input("bias", change=np.zeros_like),
    NHWC: _channels_last,
    CHANNELS: reading("x", changes=in_other_orders(1, False)),
    "a loss without its target": as_input("target", change=np.zeros_like),
    FACTOR: _factor_left_out("base_weight"),
    TERM: reading("x", "lora_a", "lora_b", changes=without_an_end),
}
_WEIGHT: Final[dict[str, Mistake]] = {
    **_LAYOUTS,
    **_MAPS,
    FACTOR: _factor_left_out("base_weight", "weight_bar"),
    TERM: _FACTOR_TERM,
}
_PRODUCT: Final[dict[str, Mistake]] = {
    **_LAYOUTS,
    "a missing scaling": _MAPS["a missing scaling"],
    TERM: _FACTOR_TERM,
}
_EXPM: Final[dict[str, Mistake]] = {
    "a transposed matrix": as_input("a", change=transpose),
    SERIES: formulas.matrix_series,
}
_DERIVATIVE: Final[dict[str, Mistake]] = {
    **_EXPM,
    "the derivative of exp as if the matrices commuted": formulas.commuting,
}

SUSPECTS: Final[dict[str, Mapping[str, Mistake]]] = {
    "conv": _CONV,
    "conv_vjp": _CONV,
    "hadamard": {
        "the first-order map 1 + delta instead of exp": operation("taylor1"),
        "the change instead of the changed weight": operation("hadamard_delta"),
        "the wrong sign of delta": as_input("delta", change=np.negative),
        "a missing factor base_weight": _factor_left_out("base_weight"),
        SERIES: formulas.short_exp,
    },
    "hadamard_vjp": {
        "the first-order gradient, without the factor exp(delta)": operation("taylor1_vjp"),
        FACTOR: _factor_left_out("base_weight", "weight_bar"),
        "the wrong sign of delta": as_input("delta", change=np.negative),
        SERIES: formulas.short_exp,
    },
    "hadamard_delta": {
        "the first-order change base_weight delta": operation("taylor1_vjp", weight_bar="delta"),
        "the changed weight instead of the change": operation("hadamard"),
        SERIES: formulas.short_exp,
        CANCELLED: formulas.difference,
    },
    "taylor1": {"exp instead of the first-order map": operation("hadamard")},
    "taylor1_vjp": {
        "the gradient of exp instead of the first-order one": operation("hadamard_vjp"),
        FACTOR: _factor_left_out("base_weight", "weight_bar"),
    },
    "expm": {
        **_EXPM,
        "exp(a) - I": operation("expm_delta"),
        "the Cayley map instead of exp": formulas.cayley,
    },
    "expm_delta": {
        **_EXPM,
        "exp(a), the identity not taken off": operation("expm"),
        "the Cayley map instead of exp": formulas.cayley,
        CANCELLED: formulas.difference,
    },
    "expm_frechet": _DERIVATIVE,
    "expm_vjp": {
        "a missing transpose: the derivative in the direction of the cotangent": operation(
            "expm_frechet", a_dot="g_bar"
        ),
        "a transposed cotangent": as_input("g_bar", change=transpose),
        "the first-order gradient: the cotangent itself": as_input("a", change=np.zeros_like),
        **_DERIVATIVE,
    },
    "low_rank": _PRODUCT,
    "low_rank_vjp": _PRODUCT,
    "tucker": _PRODUCT,
    "tucker_vjp": _PRODUCT,
    "atoms": {TERM: _FACTOR_TERM},
    "atoms_vjp": {TERM: _FACTOR_TERM},
    "low_rank_expm_vjp": {"the first-order gradient": as_input("lora_a", change=np.zeros_like)},
    "adapted_weight": _WEIGHT,
    "adapted_weight_vjp": _WEIGHT,
    "adapted_conv": _ADAPTED,
    "adapted_conv_vjp": _ADAPTED,
    "optimizer_step": {
        "no weight decay": attribute("weight_decay", lambda _: 0.0),
        "no bias correction, or that of another step": attribute("step", lambda step: step + 1),
        "plain momentum instead of Nesterov's, or the other way round": attribute("nesterov", lambda used: not used),
        "no momentum": first_of(attribute("momentum", lambda _: 0.0), as_input("velocity", change=np.zeros_like)),
    },
    "training": _LAYOUTS | _MAPS | {"no momentum": attribute("momentum", lambda _: 0.0)},
}
"""Operation -> description -> what the mistake amounts to: only where it can occur."""
