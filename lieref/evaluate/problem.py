"""A job to adapt a network to, as a worker needs it: the base, the samples, the task."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lieref._types import Array
from lieref.errors import DomainError, UnsupportedError
from lieref.model.head import NewHead
from lieref.model.lazy_samples import lazy
from lieref.train.sample_tasks import Classes
from lieref.train.task import Task

if TYPE_CHECKING:
    from lieref.adapter.model import Model

_MODELS_KEPT = 2
"""Networks that a process keeps between trials; with each its compiled code and its packed weights."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A base, the samples of one job, and the task; it can be pickled.

    Attributes
    ----------
    base : bytes
        The file of the network, whole.
    x : (N, ...) array
        Samples to learn from, in the model's layout.
    y : array, list, mapping of str to array, or None
        Targets, as `fit` takes them.
    task : Task
    x_test, y_test
        Read by trials of the part "test" only; None where there are none.
    x_other, y_other
        Samples of the original job, which tell what is forgotten.
    x_unlabelled : array or None
    load : mapping
        Keywords of `lieref.load`: output, padding_id, input_shapes, derive.
    head : NewHead or None
        What every method is attached with.
    classes : tuple of str or None
        Names of the outputs.
    start : mapping of str to bytes, or None
        Files of an adapter by name, which the method "start" goes on training.
    semantics : tuple of str
        Of quantised files: whose integers they are judged by, keys of `lieref.op.integer.semantics.SEMANTICS`; what is
        right is decided by the first.
    into : bytes or None
        A quantised file of the same network, whole, which adapters are carried into.
    name : str
        Of the base, for messages and adapters.
    preprocessing : mapping or None
        How images became the samples, which adapters carry.

    Raises
    ------
    DomainError
        If test or original samples come without each other's half, or lengths differ.
    """

    base: bytes = field(repr=False)
    x: Array = field(repr=False)
    y: Any = field(default=None, repr=False)
    task: Task = field(default_factory=Classes)
    x_test: Array | None = field(default=None, repr=False)
    y_test: Any = field(default=None, repr=False)
    x_other: Array | None = field(default=None, repr=False)
    y_other: Any = field(default=None, repr=False)
    x_unlabelled: Array | None = field(default=None, repr=False)
    load: Mapping[str, Any] = field(default_factory=dict)
    head: NewHead | None = None
    classes: tuple[str, ...] | None = None
    start: Mapping[str, bytes] | None = field(default=None, repr=False)
    semantics: tuple[str, ...] = ()
    into: bytes | None = field(default=None, repr=False)
    name: str = "base.onnx"
    preprocessing: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for part, x, y in (("x", self.x, self.y), ("x_test", self.x_test, self.y_test),
                           ("x_other", self.x_other, self.y_other)):  # fmt: skip
            if x is None and y is not None:
                raise DomainError(f"Problem: `{part}` must be given where its targets are")
            if x is not None and y is not None and not isinstance(y, Mapping) and len(x) != len(y):
                raise DomainError(f"Problem: `{part}` must have as many samples as targets; got {len(x)} and {len(y)}")

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all of it, in hexadecimal."""
        found = hashlib.sha256(self.network.encode())
        head = None if self.head is None else [self.head.names or self.head.count, self.head.features, self.head.pool]
        plain = [self.task.to_dict(), head, self.classes]
        found.update(json.dumps(plain, sort_keys=True).encode())
        for part in (self.x, self.y, self.x_test, self.y_test, self.x_other, self.y_other, self.x_unlabelled):
            found.update(samples_digest(part).encode())
        for name, data in sorted((self.start or {}).items()):
            found.update(f"{name} {hashlib.sha256(data).hexdigest()}".encode())
        if self.semantics:
            into = "none" if self.into is None else hashlib.sha256(self.into).hexdigest()
            found.update(f"{','.join(self.semantics)} {into}".encode())
        return found.hexdigest()

    @cached_property
    def network(self) -> str:
        """SHA-256 of the base and of how it is read: problems of one network share what is compiled for it."""
        given = json.dumps(dict(self.load), sort_keys=True, default=list)
        return hashlib.sha256(f"{hashlib.sha256(self.base).hexdigest()} {given}".encode()).hexdigest()

    def model(self) -> Model:
        """Return the base with nothing attached, one thread; the process keeps it, so nobody else may hold it."""
        model, classes = _kept.pop(self.network, None) or self._read()
        _kept[self.network] = model, classes
        while len(_kept) > _MODELS_KEPT:
            del _kept[next(iter(_kept))]
        model.unload()
        model.task = None
        model.preprocessing = None if self.preprocessing is None else dict(self.preprocessing)
        model.classes = classes if self.classes is None or self.head is not None else self.classes
        model.threads = 1
        model.recomputation = 0
        return model

    def _read(self) -> tuple[Model, tuple[str, ...] | None]:
        """Return the model, and the classes that the file names."""
        from lieref.adapter.model import load

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / (Path(self.name).name or "base.onnx")
            path.write_bytes(self.base)
            model = load(path, **self.load)
        model.source = self.name
        return model, model.classes


