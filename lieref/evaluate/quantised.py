"""What a trial records of quantised files: each form that an update can have, judged by integers.

One training can end in several forms: scales as the file holds them or one byte each, or a float adapter beside what it
is in a quantised file of the same network. They share everything up to then, so they are parts of one record. Learning
rates are searched before, on the simulation in real numbers, which all forms of a quantised file share.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from lieref._types import FloatArray
from lieref.errors import LierefError, LierefWarning, UnsupportedError
from lieref.evaluate.class_counts import class_counts
from lieref.evaluate.moved import moved
from lieref.model.integer.layers import IntegerLayer, integer_layers

if TYPE_CHECKING:
    from lieref.adapter.integer.model import IntegerModel
    from lieref.adapter.integer.update import IntegerUpdate
    from lieref.adapter.model import Model
    from lieref.evaluate.problem import Problem
    from lieref.model.integer.graph import IntegerGraph

FINISHED, CODES, CARRIED = "finished", "codes", "carried"
"""Forms: an update as the file holds its numbers, with one byte for each scale, and a float adapter carried over."""

CARRIES = ("scale", "norm-stats", "ia3")
"""Methods of the scaling group, which a quantised file can take in its scales; combinations of them too."""


class MovedIntegersWarning(LierefWarning):
    """Scales were not enough to carry an adapter, and integers of weights have changed."""


def is_quantised(model: Model) -> TypeGuard[IntegerModel]:
    """Tell whether a network is that of a quantised file."""
    from lieref.adapter.integer.model import IntegerModel

    return isinstance(model, IntegerModel)


def encodings_of(method: str) -> tuple[str, ...]:
    """Return the forms of what a method of `INTEGER_METHODS` trains, the plain one first."""
    from lieref.adapter.integer.methods import INTEGER_METHODS

    return (FINISHED, CODES) if INTEGER_METHODS[method].scales else (FINISHED,)


def carries(method: str) -> bool:
    """Tell whether a float method is one of the scaling group."""
    return all(part in CARRIES for part in method.split("+"))


def integer_forms(
    problem: Problem, model: IntegerModel, learnt: Callable[[str], IntegerUpdate] | None = None
) -> dict[str, Any]:
    """Return what a record says of a quantised file as it is, or with what has been trained.

    Parameters
    ----------
    problem : Problem
    model : IntegerModel
    learnt : callable, optional
        Gives the update that a form is, by its name; by default `IntegerModel.update`.

    Returns
    -------
    dict
        The plain form, whose entries replace those of the simulation but for the loss, and ``forms`` with others by
        name. Each has ``metrics``, ``merit``, ``right``, ``classes``, ``moved`` and ``other`` as a trial has them, by
        the first semantics; ``semantics``: of each the ``accuracy``, ``right``, and ``changed``, the samples whose
        class is not that of the first; ``integers``: how many of ``weights`` and ``biases`` are others, and
        ``bytes_that_differ`` in the file; ``clipping``: see `lieref.adapter.integer.clipping.summary`;
        ``update_bytes`` and ``payload_bytes``. A further form has its own ``loss``, ``warnings``, and ``failed``, None
        or why there is none.
    """
    if model.integer_method is None:
        return {**_of_file(problem, model, None), "forms": {}}
    made = learnt or model.update
    forms = {form: _tried(problem, model, partial(made, form)) for form in encodings_of(model.integer_method)[1:]}
    return {**_of_file(problem, model, made(FINISHED)), "forms": forms}


def carried_forms(problem: Problem, method: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the form that a float adapter has in a quantised file; none of methods whose adapters turn rows.

    Where a layer has one scale and the adapter a factor for each row, the integers of that layer are made anew; this is
    among the ``warnings`` of the form.
    """
    if not carries(method) or problem.into is None:
        return {}
    model = quantised_file(problem.into)
    return {CARRIED: _tried(problem, model, partial(_carried, problem, model, method, files))}


def _tried(problem: Problem, model: IntegerModel, make: Callable[[], IntegerUpdate]) -> dict[str, Any]:
    """Return a further form, or why there is none: the plain one stands without it."""
    from lieref.evaluate.judge import score

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", MovedIntegersWarning)
        try:
            update = make()
            found = _of_file(problem, model, update)
            new = model.patched(update)
            new.threads = 1
            loss = score(new, np.asarray(problem.x_test), problem.y_test, problem.task).loss
        except LierefError as error:
            return {"failed": f"{type(error).__name__}: {error}", "warnings": []}
    said = [str(w.message) for w in caught if issubclass(w.category, MovedIntegersWarning)]
    return {**found, "loss": loss, "failed": None, "warnings": said}


