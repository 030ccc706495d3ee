"""What one thread at a time may have to itself."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import pytest

from lieref._threads import Exclusive
from lieref.errors import BusyError, LierefError


def in_thread(work):
    """Return what `work` returns in another thread, or the error it raises."""
    found = []

    def run():
        try:
            found.append(work())
        except LierefError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def test_one_thread_at_a_time_and_the_same_again():
    model = Exclusive("the model")
    with model.take("fit"):
        with model.take("loss_and_grad"):
            pass
        error = in_thread(lambda: model.take("attach"))
        assert isinstance(error, BusyError)
        assert str(error) == (
            "attach: the model must be trained or changed by one thread at a time; "
            "got a call while another thread is in fit"
        )
        assert in_thread(model.of_another).doing == "fit"
        assert model.of_another() is None
    assert in_thread(lambda: model.take("attach").doing) == "attach"
    assert in_thread(model.of_another) is None


def test_a_use_that_nothing_holds_has_ended():
    """As after an interruption between the call that returned it and the `with` that would have left it."""
    model = Exclusive("the model")
    model.take("fit")
    gc.collect()
    assert not isinstance(in_thread(lambda: model.take("attach")), BusyError)


def test_an_error_ends_a_use_though_its_traceback_lives():
    model = Exclusive("the model")
    with pytest.raises(ValueError, match="inside") as kept, model.take("fit"):
        raise ValueError("inside")
    assert kept.tb is not None
    assert not isinstance(in_thread(lambda: model.take("attach")), BusyError)


FORK = """
import os, threading
from lieref._threads import Exclusive, make_lock

lock, model, held, done = make_lock(), Exclusive("the model"), threading.Event(), threading.Event()

def hold():
    with lock, model.take("fit"):
        held.set()
        done.wait()

thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    free = lock.acquire(timeout=5)
    model.take("attach")
    os._exit(0 if free and model.of_another() is None else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
done.set()
thread.join()
raise SystemExit(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system starts processes another way")
def test_a_fork_finds_free_what_its_parents_threads_held():
    assert subprocess.run([sys.executable, "-c", FORK], timeout=60).returncode == 0
