"""Does the A/B test that is looked at daily keep its level, what does it cost in images, and do plans keep their power?

    python -m validation.sequential_ab [--tests 10000]

Simulated tests with a known difference, looked at every day until the end, whatever they say. For each kind: how often
the sequential test ever says ship or worse, and ship (at most 5 and 2.5 % where the models are equal, with any number
of looks); how often its interval ever misses the true difference (at most 5 %); how often McNemar's test at 5 % ever
calls out if somebody looks at it daily, for contrast; images until the first verdict, beside the number that a test of
fixed size needs. Then planned numbers of images: how often McNemar's test, and that of two arms, sees the gain, beside
the planned power. And the exact coverage of the paired interval. Writes validation/results/sequential_ab.json.
"""

from __future__ import annotations

import argparse
import math
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr
from scipy.stats import binom, norm

from lieref import rng
from lieref.evaluate.ab.betting import log_capital
from lieref.evaluate.ab.decide import NOT_WORTH, NOT_YET, SHIP, WORSE, first_verdicts, verdicts
from lieref.evaluate.ab.planning import paired_images, unpaired_images
from lieref.evaluate.ab.rates import Rates, rates_for
from lieref.evaluate.statistics import paired_share_interval, proportion_interval
from validation.record import environment, write_result

SEED, LEVEL, WORTH = 17, 0.05, 0.01
DAYS, A_DAY = 50, 400
EQUAL = {f"equal, they differ on {100 * d:g} %": Rates(d / 2, d / 2) for d in (0.01, 0.05, 0.2)}
BETTER = {
    "gain 1 point, they differ on 5 %": Rates(0.03, 0.02),
    "gain 2 points, they differ on 5 %": Rates(0.035, 0.015),
    "gain 2 points, they differ on 10 %": Rates(0.06, 0.04),
    "gain 0.5 points, they differ on 2 %": Rates(0.0125, 0.0075),
}
Counts = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def share(hits: NDArray[np.bool_]) -> dict[str, float]:
    """Return how often something happened, with its own interval."""
    found = proportion_interval(int(hits.sum()), len(hits))
    return {"share": found.mean, "low": round(found.low, 5), "high": round(found.high, 5)}


def draw(rates: Rates, tests: int, name: str) -> Counts:
    """Return images won, undecided and lost at the end of each day, (tests, days)."""
    shares = [rates.won, 1 - rates.won - rates.lost, rates.lost]
    counts = rng.stream(SEED, name).multinomial(A_DAY, shares, (tests, DAYS)).cumsum(axis=1)
    return counts[..., 0], counts[..., 1], counts[..., 2]


