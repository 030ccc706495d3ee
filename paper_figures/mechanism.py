"""The idea of the paper's Figure 1 on a real kernel: LoRA adds to the weights, LieRA multiplies them by exp(xi) > 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from paper_figures.drawn import HOLDS, PARTLY, Claim, Drawn, Row, Settings
from paper_figures.published import LIERA_NOTES
from paper_figures.style import DOUBLE, look, new_figure
from paper_figures.trained import Trained, sizes, sources, train

LAYER, RANK = "conv2d_3.weight", 2
OUT, IN = 3, 4
"""Filters and channels of the layer that are shown."""

METHODS = ("lora", "liera")
TITLES = {
    "lora": (r"$\Delta W = sBA$", r"$W'/W_0$", r"$W' = W_0 + \Delta W$"),
    "liera": (r"$\xi = sBA$", r"$g = \exp(\xi)$", r"$W' = W_0 \odot g$"),
}
Array = NDArray[np.float64]


def shown(run: Trained) -> tuple[Array, Array]:
    """Return the filters and the channels with the most changed signs, where the methods differ to the eye."""
    flips = (run.before[LAYER] * run.after[LAYER] < 0).sum(axis=(2, 3))
    filters = np.sort(np.argsort(-flips.sum(axis=1), kind="stable")[:OUT])
    channels = np.sort(np.argsort(-flips[filters].sum(axis=0), kind="stable")[:IN])
    return filters, channels


def tiles(kernels: Array) -> Array:
    """Return kernels (out, in, rows, columns) as one image, a filter a row, with a gap of NaN between them."""
    out, into, rows, columns = kernels.shape
    image = np.full((out, rows + 1, into, columns + 1), np.nan)
    image[:, :rows, :, :columns] = kernels.transpose(0, 2, 1, 3)
    return image.reshape(out * (rows + 1), into * (columns + 1))[:-1, :-1]


def signs_changed(run: Trained) -> tuple[int, int]:
    """Return how many weights of all layers have another sign than before, and how many there are."""
    changed = sum(int((np.sign(run.after[name]) != np.sign(run.before[name])).sum()) for name in run.before)
    return changed, sum(weight.size for weight in run.before.values())


def make(settings: Settings) -> Drawn:
    """Draw two short trainings from one base: before, what is trained, after."""
    runs = {method: train(settings, method, r=RANK) for method in METHODS}
    chosen = np.ix_(*shown(runs["lora"]))
    parts = {
        m: (run.before[LAYER][chosen], run.element[LAYER][chosen], run.after[LAYER][chosen]) for m, run in runs.items()
    }
    figure, axes = new_figure(DOUBLE, 3.0, 2, 5, gridspec_kw={"width_ratios": [1, 1, 1, 1, 1.3]})
    reach = 1.2 * float(np.quantile(np.abs(runs["lora"].after[LAYER] - runs["lora"].before[LAYER]), 0.999))
    bound = float(np.abs(parts["lora"][0]).max())
    spread = 2 * float(np.abs(parts["liera"][2] / parts["liera"][0] - 1).max())
    for line, (method, run) in zip(axes, runs.items(), strict=True):
        before, element, after = parts[method]
        names = TITLES[method]
        _tiles(figure, line[0], before, r"$W_0$", bound)
        _tiles(figure, line[1], element, names[0], float(np.abs(element).max()))
        _tiles(figure, line[2], after / before, names[1], spread, centre=1.0, crosses=after * before < 0)
        _tiles(figure, line[3], after, names[2], bound, crosses=after * before < 0)
        line[0].set_ylabel(f"{look(method).label.split(',')[0]}, r = {RANK}", fontsize=8.5, fontweight="bold")
        _scatter(line[4], method, run, reach)
    return Drawn(
        figure,
        _rows(runs),
        _caption(settings, runs),
        [_claim(runs)],
        sources(settings),
        settings.seed,
        smaller=settings.quick,
    )


def _tiles(
    figure: Any,
    panel: Any,
    values: Array,
    title: str,
    reach: float,
    *,
    centre: float = 0.0,
    crosses: NDArray[np.bool_] | None = None,
) -> None:
    low, high = centre - reach, centre + reach
    drawn = panel.imshow(tiles(values), cmap="PuOr", vmin=low, vmax=high)
    below = panel.inset_axes((0.05, -0.15, 0.9, 0.06))
    bar = figure.colorbar(drawn, cax=below, orientation="horizontal")
    bar.set_ticks([low, centre, high], labels=[f"{value:.3g}" for value in (low, centre, high)])
    bar.ax.tick_params(labelsize=6)
    shown = tiles(values)
    for mark, strong in (("white", True), ("black", False)):  # so that grey tells them from those above
        y, x = np.nonzero((shown < centre) & ((shown < centre - 0.5 * reach) == strong))
        panel.plot(x, y, "_", color=mark, markersize=1.8, markeredgewidth=0.5, gid="below")
    panel.set(title=title, xticks=[], yticks=[])
    panel.grid(False)
    panel.spines[:].set_visible(False)
    if crosses is not None:
        y, x = np.nonzero(tiles(crosses.astype(np.float64)) == 1)
        panel.plot(x, y, "x", color="black", markersize=4, markeredgewidth=1.1, gid="sign changed")


def _scatter(panel: Any, method: str, run: Trained, reach: float) -> None:
    before, after = run.before[LAYER].ravel(), run.after[LAYER].ravel()
    change, limit = after - before, 10 * reach
    flipped = before * after < 0
    panel.plot(
        before[~flipped],
        change[~flipped],
        look(method).marker,
        color=look(method).colour,
        label="sign kept",
        gid="kept",
        linestyle="none",
        markersize=1.6,
        markeredgewidth=0,
        rasterized=True,
    )
    panel.plot(
        before[flipped],
        change[flipped],
        "x",
        color="black",
        markersize=3,
        markeredgewidth=0.8,
        gid="flipped",
        label=f"sign changed: {int(flipped.sum())}",
        linestyle="none",
    )
    panel.plot([-limit, limit], [limit, -limit], color="black", linewidth=0.8, linestyle=":", label=r"$W' = 0$")
    panel.set(
        xlim=(-limit, limit),
        ylim=(-reach, 3.0 * reach),
        xlabel=r"weight $W_0$",
        ylabel=r"change $W' - W_0$",
        title="near zero, whole layer",
    )
    panel.yaxis.set_label_position("right")
    panel.yaxis.tick_right()
    panel.spines["right"].set_visible(True)
    panel.spines["left"].set_visible(False)
    panel.legend(
        loc="upper right",
        handletextpad=0.3,
        markerscale=1.3,
        handlelength=1.2,
        fontsize=6,
        borderaxespad=0,
        labelspacing=0.2,
    )


def _rows(runs: dict[str, Trained]) -> list[Row]:
    return [
        {
            "method": method,
            "out": o,
            "in": i,
            "row": u,
            "column": v,
            "w0": run.before[LAYER][o, i, u, v],
            "element": run.element[LAYER][o, i, u, v],
            "w1": run.after[LAYER][o, i, u, v],
        }
        for method, run in runs.items()
        for o, i, u, v in np.ndindex(run.before[LAYER].shape)
    ]


def _caption(settings: Settings, runs: dict[str, Trained]) -> str:
    images, epochs, _ = sizes(settings)
    shape = " x ".join(map(str, runs["lora"].before[LAYER].shape))
    return (
        f"Kernels of the layer {LAYER} ({shape}) of ResNet-8, the {OUT} filters and {IN} channels in which LoRA "
        f"changes the most signs, before and after {epochs} epochs on {images} JPEG images, LoRA and LieRA at "
        f"{runs['lora'].trainable:,} trained numbers each. LoRA adds its low rank, whatever the weight is; LieRA "
        "moves in the algebra and multiplies by exp(xi), so a change is in proportion to its weight, the fan on the "
        "right, and no sign changes. Crosses mark weights whose sign changed, dashes what is below the middle of its "
        "scale."
    )


def _claim(runs: dict[str, Trained]) -> Claim:
    counts = {method: signs_changed(run) for method, run in runs.items()}
    (lora, whole), (liera, _) = counts["lora"], counts["liera"]
    return Claim(
        "Updates through the exponential map stay in the group: each weight is scaled, its sign and its pattern are "
        "kept; additive updates may leave it.",
        f"{LIERA_NOTES}; Figure 1",
        "no number",
        f"Signs changed, of {whole:,} weights: LoRA {lora:,}, LieRA {liera:,}.",
        HOLDS if liera == 0 and lora > 0 else PARTLY,
    )
