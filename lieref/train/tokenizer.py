"""Sentences to ids of tokens, by a tokenizer.json of the `tokenizers` library; what is cut or padded is counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref._check import check_int, need
from lieref.errors import DomainError, FormatError
from lieref.model.vocabulary import Vocabulary
from lieref.train.cap import memory_cap

MAX_FILE_BYTES = 2**27
"""Size of a tokenizer.json, 128 MiB: those of 256,000 tokens take 34 MB."""

AT_ONCE = 256
"""Sentences that the library encodes at once: it holds some 100 bytes a token until they are copied."""

PADDING_TOKENS = ("<pad>", "[PAD]", "<|pad|>")
"""Names that tokenizers give the token of padding, where they do not say which it is."""

_ROUNDED_TO = 64
_SPARE_SHARE = 0.02
"""Tables of embeddings are rounded up to a multiple of that, and have then at most this share of rows that stand for no
token: measured on published ones, 1.8 % at most (51,200 rows for 50,257 tokens)."""


@dataclass(frozen=True)
class Encoded:
    """Sentences as ids.

    Attributes
    ----------
    ids : (N, T) int32
    length : int
        T, the places of a sample.
    padding : int
        Id behind the last token, or before the first where the tokenizer pads on the left.
    cut : int
        Sentences that were longer and lost their end.
    cut_lines : tuple of int
        Of the first few, the line.
    side : {"left", "right"}
        Where padding stands.
    """

    ids: NDArray[np.int32]
    length: int
    padding: int
    cut: int
    cut_lines: tuple[int, ...] = ()
    side: str = "right"

    def describe(self, source: str) -> str:
        """Return a line on what became of the sentences."""
        lengths = (self.ids != self.padding).sum(axis=1)
        lines = ", ".join(map(str, self.cut_lines))
        cut = (
            f"{self.cut} cut (line {lines}{', ...' if self.cut > len(self.cut_lines) else ''})" if self.cut else "0 cut"
        )
        return (
            f"{source}: {len(self.ids)} texts of {lengths.min()} to {lengths.max()} tokens, median "
            f"{int(np.median(lengths))}, padded with id {self.padding} on the {self.side} to {self.length}; {cut}"
        )


class TextEncoder:
    """A tokenizer that fits a network.

    Parameters
    ----------
    path : str or Path
        A ``tokenizer.json``.
    known : Vocabulary, optional
        What the network says of its ids.
    length : int, optional
        Places of a sample that the network takes; None where it takes any number.
    max_length : int, optional
        Tokens behind which a text is cut: at most `length`, which is the default.
    padding : int, optional
        Id of padding; by default the tokenizer's, or the one that the network itself masks.

    Raises
    ------
    MissingExtraError
        If tokenizers is not installed.
    FormatError
        If the file is missing or no tokenizer.
    DomainError
        If the tokenizer has another vocabulary than the network, or padding or length are not known or do not fit.
    """

    def __init__(
        self,
        path: str | Path,
        known: Vocabulary | None = None,
        *,
        length: int | None = None,
        max_length: int | None = None,
        padding: int | None = None,
    ) -> None:
        self.path = path
        self._tokenizer: Any = _read(path)
        own = self._tokenizer.padding or {}
        self.side = str(own.get("direction", "right"))
        self.size = int(self._tokenizer.get_vocab_size(with_added_tokens=True))
        self._rows = 2**31 if known is None else known.rows
        if known is not None:
            _check_size(path, self.size, known.rows)
        self.padding = self._find_padding(known, padding)
        most = self._most_tokens(length, max_length)
        self.length = most if length is None else length
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=most)

    def encode(self, texts: Sequence[str], lines: Sequence[int], source: str, max_bytes: int | None = None) -> Encoded:
        """Return sentences as ids.

        Parameters
        ----------
        texts : sequence of str
        lines : sequence of int
            Line of each in `source`.
        source : str
            The file they come from, for messages.
        max_bytes : int, optional
            Cap on the ids in memory; None takes that of `memory_cap`.

        Raises
        ------
        DomainError
            If one has no token, or one that is outside the vocabulary.
        FormatError
            If they would take more than the cap, or the library cannot encode them.
        """
        needed, cap = 4 * len(texts) * self.length, memory_cap(sum(map(len, texts)), max_bytes)
        if needed > cap:
            raise FormatError(f"load_data: the ids of {source} must take at most {cap} bytes; got {needed} (max_bytes "
                              "raises the cap, --max-length takes fewer places)")  # fmt: skip
        ids = np.full((len(texts), self.length), self.padding, np.int32)
        cut: list[int] = []
        for start in range(0, len(texts), AT_ONCE):
            with _asking(self.path):
                found = self._tokenizer.encode_batch(list(texts[start : start + AT_ONCE]))
            for row, encoding in enumerate(found, start):
                tokens = encoding.ids
                if max(tokens, default=0) >= self._rows:
                    raise DomainError(
                        f"load_data: {source}, line {lines[row]} must have ids below {self._rows}; {self.path} makes "
                        f"{max(tokens)} of it"
                    )
                if not tokens or all(token == self.padding for token in tokens):
                    raise DomainError(
                        f"load_data: {source}, line {lines[row]} must have a token; the tokenizer finds none"
                    )
                ids[row, slice(len(tokens)) if self.side == "right" else slice(-len(tokens), None)] = tokens
                if encoding.overflowing:
                    cut.append(lines[row])
        return Encoded(ids, self.length, self.padding, len(cut), tuple(cut[:3]), self.side)

    def _find_padding(self, known: Vocabulary | None, wanted: int | None) -> int:
        masked = None if known is None else known.padding
        choices = [value for value in (wanted, _own_padding(self._tokenizer), masked) if value is not None]
        if not choices:
            raise DomainError(f"load_data: {self.path} must say which id is padding; give it by --pad-id")
        padding = check_int("load_data", "pad_id", choices[0], low=0)
        if padding >= self.size and (known is None or padding >= known.rows):
            raise DomainError(f"load_data: `pad_id` must be in the vocabulary, 0 to {self.size - 1}; got {padding}")
        if masked is not None and masked != padding:
            raise DomainError(
                f"load_data: the id of padding must be {masked}, which the network masks; got {padding} of {self.path}"
            )
        return padding

    def _most_tokens(self, length: int | None, wanted: int | None) -> int:
        if length is None and wanted is None:
            raise DomainError("load_data: `max_length` must be given, for the network takes texts of any length")
        found = check_int("load_data", "max_length", length if wanted is None else wanted, low=1)
        if length is not None and found > length:
            raise DomainError(f"load_data: `max_length` must be at most {length}, which the network takes; got {found}")
        added = int(self._tokenizer.num_special_tokens_to_add(False))
        if found <= added:
            raise DomainError(
                f"load_data: `max_length` must be more than the {added} tokens that the tokenizer adds; got {found}"
            )
        return found


def padding_of(path: str | Path) -> int | None:
    """Return the id of padding that a tokenizer.json names, None where it names none; raises as `TextEncoder` does."""
    return _own_padding(_read(path))


def _own_padding(tokenizer: Any) -> int | None:
    named = (tokenizer.token_to_id(token) for token in PADDING_TOKENS)
    said = (tokenizer.padding or {}).get("pad_id")
    return next((value for value in (said, *named) if value is not None), None)


def _read(path: str | Path) -> Any:
    """Return the tokenizer of a file."""
    tokenizers = need("tokenizers", "text", "reading text")
    try:
        size = Path(path).stat().st_size
        if size > MAX_FILE_BYTES:
            raise FormatError(f"load_data: {path} must have at most {MAX_FILE_BYTES} bytes; got {size}")
        if Path(path).exists() and not Path(path).is_file():
            raise OSError("it is no regular file")
        data = Path(path).read_bytes()
    except OSError as error:
        raise FormatError(f"load_data: {path} must be a readable tokenizer.json; {error}") from error
    with _asking(path):
        return tokenizers.Tokenizer.from_buffer(data)


@contextmanager
def _asking(path: str | Path) -> Iterator[None]:
    """Turn what the library raises while the block runs into one error that names the file.

    Not every field of a file is checked when it is read: some fail at the first text.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        raise FormatError(f"load_data: {path} must be a tokenizer.json of the tokenizers library; {error}") from error


def _check_size(path: str | Path, size: int, rows: int) -> None:
    """Raise `DomainError` unless a tokenizer's tokens are the rows of a table, but for rows that round it up."""
    if size == rows or (rows % _ROUNDED_TO == 0 and 0 < rows - size <= _SPARE_SHARE * rows):
        return
    raise DomainError(
        f"load_data: {path} must have as many tokens as the network's embedding has rows, {rows}; got {size}"
    )
