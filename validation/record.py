"""What every validation result says about where it came from."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "lieref",
    "numpy",
    "scipy",
    "numba",
    "llvmlite",
    "torch",
    "torchvision",
    "jax",
    "onnxruntime",
    "onnx",
    "mpmath",
    "python-flint",
    "pillow",
)


def environment() -> dict[str, Any]:
    """Return machine, versions and commit."""
    return {
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "system": platform.system(), "load": _load()},
        "versions": {"python": platform.python_version(), **_versions()},
        "commit": _commit(),
    }


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Write a result as JSON under `validation/results/` and say where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    print(f"\nwritten: {os.path.relpath(path)}")
    return path


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _load() -> float | None:
    """Return how many processes wanted a core in the last minute: what a speed must be read with."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=RESULTS.parent)
    return done.stdout.strip() or "unknown"
