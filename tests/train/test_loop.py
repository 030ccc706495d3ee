"""The training loop, on a model small enough to check."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from toy_model import SoftmaxRegression, bits, blobs

from lieref import rng as streams
from lieref.errors import DomainError, DTypeError, LierefError, ShapeError, UnsupportedError
from lieref.model.attaching import StillLayersWarning
from lieref.train.augment import Augmentation, draw
from lieref.train.epoch import Progress
from lieref.train.epochs import default_epochs
from lieref.train.history import History
from lieref.train.loop import fit
from lieref.train.loss import CrossEntropy
from lieref.train.optimizer import SGD
from lieref.train.sample_tasks import Classes


@pytest.fixture
def rates_as_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a method's rate as it is, however short the run and small its batches."""
    monkeypatch.setattr("lieref.train.learning_rate.RATED_STEPS", 1)
    monkeypatch.setattr("lieref.train.learning_rate.RATED_BATCH", 1)


def without_times(history: History) -> dict[str, Any]:
    values = history.to_dict()
    del values["preparation_seconds"]
    return {**values, "epochs": [{**epoch, "seconds": None, "training_seconds": None} for epoch in values["epochs"]]}


def test_fit_learns_separated_clusters() -> None:
    model = SoftmaxRegression()
    history = fit(model, *blobs(), epochs=8, batch_size=16)
    assert history.epochs[0].loss > history.epochs[-1].loss
    assert history.epochs[-1].accuracy is not None
    assert history.epochs[-1].accuracy > 0.95
    assert [record.epoch for record in history.epochs] == list(range(1, 9))
    assert history.best_epoch is None
    assert history.seconds > 0.0


def test_what_no_gradient_reaches_is_named() -> None:
    x, y = blobs()
    with pytest.warns(StillLayersWarning, match=r"no gradient reaches dense/w: "):
        fit(SoftmaxRegression(), np.zeros_like(x), y, epochs=2, batch_size=16)


def test_fit_is_torchs_training_to_rounding() -> None:
    torch = pytest.importorskip("torch")
    x, y = blobs(50)
    model = SoftmaxRegression(dtype=np.float64)
    fit(model, x, y, epochs=3, batch_size=16, learning_rate=0.1, task=Classes(0.1), clip_norm=0.5, seed=5)

    layer = torch.nn.Linear(6, 3).double()
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    for epoch in range(3):
        order = streams.stream(5, "order", epoch).permutation(50)
        for start in range(0, 50, 16):
            chosen = order[start : start + 16]
            out = layer(torch.tensor(x[chosen]).double())
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(out, torch.tensor(y[chosen]), label_smoothing=0.1).backward()
            # PyTorch divides by the norm plus 1e-6.
            torch.nn.utils.clip_grad_norm_(layer.parameters(), 0.5 * (1 + 1e-6))
            optimizer.step()
            schedule.step()
    # PyTorch's 1e-6 in the clipping shifts a gradient by about as much, which Adam keeps: 12 steps of 0.1.
    np.testing.assert_allclose(model.weights, layer.weight.detach().numpy().T, rtol=0, atol=12 * 0.1 * 2e-6)
    np.testing.assert_allclose(model.bias, layer.bias.detach().numpy(), rtol=0, atol=12 * 0.1 * 2e-6)


def test_every_epoch_sees_every_sample_once_in_the_order_of_its_stream() -> None:
    x = np.arange(10, dtype=np.float32)[:, np.newaxis] * np.ones(6, np.float32)
    model = SoftmaxRegression()
    fit(model, x, np.arange(10) % 3, epochs=2, batch_size=4, seed=7)
    assert [len(batch) for batch in model.batches] == [4, 4, 2, 4, 4, 2]
    seen = np.concatenate([batch[:, 0] for batch in model.batches]).reshape(2, 10)
    for epoch in range(2):
        np.testing.assert_array_equal(seen[epoch], streams.stream(7, "order", epoch).permutation(10))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_equal_seeds_give_equal_bits_and_others_do_not(optimizer: str) -> None:
    runs = []
    for seed in (3, 3, 4):
        model = SoftmaxRegression()
        history = fit(model, *blobs(), epochs=3, batch_size=16, optimizer=optimizer, seed=seed, validation=0.25)
        runs.append((bits(model), without_times(history)))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0]


