"""The maps beside the exponential on the Hadamard group, and how far trained adapters go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lieref.group.registry import make_map
from lieref.group.tensor import Hadamard
from paper_figures.drawn import FAILS, HOLDS, PARTLY, AbsentError, Claim, Drawn, Row, Settings
from paper_figures.published import COST_EXACT, COST_FIRST_ORDER, LIERA_NOTES
from paper_figures.style import (
    BLACK,
    BLUE,
    DOUBLE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    absent,
    letter,
    new_figure,
    wrapped,
)
from paper_figures.trained import sizes, sources, train

MAPS: dict[str, tuple[str, dict[str, Any]]] = {
    "taylor1": ("1 + x (as released)", {"color": SKY, "linestyle": "-.", "marker": "^"}),
    "taylor2": (r"1 + x + x$^2$/2", {"color": GREEN, "linestyle": ":", "marker": "v"}),
    "taylor3": ("Taylor, degree 3", {"color": ORANGE, "linestyle": (0, (5, 1)), "marker": "h"}),
    "cayley": ("Cayley (1 + x/2)/(1 - x/2)", {"color": VERMILLION, "linestyle": "--", "marker": "s"}),
    "bounded": ("exp(tanh x), bounded", {"color": PURPLE, "linestyle": (0, (3, 1, 1, 1)), "marker": "D"}),
}
EXACT = ("exp(x)", {"color": BLACK, "linestyle": "-"})
FACTORS = (1 / 3, 1.0, 3.0, 10.0)
RANK = 4
TRAINED = {1 / 3: (GREEN, ":"), 1.0: (BLUE, "-"), 3.0: (VERMILLION, "--"), 10.0: (PURPLE, "-.")}
SMALL = 0.01
"""A relative error of the first order that counts as small."""

RARE = 1e-3
"""Share of the weights beyond it that counts as none."""

Array = NDArray[np.float64]


def errors(spec: str, x: Array) -> Array:
    """Return |map(x) - exp(x)| / exp(x), entry by entry."""
    group = Hadamard(x.shape)
    exact = make_map("exp").retract(group, x)
    return np.asarray(np.abs(make_map(spec).retract(group, x) - exact) / exact)


def factor(spec: str, x: Array) -> Array:
    """Return map(x), entry by entry; NaN where the Cayley map has no value."""
    found = np.full(x.shape, np.nan)
    inside = np.abs(x) < 2 if spec == "cayley" else np.isfinite(x)
    found[inside] = make_map(spec).retract(Hadamard(x[inside].shape), x[inside])
    return found


def reached(settings: Settings) -> dict[float, Array]:
    """Return every entry of xi that LieRA trained, by the share of its default learning rate."""
    found = {}
    for share in FACTORS:
        run = train(settings, "liera", r=RANK, factor=share)
        found[share] = np.concatenate([xi.ravel() for xi in run.element.values()])
    return found


def make(settings: Settings) -> Drawn:
    """Draw errors, the maps themselves, and the sizes that training reaches."""
    figure, (left, middle, right) = new_figure(DOUBLE, 2.7, 1, 3)
    rows = [*_errors(left), *_maps(middle)]
    claims: list[Claim] = []
    files: tuple[Path, ...] = ()
    lacking: tuple[str, ...] = ()
    try:
        found = reached(settings)
    except AbsentError as error:
        right.set_title("what trained LieRA reaches")
        absent(right, wrapped(str(error)))
        lacking = (f"panel (c) is empty: {error}",)
    else:
        rows += _reached(right, found)
        claims, files = _claims(found), sources(settings)
    letter((left, middle, right))
    images, epochs, _ = sizes(settings)
    caption = (
        "(a) Relative error against exp(x), the larger of those of x and -x. (b) The maps themselves: in the shaded "
        "half the multiplier is zero or negative, outside the group; the first order goes there at x = -1, Cayley "
        f"at -2 (and has a pole at 2). (c) Share of the weights of ResNet-8 whose |xi| is above x, after {epochs} "
        f"epochs of LieRA, r = {RANK}, on {images} JPEG images at multiples of its default learning rate; the "
        "vertical lines are where the first order is 1 % off and where it leaves the group."
    )
    return Drawn(figure, rows, caption, claims, files, settings.seed, settings.quick, lacking)


def _errors(panel: Any) -> list[Row]:
    x = np.geomspace(1e-4, 1.9, 120)
    rows = []
    for spec, (label, style) in MAPS.items():
        worst = np.maximum(errors(spec, x), errors(spec, -x))
        panel.loglog(x, np.where(worst > 1e-15, worst, np.nan), label=label, markevery=24, markersize=3.5, **style)
        rows += [{"panel": "a", "map": spec, "x": a, "error": e} for a, e in zip(x, worst, strict=True)]
    panel.axhline(2.0**-24, color=GREY, linestyle=":", linewidth=0.8)
    panel.text(1.9, 2.0**-24 / 2, "unit roundoff\nof float32", fontsize=6, color=GREY, ha="right", va="top")
    panel.set(xlabel="|x|, entry of the algebra element", ylabel="relative error", ylim=(1e-17, 1e6),
              title="distance from the exponential")  # fmt: skip
    panel.legend(loc="upper left", fontsize=6)
    return rows


def _maps(panel: Any) -> list[Row]:
    x = np.linspace(-3, 3, 241)
    rows = []
    for spec, (label, style) in {"exp": EXACT, **MAPS}.items():
        y = factor(spec, x)
        panel.plot(x, np.where(np.abs(y) < 20, y, np.nan), label=label, markevery=40, markersize=3.5, **style)
        rows += [
            {"panel": "b", "map": spec, "x": a, "multiplier": m} for a, m in zip(x, y, strict=True) if np.isfinite(m)
        ]
    panel.axhspan(-2.5, 0, color=GREY, alpha=0.18, linewidth=0)
    panel.text(2.9, -2.3, "outside the group", ha="right", fontsize=6.5)
    panel.plot([-1, -2], [0, 0], "o", color="white", markeredgecolor=BLACK, markersize=4, zorder=5)
    panel.set(xlabel="x, entry of the algebra element", ylabel="multiplier of the weight", xlim=(-3, 3),
              ylim=(-2.5, 7), title="the maps")  # fmt: skip
    panel.legend(*[one[:1] for one in panel.get_legend_handles_labels()], loc="upper left")
    return rows


def _times(share: float) -> str:
    """Return a multiple of the rate."""
    return f"1/{1 / share:.3g}" if share < 1 else f"{share:.3g}"


def _reached(panel: Any, found: dict[float, Array]) -> list[Row]:
    x = np.geomspace(1e-5, 10, 121)
    rows = []
    for share, xi in found.items():
        above = np.array([float((np.abs(xi) > a).mean()) for a in x])
        colour, line = TRAINED[share]
        panel.loglog(x, np.where(above > 0, above, np.nan), color=colour, linestyle=line, label=f"{_times(share)} x")
        rows += [{"panel": "c", "rate_share": share, "x": a, "share_above": s} for a, s in zip(x, above, strict=True)]
    for place, text in ((first_order_limit(), "1 %\noff"), (1.0, "leaves\ngroup")):
        panel.axvline(place, color=GREY, linestyle=":", linewidth=0.9)
        panel.text(place * 1.08, 1.25, text, fontsize=6, color=GREY, va="bottom")
    size = len(next(iter(found.values())))
    panel.set(xlabel=r"|x|, entry of $\xi$", ylabel=r"share of weights with $|\xi| > $ x", xlim=(1e-5, 10),
              ylim=(0.5 / size, 6), title="what trained LieRA reaches")  # fmt: skip
    panel.legend(loc="lower left", title="of the rate", title_fontsize=6.8, handlelength=1.6)
    return rows


def first_order_limit() -> float:
    """Return the size of a negative x at which 1 + x is `SMALL` off, by halving."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if errors("taylor1", np.array([-middle]))[0] < SMALL else (low, middle)
    return high


