"""Which adapters the engine computes itself, from the algebra element to the weight and back.

Those that act entry by entry, with a map the engine has. Of a low rank in the `unfold` matricisation that no conv
groups but those of a depthwise layer share, and of a factor for each output channel, the engine takes the factors; of
any other parameterisation it takes xi, and its cotangent comes back. Where a factor multiplies the bias of its output
channel too, that vector is made and pulled back beside the engine. A BatchNormalization folded into the layer
multiplies row o of the weight by a[o]: under the Hadamard group it commutes with the adapter, and to an added one it
gives the factor a[o]. Every other adapter is computed outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lieref._flat import FlatParams, Shapes, in_place
from lieref._types import Array, FloatArray, Params, Shape
from lieref.group.action import ElementWise, ScaleMode
from lieref.group.maps import Bounded, Exp, Map, Taylor
from lieref.model.engine import Adapter
from lieref.model.fold import Fold
from lieref.model.site import Site
from lieref.param._base import Parameterisation
from lieref.param.combination import Combination
from lieref.param.dense import Dense
from lieref.param.low_rank import LowRank


@dataclass(frozen=True)
class FusedSite:
    """An adapter computed inside the engine.

    Attributes
    ----------
    site : Site
    weight : str
        Initializer of the folded graph; it holds the base.
    adapter : Adapter
    shape : tuple of int
        Of the weight, (O, I / groups, *kernel).
    parameterisation : Parameterisation or None
        What makes xi of the factors, where the engine takes xi.
    """

    site: Site
    weight: str
    adapter: Adapter
    shape: Shape
    parameterisation: Parameterisation | None

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What an engine is compiled for."""
        a = self.adapter
        rows = b"" if a.row_scale is None else a.row_scale.tobytes()
        return self.weight, a.map, a.form, a.rank, a.scaling, a.bound, rows

    @property
    def tensor(self) -> str:
        """Initializer of the file."""
        return self.site.tensor

    @cached_property
    def names(self) -> tuple[tuple[str, str, str], ...]:
        """Of each factor the engine computes with: its name there, in the site, and in the network."""
        names = self.site.params if self.parameterisation is None else ("xi",)
        return tuple((f"{self.weight}:{name}", name, f"{self.tensor}:{name}") for name in names)

    def factors(self) -> Params:
        """Return what the engine computes with, the live factors or their xi, by the engine's names."""
        params = self.site.params
        if self.parameterisation is not None:
            params = {"xi": self.parameterisation.delta(params, self.shape, self.site.groups)}
        return {inside: params[name] for inside, name, _ in self.names}

    def pull_back(self, bars: Params) -> Params:
        """Return the cotangents of the factors by the network's names, from the engine's by its own."""
        params = self.site.params
        if self.parameterisation is None:
            return {outside: bars[inside].reshape(params[name].shape) for inside, name, outside in self.names}
        xi_bar = bars[self.names[0][0]].reshape(self.shape)
        found = self.parameterisation.delta_vjp(params, self.shape, self.site.groups, xi_bar)
        return {f"{self.tensor}:{name}": bar for name, bar in found.items()}


@dataclass(frozen=True)
class Outside:
    """Why an adapter is computed in NumPy, and what would bring it into the engine."""

    reason: str
    remedy: str


@dataclass(frozen=True)
class FusedSites:
    """The adapters that one engine computes, in the order of its network."""

    sites: tuple[FusedSite, ...] = ()

    @cached_property
    def key(self) -> tuple[object, ...]:
        """What an engine is compiled for."""
        return tuple(site.key for site in self.sites)

    @cached_property
    def _live(self) -> FlatParams | None:
        """The live factors by the engine's names, where they lie in one memory."""
        if any(site.parameterisation is not None for site in self.sites):
            return None
        found = in_place({name: factor for site in self.sites for name, factor in site.factors().items()})
        return found if isinstance(found, FlatParams) else None

    @cached_property
    def _outside(self) -> Shapes:
        """Names in the network, and shapes, of the live factors."""
        return tuple((outside, site.site.params[name].shape) for site in self.sites for _, name, outside in site.names)

    def fill(self, parameters: FlatParams) -> None:
        """Write what the engine computes with into its parameters."""
        live = self._live
        if live is not None and list(live) == list(parameters):
            parameters.flat[...] = live.flat
            return
        factors: Params = {}
        for site in self.sites:
            factors.update(site.factors())
        np.concatenate([factors[name].ravel() for name in parameters], out=parameters.flat)

    def pull_back(self, bars: Params) -> Params:
        """Return the cotangents of the factors by the network's names, from the engine's by its own."""
        live = self._live
        if live is not None and isinstance(bars, FlatParams) and list(live) == list(bars):
            return bars.renamed(self._outside)
        found: Params = {}
        for site in self.sites:
            found.update(site.pull_back(bars))
        return found


