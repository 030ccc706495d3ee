"""A bound on how far each adapted tensor goes from the base: |xi| in the algebra, held after every step.

|xi| is Frobenius' norm; `lieref.train.algebra_decay` derives what distance from the base it is, or bounds. It is that
of each tensor, all its conv groups together.

Where a step has taken |xi| beyond the bound, the factors theta of that tensor go back along the ray to those of the
start of the run, theta_0 + t (theta - theta_0), as far as |xi| is the bound. At t = 0 |xi| is below it, at t = 1 above,
and it is continuous, so that there is such a t for factors of any kind, homogeneous or not; Brent's method finds it. Of
factors in which xi is linear and zero at the start (dense, diagonal, the blocks of a rotation, B beside a frozen A) the
ray only scales xi; of B A it takes A back too, and of DoRA the lengths. The moments of the optimiser stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

from lieref._types import Params
from lieref.errors import DomainError
from lieref.train._protocol import Trainable
from lieref.train.recipe import Recipe
from lieref.train.restoring import copies

TOLERANCE = 1e-6
"""Of |xi|, relative to the bound: what single precision of the factors leaves."""


class TrustRegion:
    """Holds |xi| of every adapted tensor of a model within a bound, but for a new head, which has no base.

    Parameters
    ----------
    model : Trainable
        With its factors as they are at the start of the run.
    radius : float
        Above 0.
    held : mapping of str to int, optional
        Steps in which tensors were held before, in a run that is resumed.

    Attributes
    ----------
    held : dict of str to int
        In how many steps each tensor was brought back, of those that were.

    Raises
    ------
    DomainError
        If |xi| of a tensor is above the bound at the start.
    """

    def __init__(self, model: Trainable, radius: float, held: Mapping[str, int] | None = None) -> None:
        self._model, self._radius = model, radius
        params, tensors = model.parameters(), model.algebra_norms()
        for tensor, norm in tensors.items():
            if norm > radius:
                raise DomainError(
                    f"fit: `trust_region` must be at least |xi| of each tensor at the start, {norm:.3g} of {tensor}; "
                    f"got {radius}"
                )
        factors = {tensor: [n for n in params if n.rpartition(":")[0] == tensor] for tensor in tensors}
        self._start = {t: copies({name: params[name] for name in names}) for t, names in factors.items()}
        self.held: dict[str, int] = dict(held or {})

    def hold(self, params: Params) -> None:
        """Bring the tensors back that are beyond the bound.

        Parameters
        ----------
        params : dict of str to array
            The live parameters of the model, written in place.

        Raises
        ------
        DomainError
            If an xi is not finite.
        """
        for tensor, norm in self._model.algebra_norms().items():
            if norm > self._radius * (1 + TOLERANCE):
                self._bring_back(tensor, params)
                self.held[tensor] = self.held.get(tensor, 0) + 1

    def _bring_back(self, tensor: str, params: Params) -> None:
        from scipy.optimize import brentq  # what holds nothing does not load it

        start = self._start[tensor]
        end = copies({name: params[name] for name in start})

        def beyond(t: float) -> float:
            """Return how far |xi| is above the bound, as a share of it, and leave the factors there."""
            for name, first in start.items():
                params[name][...] = first + first.dtype.type(t) * (end[name] - first)
            return self._model.algebra_norm(tensor) / self._radius - 1

        beyond(brentq(beyond, 0.0, 1.0, xtol=1e-12, rtol=TOLERANCE / 10))


def make_trust_region(model: Trainable, recipe: Recipe, held: Mapping[str, int] | None = None) -> TrustRegion | None:
    """Return the bound of a run that is about to begin, None where the recipe asks for none; raises as it does."""
    return None if recipe.trust_region is None else TrustRegion(model, recipe.trust_region, held)
