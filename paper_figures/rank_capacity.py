"""Rank of the weight change: LoRA at most r, W * xi at most r rank(W), W * (exp(xi) - 1) full whatever W is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import lieref
from paper_figures.drawn import FAILS, HOLDS, PARTLY, AbsentError, Claim, Drawn, Row, Settings
from paper_figures.published import HIRA_PAPER, LIERA_NOTES
from paper_figures.style import BLACK, DOUBLE, GREY, ORANGE, absent, letter, look, new_figure, wrapped
from paper_figures.trained import sources, train

SIZE, RANK = 48, 3
METHODS = ("lora", "liera-taylor1", "liera")
BASE_RANKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
TOLERANCE = 1e-12
"""Singular values above this share of the largest count: a thousand units of the last place, far below the smallest of
a full rank here."""

SPECTRUM_RANK, ELEMENT = 4, 0.05
"""Rank of W0 and root mean square of xi in the panel of singular values: what trained adapters reach."""

LAYER, BOUND_RANKS, ROUNDS = "conv2d_6.weight", (1, 2, 4, 8, 12, 16, 20, 24, 28, 32), 30
Array = NDArray[np.float64]


def base_of(rank: int, rng: np.random.Generator) -> Array:
    """Return a weight of this rank."""
    return rng.standard_normal((SIZE, rank)) @ rng.standard_normal((rank, SIZE)) / np.sqrt(rank)


def change(method: str, weight: Array, rng: np.random.Generator, size: float | None = None) -> Array:
    """Return W' - W0 for random factors, xi of this root mean square where one is given."""
    chosen = lieref.get_method(method, r=RANK)
    params = chosen.init(weight.shape, 1, rng)
    params["lora_b"] += 2.0 * rng.standard_normal(params["lora_b"].shape)
    if size is not None:
        params["lora_b"] *= size / np.sqrt(np.mean(np.square(chosen.delta(params, weight.shape))))
    return np.asarray(chosen.weight_delta(params, weight))


def ranks(method: str, base_ranks: list[int], seed: int = 0) -> list[int]:
    """Return the numerical rank of W' - W0 for base weights of given ranks."""
    rng = np.random.default_rng(seed)
    found = []
    for base_rank in base_ranks:
        weight = base_of(base_rank, rng)
        singular = np.linalg.svd(change(method, weight, rng), compute_uv=False)
        found.append(int((singular > TOLERANCE * singular[0]).sum()))
    return found


def spectrum(method: str, seed: int) -> Array:
    """Return the singular values of W' - W0 over the largest, for the same weight and the same size of xi."""
    rng = np.random.default_rng(seed)
    weight = base_of(SPECTRUM_RANK, rng)
    singular = np.linalg.svd(change(method, weight, rng, ELEMENT), compute_uv=False)
    return np.asarray(singular / singular[0])


def hira_bound(weight: Array, target: Array, r: int) -> Row:
    """Return how near rank r comes to a wanted change, in the spectral norm over that of the change.

    ``additive`` is the best of LoRA (Eckart and Young); ``bound`` is HiRA's, sigma_{r+1}(E / W0) |W0|, on the best
    first-order LieRA; ``truncated`` what the matrix behind that bound reaches; ``found`` what alternating least squares
    finds from there.
    """
    left, singular, right = np.linalg.svd(target / weight, full_matrices=False)
    size = np.linalg.norm(target, 2)
    truncated = (left[:, :r] * singular[:r]) @ right[:r]
    rest = float(singular[r]) if r < len(singular) else 0.0
    values = np.linalg.svd(target, compute_uv=False)
    found = least_squares(weight, target, left[:, :r] * np.sqrt(singular[:r]))
    errors = [float(np.linalg.norm(weight * x - target, 2) / size) for x in (truncated, found)]
    whole = np.linalg.norm(target)
    return {
        "panel": "c",
        "r": r,
        "additive": float(values[r] / size) if r < len(values) else 0.0,
        "bound": rest * float(np.linalg.norm(weight, 2) / size),
        "truncated": errors[0],
        "found": min(errors),
        "additive_frobenius": float(np.linalg.norm(values[r:]) / whole),
        "found_frobenius": float(min(np.linalg.norm(weight * x - target) for x in (truncated, found)) / whole),
    }


