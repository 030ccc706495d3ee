"""Draw figures: ``python -m paper_figures all`` or the names of some; files go to a folder."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

FIGURES = {
    "map_error": "how far each map is from the exponential",
    "rank_capacity": "rank of the weight change of LoRA, first-order LieRA and LieRA",
    "cost_growth": "time of a training step against its work, from validation/results/",
    "accuracy_and_size": "accuracy against the size of the update on the real job, from validation/results/",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m paper_figures", description=__doc__)
    parser.add_argument(
        "names", nargs="+", choices=["all", *FIGURES], help="; ".join(f"{n}: {t}" for n, t in FIGURES.items())
    )
    parser.add_argument("--out", type=Path, default=Path("figures-out"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in FIGURES if "all" in options.names else options.names:
        path = options.out / f"{name}.png"
        import_module(f"paper_figures.{name}").draw(path)
        print(path)


if __name__ == "__main__":
    main()
