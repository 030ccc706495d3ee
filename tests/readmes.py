"""The README files of a checkout: their blocks, links and anchors, and a shell that runs blocks as they are pasted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import lieref

ROOT = Path(lieref.__file__).parent.parent
README = ROOT / "README.md"
if not README.exists():
    pytest.skip("not a checkout: lieref is installed without its repository", allow_module_level=True)

ALL = sorted(
    [README, *(p for part in ("lieref", "validation", "paper_figures") for p in (ROOT / part).rglob("README.md"))]
)


class Block(NamedTuple):
    """A fenced block: its language and what stands in it."""

    language: str
    text: str


def blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of a file, in order."""
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", prose(path), re.MULTILINE | re.DOTALL)]


def prose(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def between(path: Path, name: str) -> str:
    """Return what stands between the markers of a name."""
    found = re.search(f"<!-- {name}:begin -->\n(.*?)<!-- {name}:end -->", prose(path), re.DOTALL)
    assert found, f"{path} has no part {name}"
    return found[1]


def without_blocks(path: Path) -> str:
    return re.sub(r"^```.*?^```$", "", prose(path), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return the anchors of a file's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def links(path: Path) -> list[str]:
    """Return the targets of links and pictures that are no addresses of the web."""
    found = re.findall(r"\]\(([^)\s]+)\)", without_blocks(path))
    return [target for target in found if "://" not in target]


def fixed(program: str, path: Path) -> str:
    """Return a program with the lines changed as the one diff of a file says."""
    (diff,) = (block.text for block in blocks(path) if block.language == "diff")
    old, new = re.findall(r"^[-+](.*\n)", diff, re.MULTILINE)
    assert program.count(old) == 1
    return program.replace(old, new)


def shell(command: str, folder: Path, *, status: int | None = 0) -> str:
    """Run what a reader pastes, with `lieref` and `python` of this interpreter, and return what stdout got."""
    programs = folder / ".programs"
    programs.mkdir(exist_ok=True)
    for name, call in {"lieref": f"{sys.executable} -m lieref", "python": sys.executable}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {call} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {**os.environ, "COLUMNS": "200", "PYTHONPATH": f"{ROOT}{os.pathsep}.", "PYTHONWARNINGS": "default"}
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    script = ["bash", "-euo", "pipefail", "-c", command]
    done = subprocess.run(script, cwd=folder, capture_output=True, text=True, env=environment, timeout=300)
    assert status is None or done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def shape(text: str) -> list[str]:
    """Return lines with every number as # and every run of blanks or rules as one: what a table looks like."""
    lines = [re.sub(r"\d[\d,.]*(?:e[+-]?\d+)?", "#", line) for line in text.strip().splitlines()]
    return [re.sub(r"([ ─━])\1*", r"\1", line).rstrip() for line in lines]
