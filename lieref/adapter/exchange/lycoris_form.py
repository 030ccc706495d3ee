"""What one module of a LyCORIS file is here: methods with their factors, and the helpers that its algorithms share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lieref._types import FloatArray, Params, Shape
from lieref.adapter.exchange.factors import Factors, dense
from lieref.errors import DomainError, FormatError, UnsupportedError
from lieref.param._base import Parameterisation
from lieref.param.method import Method

READ, WRITE = "import lycoris", "export lycoris"
"""How error messages call the two directions."""


@dataclass(frozen=True)
class Target:
    """The tensors of the network that one module stands for.

    Attributes
    ----------
    name : str
        The module's name, for messages.
    weight : float64 array
        (O, I/groups, *kernel), (O, I), or the scale (n,) of a normalisation.
    bias : float64 array or None
        (O,), or the shift of a normalisation.
    groups : int
        Conv groups.
    """

    name: str
    weight: FloatArray
    bias: FloatArray | None = None
    groups: int = 1

    @property
    def shared(self) -> dict[str, bool]:
        """The option that gives all conv groups one set of factors: LyCORIS's see the whole (O, I/groups)."""
        return {"share_groups": True} if self.groups > 1 else {}


@dataclass(frozen=True)
class Adapted:
    """An adapted tensor of lieref: its method and its factors."""

    method: Method
    factors: Params


def whole(target: Target, weight: FloatArray, why: str, said: Sequence[str] = (), *, linear: bool = True) -> Factors:
    """Return the difference of an adapted weight from the base as a whole tensor.

    Parameters
    ----------
    target : Target
    weight : float64 array
        W'.
    why : str
        Why no factors stand for it.
    said : list of str
        What else is to be said.
    linear : bool
        Whether the difference is that of any base: what was computed from this base has no rows to be scaled.
    """
    with np.errstate(over="ignore"):
        change = weight - target.weight
    if not np.isfinite(change).all():
        raise DomainError(f"{READ}: `{target.name}` must make a finite weight; got an overflow")
    result = dense(change, why)
    return replace(result, rows=result.rows if linear else (), notes=(*said, *result.notes))


def as_matrix(target: Target, key: str, array: FloatArray, rows: int | None, columns: Shape | None) -> FloatArray:
    """Return a factor (rows, *columns) as a matrix; ones behind its shape do not count, and None is any size.

    Raises
    ------
    FormatError
        If the shape is another.
    """
    wanted = (rows, *(columns or (None,)))
    if array.ndim < 2 or not _fits(array.shape, wanted):
        text = ", ".join("r" if size is None else str(size) for size in wanted)
        raise FormatError(f"{READ}: `{target.name}.{key}` must have shape ({text}); got {array.shape}")
    return array.reshape(array.shape[0], -1)


def _fits(shape: Shape, wanted: tuple[int | None, ...]) -> bool:
    longest = max(len(shape), len(wanted))
    here = (*shape, *(1,) * (longest - len(shape)))
    there = (*wanted, *(1,) * (longest - len(wanted)))
    return all(size >= 1 and other in (None, size) for size, other in zip(here, there, strict=True))


def same_rank(target: Target, **ranks: int) -> int:
    """Return the one rank of all factors.

    Raises
    ------
    FormatError
        If they differ.
    """
    if len(set(ranks.values())) > 1:
        raise FormatError(f"{READ}: the factors of `{target.name}` must have one rank; got {ranks}")
    return next(iter(ranks.values()))


def number(target: Target, key: str, array: FloatArray) -> float:
    """Return the one finite number of a tensor."""
    if array.size != 1:
        raise FormatError(f"{READ}: `{target.name}.{key}` must be one number; got shape {array.shape}")
    value = float(array.reshape(()))
    if not math.isfinite(value):
        raise DomainError(f"{READ}: `{target.name}.{key}` must be finite; got {value}")
    return value


def alpha_of(tensors: Mapping[str, FloatArray], target: Target, rank: int) -> tuple[dict[str, float], float, list[str]]:
    """Return the option lora_alpha, the scale alpha / rank, and what is to be said.

    LyCORIS takes 0 for "none", which is the rank: s = 1. rs-LoRA is in the number: the file holds alpha sqrt(r).
    """
    if "alpha" not in tensors:
        return {}, 1.0, [f"no alpha in the file: the rank, {rank}, is taken"]
    alpha = number(target, "alpha", tensors["alpha"])
    if alpha == 0:
        return {}, 1.0, [f"alpha 0 stands for the rank, {rank}, in LyCORIS; written again, it is {rank}"]
    if alpha < 0:
        raise UnsupportedError(f"{READ}: `{target.name}.alpha` must be above 0; got {alpha}")
    return ({} if alpha == rank else {"lora_alpha": alpha}), alpha / rank, []


def written(value: float, like: FloatArray) -> FloatArray:
    """Return one number as an array without axes, float32 or wider."""
    return np.asarray(value, np.float64 if like.dtype == np.float64 else np.float32)


def one_group(
    form: Parameterisation, factors: Params, target: Target, left: tuple[str, ...]
) -> tuple[Params, int] | None:
    """Return the factors over all conv groups as those of one matrix, and how many there were; None if that is larger.

    Rows of group g are B_g A_g; with B = blockdiag(B_1, ..., B_G) and A = the A_g one below the other they are B A, so
    that G sets of factors are one set of G times the rank. Factors named in `left` stand where B does.
    """
    groups = form.factor_groups(target.weight.shape, target.groups)
    apart = form.split(factors, target.weight.shape, target.groups)
    if groups == 1:
        return {name: factor[0] for name, factor in apart.items()}, 1
    joined: Params = {}
    for name, factor in apart.items():
        _, rows, columns = factor.shape
        if name in left:
            whole = np.zeros((groups, rows, groups, columns), factor.dtype)
            whole[range(groups), :, range(groups)] = factor
            joined[name] = whole.reshape(groups * rows, groups * columns)
        else:
            joined[name] = factor.reshape(groups * rows, columns)
    if sum(factor.size for factor in joined.values()) >= target.weight.size:
        return None
    return joined, groups
