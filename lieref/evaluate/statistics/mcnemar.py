"""McNemar's test: whether two classifiers, judged on the same samples, err equally often.

Samples that both have right, or both wrong, say nothing. If the two are right equally often on the population, a
sample on which they differ is a fair coin: of d such samples, how many only the first has right is binomial (d, 1/2)
([McNemar47], in the exact form of his comparison). Two-sided: p = min(1, 2 P(X <= min(b, c))).

The counts are whole, so the exact p-value is at or below a level less often than the level says, with few samples much
less. The mid-p-value counts half of what is as uneven as the counts seen, p - P(X = min(b, c)): it keeps the level on
average over the position of the counts, not in each case, and calls out more often ([Fagerland13], supplement,
equation 2; with b = c it is here 1).

Several seeds: the samples are the same in all, so the p-values p_1..p_S depend on each other, and the counts must not
be added up (the same hard sample would count S times). Let p_(k) be the k-th smallest. If every pair is equally
accurate, the number N of p_j <= a k / S has expectation at most S a k / S = a k, and by Markov's inequality P(N >= k)
<= a: so (S / k) p_(k) is a valid p-value under any dependence ([Ruger78]). With k = (S + 1) // 2, the (lower) median,
one hard seed cannot decide; one seed gives McNemar's own p.

What is tested are *these* trained networks, on new samples. That another seed would give other networks is no part of
it: where seeds differ, two methods that are equal on average give unequal networks, rightly found so. Of methods
`paired_difference` is the test.
"""

from __future__ import annotations

from typing import Any

from lieref.evaluate.statistics._arrays import check_right, check_same_shape


def discordant(right_a: Any, right_b: Any) -> tuple[int, int]:
    """Return how many samples only the first has right, and how many only the second.

    Parameters
    ----------
    right_a, right_b : (N,) arrays of bool or of 0 and 1
        Right or wrong, the same samples in the same order.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        If the arrays are not of this kind, or of two shapes.
    """
    a, b = check_right("discordant", "right_a", right_a, 1), check_right("discordant", "right_b", right_b, 1)
    check_same_shape("discordant", a, b)
    return int((a & ~b).sum()), int((~a & b).sum())


def mcnemar(right_a: Any, right_b: Any) -> float:
    """Return the exact two-sided p-value that two runs are equally accurate; 1 where they never differ.

    Parameters
    ----------
    right_a, right_b : (N,) arrays of bool or of 0 and 1
        Right or wrong, the same samples in the same order.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        If the arrays are not of this kind, or of two shapes.
    """
    from scipy.special import bdtr

    only_a, only_b = discordant(right_a, right_b)
    if only_a + only_b == 0:
        return 1.0
    return min(1.0, 2.0 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def mcnemar_mid_p(right_a: Any, right_b: Any) -> float:
    """Return the two-sided mid-p-value that two runs are equally accurate; 1 where they never differ.

    Parameters
    ----------
    right_a, right_b : (N,) arrays of bool or of 0 and 1
        Right or wrong, the same samples in the same order.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        If the arrays are not of this kind, or of two shapes.
    """
    from scipy.stats import binom

    only_a, only_b = discordant(right_a, right_b)
    fewer, differ = min(only_a, only_b), only_a + only_b
    return min(1.0, float(2 * binom.cdf(fewer - 1, differ, 0.5) + binom.pmf(fewer, differ, 0.5)))


def mcnemar_over_seeds(right_a: Any, right_b: Any) -> float:
    """Return one valid p-value that in every seed both runs are equally accurate, from McNemar's of each.

    Parameters
    ----------
    right_a, right_b : (S, N) arrays of bool or of 0 and 1
        A row a seed; the same samples in all.

    Returns
    -------
    float
        min(1, (S / k) p_(k)) with k = (S + 1) // 2; for one seed `mcnemar`.

    Raises
    ------
    ShapeError, DTypeError, DomainError
        If the arrays are not of this kind, or of two shapes.
    """
    function = "mcnemar_over_seeds"
    a, b = check_right(function, "right_a", right_a, 2), check_right(function, "right_b", right_b, 2)
    check_same_shape(function, a, b)
    ordered = sorted(mcnemar(one, other) for one, other in zip(a, b, strict=True))
    k = (len(ordered) + 1) // 2
    return min(1.0, len(ordered) / k * ordered[k - 1])
