"""Results as commands record them, with numbers made up by hand, small enough to be checked by eye."""

from __future__ import annotations

import copy
from typing import Any

LONG = "0123456789abcdef" * 4

COUNTS = {"samples": [20, 20, 0], "right": [15, 10, 0], "confusion": [[15, 5, 0], [6, 10, 4], [0, 0, 0]]}
BETTER = {"samples": [40, 40, 0], "right": [36, 19, 0], "confusion": [[36, 4, 0], [15, 19, 6], [0, 0, 0]]}

MOVED = [
    {"tensor": "conv.weight", "numbers": 12, "base_norm": 4.0, "change_norm": 0.5, "nonzero": 10, "signs_kept": 9,
     "zeros": 2, "zeros_after": 1.5},
    {"tensor": "head.weight", "numbers": 6, "base_norm": 0.0, "change_norm": 1.0, "nonzero": 0, "signs_kept": 0,
     "zeros": 6, "zeros_after": 0},
]  # fmt: skip


def compared(difference: float, p: float, against: str) -> dict[str, Any]:
    return {
        "against": against, "seeds": 2, "difference": difference, "low": difference - 0.03, "high": difference + 0.02,
        "p": p, "p_holm": p, "p_mcnemar": p, "p_mcnemar_holm": p, "bootstrap": [0.0, 0.1], "loss": None,
        "basis": "seeds and samples",
    }  # fmt: skip


def row(label: str, mean: float | None, size: int, **more: Any) -> dict[str, Any]:
    own: dict[str, Any] = {
        "label": label, "method": label.split(" ")[0], "rank": None, "options": {}, "trainable": 17, "budget": 40,
        "within_budget": True, "rate_factor": 1.0, "learning_rate": 0.0125, "rates_tried": [], "epochs": 3,
        "mean": mean, "low": None if mean is None else mean - 0.011, "high": None if mean is None else mean + 0.011,
        "merit": mean, "values": [], "for_other_samples": None, "forgotten": None, "update_bytes": size,
        "payload_bytes": size // 2, "bundle_bytes": None, "bundle_missing": "no", "curve": None, "classes": None,
        "moved": None, "seconds": {"processor": 1.25, "wall": 2.5}, "flops": 3_400_000, "memory_bytes": 56_700,
        "warnings": [], "failed": [], "latency_us": {"attached": 91.0, "merged": 78.0}, "against": None,
        "over_base": None,
    }  # fmt: skip
    return {**own, **more}


def comparison(**changes: Any) -> dict[str, Any]:
    """Return a comparison of two methods with a base: "slim" is smaller, "wide" no better beyond chance."""
    rows = [
        row("base", 0.625, 0, budget=None, trainable=0, low=None, high=None, classes=COUNTS, moved=[],
            against=compared(-0.1, 1e-5, "wide r=2"), learning_rate=None, epochs=0),
        row("slim", 0.6875, 1234, curve={"mean": [1.5, 1.25, 1.125], "low": [1.5] * 3, "high": [1.5] * 3},
            classes=BETTER, moved=MOVED, against=compared(-0.01, 0.4, "wide r=2"),
            over_base=compared(0.0625, 1e-4, "base"),
            forgotten={"mean": 0.0215, "low": 0.0105, "high": 0.0325},
            rates_tried=[{"factor": 1.0, "merit": 0.71, "loss": 0.9, "failed": None},
                         {"factor": 3.0, "merit": None, "loss": None, "failed": "it diverged"}]),
        row("wide r=2", 0.6975, 56_789, curve={"mean": [1.75, 1.0, 0.875], "low": [1.0] * 3, "high": [2.0] * 3},
            classes=BETTER, moved=MOVED, over_base=compared(0.0725, 2e-4, "base"), rank=2, options={"r": 2},
            forgotten={"mean": 0.04, "low": 0.02, "high": 0.06}, warnings=["fit: it may take longer"]),
        row("lost", None, 0, update_bytes=None, payload_bytes=None, failed=["seed 0: it diverged"], seconds=None,
            flops=None, memory_bytes=None, latency_us={"attached": None, "merged": None}, learning_rate=None),
    ]  # fmt: skip
    return copy.deepcopy({
        "format": 1, "base": "base.onnx", "problem": LONG, "task": {"name": "classes"}, "metric": "accuracy",
        "less_is_better": False, "samples": {"train": 30, "test": 40, "original": 10}, "seeds": [0, 1],
        "plan": {"method": "base", "options": {}, "epochs": 3, "rate_factor": 1.0, "batch_size": 8, "average": False},
        "tuning": {"tuned": True, "folds": 5, "folds_judged": 5}, "baseline": "wide r=2", "latency_us_base": 77.0,
        "inference_flops": 4321, "rows": rows, "classes": ["cat", "dog", "emu"],
        "ship": {"best": "wide r=2", "near": ["slim"], "smallest": "slim"},
        "conclusions": ["Nothing beats slim."], "machine": {"node": "here", "lieref": "0.1.0"}, "lieref": "0.1.0",
        "base_sha256": LONG[::-1], "parameters": 99, "command": "lieref compare base.onnx --out 'a b'", **changes,
    })  # fmt: skip


