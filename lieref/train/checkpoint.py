"""Checkpoints: everything a run needs to go on after an epoch and reach the same bits as if it had never stopped.

One file, replaced whole after every epoch. It carries the identity of its run, and no other run takes it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lieref._atomic import write_file
from lieref._lock import exclusive
from lieref._types import Array, Params
from lieref.errors import DomainError, FormatError, VerificationError
from lieref.model.lazy_samples import lazy
from lieref.train._protocol import Trainable
from lieref.train.epoch import Part
from lieref.train.history import History
from lieref.train.npz import read_npz, write_npz
from lieref.train.recipe import Recipe

FILE_NAME = "checkpoint.npz"
FORMAT = 6
LOCK_NAME = "checkpoint.lock"

_GROUPS = ("params", "best_params", "optimizer", "average")
_DIGEST_ROWS = 1024


@dataclass(frozen=True)
class Checkpoint:
    """State after an epoch.

    Attributes
    ----------
    run : dict
        What `run_identity` returned.
    history : History
        Of the epochs done; its best epoch is the best so far.
    learning_rate : float
        The largest of the schedule, searched or given.
    params : dict of str to array
    best_params : dict of str to array
        Of the best epoch; empty without a validation set.
    optimizer : dict of str to array
        What `Optimizer.state` returned.
    average : dict of str to array
        The moving average of the parameters; empty where there is none.
    """

    run: dict[str, Any]
    history: History
    learning_rate: float
    params: Params
    best_params: Params
    optimizer: dict[str, Array]
    average: Params = field(default_factory=dict)


def run_identity(model: Trainable, recipe: Recipe, training: Part, validation: Part | None) -> dict[str, Any]:
    """Return what makes two runs the same run: all that the bits of the adapter that is written depend on.

    That is the recipe, the engine and its instruction set, the base and how it was loaded, the methods of all tensors
    with their initial and frozen numbers, and the data, as ids where they were texts.

    Returns
    -------
    dict
        Plain JSON values. The number of threads is not among them: it changes no bit.
    """
    return {
        "recipe": recipe.to_dict(),
        "arithmetic": dict(model.arithmetic),
        "base": model.base_sha256,
        "methods": [
            {"method": entry.method.config(), "target_modules": entry.target_modules and list(entry.target_modules)}
            for entry in model.attached
        ],
        "configuration": dict(model.configuration),
        "head": None if model.new_head is None else dict(model.new_head),
        "initial parameters": _digest(model.parameters()),
        "frozen parameters": _digest(model.frozen_parameters()),
        "statistics": _digest(model.statistics),
        "training data": _digest_part(training),
        "validation data": None if validation is None else _digest_part(validation),
    }


@contextmanager
def checkpoint_folder(folder: str | Path | None, *, resume: bool) -> Iterator[None]:
    """Hold the folder of a run's checkpoints; it is made where it is missing, and removed where it stays empty.

    Parameters
    ----------
    folder : str or Path or None
        None for a run without checkpoints.
    resume : bool
        Whether the run goes on from a checkpoint that may be there.

    Raises
    ------
    DomainError
        If there is nothing to resume from, something that would be overwritten, another run at work, or a folder that
        cannot be written.
    """
    if folder is None:
        if resume:
            raise DomainError("fit: `checkpoint` must name a folder to resume from; got None")
        yield
        return
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise DomainError(f"fit: `checkpoint` must be a folder; got the file {folder}")
    with exclusive(path, "fit", "checkpoint", lock=path / LOCK_NAME):
        if (path / FILE_NAME).exists() and not resume:
            raise DomainError(
                f"fit: `checkpoint` must be a folder without one, or resume=True; {folder} holds a checkpoint"
            )
        yield


def write_checkpoint(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of a folder; a reader sees the old one or the new one, also after a power cut."""
    groups: dict[str, dict[str, Array]] = {group: getattr(checkpoint, group) for group in _GROUPS}
    meta = {
        "format": FORMAT,
        "run": checkpoint.run,
        "history": checkpoint.history.to_dict(),
        "learning_rate": checkpoint.learning_rate,
        # Arrays are numbered: the tensors of a network may have names that an archive cannot hold.
        "names": {group: list(arrays) for group, arrays in groups.items()},
    }
    text = json.dumps(meta, allow_nan=False).encode()
    members: dict[str, Array] = {"meta": np.frombuffer(text, dtype=np.uint8)}
    for group, arrays in groups.items():
        members.update({f"{group}/{number}": array for number, array in enumerate(arrays.values())})
    write_file(Path(folder) / FILE_NAME, write_npz(members))


