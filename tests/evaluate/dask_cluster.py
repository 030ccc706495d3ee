"""A real scheduler with two workers on loopback, and their certain end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lieref

ROOT = Path(lieref.__file__).parents[1]


@contextmanager
def dask_cluster(folder: Path, workers: int = 2) -> Iterator[str]:
    """Yield the address of a scheduler; an item may cost the lives of two workers, each of which is started again."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    file = folder / "scheduler.json"
    common = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
    commands = [["scheduler", "--port", "0", *common]]
    for number in range(workers):
        own = ["--nworkers", "1", "--nthreads", "1", "--local-directory", str(folder / f"worker{number}")]
        commands.append(["worker", *common, *own])
    processes = []
    with (folder / "log.txt").open("wb") as log:
        try:
            for command in commands:
                begin = [sys.executable, "-m", "dask", *command]
                process = subprocess.Popen(
                    begin, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=folder
                )
                processes.append(process)
            yield _address(file, workers)
        finally:
            for process in processes:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _address(file: Path, workers: int) -> str:
    from distributed import Client

    end = time.monotonic() + 120
    while True:
        try:
            address = str(json.loads(file.read_text())["address"])
            break
        except (OSError, ValueError):
            assert time.monotonic() < end, "no scheduler"
            time.sleep(0.05)
    with Client(address, timeout=60, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        client.wait_for_workers(workers, timeout=120)
    return address
