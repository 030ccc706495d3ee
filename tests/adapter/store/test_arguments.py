"""The words of a command are read in two ways, by a few lines of the store's own and by argparse, which decides."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.adapter.store.__main__ import plain_options
from lieref.adapter.store.command import JSON, STORE, VERBS, Option
from lieref.adapter.store.parser import parse

VALUES = ["3", "0.5", "-1", "a b", "", "name", "-", "--", "-x", "1e3", "\xe9"]


def given_words(option: Option, value: str) -> list[str]:
    """An option as it is written out."""
    if option.kind is bool:
        return [option.name]
    return [option.name, value] if option.name.startswith("-") else [value]


def by_argparse(verb: str, words: list[str]) -> dict[str, Any] | None:
    """The options, or None where argparse refuses the words."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            return parse([verb, *words])[1]
        except SystemExit:
            return None


@pytest.mark.parametrize("name", VERBS)
def test_all_options_written_out_are_read_without_argparse(name: str) -> None:
    known = (*VERBS[name].options, STORE, JSON)
    words = [word for option in known for word in given_words(option, "3")]
    plain = plain_options(VERBS[name], words)
    assert plain is not None
    assert plain == by_argparse(name, words)
    assert plain.keys() == {option.key for option in known}


@settings(max_examples=50)
@given(st.data())
def test_what_is_read_without_argparse_is_what_argparse_reads(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([*VERBS]))
    known = [*VERBS[name].options, STORE, JSON]
    required = [given_words(option, data.draw(st.sampled_from(VALUES[:6]))) for option in known if option.required]
    odd = st.sampled_from([[word] for word in [*VALUES, "--sto", "--store=x", "--help", "--json=1", "--unknown"]])
    more = data.draw(
        st.lists(st.builds(given_words, st.sampled_from(known), st.sampled_from(VALUES)) | odd, max_size=3)
    )
    words = [word for part in data.draw(st.permutations([*required, *more])) for word in part]
    plain = plain_options(VERBS[name], words)
    if plain is not None:
        assert plain == by_argparse(name, words)


@pytest.mark.parametrize(
    "words",
    [
        ["--store", "d"],
        ["bundle"],
        ["bundle", "--store"],
        ["bundle", "--store", "d", "--self-test-seconds", "soon"],
        ["bundle", "--store", "d", "--self-test-seconds", "-1"],
        ["bundle", "more", "--store", "d"],
        ["bundle", "--store", "d", "--store", "e"],
        ["bundle", "--store=d"],
        ["bundle", "--sto", "d"],
        ["bundle", "--store", "d", "--help"],
    ],
    ids=" ".join,
)
def test_what_is_not_plain_is_left_to_argparse(words: list[str]) -> None:
    assert plain_options(VERBS["install"], words) is None
