"""Random streams, and the numbers that are made anew instead of stored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lieref.conformance.definitions.random_bits import philox, word
from lieref.errors import DomainError
from lieref.rng import places, stream, uniform_rows

SEEDS = st.integers(0, 2**63 - 1)


def test_philox_gives_the_published_words() -> None:
    """The known answers of the authors' library Random123, kat_vectors, philox4x64 with 10 rounds."""
    ones, pi = 2**64 - 1, (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89)
    known = {
        ((0, 0, 0, 0), (0, 0)): "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b",
        ((ones,) * 4, (ones,) * 2): "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0",
        (pi, (0x452821E638D01377, 0xBE5466CF34E90C6C)):
            "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
    }  # fmt: skip
    for (counter, key), words in known.items():
        assert " ".join(f"{each:016x}" for each in philox(counter, key)) == words


@given(seed=SEEDS, purpose=st.integers(0, 99), rows=st.integers(1, 5), columns=st.integers(1, 9))
def test_numbers_are_those_of_the_definition(seed: int, purpose: int, rows: int, columns: int) -> None:
    found = uniform_rows(seed, purpose, rows, columns)
    for i, j in np.ndindex(rows, columns):
        assert found[i, j] * 2**53 == word(seed, purpose, i, j) >> 11


@given(seed=SEEDS, rows=st.integers(1, 4), columns=st.integers(1, 9))
def test_a_smaller_matrix_is_the_corner_of_a_larger_one(seed: int, rows: int, columns: int) -> None:
    assert np.array_equal(uniform_rows(seed, 1, 6, 13)[:rows, :columns], uniform_rows(seed, 1, rows, columns))


@given(seed=SEEDS, among=st.integers(1, 40), data=st.data())
def test_places_are_different_and_nested(seed: int, among: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, among))
    found = places(seed, 3, among, count).tolist()
    assert found == sorted(set(found))
    assert len(found) == count
    assert 0 <= found[0] <= found[-1] < among
    assert set(places(seed, 3, among, count - 1).tolist()) <= set(found)


def test_every_place_is_as_likely() -> None:
    counts = np.zeros(12)
    for seed in range(2000):
        counts[places(seed, 3, 12, 3)] += 1
    # binomial of 2,000 draws with the share 1/4: 500 with the deviation 19.4
    assert np.abs(counts - 500).max() < 5 * 19.4


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5])
def test_a_seed_out_of_range_is_refused(seed: object) -> None:
    with pytest.raises((DomainError, TypeError)):
        stream(seed, "a")  # type: ignore[arg-type]