def read_checkpoint(folder: str | Path, run: Mapping[str, Any], params: Params) -> Checkpoint | None:
    """Return the checkpoint of a folder, None if there is none.

    Parameters
    ----------
    folder : str or Path
    run : dict
        Identity of the run that wants to go on.
    params : dict of str to array
        Its parameters, for names, shapes and dtypes.

    Raises
    ------
    FormatError
        If the file is damaged or of another version, or its run computes by other programs.
    VerificationError
        If it belongs to another run; the message says in what they differ.
    """
    path = Path(folder) / FILE_NAME
    if not path.exists():
        return None
    arrays = read_npz(path)
    try:
        meta = json.loads(arrays.pop("meta").tobytes())
        if meta["format"] != FORMAT:
            raise FormatError(
                f"fit: {path} must be a checkpoint of format {FORMAT}; got {meta['format']}: finish that run with the "
                "lieref that began it, or remove the file"
            )
        saved, rate, names = meta["run"], float(meta["learning_rate"]), meta["names"]
        history = History.from_dict(meta["history"])
        if not 0 < rate < math.inf:
            raise ValueError(f"a learning rate of {rate}")
        if not all(isinstance(name, str) for group in _GROUPS for name in names[group]):
            raise TypeError("names that are no text")
        groups = {
            group: {name: arrays.pop(f"{group}/{number}") for number, name in enumerate(names[group])}
            for group in _GROUPS
        }
    except FormatError:
        raise
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise FormatError(f"fit: {path} must be a checkpoint of lieref; {error!r}") from error
    if arrays:
        raise FormatError(f"fit: {path} must hold no other arrays; got {next(iter(arrays))!r}")
    _check_program(path, saved, run)
    # Through JSON, so that a tuple here equals the list that was read.
    different = _difference(saved, json.loads(json.dumps(run)))
    if different is not None:
        raise VerificationError(f"fit: {path} must belong to this run; another {different}")
    averaged = bool(saved["recipe"]["average"])
    for group, wanted in (("params", True), ("best_params", history.best_epoch is not None), ("average", averaged)):
        _check_params(path, groups[group], params if wanted else {})
    return Checkpoint(saved, history, rate, **groups)


def _difference(saved: Any, current: Any, path: str = "") -> str | None:
    """Return the first place where two identities differ, with both values where they are short."""
    if isinstance(saved, dict) and isinstance(current, dict):
        for key in (*current, *(key for key in saved if key not in current)):
            found = _difference(saved.get(key), current.get(key), f"{path} {key}".strip())
            if found is not None:
                return found
        return None
    if saved == current:
        return None
    if isinstance(current, (int, float)) or path.startswith("arithmetic "):
        return f"{path}: the checkpoint has {saved}, this run {current}"
    return path


def _check_program(path: Path, saved: Any, run: Mapping[str, Any]) -> None:
    """Raise `FormatError` if the engine of a run sums in another order than that of its checkpoint did."""
    try:
        before, now = saved["arithmetic"].get("program"), run["arithmetic"].get("program")
    except (AttributeError, KeyError, TypeError) as error:
        raise FormatError(f"fit: {path} must be a checkpoint of lieref; {error!r}") from error
    if None not in (before, now) and before != now:
        raise FormatError(
            f"fit: {path} must be of engine program {now}, whose order of sums gives this run its bits; got program "
            f"{before}: finish that run with the lieref that began it, or remove the file"
        )


def _check_params(path: Path, saved: Params, params: Params) -> None:
    """Raise `FormatError` unless both have the same names, shapes and dtypes."""
    kinds = [{name: (array.shape, array.dtype) for name, array in arrays.items()} for arrays in (saved, params)]
    if kinds[0] != kinds[1]:
        raise FormatError(f"fit: {path} must hold the parameters of the model; got {sorted(saved)}")


def _digest(arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 of names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        unread = lazy(array)
        if unread is not None:
            digest.update(unread.digest.encode())
            continue
        # By rows, so that a large set in another memory order is never copied whole.
        for start in range(0, len(array) if array.ndim else 1, _DIGEST_ROWS):
            digest.update((array[start : start + _DIGEST_ROWS] if array.ndim else array).tobytes())
    return digest.hexdigest()


def _digest_part(part: Part) -> str:
    return _digest({"x": part.x, "y": part.y, "indices": part.indices})
