"""Mutation score of the tests: small wrong changes of the source, each judged by the tests that run it.

    python -m validation.source_mutation.run [--count 12] [--seed 0] [--only PACKAGE ...] [--limit 120] [--work FOLDER]

Writes validation/results/source_mutation.json. Nothing is changed in place: the project is copied, the tests run there
once under `cover.py`, and then for each mutant the covering tests of the copy, the quickest first, up to the first that
fails. In the end every test that killed a mutant runs on the source as it is, where it must pass. With --work the copy
and what was noted of the tests are kept, and used again while the files are the same.

The mutants are a sample that depends on the seed and on nothing else (`sample.py`), `--count` of each package, and
those of `named.py`. One that lives is explained in `reasons.py`, or is a hole in the tests.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from validation.record import environment, write_result
from validation.source_mutation.cover import Cover
from validation.source_mutation.named import named_mutants
from validation.source_mutation.plan import LIMIT, Plan
from validation.source_mutation.reasons import REASONS
from validation.source_mutation.sample import sample
from validation.source_mutation.source import Mutant

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "", "numerics", "kernel", "kernel/simd", "algebra", "group", "param", "op", "model", "model/engine", "train",
    "adapter", "conformance", "evaluate", "cli",
)  # fmt: skip
FIRST = 20.0  # recorded seconds of the tests that run before all others
STARTUP = 120.0  # seconds that imports and compilation may take besides the tests
MEMORY = 16 << 30  # bytes of addresses: a mutant that asks for more is stopped


@dataclass
class Outcome:
    """What became of a mutant: "killed", "timeout", "crash" or "survived", by which test, after how many tests."""

    outcome: str
    by: str = ""
    tests: int = 0


class Workshop:
    """A copy of the project in which one mutant at a time is made and tested."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self.folder = folder
        (folder / "home").mkdir(parents=True, exist_ok=True)
        names = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
        ).stdout.split("\0")
        files = {name for name in names if name and (ROOT / name).is_file()}
        digest = hashlib.sha256()
        for name in sorted(files):
            if not name.startswith("validation/source_mutation/"):
                digest.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
        self.cover_file = folder / f"cover-{digest.hexdigest()[:16]}.pickle"
        for path in self.tree.rglob("*"):  # what Python compiled of files that stay is kept
            if path.is_file() and path.suffix != ".pyc" and path.relative_to(self.tree).as_posix() not in files:
                path.unlink()
        for name in files:
            copy = self.tree / name
            if not copy.exists() or copy.read_bytes() != (ROOT / name).read_bytes():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy)
        data = os.environ.get("LIEREF_DATA_DIR") or str(ROOT.parent / "shared" / "data")
        self.environment = {
            "HOME": str(folder / "home"),
            "HYPOTHESIS_PROFILE": "ci",
            "LIEREF_CACHE_DIR": str(folder / "code"),
            "LIEREF_DATA_DIR": data,
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": str(self.tree),
        }
        if not Path(data).is_dir():
            del self.environment["LIEREF_DATA_DIR"]

    def cover(self) -> Cover:
        """Return which test runs what, noted now unless it is known for these files; all of Python is compiled then."""
        known = self.cover_file.exists()
        print("compiling ..." if known else "noting which test runs which line ...", flush=True)
        what = ["--collect-only"] if known else ["-p", "validation.source_mutation.cover"]
        environment = {**os.environ, **self.environment, "LIEREF_COVER": str(self.cover_file)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *what]
        done = subprocess.run(command, cwd=self.tree, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, 1):
            sys.exit(f"pytest ends with {done.returncode} without a mutation:\n{done.stdout[-3000:]}")
        for line in done.stdout.splitlines():
            if line.startswith(("FAILED", "ERROR")):  # too slow under the trace, say; the check in the end decides
                print(line, flush=True)
        return Cover.load(self.cover_file)

    def judge(self, edits: Sequence[Mutant], tests: list[str], seconds: dict[str, float]) -> Outcome:
        """Return what the tests say about a mutant; the copy is as before afterwards."""
        file = edits[0].file
        path = self.tree / file
        original, times = path.read_bytes(), path.stat()
        mutated = original
        for edit in sorted(edits, key=lambda e: -e.start):
            mutated = edit.applied(mutated)
        try:
            path.write_bytes(mutated)
            # Bytecode is looked up by time and size; no time of a mutant has been seen before.
            os.utime(path, ns=(time.time_ns(), time.time_ns()))
            ran = 0
            for part in _parts(tests, seconds):
                limit = STARTUP + 5.0 * sum(seconds[test] for test in part)
                outcome = self._run(part, seconds, limit)
                ran += outcome.tests
                if outcome.outcome != "survived":
                    return Outcome(outcome.outcome, outcome.by, ran)
            return Outcome("survived", "", ran)
        finally:
            path.write_bytes(original)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def _run(self, tests: list[str], known: dict[str, float], limit: float) -> Outcome:
        """Run tests in a fork of this process, which has imported everything but lieref."""
        log = self.folder / "report.txt"
        log.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            _child(self.tree, tests, known, self.environment, log)
        status = _wait(child, limit)
        lines = log.read_text().splitlines() if log.exists() else []
        ran = sum(line.startswith("ran ") for line in lines)
        failed = next((line.removeprefix("failed ") for line in lines if line.startswith("failed ")), "")
        if status is None:
            return Outcome("timeout", f"after {limit:.0f} s", ran)
        if os.WIFSIGNALED(status):
            return Outcome("crash", signal.Signals(os.WTERMSIG(status)).name, ran)
        code = os.WEXITSTATUS(status)
        if code == 0 or (code == 5 and not failed):
            return Outcome("survived", "", ran)
        return Outcome("killed", failed or f"pytest ends with {code}", ran)


