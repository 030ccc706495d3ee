"""pytest plugin: one test for each golden case, collected when a backend is named.

pytest --lieref-backend my_port:run --lieref-profile tf32

A case passes, fails, or is skipped with its reason where it proves nothing; the session fails as well if the cases
together do, by the same rules as ``lieref golden check`` (`lieref.conformance.outcome`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lieref.errors import LierefError

_PROPERTY = "lieref_golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of ``lieref golden check`` under the prefix ``--lieref-``."""
    group = parser.getgroup("lieref", "golden vectors of lieref")
    group.addoption("--lieref-backend", metavar="MODULE:CALLABLE", help="check this function against golden vectors")
    group.addoption("--lieref-exe", metavar="DRIVER", help="check this program against golden vectors")
    group.addoption("--lieref-outputs", metavar="DIR", help="check the files in this folder against golden vectors")
    group.addoption("--lieref-vectors", metavar="DIR", help="vectors to use instead of the core set")
    group.addoption("--lieref-family", action="append", metavar="NAME", help="family to check; may be repeated")
    group.addoption("--lieref-semantics", metavar="NAME", help="how quantised operators round: their cases alone")
    group.addoption("--lieref-profile", metavar="P", help="arithmetic the port declares")
    group.addoption("--lieref-strict", action="store_true", help="fail if inputs are accepted that must be refused")
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


class GoldenSession:
    """Keeps what every golden case came to, and judges them together at the end."""

    def __init__(self, strict: bool) -> None:
        self._strict, self._records = strict, dict[str, list[Any]]()
        self.flaws: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the record of a case."""
        for name, value in report.user_properties:
            if name == _PROPERTY and isinstance(value, list):
                self._records[report.nodeid] = value

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session if the cases together are no success."""
        from lieref.conformance.outcome import Record, flaws

        if self._records:
            self.flaws = flaws((Record(*values) for values in self._records.values()), self._strict)
        if self.flaws and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say why."""
        for line in self.flaws:
            terminalreporter.write_line(f"golden: NOT OK because {line}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Judge the cases together in the process that sees them all: a worker of pytest-xdist sees only its own."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(GoldenSession(config.option.lieref_strict), "lieref-golden-session")


class GoldenCases(pytest.Collector):
    """The golden cases of one backend."""

    def collect(self) -> Iterator[GoldenItem]:
        """Yield an item for each case, and one for each file of vectors that cannot be used."""
        from lieref.conformance.backend import CallableBackend, ExecutableBackend, OutputsBackend, load_callable
        from lieref.conformance.profile import get_profile
        from lieref.conformance.runner import read_xfails, repeated, select, unmatched
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
        problems += unmatched(xfails, cases) + repeated(cases)
        settings = {"run": backend, "profile": profile, "bitwise": options.lieref_bitwise, "xfails": xfails}
        for case in select(cases, options.lieref_family, options.lieref_semantics):
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
        from lieref.conformance.outcome import TOLERATED, XFAIL, fails
        from lieref.conformance.runner import check_case
        from lieref.conformance.verdict import PASS

        if self._problem:
            raise GoldenError(self._problem)
        result = check_case(case=self._case, **self._settings)
        # The report of a test travels from a worker to the session; what it holds must be plain.
        self.user_properties.append((_PROPERTY, list(result.record)))
        reason = result.verdict.reason
        if fails(result.status, self.config.option.lieref_strict):
            looks = f"; looks like {result.diagnosis}" if result.diagnosis else ""
            raise GoldenError(f"{result.status} {reason}{looks}")
        if result.status in (XFAIL, TOLERATED):
            pytest.xfail(reason)
        if result.status != PASS:
            pytest.skip(f"{result.status} {reason}")

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
