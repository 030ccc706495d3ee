"""Cases of losses with their gradients, clipping, and learning rates over a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from lieref._types import Array, FloatArray
from lieref.conformance.data import Draw
from lieref.conformance.families.spec import Spec
from lieref.train.loss_registry import LOSSES
from lieref.train.schedule import SCHEDULES

SHAPE: Final = (5, 4)
LABELS: Final = [2, 0, 3, 3, 1]

FRAMES: Final = (2, 5, 4)
SEQUENCES: Final = [[1, 1, 2], [2, -1, -1]]
"""Two equal labels, which need a blank between them, beside a short target; classes 0 and 3 are left for the blank."""

SETTINGS: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "cross_entropy": (
        {},
        {"label_smoothing": 0.125},
        {"class_weights": [0.5, 2.0, 1.25, 3.0]},
        {"label_smoothing": 0.25, "class_weights": [0.5, 2.0, 1.25, 3.0]},
        {"ignore_index": 3},
        {"class_weights": [0.5, 2.0, 1.25, 3.0], "ignore_index": 0},
    ),
    "binary_cross_entropy": (
        {},
        {"positive_weights": [0.5, 2.0, 1.25, 3.0]},
        {"ignore_index": -1},
        {"class_weights": [1.5, 0.25, 1.0, 2.0], "ignore_index": -1},
    ),
    "ctc": ({"blank": 0}, {"blank": 3}),
}
"""Settings of each loss beside its default ones."""


def _logits(shape: tuple[int, ...]) -> Iterator[tuple[str, FloatArray, tuple[str, ...]]]:
    draw = Draw("loss")
    generic = draw.normal(shape)
    yield "zero", np.zeros(shape), ("IdentityInit",)
    yield "tiny", generic * 2.0**-20, ("ScaleTiny",)
    yield "generic", generic, ()
    # exp overflows in float32 without the shift by the largest logit.
    yield "large", 60.0 * generic, ("WideRange",)


def losses(name: str, dtype: str) -> Iterator[Spec]:
    """Return the cases of one loss, with its settings on the generic data."""
    classifies = LOSSES[name].classifies
    for comment, logits, flags in _logits(FRAMES if name == "ctc" else SHAPE):
        for options in SETTINGS.get(name, ({},)) if comment == "generic" else ({},):
            inputs: dict[str, Array] = {"logits": logits}
            attrs: dict[str, Any] = {"loss": name, **options}
            if classifies:
                attrs["labels"] = LABELS
            elif name == "ctc":
                attrs["labels"] = SEQUENCES
            elif name == "binary_cross_entropy":
                inputs["targets"] = _answers(options.get("ignore_index"))
            else:
                inputs["targets"] = Draw("loss", "targets").normal(SHAPE)
            full_comment = ", ".join([comment, *options])
            yield Spec(f"loss_{name}", "loss", inputs, attrs, dtype, full_comment, flags)
            yield Spec(f"loss_{name}", "loss_vjp", inputs, attrs, dtype, full_comment, flags)


def _answers(ignored: int | None) -> FloatArray:
    """Return 0 and 1 where the targets of numbers are negative or not, and where two of them are ignored that."""
    answers = (Draw("loss", "targets").normal(SHAPE) >= 0).astype(np.float64)
    if ignored is not None:
        answers[[1, 4], [0, 2]] = ignored
    return answers


def clipping(dtype: str) -> Iterator[Spec]:
    """Return gradients below, at and above the norm allowed; an equal norm is allowed."""
    draw = Draw("clip")
    first, second = draw.normal((3, 4)), draw.normal((5,))
    three_four = np.array([3.0, 0.0, 4.0])
    for comment, size, flags in (
        ("below", 2.0**-6, ()),
        ("above", 1.0, ("Clipped",)),
        ("far above", 2.0**40, ("Clipped",)),
    ):
        inputs = {"lora_a": first * size, "lora_b": second * size}
        yield Spec("clip_gradients", "clip_gradients", inputs, {"max_norm": 0.75}, dtype, comment, flags)
    yield Spec("clip_gradients", "clip_gradients", {"grad": three_four}, {"max_norm": 5.0}, dtype, "at the norm")
    zero = {"grad": np.zeros(3)}
    yield Spec("clip_gradients", "clip_gradients", zero, {"max_norm": 1.0}, dtype, "zero", ("IdentityInit",))


def learning_rates(name: str, dtype: str) -> Iterator[Spec]:
    """Return the rates of runs without warm-up, with one, and of one that is nothing else."""
    for steps, warmup in ((7, 0), (9, 3), (4, 4), (1, 0)):
        attrs = {"schedule": name, "total_steps": steps, "warmup_steps": warmup}
        comment = f"{steps} steps, {warmup} of warm-up"
        yield Spec(f"schedule_{name}", "learning_rate", {"rate": np.array(0.1875)}, attrs, dtype, comment)


def core() -> Iterator[Spec]:
    """Return the cases of the core set."""
    for dtype in ("f32", "f64"):
        for name in LOSSES:
            yield from losses(name, dtype)
        yield from clipping(dtype)
        for schedule in SCHEDULES:
            yield from learning_rates(schedule, dtype)


def full() -> Iterator[Spec]:
    """Return no further cases."""
    return iter(())
