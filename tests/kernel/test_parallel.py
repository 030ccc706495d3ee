"""Tasks over threads that an interruption meets."""

from __future__ import annotations

import threading
import time

import pytest

from lieref.kernel import parallel
from lieref.kernel.parallel import run_all


def test_an_interruption_while_tasks_are_handed_out_waits_for_those_that_run(monkeypatch):
    pool, begun, ended = parallel._pool(2), threading.Event(), []

    class Interrupted:
        """A pool that is interrupted before it takes a second task."""

        def submit(self, task):
            if begun.is_set():
                raise KeyboardInterrupt
            future = pool.submit(task)
            begun.wait(10)
            return future

    def slow():
        begun.set()
        time.sleep(0.2)
        ended.append(True)

    monkeypatch.setattr(parallel, "_pool", lambda threads: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        run_all([slow, slow, slow], 3)
    assert ended == [True]