@pytest.mark.usefixtures("rates_as_given")
def test_defaults_are_the_measured_recipe() -> None:
    history = fit(SoftmaxRegression(learning_rate=0.03), *blobs())
    assert history.learning_rate == 0.03
    assert len(history.epochs) == default_epochs(60, 128)
    assert history.recipe == {
        "epochs": default_epochs(60, 128),
        "batch_size": 128,
        "learning_rate": 0.03,
        "optimizer": {"name": "adamw", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
        "schedule": "cosine",
        "warmup_steps": 0,
        "clip_norm": None,
        "task": {"name": "classes", "label_smoothing": 0.0, "class_weights": None, "ignore_index": None},
        "augmentation": {"flip": False, "shift": 0},
        "seed": 0,
        "average": False,
        "mixup": 0.0,
        "patience": None,
        "algebra_decay": None,
        "trust_region": None,
    }


def test_history_names_the_rate_of_each_epochs_first_step() -> None:
    history = fit(SoftmaxRegression(), *blobs(60), epochs=4, batch_size=30, learning_rate=0.8, warmup_steps=2)
    rates = [record.learning_rate for record in history.epochs]
    # Warm-up: 1/2, 1; then the cosine at 0, 2/6, 4/6 of its way.
    np.testing.assert_allclose(rates, [0.4, 0.8, 0.6, 0.2], rtol=1e-14)


def test_loss_of_an_epoch_is_the_mean_over_samples_whatever_the_batches() -> None:
    x, y = blobs(50)
    model = SoftmaxRegression(dtype=np.float64)
    model.weights += np.arange(18).reshape(6, 3) / 10
    expected, _ = CrossEntropy().value_and_grad(model.logits(x), y)
    history = fit(model, x, y, epochs=1, batch_size=16, learning_rate=1e-14)
    assert history.epochs[0].loss == pytest.approx(expected, rel=1e-12)
    assert history.epochs[0].accuracy == np.mean(model.logits(x).argmax(axis=1) == y)


def test_progress_is_told_of_every_step() -> None:
    events: list[Progress] = []
    fit(SoftmaxRegression(), *blobs(20), epochs=2, batch_size=8, progress=events.append)
    assert [(e.epoch, e.step) for e in events] == [(1, 1), (1, 2), (1, 3), (2, 4), (2, 5), (2, 6)]
    assert {(e.epochs, e.total_steps) for e in events} == {(2, 6)}
    assert all(math.isfinite(e.loss) and e.learning_rate > 0 for e in events)


def test_history_survives_json() -> None:
    history = fit(SoftmaxRegression(), *blobs(), epochs=2, validation=0.25, learning_rate="auto")
    assert History.from_dict(json.loads(history.to_json())) == history


@pytest.mark.parametrize(
    "place", [("learning_rate",), ("epochs", 0, "loss"), ("epochs", 1, "seconds"), ("trials", 0, "loss")]
)
@pytest.mark.parametrize("value", ["1.5", True, [1.5]])
def test_history_holds_numbers(place: tuple[Any, ...], value: Any) -> None:
    history = json.loads(fit(SoftmaxRegression(), *blobs(), epochs=2, validation=0.25, learning_rate="auto").to_json())
    inside = history
    for key in place[:-1]:
        inside = inside[key]
    assert isinstance(inside[place[-1]], float)
    inside[place[-1]] = value
    with pytest.raises(TypeError, match="where a number belongs"):
        History.from_dict(history)


# Validation and the best epoch


def test_model_ends_with_the_best_epochs_parameters() -> None:
    x, y = blobs(60)
    wrong = (y + 1) % 3
    settings: dict[str, Any] = {"batch_size": 16, "schedule": "constant", "learning_rate": 0.05}
    model, once = SoftmaxRegression(), SoftmaxRegression()
    history = fit(model, x, y, epochs=4, validation=(x, wrong), **settings)
    fit(once, x, y, epochs=1, **settings)
    assert history.best_epoch == 1
    assert bits(model) == bits(once)
    losses = [record.validation_loss for record in history.epochs]
    assert losses == sorted(losses, key=lambda v: v or 0.0)


def test_of_two_epochs_with_equal_accuracy_the_lower_loss_wins() -> None:
    x, y = blobs(60)
    history = fit(SoftmaxRegression(), x, y, epochs=5, batch_size=16, learning_rate=0.1, validation=(x, y))
    top = max(record.validation_accuracy or 0.0 for record in history.epochs)
    tied = [record for record in history.epochs if record.validation_accuracy == top]
    assert len(tied) > 1
    assert history.best_epoch == min(tied, key=lambda record: record.validation_loss or 0.0).epoch


def test_held_out_samples_are_never_trained_on() -> None:
    x = np.arange(40, dtype=np.float32)[:, np.newaxis] * np.ones(6, np.float32)
    model = SoftmaxRegression()
    history = fit(model, x, np.arange(40) % 2, epochs=2, validation=0.25, learning_rate=1e-6)
    trained = {float(v) for batch in model.batches for v in batch[:, 0]}
    assert len(trained) == 30
    assert all(record.validation_accuracy is not None for record in history.epochs)


def test_validation_score_is_that_of_the_whole_set() -> None:
    x, y = blobs(700)  # more than two evaluation batches
    model = SoftmaxRegression()
    history = fit(model, x, y, epochs=1, validation=(x, y))
    value, _ = CrossEntropy().value_and_grad(model.logits(x), y)
    assert history.epochs[0].validation_loss == pytest.approx(value, rel=1e-6)
    assert history.epochs[0].validation_accuracy == np.mean(model.logits(x).argmax(axis=1) == y)


# Data on its way to the model


def test_bytes_reach_the_model_as_bytes_in_its_layout() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (12, 5, 7, 3), dtype=np.uint8)
    y = np.arange(12) % 3
    ours, theirs = (SoftmaxRegression((None, 3, 5, 7)) for _ in range(2))
    fit(ours, x, y, epochs=1, learning_rate=1e-4, augment=())
    fit(theirs, np.moveaxis(x, -1, 1).astype(np.float32), y, epochs=1, learning_rate=1e-4, augment=())
    assert ours.batches[0].dtype == np.uint8
    assert bits(ours) == bits(theirs)


