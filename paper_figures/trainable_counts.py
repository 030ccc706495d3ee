"""How many numbers the published rows train, counted from the architecture alone, and where they sit."""

from __future__ import annotations

from typing import Any

from lieref.param.low_rank import LowRank
from paper_figures.drawn import FAILS, HOLDS, PARTLY, Claim, Drawn, Row, Settings
from paper_figures.published import COUNTS, LIERA_NOTES, SUBSPACE_README, Count
from paper_figures.style import BLACK, BLUE, DOUBLE, GREY, ORANGE, VERMILLION, letter, new_figure
from validation.against_paper.parameter_counts import WIDTHS, Layer, backbone, loralib_count, per_group_count

CHANNELS, KERNEL = 128, 7
RANKS = (1, 2, 4, 8, 16, 32)


def counted(count: Count) -> Row:
    """Return a published row and our counts of it, in numbers."""
    layers = backbone(WIDTHS[count.backbone])
    depthwise = sum(loralib_count(one, count.r) for one in layers if one.name == "depthwise")
    whole = sum(loralib_count(one, count.r) for one in layers)
    return {
        "panel": "a", "backbone": count.backbone, "r": count.r, "published_millions": count.millions,
        "loralib": whole, "loralib_depthwise": depthwise,
        "loralib_without_linear": sum(loralib_count(one, count.r) for one in layers if one.k and one.name != "stem"),
        "per_group_unfold": sum(per_group_count(one, count.r, "unfold") for one in layers),
        "agrees": int(whole / 1e4) == round(100 * count.millions), "source": count.source,
    }  # fmt: skip


def trap(r: int) -> Row:
    """Return the trainables on one depthwise kernel over the numbers in it, by how the factors are laid."""
    layer = Layer("depthwise", CHANNELS, CHANNELS, KERNEL, CHANNELS)
    size = CHANNELS * KERNEL * KERNEL
    return {
        "panel": "b", "r": r, "kernel_numbers": size,
        "loralib_over_kernel": loralib_count(layer, r) / size,
        "per_group_over_kernel": per_group_count(layer, r, "unfold") / size,
        "shared_over_kernel": LowRank(r=r).num_params(layer.shape, CHANNELS) / size,
    }  # fmt: skip


def make(settings: Settings) -> Drawn:
    """Draw published counts over ours, and what a depthwise kernel costs."""
    rows, traps = [counted(count) for count in COUNTS], [trap(r) for r in RANKS]
    figure, (left, right) = new_figure(DOUBLE, 2.5, 1, 2, gridspec_kw={"width_ratios": [1.45, 1]})
    _published(left, rows)
    _trap(right, traps)
    letter((left, right))
    share = [row["loralib_depthwise"] / row["loralib"] for row in rows]
    caption = (
        "(a) Trainable numbers of LoRA, and of LieRA which prints the same, on ConvNeXt-V2: as published (diamonds) "
        "and as loralib's layer counts them on every convolution and linear layer (bars), of which most lie on "
        "depthwise kernels (hatched). The two rows marked ? fit no formula that was tried; the nearest, without "
        f"stem and linear layers, is {rows[4]['loralib_without_linear'] / 1e6:.2f} and "
        f"{rows[5]['loralib_without_linear'] / 1e6:.2f} million. (b) Trainables on one depthwise kernel of "
        f"{CHANNELS} channels, {KERNEL} x {KERNEL}, in multiples of its own size: above the line an adapter has more "
        "numbers than what it adapts."
    )
    return Drawn(figure, [*rows, *traps], caption, _claims(rows, traps, share), (), None)


