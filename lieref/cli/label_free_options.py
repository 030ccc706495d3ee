"""What ``lieref finetune`` is asked for with samples that nobody has labelled, and what does not go together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lieref.train.training_views import TrainingViews


def label_free_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what channels of a quantised file should compute."""
    for option in (
        click.option(
            "--float",
            "float_base",
            type=click.Path(path_type=Path),
            metavar="BASE.onnx",
            help="Of a quantised file: the float network that it was made of, before BatchNormalization was folded. "
            "Its statistics say what channels are brought back to.",
        ),
        click.option(
            "--trained-with",
            metavar="rotate(15),shift(3),flip",
            help="Of a quantised file: how images were augmented while the network was trained, degrees and pixels. It "
            "answers such views best, and the statistics it knows are of them.",
        ),
        click.option(
            "--original",
            type=click.Path(path_type=Path),
            help="Samples as the network was made for, without labels: .npz with x, or a folder of images. Of a "
            "quantised file, without --float: channels are brought back to what they are on these. With --option "
            "init_lora_weights=corda_kpm: what the network does with them is kept.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Asked:
    """Where samples without labels and the statistics to match come from.

    Attributes
    ----------
    train, unlabelled, original, float_base : Path or None
    trained_with : str or None
        How images were augmented when the network was trained.
    """

    train: Path | None
    unlabelled: Path | None
    original: Path | None
    float_base: Path | None
    trained_with: str | None = None

    @property
    def matches(self) -> bool:
        """Whether statistics are matched."""
        return self.original is not None or self.float_base is not None

    @property
    def settled(self) -> bool:
        """Whether channels are brought back to what they were in training, after which own answers add nothing."""
        return self.float_base is not None or (self.original is not None and self.trained_with is not None)

    @property
    def views(self) -> TrainingViews | None:
        """How images were augmented, None where that is not known; raises as `parse_views` does."""
        from lieref.train.training_views import parse_views

        return None if self.trained_with is None else parse_views(self.trained_with)

    @property
    def concerns(self) -> bool:
        """Whether there is anything but labelled samples."""
        return self.matches or self.unlabelled is not None

    def check(self, method: str, codes: bool, refused: dict[str, Any], trains: dict[str, Any]) -> None:
        """Raise `UsageError` where options do not go together.

        Parameters
        ----------
        method : str
        codes : bool
        refused : dict
            Options that need labels, by name: those that were given are refused where there are none.
        trains : dict
            Options of a training: refused where there is none.
        """
        from lieref.adapter.integer.label_free import METHODS

        if self.train is None and self.unlabelled is None:
            raise click.UsageError("Missing option '--train'; or --unlabelled, for samples that nobody has labelled.")
        if self.original is not None and self.float_base is not None:
            raise click.UsageError("--original and --float say the same thing twice; leave out --original")
        if self.trained_with is not None and self.original is None and (self.unlabelled is None or self.train):
            raise click.UsageError(
                "--trained-with is for --original, and for --unlabelled without --train: teachers, which labelled "
                "samples make, answer images as they are"
            )
        _ = self.views  # what it says wrong is said before anything is read
        if not self.concerns:
            return
        if method not in METHODS:
            raise click.UsageError(
                f"--method {method} does not go with --unlabelled, --original and --float; use one of "
                f"{', '.join(METHODS)}"
            )
        if codes and self.matches:
            raise click.UsageError(
                "--codes is one byte for the factor of a scale, and what matches statistics moves biases too; "
                "leave out --codes, or --original and --float"
            )
        given = next((name for name, value in refused.items() if value), None)
        if self.train is None and given is not None:
            raise click.UsageError(f"{given} needs labelled samples; add --train, or leave it out")
        given = next((name for name, value in trains.items() if value), None)
        if self.train is None and self.settled and given is not None:
            raise click.UsageError(
                f"{given} is for training, and without --train nothing is trained: channels are only brought back to "
                "what they were; leave it out"
            )
