"""Random small convolutions: every rank, stride, dilation, padding and grouping."""

from __future__ import annotations

import numpy as np

from lieref.numerics.certified_conv import ConvGeometry


def random_geometry(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...], ConvGeometry]:
    """Return (x shape, weight shape, geometry) of a small convolution with a non-empty output."""
    rank = int(rng.integers(1, 4))
    groups = int(rng.integers(1, 4))
    kernel = rng.integers(1, 4, rank)
    dilations = rng.integers(1, 3, rank)
    spatial = dilations * (kernel - 1) + rng.integers(1, 5 - rank + 1, rank)
    geometry = ConvGeometry(
        tuple(map(int, rng.integers(1, 4, rank))),
        tuple(map(int, rng.integers(0, 3, 2 * rank))),
        tuple(map(int, dilations)),
        groups,
    )
    x_shape = (int(rng.integers(1, 3)), groups * int(rng.integers(1, 3)), *map(int, spatial))
    weight_shape = (groups * int(rng.integers(1, 3)), x_shape[1] // groups, *map(int, kernel))
    return x_shape, weight_shape, geometry