def least_squares(weight: Array, target: Array, b: Array) -> Array:
    """Return B A with a small |W0 * (B A) - E|_F: the columns of A, then the rows of B, in turn."""
    a = np.zeros((b.shape[1], weight.shape[1]))
    for _ in range(ROUNDS):
        a = _solved(weight.T, target.T, b).T
        b = _solved(weight, target, a.T)
    return b @ a


def _solved(weight: Array, target: Array, factor: Array) -> Array:
    """Return X with rows x_i = argmin |w_i * (F x_i) - e_i|, by the normal equations, hardly regularised."""
    gram = np.einsum("ij,jr,js->irs", weight**2, factor, factor)
    side = np.einsum("ij,ij,jr->ir", weight, target, factor)
    ridge = 1e-10 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(factor.shape[1])
    return np.asarray(np.linalg.solve(gram + ridge, side[..., None])[..., 0])


def wanted_change(settings: Settings) -> tuple[Array, Array]:
    """Return a kernel of ResNet-8, rows the filters, and what full fine-tuning adds to it."""
    run = train(settings, "full")
    weight = run.before[LAYER].reshape(len(run.before[LAYER]), -1)
    return weight, run.after[LAYER].reshape(weight.shape) - weight


def make(settings: Settings) -> Drawn:
    """Draw ranks, singular values and HiRA's bound."""
    base = list(BASE_RANKS)
    found = {method: ranks(method, base, settings.seed) for method in METHODS}
    values = {method: spectrum(method, settings.seed) for method in METHODS}
    figure, panels = new_figure(DOUBLE, 2.55, 1, 3)
    _ranks(panels[0], base, found)
    _spectra(panels[1], values)
    bounds: list[Row] = []
    files: tuple[Path, ...] = ()
    lacking: tuple[str, ...] = ()
    try:
        weight, target = wanted_change(settings)
    except AbsentError as error:
        panels[2].set_title("a wanted change E")
        absent(panels[2], wrapped(str(error)))
        lacking = (f"panel (c) is empty: {error}",)
    else:
        bounds = [hira_bound(weight, target, r) for r in (BOUND_RANKS[::3] if settings.quick else BOUND_RANKS)]
        _bounds(panels[2], bounds)
        files = sources(settings)
    letter(panels)
    rows = [
        *(
            {"panel": "a", "method": m, "base_rank": b, "rank": f}
            for m in METHODS
            for b, f in zip(base, found[m], strict=True)
        ),
        *(
            {"panel": "b", "method": m, "index": i + 1, "singular_over_first": float(v)}
            for m in METHODS
            for i, v in enumerate(values[m])
        ),
        *bounds,
    ]
    claims = [_capacity(base, found, values), *([_power(bounds)] if bounds else [])]
    return Drawn(figure, rows, _caption(), claims, files, settings.seed, settings.quick, lacking)


def _ranks(panel: Any, base: list[int], found: dict[str, list[int]]) -> None:
    theory = np.arange(1, SIZE + 1)
    for method, expected in (
        ("lora", np.full(SIZE, RANK)),
        ("liera-taylor1", np.minimum(RANK * theory, SIZE)),
        ("liera", np.full(SIZE, SIZE)),
    ):
        style = look(method)
        panel.plot(theory, expected, color=style.colour, linestyle=style.line, linewidth=1)
        panel.plot(base, found[method], style.marker, color=style.colour, linestyle="none", label=style.label)
    panel.text(20, RANK + 1.5, "r", color=look("lora").colour)
    panel.text(15.5, 40, r"$r\,\mathrm{rank}(W_0)$", color=look("liera-taylor1").colour)
    panel.set(
        xlabel=r"rank of $W_0$", ylabel=r"rank of $W' - W_0$", ylim=(0, 54), title=f"rank of the change, r = {RANK}"
    )
    panel.legend(loc="center right", bbox_to_anchor=(1, 0.55))


def _spectra(panel: Any, values: dict[str, Array]) -> None:
    index = np.arange(1, SIZE + 1)
    for method in METHODS:
        panel.semilogy(index, np.maximum(values[method], 1e-18), markevery=4, markersize=3.5, **look(method).line_style)
    panel.axhline(TOLERANCE, color=GREY, linewidth=0.8, linestyle=":")
    panel.text(SIZE, TOLERANCE * 2, "counted as rank above", ha="right", fontsize=6, color=GREY)
    panel.set(
        xlabel="index of the singular value",
        ylabel=r"singular value / first",
        ylim=(1e-18, 10),
        title=rf"rank$(W_0)$ = {SPECTRUM_RANK}, rms $\xi$ = {ELEMENT}",
    )
    panel.legend(loc="center right", bbox_to_anchor=(1.03, 0.52))


