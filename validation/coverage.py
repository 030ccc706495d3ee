"""Do the intervals of `lieref.evaluate.statistics` cover as often as they say, and do its tests call out as rarely?

    python -m validation.coverage [--sweeps 1000]

Simulated sweeps whose truth is known. A run is right on a sample where a normal score is positive: the accuracy wanted,
plus effects of the sample (shared by the methods, and one of its own for each), of the seed, and of both together; so
the true shares are normal probabilities. 95 % intervals shall cover 93 to 97 %: with 1,000 sweeps a true 95 % leaves
that band once in 270 times. Writes validation/results/coverage.json, what does not keep to it included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from lieref.evaluate import statistics as st
from lieref.train.still_falling import LEVEL, still_falling
from validation.record import environment, write_result

SEED = 13
BAND = (0.93, 0.97)


@dataclass(frozen=True)
class Sweep:
    """Two methods on one test set: how many seeds and samples, and what varies.

    `sample`, `own`, `seed` and `rest` are variances of the score, in shares of their sum: of the sample for both
    methods, of the sample for each method, of the seed, and of seed and sample together.
    """

    seeds: int
    n: int
    accuracy: float = 0.8
    gain: float = 0.02
    sample: float = 0.7
    own: float = 0.1
    seed: float = 0.0
    rest: float = 0.2

    @property
    def scores(self) -> tuple[float, float]:
        """Return the means of the scores that give the accuracies, the variance of the score being 1."""
        return float(ndtri(self.accuracy + self.gain)), float(ndtri(self.accuracy))

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_], float]:
        """Return right or wrong of both methods, (seeds, n), and the true difference of these runs on all samples."""
        shared = np.sqrt(self.sample) * rng.standard_normal(self.n)
        right, truth = [], []
        for score in self.scores:
            own = np.sqrt(self.own) * rng.standard_normal(self.n)
            seed = np.sqrt(self.seed) * rng.standard_normal((self.seeds, 1))
            x = score + shared + own + seed
            if self.rest > 0:
                x = x + np.sqrt(self.rest) * rng.standard_normal((self.seeds, self.n))
            right.append(np.broadcast_to(x, (self.seeds, self.n)) > 0)
            truth.append(float(ndtr((score + seed) / np.sqrt(1 - self.seed)).mean()))
        return right[0], right[1], truth[0] - truth[1]


# of the variance of the mean difference, the seeds' part grows with their share of the score and with the samples
MIXED = {
    "no seed": {},
    "tiny seed": {"seed": 0.0003, "rest": 0.1997},
    "small seed": {"seed": 0.001, "rest": 0.199},
    "seed": {"seed": 0.005, "rest": 0.195},
    "large seed": {"seed": 0.03, "rest": 0.17},
}
CROSSED = {
    "samples only": Sweep(5, 500, sample=0.8, own=0.2, rest=0.0),
    "samples only, 50": Sweep(5, 50, sample=0.8, own=0.2, rest=0.0),
    "seeds and rest only": Sweep(5, 2000, sample=0.0, own=0.0, seed=0.03, rest=0.97),
    "rest only": Sweep(5, 500, sample=0.0, own=0.0, rest=1.0),
    **{f"{kind}, 5 seeds": Sweep(5, 1000, **parts) for kind, parts in MIXED.items()},
    **{f"{kind}, 3 seeds": Sweep(3, 1000, **parts) for kind, parts in MIXED.items()},
    **{f"{kind}, 10 seeds": Sweep(10, 1000, **parts) for kind, parts in MIXED.items()},
    **{f"{kind}, 2 seeds": Sweep(2, 1000, **parts) for kind, parts in MIXED.items()},
    "seed, 5 seeds, 10,000 samples": Sweep(5, 10_000, seed=0.001, rest=0.199),
    "seed, 5 seeds, 100 samples": Sweep(5, 100, seed=0.005, rest=0.195),
    "accuracy 97 %": Sweep(5, 1000, accuracy=0.96, gain=0.01, seed=0.002, rest=0.198),
    "few differ, 500 samples": Sweep(5, 500, accuracy=0.9, gain=0.002, sample=0.98, own=0.015, rest=0.005),
    "few differ, 100 samples": Sweep(5, 100, accuracy=0.9, gain=0.002, sample=0.98, own=0.015, rest=0.005),
}


def share(hits: int, sweeps: int, **more: Any) -> dict[str, Any]:
    """Return how often something happened, with its own interval."""
    found = st.proportion_interval(hits, sweeps)
    return {"share": found.mean, "low": round(found.low, 4), "high": round(found.high, 4), "sweeps": sweeps, **more}


def covered(interval: Any, truth: float) -> bool:
    """Return whether the truth lies inside, up to rounding."""
    return bool(interval.low - 1e-12 <= truth <= interval.high + 1e-12)


def count(sweeps: int, once: Callable[[np.random.Generator], tuple[Any, float]], seed: int) -> dict[str, Any]:
    """Return the coverage of an interval, and its mean half-width."""
    rng, hits, width = np.random.default_rng([SEED, seed]), 0, 0.0
    for _ in range(sweeps):
        interval, truth = once(rng)
        hits += covered(interval, truth)
        width += (interval.high - interval.low) / 2 / sweeps
    return share(hits, sweeps, half_width=float(f"{width:.4g}"))


def coverage(sweeps: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield interval, case and coverage."""
    for seeds in (2, 3, 5, 10):
        yield (
            "mean_interval",
            f"{seeds} seeds, normal",
            count(sweeps, lambda rng, s=seeds: (st.mean_interval(rng.normal(0.8, 0.01, s)), 0.8), seeds),
        )
    yield (
        "mean_interval",
        "5 seeds, accuracies of 500 samples",
        count(sweeps, lambda rng: (st.mean_interval(rng.binomial(500, 0.8, 5) / 500), 0.8), 6),
    )
    for n in (50, 500, 10_000):
        for p in (0.5, 0.8, 0.95, 0.99):
            k = np.arange(n + 1)
            inside = [covered(st.proportion_interval(int(i), n), p) for i in k]
            yield (
                "proportion_interval",
                f"{n} samples, {p:g}",
                count(sweeps, lambda rng, n=n, p=p: (st.proportion_interval(int(rng.binomial(n, p)), n), p), n)
                | {"exact": round(float(binom.pmf(k, n, p)[inside].sum()), 4)},
            )
    for number, (name, sweep) in enumerate(CROSSED.items()):
        yield (
            "paired_difference",
            name,
            count(sweeps, lambda rng, w=sweep: (st.paired_difference(*w.draw(rng)[:2]), w.gain), 100 + number),
        )
    yield (
        "paired_difference",
        "zero variance, equal methods",
        count(sweeps, lambda rng: (st.paired_difference(*[rng.random(500) < np.full((5, 500), 0.8)] * 2), 0.0), 150),
    )
    for number, (name, sweep) in enumerate(CROSSED.items()):
        if sweep.seeds in (3, 5):
            yield (
                "accuracy_interval",
                name,
                count(sweeps, lambda rng, w=sweep: (st.accuracy_interval(w.draw(rng)[1]), w.accuracy), 200 + number),
            )
    for number, (seed, sample, rest) in enumerate(
        [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1), (1, 9, 9), (9, 1, 9), (0, 1, 9), (1, 0, 9)]
    ):
        # variances of the mean, not of a value: seed / 5 and so on
        def normal(rng: np.random.Generator, parts: tuple[int, ...] = (seed, sample, rest)) -> tuple[Any, float]:
            a, b, e = np.sqrt(parts)
            x = np.sqrt(5) * a * rng.standard_normal((5, 1)) + np.sqrt(200) * b * rng.standard_normal(200)
            return st.crossed_interval(x + np.sqrt(1000) * e * rng.standard_normal((5, 200))), 0.0

        yield (
            "crossed_interval",
            f"normal, seeds : samples : rest = {seed} : {sample} : {rest}",
            count(sweeps, normal, 300 + number),
        )
    for number, name in enumerate(
        ["samples only", "samples only, 50", "seed, 5 seeds", "seed, 5 seeds, 100 samples", "few differ, 500 samples"]
    ):

        def these(rng: np.random.Generator, w: Sweep = CROSSED[name]) -> tuple[Any, float]:
            a, b, truth = w.draw(rng)
            return st.bootstrap_difference(a, b, resamples=1999, seed=int(rng.integers(2**31))), truth

        yield "bootstrap_difference", f"these runs; {name}", count(sweeps, these, 400 + number)

    def skew(rng: np.random.Generator) -> tuple[Any, float]:
        a, b = rng.exponential(1.0, 200), rng.exponential(0.8, 200)
        return st.bootstrap_difference(a, b, resamples=1999, seed=int(rng.integers(2**31))), 0.2

    yield "bootstrap_difference", "exponential losses, 200 samples", count(sweeps, skew, 450)


