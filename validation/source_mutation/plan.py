"""Which tests to run against a mutant, in which order."""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

from validation.source_mutation.cover import Cover
from validation.source_mutation.source import Mutant

# A mutant that the quickest tests of this many recorded seconds let live counts as survived. Recorded seconds are those
# under the trace, two to four times the plain ones.
LIMIT = 120.0
# The emitters run when a kernel is missing from the cache, so in one test only; all that run kernels stand for it.
EMITTERS = PurePosixPath("kernel/simd")
EMITTED = PurePosixPath("kernel/simd/run.py")


@dataclass
class Plan:
    """Covering tests of every mutant.

    Attributes
    ----------
    root : Path
        The project.
    cover : Cover
    """

    root: Path
    cover: Cover

    def tests(self, mutant: Mutant, limit: float) -> list[str]:
        """Return the node ids of the tests that can see a mutant: the nearest and the quickest first."""
        bits = self._by_line(mutant)
        first = self._ordered(bits, mutant)
        rest = self._ordered(self._by_function(mutant) & ~bits, mutant)
        if not first and not rest:
            rest = self._ordered(self._by_module(PurePosixPath(mutant.file)), mutant)
        if not first and not rest:
            rest = self._ordered(self._by_folder(mutant), mutant)
        chosen, spent = [], 0.0
        for number in first + rest:
            spent += self.cover.seconds[number]
            if chosen and spent > limit:
                break
            chosen.append(self.cover.tests[number])
        return chosen

    def _ordered(self, bits: int, mutant: Mutant) -> list[int]:
        near = PurePosixPath("tests", *PurePosixPath(mutant.file).parts[1:-1])
        wanted = f"test_{PurePosixPath(mutant.file).stem.strip('_')}.py"

        def order(number: int) -> tuple[int, str, int]:
            file = PurePosixPath(self.cover.tests[number].partition("::")[0])
            far = 0 if file.name == wanted else 1 if near in file.parents else 2
            cost = round(math.log(max(self.cover.seconds[number], 0.01), 4.0))
            return cost + 2 * far, str(file), number

        return sorted((i for i in range(len(self.cover.tests)) if bits >> i & 1), key=order)

    def _by_line(self, mutant: Mutant) -> int:
        if self._function(mutant) is None:
            return 0
        file = mutant.file.removeprefix("lieref/")
        bits = 0
        for line in range(mutant.first, mutant.last + 1):
            bits |= self.cover.lines.get((file, line), 0)
        return bits

    def _by_function(self, mutant: Mutant) -> int:
        """Return who entered the function; of what runs at import, who entered any function that may read it."""
        path = PurePosixPath(mutant.file)
        function = self._function(mutant)
        if function is None or EMITTERS in path.relative_to("lieref").parents:
            return self._by_module(path)
        return self._entered(path, function.first, function.last)

    def _by_module(self, path: PurePosixPath) -> int:
        """Return who entered a function of a module or of one that imports it; of the next importers, if nobody."""
        inner = path.relative_to("lieref")
        bits = self._entered(PurePosixPath("lieref") / EMITTED) if EMITTERS in inner.parents else 0
        ring, seen = {path}, set[PurePosixPath]()
        while ring and (not bits or path in ring):
            seen |= ring
            for module in ring:
                bits |= self._entered(module)
            importers = {module for module, needed in self._imports.items() if needed & ring} - seen
            for module in importers if path in ring else ():
                bits |= self._entered(module)
            ring = importers
        return bits

    def _by_folder(self, mutant: Mutant) -> int:
        """Return the tests beside the mirror of a module: it may run in processes of theirs, which are not traced."""
        near = PurePosixPath("tests", *PurePosixPath(mutant.file).parts[1:-1])
        files = (PurePosixPath(test.partition("::")[0]) for test in self.cover.tests)
        return sum(1 << number for number, file in enumerate(files) if near in file.parents)

    def _entered(self, path: PurePosixPath, first: int = 1, last: int = 10**9) -> int:
        bits = 0
        for line, who in self._functions.get(str(path.relative_to("lieref")), {}).items():
            if first <= line <= last:
                bits |= who
        return bits

    def _function(self, mutant: Mutant) -> _Range | None:
        inside = [r for r in self._ranges(mutant.file) if r.body <= mutant.first and mutant.last <= r.last]
        return max(inside, key=lambda r: r.first, default=None)

    @cache  # noqa: B019
    def _ranges(self, file: str) -> list[_Range]:
        tree = ast.parse((self.root / file).read_bytes())
        return [
            _Range(min([n.lineno, *(d.lineno for d in n.decorator_list)]), n.body[0].lineno, n.end_lineno or n.lineno)
            for n in ast.walk(tree)
            if isinstance(n, ast.FunctionDef)
        ]

    def __hash__(self) -> int:
        return id(self)

    @cached_property
    def _functions(self) -> dict[str, dict[int, int]]:
        found: dict[str, dict[int, int]] = {}
        for (file, line), who in self.cover.functions.items():
            # A module or class body is entered by whoever imports it first, which says nothing.
            if any(r.first <= line <= r.last for r in self._ranges(f"lieref/{file}")):
                found.setdefault(file, {})[line] = who
        return found

    @cached_property
    def _imports(self) -> dict[PurePosixPath, set[PurePosixPath]]:
        return imports(self.root)


@dataclass(frozen=True)
class _Range:
    """Lines of a function: of its first decorator, of its body's first statement, and its last."""

    first: int
    body: int
    last: int


def imports(root: Path) -> dict[PurePosixPath, set[PurePosixPath]]:
    """Return the files of lieref that each file of lieref imports by name."""
    found: dict[PurePosixPath, set[PurePosixPath]] = {}
    for path in sorted((root / "lieref").rglob("*.py")):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
        files = {PurePosixPath(*name.split(".")).with_suffix(".py") for name in names if name.startswith("lieref.")}
        found[PurePosixPath(path.relative_to(root).as_posix())] = {f for f in files if (root / f).is_file()}
    return found