ENTRYWISE = "a method that acts entry by entry, such as lora or liera"
"""What the engine computes whatever the parameterisation."""


def fused_site(
    site: Site, fold: Fold | None, tensors: dict[str, Array], adapted: frozenset[str]
) -> FusedSite | Outside:
    """Return a site as the engine computes it, or why it cannot.

    Parameters
    ----------
    site : Site
    fold : Fold or None
        The one its weight belongs to.
    tensors : dict of str to array
        Tensors of the file, statistics as they are now.
    adapted : frozenset of str
        All tensors that carry an adapter: one on the bias or the BatchNormalization of the layer changes the fold.
    """
    method, layer = site.method, site.layer
    if layer is None:
        return Outside("it is no layer's weight", "a method for weights alone")
    if type(method) is not Combination:
        return Outside(f"{method.name} has no compiled form", ENTRYWISE)
    if layer.shared:
        return Outside("another node reads its weight too", "an export in which every layer has its own")
    if site.bias is not None and (fold is not None or not isinstance(method.action, ScaleMode)):
        return Outside(f"{method.name} moves its bias along", ENTRYWISE)
    if fold is not None and any(source in adapted for source in fold.sources() if source != site.tensor):
        return Outside("its bias or BatchNormalization is adapted too", "adapters on its weight alone")
    shape = layer.to_canonical(tensors[site.tensor]).shape
    depthwise = site.groups == shape[0] > 1 == shape[1]
    map_name, form = _map_name(method), _form(method, shape, site.groups, depthwise)
    if isinstance(method.action, ElementWise) and method.action.strict:
        return Outside(f"{method.name} is strict, which is checked in NumPy", "strict=False")
    if form is None:
        return Outside(f"{method.name} does not act entry by entry", ENTRYWISE)
    if map_name is None:
        return Outside("its map has no compiled form", "one of the maps exp, taylor(1), taylor(2) and bounded")
    recipe = method.parameterisation
    scale: FloatArray | None = None
    if map_name == "add" and fold is not None:
        scale = tensors[fold.scale].astype(np.float64) / np.sqrt(tensors[fold.var].astype(np.float64) + fold.epsilon)
    rank, scaling = 1, 1.0
    if isinstance(recipe, LowRank) and form != "dense":
        rank, scaling = site.params["lora_b"].shape[1], recipe.scaling
    bound = method.map.bound if isinstance(method.map, Bounded) else 1.0
    adapter = Adapter(map_name, form, rank, scaling, scale, bound)
    takes_xi = form == "dense" and not isinstance(recipe, Dense)
    weight = site.tensor if fold is None else fold.folded_weight
    return FusedSite(site, weight, adapter, shape, recipe if takes_xi else None)


def _form(method: Combination, shape: Shape, groups: int, depthwise: bool) -> str | None:
    """Return the engine's name for how xi comes from the factors, None where it has none."""
    recipe, action = method.parameterisation, method.action
    if isinstance(action, ScaleMode):
        return "rows" if action.mode == "out" and type(recipe) is Dense else None
    if not isinstance(action, ElementWise) or action.strict:
        return None
    if type(recipe) is LowRank and recipe.matricisation == "unfold":
        apart = recipe.factor_groups(shape, groups) == groups
        if depthwise:
            return "channel" if apart else "low_rank"
        if apart:
            return "low_rank"
    return "dense"


def _map_name(method: Combination) -> str | None:
    """Return the engine's name for the map, None where it has none."""
    chosen: Map = method.map
    if method.group == "additive":
        return "add" if isinstance(chosen, Exp) else None
    if isinstance(chosen, Bounded):
        return "bounded"
    return {Exp(): "exp", Taylor(1): "taylor1", Taylor(2): "taylor2"}.get(chosen)
