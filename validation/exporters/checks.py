"""What is asked of a file: six questions, each answered by a number beside its tolerance, or by what went wrong."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F  # noqa: N812

import lieref
from lieref.errors import UnsupportedError
from lieref.model.error_bound import logit_error_bound
from lieref.model.inspection import engine_report
from lieref.model.ml_operators import labels_of
from lieref.train.loss import CrossEntropy, MeanSquaredError
from validation.exporters import twin
from validation.exporters.export import Exported

STEPS, LEARNING_RATE, THREADS = 10, 1e-5, 1
GRADIENT = 1e-11
"""Of the largest entry of all gradients: float64 sums of up to 1e4 numbers."""
TRAINING = 1e-4
"""Of the loss, or twice what float32 PyTorch is away: AdamW turns a gradient of rounding errors into whole steps."""
UNBOUNDED = 1e-5
"""Of the largest output, where no bound is known, or twice what ONNX Runtime is away from float64."""

Row = dict[str, Any]


def checked(file: Exported, merged: Path) -> Row:
    """Return the answers for a file; what cannot be asked any more is None."""
    row: Row = dict.fromkeys(("load", "agree", "gradients", "train", "merge"))
    row["operators"] = sorted({node.op_type for node in onnx.load(file.path, load_external_data=False).graph.node})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that some nodes are slow is in the row
        try:
            model = loaded(file, "float32")
        except Exception as error:
            return row | {"load": False, "errors": {"load": _text(error)}}
        row |= {"load": True, "errors": {}}
        _ask(row, "engine", lambda: _engine(model))
        _ask(row, "agree", lambda: _agrees(model, file))
        _ask(row, "gradients", lambda: _gradients(file))
        _ask(row, "train", lambda: _trains(model, file))
        _ask(row, "merge", lambda: _merges(model, file, merged))
    return row


def loaded(file: Exported, dtype: str) -> lieref.Model:
    """Return the network that a file holds, its first output trained."""
    outputs = [value.name for value in scores_of(onnx.load(file.path))]
    model = lieref.load(file.path, dtype=dtype, output=outputs[0] if len(outputs) > 1 else None)
    model.threads = THREADS
    return model


def scores_of(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the outputs that are no labels of classes."""
    return [value for value in proto.graph.output if value.name not in labels_of(proto.graph)]


def _ask(row: Row, what: str, question: Callable[[], Row]) -> None:
    try:
        row |= question()
    except Exception as error:
        row[what] = False
        row["errors"][what] = _text(error)


def _text(error: Exception) -> str:
    words = (Path(word).name if word.startswith("/") else word for word in str(error).split())
    return f"{type(error).__name__}: {' '.join(words)}"[:400]


def _engine(model: lieref.Model) -> Row:
    report = engine_report(model)
    slow = [{"name": r.name, "op": r.op, "reason": r.reason} for r in report.nodes if r.reason]
    share = None if report.compiled_share is None else round(report.compiled_share, 4)
    return {"engine": report.engine, "share": share, "slow": slow, "reasons": list(report.reasons)}


def _samples(file: Exported) -> Any:
    """Return samples as a network takes them: by name where it has several inputs."""
    if len(file.inputs) == 1:
        return file.inputs[0]
    return dict(zip(_names(onnx.load(file.path)), file.inputs, strict=True))


def _names(proto: onnx.ModelProto) -> list[str]:
    constants = {tensor.name for tensor in proto.graph.initializer}
    return [value.name for value in proto.graph.input if value.name not in constants]


def _in_float64(file: Exported) -> list[Any]:
    """Return samples for the twin."""
    return [torch.from_numpy(x).double() if x.dtype.kind == "f" else x for x in file.inputs]


def _runtime(path: Path, file: Exported) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {value.name: x for value, x in zip(session.get_inputs(), file.inputs, strict=True)}
    return session.run([scores_of(onnx.load(path))[0].name], feed)[0]


def _agrees(model: lieref.Model, file: Exported) -> Row:
    wanted, found = _runtime(file.path, file), model.predict(_samples(file))
    if wanted.shape != found.shape:
        raise AssertionError(f"shape {found.shape} instead of {wanted.shape}")
    away = np.abs(wanted.astype(np.float64) - found)
    try:
        if wanted.ndim != 2 or model.logits_name != model.outputs[0]:
            raise UnsupportedError("only scores have bounds")
        _, bound = logit_error_bound(model, _samples(file))
        # Each of the two lies within the bound of the exact scores.
        ratio, how = float((away / np.where(away > 0, 2 * bound.T, 1.0)).max()), "n u S"
    except UnsupportedError:
        ratio, how = _unbounded(file.path, file, wanted, found), "1e-5"
    return {"agree": ratio <= 1, "agreement": ratio, "tolerance": how}


def _unbounded(path: Path, file: Exported, wanted: np.ndarray, found: np.ndarray) -> float:
    """Return which part of the tolerance two outputs use that have no bound."""
    away, largest = np.abs(wanted.astype(np.float64) - found).max(), np.abs(wanted).max()
    if away <= UNBOUNDED * largest:
        return float(away / (UNBOUNDED * largest)) if away else 0.0
    proto = twin.read(path)
    exact = twin.run(proto, twin.leaves(proto), *_in_float64(file)).numpy()
    return float(np.abs(found - exact).max() / (2 * np.abs(wanted - exact).max()))


