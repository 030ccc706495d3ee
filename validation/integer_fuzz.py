"""The reader of .tflite files on damaged ones: each is refused with one clear error, or read and run.

python -m validation.integer_fuzz [FILES [SECONDS [SEED]]]. Anything but a LierefError, a warning, or a file that takes
more than two seconds is a fault, and its number, from which it is made again, is in the result.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections import Counter

import numpy as np

from validation.integer.fuzzing import damage, outcome, seeds
from validation.record import environment, write_result

SLOW = 2.0


def main(files: int = 1_000_000, seconds: float = float("inf"), seed: int = 0) -> None:
    whole = seeds()
    start = time.monotonic()
    counts: Counter[str] = Counter()
    faults: list[dict[str, object]] = []
    slowest = 0.0
    number = 0
    while number < files and time.monotonic() - start < seconds:
        rng = np.random.default_rng((seed, number))
        content = damage(whole[number % len(whole)], rng)
        begin = time.process_time()
        try:
            counts[outcome(content, rng)] += 1
        except Exception as error:
            counts["fault"] += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            faults.append({"number": number, "error": f"{type(error).__name__}: {error}"[:200], "at": f"{place.name}"})
        taken = time.process_time() - begin
        slowest = max(slowest, taken)
        if taken > SLOW:
            counts["slow"] += 1
            faults.append({"number": number, "seconds": round(taken, 2)})
        number += 1
        if number % 20_000 == 0:
            print(number, dict(counts), f"{time.monotonic() - start:.0f} s", flush=True)
    print(dict(counts), faults[:20])
    write_result(
        "integer_fuzz",
        {
            "what": "damaged .tflite files: refused with a LierefError, read (too large to run), run; else faults",
            "files": number,
            "seed": seed,
            "counts": dict(counts),
            "slowest_seconds": round(slowest, 3),
            "faults": faults[:100],
            **environment(),
        },
    )


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