_kept: dict[str, Any] = {}


def make_problem(path: str | Path, model: Model, x: Array, y: Any, **fields: Any) -> Problem:
    """Return the problem of a model that was loaded from a file, read as that one was.

    Parameters
    ----------
    path : str or Path
        The file.
    model : Model
        Loaded from it.
    x, y
        Samples in the model's layout, and targets.
    **fields
        Further fields of `Problem`.

    Raises
    ------
    UnsupportedError
        If the file keeps tensors outside itself.
    """
    base = Path(path).read_bytes()
    if hashlib.sha256(base).hexdigest() != model.base_sha256:
        raise UnsupportedError(
            f"make_problem: {path} must hold its tensors itself, for it is sent to workers; save it once more with "
            "onnx.save(onnx.load(PATH), NEW_PATH)"
        )
    load: dict[str, Any] = {"derive": bool(model.derived_inputs)}
    if model.output_weights:
        load["output"] = dict(model.output_weights)
    if model.padding_id is not None:
        load["padding_id"] = model.padding_id
    if model.input_shapes:
        load["input_shapes"] = {name: tuple(shape) for name, shape in model.input_shapes.items()}
    fields.setdefault("classes", model.classes)
    fields.setdefault("preprocessing", model.preprocessing)
    return Problem(base, x, y, load=load, name=Path(path).name, **fields)


def samples_digest(samples: Any) -> str:
    """Return the SHA-256 of samples or targets: of dtype, shape and bytes, of a list as JSON, of a mapping by name."""
    if samples is None:
        return "none"
    unread = lazy(samples)
    if unread is not None:
        return unread.digest
    if isinstance(samples, Mapping):
        parts = json.dumps({str(name): samples_digest(value) for name, value in samples.items()}, sort_keys=True)
        return hashlib.sha256(parts.encode()).hexdigest()
    if isinstance(samples, np.ndarray) and samples.dtype.kind != "O":
        array = np.ascontiguousarray(samples)
        head = f"{array.dtype.str} {array.shape}".encode()
        return hashlib.sha256(
            head + hashlib.sha256(array.view(np.uint8).data if array.size else b"").digest()
        ).hexdigest()
    return hashlib.sha256(json.dumps(list(samples), default=_as_list).encode()).hexdigest()


def _as_list(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else list(value)


def taken(samples: Any, indices: NDArray[np.int64]) -> Any:
    """Return some of the samples or targets, in the order of the indices, whatever form they have."""
    if samples is None:
        return None
    if isinstance(samples, Mapping):
        return {name: taken(value, indices) for name, value in samples.items()}
    return samples[indices] if isinstance(samples, np.ndarray) else [samples[int(index)] for index in indices]


def fold_of(problem: Problem, folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of every sample of a problem, 0 to folds - 1, as many of every class in each as there can be.

    The division follows from its own seed, so that runs of different seeds of training are judged on the same samples.

    Raises
    ------
    DomainError
        If there are fewer samples than folds, or fewer than two folds.
    """
    from lieref import rng

    n = len(problem.x)
    if not 2 <= folds <= n:
        raise DomainError(f"Trial: `folds` must be 2 to the number of samples, {n}; got {folds}")
    order = rng.stream(seed, "folds").permutation(n)
    labels = problem.y
    if problem.task.has_labels and isinstance(labels, np.ndarray) and labels.ndim == 1:
        order = order[np.argsort(labels[order], kind="stable")]
    found = np.empty(n, np.int64)
    found[order] = np.arange(n) % folds
    return found
