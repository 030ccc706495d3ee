"""The factors of all fused adapters: one flat array for the optimiser, one in the order of the packed layouts."""

from __future__ import annotations

import math

import numpy as np

from lieref._flat import FlatParams
from lieref.errors import InternalError
from lieref.kernel.simd.memory import address_of, aligned, placed
from lieref.model.engine.fusion import ONE, ZERO, Fused


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

    def __init__(self, fused: dict[str, Fused], dtype: str) -> None:
        size = sum(f.size for f in fused.values())
        shapes: dict[str, tuple[int, ...]] = {}
        index, scale = np.full(size, ZERO, np.int64), np.ones(size, dtype)
        count = 0
        for name, one in fused.items():
            for factor in one.factors():
                place = slice(factor.offset, factor.offset + factor.index.size)
                index[place] = np.where(factor.index < 0, factor.index, factor.index + count)
                scale[place] = factor.scale
                if factor.name:
                    shapes[f"{name}:{factor.name}"] = factor.shape
                    count += math.prod(factor.shape)
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
