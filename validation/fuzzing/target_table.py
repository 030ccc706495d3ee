"""Every target of the coverage-guided fuzzer, and its share of the time."""

from __future__ import annotations

from validation.fuzzing.signed_targets import Bundles, Envelopes, Roots, Statements, Weights
from validation.fuzzing.target import Target
from validation.fuzzing.targets import AdapterFolder, Archives, Checkpoints, Config, Images, Networks, TensorFile

_ALL: tuple[type[Target], ...] = (
    TensorFile, Config, AdapterFolder, Archives, Checkpoints, Images, Networks, Envelopes, Statements, Roots, Bundles,
    Weights,
)  # fmt: skip
TARGETS = {target.name: target for target in _ALL}

SHARES = {
    "safetensors": 0.08, "adapter-config": 0.06, "adapter": 0.1, "npz": 0.1, "checkpoint": 0.1, "image": 0.12,
    "onnx": 0.1, "envelope": 0.05, "statement": 0.05, "root": 0.06, "bundle": 0.12, "weights": 0.06,
}  # fmt: skip
"""Share of each target in the time of a run."""
