"""Checkpoints: everything a run needs to go on after an epoch and reach the same bits as if it had never stopped.

One file, replaced whole after every epoch. It carries the identity of its run, and no other run takes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lieref._atomic import write_file
from lieref._types import Array, Params
from lieref.errors import FormatError, VerificationError
from lieref.train._protocol import Trainable
from lieref.train.epoch import Part
from lieref.train.history import History
from lieref.train.npz import read_npz, write_npz
from lieref.train.recipe import Recipe

FILE_NAME = "checkpoint.npz"
FORMAT = 1

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
    """

    run: dict[str, Any]
    history: History
    learning_rate: float
    params: Params
    best_params: Params
    optimizer: dict[str, Array]


def run_identity(model: Trainable, recipe: Recipe, training: Part, validation: Part | None) -> dict[str, Any]:
    """Return what makes two runs the same run: recipe, base, adapters, their initial values, and the data.

    Returns
    -------
    dict
        Plain JSON values. The number of threads is not among them: it changes no bit.
    """
    return {
        "recipe": recipe.to_dict(),
        "base": model.base_sha256,
        "methods": [
            {"method": entry.method.config(), "target_modules": entry.target_modules and list(entry.target_modules)}
            for entry in model.attached
        ],
        "initial parameters": _digest(model.parameters()),
        "statistics": _digest(model.statistics),
        "training data": _digest_part(training),
        "validation data": None if validation is None else _digest_part(validation),
    }


def write_checkpoint(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of a folder; a reader sees the old one or the new one, also after a power cut."""
    meta = {
        "format": FORMAT,
        "run": checkpoint.run,
        "history": checkpoint.history.to_dict(),
        "learning_rate": checkpoint.learning_rate,
    }
    text = json.dumps(meta, allow_nan=False).encode()
    arrays: dict[str, Array] = {"meta": np.frombuffer(text, dtype=np.uint8)}
    for group in ("params", "best_params", "optimizer"):
        arrays.update({f"{group}/{name}": array for name, array in getattr(checkpoint, group).items()})
    write_file(Path(folder) / FILE_NAME, write_npz(arrays))


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
        If the file is damaged or of another version.
    VerificationError
        If it belongs to another run; the message says in what they differ.
    """
    path = Path(folder) / FILE_NAME
    if not path.exists():
        return None
    arrays = read_npz(path)
    try:
        meta = json.loads(arrays.pop("meta").tobytes())
        version, saved, rate = meta["format"], meta["run"], float(meta["learning_rate"])
        history = History.from_dict(meta["history"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"fit: {path} must be a checkpoint of lieref; {error!r}") from error
    if version != FORMAT:
        raise FormatError(f"fit: {path} must be a checkpoint of format {FORMAT}; got {version}")
    # Through JSON, so that a tuple here equals the list that was read.
    different = _difference(saved, json.loads(json.dumps(run)))
    if different is not None:
        raise VerificationError(f"fit: {path} must belong to this run; another {different}")
    groups: dict[str, dict[str, Array]] = {"params": {}, "best_params": {}, "optimizer": {}}
    for key, array in arrays.items():
        group, _, name = key.partition("/")
        if group not in groups:
            raise FormatError(f"fit: {path} must hold no other arrays; got {key!r}")
        groups[group][name] = array
    for group, wanted in (("params", True), ("best_params", history.best_epoch is not None)):
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
    if isinstance(current, (int, float)):
        return f"{path}: the checkpoint has {saved}, this run {current}"
    return path


def _check_params(path: Path, saved: Params, params: Params) -> None:
    """Raise `FormatError` unless both have the same names, shapes and dtypes."""
    kinds = [{name: (array.shape, array.dtype) for name, array in arrays.items()} for arrays in (saved, params)]
    if kinds[0] != kinds[1]:
        raise FormatError(f"fit: {path} must hold the parameters of the model; got {sorted(saved)}")


def _digest(arrays: Mapping[str, Array]) -> str:
    """Return the SHA-256 of names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        # By rows, so that a large set in another memory order is never copied whole.
        for start in range(0, len(array) if array.ndim else 1, _DIGEST_ROWS):
            digest.update((array[start : start + _DIGEST_ROWS] if array.ndim else array).tobytes())
    return digest.hexdigest()


def _digest_part(part: Part) -> str:
    return _digest({"x": part.x, "y": part.y, "indices": part.indices})
