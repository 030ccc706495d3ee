"""Which integers of a weight are others, and by how much: a few bits each, coded by what is known of them.

Each integer says whether it moves, then whether away from zero or towards it, then how far beyond one step. How likely
each answer is depends on the layer and on the size of the integer, which both sides know: a factor moves large integers
first. Most answers are no and cost little. Size is the distance from 0, of uint8 from 128, whatever the zero point: a
device that knows only where the integers stand reads the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lieref._types import Array
from lieref.adapter.integer.arithmetic_coder import Counts, Decoder, Encoder
from lieref.errors import FormatError

MOST_STEPS = 255
"""One integer of eight bits cannot move further."""


class _Model:
    """The contexts of one weight, by the number of bits of an integer's size."""

    def __init__(self) -> None:
        self.moves = [Counts() for _ in range(10)]
        self.away = [Counts() for _ in range(10)]
        self.further = [Counts() for _ in range(3)]


def encode_moves(pairs: Sequence[tuple[Array, Array]]) -> bytes:
    """Return the differences between weights, old and new, of int8 or uint8, of one shape and type each."""
    coder = Encoder()
    for old, new in pairs:
        model = _Model()
        steps = (new.astype(np.int64) - old).ravel().tolist()
        for q, step in zip(_from_middle(old), steps, strict=True):
            size = abs(q).bit_length()
            coder.put(int(step != 0), model.moves[size])
            if step:
                coder.put(int((step < 0) == (q < 0)), model.away[size])
                for further in range(1, abs(step) + 1):
                    coder.put(int(further < abs(step)), model.further[min(further, 3) - 1])
    return coder.finish()


def decode_moves(data: bytes, olds: Sequence[Array], source: str) -> list[Array]:
    """Return the new weights from the old ones.

    Raises
    ------
    FormatError
        If the bytes are not what `encode_moves` writes for these weights. `source` is named.
    """
    coder, found = Decoder(data), []
    for old in olds:
        model, steps = _Model(), []
        for q in _from_middle(old):
            size = abs(q).bit_length()
            step = 0
            if coder.get(model.moves[size]):
                away, step = coder.get(model.away[size]), 1
                while coder.get(model.further[min(step, 3) - 1]):
                    step += 1
                    if step > MOST_STEPS:
                        raise _broken(source)
                step = -step if (q < 0) == bool(away) else step
            steps.append(step)
        new = old + np.array(steps, np.int64).reshape(old.shape)
        limits = np.iinfo(old.dtype)
        if new.size and not (int(new.min()) >= limits.min and int(new.max()) <= limits.max):
            raise _broken(source)
        found.append(new.astype(old.dtype))
    if encode_moves(list(zip(olds, found, strict=True))) != data:
        raise _broken(source)
    return found


def _from_middle(weight: Array) -> list[int]:
    middle = 128 if weight.dtype == np.uint8 else 0
    found: list[int] = (weight.astype(np.int64) - middle).ravel().tolist()
    return found


def _broken(source: str) -> FormatError:
    return FormatError(f"read_update: the integers of {source} must be coded as `lieref` codes them; they are broken")