def test_training_images_are_flipped_and_validation_images_are_not() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (40, 3, 5, 7), dtype=np.uint8)
    y = np.arange(40) % 3
    model = SoftmaxRegression((None, 3, 5, 7))
    seen: list[np.ndarray] = []
    plain_logits = model.logits
    model.logits = lambda images, **_: (seen.append(np.array(images)), plain_logits(images))[1]  # type: ignore[method-assign]
    fit(model, x, y, epochs=1, batch_size=15, learning_rate=1e-6, validation=(x, y), augment=("flip",))
    order = streams.stream(0, "order", 0).permutation(40)
    trained = np.concatenate(model.batches)
    flipped = np.array([np.array_equal(image, x[i][..., ::-1]) for image, i in zip(trained, order, strict=True)])
    same = np.array([np.array_equal(image, x[i]) for image, i in zip(trained, order, strict=True)])
    assert np.all(flipped ^ same)
    np.testing.assert_array_equal(flipped, draw(Augmentation(flip=True), 40, seed=0, epoch=0).flips[order])
    np.testing.assert_array_equal(seen[-1], x)


def test_mean_squared_error_trains_a_regression() -> None:
    x, y = blobs(60)
    target = np.eye(3)[y]
    how = {"epochs": 6, "batch_size": 16, "learning_rate": 0.01}
    history = fit(SoftmaxRegression(), x, target, **how, task="numbers", validation=0.2)
    assert history.epochs[-1].loss < 0.5 * history.epochs[0].loss
    assert history.epochs[-1].accuracy is None
    assert history.epochs[-1].validation_accuracy is None
    assert history.best_epoch is not None


