"""One fine-tuning job: what `finetune` and `demo` have in common."""

from __future__ import annotations

import platform
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lieref import __version__
from lieref._types import Array
from lieref.errors import DomainError

if TYPE_CHECKING:
    from pathlib import Path

    from lieref.adapter.model import Model
    from lieref.cli.console import Progress
    from lieref.train.history import History

STATISTICS_FIRST = "norm-stats+"

# Single-sample predictions timed for a latency: enough for a steady median, or what fits into a second.
LATENCY_RUNS, LATENCY_SECONDS = 50, 1.0


@dataclass(frozen=True)
class Samples:
    """Inputs in the model's layout and their labels."""

    x: Array
    y: Array


@dataclass(frozen=True)
class Score:
    """Accuracy from 0 to 1 and mean loss."""

    accuracy: float | None
    loss: float | None


def load_samples(path: Path, model: Model, layout: str | None) -> Samples:
    """Read labelled data and bring it into the layout of the model; raises as `load_data` and `arrange` do."""
    from lieref.train.data import arrange, load_data

    shape = model.input_shape
    channels = 1 if len(shape) == 4 and 1 in (shape[1], shape[3]) else 3
    data = load_data(path, channels=channels)
    return Samples(arrange(data.x, shape, layout or data.layout), data.y)


def attach_method(
    model: Model, method: str, *, rank: int | None, alpha: float | None, targets: tuple[str, ...], seed: int
) -> None:
    """Attach a method by name; ``norm-stats+METHOD`` attaches both, in that order."""
    if method.startswith(STATISTICS_FIRST):
        model.attach("norm-stats", seed=seed)
        method = method.removeprefix(STATISTICS_FIRST)
    options = {name: value for name, value in (("r", rank), ("lora_alpha", alpha)) if value is not None}
    model.attach(method, target_modules=list(targets) or None, seed=seed, **options)


def parse_augment(text: str) -> str | tuple[str, ...]:
    """Return the `augment` of `fit` from the command line's ``auto``, ``none`` or ``flip,shift(2)``."""
    if text == "none":
        return ()
    return text if text == "auto" else tuple(part.strip() for part in text.split(","))


def train(model: Model, samples: Samples, progress: Progress | None = None, **options: Any) -> History:
    """Train the attached method; `options` and what is raised are those of `fit`."""
    from lieref.train.loop import fit

    if progress is not None:
        options["progress"] = lambda state: progress(
            state.step, state.total_steps, f"epoch {state.epoch} of {state.epochs}, loss {state.loss:.3f}"
        )
    history = fit(model, samples.x, samples.y, **options)
    try:
        model.adapted_tensors()
    except DomainError as error:
        raise DomainError(
            f"fit: training must stay finite; it diverged (try a smaller learning rate): {error}"
        ) from error
    return history


def score(model: Model, samples: Samples | None, loss: str = "cross_entropy") -> Score:
    """Return accuracy and mean loss; None where there are no samples, or no classes to be right about."""
    from lieref.train.loss import make_loss

    if samples is None:
        return Score(None, None)
    function = make_loss(loss)
    logits = model.logits(samples.x)
    targets = function.check_targets("score", samples.y, logits.shape[-1])
    value, _ = function.value_and_grad(logits, targets)
    return Score(float(np.mean(logits.argmax(axis=1) == targets)) if function.classifies else None, value)


def adapter_files(model: Model) -> dict[str, bytes]:
    """Return the files of the attached adapter by name."""
    from lieref.adapter.folder import encode_adapter

    return encode_adapter(*model.adapter_state())


def describe_training(model: Model, history: History) -> dict[str, Any]:
    """Return what a report says about method and training."""
    return {
        "method": model.method_name,
        "rank": model.attached[-1].method.rank,
        "trainable": model.num_trainable(),
        "lr": history.learning_rate,
        "train_seconds": history.seconds,
        "best_epoch": history.best_epoch,
    }


def latency_us(model: Model, x: Array) -> float:
    """Return the median time in microseconds of a prediction for one sample."""
    one = x[:1]
    model.predict(one)
    times: list[float] = []
    while len(times) < LATENCY_RUNS and sum(times) < LATENCY_SECONDS:
        begin = time.perf_counter()
        model.predict(one)
        times.append(time.perf_counter() - begin)
    return float(np.median(times)) * 1e6


def peak_rss_mb() -> float | None:
    """Return the largest memory this process has held, in 10**6 bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def versions() -> dict[str, str]:
    """Return the versions a report should name."""
    import numba
    import scipy

    return {
        "lieref": __version__,
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "numba": numba.__version__,
        "python": platform.python_version(),
    }
