"""What is declared is used, and what is used is declared."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import lieref

ROOT = Path(lieref.__file__).parents[1]
if not (ROOT / "pyproject.toml").exists():
    pytest.skip("not a checkout: lieref is installed without its repository", allow_module_level=True)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMPORT_NAMES = {
    "scikit-learn": "sklearn",
    "pillow": "PIL",
    "python-flint": "flint",
    "axe-core-python": "axe_core_python",
    "ai-edge-litert": "ai_edge_litert",
}
RUN_AS_COMMANDS = {"ruff", "mypy", "pytest-xdist"}
# Computing golden values anew, which come with the package, needs the extra `test`.
CERTIFYING = {"flint", "mpmath"}
# pytest itself loads the plugin that imports it; LiteRT is one of the runtimes that may judge a self-test.
NOT_NEEDED_TO_RUN = {"pytest", "_pytest", "ai_edge_litert"}
OTHERS = CERTIFYING | NOT_NEEDED_TO_RUN | {"lieref"}


def declared(requirements: list[str]) -> set[str]:
    names = {re.split(r"[<>=\[ ]", text)[0] for text in requirements} - {"lieref"}
    return {IMPORT_NAMES.get(name, name) for name in names}


def imported(*folders: str) -> set[str]:
    """Packages that are not Python's own, imported anywhere in the folders by a statement, `need` or `importorskip`."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return set().union(*map(imported_by, paths)) - set(sys.stdlib_module_names)


@cache
def imported_by(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            found |= {str(node.args[0].value)} if name in ("need", "importorskip", "import_module") else set()
    return frozenset(name.partition(".")[0] for name in found)


EXTRAS = {name: declared(requirements) for name, requirements in PROJECT["optional-dependencies"].items()}


def test_what_lieref_imports_is_declared() -> None:
    core = declared(PROJECT["dependencies"])
    extras = set().union(*(EXTRAS[name] for name in ("app", "text", "sign", "ort", "sweep", "int8")))
    assert imported("lieref") <= core | extras | OTHERS
    assert imported("lieref/numerics", "lieref/kernel", "lieref/model/engine") <= core | {"lieref"}


def test_what_is_declared_is_imported() -> None:
    assert declared(PROJECT["dependencies"]) <= imported("lieref")
    assert EXTRAS["app"] <= imported("lieref", "paper_figures")
    everything = imported("lieref", "paper_figures", "tests", "validation") | RUN_AS_COMMANDS
    for extra, names in EXTRAS.items():
        assert names <= everything, f"extra {extra}"


def test_errors_name_extras_that_exist() -> None:
    for path in (ROOT / "lieref").rglob("*.py"):
        for extra in re.findall(r'need\(\s*"[\w.]+",\s*"(\w+)"', path.read_text()):
            assert extra in EXTRAS, path
