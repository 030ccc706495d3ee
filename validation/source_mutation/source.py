"""A parsed source file, and one change of it."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cached_property

SILENT = {"warn", "print", "echo", "debug", "info", "say"}
DESCRIBING = re.compile(r"__repr__|__str__|_?describe.*|_?explain.*|_?to_text|_?message.*|_?words.*")


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes
    ----------
    file : str
        Path below the root of the project.
    function : str
        Dotted name of the innermost function or class, or "" at the top of the module.
    operator : str
        Key of `OPERATORS`, or "named".
    start, end : int
        Bytes that are replaced.
    text : str
        What replaces them.
    first, last : int
        Lines that run it.
    old, new : str
        The changed lines before and after, stripped.
    """

    file: str
    function: str
    operator: str
    start: int
    end: int
    text: str
    first: int
    last: int
    old: str
    new: str

    @property
    def key(self) -> str:
        """What the mutant is called in the tables: it survives changes of other lines."""
        return f"{self.file}::{self.function}: {self.old} -> {self.new}"

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]


class Source:
    """A parsed file: text of nodes, their positions, and what encloses them."""

    def __init__(self, file: str, data: bytes) -> None:
        self.file = file
        self.data = data
        self.tree = ast.parse(data)
        self.parent: dict[ast.AST, ast.AST] = {}
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self.parent[child] = node

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for line in self.data.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        return starts

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return the first byte of a node and the one after its last."""
        return (
            self._starts[node.lineno - 1] + node.col_offset,  # type: ignore[attr-defined]
            self._starts[node.end_lineno - 1] + node.end_col_offset,  # type: ignore[attr-defined]
        )

    def text(self, node: ast.AST) -> str:
        start, end = self.span(node)
        return self.data[start:end].decode()

    def between(self, left: ast.AST, right: ast.AST, token: str) -> tuple[int, int]:
        """Return where an operator stands between its operands."""
        start, end = self.span(left)[1], self.span(right)[0]
        found = re.search(
            rb"(?<![\w*/<>=!])" + rb"\s+".join(map(re.escape, token.encode().split())), self.data[start:end]
        )
        if found is None:
            raise ValueError(f"{self.file}: no {token!r} between {self.text(left)!r} and {self.text(right)!r}")
        return start + found.start(), start + found.end()

    def enclosing(self, node: ast.AST, *kinds: type[ast.AST]) -> list[ast.AST]:
        """Return what encloses a node, itself included, from inside out."""
        found = []
        at: ast.AST | None = node
        while at is not None:
            if isinstance(at, kinds):
                found.append(at)
            at = self.parent.get(at)
        return found

    def function_of(self, node: ast.AST) -> str:
        scopes = self.enclosing(node, ast.FunctionDef, ast.ClassDef)
        return ".".join(scope.name for scope in reversed(scopes))  # type: ignore[attr-defined]

    def lines_of(self, node: ast.AST) -> tuple[int, int]:
        """Return the lines of the statement that runs a node; of a compound statement, the node's own lines."""
        statement = self.enclosing(node, ast.stmt)[0]
        if hasattr(statement, "body") and statement is not node:
            return node.lineno, node.end_lineno  # type: ignore[attr-defined]
        return statement.lineno, statement.end_lineno  # type: ignore[attr-defined,return-value]

    def changed(self, operator: str, node: ast.AST, place: ast.AST | tuple[int, int], text: str) -> Mutant:
        start, end = place if isinstance(place, tuple) else self.span(place)
        low = self.data.rfind(b"\n", 0, start) + 1
        high = self.data.find(b"\n", end)
        old = self.data[low:high].decode()
        new = (self.data[low:start] + text.encode() + self.data[end:high]).decode()
        first, last = self.lines_of(node)
        squeeze = lambda words: " ".join(words.split())  # noqa: E731
        return Mutant(
            self.file, self.function_of(node), operator, start, end, text, first, last, squeeze(old), squeeze(new)
        )

    def counts(self, node: ast.AST) -> bool:
        """Return whether a node computes something that a test could see."""
        inner = node
        for outer in self.enclosing(node, ast.AST):
            parts = [getattr(outer, name, None) for name in ("annotation", "returns")]
            if inner in [part for part in parts if part is not None] or inner in getattr(outer, "decorator_list", ()):
                return False
            if isinstance(outer, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
                return False
            if is_silent(outer):
                return False
            if isinstance(outer, ast.FunctionDef) and DESCRIBING.fullmatch(outer.name):
                return False
            if isinstance(outer, ast.Assign) and any(name_of(t) == "__all__" for t in outer.targets):
                return False
            if isinstance(outer, ast.If) and name_of(outer.test) in ("TYPE_CHECKING", "__name__"):
                return False
            if (
                isinstance(outer, ast.If)
                and outer.test is inner
                and not outer.orelse
                and all(map(is_silent, outer.body))
            ):
                return False
            inner = outer
        return True


def name_of(node: ast.AST) -> str:
    """Return the last part of a dotted name, or "" """
    return getattr(node, "attr", getattr(node, "id", ""))


def is_silent(node: ast.AST) -> bool:
    """Return whether a node only says something."""
    call = node.value if isinstance(node, ast.Expr) else node
    return isinstance(call, ast.Call) and name_of(call.func) in SILENT
