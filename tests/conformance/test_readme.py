"""The guide for authors of ports: its C program, its exports and its plugin run as pasted, on the port shown."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lieref.conformance.exact.semantics import NAMES
from lieref.conformance.profile import PROFILES
from tests.readmes import README, ROOT, blocks, fixed, prose, shape, shell

GUIDE = ROOT / "lieref" / "conformance" / "README.md"


def test_c_program_compiles_without_a_warning_and_finds_what_is_wrong(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: install one that is called cc")
    found = blocks(GUIDE)
    (place,) = (i for i, block in enumerate(found) if block.language == "c")
    program, (_, command), (_, output) = found[place].text, *found[place + 1 : place + 3]
    assert "cc -std=c99 -Wall -Werror " in command
    (tmp_path / "check.c").write_text(program)
    assert shape(shell(command, tmp_path)) == shape(output)
    build = command.splitlines(keepends=True)[-1]
    for right, wrong in {"float sum = b[o]": "float sum = 0.0f", "u = -1; u <= 1": "u = 0; u <= 1"}.items():
        assert program.count(right) == 1
        (tmp_path / "check.c").write_text(program.replace(right, wrong))
        assert shell(build, tmp_path, status=1).startswith("FAIL at ")


def test_plugin_and_export_run(tmp_path: Path) -> None:
    (port,) = (block.text for block in blocks(README) if block.text.startswith("# my_port.py"))
    (tmp_path / "my_port.py").write_text(fixed(port, README))
    for text in (block.text for block in blocks(GUIDE) if block.language == "sh" and "check.c" not in block.text):
        text = text.replace(
            "pytest ", "python -m pytest -q -p no:cacheprovider -p lieref.conformance.pytest_plugin ", 1
        )
        if _installed():
            text = text.replace("-p lieref.conformance.pytest_plugin ", "")
        shell(text, tmp_path)
    assert list((tmp_path / "integer_headers").rglob("*.h"))


def _installed() -> bool:
    from importlib.metadata import entry_points

    return any(entry.name == "lieref-golden" for entry in entry_points(group="pytest11"))


def test_every_profile_and_semantics_is_told() -> None:
    text = prose(GUIDE)
    assert [name for name in (*PROFILES, *NAMES) if f"`{name}`" not in text and f"`{name}:" not in text] == []
