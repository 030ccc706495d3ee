"""CPU time that a device spends on a bundle of 30 kB, where nothing but NumPy is installed.

    python -m validation.benchmarks.bundle

An environment is made in which only Python, NumPy and lieref can be imported. In it a fresh process imports NumPy; one
more also verifies the bundle; and, where the device store is there, one installs it. What is reported is the CPU time,
user and system, of the whole process less that of the first: imports, signatures, digests, parsing, writing. The least
of many runs counts, for what else the machine does only adds; the median is given beside it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np

import lieref
from validation.record import environment, write_result
from validation.reference_bundle import Reference, make

BUDGET_MS = 60.0

_NUMPY = "import numpy"
_VERIFY = """
import numpy
from lieref.adapter.bundle.verify import verify_bundle
verify_bundle({bundle!r}, base={base!r}, trust={root!r})
"""
_STORE = """
import sys, numpy
sys.argv = ["store", *{arguments!r}]
import runpy
try:
    runpy.run_module("lieref.adapter.store", run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
"""
_COST = """
import resource as _r, sys as _s
_u = _r.getrusage(_r.RUSAGE_SELF)
_s.__stderr__.write(f"cpu {_u.ru_utime + _u.ru_stime}")
"""


def bare_environment(folder: Path) -> Path:
    """Return the Python of an environment that has NumPy and lieref alone."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*")) / "site-packages"
    numpy = Path(np.__file__).parent
    for part in (numpy, numpy.parent / "numpy.libs"):
        if part.is_dir():
            (site / part.name).symlink_to(part)
    # Copied, not linked: so its byte code is its own, and nothing beside it can be imported.
    shutil.copytree(Path(lieref.__file__).parent, site / "lieref", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([python, "-m", "compileall", "-q", str(site / "lieref")], check=False, capture_output=True)
    code = (
        "import importlib.util as u; print([m for m in ('scipy', 'numba', 'onnx', 'click', 'cryptography', "
        "'securesystemslib') if u.find_spec(m)])"
    )
    found = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    if found != "[]":
        raise RuntimeError(f"bare_environment: only NumPy must be there; got {found}")
    return python


def cpu_ms(python: Path, code: str) -> float:
    """Return the CPU time of a fresh process in milliseconds."""
    environ = {"PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([python, "-I", "-c", code + _COST], capture_output=True, text=True, env=environ)
    if done.returncode or "cpu " not in done.stderr:
        raise RuntimeError(f"cpu_ms: the process must succeed; got {done.stderr}")
    return 1000 * float(done.stderr.rsplit("cpu ", 1)[1])


def measure(python: Path, reference: Reference, work: Path, runs: int) -> dict[str, dict[str, float]]:
    """Return the least and the median of each case, the cases taken in turn."""
    root = reference.key / "root.json"
    verify = _VERIFY.format(bundle=str(reference.bundle), base=str(reference.base), root=str(root))
    cases = {"numpy": lambda n: _NUMPY, "verify": lambda n: verify}
    if importlib.util.find_spec("lieref.adapter.store") is not None:
        for number in range(runs):
            store = str(work / f"store{number}")
            init = ["init", "--store", store, "--base", str(reference.base), "--trust", str(root)]
            cpu_ms(python, _STORE.format(arguments=init))
        cases["install"] = lambda n: _STORE.format(
            arguments=["install", str(reference.bundle), "--store", str(work / f"store{n}")]
        )
    times: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(runs):
        for name, code in cases.items():
            times[name].append(cpu_ms(python, code(number)))
    return {name: {"least": min(found), "median": statistics.median(found)} for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=25)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        reference = make(work)
        python = bare_environment(work / "environment")
        times = measure(python, reference, work, arguments.runs)
    beyond = {
        case: {kind: round(value - times["numpy"][kind], 2) for kind, value in found.items()}
        for case, found in times.items()
        if case != "numpy"
    }
    print(f"bundle of {reference.bytes} bytes; importing NumPy takes {times['numpy']['least']:.1f} ms")
    for case, found in beyond.items():
        print(f"{case:8} {found['least']:6.1f} ms beyond that (median {found['median']:.1f}); at most {BUDGET_MS:.0f}")
    write_result(
        "bundle",
        {
            **environment(),
            "bundle_bytes": reference.bytes,
            "runs": arguments.runs,
            "cpu_ms": times,
            "beyond_numpy_ms": beyond,
            "budget_ms": BUDGET_MS,
        },
    )
    if any(found["least"] > BUDGET_MS for found in beyond.values()):
        sys.exit(f"more than {BUDGET_MS:.0f} ms: {json.dumps(beyond)}")


if __name__ == "__main__":
    main()
