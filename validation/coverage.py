"""Do the intervals of `lieref.evaluate.statistics` cover as often as they say, and do its tests call out as rarely?

    python -m validation.coverage [--sweeps 1000] [--processes 1]
    python -m validation.coverage --again 4000
    python -m validation.coverage --falling

Simulated sweeps whose truth is known. A run is right on a sample where a normal score is positive: the accuracy wanted,
plus effects of the sample (shared by the methods, and one of its own for each), of the seed, and of both together; so
the true shares are normal probabilities. 95 % intervals shall cover 93 to 97 %: with 1,000 sweeps a true 95 % leaves
that band once in 270 times. Writes validation/results/coverage.json, what does not keep to it included.

What does not, with 4,000 sweeps more: a share of 99 % of 50 samples (91.2 %, exactly 91.1: half a sample is expected to
be wrong); methods that differ on 3 of 100 samples (97.8, wide rather than short) or on none (100); and the bootstrap
where 14 of 500 differ (92.5), which is why tables show `paired_difference`.

`still_falling` is simulated on flat curves, for its p, and on losses that go like exp(-c u) over the way u, to which
twice the epochs would add exp(-c): it shall speak from a tenth on, and does so only where noise leaves the order of the
last epochs. ``--falling`` simulates this part alone, and replaces it in the result.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from lieref import rng
from lieref.evaluate import statistics as st
from lieref.train.still_falling import LEVEL, still_falling
from validation.record import RESULTS, environment, write_result

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
NORMAL = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 1, 1), (1, 9, 9), (9, 1, 9), (0, 1, 9), (1, 0, 9)]
BOOTSTRAPPED = [
    "samples only", "samples only, 50", "seed, 5 seeds", "seed, 5 seeds, 100 samples", "few differ, 500 samples",
]  # fmt: skip


def share(hits: int, sweeps: int, **more: Any) -> dict[str, Any]:
    """Return how often something happened, with its own interval."""
    found = st.proportion_interval(hits, sweeps)
    return {"share": found.mean, "low": round(found.low, 4), "high": round(found.high, 4), "sweeps": sweeps, **more}


def covered(interval: Any, truth: float) -> bool:
    """Return whether the truth lies inside, up to rounding."""
    return bool(interval.low - 1e-12 <= truth <= interval.high + 1e-12)


Once = Callable[[np.random.Generator], tuple[Any, float]]


def normal_table(parts: tuple[int, int, int], rng: np.random.Generator) -> tuple[Any, float]:
    """Return the interval of a normal table; `parts` are variances of its mean: of seeds, of samples, of the rest."""
    a, b, e = np.sqrt(parts)
    x = np.sqrt(5) * a * rng.standard_normal((5, 1)) + np.sqrt(200) * b * rng.standard_normal(200)
    return st.crossed_interval(x + np.sqrt(1000) * e * rng.standard_normal((5, 200))), 0.0


def these_runs(sweep: Sweep, rng: np.random.Generator) -> tuple[Any, float]:
    """Return the bootstrap interval of these runs and what it should cover."""
    a, b, truth = sweep.draw(rng)
    return st.bootstrap_difference(a, b, resamples=1999, seed=int(rng.integers(2**31))), truth


def skew_losses(rng: np.random.Generator) -> tuple[Any, float]:
    """Return the bootstrap interval of the difference of two kinds of skew losses."""
    a, b = rng.exponential(1.0, 200), rng.exponential(0.8, 200)
    return st.bootstrap_difference(a, b, resamples=1999, seed=int(rng.integers(2**31))), 0.2


def share_of(n: int, p: float, rng: np.random.Generator) -> tuple[Any, float]:
    """Return the interval of a share."""
    return st.proportion_interval(int(rng.binomial(n, p)), n), p


def equal_methods(rng: np.random.Generator) -> tuple[Any, float]:
    """Return the interval of two methods that never differ."""
    right = np.broadcast_to(rng.random(500) < 0.8, (5, 500))
    return st.paired_difference(right, right), 0.0


def make_cases() -> dict[tuple[str, str], Once]:
    """Return by interval and case what one sweep is."""
    cases: dict[tuple[str, str], Once] = {}
    for seeds in (2, 3, 5, 10):
        cases["mean_interval", f"{seeds} seeds, normal"] = lambda rng, s=seeds: (
            st.mean_interval(rng.normal(0.8, 0.01, s)),
            0.8,
        )
    cases["mean_interval", "5 seeds, accuracies of 500 samples"] = lambda rng: (
        st.mean_interval(rng.binomial(500, 0.8, 5) / 500),
        0.8,
    )
    for n in (50, 500, 10_000):
        for p in (0.5, 0.8, 0.95, 0.99):
            cases["proportion_interval", f"{n} samples, {p:g}"] = partial(share_of, n, p)
    for name, sweep in CROSSED.items():
        cases["paired_difference", name] = lambda rng, w=sweep: (st.paired_difference(*w.draw(rng)[:2]), w.gain)
    cases["paired_difference", "zero variance, equal methods"] = equal_methods
    for name, sweep in CROSSED.items():
        if sweep.seeds in (3, 5):
            cases["accuracy_interval", name] = lambda rng, w=sweep: (st.accuracy_interval(w.draw(rng)[1]), w.accuracy)
    for parts in NORMAL:
        name = "normal, seeds : samples : rest = {} : {} : {}".format(*parts)
        cases["crossed_interval", name] = partial(normal_table, parts)
    for name in BOOTSTRAPPED:
        cases["bootstrap_difference", f"these runs; {name}"] = partial(these_runs, CROSSED[name])
    cases["bootstrap_difference", "exponential losses, 200 samples"] = skew_losses
    return cases


def coverage(interval: str, case: str, sweeps: int, turn: int = 0) -> dict[str, Any]:
    """Return how often an interval covers; every case, and turn, has random numbers of its own."""
    once, generator = make_cases()[interval, case], rng.stream(SEED, interval, case, *[turn] * (turn > 0))
    hits, width = 0, 0.0
    for _ in range(sweeps):
        found, truth = once(generator)
        hits += covered(found, truth)
        width += (found.high - found.low) / 2 / sweeps
    row = share(hits, sweeps, half_width=float(f"{width:.4g}"))
    if isinstance(once, partial) and once.func is share_of:
        n, p = once.args
        inside = [covered(st.proportion_interval(k, n), p) for k in range(n + 1)]
        row["exact"] = round(float(binom.pmf(np.arange(n + 1), n, p)[inside].sum()), 4)
    return row


EQUAL = ["samples only", *(f"{kind}, 5 seeds" for kind in MIXED), "rest only"]


def false_alarms(kind: str, sweeps: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Return test, case and how often it calls out at 5 % where two methods are equal."""
    return list(_paired(kind, sweeps) if kind in EQUAL else OTHERS[kind](sweeps))


