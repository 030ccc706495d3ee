"""One adapted tensor of a network: its method, its factors and where its layer keeps it."""

from __future__ import annotations

import numpy as np

from lieref._record import dataclass
from lieref._types import Array, FloatArray, Params
from lieref.model.layer import Layer
from lieref.param.method import Method


@dataclass(frozen=True)
class Site:
    """A tensor of the file and what is trained in its place.

    Attributes
    ----------
    tensor : str
        Initializer name.
    method : Method
    params : dict of str to array
        Live factors; optimisers update the trainable ones in place.
    groups : int
        Convolution groups.
    layer : Layer or None
        The layer whose weight it is; None for biases and the vectors of a normalisation, stored as they are.
    started : bool
        Whether the inputs that it starts from have been given, so that training does not start it again.
    """

    tensor: str
    method: Method
    params: Params
    groups: int
    layer: Layer | None
    started: bool = False

    @property
    def bias(self) -> str | None:
        """Name of the bias the method moves along with the weight, or None."""
        return self.layer.bias if self.layer is not None and self.method.moves_bias else None

    @property
    def owner(self) -> str:
        """Name of the layer, or of the tensor where it is no layer's weight."""
        return self.tensor if self.layer is None else self.layer.node

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the initializers the site replaces."""
        return (self.tensor,) if self.bias is None else (self.tensor, self.bias)

    def adapted(self, base: dict[str, Array]) -> dict[str, FloatArray]:
        """Return the adapted tensors in the layout of the file, from the base tensors as stored."""
        stored = self.canonical(base[self.tensor])
        weight = self.method.adapted_weight(self.params, stored, self.groups)
        result = {self.tensor: weight if self.layer is None else self.layer.from_canonical(weight)}
        if self.bias is not None:
            result[self.bias] = self.method.adapted_bias(self.params, base[self.bias], stored.shape, self.groups)
        return result

    def pull_back(self, base: dict[str, Array], bars: dict[str, FloatArray]) -> Params:
        """Return the cotangents of the trainable factors from those of the adapted tensors."""
        stored = self.canonical(base[self.tensor])
        weight_bar = self.canonical(bars[self.tensor])
        factor_bars = self.method.adapted_weight_vjp(self.params, stored, self.groups, weight_bar)
        if self.bias is not None:
            through_bias = self.method.adapted_bias_vjp(
                self.params, base[self.bias], stored.shape, self.groups, bars[self.bias]
            )
            factor_bars = {name: bar + through_bias[name] for name, bar in factor_bars.items()}
        return factor_bars

    def dropout_masks(self, stored: Array, generator: np.random.Generator) -> Params:
        """Return what factors are multiplied with in one step of training; empty without dropout."""
        return self.method.dropout_masks(self.canonical(stored).shape, self.groups, generator)

    def canonical(self, stored: Array) -> Array:
        """Return the adapted tensor as its method sees it, from how the file stores it."""
        return stored if self.layer is None else self.layer.to_canonical(stored)
