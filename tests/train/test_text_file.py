"""Files of sentences: what is read of them, and one clear error with its line for each thing that is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from lieref.errors import DomainError, FormatError
from lieref.train.text_file import MAX_LINE, MAX_TEXT_BYTES, read_texts


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("d.tsv", 'text\tlabel\n"so good\t1\nbad, bad\tno\n'),
        ("d.TSV", '\ufefflabel\tid\ttext\r\n1\t7\t"so good\r\n\r\nno\t8\tbad, bad\r\n'),
        ("d.csv", 'text,label\n"""so good",1\n"bad, bad",no\n'),
        ("d.jsonl", '{"text": "\\"so good", "label": 1}\n\n{"label": "no", "more": [], "text": "bad, bad"}'),
    ],
)
def test_sentences_and_targets_are_read(tmp_path: Path, name: str, text: str) -> None:
    found = read_texts(write(tmp_path / name, text))
    assert found.texts == ['"so good', "bad, bad"]
    assert found.cells == ["1", "no"]
    assert found.lines[0] == (1 if name == "d.jsonl" else 2)


def test_columns_have_other_names_or_there_is_no_target(tmp_path: Path) -> None:
    path = write(tmp_path / "d.tsv", "sentence\tclass\ngood\t1\n")
    assert read_texts(path, text="sentence", label="class").cells == ["1"]
    assert read_texts(path, text="sentence", label=None).cells is None


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        (
            "d.tsv",
            "text\tclass\na\t1\n",
            FormatError,
            "header of .*d.tsv must have one column 'label'; got the columns",
        ),
        ("d.tsv", "text\tlabel\ttext\na\t1\tb\n", FormatError, "one column 'text'; got more than one"),
        ("d.tsv", "text\tlabel\na\t1\nb\n", FormatError, "line 3 must have 2 cells; got 1"),
        ("d.tsv", "text\tlabel\na\t1\n \t0\n", DomainError, "line 3 must hold a text; got an empty one"),
        ("d.tsv", "text\tlabel\na\0\t1\n", FormatError, "line 2 must be text; got a NUL byte"),
        ("d.tsv", b"text\tlabel\na\t1\n\xff\t0\n", FormatError, "line 3 must be UTF-8; invalid start byte"),
        ("d.tsv", "", DomainError, "must hold at least one text"),
        ("d.csv", "text,label\n", DomainError, "must hold at least one text"),
        ("d.csv", 'text,label\n"a" b,1\n', FormatError, "line 2 must be a row of a table"),
        ("d.csv", 'text,label\n"a,1\n', FormatError, "line 2 must be a row of a table"),
        ("d.jsonl", '{"text": "a", "label": 1}\n{"text": "b", ', FormatError, "line 2 must be JSON"),
        ("d.jsonl", "[" * 100000, FormatError, "line 1 must be JSON"),
        (
            "d.jsonl",
            '{"text": "a"}\n',
            FormatError,
            "line 1 must be an object with 'text' and 'label'; got the keys text",
        ),
        ("d.jsonl", "3\n", FormatError, "line 1 must be an object with 'text' and 'label'; got int"),
        ("d.jsonl", '{"text": 3, "label": 1}\n', FormatError, "line 1 must have a string 'text'; got int"),
        ("d.jsonl", '{"text": "a", "label": [1]}\n', FormatError, "a word or a number as 'label'; got list"),
        ("d.jsonl", '{"text": "a", "label": true}\n', FormatError, "a word or a number as 'label'; got bool"),
        ("d.jsonl", '{"text": "\\ud800", "label": 1}\n', FormatError, "line 1 must be text; got a NUL or half"),
        ("d.jsonl", '{"text": "\\u0000", "label": 1}\n', FormatError, "line 1 must be text; got a NUL or half"),
    ],
)
def test_what_is_no_file_of_sentences(
    tmp_path: Path, name: str, text: str | bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_texts(write(tmp_path / name, text))


def test_size_is_capped_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "d.tsv"
    with path.open("wb") as file:
        file.truncate(10**8)  # 100 MB that take no room on the disk
    with pytest.raises(FormatError, match=f"at most {MAX_TEXT_BYTES} bytes of text; got 100000000"):
        read_texts(path)
    with pytest.raises(FormatError, match=f"line 1 must have at most {MAX_LINE} bytes"):
        read_texts(path, max_bytes=10**9)
    with pytest.raises(FormatError, match=r"readable file"):
        read_texts(tmp_path / "none.tsv")
