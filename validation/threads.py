"""Four threads predict with one model, batches of mixed sizes: every output, bit for bit, what one thread gets alone.

python -m validation.threads --predictions 100000

Three ways, so many predictions each: the threads alone; the same while two other models train in threads of their own;
and while the process forks again and again, each child predicting too. Then the rate of predictions of one sample on 1,
2 and 4 threads, by sessions as they are and with a lock around each call, and the memory that a session takes.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.kernel.simd import memory
from lieref.model.network import Network
from lieref.train.loop import fit
from validation.benchmarks._models import MODELS
from validation.record import environment, write_result

SIZES = (1, 1, 1, 1, 2, 3, 5, 8, 13, 16, 33, 70)
"""Samples of the batches; many of one, as a server has them."""

THREADS = 4


def network(name: str, threads: int = 1) -> Network:
    """A network of the benchmarks."""
    net = Network(MODELS[name](), None, name, "0" * 64)
    net.threads = threads
    return net


def adapted(name: str, threads: int = 1) -> Network:
    """The same with an adapter that changes its numbers."""
    net = network(name, threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        net.attach("liera", r=4)
    for parameter in net.parameters().values():
        parameter += 0.02
    return net


class Callers:
    """Batches, what one thread alone makes of them, and threads that compare."""

    def __init__(self, name: str, threads: int) -> None:
        rng = np.random.default_rng(0)
        self.net = adapted(name, threads)
        self.batches: list[Array] = [
            rng.standard_normal((n, *self.net.input_shape[1:])).astype(np.float32) for n in SIZES
        ]
        alone = adapted(name)
        self.wanted = [alone.predict(x) for x in self.batches]

    def wrong(self, seed: int, predictions: int) -> int:
        """Return how many of so many predictions differ in any bit."""
        order = np.random.default_rng(seed).integers(0, len(SIZES), predictions)
        return sum(not np.array_equal(self.net.predict(self.batches[k]), self.wanted[k]) for k in order)

    def run(self, predictions: int) -> dict[str, Any]:
        """Run all threads."""
        start = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as pool:
            found = list(pool.map(lambda seed: self.wrong(seed, predictions // THREADS), range(THREADS)))
        return {
            "predictions": predictions // THREADS * THREADS,
            "wrong": sum(found),
            "seconds": time.perf_counter() - start,
        }


def while_training(callers: Callers, predictions: int) -> dict[str, Any]:
    """Predict while two other models train; they must end with the numbers of one that trains alone."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((48, *callers.net.input_shape[1:])).astype(np.float32)
    y = rng.integers(0, 2, 48)
    stop = threading.Event()

    def trained() -> dict[str, Array]:
        net = adapted(callers.net.source, 2)
        fit(net, x, y, epochs=1, batch_size=16, seed=0)
        return {name: parameter.copy() for name, parameter in net.parameters().items()}

    want = trained()

    def train() -> tuple[int, int]:
        runs = wrong = 0
        while not stop.is_set():
            found = trained()
            runs += 1
            wrong += not all(np.array_equal(found[name], want[name]) for name in want)
        return runs, wrong

    with ThreadPoolExecutor(2) as pool:
        trainings = [pool.submit(train) for _ in range(2)]
        result = callers.run(predictions)
        stop.set()
        runs = [future.result() for future in trainings]
    return {**result, "trainings": sum(n for n, _ in runs), "wrong_trainings": sum(n for _, n in runs)}


def while_forking(callers: Callers, predictions: int, forks: int) -> dict[str, Any]:
    """Predict while the main thread forks; each child predicts as many batches as there are, and so does the parent."""
    failed = 0
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(callers.run, predictions)
        done = 0
        while done < forks or not others.done():
            child = os.fork()
            if child == 0:
                os._exit(min(callers.wrong(done, 4), 1))
            failed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
            failed += callers.wrong(done, 4) != 0
            done += 1
        return {**others.result(), "forks": done, "wrong_forks": failed}


def rate(name: str, threads: int, around: Callable[[], AbstractContextManager[Any]], seconds: float) -> float:
    """Predictions of one sample a second, all threads together."""
    net = network(name)
    x = np.zeros((1, *net.input_shape[1:]), np.float32)
    net.predict(x)
    end = time.perf_counter() + seconds

    def work(_: int) -> int:
        count = 0
        while time.perf_counter() < end:
            with around():
                net.predict(x)
            count += 1
        return count

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads))) / seconds


def session_bytes(name: str, size: int) -> int:
    """Return the bytes that a session takes for batches of so many samples, beside the weights that all share."""
    net = network(name)
    taken: list[int] = []
    before = memory.allocate
    try:
        memory.allocate = lambda count: (taken.append(count), before(count))[1]
        x = np.zeros((size, *net.input_shape[1:]), np.float32)
        net.predict(x)
        taken.clear()
        compiled = net.choice.compiled[net.engine]
        (engine,) = compiled._engines.values()
        engine._idle.clear()
        net.predict(x)
    finally:
        memory.allocate = before
    return sum(taken)


def throughput(names: list[str], seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Best of some rounds, sessions and lock in turn."""
    rows = []
    for name in names:
        for threads in (1, 2, 4):
            lock = threading.Lock()
            best = {"sessions": 0.0, "lock": 0.0}
            for _ in range(rounds):
                best["sessions"] = max(best["sessions"], rate(name, threads, nullcontext, seconds))
                best["lock"] = max(best["lock"], rate(name, threads, lambda lock=lock: lock, seconds))
            rows.append({"model": name, "threads": threads, "per_second": best})
            print(f"{name:10s} {threads} threads: sessions {best['sessions']:7.0f}/s, lock {best['lock']:7.0f}/s")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=100_000)
    parser.add_argument("--forks", type=int, default=200)
    parser.add_argument("--models", nargs="+", default=["DS-CNN", "FC-AE"])
    parser.add_argument("--rates", nargs="+", default=["ResNet-8", "DS-CNN", "FC-AE"])
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    came, rows = environment(), []
    share = options.predictions // len(options.models)
    sys.setswitchinterval(1e-4)
    for number, name in enumerate(options.models):
        callers = Callers(name, threads=1 + number % 2)
        ways = {
            "alone": lambda callers=callers: callers.run(share),
            "two models train": lambda callers=callers: while_training(callers, share),
            "forks": lambda callers=callers: while_forking(callers, share, options.forks),
        }
        for way, work in ways.items():
            rows.append({"model": name, "threads_of_a_call": callers.net.threads, "way": way, **work()})
            print(rows[-1], flush=True)
    rates = throughput(options.rates, options.seconds, options.rounds)
    sizes = [{"model": name, "samples": n, "bytes": session_bytes(name, n)} for name in options.rates for n in (1, 256)]
    write_result("threads", {**came, "correctness": rows, "throughput": rates, "session_bytes": sizes})


if __name__ == "__main__":
    main()
