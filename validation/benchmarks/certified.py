"""CPU time of certified values: a convolution with all its gradients, and a check of every golden case.

    python -m validation.benchmarks.certified

The convolution has 64 channels in and out, a 3 by 3 kernel and an image of 16 by 16: its output and three gradients,
each with a bound. The port checked against the golden cases is lieref itself, so half of that time is the port's.
"""

from __future__ import annotations

import argparse

import numpy as np

from lieref.golden import check
from lieref.numerics.certified_conv import ConvGeometry, conv, conv_vjp
from tests.conformance import ports
from validation.benchmarks._measure import Times, alternate, summary, write

SAME = ConvGeometry((1, 1), (1, 1, 1, 1), (1, 1))
CHANNELS, SIZE = 64, 16


def measure(seconds: float, least: int) -> dict[str, Times]:
    """Return the times of both cases, taken in turn for so many seconds and at least so many rounds."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, CHANNELS, SIZE, SIZE)), rng.standard_normal((CHANNELS, CHANNELS, 3, 3))

    def convolution() -> None:
        conv_vjp(x, w, conv(x, w, None, SAME).hi, SAME)

    return alternate({"convolution": convolution, "golden check": lambda: check(ports.right)}, seconds, least)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    rows = [{"case": case, **summary(times)} for case, times in measure(options.seconds, least=5).items()]
    for row in rows:
        print(f"{row['case']:14} {row['cpu_ms'] / 1000:7.2f} s of CPU, best of {row['runs']}")
    write("certified_speed", rows)


if __name__ == "__main__":
    main()
