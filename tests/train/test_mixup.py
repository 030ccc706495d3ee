"""Mixup: the drawn shares, the mixed samples, the loss on both engines' paths, and what cannot be mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_model import SoftmaxRegression, blobs

import lieref
from lieref.errors import DomainError, UnsupportedError
from lieref.train.loop import fit
from lieref.train.loss import CrossEntropy, MeanSquaredError
from lieref.train.mixup import MixedLoss, draw_shares, mix
from lieref.train.sample_tasks import Classes
from tests.model.encoder_net import ROWS, encoder_net
from tests.model.nets import residual_net, saved

RNG = np.random.default_rng(1)


def test_shares_are_the_larger_of_a_beta_draw_and_its_rest() -> None:
    shares = draw_shares(0.3, 20_000, 5, 2)
    assert shares.min() >= 0.5
    # Of l ~ Beta(a, a): E (2 l - 1)^2 = 1 / (2 a + 1), which taking max(l, 1 - l) leaves; 20,000 draws of at most 1.
    assert np.mean((2 * shares - 1) ** 2) == pytest.approx(1 / 1.6, abs=4 / np.sqrt(20_000))
    assert draw_shares(0.3, 20_000, 5, 2).tobytes() == shares.tobytes()
    assert draw_shares(0.3, 20_000, 5, 3).tobytes() != shares.tobytes()
    assert np.array_equal(draw_shares(0.0, 3, 5, 2), np.ones(3))


@pytest.mark.parametrize(("dtype", "mixed"), [("uint8", "float32"), ("float32", "float32"), ("float64", "float64")])
def test_a_batch_is_mixed_with_the_next_sample(dtype: str, mixed: str) -> None:
    x, y = RNG.integers(0, 255, (3, 2, 2)).astype(dtype), np.array([4, 5, 6])
    found, labels = mix(x, y, 0.75)
    assert found.dtype == mixed
    np.testing.assert_array_equal(found[0], 0.75 * x[0].astype(mixed) + 0.25 * x[1].astype(mixed))
    np.testing.assert_array_equal(found[2], 0.75 * x[2].astype(mixed) + 0.25 * x[0].astype(mixed))
    assert labels.tolist() == [[4, 5], [5, 6], [6, 4]]


LOSSES = [CrossEntropy(), CrossEntropy(0.1, (1.0, 2.0, 0.5)), CrossEntropy(ignore_index=1)]


@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_the_mixture_of_both_with_its_gradient(loss: CrossEntropy) -> None:
    z, labels = RNG.normal(size=(4, 3)), np.array([[0, 1], [1, 2], [2, 2], [2, 0]])
    value, bar = MixedLoss(loss, 0.7).value_and_grad(z, labels)
    own, other = (loss.value_and_grad(z, labels[:, column])[0] for column in (0, 1))
    assert value == pytest.approx(0.7 * own + 0.3 * other, rel=1e-15)
    for index in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[index] = 1e-5
        up, down = (MixedLoss(loss, 0.7).value_and_grad(z + s * step, labels)[0] for s in (1, -1))
        assert bar[index] == pytest.approx((up - down) / 2e-5, abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_its_rows_are_those_of_the_compiled_step(loss: CrossEntropy) -> None:
    """- sum r log softmax(z) with the rows is the value."""
    z, labels = RNG.normal(size=(4, 3)), np.array([[0, 1], [1, 2], [2, 2], [2, 0]])
    mixed = MixedLoss(loss, 0.7)
    name, rows = mixed.compiled_form(labels, (3,)) or ("", np.zeros(0))
    assert name == "cross_entropy"
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    assert -np.sum(rows * log_p) == pytest.approx(mixed.value_and_grad(z, labels)[0], rel=1e-14)


def test_an_epoch_trains_on_mixtures_that_a_seed_repeats() -> None:
    x, y = blobs(20)
    models = [SoftmaxRegression(), SoftmaxRegression()]
    for model in models:
        fit(model, x, y, epochs=2, batch_size=8, mixup=0.5, seed=3)
    assert [b.tobytes() for b in models[0].batches] == [b.tobytes() for b in models[1].batches]
    first = models[0].batches[0]
    share = draw_shares(0.5, 3, 3, 0)[0]
    order = lieref.rng.stream(3, "order", 0).permutation(20)[:8]
    np.testing.assert_allclose(first, share * x[order] + (1 - share) * x[np.roll(order, -1)], rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")
def test_both_engines_train_on_the_same_mixtures(tmp_path: Path) -> None:
    x, y = RNG.integers(0, 255, (12, 3, 9, 8)).astype(np.uint8), np.arange(12) % 5
    losses = []
    for dtype in ("float32", "float64"):
        model = lieref.load(saved(residual_net(), tmp_path), dtype=dtype).attach("liera")
        history = fit(model, x, y, epochs=2, batch_size=5, mixup=0.5, augment=(), seed=3)
        losses.append([epoch.loss for epoch in history.epochs])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_what_is_no_class_or_no_number_is_not_mixed(tmp_path: Path) -> None:
    x, _ = blobs()
    with pytest.raises(UnsupportedError, match=r"must be 0 for a task other than 'classes'; got 0.2 for 'numbers'"):
        fit(SoftmaxRegression(), x, x[:, :3], task="numbers", mixup=0.2)
    model = lieref.load(saved(encoder_net(None, inputs=("input_ids", "attention_mask")), tmp_path), padding_id=0)
    ids = RNG.integers(0, ROWS, (8, 5))
    with pytest.raises(UnsupportedError, match="must be 0 where samples are no numbers to be averaged; got ids of"):
        fit(model.attach("full"), ids, np.arange(8) % 2, mixup=0.2)


@pytest.mark.parametrize("mixup", [-0.1, float("inf")])
def test_an_alpha_out_of_range_is_refused(mixup: float) -> None:
    with pytest.raises(DomainError, match="`mixup` must be"):
        fit(SoftmaxRegression(), *blobs(), mixup=mixup)


def test_other_losses_give_no_rows() -> None:
    assert MixedLoss(MeanSquaredError(), 0.7).classifies
    settings: dict[str, Any] = MixedLoss(Classes(0.1).loss, 0.7).to_dict()
    assert settings["loss"]["label_smoothing"] == 0.1
