"""Every published number that a figure shows, once, with where it stands.

The body of the LieRA paper was not at hand: its numbers come from public notes about it and from its authors' own
README, and the paper's own numbers of tables and pages are not known. What could not be recovered is None.
"""

from __future__ import annotations

from dataclasses import dataclass

LIERA_NOTES = "LieRA [Si25], tables as transcribed by papernotes.org (docs/ICCV2025/model_compression); secondary"
SUBSPACE_README = "Chongjie-Si/Subspace-Tuning @2c63d06, Fair_Comparison/README.md, commonsense table"
FLORA_TABLE = "FLoRA [Si25F], ICLR 2025 poster, Table 1 (ConvNeXt-V2-L)"
HIRA_PAPER = "HiRA [Huang25], Table 7 and README (learning rates), Theorem 1 (bound)"
PEFT_BENCHMARK = "huggingface/peft @5d602fd, method_comparison/MetaMathQA/results (Llama-3.2-3B, r = 32)"


@dataclass(frozen=True)
class Count:
    """Trainables that a table prints, in millions, and whether a formula for them is known."""

    backbone: str
    r: int
    millions: float
    source: str
    explained: bool = True


COUNTS = (
    Count("ConvNeXt-V2-L", 8, 12.94, FLORA_TABLE),
    Count("ConvNeXt-V2-L", 16, 25.89, FLORA_TABLE),
    Count("ConvNeXt-V2-L", 32, 51.78, FLORA_TABLE),
    Count("ConvNeXt-V2-B", 32, 34.54, LIERA_NOTES),
    Count("ConvNeXt-V2-B", 8, 7.30, LIERA_NOTES, explained=False),
    Count("ConvNeXt-V2-B", 16, 14.48, LIERA_NOTES, explained=False),
)
"""Those of LoRA; LieRA's are printed as the same. No formula gives the last two: see `trainable_counts`."""


@dataclass(frozen=True)
class Vision:
    """A row of the comparison on ConvNeXt-V2-B: accuracy in percent, mean average precision in percent."""

    method: str
    r: int | None
    vtab: float | None
    coco_detection: float | None
    coco_segmentation: float | None


VISION = (
    Vision("full", None, 78.2, 49.0, 43.4),
    Vision("lora", 8, 74.2, None, None),
    Vision("liera", 8, 75.5, None, None),
    Vision("lora", 16, 74.1, 35.5, 33.6),
    Vision("liera", 16, 75.5, 39.1, 37.0),
    Vision("lora", 32, None, 35.9, 34.4),
    Vision("liera", 32, None, 40.5, 38.2),
)

TASKS = ("BoolQ", "PIQA", "SIQA", "HellaSwag", "WinoGrande", "ARC-e", "ARC-c", "OBQA")


@dataclass(frozen=True)
class Commonsense:
    """A row of the commonsense table: accuracies in percent in the order of `TASKS`, and the average as printed."""

    model: str
    method: str
    r: int
    accuracies: tuple[float | None, ...]
    average: float
    source: str = SUBSPACE_README

    @property
    def recomputed(self) -> float | None:
        """The mean of the eight accuracies, None where one is not known."""
        known = [value for value in self.accuracies if value is not None]
        return sum(known) / len(known) if len(known) == len(TASKS) else None

    @property
    def adds_up(self) -> bool:
        """Whether the printed average is that mean to the digit printed, or the mean is not known."""
        return self.recomputed is None or abs(self.recomputed - self.average) <= 0.05 + 1e-9


COMMONSENSE = (
    Commonsense("LLaMA3-8B", "LoRA", 16, (72.3, 86.7, 79.3, 93.5, 84.8, 87.7, 75.7, 82.8), 82.8),
    Commonsense("LLaMA3-8B", "LieRA", 16, (74.7, 87.9, None, 95.6, None, None, 79.9, None), 85.1, LIERA_NOTES),
    Commonsense("LLaMA3-8B", "LoRA", 32, (70.8, 85.2, 79.9, 91.7, 84.3, 84.2, 71.2, 79.0), 80.8),
    Commonsense("LLaMA3-8B", "LieRA", 32, (74.3, 88.7, 71.3, 95.4, 85.5, 80.5, 80.3, 86.2), 85.3),
    Commonsense("LLaMA3-8B", "PiSSA", 32, (67.1, 81.1, 77.2, 83.6, 78.9, 77.7, 63.2, 74.6), 75.4),
    Commonsense("LLaMA3-8B", "MiLoRA", 32, (68.8, 86.7, 77.2, 92.9, 85.6, 86.8, 75.5, 81.8), 81.9),
    Commonsense("LLaMA3-8B", "DoRA", 32, (74.6, 89.3, 79.9, 95.5, 85.6, 90.5, 80.4, 85.8), 85.2),
    Commonsense("LLaMA3-8B", "LoRA-Dash", 32, (75.3, 88.5, 80.2, 95.7, 86.8, 90.7, 80.2, 85.6), 85.4),
    Commonsense("LLaMA-7B", "LoRA", 32, (68.9, 80.7, 77.4, 78.1, 78.8, 77.8, 61.3, 74.8), 74.7),
    Commonsense("LLaMA-7B", "LieRA", 32, (68.2, 80.3, 76.8, 79.0, 81.5, 81.4, 64.1, 78.4), 76.2),
    Commonsense("LLaMA-7B", "FLoRA", 32, (66.4, 81.3, 77.1, 75.6, 77.1, 77.2, 62.4, 77.6), 74.3),
    Commonsense("LLaMA-7B", "DoRA", 32, (69.7, 83.4, 78.6, 87.2, 81.0, 81.9, 66.2, 79.2), 78.4),
    Commonsense("LLaMA-7B", "LoRA-Dash", 32, (69.9, 82.8, 78.6, 84.9, 81.6, 82.3, 66.5, 80.8), 78.4),
)


