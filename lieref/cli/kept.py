"""``finetune --original`` of a network of real numbers: samples that say what it is to keep doing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lieref.cli.choosing import AUTO
from lieref.cli.console import say
from lieref.cli.unlabelled import load_others
from lieref.param.starts import KEEPS

if TYPE_CHECKING:
    from lieref.adapter.model import Model


def check_original(base: Path, original: Path | None, method: str, method_options: dict[str, Any]) -> None:
    """Raise `click.UsageError` unless these samples come with the start that reads them, and it with them."""
    keeps = KEEPS in method_options.values()
    if keeps and method == AUTO:
        raise click.UsageError(f"{KEEPS} is a start of lora; name --method lora")
    if keeps and original is None:
        raise click.UsageError(f"{KEEPS} keeps what the network does with samples as it was made for; add --original")
    if original is not None and not keeps:
        raise click.UsageError(
            f"--original is for quantised files, and for --option init_lora_weights={KEEPS}; {base} is none"
        )


def start_from_original(
    model: Model, original: Path, layout: str | None, max_bytes: int | None, preprocess: str | None
) -> None:
    """Start the adapters from what their layers read of these samples, before training."""
    from lieref.model.samples import own_layout

    samples = load_others(original, model, layout, max_bytes, None, preprocess)
    model.start_from_inputs(samples, layout=own_layout(model.input_shape))
    say(f"{KEEPS}: what the network does with {original} is kept; the adapter starts where that matters least")
