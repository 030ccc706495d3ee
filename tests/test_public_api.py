"""The public names, the old ones, and that importing the package costs next to nothing."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import lieref
from lieref import _api, conformance, golden, lie, linalg
from lieref._lazy import load
from lieref.kernel import conv_naive, pool, pool_naive
from lieref.references import REFERENCES

ROOT = Path(lieref.__file__).parent


PUBLIC = (lieref, linalg, lie, golden)
OLD = [(module, name) for module in (lieref, conformance) for name in module._OLD]


def test_at_most_25_names_beside_the_errors() -> None:
    errors = {name for name in lieref.__all__ if isinstance(getattr(lieref, name), type)
              and issubclass(getattr(lieref, name), (lieref.LierefError, lieref.LierefWarning))}  # fmt: skip
    assert len(set(lieref.__all__) - errors - {"errors", "__version__"}) <= 25


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_names_are_listed_once_and_typed_as_they_are_loaded(module: ModuleType) -> None:
    assert dir(module) == sorted(module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
    typed = {}
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text())):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                for each in line.names:
                    assert each.asname == each.name
                    typed[each.name] = f"{line.module}{'.' if line.module == 'lieref' else ':'}{each.name}"
    assert typed == module._PLACES
    assert typed.keys() <= set(module.__all__)


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_every_public_name_exists_and_has_a_docstring(module: ModuleType) -> None:
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value):
            assert inspect.getdoc(value), f"{module.__name__}.{name} has no docstring"


@pytest.mark.parametrize(("module", "name"), OLD, ids=lambda each: getattr(each, "__name__", each))
def test_an_old_name_works_and_says_the_new_one(module: ModuleType, name: str) -> None:
    new, place = module._OLD[name]
    text = f"{module.__name__}.{name} is now {new};"
    with pytest.warns(DeprecationWarning, match=re.escape(text)) as seen:
        value = getattr(module, name)
    assert [warning.filename for warning in seen] == [__file__]
    assert value is load(place)
    where, _, what = new.rpartition(".")
    assert what in importlib.import_module(where).__all__
    assert name not in getattr(module, "__all__", ())


def test_an_old_name_warns_once_for_each_line_that_uses_it() -> None:
    lines = "import lieref\nfor _ in range(3):\n    lieref.expm\n    lieref.expm\nfrom lieref import expm\n"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        exec(compile(lines, "user.py", "exec"), {"__name__": "user"})
    assert [(warning.filename, warning.lineno) for warning in seen] == [("user.py", 3), ("user.py", 4), ("user.py", 5)]


def test_an_old_function_takes_what_it_took() -> None:
    a, y_bar = np.random.default_rng(0).standard_normal((2, 3, 3))
    with pytest.warns(DeprecationWarning, match="linalg"):
        found = lieref.expm_vjp(a, linalg.expm(a), y_bar)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(found, linalg.expm_vjp(a, y_bar))


OWNERS = (linalg, pool, conv_naive, pool_naive, lieref.Method, lie.Group, lie.Map, lie.Action)


@pytest.mark.parametrize("owner", OWNERS, ids=lambda owner: owner.__name__)
def test_a_vjp_takes_the_arguments_of_its_function_then_the_cotangent(owner: Any) -> None:
    pairs = [name for name in dir(owner) if name.endswith("_vjp") and not name.startswith("_")]
    assert pairs
    for name in pairs:
        given = _positional(getattr(owner, name))
        arguments = _positional(getattr(owner, name.removesuffix("_vjp")))
        assert given[: len(arguments)] == arguments, name
        assert given[-1].endswith("_bar"), name
        assert len(given) - len(arguments) <= 2, name  # the result too where it is used


def _positional(function: Any) -> list[str]:
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]


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
    assert best < 0.15


def test_table_of_names_is_that_of_the_docstrings() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    match = re.search(r"<!-- api:begin -->\n(.*?)<!-- api:end -->", text, re.DOTALL)
    assert match, "lieref/README.md has no part api"
    rows = _api.markdown()
    assert match[1] == rows, "put the output of `python -m lieref._api` into lieref/README.md"
    for row in rows.splitlines()[2:]:
        name, text = (cell.strip() for cell in row.removesuffix("|").split("` | "))
        assert len(text) > 8, f"{name} needs a sentence in its docstring, or behind its assignment"


def test_references_are_known_and_used() -> None:
    """A citation is a key in square brackets: letters, a two-digit year, perhaps one more letter, as in [Hu21]."""
    cited: set[str] = set()
    for path in ROOT.rglob("*.py"):
        if path.name != "references.py":
            cited |= set(re.findall(r"\[([A-Z][A-Za-z]+\d{2}[A-Za-z]?)[\],]", path.read_text()))
    assert cited <= set(REFERENCES), f"unknown keys {sorted(cited - set(REFERENCES))}"
    assert set(REFERENCES) <= cited, f"keys nobody cites {sorted(set(REFERENCES) - cited)}"