# Statistics and threads


def test_statistics_alone_train_nothing_and_read_no_label() -> None:
    x, y = blobs(60)
    model = SoftmaxRegression(has_weights=False, wants_statistics=True)
    history = fit(model, x, y)
    np.testing.assert_allclose(model.statistics["feature_mean"], x.mean(axis=0), rtol=1e-5)
    assert (history.epochs, history.learning_rate) == ((), None)
    assert model.batches == []


def test_statistics_come_before_training() -> None:
    x, y = blobs(60)
    both, shifted = SoftmaxRegression(wants_statistics=True), SoftmaxRegression()
    fit(both, x, y, epochs=2)
    shifted.statistics = both.statistics
    fit(shifted, x, y, epochs=2)
    assert bits(both) == bits(shifted)


def test_threads_hold_during_the_run_only() -> None:
    model = SoftmaxRegression()
    seen: list[int] = []
    fit(model, *blobs(), epochs=1, threads=2, progress=lambda _: seen.append(model.threads))
    assert seen == [2]
    assert model.threads == 1


# What is refused, and that nothing changes then


GOOD_X, GOOD_Y = blobs(12)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": GOOD_X[:0], "y": GOOD_Y[:0]}, DomainError, "`x` must hold at least one sample"),
        ({"x": GOOD_X * np.nan}, DomainError, "`x` must be finite; got nan"),
        ({"x": np.where(GOOD_X > 0, np.inf, GOOD_X)}, DomainError, "`x` must be finite; got inf"),
        ({"x": GOOD_X[:, :5]}, ShapeError, r"`x` must fit the model's input \(N, 6\); got \(12, 5\)"),
        ({"x": [[1.0], [2.0, 3.0]]}, ShapeError, "`x` must hold samples of one shape"),
        ({"x": GOOD_X.astype(str)}, DTypeError, "`x` must be integers or floats"),
        ({"y": GOOD_Y + 1}, DomainError, "`y` must be 0 to 2; got 3"),
        ({"y": GOOD_Y - 1}, DomainError, "`y` must be 0 to 2; got -1"),
        ({"y": GOOD_Y.astype(float)}, DTypeError, "`y` must be integer class labels"),
        ({"y": GOOD_Y[:11]}, ShapeError, "one entry for each of 12 samples; got 11"),
        ({"y": GOOD_Y[:, np.newaxis]}, ShapeError, r"`y` must have shape \(N,\)"),
        ({"validation": (GOOD_X, GOOD_Y + 1)}, DomainError, "`y` must be 0 to 2; got 3"),
        ({"validation": (GOOD_X[:, :5], GOOD_Y)}, ShapeError, "must fit the model's input"),
        ({"validation": 0.0}, DomainError, "`validation` must be above 0"),
        ({"validation": 1.0}, DomainError, "must leave samples on both sides"),
        ({"validation": (GOOD_X,)}, DomainError, r"`validation` must be a fraction or \(x, y\); got 1 entries"),
        ({"validation": "some"}, DTypeError, "`validation` must be a real number"),
        ({"epochs": 0}, DomainError, "`epochs` must be at least 1; got 0"),
        ({"epochs": 1.5}, DTypeError, "`epochs` must be an integer"),
        ({"batch_size": 0}, DomainError, "`batch_size` must be at least 1; got 0"),
        ({"learning_rate": 0.0}, DomainError, "`learning_rate` must be above 0"),
        ({"learning_rate": math.inf}, DomainError, "`learning_rate` must be finite"),
        ({"learning_rate": "fast"}, DTypeError, "`learning_rate` must be a real number; got 'fast'"),
        ({"optimizer": "lion"}, DomainError, "`optimizer` must be one of sgd, adamw"),
        ({"schedule": "step"}, DomainError, "`schedule` must be one of constant, cosine"),
        (
            {"epochs": 10, "warmup_steps": 11},
            DomainError,
            "`warmup_steps` must be at most the 10 steps of the run; got 11",
        ),
        ({"clip_norm": 0.0}, DomainError, "`clip_norm` must be above 0"),
        ({"task": "hinge"}, DomainError, "`task` must be one of classes, multilabel, numbers, dense"),
        ({"augment": 3}, DomainError, "`augment` must be 'auto' or a sequence of names; got 3"),
        ({"augment": (3,)}, DomainError, "`augment` must hold 'flip'"),
        ({"augment": ("flip",)}, UnsupportedError, "not an image"),
        ({"layout": "CHWN"}, DomainError, "`layout` must be one of NCHW, NHWC"),
        ({"seed": -1}, DomainError, "`seed` must be 0 to"),
        ({"seed": 2**63}, DomainError, "`seed` must be 0 to"),
        ({"threads": 0}, DomainError, "`threads` must be at least 1"),
        ({"resume": True}, DomainError, "`checkpoint` must name a folder"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    change: dict[str, Any], error: type[LierefError], message: str
) -> None:
    model = SoftmaxRegression()
    before = bits(model)
    arguments: dict[str, Any] = {"x": GOOD_X, "y": GOOD_Y, **change}
    with pytest.raises(error, match=message):
        fit(model, arguments.pop("x"), arguments.pop("y"), **arguments)
    assert model.batches == []
    assert bits(model) == before


