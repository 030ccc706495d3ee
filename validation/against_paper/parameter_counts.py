"""Trainable counts of LoRA on ConvNeXt-V2, from the architecture alone, beside the published ones.

    python -m validation.against_paper.parameter_counts

The published counts are those of loralib's ConvLoRA on every convolution and linear layer of the backbone. Its factors
are A (r k, in k) and B (out/groups k, r k), so a depthwise kernel of k k C numbers gets about r k k C of them: eight
times the kernel at r = 8. The factors of lieref are per conv group.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from lieref.param.low_rank import LowRank
from paper_figures.published import COUNTS
from validation.record import environment, write_result

DEPTHS = (3, 3, 27, 3)
WIDTHS = {"ConvNeXt-V2-B": (128, 256, 512, 1024), "ConvNeXt-V2-L": (192, 384, 768, 1536)}

EXPECTED = {
    ("ConvNeXt-V2-L", 8): 12_946_080,
    ("ConvNeXt-V2-L", 16): 25_892_160,
    ("ConvNeXt-V2-L", 32): 51_784_320,
    ("ConvNeXt-V2-B", 32): 34_542_208,
}
# (backbone, rank): millions as printed, cut to two decimals [Si25F] [Si25], and our own count of the same.
PUBLISHED = {at: (one.millions, EXPECTED[at]) for one in COUNTS if (at := (one.backbone, one.r)) in EXPECTED}


@dataclass(frozen=True)
class Layer:
    """Layer with a weight (out, in/groups, k, k), or a linear one (out, in) where k is 0."""

    name: str
    c_out: int
    c_in: int
    k: int = 0
    groups: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return (self.c_out, self.c_in // self.groups, *(self.k, self.k)[: 2 * (self.k > 0)])


def backbone(widths: tuple[int, ...]) -> list[Layer]:
    """Return the layers with a weight matrix: stem, downsampling, and three in each block."""
    layers = [Layer("stem", widths[0], 3, 4)]
    for stage, (depth, c) in enumerate(zip(DEPTHS, widths, strict=True)):
        if stage:
            layers.append(Layer(f"downsample {stage}", c, widths[stage - 1], 2))
        for _ in range(depth):
            layers += [Layer("depthwise", c, c, 7, c), Layer("expand", 4 * c, c), Layer("project", c, 4 * c)]
    return layers


def loralib_count(layer: Layer, r: int) -> int:
    """Return the trainables of loralib's LoRA layer: r k k (in + out/groups), or r (in + out)."""
    k = max(layer.k, 1)
    return r * k * k * (layer.c_in + layer.c_out // layer.groups)


def per_group_count(layer: Layer, r: int, matricisation: str) -> int:
    """Return the trainables of lieref's factors, at the largest rank up to r that one conv group allows."""
    return LowRank(r=r, matricisation=matricisation, share_groups=False).num_params(layer.shape, layer.groups)


def depthwise_trap(c: int = 128, k: int = 7, r: int = 8) -> dict[str, Any]:
    """Return the trainables of one depthwise kernel in loralib's shape and in lieref's."""
    layer = Layer("depthwise", c, c, k, c)
    numbers = c * k * k
    counts = {
        f"loralib, r = {r}": loralib_count(layer, r),
        "lieref view per group, r = 1": per_group_count(layer, 1, "view"),
        "lieref unfold per group, r = 1": per_group_count(layer, 1, "unfold"),
        f"lieref unfold, groups share factors, r = {r}": LowRank(r=r).num_params(layer.shape, c),
    }
    return {
        "kernel": numbers,
        "trainables": counts,
        "times the kernel": {name: round(count / numbers, 3) for name, count in counts.items()},
    }


def main() -> None:
    """Print the counts and write them to validation/results."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    rows = []
    for (name, r), (millions, expected) in PUBLISHED.items():
        layers = backbone(WIDTHS[name])
        count = sum(loralib_count(layer, r) for layer in layers)
        rows.append({
            "backbone": name, "r": r, "published_millions": millions, "expected": expected, "loralib": count,
            "of it on depthwise kernels": sum(loralib_count(x, r) for x in layers if x.name == "depthwise"),
            "lieref view per group": sum(per_group_count(x, r, "view") for x in layers),
            "lieref unfold per group": sum(per_group_count(x, r, "unfold") for x in layers),
            "agrees": count == expected and int(count / 1e4) == round(millions * 100),
        })  # fmt: skip
    trap = depthwise_trap()
    print(f"{'backbone':14} {'r':>3} {'published':>10} {'loralib':>12} {'depthwise':>12} {'per group':>12}  agrees")
    for row in rows:
        print(
            f"{row['backbone']:14} {row['r']:3} {row['published_millions']:8.2f} M {row['loralib']:12,} "
            f"{row['of it on depthwise kernels']:12,} {row['lieref unfold per group']:12,}  {row['agrees']}"
        )
    print(f"\nOne depthwise kernel, C = 128, k = 7: {trap['kernel']:,} numbers")
    for name, count in trap["trainables"].items():
        print(f"  {name:48} {count:7,}  {trap['times the kernel'][name]:6.3f} times the kernel")
    write_result("parameter_counts", {"counts": rows, "depthwise": trap, **environment()})
    if not all(row["agrees"] for row in rows):
        raise SystemExit("a count differs from the published one")


if __name__ == "__main__":
    main()