def _claims(found: dict[float, Array]) -> list[Claim]:
    limit = first_order_limit()
    default = np.abs(found[1.0])
    beyond = float((default > limit).mean())
    left = {share: float((xi <= -1).mean()) for share, xi in found.items()}
    worst = float(errors("taylor1", found[1.0]).max())
    said = "; ".join(f"{100 * left[share]:.2g} % at {share:.3g} x" for share in found)
    return [
        Claim("The update is small, so that the first order stands for the exponential.", LIERA_NOTES,
              f"VTAB {COST_FIRST_ORDER.vtab} against {COST_EXACT.vtab}, COCO {COST_FIRST_ORDER.coco} against "
              f"{COST_EXACT.coco} (first order, exact)",
              f"At the default rate the median |xi| is {np.median(default):.3f}, the largest {default.max():.2f}; "
              f"{100 * beyond:.2g} % of the weights are beyond {limit:.2f}, where 1 + x is 1 % off, and the worst is "
              f"{100 * worst:.0f} % off.",
              HOLDS if beyond < RARE else PARTLY if beyond < 0.05 else FAILS),
        Claim("Updates stay in the group.", LIERA_NOTES, "no number",
              f"The exponential always does. Share of weights where 1 + xi would not: {said} the default rate.",
              HOLDS if not any(left.values()) else PARTLY),
    ]  # fmt: skip
