"""A signed bundle of about 30 kB as it comes from the commands: the demo's network with a LoRA adapter."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import lieref
from lieref import rng
from lieref.adapter.bundle.create import create_bundle
from lieref.adapter.bundle.signing import make_key, read_signer
from lieref.cli.demo_data import BASE_MODEL

RANK = 10


@dataclass(frozen=True)
class Reference:
    """Where the parts are."""

    bundle: Path
    base: Path
    key: Path
    bytes: int


def train_adapter(base: Path, folder: Path, seed: int) -> None:
    """Write an adapter whose numbers are random."""
    model = lieref.load(base)
    with warnings.catch_warnings():  # of more numbers than the first layer has
        warnings.simplefilter("ignore")
        model.attach("lora", r=RANK)
    for name, site in model.sites.items():
        for factor, value in site.params.items():
            value[...] = rng.stream(seed, "bundle", name, factor).normal(0, 0.01, value.shape)
    model.save_adapter(folder)


def make(folder: Path) -> Reference:
    """Write base, key, adapter and bundle into a folder."""
    base, key = folder / "base.onnx", folder / "key"
    base.write_bytes(Path(BASE_MODEL).read_bytes())
    train_adapter(base, folder / "adapter", seed=0)
    make_key(key)
    made = create_bundle(
        folder / "bundle",
        folder / "adapter",
        base=base,
        signers=[read_signer(key)],
        version="reference",
        counter=1,
        expires=datetime(2099, 1, 1, tzinfo=UTC),
    )
    return Reference(folder / "bundle", base, key, sum(made.sizes.values()))
