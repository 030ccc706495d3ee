"""pytest plugin: one test for each golden case, collected when a backend is named.

pytest --lieref-backend my_port:run --lieref-profile tf32
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lieref.errors import LierefError


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of ``lieref golden check`` under the prefix ``--lieref-``."""
    group = parser.getgroup("lieref", "golden vectors of lieref")
    group.addoption("--lieref-backend", metavar="MODULE:CALLABLE", help="check this function against golden vectors")
    group.addoption("--lieref-exe", metavar="DRIVER", help="check this program against golden vectors")
    group.addoption("--lieref-outputs", metavar="DIR", help="check the files in this folder against golden vectors")
    group.addoption("--lieref-vectors", metavar="DIR", help="vectors to use instead of the core set")
    group.addoption("--lieref-family", action="append", metavar="NAME", help="family to check; may be repeated")
    group.addoption("--lieref-profile", metavar="P", help="arithmetic the port declares")
    group.addoption("--lieref-bitwise", action="store_true", help="demand the same bits in a second run")
    group.addoption("--lieref-timeout", type=float, default=60.0, metavar="S", help="seconds for each run of a driver")
    group.addoption("--lieref-xfails", metavar="FILE", help="cases expected to fail")


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add one item for each golden case."""
    options = config.option
    if options.lieref_backend or options.lieref_exe or options.lieref_outputs:
        try:
            items[:0] = GoldenCases.from_parent(session, name="golden").collect()
        except LierefError as error:
            raise pytest.UsageError(str(error)) from error


class GoldenCases(pytest.Collector):
    """The golden cases of one backend."""

    def collect(self) -> Iterator[GoldenItem]:
        """Yield an item for each case, and one for each file of vectors that cannot be used."""
        from lieref.conformance.backend import CallableBackend, ExecutableBackend, OutputsBackend, load_callable
        from lieref.conformance.profile import get_profile
        from lieref.conformance.runner import read_xfails, select, unmatched
        from lieref.conformance.vectors import read_vectors

        options = self.config.option
        backend: Any
        if options.lieref_backend:
            backend = CallableBackend(load_callable(options.lieref_backend))
        elif options.lieref_exe:
            backend = ExecutableBackend(options.lieref_exe, options.lieref_timeout)
        else:
            backend = OutputsBackend(Path(options.lieref_outputs))
        profile = get_profile(options.lieref_profile) if options.lieref_profile else None
        xfails = read_xfails(Path(options.lieref_xfails)) if options.lieref_xfails else []
        cases, problems = read_vectors(Path(options.lieref_vectors) if options.lieref_vectors else None)
        problems += unmatched(xfails, cases)
        settings = {"run": backend, "profile": profile, "bitwise": options.lieref_bitwise, "xfails": xfails}
        for case in select(cases, options.lieref_family):
            yield GoldenItem.from_parent(self, name=case.id, case=case, settings=settings, problem=None)
        for problem in problems:
            yield GoldenItem.from_parent(self, name="vectors", case=None, settings=settings, problem=problem)


class GoldenItem(pytest.Item):
    """One golden case."""

    def __init__(self, *, case: Any, settings: dict[str, Any], problem: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._case, self._settings, self._problem = case, settings, problem

    def runtest(self) -> None:
        """Run the case and fail with the verdict's reason."""
        from lieref.conformance.report import TOLERATED, XFAIL
        from lieref.conformance.runner import check_case
        from lieref.conformance.verdict import PASS, UNCOVERED

        if self._problem:
            raise GoldenError(self._problem)
        result = check_case(case=self._case, **self._settings)
        if result.status == UNCOVERED:
            pytest.skip("not covered by the backend")
        if result.status in (XFAIL, TOLERATED):
            pytest.xfail(result.verdict.reason)
        if result.status != PASS:
            looks = f"; looks like {result.diagnosis}" if result.diagnosis else ""
            raise GoldenError(f"{result.status} {result.verdict.reason}{looks}")

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Return the reason alone for a verdict; a traceback for anything else."""
        if isinstance(excinfo.value, GoldenError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return where the item comes from."""
        return Path("golden"), None, self.name


class GoldenError(Exception):
    """A golden case failed; the message is the verdict."""
