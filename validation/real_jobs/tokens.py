"""Sentences to ids of the 512 pieces of the small language model: merges of pairs by score, bytes where no piece is."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np

LENGTH = 128
FIRST_BYTE = 3
"""Id of the byte 0."""


class Tokenizer:
    """The vocabulary of a ``tok512_vocab.json``."""

    def __init__(self, path: Path) -> None:
        known = json.loads(path.read_text())
        self._ids = {piece: number for number, piece in enumerate(known["pieces"])}
        self._score, self._pieces, self._bos = known["score"], known["pieces"], known["bos"]

    def encode(self, text: str) -> list[int]:
        """Return the ids of a stripped sentence: the pair of the best piece is merged until none is left."""
        ids: list[int] = []
        for letter in "▁" + text.strip().replace(" ", "▁"):
            known = self._ids.get(letter)
            ids += [FIRST_BYTE + byte for byte in letter.encode()] if known is None else [known]
        while True:
            merged = [self._ids.get(self._pieces[a] + self._pieces[b]) for a, b in pairwise(ids)]
            found = [(-self._score[piece], at, piece) for at, piece in enumerate(merged) if piece is not None]
            if not found:
                return [self._bos, *ids]
            _, at, piece = min(found)
            ids[at : at + 2] = [piece]

    def encode_all(self, sentences: list[str]) -> np.ndarray:
        """Return (N, 128) int64, cut there and padded with 0."""
        ids = np.zeros((len(sentences), LENGTH), np.int64)
        for row, sentence in zip(ids, sentences, strict=True):
            found = self.encode(sentence)[:LENGTH]
            row[: len(found)] = found
        return ids
