"""Integers that are others as a few bytes: what is written is read again, and nothing else is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref._types import Array
from lieref.adapter.integer.arithmetic_coder import Counts, Decoder, Encoder
from lieref.adapter.integer.moves import decode_moves, encode_moves
from lieref.errors import FormatError


@settings(max_examples=200)
@given(bits=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), max_size=400))
def test_bits_come_back(bits: list[tuple[int, int]]) -> None:
    coder, contexts = Encoder(), [Counts() for _ in range(4)]
    for bit, context in bits:
        coder.put(bit, contexts[context])
    data = coder.finish()
    reader, contexts = Decoder(data), [Counts() for _ in range(4)]
    assert [reader.get(contexts[context]) for _, context in bits] == [bit for bit, _ in bits]


def test_bits_take_what_they_surprise() -> None:
    rng = np.random.default_rng(0)
    for share in (0.5, 0.1, 0.01):
        bits, counts, coder = (rng.random(20_000) < share).astype(int), Counts(), Encoder()
        for bit in bits.tolist():
            coder.put(bit, counts)
        p = bits.mean()
        entropy = -len(bits) * (p * math.log2(p) + (1 - p) * math.log2(1 - p)) / 8
        # The estimator costs log2(n) / 2 + 1 bits more than the entropy, the end of the code two bits.
        assert entropy - 1 <= len(coder.finish()) <= entropy + (0.5 * math.log2(len(bits)) + 4) / 8 + 1


def test_counts_stay_small_and_odd() -> None:
    counts = Counts()
    for bit in [0] * 40_000 + [1] * 40_000:
        counts.seen(bit)
        assert counts.pair[0] % 2 == counts.pair[1] % 2 == 1
        assert sum(counts.pair) <= 1 << 16


@st.composite
def weights(draw: Any) -> tuple[Array, Array]:
    """A weight before and after."""
    dtype = np.dtype(draw(st.sampled_from(["int8", "uint8"])))
    limits = np.iinfo(dtype)
    shape = draw(st.sampled_from([(7,), (3, 5), (2, 3, 2, 1)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    old = rng.integers(limits.min, limits.max + 1, shape).astype(dtype)
    new = old.copy()
    moving = rng.random(shape) < draw(st.sampled_from([0.0, 0.1, 1.0]))
    far = draw(st.booleans())
    steps = rng.integers(-255, 256, shape) if far else rng.choice([-1, 1], shape)
    new[moving] = np.clip(old.astype(int) + steps, limits.min, limits.max)[moving].astype(dtype)
    return old, new


@settings(max_examples=100)
@given(all_of_them=st.lists(weights(), min_size=1, max_size=3))
def test_weights_come_back(all_of_them: list[tuple[Array, Array]]) -> None:
    olds, news = (list(part) for part in zip(*all_of_them, strict=True))
    data = encode_moves(list(zip(olds, news, strict=True)))
    for found, new in zip(decode_moves(data, olds, "here"), news, strict=True):
        assert found.dtype == new.dtype
        np.testing.assert_array_equal(found, new)


@settings(max_examples=200)
@given(data=st.binary(max_size=60), weight=weights())
def test_other_bytes_are_refused_or_mean_what_they_say(data: bytes, weight: tuple[Array, Array]) -> None:
    old, _ = weight
    try:
        (found,) = decode_moves(data, [old], "here")
    except FormatError:
        return
    assert encode_moves([(old, found)]) == data


def test_bytes_behind_the_last_move_are_refused() -> None:
    rng = np.random.default_rng(1)
    old = rng.integers(-127, 128, 500).astype(np.int8)
    new = old.copy()
    new[::9] = np.clip(new[::9].astype(int) + 1, -127, 127)
    data = encode_moves([(old, new)])
    assert len(data) < 60  # 56 of 500: 31 bytes of places, 7 of signs, and the learning of both
    for broken in (data + b"\1", data + b"\0", data + data):
        with pytest.raises(FormatError, match="coded"):
            decode_moves(broken, [old], "here")


def test_few_moves_take_few_bytes() -> None:
    old = np.random.default_rng(2).integers(-127, 128, 20_000).astype(np.int8)
    assert len(encode_moves([(old, old)])) < 20
    new = old.copy()
    new[17] += 1 if old[17] < 0 else -1
    assert len(encode_moves([(old, new)])) < 26
