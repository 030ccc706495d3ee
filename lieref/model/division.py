"""Who computes which adapter in a training step: the backend all that it can, NumPy the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from lieref._types import Array, FloatArray
from lieref.model.backend import Backend, Reference
from lieref.model.fold import Fold
from lieref.model.fusion import FusedSite, FusedSites, Outside, fused_site
from lieref.model.graph import Graph
from lieref.model.site import Site


@dataclass(frozen=True)
class Division:
    """Who computes which adapter in a training step.

    Attributes
    ----------
    fused : FusedSites
        Adapters that the backend computes.
    outside : tuple of Site
        The others; the backend sees the tensors they make.
    wanted : frozenset of str
        Tensors of the folded graph whose cotangents the others need, and biases that are moved along.
    backend : Backend
    refusal : str
        Why that is the reference path though the engine was asked for, "" where it is not.
    reasons : dict of str to Outside
        By tensor, why an adapter is computed outside.
    """

    fused: FusedSites
    outside: tuple[Site, ...]
    wanted: frozenset[str]
    backend: Backend
    refusal: str
    reasons: dict[str, Outside]

    @property
    def biases(self) -> tuple[FusedSite, ...]:
        """The sites that the backend computes, but for the bias that they move along."""
        return tuple(site for site in self.fused.sites if site.site.bias is not None)

    def moved_biases(self, base: dict[str, Array]) -> dict[str, Array]:
        """Return the biases that are moved along, by name."""
        found: dict[str, Array] = {}
        for site in (each.site for each in self.biases):
            bias, shape = site.bias, site.canonical(base[site.tensor]).shape
            assert bias is not None
            found[bias] = site.method.adapted_bias(site.params, base[bias], shape, site.groups)
        return found

    def bias_gradients(self, base: dict[str, Array], bars: dict[str, FloatArray]) -> dict[str, FloatArray]:
        """Return what the cotangents of those biases add to the gradients of the factors, by the network's names."""
        found: dict[str, FloatArray] = {}
        for site in (each.site for each in self.biases):
            bias, shape = site.bias, site.canonical(base[site.tensor]).shape
            assert bias is not None
            bar = site.method.adapted_bias_vjp(site.params, base[bias], shape, site.groups, bars[bias])
            found |= {f"{site.tensor}:{name}": each for name, each in bar.items()}
        return found


def divide(
    sites: Sequence[Site],
    folds: Sequence[Fold],
    folded: Graph,
    tensors: dict[str, Array],
    choose: Callable[[frozenset[str], FusedSites], tuple[Backend, str]],
) -> Division:
    """Return the division in which a backend computes all adapters that it can, or none where it runs no such graph.

    Parameters
    ----------
    sites : sequence of Site
    folds : sequence of Fold
        Of the network's BatchNormalization, and `folded` the graph they leave.
    tensors : dict of str to array
        Initializers of the file, statistics re-estimated.
    choose : callable
        Returns what runs the folded graph for these gradients and adapters, and why that is the reference path.
    """
    adapted = frozenset(tensor for site in sites for tensor in site.tensors)
    found = [fused_site(site, next(_folds_of(site.tensor, folds), None), tensors, adapted) for site in sites]
    reasons = {site.tensor: why for site, why in zip(sites, found, strict=True) if isinstance(why, Outside)}
    for fused in (FusedSites(tuple(site for site in found if isinstance(site, FusedSite))), FusedSites()):
        inside = {site.tensor for site in fused.sites}
        outside = tuple(site for site in sites if site.tensor not in inside)
        wanted = _trained_tensors(outside, folds, folded) | {site.site.bias for site in fused.sites if site.site.bias}
        backend, refusal = choose(wanted, fused)
        if not isinstance(backend, Reference):
            break
        together = Outside(f"the engine refuses it or another of them: {refusal}", "other target_modules")
        reasons.update(dict.fromkeys(inside, together))
    return Division(fused, outside, wanted, backend, refusal, reasons)


def _trained_tensors(sites: Iterable[Site], folds: Sequence[Fold], folded: Graph) -> frozenset[str]:
    """Return the tensors of the folded graph whose cotangents the sites need; layers may share a vector."""
    wanted: set[str] = set()
    for tensor in (tensor for site in sites for tensor in site.tensors):
        through = [name for fold in _folds_of(tensor, folds) for name in (fold.folded_weight, fold.folded_bias)]
        wanted.update(through)
        if not through or folded.consumers(tensor):
            wanted.add(tensor)
    return frozenset(wanted)


def _folds_of(tensor: str, folds: Sequence[Fold]) -> Iterator[Fold]:
    return (fold for fold in folds if tensor in fold.sources())