def mcnemar_calls(won: NDArray[np.int64], lost: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return where McNemar's exact test calls out."""
    calls: NDArray[np.bool_] = 2 * bdtr(np.minimum(won, lost), won + lost, 0.5) <= LEVEL
    return calls & (won + lost > 0)


def sequential(name: str, rates: Rates, tests: int) -> dict[str, Any]:
    """Return what happens to tests of one kind."""
    won, tied, lost = draw(rates, tests, name)
    goal = math.log(2 / LEVEL)
    above, below = log_capital(won, tied, lost) >= goal, log_capital(lost, tied, won) >= goal
    if rates.gain:
        misses = (log_capital(won, tied, lost, rates.gain) >= goal) | (
            log_capital(lost, tied, won, -rates.gain) >= goal
        )
    else:
        misses = above | below
    word, day = first_verdicts(verdicts(won, tied, lost, worth=WORTH, level=LEVEL))
    images = np.where(word == NOT_YET, DAYS, day + 1) * A_DAY
    shipped = images[word == SHIP]
    row = {
        "won": rates.won, "lost": rates.lost, "tests": tests, "looks": DAYS, "images_a_day": A_DAY,
        "ever_better_or_worse": share((above | below).any(axis=1)), "ever_better": share(above.any(axis=1)),
        "interval_ever_misses": share(misses.any(axis=1)),
        "daily_mcnemar_ever_calls_out": share(mcnemar_calls(won, lost).any(axis=1)),
        "verdicts": {text: float((word == kind).mean()) for text, kind in
                     (("ship", SHIP), ("no difference worth it", NOT_WORTH), ("worse", WORSE), ("not yet", NOT_YET))},
        "images_mean": float(images.mean()),
        "images_median": float(np.median(images)),
        "images_nine_of_ten": float(np.quantile(images, 0.9)),
        "images_mean_if_shipped": float(shipped.mean()) if len(shipped) else None,
    }  # fmt: skip
    if rates.gain > 0:
        for power in (0.8, 0.9):
            size = paired_images(rates, power, LEVEL)
            looks = (size // A_DAY) - 1
            reached = float(above[:, : looks + 1].any(axis=1).mean()) if looks >= 0 else 0.0
            row[f"fixed_size_power_{power:g}"] = {"images": size, "sequential_power_by_then": reached}
    return row


def planned(tests: int) -> list[dict[str, Any]]:
    """Return how often tests of planned size see the gain."""
    rows = []
    plans = [(0.9, 0.01, 0.05), (0.9, 0.01, "most"), (0.8, 0.05, 0.1), (0.95, 0.02, 0.03), (0.7, 0.2, "least")]
    for (accuracy, gain, differ), power in product(plans, (0.8, 0.95)):
        rates = rates_for(accuracy, gain, differ)
        generator, n = rng.stream(SEED, "plan", accuracy, gain, differ, power), paired_images(rates, power)
        won, lost, _ = generator.multinomial(n, [rates.won, rates.lost, 1 - rates.won - rates.lost], tests).T
        rows.append({"kind": "paired", "accuracy": accuracy, "gain": gain, "disagreement": rates.disagreement,
                     "images": n, "power": power, "found": share(mcnemar_calls(won, lost) & (won > lost))})  # fmt: skip
        n = unpaired_images(accuracy, gain, power)
        one, other = generator.binomial(n, accuracy, tests), generator.binomial(n, accuracy + gain, tests)
        pooled = (one + other) / (2 * n)
        spread = np.sqrt(np.maximum(2 * pooled * (1 - pooled) / n, 1e-300))
        calls = (other - one) / n >= norm.ppf(1 - LEVEL / 2) * spread * (1 - 1e-12)
        rows.append({"kind": "two arms", "accuracy": accuracy, "gain": gain, "images": n, "power": power,
                     "found": share(calls & (other > one))})  # fmt: skip
    return rows


def interval_coverage(n: int, rates: Rates) -> dict[str, Any]:
    """Return the exact coverage of the paired interval: each table that matters with its probability."""
    covered = 0.0
    low, high = (int(binom.ppf(p, n, rates.disagreement)) for p in (1e-5, 1 - 1e-5))
    for differ in range(low, high + 1):
        weight = binom.pmf(differ, n, rates.disagreement)
        chance = rates.won / rates.disagreement
        first, last = (int(binom.ppf(p, differ, chance)) for p in (1e-5, 1 - 1e-5))
        for won in range(first, last + 1):
            found = paired_share_interval(won, differ - won, n, 1 - LEVEL)
            if found.low <= rates.gain <= found.high:
                covered += float(weight * binom.pmf(won, differ, chance))
    return {"images": n, "won": rates.won, "lost": rates.lost, "coverage": round(covered, 4)}


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", type=int, default=10_000)
    tests, rows = parser.parse_args().tests, {}
    for name, rates in {**EQUAL, **BETTER}.items():
        rows[name] = row = sequential(name, rates, tests)
        seen = [100 * row[kind]["share"] for kind in ("ever_better_or_worse", "daily_mcnemar_ever_calls_out",
                                                      "interval_ever_misses")]  # fmt: skip
        print(f"{name:38} better or worse {seen[0]:6.2f} %, daily McNemar {seen[1]:6.2f} %, interval misses "
              f"{seen[2]:5.2f} %, images {row['images_mean']:7.0f}", flush=True)  # fmt: skip
    plans = planned(tests)
    for row in plans:
        print(f"{row['kind']:9} {row['accuracy']:.2f} {row['gain']:+.2f}: {row['images']:6} images, power "
              f"{row['power']:.2f}, found {row['found']['share']:.4f}", flush=True)  # fmt: skip
    cases = [(50, Rates(0.1, 0.05)), (200, Rates(0.05, 0.04)), (200, Rates(0.02, 0.01)), (1000, Rates(0.03, 0.02))]
    coverage = [interval_coverage(n, rates) for n, rates in cases]
    for row in coverage:
        print(f"paired interval, {row['images']} images, {row['won']:g} won, {row['lost']:g} lost: {row['coverage']}")
    kept = all(row["ever_better_or_worse"]["share"] <= LEVEL for name, row in rows.items() if name in EQUAL)
    print(f"level kept where the models are equal: {kept}")
    result = {**environment(), "seed": SEED, "level": LEVEL, "worth": WORTH, "level_kept": kept, "sequential": rows,
              "plans": plans, "paired_interval": coverage}  # fmt: skip
    write_result("sequential_ab", result)


if __name__ == "__main__":
    main()
