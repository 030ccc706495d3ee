"""Where the series of the phi functions should take over: the table behind `lieref.numerics.phi.SWITCH`.

For |x| on a grid, both signs, the largest error in u of the recurrence phi_k = (phi_{k-1} - 1/(k-1)!) / x and of the
series, against 60 digits; the switch point is where the two are level, rounded. Run with
``python -m validation.against_mpmath.switch_points``: seconds.
"""

from __future__ import annotations

import itertools
import math

import mpmath
import numpy as np

from lieref.numerics.phi import SWITCH, phi, phi_series
from validation.record import environment, write_result

mpmath.mp.dps = 60
GRID = [0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 1.0, 1.3, 1.7, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0]
UNIT = 2.0**-53


def exact(x: float, k: int) -> mpmath.mpf:
    z = mpmath.mpf(x)
    return (mpmath.exp(z) - sum(z**j / math.factorial(j) for j in range(k))) / z**k


def main() -> None:
    rng = np.random.default_rng(3)
    rows = []
    for k in SWITCH:
        print(f"\nphi_{k}: error in u, switch at {SWITCH[k]}")
        print(f"{'|x| up to':>10}{'recurrence':>13}{'series':>13}{'phi':>13}")
        for low, high in itertools.pairwise(GRID):
            x = rng.uniform(low, high, 200) * rng.choice([-1.0, 1.0], 200)
            wanted = [exact(float(v), k) for v in x]
            recurrence = (phi(x, k - 1) - 1 / math.factorial(k - 1)) / x
            errors = {
                name: max(float(abs((mpmath.mpf(float(g)) - w) / w)) / UNIT for g, w in zip(got, wanted, strict=True))
                for name, got in (("recurrence", recurrence), ("series", phi_series(x, k)), ("phi", phi(x, k)))
            }
            rows.append({"k": k, "from": low, "to": high, **errors})
            print(f"{high:10}" + "".join(f"{value:13.3g}" for value in errors.values()))
    write_result("phi_switch_points", {"unit": "u of float64", "switch": SWITCH, "rows": rows, **environment()})


if __name__ == "__main__":
    main()
