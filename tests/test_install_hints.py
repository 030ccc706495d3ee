"""What messages say to install: one form, extras that there are, and the same from every place."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import lieref

PACKAGE = Path(lieref.__file__).parent
EXTRAS = set(tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"])
OTHERS = {"onnxruntime"}
"""Packages that a message names beside lieref's own extras."""


def test_messages_name_an_extra_in_one_form() -> None:
    found = 0
    for path in PACKAGE.rglob("*.py"):
        for words in re.findall(r"pip install (-\S+ )?('[^']*'|[\w-]+)", path.read_text()):
            found += 1
            option, what = words
            named = re.fullmatch(r"'lieref\[([\w,]+|\{extra\})\]'", what)
            assert not option, (path, words)
            assert named or what in OTHERS, (path, words)
            if named and named[1] != "{extra}":
                assert set(named[1].split(",")) <= EXTRAS, (path, words)
    assert found >= 5


def test_what_is_asked_for_is_in_an_extra() -> None:
    found = 0
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "need":
                extra = node.args[1]
                assert isinstance(extra, ast.Constant), (path, node.lineno)
                assert extra.value in EXTRAS, (path, extra.value)
                found += 1
    assert found >= 5
