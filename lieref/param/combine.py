"""The table of combination types, and the function that makes one adapter of several by any of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lieref._check import check_choice, check_int, check_real
from lieref._record import dataclass
from lieref._types import Shape
from lieref.errors import DomainError
from lieref.param import combine_factors, combine_group
from lieref.param.compose import check_weights
from lieref.param.element import Adapter
from lieref.param.parts import Combine, Parts
from lieref.param.task_vectors import MAJORITIES, Options


@dataclass(frozen=True)
class CombinationType:
    """One way to make one adapter of several.

    Attributes
    ----------
    name, summary : str
    exact : str
        What of it is exact, and what is not.
    combine : callable
    prunes, elects, cuts : bool
        Whether it is told a `density`, a `majority_sign_method`, an `svd_rank`.
    """

    name: str
    summary: str
    exact: str
    combine: Combine
    prunes: bool = False
    elects: bool = False
    cuts: bool = False


_EXACT_SUM = "the sum in the algebra"
_ROWS = {
    "exp_sum": ("exp of the weighted sum", f"{_EXACT_SUM}; the product where elements commute"),
    "product": ("one after the other, each to the power of its weight", "the group element"),
    "geodesic_mean": ("the point on the geodesic, or the mean, weights of sum 1", "the group element"),
    "cat": ("factors side by side, rank r_1 + r_2 + ...", _EXACT_SUM),
    "svd": ("the weighted sum, cut to a rank", "the nearest of that rank to the sum in the algebra"),
    "linear": ("weighted sums of the factors", "dense and diagonal factors; of low rank an approximation, as in PEFT"),
    "magnitude_prune": ("linear, of each adapter's largest numbers", "an approximation"),
    "dare_linear": ("linear, of numbers drawn and scaled up", "the sum of the factors in the mean"),
    "ties": ("mean of the largest numbers of the elected sign", "an approximation"),
    "dare_ties": ("ties of numbers drawn and scaled up", "an approximation"),
}
"""Summary, and what is exact; those with ``_svd`` do the same on algebra elements, cut to a rank."""


def _row(name: str, combine: Combine) -> CombinationType:
    rule = name.removesuffix("_svd")
    summary, exact = _ROWS[rule]
    if rule != name:
        summary, exact = f"{summary}, on algebra elements, cut to a rank", "an approximation"
    prunes = rule.startswith(("magnitude", "dare", "ties"))
    return CombinationType(name, summary, exact, combine, prunes, rule.endswith("ties"), name.endswith("svd"))


COMBINATION_TYPES: dict[str, CombinationType] = {
    name: _row(name, combine) for name, combine in (combine_group.COMBINE | combine_factors.COMBINE).items()
}
"""The ways to make one adapter of several by their names: PEFT's and the group's own."""


def combine_adapters(
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    shape: Shape,
    groups: int = 1,
    combination_type: str = "exp_sum",
    *,
    density: float | None = None,
    majority_sign_method: str | None = None,
    svd_rank: int | None = None,
    rng: np.random.Generator | None = None,
) -> Adapter:
    """Return one adapter made of several of one weight: a method and its factors, to be trained, saved and merged.

    It is computed in float64 and rounded to the type of the factors. An adapter of weight 0 takes no part.

    Parameters
    ----------
    adapters : list of (method, factors)
    weights : list of float
        One for each, finite.
    shape, groups
        Shape and conv groups of the weight.
    combination_type : str
        A key of `COMBINATION_TYPES`.
    density : float
        In ]0, 1]: the share of numbers that is kept, for the types that leave some out.
    majority_sign_method : {"total", "frequency"}, optional
        How a sign is elected: by the sum of values (default) or by their number, for the types that elect one.
    svd_rank : int, optional
        Rank of the result of the types that cut to one; by default the largest of the adapters.
    rng : numpy.random.Generator, optional
        Draws what DARE keeps; by default of the seed 0.

    Raises
    ------
    DomainError
        If a weight, the type or an option is not valid, or no element has the logarithm that is needed.
    UnsupportedError
        If the type has no meaning for these methods; the message says for which it has.

    References
    ----------
    [Yadav23], [Yu24], [Pennec13]; PEFT's `add_weighted_adapter` for the names.
    """
    function = "add_weighted_adapter"
    check_weights(function, adapters, weights)
    row = COMBINATION_TYPES[check_choice(function, "combination_type", combination_type, tuple(COMBINATION_TYPES))]
    for name, given, told in (
        ("density", density, row.prunes),
        ("majority_sign_method", majority_sign_method, row.elects),
        ("svd_rank", svd_rank, row.cuts),
    ):
        if given is not None and not told:
            raise DomainError(f"{function}: `{name}` must be left out for {row.name}; got {given!r}")
    if row.prunes:
        if density is None:
            raise DomainError(f"{function}: `density` must be given for {row.name}, in ]0, 1]; got None")
        check_real(function, "density", density, above=0.0, high=1.0)
    check_choice(function, "majority_sign_method", majority_sign_method or "total", MAJORITIES)
    if svd_rank is not None:
        check_int(function, "svd_rank", svd_rank, low=1)
    if any(weights):
        adapters, weights = zip(*((a, w) for a, w in zip(adapters, weights, strict=True) if w), strict=True)
    dtype = next((factor.dtype for _, params in adapters for factor in params.values()), np.dtype(np.float64))
    options = Options(density or 1.0, majority_sign_method or "total", rng or np.random.default_rng(0))
    wide: tuple[Adapter, ...] = tuple(
        (method, {name: factor.astype(np.float64) for name, factor in params.items()}) for method, params in adapters
    )
    parts = Parts(function, wide, tuple(float(w) for w in weights), tuple(shape), groups, options, svd_rank)
    method, found = row.combine(parts)
    with np.errstate(over="ignore"):
        narrow = {name: np.ascontiguousarray(factor, dtype) for name, factor in found.items()}
    if not all(np.isfinite(factor).all() for factor in narrow.values()):
        raise DomainError(f"{function}: `weights` must keep every factor finite in {dtype}; got {list(weights)}")
    return method, narrow