class _Chosen:
    """Runs the chosen tests in their order, and those that did not exist before the mutation; notes what failed."""

    def __init__(self, tests: list[str], known: dict[str, float], log: Path) -> None:
        self.place = {test: i for i, test in enumerate(tests)}
        self.known = known
        self.log = log.open("a", buffering=1)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        wanted = [item for item in items if item.nodeid in self.place or item.nodeid not in self.known]
        items[:] = sorted(wanted, key=lambda item: self.place.get(item.nodeid, len(self.place)))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.log.write(f"failed import of {report.nodeid}\n")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.log.write(f"ran {report.nodeid}\n")
        if report.failed:
            self.log.write(f"failed {report.nodeid}\n")


def _child(tree: Path, tests: list[str], known: dict[str, float], environment: dict[str, str], log: Path) -> None:
    code = 70
    try:
        os.setsid()
        os.chdir(tree)
        os.environ.update(environment)
        sys.path[:] = [str(tree), *(p for p in sys.path if p and Path(p).resolve() != ROOT)]
        sys.dont_write_bytecode = True
        sys.argv = ["pytest"]
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        out = os.open(log.with_name("output.txt"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(out, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        chosen = _Chosen(tests, known, log)
        code = int(pytest.main(["-x", "-q", "--tb=short", "-p", "no:cacheprovider", *files], plugins=[chosen]))
    except BaseException:
        traceback.print_exc()  # of a plugin that does not import, most likely: lieref brings one
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, limit: float) -> int | None:
    """Return the status of a child, or None after ending it and what it started."""
    stop = time.monotonic() + limit
    status = None
    while status is None and time.monotonic() < stop:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = code
        else:
            time.sleep(0.02)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if status is None:
        os.waitpid(child, 0)
    return status


def _parts(tests: list[str], seconds: dict[str, float]) -> list[list[str]]:
    """Return the first tests and the rest: collecting all files takes longer than most mutants live."""
    spent, cut = 0.0, len(tests)
    for i, test in enumerate(tests):
        spent += seconds[test]
        if spent > FIRST:
            cut = i + 1
            break
    return [part for part in (tests[:cut], tests[cut:]) if part]


def _import_the_rest() -> None:
    """Import what tests need and no mutant touches, once for all forks."""
    import mpmath  # noqa: F401
    import numba  # noqa: F401
    import onnx  # noqa: F401
    import scipy.linalg  # noqa: F401


def chosen_mutants(root: Path, count: int, seed: int, packages: Sequence[str]) -> dict[str, list[Mutant]]:
    """Return the sample of each package, the file given by its path."""
    found = {}
    for package in packages:
        folder = root / "lieref" / package
        own = [root / "lieref" / other for other in PACKAGES if other.startswith(package) and other != package]
        paths = [path for path in sorted(folder.rglob("*.py")) if not any(other in path.parents for other in own)]
        sources = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
        found[package or "lieref"] = sample(sources, count if package else count // 2, seed)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=12, help="mutants of each package")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help=f"among {', '.join(PACKAGES[1:])}, and named")
    parser.add_argument("--limit", type=float, default=LIMIT, help="recorded seconds of tests for one mutant")
    parser.add_argument("--work", type=Path, help="folder for the copy; a temporary one by default")
    parser.add_argument("--result", default="source_mutation", help="name of the result")
    options = parser.parse_args()
    started, where = time.perf_counter(), environment()  # of the files that are copied now
    with tempfile.TemporaryDirectory() as temporary:
        shop = Workshop((options.work or Path(temporary)).resolve())
        packages = [p for p in PACKAGES if not options.only or (p or "lieref") in options.only]
        rows: list[tuple[str, str, list[Mutant]]] = []
        if not options.only or "named" in options.only:
            rows += [("named", what, edits) for what, edits in named_mutants(shop.tree).items()]
        for package, found in chosen_mutants(shop.tree, options.count, options.seed, packages).items():
            rows += [(package, mutant.operator, [mutant]) for mutant in found]
        cover = shop.cover()
        _import_the_rest()
        plan = Plan(shop.tree, cover)
        seconds = dict(zip(cover.tests, cover.seconds, strict=True))
        table = [_judged(shop, plan, seconds, options.limit, *row) for row in rows]
        killers = sorted({row["by"] for row in table if row["by"] in seconds})
        check = shop._run(killers, seconds, STARTUP + 5.0 * sum(map(seconds.__getitem__, killers)))
        if check.outcome != "survived":
            sys.exit(f"the tests fail without a mutation: {check}")
    result = {
        **where,
        "seed": options.seed,
        "count": options.count,
        "seconds": round(time.perf_counter() - started),
        "limit": options.limit,
        "score": _score(table),
        "mutants": table,
    }
    for row in table:
        if row["outcome"] == "survived":
            print(f"LIVES  {row['file']} {row['function']}\n  - {row['old']}\n  + {row['new']}")
    print(result["score"])
    write_result(options.result, result)


def _judged(
    shop: Workshop,
    plan: Plan,
    seconds: dict[str, float],
    limit: float,
    package: str,
    operator: str,
    edits: list[Mutant],
) -> dict[str, Any]:
    began = time.perf_counter()
    tests = plan.tests(edits[0], limit)
    outcome = shop.judge(edits, tests, seconds) if tests else Outcome("survived", "no test runs it")
    reason = REASONS.get(edits[0].key, "") if outcome.outcome == "survived" else ""
    row = {
        "package": package,
        "operator": operator,
        "file": edits[0].file,
        "function": edits[0].function,
        "old": " ... ".join(edit.old for edit in edits),
        "new": " ... ".join(edit.new for edit in edits),
        "outcome": "equivalent" if reason else outcome.outcome,
        "by": reason or outcome.by,
        "tests": outcome.tests,
        "seconds": round(time.perf_counter() - began, 1),
    }
    print(
        f"{row['outcome']:<10} {row['seconds']:>6} s {row['tests']:>5}  {edits[0].key[:150]}  [{row['by']}]", flush=True
    )
    return row


def _score(table: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the counts, over all and by package; equivalent mutants count for nothing."""

    def count(rows: list[dict[str, Any]]) -> dict[str, Any]:
        outcomes = Counter(row["outcome"] for row in rows)
        lived, same = outcomes["survived"], outcomes["equivalent"]
        told = len(rows) - same
        return {"mutants": len(rows), **outcomes, "killed_share": round((told - lived) / told, 4) if told else None}

    packages = dict.fromkeys(row["package"] for row in table)
    return {**count(table), "packages": {p: count([row for row in table if row["package"] == p]) for p in packages}}


if __name__ == "__main__":
    main()