@lru_cache(maxsize=2)
def quantised_file(content: bytes) -> IntegerModel:
    """Return the network of a quantised file; the process keeps it, so nothing may be attached to it."""
    from lieref.adapter.integer.model import load_integer
    from lieref.model.integer.detect import TFLITE_MARK

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("net.tflite" if content[4:8] == TFLITE_MARK else "net.onnx")
        path.write_bytes(content)
        model = load_integer(path)
    model.threads = 1
    return model


def _carried(problem: Problem, model: IntegerModel, method: str, files: Mapping[str, bytes]) -> IntegerUpdate:
    from lieref.adapter.integer.carry import carry
    from lieref.adapter.model import load

    with tempfile.TemporaryDirectory() as name:
        folder, base = Path(name) / "adapter", Path(name) / (Path(problem.name).name or "base.onnx")
        base.write_bytes(problem.base)
        folder.mkdir()
        for file, data in files.items():
            (folder / file).write_bytes(data)
        wide = load(base, dtype="float64", **problem.load)
        wide.load_adapter(folder)
    networks = model.integer, wide.graph, wide.merged_graph()
    try:
        return carry(*networks, method)[0]
    except UnsupportedError:
        update, layers = carry(*networks, method, requantise=True)
    names = ", ".join(layer.node for layer in layers if layer.moved)
    if names:
        text = f"carry: scales are not enough in {names}, whose integers are made anew; see how many have changed"
        warnings.warn(text, MovedIntegersWarning, stacklevel=2)
    return update


def _of_file(problem: Problem, base: IntegerModel, update: IntegerUpdate | None) -> dict[str, Any]:
    """Return what the integers of a file say, with an update in it or without; see `integer_forms`."""
    from lieref.adapter.integer.changes import changes
    from lieref.adapter.integer.clipping import clipped, summary
    from lieref.adapter.integer.folder import BIN_NAME, encode_update
    from lieref.evaluate.integer import classes
    from lieref.evaluate.judge import pack_bits

    graph = base.integer if update is None else update.patched(base.integer)[0]
    x, y, first = np.asarray(problem.x_test), np.asarray(problem.y_test), problem.semantics[0]
    answers = {name: classes(base, graph, x, name) for name in problem.semantics}
    accuracy = float((answers[first] == y).mean())
    outputs = graph.tensors[graph.outputs[0]].shape[-1] or 1 + int(max(y.max(), answers[first].max()))
    files = {} if update is None else encode_update(update, base.integer)
    other = None
    if problem.x_other is not None:
        known = float((classes(base, graph, problem.x_other, first) == np.asarray(problem.y_other)).mean())
        other = {"loss": None, "metrics": {"accuracy": known}, "merit": known}
    return {
        "metrics": {"accuracy": accuracy},
        "merit": accuracy,
        "right": pack_bits(answers[first] == y),
        "losses": None,
        "classes": class_counts(answers[first], y, outputs),
        "moved": [] if update is None else _moved(base, graph),
        "other": other,
        "semantics": {
            name: {
                "accuracy": float((found == y).mean()),
                "right": pack_bits(found == y),
                "changed": None if name == first else pack_bits(found != answers[first]),
            }
            for name, found in answers.items()
        },
        "integers": changes(base.integer, graph),
        "clipping": summary(clipped(base, graph, problem.x)),
        "update_bytes": sum(map(len, files.values())),
        "payload_bytes": len(files.get(BIN_NAME, b"")),
    }


def _moved(base: IntegerModel, graph: IntegerGraph) -> list[dict[str, Any]]:
    """Return what moved of every weight and bias, in the real numbers that their integers stand for."""
    before, after = _real(base.integer_layers), _real(integer_layers(graph))
    return moved(before, after)


def _real(layers: Sequence[IntegerLayer]) -> dict[str, FloatArray]:
    found = {}
    for layer in layers:
        assert layer.weight.data is not None  # a layer has constant weights
        assert layer.weight.quantisation is not None
        found[layer.weight.name] = layer.weight.quantisation.real(layer.weight.data)
        if layer.bias is not None:
            found[layer.bias.name] = layer.real_bias()
    return found
