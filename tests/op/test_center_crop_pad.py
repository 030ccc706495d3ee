"""CenterCropPad from its text, entry by entry, and what it refuses."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, LierefError, ShapeError
from lieref.op.registry import OPERATORS
from lieref.op.spec import TensorSpec

OPERATOR = OPERATORS["CenterCropPad"]


@pytest.mark.parametrize("wanted", list(itertools.product((0, 2, 4, 7), (1, 5, 6))))
def test_each_entry_is_where_the_text_puts_it(wanted: tuple[int, int]) -> None:
    x = np.arange(1.0, 21.0).reshape(4, 5)
    y = OPERATOR.forward(x, np.array(wanted))
    assert y.shape == wanted
    for place in np.ndindex(wanted):
        source = []
        for index, n, m in zip(place, x.shape, wanted, strict=True):
            source.append(index + (n - m) // 2 if m <= n else index - (m - n) // 2)
        inside = all(0 <= i < n for i, n in zip(source, x.shape, strict=True))
        assert y[place] == (x[tuple(source)] if inside else 0)


@pytest.mark.parametrize(
    ("shape", "attrs", "error"),
    [
        ([2, 3, 4], {}, ShapeError),
        ([2], {}, ShapeError),
        ([[2, 3]], {}, ShapeError),
        ([2, -1], {}, DomainError),
        ([2, 2], {"axes": (0, -2)}, DomainError),
        ([2], {"axes": (2,)}, DomainError),
        ([2**30, 2**30], {}, DomainError),
    ],
)
def test_what_does_not_fit_is_refused(shape: Any, attrs: Any, error: type[LierefError]) -> None:
    with pytest.raises(error, match="CenterCropPad"):
        OPERATOR.forward(np.ones((4, 5)), np.array(shape), **attrs)


def test_extents_that_are_not_known_stay_so() -> None:
    shape = TensorSpec((1,), np.dtype(np.int64))
    found = OPERATOR.shape(TensorSpec((None, 5, 6), np.dtype(np.float32)), shape, axes=(1,))
    assert found.shape == (None, None, 6)
