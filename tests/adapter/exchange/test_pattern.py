"""Patterns of a configuration: PEFT's answers, and no search that takes for ever."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest

from lieref.adapter.exchange.pattern import LONGEST, MOST_STEPS, matches, most_steps
from lieref.adapter.exchange.peft import read
from lieref.errors import FormatError, UnsupportedError
from tests.adapter.exchange.network import write_adapter

PATH = "model.layers.11.self_attn.q_proj"


@pytest.mark.parametrize(
    "pattern",
    [
        "q_proj", "k_proj", "self_attn.q_proj", r"layers\.11\..*proj", r".*\.[0-9]+\..*", "(q|k|v)_proj", "^model.*",
        r"model\.layers\.(11|12)\.(self|cross)_attn\.(q|k)_proj", "q_proj?", r"[*+(]", r"\(a\)*", "", "attn", "x*",
        "|".join(f"m{n}" for n in range(99)) + "|q_proj",
    ],
)  # fmt: skip
def test_patterns_match_as_peft_has_them(pattern: str) -> None:
    assert matches(pattern, PATH, before=r"(.*\.)?") == bool(re.match(rf"(.*\.)?({pattern})$", PATH))
    assert matches(pattern, PATH) == bool(re.fullmatch(pattern, PATH))


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "(a|a)*b", "(a*)*b", "(a|aa)+b", "(?:a+){9,}b", "a?" * 40 + "a" * 40, "(a|a)" * 40, ".*.*.*.*.*b"],
)
def test_what_might_search_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(FormatError, match="might take for ever"):
        matches(pattern, "a" * 60)


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "(?P<a>x)(?P<a>y)", "\\", "x" * (LONGEST + 1), "(?i)x"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(FormatError):
        matches(pattern, PATH, before=r"(.*\.)?")


@pytest.mark.parametrize("pattern", [".*.*b", "a*a*b", "(a|b|c)(a|b|c).*b", "a?a?a?a?.*b"])
def test_what_is_taken_is_soon_done(pattern: str) -> None:
    text = "a" * 300
    assert most_steps(pattern, len(text)) <= MOST_STEPS
    begin = time.process_time()
    assert not matches(pattern, text, before=r"(.*\.)?")
    assert time.process_time() - begin < 5


def test_a_pattern_of_a_file_that_would_search_for_ever_is_refused(tmp_path: Path) -> None:
    tensors = {f"{'a' * 60}.lora_A.weight": np.ones((2, 4)), f"{'a' * 60}.lora_B.weight": np.ones((6, 2))}
    for name in ("rank_pattern", "alpha_pattern"):
        with pytest.raises(FormatError, match="might take for ever"):
            read(write_adapter(tmp_path / "adapter", "LORA", tensors, **{name: {"(a+)+b": 2}}))


@pytest.mark.parametrize("names", [5, True, {"low": 1}])
def test_feedforward_modules_are_text_or_a_list(names: object, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="feedforward_modules must be text or a list"):
        read(write_adapter(tmp_path / "adapter", "IA3", {"low.ia3_l": np.ones((6, 1))}, feedforward_modules=names))


@pytest.mark.parametrize("kind", [[], {}, None, 5])
def test_a_kind_that_is_no_text_is_refused(kind: object, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="must be a kind"):
        read(write_adapter(tmp_path / "adapter", kind, {"low.lora_A.weight": np.ones((2, 4))}))  # type: ignore[arg-type]