def _target(model: lieref.Model, file: Exported) -> tuple[np.ndarray, Any, Callable[..., Any], str]:
    """Return targets, lieref's loss, torch's, and the task: classes of rows, else numbers."""
    shape = model.logits(_samples(file)).shape
    if len(shape) == 2 and shape[1] > 1:
        y = np.arange(shape[0]) % shape[1]
        return y, CrossEntropy(), lambda z: F.cross_entropy(z, torch.from_numpy(y)), "classes"
    numbers = np.random.default_rng(2).standard_normal(shape)
    wanted = torch.from_numpy(numbers)
    return numbers, MeanSquaredError(), lambda z: F.mse_loss(z.reshape(wanted.shape), wanted), "numbers"


def _twin(model: lieref.Model, file: Exported) -> tuple[onnx.ModelProto, twin.Tensors, list[Any]]:
    proto = twin.read(file.path)
    onnx_scores = model.logits_name
    names = [name for node in proto.graph.node for name in node.output]
    if model.probability_node is None and onnx_scores in names:  # the losses read what lies before a final Softmax
        scores_of(proto)[0].name = onnx_scores
    scores = scores_of(proto)[0]
    del proto.graph.output[:]
    proto.graph.output.append(scores)
    return proto, twin.leaves(proto), _in_float64(file)


def _in_file(model: lieref.Model, proto: onnx.ModelProto) -> dict[str, str]:
    """Return the file's names of the trained tensors: that of a node's input where the graph has another form of it."""
    nodes = {node.name: node for node in proto.graph.node}
    made = {name: model.graph.made.get(name) for name in model.sites}
    return {name: nodes[one.node].input[one.position] if one is not None and one.node in nodes else name
            for name, one in made.items()}  # fmt: skip


def _gradients(file: Exported) -> Row:
    """Compare gradients of every weight in float64 with autograd's."""
    model = loaded(file, "float64").attach("full")
    y, loss, torch_loss, _ = _target(model, file)
    proto, tensors, x = _twin(model, file)
    own = _in_file(model, proto)
    shared = [name for name in model.sites if own[name] in tensors]
    for name in shared:
        tensors[own[name]].requires_grad_()
    scores = twin.run(proto, tensors, *x)
    torch_loss(scores).backward()
    if file.given is not None:
        away = np.abs(scores.detach().numpy() - file.given).max() / np.abs(file.given).max()
        if away > 1e-4:
            raise AssertionError(f"the twin must give what the module gives; {away:.1e} away")
    _, _, bars = model.loss_and_grad(_samples(file), y, loss)
    worst, largest, compared = 0.0, 0.0, 0
    for name in shared:
        bar, site = bars[f"{name}:xi"], model.sites[name]
        mine = bar if site.layer is None else site.layer.from_canonical(bar)
        grad = tensors[own[name]].grad
        wanted = np.zeros(mine.shape) if grad is None else grad.numpy().reshape(mine.shape)
        worst, largest = max(worst, np.abs(mine - wanted).max()), max(largest, np.abs(wanted).max())
        compared += mine.size
    trained = model.num_trainable()
    error = float(worst / largest)
    return {"gradients": error <= GRADIENT and compared == trained, "gradient_error": error, "compared": compared,
            "trained": trained}  # fmt: skip


def _trains(model: lieref.Model, file: Exported) -> Row:
    """Follow ten steps of AdamW on one batch, beside float64 PyTorch."""
    model.attach("full")
    y, _, torch_loss, task = _target(model, file)

    def losses(dtype: torch.dtype) -> np.ndarray:
        proto, tensors, x = _twin(model, file)
        tensors = {name: value.to(dtype) for name, value in tensors.items()}
        x = [each.to(dtype) if isinstance(each, torch.Tensor) else each for each in x]
        names = dict.fromkeys(_in_file(model, proto).values())
        trained = [tensors[name].requires_grad_() for name in names if name in tensors]
        optimizer, values = torch.optim.AdamW(trained, LEARNING_RATE, weight_decay=0.0), []
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = torch_loss(twin.run(proto, tensors, *x))
            loss.backward()
            values.append(loss.item())
            optimizer.step()
        return np.array(values)

    wanted = losses(torch.float64)
    found: list[float] = []
    how: dict[str, Any] = {"augment": (), "schedule": "constant", "learning_rate": LEARNING_RATE, "task": task}
    how |= {"epochs": STEPS, "batch_size": len(file.inputs[0]), "threads": THREADS}
    lieref.fit(model, _samples(file), y, progress=lambda p: found.append(p.loss) if p.step else None, **how)
    error = float((np.abs(np.array(found) - wanted) / np.abs(wanted)).max())
    row: Row = {"training_error": error, "losses": [wanted[0], wanted[-1]]}
    if error > TRAINING:
        row["float32_error"] = float((np.abs(losses(torch.float32) - wanted) / np.abs(wanted)).max())
    return row | {"train": error <= max(TRAINING, 2 * row.get("float32_error", 0.0))}


def _merges(model: lieref.Model, file: Exported, merged: Path) -> Row:
    """Save the trained network and run it elsewhere."""
    if not model.attached:
        model.attach("full")
    found = model.predict(_samples(file))
    model.merge_and_unload().save(merged)
    wanted = _runtime(merged, file)
    ratio = _unbounded(merged, file, wanted, found)
    return {"merge": ratio <= 1, "merged_agreement": ratio}
