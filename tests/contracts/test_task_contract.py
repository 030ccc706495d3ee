"""Laws of every task: an entry of `TASKS` without an example here fails, and one that breaks a law is found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from lieref.cli.task_options import TASK_NAMES
from lieref.errors import DomainError, DTypeError, LierefError, ShapeError
from lieref.train.loss_registry import LOSSES
from lieref.train.task import Task, add_counts
from lieref.train.task_registry import TASKS, make_task

SAMPLES = 5
IGNORED = -1


def labels(shape: tuple[int, ...], classes: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.integers(0, classes, shape)


@dataclass(frozen=True)
class Example:
    """Settings beside none, the shape for one sample, targets, which of them are ignored, and what PyTorch computes."""

    settings: tuple[dict[str, Any], ...]
    shape: tuple[int, ...]
    draw: Callable[[np.random.Generator], np.ndarray]
    torch_loss: Callable[..., Any]
    ignores: bool = True
    class_axis: int | None = 1


def entropy(torch: Any, z: Any, y: np.ndarray, s: dict[str, Any]) -> Any:
    weight = torch.tensor(s["class_weights"], dtype=torch.float64) if s.get("class_weights") else None
    index = s.get("ignore_index", -100)
    smoothing = s.get("label_smoothing", 0.0)
    return torch.nn.functional.cross_entropy(z, torch.tensor(y), weight, ignore_index=index, label_smoothing=smoothing)


def binary(torch: Any, z: Any, y: np.ndarray, s: dict[str, Any]) -> Any:
    weight = torch.tensor(s["positive_weights"], dtype=torch.float64) if s.get("positive_weights") else None
    share = torch.tensor(s["class_weights"], dtype=torch.float64) if s.get("class_weights") else None
    each = torch.nn.functional.binary_cross_entropy_with_logits(
        z, torch.tensor(np.maximum(y, 0) * 1.0), share, pos_weight=weight, reduction="none"
    )
    return each[torch.tensor(y != s.get("ignore_index", -100))].mean()


def tokens(torch: Any, z: Any, y: np.ndarray, s: dict[str, Any]) -> Any:
    return entropy(torch, z.transpose(1, 2), y, {**s, "ignore_index": IGNORED})


def alignment(torch: Any, z: Any, y: np.ndarray, s: dict[str, Any]) -> Any:
    log_p = torch.log_softmax(z, 2).transpose(0, 1)
    frames, lengths = torch.full((len(y),), z.shape[1]), torch.tensor((y >= 0).sum(axis=1))
    blank = s.get("blank", 0)
    return torch.nn.functional.ctc_loss(log_p, torch.tensor(y), frames, lengths, blank, reduction="sum") / len(y)


def sequences(rng: np.random.Generator) -> np.ndarray:
    y = rng.integers(1, 3, (SAMPLES, 3))  # neither the first nor the last class, which is the blank
    y[0], y[1, 1:], y[2] = [2, 2, 1], IGNORED, IGNORED
    return y


WEIGHTS = (0.5, 2.0, 1.25, 3.0)
EXAMPLES = {
    "classes": Example(
        ({"label_smoothing": 0.1}, {"class_weights": WEIGHTS}, {"class_weights": WEIGHTS, "ignore_index": IGNORED}),
        (4,), labels((SAMPLES,), 4), entropy,
    ),
    "multilabel": Example(
        (
            {"positive_weights": WEIGHTS}, {"class_weights": WEIGHTS[::-1]},
            {"positive_weights": WEIGHTS, "class_weights": WEIGHTS[::-1], "ignore_index": IGNORED},
        ),
        (4,), labels((SAMPLES, 4), 2), binary, class_axis=None,
    ),
    "numbers": Example(
        (), (4, 3, 2), lambda rng: rng.standard_normal((SAMPLES, 4, 3, 2)),
        lambda torch, z, y, s: torch.nn.functional.mse_loss(z, torch.tensor(y)), ignores=False, class_axis=None,
    ),
    "dense": Example(
        ({"label_smoothing": 0.1}, {"class_weights": WEIGHTS, "ignore_index": IGNORED}, {"class_axis": 1}),
        (4, 3, 2), labels((SAMPLES, 3, 2), 4), entropy,
    ),
    "tokens": Example(
        ({"label_smoothing": 0.1}, {"ignore_index": 2}), (6, 4), labels((SAMPLES, 6), 4), tokens, class_axis=2,
    ),
    "sequence": Example(({"blank": 3},), (7, 4), sequences, alignment, ignores=False, class_axis=2),
}  # fmt: skip
SCALES = {"zero": 0.0, "tiny": 1e-8, "generic": 1.0, "large": 100.0}
CASES = [(name, settings) for name, example in EXAMPLES.items() for settings in ({}, *example.settings)]
every_case = pytest.mark.parametrize(
    ("name", "settings"), CASES, ids=lambda v: v if isinstance(v, str) else "+".join(v)
)


def made(name: str, settings: dict[str, Any], rng: np.random.Generator, scale: float = 1.0) -> Any:
    """Return a task, logits, and targets; some targets are ignored where the settings have a value for that."""
    task, example = make_task(name, **settings), EXAMPLES[name]
    logits, y = scale * rng.standard_normal((SAMPLES, *example.shape)), example.draw(rng)
    if settings.get("ignore_index") == IGNORED:
        y.reshape(-1)[[0, -2]] = IGNORED
    x, given = (y, None) if task.from_input else (logits, y)
    return task, logits, task.targets("test", x, given, example.shape)


def left_out(task: Task, y: np.ndarray) -> np.ndarray:
    """Return which targets are ignored; all of `tokens` that are have one label."""
    return y == IGNORED if task.name == "tokens" else y == getattr(task, "ignore_index", None)


def test_every_task_and_every_setting_has_an_example() -> None:
    assert set(EXAMPLES) == set(TASKS) == set(TASK_NAMES)
    assert {kind().loss.name for kind in TASKS.values()} == set(LOSSES)
    for name, kind in TASKS.items():
        seen = {setting for settings in EXAMPLES[name].settings for setting in settings}
        assert seen == {field.name for field in dataclasses.fields(kind)}, name  # type: ignore[arg-type]


@every_case
@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_the_gradient_is_that_of_the_value(
    name: str, settings: dict[str, Any], scale: float, rng: np.random.Generator
) -> None:
    task, logits, y = made(name, settings, rng, scale)
    _, bar = task.loss.value_and_grad(logits, y)
    direction, h = rng.standard_normal(logits.shape), 1e-5
    up, down = (task.loss.value_and_grad(logits + step * direction, y)[0] for step in (h, -h))
    # Truncation is h^2 times a third derivative; rounding is that of the largest term, in every one of the sums.
    size = max(abs(up), float(np.abs(logits).max()), 1.0) * (logits.shape[1] if name == "sequence" else 1)
    assert abs((up - down) / (2 * h) - np.sum(bar * direction)) <= 1e-8 + 8 * np.finfo(float).eps * size / h


@every_case
@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_value_and_gradient_are_pytorchs(
    name: str, settings: dict[str, Any], scale: float, rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch")
    task, logits, y = made(name, settings, rng, scale)
    z = torch.tensor(logits, requires_grad=True)
    theirs = EXAMPLES[name].torch_loss(torch, z, y, settings)
    theirs.backward()
    value, bar = task.loss.value_and_grad(logits, y)
    assert value == pytest.approx(theirs.item(), rel=1e-12, abs=1e-12)
    np.testing.assert_allclose(bar, z.grad.numpy(), rtol=0, atol=1e-11 * max(1.0, scale if name == "numbers" else 1.0))


@every_case
def test_the_order_of_the_samples_does_not_matter(
    name: str, settings: dict[str, Any], rng: np.random.Generator
) -> None:
    task, logits, y = made(name, settings, rng)
    order = rng.permutation(SAMPLES)
    value, bar = task.loss.value_and_grad(logits, y)
    moved, moved_bar = task.loss.value_and_grad(logits[order], y[order])
    assert moved == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(moved_bar, bar[order], rtol=0, atol=1e-15)
    assert task.metrics(task.counts(logits[order], y[order])) == pytest.approx(task.metrics(task.counts(logits, y)))


@every_case
@pytest.mark.parametrize("cut", [1, 2, 4])
def test_batches_add_up_to_the_set(name: str, settings: dict[str, Any], cut: int, rng: np.random.Generator) -> None:
    task, logits, y = made(name, settings, rng)
    loss, parts = task.loss, (slice(cut), slice(cut, None))
    weights = [loss.weight(y[part]) for part in parts]
    values = [loss.value_and_grad(logits[part], y[part])[0] for part in parts]
    assert sum(weights) == pytest.approx(loss.weight(y))
    assert np.dot(values, weights) / sum(weights) == pytest.approx(loss.value_and_grad(logits, y)[0])
    together = add_counts(
        add_counts({}, task.counts(logits[parts[0]], y[parts[0]])), task.counts(logits[parts[1]], y[parts[1]])
    )
    metrics = task.metrics(task.counts(logits, y))
    assert metrics
    assert task.best in metrics or not task.best
    assert task.metrics(together) == pytest.approx(metrics)


@every_case
def test_what_is_ignored_is_ignored(name: str, settings: dict[str, Any], rng: np.random.Generator) -> None:
    task, logits, y = made(name, settings, rng)
    if not EXAMPLES[name].ignores:
        pytest.skip("it ignores nothing")
    ignored = left_out(task, y)
    assert ignored.any() == ("ignore_index" in settings or name == "tokens")
    axis = EXAMPLES[name].class_axis
    where = ignored if axis is None else np.broadcast_to(np.expand_dims(ignored, axis), logits.shape)
    other = np.where(where, 50.0 * rng.standard_normal(logits.shape), logits)
    value, bar = task.loss.value_and_grad(logits, y)
    assert task.loss.value_and_grad(other, y)[0] == value
    assert not bar[where].any()
    assert task.metrics(task.counts(other, y)) == task.metrics(task.counts(logits, y))


@pytest.mark.parametrize("name", [name for name, example in EXAMPLES.items() if example.ignores])
def test_a_batch_of_nothing_but_ignored_targets_is_zero_and_a_set_of_them_refused(
    name: str, rng: np.random.Generator
) -> None:
    task, logits, y = made(name, {"ignore_index": 2 if name == "tokens" else IGNORED}, rng)
    nothing = np.full_like(y, IGNORED)
    value, bar = task.loss.value_and_grad(logits, nothing)
    assert (value, task.loss.weight(nothing)) == (0.0, 0.0)
    assert not bar.any()
    assert task.metrics(task.counts(logits, nothing)) == {}
    with pytest.raises(DomainError, match="ignored"):
        task.targets("test", logits, nothing, EXAMPLES[name].shape)


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_keeps_the_type(
    name: str, settings: dict[str, Any], dtype: type, rng: np.random.Generator
) -> None:
    task, logits, y = made(name, settings, rng)
    value, bar = task.loss.value_and_grad(logits.astype(dtype), y)
    exact, exact_bar = task.loss.value_and_grad(logits.astype(dtype).astype(np.float64), y)
    assert isinstance(value, float)
    assert (bar.dtype, bar.shape) == (dtype, logits.shape)
    # Everything is computed in float64, and rounded once.
    assert value == pytest.approx(exact, rel=1e-15)
    np.testing.assert_allclose(bar, exact_bar, rtol=np.finfo(dtype).eps, atol=1e-45)


@every_case
def test_a_task_is_made_again_from_what_is_recorded(
    name: str, settings: dict[str, Any], rng: np.random.Generator
) -> None:
    task = make_task(name, **settings)
    recorded = json.loads(json.dumps(task.to_dict()))
    assert recorded["name"] == name
    assert make_task(recorded.pop("name"), **recorded) == task
    json.dumps(task.loss.to_dict())


@every_case
def test_better_answers_are_better(name: str, settings: dict[str, Any], rng: np.random.Generator) -> None:
    """A step down the gradient lowers the loss; the metric that chooses is no worse after many."""
    task, logits, y = made(name, settings, rng)
    first = task.loss.value_and_grad(logits, y)[0]
    before = task.merit(task.metrics(task.counts(logits, y)))
    for _ in range(400):
        logits = logits - logits.size / 8 * task.loss.value_and_grad(logits, y)[1]
    assert task.loss.value_and_grad(logits, y)[0] < first
    assert task.merit(task.metrics(task.counts(logits, y))) >= before


@pytest.mark.parametrize("name", TASKS)
def test_a_network_that_does_not_fit_is_refused(name: str, rng: np.random.Generator) -> None:
    task, example = make_task(name), EXAMPLES[name]
    if not task.gives:
        pytest.skip("any network fits")
    with pytest.raises(ShapeError, match=f"the task '{name}' must have a network that gives"):
        task.targets("test", np.zeros((SAMPLES, 6), int), example.draw(rng), (2, *example.shape))


@pytest.mark.parametrize("name", TASKS)
def test_targets_that_do_not_fit_are_refused(name: str, rng: np.random.Generator) -> None:
    task, example = make_task(name), EXAMPLES[name]
    x, y = np.zeros((SAMPLES, 6), int), example.draw(rng)
    wrong: list[tuple[Any, type[LierefError]]] = [(y.astype(str), DTypeError)]
    if name == "numbers":
        wrong += [(y[:, :-1], ShapeError), (np.full_like(y, np.nan), DomainError), (None, DomainError)]
    else:
        wrong += [(np.where(y == y.max(), 4, y), DomainError), (y[..., None], (ShapeError)), (y - 3, DomainError)]
        wrong += [(y + 0.5, (DomainError if name == "multilabel" else DTypeError))]
    if name not in ("numbers", "tokens"):
        wrong.append((None, DomainError))
    for targets, error in wrong:
        with pytest.raises(error, match=r"^test: `y` must") as caught:
            task.targets("test", x, targets, example.shape)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["abc", [None], ["1", "2"], [[1.0]], {"a": 1}, True, -1.5, 3, [], [float("nan")]])
@pytest.mark.parametrize("name", TASKS)
def test_settings_from_a_file_that_mean_nothing_are_refused(name: str, value: Any) -> None:
    """A recorded task comes from anywhere; what a setting takes, such as an integer, it takes."""
    for field in dataclasses.fields(TASKS[name]):  # type: ignore[arg-type]
        try:
            task = make_task(name, **{field.name: value})
        except LierefError:
            continue
        assert field.name in ("ignore_index", "blank") or value == [], (field.name, value)
        assert getattr(task, field.name) in (value, ())


def test_settings_of_another_task_are_refused() -> None:
    with pytest.raises(DomainError, match="`blank` must be a setting of the task 'classes', which has label_smoothing"):
        make_task("classes", blank=1)
    with pytest.raises(DomainError, match="`task` must be one of classes, multilabel"):
        make_task("hinge")
    with pytest.raises(DomainError, match="where settings are given"):
        make_task(make_task("classes"), label_smoothing=0.1)
