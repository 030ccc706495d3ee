"""How a batch is cut: parts, each with gradient accumulators of its own, and the passes of a part.

The cut depends on the size of the batch and on the network alone, so that any number of threads adds the same numbers
in the same order.
"""

from __future__ import annotations

from itertools import pairwise

from lieref.model.engine.call import Span

PARTS = 8
"""Most parts a batch is cut into: as many threads have work."""

PARTS_BYTES = 1 << 25
"""Most memory of the accumulators of all parts but the fewest: a small part of what a training process takes. ResNet-18
has one part: its step takes 0.99 of the time of two on one thread and on two, and 55 MB less."""

PART_SAMPLES = 8
"""Fewest samples of a part, so that adding its accumulators stays cheap; two parts may have half as many."""

FLAT_SAMPLES = 64
"""Where a sample is a vector: the same, and how many a pass takes at once; 32 cost 6 % more on 256 to 640 features."""


def parts(samples: int, flat: bool, gradient_bytes: int, fewest: int) -> list[tuple[int, int]]:
    """Return the parts (begin, end) of a batch.

    Parameters
    ----------
    samples : int
        At least 1.
    flat : bool
        Whether a sample is a vector.
    gradient_bytes : int
        Size of the accumulators of one part, 0 where there are none.
    fewest : int
        Of a batch that is large enough, however large the accumulators: 1 where threads can share an image, else 2.
    """
    smallest = FLAT_SAMPLES if flat else PART_SAMPLES
    most = min(PARTS, max(fewest, PARTS_BYTES // max(gradient_bytes, 1)))
    count = max(1, min(most, max(samples // smallest, min(2, 2 * samples // smallest))))
    edges = [i * samples // count for i in range(count + 1)]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def passes(begin: int, end: int, step: int) -> list[Span]:
    """Return the passes of a part: one of whole blocks of `step` samples at once, and one of the rest at once."""
    whole = begin + (end - begin) // step * step
    spans = [Span(begin, whole, step, 1), Span(whole, end, end - whole, int(whole == begin))]
    return [span for span in spans if span.end > span.begin]
