"""Old or new, never neither: what is left after kills, power cuts, full disks and failing flushes, some 400.

All of them, some ten thousand, are run by `python -m validation.kill`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.crash.tracer import UNAVAILABLE

pytestmark = pytest.mark.skipif(bool(UNAVAILABLE), reason=UNAVAILABLE or "available")


def inject(module: str, *arguments: str) -> dict[str, Any]:
    """Run injections in a small process of their own."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.crash.{module}", *arguments], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("module", "arguments", "least"),
    [
        ("inject", ("kill", "--least", "60"), 45),
        ("inject", ("cut", "--least", "120"), 110),
        ("inject", ("fail", "--least", "50"), 25),
        ("checkpoints", ("--least", "20"), 16),
        ("inject", ("kill", "--least", "30", "--bundles", "integer-update"), 20),
        ("inject", ("cut", "--least", "120", "--bundles", "integer-update"), 110),
        ("inject", ("fail", "--least", "20", "--bundles", "integer-update"), 10),
    ],
    ids=[
        "killed",
        "power cut",
        "failing disk",
        "training",
        "update killed",
        "update power cut",
        "update failing disk",
    ],
)
def test_always_the_old_state_or_the_new(module: str, arguments: tuple[str, ...], least: int) -> None:
    report = inject(module, *arguments)
    assert report["wrong"] == []
    assert report["injections"] >= least
    assert report["old"]
    assert report["new"]
    assert "neither" not in report


@pytest.mark.parametrize(("defect", "kind"), [("no-flush", "cut"), ("in-place", "kill"), ("switch-first", "kill")])
def test_a_store_with_a_mistake_is_found(defect: str, kind: str) -> None:
    report = inject("inject", kind, "--least", "100" if kind == "cut" else "60", "--defect", defect)
    assert report["wrong"]
    # The first one found ends the run: what is never flushed may be seen as lost whole first, after it was done.
    assert report.get("neither") or "done, but the old state" in report["wrong"][0]


TRACED = """
import os, sys
sys.dont_write_bytecode = True
from pathlib import Path
from tests.crash.scenarios import init, install, make_kit
from tests.crash.tracer import record
folder = Path(sys.argv[1])
kit = make_kit(folder / "kit")
init(kit, folder / "store")
def work():
    try:
        os.stat("/begin-of-work")
    except OSError:
        pass
    install(1)(kit, folder / "store")
    return 0
if sys.argv[2] == "strace":
    work()
    os._exit(0)
calls, outcome = record(work)
print("\\n".join(call.name for call in calls))
"""
# Whether memory is taken from the system depends on what was freed before; a child of `record` has other memory.
MEMORY = {"mmap", "munmap", "mremap", "brk", "madvise", "futex", "getrandom", "mprotect"}


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_enumeration_is_that_of_strace(tmp_path: Path) -> None:
    """The tracer lists what strace lists, call by call, for an install."""
    lists = []
    for way in ("strace", "record"):
        out = tmp_path / way
        out.mkdir()
        command = [sys.executable, "-c", TRACED, str(out), way]
        if way == "strace":
            command = ["strace", "-qq", "-o", str(out / "log"), *command]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={
            **os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OPENBLAS_NUM_THREADS": "1"
        })  # fmt: skip
        if way == "strace" and "PTRACE" in done.stderr and done.returncode:
            pytest.skip(f"strace cannot trace here: {done.stderr[:100]}")
        assert done.returncode == 0, done.stderr
        if way == "strace":
            text = (out / "log").read_text()
            text = text[text.index("/begin-of-work") :]
            lists.append(re.findall(r"^(\w+)\(", text, re.MULTILINE))
        else:
            names = done.stdout.split("\n")
            lists.append(names[names.index("newfstatat") + 1 :] if "newfstatat" in names else names)
    stripped = [[name for name in names if name and name not in MEMORY] for names in lists]
    assert len(stripped[0]) > 100
    assert stripped[0] == stripped[1]
