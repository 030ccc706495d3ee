"""The table of public names, each with the first sentence of its docstring: ``python -m lieref._api``."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

MODULES = ("lieref", "lieref.linalg", "lieref.lie", "lieref.golden")


def markdown() -> str:
    """Return the table as Markdown: one line a name, module by module, in the order of ``__all__``."""
    lines = ["| name | what it is |", "| --- | --- |"]
    for name in MODULES:
        module = importlib.import_module(name)
        for each in module.__all__:
            if each != "__version__":
                text = first_sentence(docstring(module, each)).replace("|", "\\|")
                lines.append(f"| `{name}.{each}` | {text} |")
    return "\n".join(lines) + "\n"


def docstring(module: ModuleType, name: str) -> str:
    """Return what is written about a public name: its docstring, or the text behind the assignment of a table."""
    value: Any = getattr(module, name)
    if inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value):
        return inspect.getdoc(value) or ""
    source = importlib.import_module(module._PLACES[name].partition(":")[0])
    for line, behind in pairwise(ast.parse(Path(str(source.__file__)).read_text(encoding="utf-8")).body):
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        if isinstance(target, ast.Name) and target.id == name and isinstance(behind, ast.Expr):
            return str(getattr(behind.value, "value", ""))
    return ""


def first_sentence(text: str) -> str:
    """Return the first sentence of a docstring on one line, without its full stop."""
    words = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\S)\.(?=\s+[A-Z`]|$)", words)[0]


if __name__ == "__main__":
    print(markdown(), end="")
