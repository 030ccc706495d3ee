"""Group elements straight from low-rank factors: r x r functions in place of an n x n exponential.

Only the group element changes its cost; what it is does not: map(project(s B A)) as for any other parameterisation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lieref._record import dataclass
from lieref._types import FloatArray
from lieref.group.maps import Cayley, Exp, Map
from lieref.numerics import low_rank

Vjp = Callable[[FloatArray, FloatArray, FloatArray], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True)
class LowRankForm:
    """Map of one group on xi = project(b a), for stacks b (blocks, n, r) and a (blocks, r, n).

    Attributes
    ----------
    minus_identity : callable
        (b, a) to g - e.
    vjp : callable
        (b, a, g_bar) to the cotangents of b and a.
    share : float
        What b is multiplied by first: so(n) projects on (M - M^T)/2, its form takes M - M^T.
    """

    minus_identity: Callable[[FloatArray, FloatArray], FloatArray]
    vjp: Vjp
    share: float = 1.0

    def element(self, b: FloatArray, a: FloatArray) -> FloatArray:
        """Return g."""
        return self.element_minus_identity(b, a) + np.eye(b.shape[-2], dtype=b.dtype)

    def element_minus_identity(self, b: FloatArray, a: FloatArray) -> FloatArray:
        """Return g - e without cancellation."""
        return self.minus_identity(self.share * b, a)

    def element_vjp(self, b: FloatArray, a: FloatArray, g_bar: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the cotangents of b and a."""
        b_bar, a_bar = self.vjp(self.share * b, a, g_bar)
        return self.share * b_bar, a_bar


FORMS = {
    ("gl", Exp): LowRankForm(low_rank.exp_low_rank_minus_identity, low_rank.exp_low_rank_vjp),
    ("gl", Cayley): LowRankForm(low_rank.cayley_low_rank_minus_identity, low_rank.cayley_low_rank_vjp),
    ("so", Exp): LowRankForm(low_rank.exp_skew_low_rank_minus_identity, low_rank.exp_skew_low_rank_vjp, 0.5),
    ("sl", Exp): LowRankForm(low_rank.exp_traceless_low_rank_minus_identity, low_rank.exp_traceless_low_rank_vjp),
}
"""(group, map) -> its form."""


def low_rank_form(group: str, map_: Map) -> LowRankForm | None:
    """Return the form of a group and a map, or None where there is none."""
    return FORMS.get((group, type(map_)))
