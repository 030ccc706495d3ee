"""The shape and dtype of what each operator gives, from those of its inputs, without running it.

A rule checks what the operator checks, so that a malformed network is refused when it is loaded, whatever runs it.
An axis whose extent is not known (None) fits anything; an input whose numbers are known (constants, shape arithmetic)
carries them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from lieref.errors import DomainError, DTypeError, ShapeError, UnsupportedError
from lieref.op.axes import either, integers, many_axes, one_axis
from lieref.op.cast import DTYPES, check_type
from lieref.op.constant import constant as constant_value
from lieref.op.gather import check_indices, slices
from lieref.op.pad import amounts
from lieref.op.spec import (
    Extents,
    TensorSpec,
    broadcast_extents,
    check_dtypes,
    differ,
    given_value,
    need_bool,
    need_float,
    product,
    text,
    total,
    unknown_extents,
)  # fmt: skip

Rule: TypeAlias = Callable[..., TensorSpec]
"""``rule(*inputs, **attributes) -> TensorSpec``; an absent optional input is None."""


def same(x: TensorSpec, *others: TensorSpec | None, **attrs: Any) -> TensorSpec:
    """Return what the first input is."""
    return TensorSpec(x.shape, x.dtype)


def floats(function: str) -> Rule:
    """Return the rule of an element-wise function of floats."""

    def rule(x: TensorSpec, *others: TensorSpec | None, **attrs: Any) -> TensorSpec:
        need_float(function, x)
        return TensorSpec(x.shape, x.dtype)

    return rule


def clip(
    x: TensorSpec, low: TensorSpec | None = None, high: TensorSpec | None = None, *, min: Any = None, max: Any = None
) -> TensorSpec:
    """Return the shape of x; a limit is one number."""
    for name, tensor, attribute in (("min", low, min), ("max", high, max)):
        either("Clip", name, tensor, attribute)
        if tensor is not None and math.prod(extent or 1 for extent in tensor.shape) != 1:
            raise ShapeError(f"Clip: `{name}` must be one number; got shape {text(tensor.shape)}")
    check_dtypes("Clip", x, low, high)
    return TensorSpec(x.shape, x.dtype)


def dropout(
    x: TensorSpec, ratio_input: TensorSpec | None = None, training_mode: TensorSpec | None = None, **attrs: Any
) -> TensorSpec:
    """Return the shape of x; training is refused."""
    if training_mode is not None and training_mode.value is not None and np.any(training_mode.value):
        raise UnsupportedError("Dropout: `training_mode` must be false; got true")
    return TensorSpec(x.shape, x.dtype)


def broadcast(function: str, *, result: Any = None, one_dtype: bool = True, of_floats: bool = False) -> Rule:
    """Return the rule of an operator on inputs that broadcast."""

    def rule(*inputs: TensorSpec, **attrs: Any) -> TensorSpec:
        if of_floats:
            need_float(function, inputs[0])
        if one_dtype:
            check_dtypes(function, *inputs)
        return TensorSpec(broadcast_extents(function, *inputs), np.dtype(result) if result else inputs[0].dtype)

    return rule


def logical(function: str) -> Rule:
    """Return the rule of an operator on truth values that broadcast."""

    def rule(*inputs: TensorSpec) -> TensorSpec:
        for each in inputs:
            need_bool(function, each)
        return TensorSpec(broadcast_extents(function, *inputs), np.dtype(bool))

    return rule


def truth(x: TensorSpec, **attrs: Any) -> TensorSpec:
    """Return the shape of x, whose entries are asked something."""
    return TensorSpec(x.shape, np.dtype(bool))


def where(condition: TensorSpec, a: TensorSpec, b: TensorSpec) -> TensorSpec:
    """Return the shape of all three together."""
    need_bool("Where", condition)
    check_dtypes("Where", a, b)
    return TensorSpec(broadcast_extents("Where", condition, a, b), a.dtype)


def cast(x: TensorSpec, *, to: int, round_mode: str = "up", saturate: int = 1) -> TensorSpec:
    """Return the shape of x in another dtype."""
    if to not in DTYPES:
        raise UnsupportedError(f"Cast: `to` must be one of {', '.join(map(str, DTYPES))}; got {to}")
    return TensorSpec(x.shape, np.dtype(DTYPES[to]))


def cast_like(x: TensorSpec, like: TensorSpec, *, round_mode: str = "up", saturate: int = 1) -> TensorSpec:
    """Return the shape of x in the dtype of the other input."""
    check_type("CastLike", like.dtype)
    return TensorSpec(x.shape, like.dtype)


def constant(**attrs: Any) -> TensorSpec:
    """Return the value itself."""
    return TensorSpec.of(constant_value(**attrs))


def shape_of(x: TensorSpec, *, start: int = 0, end: int | None = None) -> TensorSpec:
    """Return the extents; they are known where every one of them is."""
    chosen = x.shape[start:end]
    known = [extent for extent in chosen if extent is not None]
    value = np.array(known, np.int64) if len(known) == len(chosen) else None
    return TensorSpec((len(chosen),), np.dtype(np.int64), value)


def softmax(function: str) -> Rule:
    """Return the rule of Softmax, LogSoftmax and Hardmax."""

    def rule(x: TensorSpec, *, axis: int = -1, coerce_2d: int = 0) -> TensorSpec:
        need_float(function, x)
        one_axis(function, axis, x.ndim)
        return TensorSpec(x.shape, x.dtype)

    return rule


def concat(*parts: TensorSpec, axis: int) -> TensorSpec:
    """Return the shape of the inputs side by side."""
    check_dtypes("Concat", *parts)
    place = one_axis("Concat", axis, parts[0].ndim)
    others: Extents = parts[0].shape
    for part in parts:
        agree = part.ndim == len(others) and not any(
            i != place and differ(a, b) for i, (a, b) in enumerate(zip(part.shape, others, strict=True))
        )
        if not agree:
            shapes = ", ".join(text(p.shape) for p in parts)
            raise ShapeError(f"Concat: inputs must agree on every axis but {place}; got shapes {shapes}")
        others = tuple(b if a is None else a for a, b in zip(part.shape, others, strict=True))
    extent = total(part.shape[place] for part in parts)
    return TensorSpec((*others[:place], extent, *others[place + 1 :]), parts[0].dtype)


def flatten(x: TensorSpec, *, axis: int = 1) -> TensorSpec:
    """Return (axes before `axis`, the others)."""
    if not -x.ndim <= axis <= x.ndim:
        raise DomainError(f"Flatten: `axis` must be {-x.ndim} to {x.ndim}; got {axis}")
    axis += x.ndim if axis < 0 else 0
    return TensorSpec((product(x.shape[:axis]), product(x.shape[axis:])), x.dtype)


def reshape(x: TensorSpec, shape: TensorSpec, *, allowzero: int = 0) -> TensorSpec:
    """Return the target, -1 and 0 resolved."""
    if shape.value is None:
        return TensorSpec(unknown_extents("Reshape", "shape", shape), x.dtype)
    target: list[int | None] = list(integers("Reshape", "shape", shape.value))
    if not allowzero:
        if any(extent == 0 and axis >= x.ndim for axis, extent in enumerate(target)):
            raise ShapeError(
                f"Reshape: a 0 in `shape` must have an axis of x to copy; got {tuple(target)} for {text(x.shape)}"
            )
        target = [x.shape[axis] if extent == 0 else extent for axis, extent in enumerate(target)]
    if target.count(-1) > 1 or any(extent is not None and extent < -1 for extent in target):
        raise ShapeError(f"Reshape: `shape` must have at most one -1 and nothing below; got {tuple(target)}")
    size = product(x.shape)
    known = product(tuple(extent for extent in target if extent != -1))
    if -1 in target:
        if known == 0:
            raise ShapeError(f"Reshape: `shape` must not mix -1 with an empty axis; got {tuple(target)}")
        if size is not None and known is not None and size % known:
            raise ShapeError(f"Reshape: `shape` must keep the {size} elements of {text(x.shape)}; got {tuple(target)}")
        target[target.index(-1)] = None if size is None or known is None else size // known
    elif differ(known, size):
        raise ShapeError(f"Reshape: `shape` must keep the {size} elements of {text(x.shape)}; got {tuple(target)}")
    return TensorSpec(tuple(target), x.dtype)


def transpose(x: TensorSpec, *, perm: Any = None) -> TensorSpec:
    """Return the axes in their new order."""
    order = tuple(reversed(range(x.ndim))) if perm is None else integers("Transpose", "perm", perm)
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(f"Transpose: `perm` must be a permutation of {x.ndim} axes; got {order}")
    return TensorSpec(tuple(x.shape[axis] for axis in order), x.dtype)


def squeeze(x: TensorSpec, axes_input: TensorSpec | None = None, *, axes: Any = None) -> TensorSpec:
    """Return the shape without axes of extent one."""
    given = given_value("Squeeze", "axes", axes_input, axes)
    if given is None:
        if None in x.shape or (axes_input is not None and axes_input.value is None):
            raise UnsupportedError("Squeeze: `axes` must be given where an extent is not known")
        return TensorSpec(tuple(extent for extent in x.shape if extent != 1), x.dtype)
    drop = many_axes("Squeeze", given, x.ndim)
    if any(differ(x.shape[axis], 1) for axis in drop):
        raise ShapeError(f"Squeeze: `axes` must have extent one; got axes {drop} of shape {text(x.shape)}")
    return TensorSpec(tuple(extent for axis, extent in enumerate(x.shape) if axis not in drop), x.dtype)


def unsqueeze(x: TensorSpec, axes_input: TensorSpec | None = None, *, axes: Any = None) -> TensorSpec:
    """Return the shape with axes of extent one inserted."""
    given = given_value("Unsqueeze", "axes", axes_input, axes)
    if given is None:
        raise DomainError("Unsqueeze: `axes` must be given as a constant; got none")
    count = len(integers("Unsqueeze", "axes", given))
    new = many_axes("Unsqueeze", given, x.ndim + count)
    rest = iter(x.shape)
    return TensorSpec(tuple(1 if axis in new else next(rest) for axis in range(x.ndim + count)), x.dtype)


def expand(x: TensorSpec, shape: TensorSpec) -> TensorSpec:
    """Return x's shape broadcast against the target."""
    target = (
        unknown_extents("Expand", "shape", shape) if shape.value is None else integers("Expand", "shape", shape.value)
    )
    return TensorSpec(broadcast_extents("Expand", x, TensorSpec(target, x.dtype)), x.dtype)


