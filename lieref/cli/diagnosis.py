"""What ``lieref doctor`` finds: facts of the installation and the machine, and what is wrong with them.

Each function returns facts and appends findings, a sentence and what to do; none of them raises because something is
missing or broken.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lieref import __version__
from lieref._text import close_names, one_line
from lieref.cli.extras import EXTRAS, install_line
from lieref.errors import LierefError

CORE = ("numpy", "scipy", "numba", "llvmlite")

OWN = ("LIEREF_CACHE_DIR", "LIEREF_ISA")
"""Variables that lieref itself reads."""

OTHERS = (
    "XDG_CACHE_HOME", "NUMBA_DISABLE_JIT", "NUMBA_OPT", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS", "OMP_NUM_THREADS", "PYTHONPATH", "PYTHONOPTIMIZE", "NO_COLOR", "FORCE_COLOR",
)  # fmt: skip
"""Variables of others that change what lieref does or shows."""

BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")

FAMILIES = (
    "conv", "depthwise", "hadamard", "hadamard_vjp", "method_liera", "method_lora", "method_flora", "method_hira",
    "method_scale", "method_dora", "optimizer_step",
)  # fmt: skip
INTEGER_FAMILIES, SEMANTICS = ("integer_conv", "integer_depthwise", "integer_dense"), "tflite-reference"
"""Families of golden cases in the self-check, those of integers as this runtime rounds.

Few of them need machine code, which takes seconds to make the first time; ``lieref golden check`` judges all families.
"""

Findings = list[dict[str, str]]


def diagnose(*, self_check: bool) -> dict[str, Any]:
    """Return everything that ``lieref doctor --json`` prints; ``ok`` is whether there is no finding."""
    findings: Findings = []
    report: dict[str, Any] = {
        "versions": versions(findings),
        "extras": extras(),
        "machine": machine(findings),
        "cache": cache(findings),
        "blas": blas(),
        "environment": environment(findings),
        "self_check": None,
    }
    if self_check and _compiles() and not any(report["versions"][name] is None for name in CORE):
        report["self_check"] = checked(findings)
    return {"ok": not findings, **report, "findings": findings}


def versions(findings: Findings) -> dict[str, str | None]:
    """Return the version of lieref, Python and each package of the core, None for one that cannot be imported."""
    found: dict[str, str | None] = {"lieref": __version__, "python": platform.python_version()}
    for name in CORE:
        try:
            found[name] = importlib.import_module(name).__version__
        except Exception as error:  # whatever a broken installation raises
            found[name] = None
            _add(findings, f"{name} cannot be imported: {error}", f"pip uninstall {name}; {install_line('app')}")
    return found


def extras() -> dict[str, dict[str, Any]]:
    """Return for each extra the versions of what is there, what is missing, and the line that installs it."""
    found: dict[str, dict[str, Any]] = {}
    for extra, packages in EXTRAS.items():
        there = {name: _version(name) for name, module in packages.items() if importlib.util.find_spec(module)}
        missing = [name for name in packages if name not in there]
        found[extra] = {"versions": there, "missing": missing, "install": install_line(extra)}
    return found


def machine(findings: Findings) -> dict[str, Any]:
    """Return system, CPU, cores, and the instruction set of the kernels with those that this CPU has."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found: dict[str, Any] = {
        "system": platform.system(), "machine": platform.machine(), "cpu": _cpu(), "cores": os.cpu_count() or 1,
        "usable_cores": usable, "instruction_set": None, "instruction_sets": [],
    }  # fmt: skip
    try:
        from lieref.kernel.simd.isa import available, best

        found["instruction_sets"] = list(available())
        found["instruction_set"] = best().name
    except LierefError as error:
        _add(findings, str(error), "unset LIEREF_ISA, or name a set that this CPU has")
    except Exception:  # llvmlite, which has a finding of its own
        pass
    return found


