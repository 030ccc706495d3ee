"""Several comparisons in one table: Holm's step-down correction.

With m true or false hypotheses and their p-values in ascending order, p_(1) <= ... <= p_(m), the adjusted value is
max over j <= i of min(1, (m - j + 1) p_(j)). The probability that any true hypothesis has one at or below the level
is at most the level, whatever the dependence ([Holm79]): let p_(j) be the smallest p-value of the m0 true ones; then
j <= m - m0 + 1, so m - j + 1 >= m0, and its adjusted value is at or below the level only if some true p-value is at
or below level / m0, which has probability at most the level (Bonferroni).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref.errors import DomainError
from lieref.evaluate.statistics._arrays import check_numbers


def holm(p_values: Any) -> NDArray[np.float64]:
    """Return the adjusted p-values, in the order given.

    Parameters
    ----------
    p_values : (M,) array of numbers in [0, 1]
        Of all comparisons made, also of those that are not shown.

    Raises
    ------
    DomainError
        If a value is NaN or not in [0, 1].
    ShapeError, DTypeError
        If it is not one row of numbers.
    """
    p = check_numbers("holm", "p_values", p_values, 1)
    if p.min() < 0.0 or p.max() > 1.0:
        raise DomainError(f"holm: `p_values` must lie in [0, 1]; got {p.min():g} to {p.max():g}")
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(stepped)
    return adjusted