@dataclass(frozen=True)
class Cost:
    """A row of the ablation of the first order (ConvNeXt-V2-B, r = 16): percent, minutes, gigabytes."""

    method: str
    vtab: float
    coco: float
    minutes: float
    gigabytes: float


COST_FIRST_ORDER = Cost("liera-taylor1", 75.5, 42.3, 50.17, 9.97)
COST_EXACT = Cost("liera", 75.7, 42.7, 76.28, 14.74)


@dataclass(frozen=True)
class Coupling:
    """A matrix method alone and with LieRA around it (r = 16), percent: VTAB and COCO averages."""

    method: str
    vtab: float
    coco: float
    vtab_with_liera: float
    coco_with_liera: float


COUPLINGS = (Coupling("PiSSA", 74.7, 38.2, 75.7, 42.4), Coupling("DoRA", 74.7, 38.4, 75.5, 42.5))

FLORA_COLUMNS = (
    "COCO mAP", "COCO AP50", "COCO AP75", "COCO APS", "COCO APM", "COCO APL",
    "ADE mAcc", "ADE mIoU", "DOTA mAP", "DOTA AP50", "DOTA AP75",
)  # fmt: skip


@dataclass(frozen=True)
class FloraRow:
    """A row of FLoRA's Table 1: millions of trainables, percent in the order of `FLORA_COLUMNS`, printed average."""

    method: str
    millions: float | None
    values: tuple[float, ...]
    average: float

    @property
    def recomputed(self) -> float:
        """The mean of the eleven columns."""
        return sum(self.values) / len(self.values)

    @property
    def adds_up(self) -> bool:
        """Whether the printed average is that mean, to the digit printed."""
        return abs(self.recomputed - self.average) <= 0.05 + 1e-9


FLORA = (
    FloraRow("base", None, (37.3, 63.3, 39.7, 27.8, 41.0, 46.2, 59.6, 48.5, 31.4, 61.8, 27.3), 44.0),
    FloraRow("full", 196.0, (52.7, 74.3, 58.7, 38.3, 56.9, 67.3, 64.7, 53.1, 33.9, 59.9, 34.0), 54.0),
    FloraRow("BitFit", 0.2, (43.1, 67.6, 47.4, 29.5, 46.7, 55.3, 61.2, 49.1, 34.6, 64.2, 32.9), 48.3),
    FloraRow("lora", 12.94, (47.4, 70.3, 53.0, 32.4, 51.8, 61.2, 63.6, 51.4, 18.3, 36.2, 16.3), 45.6),
    FloraRow("dora", 13.07, (47.2, 69.8, 52.7, 32.1, 51.5, 61.4, 63.0, 50.9, 19.6, 37.9, 17.2), 45.8),
    FloraRow("flora", 12.77, (48.1, 71.1, 53.6, 33.1, 52.3, 62.3, 64.1, 51.9, 37.3, 65.6, 37.7), 52.5),
    FloraRow("lora", 25.89, (48.0, 70.4, 53.6, 33.0, 52.3, 62.8, 63.9, 51.4, 20.0, 38.3, 18.3), 46.5),
    FloraRow("dora", 26.16, (48.1, 70.7, 53.6, 33.1, 52.1, 62.6, 64.0, 51.9, 21.1, 39.7, 19.1), 46.9),
    FloraRow("flora", 25.65, (49.2, 71.7, 54.7, 34.3, 53.3, 63.5, 65.0, 52.6, 38.8, 68.4, 39.5), 53.7),
    FloraRow("lora", 51.78, (48.2, 70.7, 53.7, 33.4, 52.5, 62.7, 63.9, 51.6, 20.4, 39.4, 19.1), 46.9),
    FloraRow("dora", 51.95, (44.0, 68.2, 48.9, 29.1, 48.2, 57.5, 64.1, 51.9, 21.7, 40.9, 20.3), 45.0),
    FloraRow("flora", 40.49, (50.4, 72.6, 56.2, 35.4, 54.6, 64.8, 65.1, 52.8, 39.7, 69.0, 40.9), 54.7),
)


@dataclass(frozen=True)
class RatePair:
    """Learning rates that a source gives the multiplicative method and LoRA on one job."""

    multiplicative: float
    lora: float
    source: str

    @property
    def ratio(self) -> float:
        """How many times LoRA's rate."""
        return self.multiplicative / self.lora


HIRA_RATES = (RatePair(1e-3, 1e-4, HIRA_PAPER), RatePair(4.5e-3, 1e-4, PEFT_BENCHMARK))
"""The least and the largest ratio: a multiplicative adapter is said to want 10 to 45 times LoRA's rate."""