def cache(findings: Findings) -> dict[str, Any]:
    """Return where compiled code is kept, whether it can be written, and how much it holds."""
    from lieref._atomic import write_file
    from lieref._cache import cache_folder

    found: dict[str, Any] = {"folder": None, "writable": False, "files": 0, "bytes": 0}
    try:
        folder = cache_folder()
        if folder is None:
            return found
        found["folder"] = str(folder)
        sizes = list(_sizes(folder))
        found["files"], found["bytes"] = len(sizes), sum(sizes)
        probe = folder / f"doctor-{os.getpid()}"
        write_file(probe, b"")
        probe.unlink()
        found["writable"] = True
    except (OSError, LierefError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        _add(
            findings,
            f"compiled code cannot be kept in {found['folder'] or 'a cache folder'} ({reason}): every start compiles "
            "it anew, which takes seconds",
            "set LIEREF_CACHE_DIR to a folder that can be written, or to nothing to do without",
        )
    return found


def blas() -> dict[str, Any]:
    """Return the linear algebra library of NumPy, and its threads where a variable sets them."""
    library = None
    try:
        import numpy as np

        config: Any = np.show_config(mode="dicts")
        said = config["Build Dependencies"]["blas"]
        library = f"{said['name']} {said.get('version', '')}".strip()
    except Exception:  # a NumPy without this table, or none
        pass
    threads = next((os.environ[name] for name in BLAS_THREADS if os.environ.get(name)), None)
    return {"library": library, "threads": threads}


def environment(findings: Findings) -> dict[str, str]:
    """Return the variables that are set and change what lieref does or shows."""
    for name in sorted(os.environ):
        near = close_names(name, OWN, 1, alike=0.9)
        if near and name not in OWN:
            _add(findings, f"{name} is set, which nothing reads", f"call it {near[0]}, or unset it")
    if not _compiles():
        _add(
            findings, "NUMBA_DISABLE_JIT is set: nothing is compiled, training is slow, and the self-check is left out",
            "unset NUMBA_DISABLE_JIT",
        )  # fmt: skip
    return {name: os.environ[name] for name in (*OWN, *OTHERS) if name in os.environ}


def checked(findings: Findings) -> dict[str, Any]:
    """Compute golden cases by lieref itself, and a small network by the engine within its certified bound."""
    from lieref.cli.console import progress_bar

    begin = time.perf_counter()
    found: dict[str, Any] = {"cases": 0, "passed": 0, "failed": [], "engine_of_bound": None, "left_out": []}
    with progress_bar("doctor") as progress:
        try:
            _golden(found, progress)
            _engine(found)
        except Exception as error:  # the answer of a doctor is a finding, whatever happens
            _add(findings, f"the self-check stopped: {type(error).__name__}: {error}", _REINSTALL)
    if found["failed"]:
        listed = ", ".join(found["failed"][:3])
        _add(findings, f"{len(found['failed'])} golden cases fail, such as {listed}", _REINSTALL)
    if found["engine_of_bound"] is not None and not found["engine_of_bound"] <= 1:
        _add(
            findings, f"the machine code is off by {found['engine_of_bound']:.3g} times its certified bound",
            "try a smaller set, such as LIEREF_ISA=sse2 where this CPU has it, and report it",
        )  # fmt: skip
    found["seconds"] = time.perf_counter() - begin
    return found


_REINSTALL = "empty the cache folder; if it stays, please report it"


def _golden(found: dict[str, Any], progress: Any) -> None:
    from lieref.conformance.backend import CallableBackend
    from lieref.conformance.reference import run
    from lieref.conformance.runner import check_case, select
    from lieref.conformance.vectors import read_vectors
    from lieref.conformance.verdict import FAIL, PASS, UNCOVERED

    cases, problems = read_vectors()
    chosen = [*select(cases, FAMILIES), *select(cases, INTEGER_FAMILIES, SEMANTICS)]
    found["failed"] += problems
    for done, case in enumerate(chosen):
        progress(done, len(chosen), case.family)
        status = check_case(CallableBackend(run), case).status
        found["passed"] += status == PASS
        found["failed"] += [case.id] if status in (FAIL, UNCOVERED) else []
    found["cases"] = len(chosen)


def _engine(found: dict[str, Any]) -> None:
    """Compare the engine's float32 with the exact logits of the network of the demo, on images from 0 to 16."""
    import numpy as np

    from lieref.adapter.model import load
    from lieref.cli.demo_data import BASE_MODEL
    from lieref.errors import MissingExtraError
    from lieref.model.error_bound import logit_error_bound

    try:
        model = load(BASE_MODEL)
    except MissingExtraError as error:
        found["left_out"].append(f"the machine code of a network: {error}")
        return
    shape = [size or 1 for size in model.inputs[0].shape[1:]]
    ramps = np.linspace(0, 16, 4 * int(np.prod(shape)), dtype=np.float32)
    x = np.random.default_rng(0).permutation(ramps).reshape(4, *shape)
    exact, bound = logit_error_bound(model, x)
    off = np.abs(model.logits(x).T - exact)
    found["engine_of_bound"] = float(np.max(off / bound))


def _compiles() -> bool:
    return os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


def _cpu() -> str | None:
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.partition(":")[0].strip().lower() in ("model name", "hardware", "cpu model"):
                return one_line(line.partition(":")[2])
    except OSError:
        pass
    return platform.processor() or None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _sizes(folder: Path) -> Iterator[int]:
    if folder.is_dir():
        for entry in os.scandir(folder):
            if entry.is_file(follow_symlinks=False):
                yield entry.stat(follow_symlinks=False).st_size


def _add(findings: Findings, what: str, do: str) -> None:
    findings.append({"what": one_line(what), "do": one_line(do)})