def tile(x: TensorSpec, repeats: TensorSpec) -> TensorSpec:
    """Return each extent times its repeats."""
    if repeats.value is None:
        return TensorSpec((None,) * x.ndim, x.dtype)
    counts = integers("Tile", "repeats", repeats.value)
    if len(counts) != x.ndim or min(counts, default=0) < 0:
        raise ShapeError(f"Tile: `repeats` must be {x.ndim} integers of at least 0; got {counts}")
    return TensorSpec(tuple(None if n is None else n * c for n, c in zip(x.shape, counts, strict=True)), x.dtype)


def pad(
    x: TensorSpec, pads_input: TensorSpec | None = None, constant_value: TensorSpec | None = None,
    axes: TensorSpec | None = None, *, mode: str = "constant", pads: Any = None, value: float | None = None,
) -> TensorSpec:  # fmt: skip
    """Return each extent with what is added to it."""
    either("Pad", "constant_value", constant_value, value)
    if constant_value is not None and math.prod(extent or 1 for extent in constant_value.shape) != 1:
        raise ShapeError(f"Pad: `constant_value` must be one number; got shape {text(constant_value.shape)}")
    given = given_value("Pad", "pads", pads_input, pads)
    if given is None or (axes is not None and axes.value is None):
        if pads_input is None and pads is None:
            raise ShapeError("Pad: `pads` must be given; got none")
        return TensorSpec((None,) * x.ndim, x.dtype)
    added = amounts("Pad", x.shape, given, None if axes is None else axes.value, mode)
    return TensorSpec(
        tuple(None if n is None else n + b + e for n, (b, e) in zip(x.shape, added, strict=True)), x.dtype
    )