def errors(sweeps: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield test, case and how often it calls out at 5 % where two methods are equal."""
    for number, kind in enumerate(["samples only", *(f"{kind}, 5 seeds" for kind in MIXED), "rest only"]):
        parts = CROSSED[kind]
        equal = Sweep(**{**vars(parts), "gain": 0.0})
        rng = np.random.default_rng([SEED, 500 + number])
        hits = dict.fromkeys(
            ("paired_difference", "mcnemar, one seed", "mcnemar_over_seeds", "bootstrap_difference", "t over seeds"), 0
        )
        for _ in range(sweeps):
            a, b, _ = equal.draw(rng)
            hits["paired_difference"] += st.paired_difference(a, b).p <= 0.05
            hits["mcnemar, one seed"] += st.mcnemar(a[0], b[0]) <= 0.05
            hits["mcnemar_over_seeds"] += st.mcnemar_over_seeds(a, b) <= 0.05
            hits["bootstrap_difference"] += not covered(st.bootstrap_difference(a, b, resamples=999), 0.0)
            hits["t over seeds"] += not covered(st.mean_interval((a * 1.0 - b).mean(axis=1)), 0.0)
        for test, found in hits.items():
            yield test, kind, share(found, sweeps)
    rng, found = np.random.default_rng([SEED, 600]), 0
    for _ in range(sweeps):
        shared, runs = rng.standard_normal(500), []
        for _ in range(6):
            own, rest = rng.standard_normal(500), rng.standard_normal((5, 500))
            runs.append(0.85 + np.sqrt(0.7) * shared + np.sqrt(0.1) * own + np.sqrt(0.2) * rest > 0)
        found += st.holm([st.paired_difference(run, runs[0]).p for run in runs[1:]]).min() <= 0.05
    yield "holm", "any of 5 equal methods against one baseline", share(found, sweeps)
    for right, n_train, n_test in ((0.8, 500, 10_000), (0.8, 100, 100), (0.97, 10_000, 1000)):
        rng = np.random.default_rng([SEED, 610, n_train])
        k = zip(rng.binomial(n_train, right, sweeps), rng.binomial(n_test, right, sweeps), strict=True)
        found = sum(st.flattered_by(int(i), n_train, int(j), n_test).flattered for i, j in k)
        yield "flattered_by", f"{right:g} right of {n_train} and of {n_test}", share(found, sweeps)
    for epochs in (6, 10, 20, 60):
        rates = [0.5 * (1 + np.cos(np.pi * k / epochs)) for k in range(epochs)]
        for noise in ("normal", "Cauchy", "normal, correlation 0.5 from epoch to epoch"):
            rng = np.random.default_rng([SEED, 620, epochs])
            found = 0
            for _ in range(sweeps):
                e = rng.standard_cauchy(epochs) if noise == "Cauchy" else rng.standard_normal(epochs)
                if "correlation" in noise:
                    for k in range(1, epochs):
                        e[k] = 0.5 * e[k - 1] + np.sqrt(0.75) * e[k]
                said = still_falling(1.0 + 0.01 * e, rates)
                found += said is not None and said.p <= LEVEL
            yield "still_falling, p <= 0.01", f"{epochs} epochs, flat, noise {noise}", share(found, sweeps)


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=1000)
    sweeps = parser.parse_args().sweeps
    start, rows, outside = time.process_time(), [], []
    print(f"coverage of 95 % intervals, {sweeps} sweeps each")
    for interval, case, found in coverage(sweeps):
        inside = BAND[0] <= found["share"] <= BAND[1]
        rows.append({"interval": interval, "case": case, **found, "inside": inside})
        outside += [] if inside else [f"{interval}: {case}: {100 * found['share']:.1f} %"]
        print(f"{interval:22} {case:50} {100 * found['share']:5.1f} %{'' if inside else '  outside'}", flush=True)
    print("\nfalse alarms at 5 % (still_falling: 1 %)")
    alarms = []
    for test, case, found in errors(sweeps):
        alarms.append({"test": test, "case": case, **found})
        print(f"{test:26} {case:58} {100 * found['share']:5.1f} %", flush=True)
    result = {
        **environment(), "seed": SEED, "band": BAND, "coverage": rows, "outside": outside, "false_alarms": alarms,
        "cpu_seconds": round(time.process_time() - start, 1),
    }  # fmt: skip
    write_result("coverage", result)


if __name__ == "__main__":
    main()
