"""Tasks over threads: errors, and interruptions wherever they come."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from lieref.kernel import parallel
from lieref.kernel.parallel import run_all


def test_an_interruption_while_tasks_are_handed_out_waits_for_those_that_run(monkeypatch):
    queue, begun, ended = parallel._queue(2), threading.Event(), []

    class Interrupted:
        """A queue that is interrupted before it takes a second task."""

        def put(self, job):
            if begun.is_set():
                raise KeyboardInterrupt
            queue.put(job)
            begun.wait(10)

    def slow():
        begun.set()
        time.sleep(0.2)
        ended.append(True)

    monkeypatch.setattr(parallel, "_queue", lambda threads: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        run_all([slow, slow, slow], 3)
    assert ended == [True]


@pytest.mark.parametrize("place", range(4))
def test_the_first_error_is_raised_when_no_task_runs_any_more(place):
    done = []

    def task(number):
        if number == place:
            raise ValueError(number)
        time.sleep(0.02)
        done.append(number)

    with pytest.raises(ValueError, match=str(place)):
        run_all([lambda number=number: task(number) for number in range(4)], 3)
    count = len(done)
    time.sleep(0.1)
    assert len(done) == count
    run_all([lambda number=number: done.append(number) for number in range(10, 14)], 3)
    assert set(range(10, 14)) <= set(done)


INTERRUPTED = """
import signal, time
from lieref.kernel.parallel import run_all
def interrupt(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
tasks, hits, end = [lambda: None] * 3, 0, time.monotonic() + 3
while time.monotonic() < end:
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4)
        while True:
            run_all(tasks, 3)
    except KeyboardInterrupt:
        hits += 1
print(hits)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals of POSIX")
def test_threads_work_on_after_thousands_of_interruptions():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
