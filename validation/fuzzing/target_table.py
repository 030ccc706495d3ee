"""Every target of the coverage-guided fuzzer, and its share of the time."""

from __future__ import annotations

from validation.fuzzing.exchange_targets import LycorisFiles, PeftAdapters, StoreStates
from validation.fuzzing.signed_targets import Bundles, Envelopes, Roots, Statements, Weights
from validation.fuzzing.target import Target
from validation.fuzzing.targets import AdapterFolder, Archives, Checkpoints, Config, Images, Networks, TensorFile

_ALL: tuple[type[Target], ...] = (
    TensorFile, Config, AdapterFolder, Archives, Checkpoints, Images, Networks, Envelopes, Statements, Roots, Bundles,
    Weights, StoreStates, PeftAdapters, LycorisFiles,
)  # fmt: skip
TARGETS = {target.name: target for target in _ALL}

SHARES = {
    "safetensors": 0.06, "adapter-config": 0.05, "adapter": 0.08, "npz": 0.08, "checkpoint": 0.08, "image": 0.1,
    "onnx": 0.08, "envelope": 0.04, "statement": 0.04, "root": 0.05, "bundle": 0.1, "weights": 0.06,
    "store-state": 0.06, "peft": 0.07, "lycoris": 0.05,
}  # fmt: skip
"""Share of each target in the time of a run."""
