"""The factors of all adapters: one flat array for the caller, and one in the order in which the kernels read them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lieref._flat import FlatParams
from lieref._types import Array, FloatArray
from lieref.errors import InternalError
from lieref.kernel.simd.memory import address_of, aligned, placed
from lieref.model.engine.adapter import Fused, whole_vectors


@dataclass(frozen=True)
class Factor:
    """Where the elements of one factor are among the factors, in the order of a packed layout.

    Attributes
    ----------
    name : str
        "" for one that is not trained.
    offset : int
    index : int64 array
        Element of the factor at each place, ZERO or ONE where there is a constant.
    scale : array
        What multiplies the element at each place.
    """

    name: str
    offset: int
    index: Array
    scale: FloatArray


ZERO, ONE = -1, -2


def factors_of(fused: Fused) -> list[Factor]:
    """Return the factors a and b of an adapted weight, those that the form has."""
    adapter, forward, axes = fused.adapter, fused.forward, fused.axes
    form, rank = adapter.form, adapter.rank
    depth, padded, channels = forward.depth, forward.lanes, axes.shape[0]
    width = axes.size // channels
    scale = np.full(channels, adapter.scaling)
    if adapter.row_scale is not None:
        scale = scale * adapter.row_scale[fused.number * channels :][:channels]
    packed = forward.arranged(axes.numbered(), ZERO)
    if adapter.outer:
        columns = np.full((rank, whole_vectors(depth)), ZERO, np.int64)
        rows = np.full((rank, whole_vectors(padded)), ZERO, np.int64)
        ranks = np.arange(rank)[:, None]
        numbers = forward.matrix(packed, ZERO)  # of the element in each row and lane: output * width + column of A
        of_a = np.where(numbers < 0, ZERO, numbers % width).max(axis=1)
        of_b = numbers.max(axis=0) // width
        columns[:, :depth] = np.where(of_a < 0, ZERO, ONE if form == "rows" else ranks * width + of_a)
        rows[:, :padded] = np.where(of_b < 0, ZERO, of_b * rank + ranks)
        b_scale = np.where(rows < 0, 1.0, scale[rows // rank])
        a_name, b_name = ("", "xi") if form == "rows" else ("lora_a", "lora_b")
        a = Factor(a_name, fused.left, columns.ravel(), np.ones(columns.size))
        return [a, Factor(b_name, fused.right, rows.ravel(), b_scale.ravel())]
    if form == "dense":
        entries_scale = np.where(packed < 0, 1.0, scale[packed // width])
        return [Factor("xi", fused.left, packed, entries_scale)]
    lanes = np.full(whole_vectors(padded), ZERO, np.int64)
    lanes[:channels] = np.arange(channels)
    lane_scale = np.where(lanes < 0, 1.0, scale[lanes])
    return [
        Factor("lora_a", fused.left, packed, np.ones(packed.size)),
        Factor("lora_b", fused.right, lanes, lane_scale),
    ]


class Factors:
    """Factors and their gradients, as the caller sees them and as the kernels read them.

    Attributes
    ----------
    parameters : FlatParams
        Factors by ``<weight>:<factor>``; see `Adapter` for names and shapes.
    theta_bar : flat array
        Their gradients.
    addresses : dict of str to int
        The context's entries: both arrays, the same numbers where the kernels read and write them (constants included,
        scalings multiplied in), and the orders from one to the other.
    """

    def __init__(self, fused: Mapping[str, Sequence[Fused]], dtype: str) -> None:
        size = sum(one.size for groups in fused.values() for one in groups)
        shapes: dict[str, tuple[int, ...]] = {}
        index, scale = np.full(size, ZERO, np.int64), np.ones(size, dtype)
        count = 0
        for name, groups in fused.items():
            for of_groups in zip(*(factors_of(one) for one in groups), strict=True):
                for factor in of_groups:
                    place = slice(factor.offset, factor.offset + factor.index.size)
                    index[place] = np.where(factor.index < 0, factor.index, factor.index + count)
                    scale[place] = factor.scale
                    count += math.prod(groups[0].shapes.get(factor.name, (0,)))
                if factor.name:
                    length, *others = groups[0].shapes[factor.name]
                    shapes[f"{name}:{factor.name}"] = (len(groups) * length, *others)
        theta = aligned(count + 2, dtype)
        theta[count : count + 2] = 0, 1  # the constants ZERO and ONE
        index[index == ZERO] = count
        index[index == ONE] = count + 1
        self.theta_bar = aligned(count, dtype)
        back = np.zeros(count, np.int64)
        back[index[index < count]] = np.flatnonzero(index < count)
        arrays = {
            "factors": aligned(size, dtype), "factor_gradients": aligned(size, dtype), "theta": theta,
            "theta_bar": self.theta_bar, "factor_index": placed(index), "factor_scale": placed(scale),
            "theta_index": placed(back), "theta_scale": placed(scale[back]),
        }  # fmt: skip
        self._alive = arrays
        if not (((0 <= index) & (index < count + 2)).all() and ((0 <= back) & (back < size)).all()):
            raise InternalError("compile_graph: the orders of factors must stay inside them")
        self.addresses = {name: address_of(array) for name, array in arrays.items()}
        self.parameters = FlatParams(theta[:count], tuple(shapes.items()))

    def gradients(self) -> FlatParams:
        """Return a copy of the gradients, by the names of the parameters."""
        return FlatParams(self.theta_bar.copy(), self.parameters.shapes)