def _paired(kind: str, sweeps: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    equal = replace(CROSSED[kind], gain=0.0)
    generator = rng.stream(SEED, "equal", kind)
    hits = dict.fromkeys(
        ("paired_difference", "mcnemar, one seed", "mcnemar_over_seeds", "bootstrap_difference", "t over seeds"), 0
    )
    for _ in range(sweeps):
        a, b, _ = equal.draw(generator)
        hits["paired_difference"] += st.paired_difference(a, b).p <= 0.05
        hits["mcnemar, one seed"] += st.mcnemar(a[0], b[0]) <= 0.05
        hits["mcnemar_over_seeds"] += st.mcnemar_over_seeds(a, b) <= 0.05
        hits["bootstrap_difference"] += not covered(st.bootstrap_difference(a, b, resamples=999), 0.0)
        hits["t over seeds"] += not covered(st.mean_interval((a * 1.0 - b).mean(axis=1)), 0.0)
    for test, found in hits.items():
        yield test, kind, share(found, sweeps)


def _others(sweeps: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    generator, found = rng.stream(SEED, "holm"), 0
    for _ in range(sweeps):
        shared, runs = generator.standard_normal(500), []
        for _ in range(6):
            own, rest = generator.standard_normal(500), generator.standard_normal((5, 500))
            runs.append(0.85 + np.sqrt(0.7) * shared + np.sqrt(0.1) * own + np.sqrt(0.2) * rest > 0)
        found += st.holm([st.paired_difference(run, runs[0]).p for run in runs[1:]]).min() <= 0.05
    yield "holm", "any of 5 equal methods against one baseline", share(found, sweeps)
    for right, n_train, n_test in ((0.8, 500, 10_000), (0.8, 100, 100), (0.97, 10_000, 1000)):
        generator = rng.stream(SEED, "flattered", n_train, n_test)
        k = zip(generator.binomial(n_train, right, sweeps), generator.binomial(n_test, right, sweeps), strict=True)
        found = sum(st.flattered_by(int(i), n_train, int(j), n_test).flattered for i, j in k)
        yield "flattered_by", f"{right:g} right of {n_train} and of {n_test}", share(found, sweeps)


def _falling(sweeps: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for epochs in (6, 10, 20, 60):
        rates = _cosine(epochs)
        for noise in ("normal", "Cauchy", "normal, correlation 0.5 from epoch to epoch"):
            generator = rng.stream(SEED, "falling", epochs, noise)
            found = 0
            for _ in range(sweeps):
                e = generator.standard_cauchy(epochs) if noise == "Cauchy" else generator.standard_normal(epochs)
                if "correlation" in noise:
                    for k in range(1, epochs):
                        e[k] = 0.5 * e[k - 1] + np.sqrt(0.75) * e[k]
                said = still_falling(1.0 + 0.01 * e, rates)
                found += said is not None and said.p <= LEVEL
            yield "still_falling, p <= 0.01", f"{epochs} epochs, flat, noise {noise}", share(found, sweeps)
    for epochs in (10, 20, 60):
        for gain in (0.0, 0.02, 0.05, 0.2, 0.5):
            for noise in (0.001, 0.01):
                generator = rng.stream(SEED, "falling, exponential", epochs, str(gain), str(noise))
                losses = _exponential(epochs, 50.0 if gain == 0.0 else -np.log(gain))
                found = 0
                for _ in range(sweeps):
                    said = still_falling(losses + noise * generator.standard_normal(epochs), _cosine(epochs))
                    found += said is not None and said.falling
                case = f"{epochs} epochs, twice as many add {100 * gain:g} %, noise {100 * noise:g} % of the fall"
                yield "still_falling, said", case, share(found, sweeps)


def _cosine(epochs: int) -> list[float]:
    return [float(0.5 * (1 + np.cos(np.pi * k / epochs))) for k in range(epochs)]


def _exponential(epochs: int, c: float) -> NDArray[np.float64]:
    """Return the means over epochs of 1 + exp(-c u) / (1 - exp(-c)), with u the way gone under half a cosine."""
    time = (np.arange(1000 * epochs) + 0.5) / (1000 * epochs)
    losses = 1.0 + np.exp(-c * (time + np.sin(np.pi * time) / np.pi)) / (1 - np.exp(-c))
    means: NDArray[np.float64] = losses.reshape(epochs, 1000).mean(axis=1)
    return means


OTHERS = {"others": _others, "falling": _falling}


def falling_again(sweeps: int) -> None:
    """Simulate the part of `still_falling` alone, and replace it in the result."""
    result = json.loads((RESULTS / "coverage.json").read_text())
    rows = [row for row in result["false_alarms"] if not row["test"].startswith("still_falling")]
    for test, case, row in _falling(sweeps):
        rows.append({"test": test, "case": case, **row})
        print(f"{test:26} {case:76} {100 * row['share']:5.1f} %", flush=True)
    write_result("coverage", {**result, "false_alarms": rows})


def again(sweeps: int) -> None:
    """Simulate the cases outside the band once more, with other numbers and more sweeps, and add that to the result."""
    result = json.loads((RESULTS / "coverage.json").read_text())
    for row in result["coverage"]:
        if not row["inside"]:
            row["again"] = coverage(row["interval"], row["case"], sweeps, turn=1)
            print(f"{row['interval']}: {row['case']}: {100 * row['again']['share']:.2f} % of {sweeps}", flush=True)
    write_result("coverage", result)


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--again", type=int, help="sweeps more for the cases found outside before; nothing else")
    parser.add_argument("--falling", action="store_true", help="the part of still_falling alone")
    arguments = parser.parse_args()
    if arguments.falling:
        return falling_again(arguments.sweeps)
    if arguments.again:
        return again(arguments.again)
    sweeps, rows, outside, alarms = arguments.sweeps, [], [], []
    names = list(make_cases())
    with ProcessPoolExecutor(arguments.processes) as pool:
        found_alarms = pool.map(false_alarms, [*EQUAL, *OTHERS], repeat(sweeps))
        print(f"coverage of 95 % intervals, {sweeps} sweeps each")
        found = pool.map(coverage, *zip(*names, strict=True), repeat(sweeps))
        for (interval, case), row in zip(names, found, strict=True):
            inside = BAND[0] <= row["share"] <= BAND[1]
            rows.append({"interval": interval, "case": case, **row, "inside": inside})
            outside += [] if inside else [f"{interval}: {case}: {100 * row['share']:.1f} %"]
            print(f"{interval:22} {case:50} {100 * row['share']:5.1f} %{'' if inside else '  outside'}", flush=True)
        print("\nfalse alarms at 5 % (still_falling: 1 %, and where it speaks)")
        for test, case, row in chain.from_iterable(found_alarms):
            alarms.append({"test": test, "case": case, **row})
            print(f"{test:26} {case:76} {100 * row['share']:5.1f} %", flush=True)
    result = {
        **environment(), "seed": SEED, "band": BAND, "coverage": rows, "outside": outside, "false_alarms": alarms,
    }  # fmt: skip
    write_result("coverage", result)


if __name__ == "__main__":
    main()
