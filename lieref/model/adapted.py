"""From factors to the tensors a network computes with, and the gradients back: pure functions of sites and tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from lieref._types import Array, FloatArray
from lieref.model.fold import Fold
from lieref.model.graph import Graph
from lieref.model.site import Site


def changed_names(sites: Iterable[Site], statistics: Mapping[str, FloatArray]) -> set[str]:
    """Return the tensors of the file that sites and re-estimated statistics replace."""
    return set(statistics).union(*(site.tensors for site in sites))


def tensors_with(
    sites: Iterable[Site], base: dict[str, Array], statistics: Mapping[str, FloatArray]
) -> dict[str, Array]:
    """Return the tensors of the file, `base`, with re-estimated statistics and the sites adapted."""
    tensors: dict[str, Array] = {**base, **statistics}
    for site in sites:
        tensors.update(site.adapted(base))
    return tensors


class TensorsInTurn(Mapping[str, Array]):
    """What `tensors_with` returns, each made when it is asked for: together they take the network's memory once more.

    The last site's are kept, for a weight and its bias are asked for one after the other.
    """

    def __init__(self, sites: Iterable[Site], base: dict[str, Array], statistics: Mapping[str, FloatArray]) -> None:
        self._sites = {tensor: site for site in sites for tensor in site.tensors}
        self._base = base
        self._plain: dict[str, Array] = {**base, **statistics}
        self._last: tuple[Site | None, dict[str, FloatArray]] = None, {}

    def __getitem__(self, name: str) -> Array:
        site = self._sites.get(name)
        if site is None:
            return self._plain[name]
        if site is not self._last[0]:
            self._last = site, site.adapted(self._base)
        return self._last[1][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._plain)

    def __len__(self) -> int:
        return len(self._plain)


def refolded(folded: Graph, folds: Sequence[Fold], tensors: Mapping[str, Array], names: set[str]) -> Graph:
    """Return the folded graph with these tensors of the file, which differ from the file's where `names` says.

    Those that have been folded into others, and are read no more, are left as they were: that saves their memory.
    """
    read = {name for node in folded.nodes for name in node.inputs}
    changed = {name: tensors[name] for name in names & read}
    for fold in folds:
        if not names.isdisjoint(fold.sources()):
            changed.update(fold.apply(tensors))
    return folded.with_initializers(changed)


def adapted_graph(
    folded: Graph, folds: Sequence[Fold], base: dict[str, Array], sites: Collection[Site],
    statistics: Mapping[str, FloatArray],
) -> Graph:  # fmt: skip
    """Return the folded graph with re-estimated statistics and all sites adapted, one after the other."""
    return refolded(folded, folds, TensorsInTurn(sites, base, statistics), changed_names(sites, statistics))


# Derivation.  The sites make tensors of factors, the folds make folded tensors of those: W_f = N(A(theta)).  The chain
# rule from the right: tensor_bar is the sum of what each fold pulls back and of what the graph reads of the tensor
# itself, and theta_bar is what each site pulls back of that.
def factor_gradients(
    sites: Iterable[Site],
    folds: Sequence[Fold],
    base: dict[str, Array],
    tensors: dict[str, Array],
    bars: dict[str, FloatArray],
) -> dict[str, FloatArray]:
    """Return the gradients of the sites' factors, ``<tensor>:<factor>``, from the cotangents of the folded tensors.

    Parameters
    ----------
    sites : iterable of Site
    folds : sequence of Fold
    base : dict of str to array
        Tensors of the file.
    tensors : dict of str to array
        The same with the sites adapted.
    bars : dict of str to array
        Cotangents of tensors of the folded graph.
    """
    tensor_bars = dict(bars)
    for fold in folds:
        if fold.folded_weight in bars:
            for name, bar in fold.pull_back(tensors, bars).items():
                tensor_bars[name] = tensor_bars[name] + bar if name in tensor_bars else bar
    grads: dict[str, FloatArray] = {}
    for site in sites:
        for factor, bar in site.pull_back(base, tensor_bars).items():
            grads[f"{site.tensor}:{factor}"] = bar
    return grads
