"""A pytest plugin that notes which test runs which line of lieref, and how long each test takes.

    LIEREF_COVER=FILE pytest -p validation.source_mutation.cover

A function entered more often than CALLS times by one test, or a call longer than EVENTS lines, is noted as entered and
no longer line by line. What runs while a test file is imported, and in the set-up of its tests, counts for all tests of
that file; caches of functions are emptied before each test, so that none hides behind an earlier one. Lines that Numba
has compiled make no events: `plan.py` says which tests stand for them.
"""

from __future__ import annotations

import functools
import os
import pickle
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

CALLS = 200
EVENTS = 2000
PACKAGE = str(Path(__file__).parents[2] / "lieref") + os.sep
# Emptying these would read or compile every kernel again for each test; what they cache depends on no test.
KEPT = ("lieref.kernel.simd.machine_code", "lieref.kernel.simd.isa", "lieref.kernel.parallel")

Place = tuple[str, int]  # file below lieref, line
Trace = Callable[[FrameType, str, Any], Any]


@dataclass
class Cover:
    """Who ran what.

    Attributes
    ----------
    tests : list of str
        Node ids, in the order they ran.
    seconds : list of float
        Of set-up, call and tear-down.
    lines, functions : dict of (file, line) to int
        Bit i is set if test i ran that line, or entered the function whose first line it is.
    """

    tests: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lines: dict[Place, int] = field(default_factory=lambda: defaultdict(int))
    functions: dict[Place, int] = field(default_factory=lambda: defaultdict(int))

    def save(self, path: Path) -> None:
        path.write_bytes(pickle.dumps((self.tests, self.seconds, dict(self.lines), dict(self.functions))))

    @classmethod
    def load(cls, path: Path) -> Cover:
        return cls(*pickle.loads(path.read_bytes()))


class _Code:
    """The lines of one code object that the present test has run."""

    def __init__(self, code: CodeType) -> None:
        self.keep = code  # its id is the key
        self.place = (code.co_filename.removeprefix(PACKAGE), code.co_firstlineno)
        self.inside = code.co_filename.startswith(PACKAGE)
        self.lines: set[int] = set()
        self.calls = self.events = 0

    def trace(self, frame: FrameType, event: str, argument: Any) -> Trace | None:
        if event == "line":
            self.lines.add(frame.f_lineno)
            self.events += 1
            if self.events > EVENTS:
                frame.f_trace_lines = False
        return self.trace


class Recorder:
    """Collects lines while it is the trace function; pytest calls the rest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.cover = Cover()
        self.codes: dict[int, _Code] = {}
        self.used: set[_Code] = set()
        self.shared: dict[str, list[tuple[set[Place], set[Place]]]] = defaultdict(list)
        self.number: dict[str, int] = {}

    def trace(self, frame: FrameType, event: str, argument: Any) -> Trace | None:
        code = self.codes.get(id(frame.f_code))
        if code is None:
            code = self.codes[id(frame.f_code)] = _Code(frame.f_code)
        if not code.inside:
            return None
        code.calls += 1
        if code.calls == 1:
            code.events = 0
            self.used.add(code)
        return code.trace if code.calls <= CALLS else None

    def start(self) -> None:
        threading.settrace(self.trace)
        sys.settrace(self.trace)

    def stop(self) -> tuple[set[Place], set[Place]]:
        """Return the lines and the functions that ran since `start`."""
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        lines = {(code.place[0], line) for code in self.used for line in code.lines}
        functions = {code.place for code in self.used}
        for code in self.used:
            code.lines.clear()
            code.calls = 0
        self.used.clear()
        return lines, functions

    def _count(self, nodeid: str) -> int:
        if nodeid not in self.number:
            self.number[nodeid] = len(self.cover.tests)
            self.cover.tests.append(nodeid)
            self.cover.seconds.append(0.0)
        return self.number[nodeid]

    def _mark(self, bits: int, ran: tuple[set[Place], set[Place]]) -> None:
        for found, places in zip((self.cover.lines, self.cover.functions), ran, strict=True):
            for place in places:
                found[place] |= bits

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        self.start()
        yield
        self.shared[collector.nodeid.partition("::")[0]].append(self.stop())

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[None]:
        _empty_caches()
        self.start()
        yield
        ran = self.stop()
        self.shared[item.nodeid.partition("::")[0]].append(ran)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        self.start()
        yield
        self._mark(1 << self._count(item.nodeid), self.stop())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.cover.seconds[self._count(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        of_file: dict[str, int] = defaultdict(int)
        for nodeid, number in self.number.items():
            of_file[nodeid.partition("::")[0]] |= 1 << number
        for file, runs in self.shared.items():
            for ran in runs:
                self._mark(of_file[file], ran)
        self.cover.save(self.path)


def _empty_caches() -> None:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("lieref", "tests") and name not in KEPT:
            for value in list(vars(module).values()):
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()


def pytest_configure(config: pytest.Config) -> None:
    if "LIEREF_COVER" in os.environ:
        config.pluginmanager.register(Recorder(Path(os.environ["LIEREF_COVER"])))