def _bounds(panel: Any, bounds: list[Row]) -> None:
    r = [row["r"] for row in bounds]
    for key, label, style in (
        ("bound", "HiRA's bound", {"color": BLACK, "linestyle": ":", "marker": "x"}),
        ("truncated", r"$W_0 \odot$ its matrix", {"color": ORANGE, "linestyle": "--", "marker": "v"}),
        (
            "found",
            r"$W_0 \odot X$, best found",
            {"color": look("liera-taylor1").colour, "linestyle": "-.", "marker": "^"},
        ),
        ("additive", "LoRA, best", {"color": look("lora").colour, "linestyle": "--", "marker": "s"}),
    ):
        panel.semilogy(r, [row[key] for row in bounds], label=label, markersize=3.8, **style)
    panel.axhline(1, color=GREY, linewidth=0.8, linestyle=":")
    top = max(row["bound"] for row in bounds)
    panel.set(
        xlabel="rank r", ylabel=r"$\|W_0 \odot X - E\|_2\,/\,\|E\|_2$", title="a wanted change E", ylim=(None, top * 60)
    )
    panel.legend(loc="upper right")


def _caption() -> str:
    return (
        f"(a) Rank of W' - W0 for random factors of rank {RANK} on {SIZE} x {SIZE} weights, singular values above "
        f"{TOLERANCE:g} of the largest; lines are what theory allows. (b) Singular values of the same changes where "
        f"W0 has rank {SPECTRUM_RANK} and xi the size of a trained adapter: beyond r rank(W0) = "
        f"{RANK * SPECTRUM_RANK} those of the exact exponential are there, but small. (c) How near rank r comes to "
        f"the change E that full fine-tuning makes of a kernel of ResNet-8 ({LAYER}, rows the filters): HiRA's bound "
        "on the first-order multiplicative form, what its matrix and what alternating least squares reach, and "
        "LoRA's best. Above 1 a bound says nothing."
    )


def _capacity(base: list[int], found: dict[str, list[int]], values: dict[str, Array]) -> Claim:
    exact, first = (all(rank == SIZE for rank in found[method]) for method in ("liera", "liera-taylor1"))
    full_from = next((b for b, rank in zip(base, found["liera-taylor1"], strict=True) if rank == SIZE), None)
    beyond = float(values["liera"][RANK * SPECTRUM_RANK])
    return Claim(
        "Rank capacity: LoRA r, LieRA min(n, m), since weights have about full rank.",
        LIERA_NOTES,
        "r against min(n, m)",
        f"Exact exponential: {min(found['liera'])} of {SIZE} for every rank of W0. First order, as released: r "
        f"rank(W0), full only from rank {full_from} on (r = {RANK}). What lies beyond r rank(W0) is small: "
        f"{beyond:.1e} of the first singular value at rms {ELEMENT} of xi.",
        HOLDS if exact and first else PARTLY if exact else FAILS,
    )


def _power(bounds: list[Row]) -> Claim:
    says = [row["r"] for row in bounds if row["bound"] < 1]
    ahead = [row["r"] for row in bounds if row["found_frobenius"] < row["additive_frobenius"]]
    kept = all(row["found"] <= row["bound"] * (1 + 1e-9) for row in bounds)
    tried = ", ".join(str(row["r"]) for row in bounds)
    return Claim(
        "Expressive power: the best W0 * X of rank r is within sigma_{r+1}(E / W0) |W0| of any change E.",
        HIRA_PAPER,
        "Theorem 1 (prints rank < r; with sigma_{r+1} it is rank <= r)",
        f"Kept at r = {tried}. For a change that fine-tuning makes, it is below the change itself, and so says "
        f"something, at {', '.join(map(str, says)) or 'none of them'}; the multiplicative change that least squares "
        f"finds is nearer to it than LoRA's best at {len(ahead)} of {len(bounds)} (Frobenius norm).",
        (HOLDS if len(says) == len(bounds) else PARTLY) if kept else FAILS,
    )
