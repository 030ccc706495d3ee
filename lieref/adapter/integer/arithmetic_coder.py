"""Bits as one number, in as many bits as they surprise: a binary arithmetic coder whose probabilities follow counts.

A model holds how often each bit has come in its context, n0 and n1, and gives the next one the probability
(n_b + 1/2) / (n0 + n1 + 1), the estimator of Krichevsky and Trofimov. Encoder and decoder keep an interval of 32-bit
numbers, divide it in that proportion and go on with the part of the bit; what both ends of the interval share is
written [Witten87]. All is done in whole numbers: every machine reads what any machine has written.
"""

from __future__ import annotations

BITS = 32
"""Of the ends of the interval: twice the bits of the largest count, so that no part is ever empty."""
LARGEST_COUNT = 1 << 16
"""From here on both counts of a context are halved; counts so large lose nothing measurable by it."""

_TOP = (1 << BITS) - 1
_HALF, _QUARTER = 1 << BITS - 1, 1 << BITS - 2


class Counts:
    """How often either bit has come in a context, twice, and one more: `pair` is [2 n0 + 1, 2 n1 + 1]."""

    __slots__ = ("pair",)

    def __init__(self) -> None:
        self.pair = [1, 1]

    def seen(self, bit: int) -> None:
        """Take note of a bit."""
        self.pair[bit] += 2
        if self.pair[0] + self.pair[1] > LARGEST_COUNT:
            self.pair = [self.pair[0] + 1 >> 1 | 1, self.pair[1] + 1 >> 1 | 1]


class Encoder:
    """Bits on their way into bytes."""

    def __init__(self) -> None:
        self._low, self._high, self._waiting = 0, _TOP, 0
        self._bits: list[int] = []

    def put(self, bit: int, counts: Counts) -> None:
        """Write a bit in its context."""
        zero, one = counts.pair
        middle = self._low + (self._high - self._low + 1) * zero // (zero + one)
        if bit:
            self._low = middle
        else:
            self._high = middle - 1
        counts.seen(bit)
        while True:
            if self._high < _HALF:
                self._write(0)
            elif self._low >= _HALF:
                self._write(1)
                self._move(_HALF)
            elif self._low >= _QUARTER and self._high < _HALF + _QUARTER:
                self._waiting += 1
                self._move(_QUARTER)
            else:
                return
            self._low, self._high = self._low << 1, self._high << 1 | 1

    def finish(self) -> bytes:
        """Return the bytes: zeros behind the last one that is not zero are left out."""
        self._waiting += 1
        self._write(int(self._low >= _QUARTER))
        bits = self._bits + [0] * (-len(self._bits) % 8)
        found = bytes(int("".join(map(str, bits[i : i + 8])), 2) for i in range(0, len(bits), 8))
        return found.rstrip(b"\0")

    def _move(self, by: int) -> None:
        self._low, self._high = self._low - by, self._high - by

    def _write(self, bit: int) -> None:
        self._bits.append(bit)
        self._bits.extend([1 - bit] * self._waiting)
        self._waiting = 0


class Decoder:
    """Bytes on their way back into bits; zeros follow the last byte.

    Any bytes are bits of something: whether these were written so is known when they are written again.
    """

    def __init__(self, data: bytes) -> None:
        self._low, self._high = 0, _TOP
        self._data, self._at = data, BITS
        self._value = int.from_bytes(data[: BITS // 8].ljust(BITS // 8, b"\0"), "big")

    def get(self, counts: Counts) -> int:
        """Return the next bit in its context."""
        zero, one = counts.pair
        middle = self._low + (self._high - self._low + 1) * zero // (zero + one)
        bit = int(self._value >= middle)
        if bit:
            self._low = middle
        else:
            self._high = middle - 1
        counts.seen(bit)
        while True:
            if self._high < _HALF:
                pass
            elif self._low >= _HALF:
                self._move(_HALF)
            elif self._low >= _QUARTER and self._high < _HALF + _QUARTER:
                self._move(_QUARTER)
            else:
                return bit
            self._low, self._high = self._low << 1, self._high << 1 | 1
            self._value = self._value << 1 | self._next()

    def _move(self, by: int) -> None:
        self._low, self._high, self._value = self._low - by, self._high - by, self._value - by

    def _next(self) -> int:
        byte, bit = divmod(self._at, 8)
        self._at += 1
        return self._data[byte] >> 7 - bit & 1 if byte < len(self._data) else 0