def _published(panel: Any, rows: list[Row]) -> None:
    places = range(len(rows))
    linear = [(row["loralib"] - row["loralib_depthwise"]) / 1e6 for row in rows]
    panel.bar(places, linear, 0.6, color=BLUE, label="loralib: all other layers")
    panel.bar(places, [row["loralib_depthwise"] / 1e6 for row in rows], 0.6, bottom=linear, color="#cfe3f1",
              edgecolor=BLUE, linewidth=0.6, hatch="////", label="loralib: depthwise kernels")  # fmt: skip
    panel.plot(places, [row["published_millions"] for row in rows], "D", color=VERMILLION, markeredgecolor="white",
               markeredgewidth=0.6, markersize=6, label="published", linestyle="none")  # fmt: skip
    panel.plot(places, [row["per_group_unfold"] / 1e6 for row in rows], "_", color=BLACK, markersize=15,
               markeredgewidth=1.6, label="factors per conv group", linestyle="none")  # fmt: skip
    for place, row in zip(places, rows, strict=True):
        top = max(row["loralib"] / 1e6, row["published_millions"])
        panel.text(place, top + 1.6, "=" if row["agrees"] else "?", ha="center", fontweight="bold", fontsize=9)
    names = [f"{row['backbone'].removeprefix('ConvNeXt-')}\nr = {row['r']}" for row in rows]
    panel.set_xticks(places, names)
    panel.set(ylabel="trainable numbers, millions", title="published rows", ylim=(0, 80))
    panel.grid(axis="x", visible=False)
    panel.legend(loc="upper right", ncols=2, columnspacing=1, handlelength=1.6, markerscale=0.8)


def _trap(panel: Any, traps: list[Row]) -> None:
    ranks = [row["r"] for row in traps]
    for key, label, style in (
        ("loralib_over_kernel", "loralib's layer", {"color": VERMILLION, "marker": "s", "linestyle": "--"}),
        ("per_group_over_kernel", "factors per conv group", {"color": BLUE, "marker": "o", "linestyle": "-"}),
        ("shared_over_kernel", "shared by groups (here)", {"color": ORANGE, "marker": "^", "linestyle": "-."}),
    ):
        panel.loglog(ranks, [row[key] for row in traps], label=label, **style)
    panel.axhline(1, color=GREY, linewidth=0.9, linestyle=":")
    panel.text(ranks[0], 0.6, "line: as many as the kernel has", fontsize=6.5, color=GREY)
    panel.set_xticks(ranks, [str(r) for r in ranks])
    panel.minorticks_off()
    panel.set(xlabel="rank r", ylabel="trainables / numbers of the kernel", ylim=(0.02, 150),
              title=f"a depthwise kernel, {CHANNELS} x {KERNEL} x {KERNEL}")  # fmt: skip
    panel.legend(loc="upper left")


def _cut(count: int) -> str:
    """Return millions cut to two digits, as the tables print them."""
    return f"{count // 10_000 / 100:.2f}"


def _claims(rows: list[Row], traps: list[Row], share: list[float]) -> list[Claim]:
    right = [row for row in rows if row["agrees"]]
    listed = ", ".join(_cut(row["loralib"]) for row in right)
    wrong = [row for row in rows if not row["agrees"]]
    printed = ", ".join(f"{row['published_millions']:.2f}" for row in wrong)
    nearest = ", ".join(_cut(row["loralib"]) for row in wrong)
    at8 = next(row for row in traps if row["r"] == 8)
    lora, liera = (LowRank(r=2).num_params((32, 16, 3, 3), 1) for _ in range(2))
    return [
        Claim("Counts of trainable numbers of LoRA and LieRA on ConvNeXt-V2.", COUNTS[0].source + "; " + LIERA_NOTES,
              ", ".join(f"{count.millions:.2f}" for count in COUNTS) + " million",
              f"{len(right)} of {len(rows)} rows are counted to the digit ({listed} million); the others, "
              f"{printed}, would be {nearest}.",
              HOLDS if not wrong else PARTLY if right else FAILS),
        Claim("LieRA trains as many numbers as LoRA of the same rank.", SUBSPACE_README, "+0",
              f"The same factors: {lora} and {liera} numbers on a kernel 32 x 16 x 3 x 3 at r = 2.",
              HOLDS if lora == liera else FAILS),
        Claim("The counts say how small an adapter is.", "what the column #Param of the tables is read as",
              "r = 8 to 32", f"{100 * min(share):.1f} % of them or more lie on depthwise kernels, "
              f"{at8['loralib_over_kernel']:.1f} times the numbers these have at r = 8.",
              FAILS if at8["loralib_over_kernel"] > 1 else HOLDS),
    ]  # fmt: skip