def test_model_without_a_method_is_refused() -> None:
    with pytest.raises(DomainError, match=r"call model.attach\(...\) first"):
        fit(SoftmaxRegression(has_weights=False), *blobs())


@pytest.mark.parametrize("optimizer", [SGD(), "adamw"])
@pytest.mark.parametrize("validation", [None, 0.25])
def test_divergence_is_one_error_and_restores_the_model(optimizer: Any, validation: float | None) -> None:
    model = SoftmaxRegression(wants_statistics=True)
    model.weights[...] = 0.5
    before = bits(model)
    with pytest.raises(DomainError, match=r"training must stay finite; it diverged (in|on) .*at a learning rate of"):
        fit(model, *blobs(), optimizer=optimizer, learning_rate=1e38, threads=2, validation=validation, epochs=2)
    assert bits(model) == before
    assert (model.statistics, model.wants_statistics, model.threads) == ({}, True, 1)


def test_parameters_that_overflow_in_the_last_step_are_noticed() -> None:
    x, y = blobs(12)
    model = SoftmaxRegression()
    with pytest.raises(DomainError, match="parameter dense/w:full is not finite"):
        fit(model, 100 * x, y, epochs=1, optimizer=SGD(), learning_rate=1e38)
    assert not model.weights.any()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_restores_the_model(error: type[BaseException]) -> None:
    model = SoftmaxRegression()
    before = bits(model)

    def stop(event: Progress) -> None:
        if event.step == 3:
            raise error

    with pytest.raises(error):
        fit(model, *blobs(), batch_size=16, progress=stop)
    assert bits(model) == before


def test_fit_does_not_use_the_state_of_the_optimiser_it_is_given() -> None:
    optimizer = SGD(momentum=0.5)
    first, second = SoftmaxRegression(), SoftmaxRegression()
    for model in (first, second):
        fit(model, *blobs(), epochs=2, optimizer=optimizer)
    assert bits(first) == bits(second)
    assert optimizer.steps == 0


# Learning-rate search


def test_class_weights_reach_the_loss() -> None:
    x, y = blobs(60)
    weighted, plain = SoftmaxRegression(), SoftmaxRegression()
    fit(weighted, x, y, epochs=2, task=Classes(class_weights=(5.0, 1.0, 1.0)))
    fit(plain, x, y, epochs=2)
    assert np.mean(weighted.logits(x).argmax(axis=1) == 0) >= np.mean(plain.logits(x).argmax(axis=1) == 0)
    assert bits(weighted) != bits(plain)


def test_records_are_frozen() -> None:
    history = fit(SoftmaxRegression(), *blobs(), epochs=1)
    with pytest.raises(AttributeError):
        history.epochs[0].loss = 0.0  # type: ignore[misc]
    assert replace(history, epochs=()).epochs == ()
