"""Sentences as ids: cut, padded and counted, by a tokenizer that fits the network or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.errors import DomainError, FormatError, MissingExtraError
from lieref.model.vocabulary import Vocabulary
from lieref.train.data import load_data
from lieref.train.tokenizer import TextEncoder
from tests.train.texts import WORDS, padding, write_tokenizer

pytest.importorskip("tokenizers", reason="the extra `text` is not installed")
ROWS = len(WORDS)


def test_sentences_become_ids(tmp_path: Path) -> None:
    encoder = TextEncoder(write_tokenizer(tmp_path / "t.json"), Vocabulary(ROWS, 0), length=5)
    found = encoder.encode(["The GOOD film", "a strange bad film the", "bad"], [2, 3, 5], "d.tsv")
    np.testing.assert_array_equal(found.ids, [[2, 6, 3, 5, 0], [2, 7, 1, 4, 5], [2, 4, 0, 0, 0]])
    assert (found.length, found.padding, found.cut, found.cut_lines) == (5, 0, 1, (3,))
    assert found.describe("d.tsv") == (
        "d.tsv: 3 texts of 2 to 5 tokens, median 4, padded with id 0 on the right to 5; 1 cut (line 3)"
    )


def test_a_shorter_cut_is_padded_to_what_the_network_takes(tmp_path: Path) -> None:
    encoder = TextEncoder(write_tokenizer(tmp_path / "t.json"), length=5, max_length=3)
    found = encoder.encode(["the good film"], [1], "d.tsv")
    np.testing.assert_array_equal(found.ids, [[2, 6, 3, 0, 0]])
    assert found.cut == 1


def test_padding_stands_where_the_tokenizer_says(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path / "t.json", padding=padding("Left", 7))
    found = TextEncoder(path, length=4).encode(["good"], [1], "d.tsv")
    np.testing.assert_array_equal(found.ids, [[7, 7, 2, 3]])
    assert found.side == "left"


def test_load_data_reads_sentences(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"s": "good", "y": "pos"}\n{"s": "bad film", "y": "neg"}\n')
    tokenizer = write_tokenizer(tmp_path / "t.json")
    data = load_data(tmp_path / "d.jsonl", tokenizer=tokenizer, max_length=4, text_field="s", label_field="y")
    np.testing.assert_array_equal(data.x, [[2, 3, 0, 0], [2, 4, 5, 0]])
    np.testing.assert_array_equal(data.y, [1, 0])
    assert data.class_names == ("neg", "pos")
    assert load_data(
        tmp_path / "d.jsonl", task="tokens", tokenizer=tokenizer, max_length=4, text_field="s"
    ).y is None  # fmt: skip
    with pytest.raises(FormatError, match=r"must have a tokenizer.json"):
        load_data(tmp_path / "d.jsonl")


@pytest.mark.parametrize("rows", [5, 9, 64])
def test_another_vocabulary_is_refused(tmp_path: Path, rows: int) -> None:
    with pytest.raises(DomainError, match=f"embedding has rows, {rows}; got 8"):
        TextEncoder(write_tokenizer(tmp_path / "t.json"), Vocabulary(rows, None), length=5)


def test_a_table_that_is_rounded_up_is_taken(tmp_path: Path) -> None:
    words = (*WORDS, *(f"w{i}" for i in range(120 - len(WORDS))))
    with pytest.raises(DomainError, match=r"got 120"):
        TextEncoder(write_tokenizer(tmp_path / "t.json", words), Vocabulary(128, None), length=5)
    words = (*words, *(f"v{i}" for i in range(6)))
    assert TextEncoder(write_tokenizer(tmp_path / "t.json", words), Vocabulary(128, None), length=5).size == 126


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        ({"length": 5, "max_length": 6}, {}, "`max_length` must be at most 5, which the network takes; got 6"),
        ({}, {}, "`max_length` must be given"),
        ({"max_length": 1}, {}, "`max_length` must be more than the 1 tokens that the tokenizer adds; got 1"),
        ({"length": 5, "padding": 8}, {}, "`pad_id` must be in the vocabulary, 0 to 7; got 8"),
        ({"length": 5, "padding": 3, "known": Vocabulary(8, 0)}, {}, "must be 0, which the network masks; got 3"),
        ({"length": 5, "known": Vocabulary(8, 0)}, {"padding": padding(pad_id=7)}, "must be 0, .*; got 7"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, arguments: Any, changes: Any, message: str) -> None:
    with pytest.raises(DomainError, match=message):
        TextEncoder(write_tokenizer(tmp_path / "t.json", **changes), **arguments)


def test_padding_must_be_known(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path / "t.json", ("x", *WORDS[1:]))
    with pytest.raises(DomainError, match=r"must say which id is padding"):
        TextEncoder(path, Vocabulary(8, None), length=5)
    assert TextEncoder(path, Vocabulary(8, 6), length=5).padding == 6


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 50, b'{"version": "9"}', b"[" * 9999, b"\xff\xfe"])
def test_what_is_no_tokenizer(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"must be a tokenizer.json"):
        TextEncoder(tmp_path / "t.json", length=5)
    with pytest.raises(FormatError, match=r"must be a readable tokenizer.json"):
        TextEncoder(tmp_path / "none.json", length=5)


def test_a_text_without_a_token_is_refused(tmp_path: Path) -> None:
    encoder = TextEncoder(write_tokenizer(tmp_path / "t.json", post_processor=None), length=5)
    with pytest.raises(DomainError, match=r"d.tsv, line 4 must have a token"):
        encoder.encode(["good", "\u00a0"], [3, 4], "d.tsv")


def model_of(ids: dict[str, int]) -> dict[str, Any]:
    return {"type": "WordLevel", "vocab": ids, "unk_token": "[UNK]"}


@pytest.mark.parametrize("number", [ROWS, 2**31, 2**32 - 1])
def test_an_id_outside_the_table_is_refused(tmp_path: Path, number: int) -> None:
    """As many tokens as rows may still have other ids, in the words or in what is put before a text."""
    words = {word: number if word == "film" else i for i, word in enumerate(WORDS)}
    path = write_tokenizer(tmp_path / "t.json", model=model_of(words))
    encoder = TextEncoder(path, Vocabulary(ROWS, 0), length=4)
    assert encoder.encode(["good"], [1], "d.tsv").ids.max() < ROWS
    with pytest.raises(DomainError, match=f"d.tsv, line 7 must have ids below {ROWS}; .*t.json makes {number} of it"):
        encoder.encode(["good", "a film"], [1, 7], "d.tsv")
    if number >= 2**31:
        with pytest.raises(DomainError, match=f"must have ids below {2**31}"):
            TextEncoder(path, length=4).encode(["film"], [1], "d.tsv")


def test_a_file_that_fails_at_the_first_text_is_refused(tmp_path: Path) -> None:
    """A word that is not there for those that are unknown is seen by the library when one comes."""
    words = {word: i for i, word in enumerate(WORDS) if word != "[UNK]"} | {"more": 1}
    path = write_tokenizer(tmp_path / "t.json", model=model_of(words))
    encoder = TextEncoder(path, Vocabulary(ROWS, 0), length=4)
    with pytest.raises(FormatError, match=r"t\.json must be a tokenizer\.json of the tokenizers library"):
        encoder.encode(["strange"], [1], "d.tsv")


def test_ids_have_a_cap(tmp_path: Path) -> None:
    encoder = TextEncoder(write_tokenizer(tmp_path / "t.json"), max_length=10**6)
    with pytest.raises(FormatError, match=r"the ids of d.tsv must take at most 268435456 bytes; got 400000000"):
        encoder.encode(["good"] * 100, range(100), "d.tsv")


def test_a_missing_extra_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"reading text needs tokenizers, .*pip install 'lieref\[text\]'"):
        TextEncoder(write_tokenizer(tmp_path / "t.json"), length=5)


def test_a_device_is_no_tokenizer() -> None:
    pytest.importorskip("tokenizers")
    with pytest.raises(FormatError, match="regular file"):
        TextEncoder("/dev/zero", max_length=4)