def run(**changes: Any) -> dict[str, Any]:
    """Return the report of a run that gains 12 of 40 samples and loses 2."""
    return copy.deepcopy({
        "method": "liera", "rank": 2, "trainable": 58, "base_accuracy": 0.625, "accuracy": 0.875, "train_seconds": 1.5,
        "update_bytes": 2345, "latency_us_base": 41.0, "latency_us_merged": 42.0, "peak_rss_mb": 187.0, "lr": 0.0125,
        "seed": 0, "epochs": 3, "base_loss": 0.9, "loss": 0.5, "head": None, "base_metrics": {"accuracy": 0.625},
        "metrics": {"accuracy": 0.875}, "task": {"name": "classes"}, "train_samples": 30, "test_samples": 40,
        "classes": ["cat", "dog", "emu"], "missing_classes": [], "base": "/models/base.onnx", "base_sha256": LONG,
        "out": "/adapters/out", "lieref": "0.1.0", "numpy": "2.0", "moved": MOVED, "flops": 5_600_000,
        "inference_flops": 4321, "command": "lieref finetune base.onnx",
        "samples_sha256": {"train": {"x": "1", "y": "2"}},
        "test_outcomes": {
            "base": {"classes": COUNTS, "interval": [0.47, 0.76]},
            "adapted": {"classes": {**COUNTS, "right": [19, 16, 0]}, "interval": [0.74, 0.945]},
            "paired": {"only_base": 2, "only_adapted": 12, "p_mcnemar": 0.013, "interval": [0.1, 0.4]},
        },
        **changes,
    })  # fmt: skip


HISTORY: dict[str, Any] = {
    "epochs": [
        {"epoch": n + 1, "loss": 1.5 - 0.25 * n, "metrics": {"accuracy": 0.5 + 0.125 * n}, "validation_loss": 1.75,
         "validation_metrics": {"accuracy": 0.5625}, "learning_rate": 0.0125, "seconds": 0.5}
        for n in range(3)
    ],
    "learning_rate": 0.0125, "recipe": {"epochs": 3, "batch_size": 8}, "best_epoch": 3,
    "trials": [{"learning_rate": 0.0125, "metrics": {"accuracy": 0.6}, "loss": 0.8}], "preparation_seconds": 0.0,
}  # fmt: skip


def fleet(**changes: Any) -> dict[str, Any]:
    """Return the report of a fleet of three devices, of which one failed."""
    devices = [
        {"device": "c", "failed": "its data cannot be read"},
        {"device": "b", "kept": "base", "samples": 30, "judged": 10, "judged_on": "held-out", "base": 0.7,
         "adapted": 0.7, "gain": 0.0, "update_bytes": 0},
        {"device": "a", "kept": "own", "samples": 40, "judged": 10, "judged_on": "test", "base": 0.6,
         "base_interval": [0.3, 0.8], "adapted": 0.8, "adapted_interval": [0.5, 0.95], "gain": 0.2,
         "gain_interval": [0.1, 0.3], "update_bytes": 2222},
    ]  # fmt: skip
    return copy.deepcopy({
        "manifest": "fleet.toml", "base": "base.onnx", "problem": LONG, "rounds": [], "devices": devices,
        "summary": {"devices": 3, "failed": 1, "kept": {"base": 1, "start": 0, "own": 1}, "update_bytes": 2222,
                    "base": 0.65, "adapted": 0.75, "mean_gain": 0.1, "smallest_gain": 0.0, "below_base": 0,
                    "mean_gain_interval": [0.02, 0.18]},
        **changes,
    })  # fmt: skip


def share(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 0.005, "high": mean + 0.015}


