"""The public names, and that importing the package costs next to nothing."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import lieref
from lieref.references import REFERENCES

ROOT = Path(lieref.__file__).parent


def test_dir_is_the_written_list() -> None:
    assert dir(lieref) == sorted(lieref.__all__)
    assert len(set(lieref.__all__)) == len(lieref.__all__)


def test_every_public_name_exists_and_has_a_docstring() -> None:
    for name in lieref.__all__:
        value = getattr(lieref, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert inspect.getdoc(value), f"lieref.{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(lieref, "no_such_name")


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, lieref\n"
        "heavy = {'numba', 'scipy', 'onnx', 'matplotlib', 'sklearn', 'click', 'rich', 'torch', 'jax'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert out.stdout.strip() == "[]"


def test_import_time_beyond_numpy() -> None:
    """`-X importtime` counts what lieref's own modules cost, so that a busy machine cannot blame numpy on them."""
    best = float("inf")
    for _ in range(3):
        out = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", "import numpy, lieref"],
            capture_output=True, text=True, check=True, cwd=ROOT.parent,
        )  # fmt: skip
        lines = [line for line in out.stderr.splitlines() if line.rstrip().endswith("| lieref")]
        best = min(best, int(lines[-1].split("|")[1]) / 1e6)
    assert best < 0.2


def test_references_are_known_and_used() -> None:
    """A citation is a key in square brackets: letters, a two-digit year, perhaps one more letter, as in [Hu21]."""
    cited: set[str] = set()
    for path in ROOT.rglob("*.py"):
        if path.name != "references.py":
            cited |= set(re.findall(r"\[([A-Z][A-Za-z]+\d{2}[A-Za-z]?)[\],]", path.read_text()))
    assert cited <= set(REFERENCES), f"unknown keys {sorted(cited - set(REFERENCES))}"
    assert set(REFERENCES) <= cited, f"keys nobody cites {sorted(set(REFERENCES) - cited)}"
