"""A tokenizer of a few words, written by hand as its file is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = ("[PAD]", "[UNK]", "[CLS]", "good", "bad", "film", "the", "a")
"""Their places are their ids."""


def write_tokenizer(path: Path, words: tuple[str, ...] = WORDS, **changes: Any) -> Path:
    """Write a tokenizer of whole words, [CLS] before the text."""
    fields = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(words)}, "unk_token": "[UNK]"},
        **changes,
    }
    path.write_text(json.dumps(fields), encoding="utf-8")
    return path


def padding(side: str = "Right", pad_id: int = 0) -> dict[str, Any]:
    """Return what a tokenizer's file says of padding."""
    return {
        "strategy": "BatchLongest", "direction": side, "pad_to_multiple_of": None, "pad_id": pad_id,
        "pad_type_id": 0, "pad_token": "[PAD]",
    }  # fmt: skip