def quantised_comparison(**changes: Any) -> dict[str, Any]:
    """Return a comparison of a quantised file and its float twin: "slim" has two forms, "wide" a carried one too."""
    clips = {"above": 0.015, "below": 0.01, "worst": "a/very/long/name/of/a/tensor/conv2d_9/BiasAdd;Relu;quantised",
             "worst_share": 0.0475, "largest_over_range": 1.4}  # fmt: skip
    none = {"weights": 0, "biases": 0, "bytes_that_differ": 0}
    device: dict[str, Any] = {"network": "quantised", "form": "finished", "clipping": clips, "integers": none,
                              "latency_us": {"attached": None, "merged": None}}  # fmt: skip
    real: dict[str, Any] = {"network": "float", "form": "finished", "clipping": None, "integers": None}
    own = {"against": compared(-0.01, 0.4, "wide r=2 float"), "over_base": compared(0.0625, 1e-4, "base")}
    over_twin = compared(0.07, 1e-4, "base float")
    counts = {"weights": 12, "biases": 7, "bytes_that_differ": 1375}
    rows = [
        row("base", 0.625, 0, budget=None, trainable=0, classes=COUNTS, moved=[], learning_rate=None, epochs=0)
        | device,
        row("base float", 0.63, 0, budget=None, trainable=0, moved=[], learning_rate=None, epochs=0) | real,
        row("slim", 0.66, 1850, payload_bytes=1348, classes=BETTER, moved=MOVED, **own) | device,
        row("slim codes=1", 0.69, 843, payload_bytes=341, classes=BETTER, moved=MOVED, **own)
        | {**device, "form": "codes"},
        row("wide carried", 0.6925, 12_311, payload_bytes=1920, classes=BETTER, moved=MOVED, **own)
        | {**device, "form": "carried", "integers": counts},
        row("wide r=2 float", 0.75, 56_789, classes=BETTER, moved=MOVED, over_base=over_twin, bundle_bytes=60_000)
        | real,
    ]  # fmt: skip
    semantics = {
        "first": "tflite-reference", "others": ["xnnpack", "cmsis-nn"],
        "rows": [
            {"label": label,
             "accuracy": {"tflite-reference": share(0.66), "xnnpack": share(0.7), "cmsis-nn": share(0.66)},
             "changed": {"xnnpack": {"count": 1.5, "of": 40, "share": share(0.0375)},
                         "cmsis-nn": {"count": 0, "of": 40, "share": {"mean": 0.0, "low": 0.0, "high": 0.0876}}}}
            for label in ("base", "slim", "slim codes=1", "wide carried")
        ],
    }  # fmt: skip
    found = {
        "base": "net.tflite", "twin": {"base": "base.onnx", "problem": LONG}, "rows": rows, "semantics": semantics,
        "baseline": "wide r=2 float", "file_format": "tflite",
        "ship": {"best": "wide carried", "near": ["slim codes=1"], "smallest": "slim codes=1"}, **changes,
    }  # fmt: skip
    return comparison(**copy.deepcopy(found))


def demo(**changes: Any) -> dict[str, Any]:
    """Return what the demo records, of two methods."""
    shared = {"train_samples": 30, "test_samples": 40, "lieref": "0.1.0", "numpy": "2.0"}
    each = {name: value for name, value in run().items() if name not in shared}
    lora = {**each, "method": "lora", "accuracy": 0.8, "update_bytes": 2300, "warnings": []}
    return copy.deepcopy({
        "shift": "turned", "accuracy_before_shift": 0.98, "kept": "liera", "seconds": 4.5, "out": "/demo",
        "command": "lieref demo", "base_sha256": LONG, "methods": [lora, {**each, "warnings": ["fit: slow"]}], **shared,
        **changes,
    })  # fmt: skip


def carried(**changes: Any) -> dict[str, Any]:
    """Return what carrying an adapter into a quantised file records."""
    layer = {"node": "conv", "lowest": 0.9, "highest": 1.1, "left": 0.0, "bias": True, "moved": 3, "clipped": 1,
             "most": 2}  # fmt: skip
    return copy.deepcopy({
        "method": "scale", "layers": 1, "lowest_factor": 0.9, "highest_factor": 1.1, "left_beside_factors": 0.0,
        "weights_moved": 3, "weights": 72, "weights_clipped": 1, "most_steps": 2, "payload_bytes": 16,
        "update_bytes": 512, "base_sha256": LONG, "result_sha256": LONG[::-1], "format": "tflite", "by_layer": [layer],
        "adapter": "adapted", "net": "net.tflite", "lieref": "0.1.0", **changes,
    })  # fmt: skip


QUANTISED: dict[str, Any] = {
    "warnings": ["fit: it may take longer", "merge: 3 tensors rounded"], "payload_bytes": 28, "file_format": "tflite",
    "semantics": "tflite-reference", "simulated": {"base_accuracy": 0.625, "accuracy": 0.85},
    "changed": {"file_bytes": 2127, "bytes_written": 28, "bytes_that_differ": 19, "weights": 0},
    "clipping": {name: {"above": 0.1, "below": 0.05, "worst": "logits", "worst_share": 0.5, "largest_over_range": 2.0}
                 for name in ("base", "updated")},
    "result_sha256": LONG,
}  # fmt: skip
"""What the report of a quantised file has beside that of `run`."""
