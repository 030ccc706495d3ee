"""Which adapters the engine computes itself, from factors to weight and from weight gradient to factor gradients.

A low-rank xi = s B A in the `unfold` matricisation, exponentiated, to first order or added, whose layer has one conv
group. A BatchNormalization folded into the layer multiplies row o of the weight by a[o]: under the Hadamard group it
commutes with the adapter, and to an added one it gives the factor a[o]. Every other adapter is computed outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lieref._types import Array, FloatArray, Params
from lieref.group.action import ElementWise
from lieref.group.maps import Exp, Taylor
from lieref.model.engine import LowRank as EngineAdapter
from lieref.model.fold import Fold
from lieref.model.site import Site
from lieref.param.combination import Combination
from lieref.param.low_rank import LowRank


@dataclass(frozen=True)
class FusedSite:
    """An adapter computed inside the engine.

    Attributes
    ----------
    tensor : str
        Initializer of the file.
    weight : str
        Initializer of the folded graph; it holds the base.
    adapter : EngineAdapter
    params : dict of str to array
        Live ``lora_a`` and ``lora_b``.
    """

    tensor: str
    weight: str
    adapter: EngineAdapter
    params: Params

    @property
    def key(self) -> tuple[str, str, int, float, bytes]:
        """What an engine is compiled for."""
        adapter = self.adapter
        rows = b"" if adapter.row_scale is None else adapter.row_scale.tobytes()
        return self.weight, adapter.map, adapter.rank, adapter.scaling, rows


def fused_site(site: Site, fold: Fold | None, tensors: dict[str, Array], adapted: frozenset[str]) -> FusedSite | None:
    """Return a site as the engine computes it, or None if it cannot.

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
    name = _map_name(site)
    if name is None or site.layer is None or site.layer.transposed or site.groups != 1 or site.layer.shared:
        return None
    if fold is not None and any(source in adapted for source in fold.sources() if source != site.tensor):
        return None
    method = site.method
    assert isinstance(method, Combination) and isinstance(method.parameterisation, LowRank)  # noqa: PT018
    rows: FloatArray | None = None
    if name == "add" and fold is not None:
        rows = tensors[fold.scale].astype(np.float64) / np.sqrt(tensors[fold.var].astype(np.float64) + fold.epsilon)
    adapter = EngineAdapter(name, method.parameterisation.r, method.parameterisation.scaling, rows)
    return FusedSite(site.tensor, site.tensor if fold is None else fold.folded_weight, adapter, site.params)


def _map_name(site: Site) -> str | None:
    """Return the engine's name for the map of a low-rank site, None where it has none."""
    method = site.method
    if type(method) is not Combination or not isinstance(method.action, ElementWise) or method.action.strict:
        return None
    if type(method.parameterisation) is not LowRank or method.parameterisation.matricisation != "unfold":
        return None
    if method.group == "additive" and isinstance(method.map, Exp):
        return "add"
    if method.group == "hadamard" and isinstance(method.map, Exp):
        return "exp"
    return "taylor1" if method.group == "hadamard" and method.map == Taylor(1) else None