def take_slice(
    x: TensorSpec, starts_input: TensorSpec | None = None, ends_input: TensorSpec | None = None,
    axes_input: TensorSpec | None = None, steps: TensorSpec | None = None,
    *, starts: Any = None, ends: Any = None, axes: Any = None,
) -> TensorSpec:  # fmt: skip
    """Return how many elements lie between the limits."""
    given = (("starts", starts_input, starts), ("ends", ends_input, ends), ("axes", axes_input, axes))
    first, last, chosen = (given_value("Slice", name, tensor, attribute) for name, tensor, attribute in given)
    if any(spec is not None and spec.value is None for spec in (starts_input, ends_input, axes_input, steps)):
        return TensorSpec((None,) * x.ndim, x.dtype)
    if first is None or last is None:
        raise DomainError("Slice: `starts` and `ends` must be given; got none")
    index = slices(x.shape, first, last, chosen, steps and steps.value)
    shape = (
        extent if item == slice(None) else None if extent is None else len(range(*item.indices(extent)))
        for extent, item in zip(x.shape, index, strict=True)
    )
    return TensorSpec(tuple(shape), x.dtype)


def gather(x: TensorSpec, indices: TensorSpec, *, axis: int = 0) -> TensorSpec:
    """Return the shape of x with the axes of `indices` in place of `axis`."""
    place = one_axis("Gather", axis, x.ndim)
    extent = x.shape[place]
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"Gather: `indices` must be integers; got {indices.dtype}")
    if indices.value is not None and extent is not None:
        check_indices(indices.value, extent)
    return TensorSpec((*x.shape[:place], *indices.shape, *x.shape[place + 1 :]), x.dtype)


def reduce(function: str, *, empty: bool, of_floats: bool = False) -> Rule:
    """Return the rule of a reduction; `empty` says whether a reduced axis may be empty."""

    def rule(
        x: TensorSpec, axes_input: TensorSpec | None = None,
        *, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0,
    ) -> TensorSpec:  # fmt: skip
        if of_floats:
            need_float(function, x)
        given = given_value(function, "axes", axes_input, axes)
        if given is None and axes_input is not None:
            raise UnsupportedError(f"{function}: `axes` must be constant")
        every = () if noop_with_empty_axes else tuple(range(x.ndim))
        over = every if given is None or np.size(given) == 0 else many_axes(function, given, x.ndim)
        if not empty and any(x.shape[axis] == 0 for axis in over):
            raise ShapeError(f"{function}: reduced axes must not be empty; got shape {text(x.shape)} and axes {over}")
        kept = ((axis, 1 if axis in over else extent) for axis, extent in enumerate(x.shape))
        return TensorSpec(tuple(extent for axis, extent in kept if keepdims or axis not in over), x.dtype)

    return rule
