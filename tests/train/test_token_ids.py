"""Ids of tokens: those of the vocabulary, and more than padding in each sample."""

from __future__ import annotations

import numpy as np
import pytest

import lieref
from lieref.errors import DomainError
from lieref.model.vocabulary import Vocabulary
from lieref.train.epoch import Part, evaluate
from lieref.train.task_registry import make_task
from lieref.train.token_ids import check_ids, known_padding, lengths_of
from tests.model.encoder_net import ROWS, encoder_net, load_net

IDS = np.array([[2, 3, 0, 0], [4, 0, 0, 0], [5, 6, 1, 2]])


@pytest.mark.parametrize("value", [-1, 7, 9])
def test_an_id_outside_the_vocabulary_is_named(value: int) -> None:
    x = IDS.copy()
    x[1, 2] = value
    with pytest.raises(
        DomainError, match=rf"`x` must be ids of the vocabulary, 0 to 6; got {value} in sample 1, place 2"
    ):
        check_ids("f", x, Vocabulary(7, 0))
    check_ids("f", x, None)


def test_a_fraction_is_no_id() -> None:
    check_ids("f", IDS.astype(np.float32), Vocabulary(7, 0))
    with pytest.raises(DomainError, match=r"0 to 6; got 2\.5 in sample 0, place 0"):
        check_ids("f", IDS + 0.5, Vocabulary(7, 0))


def test_a_sample_of_padding_alone_is_named() -> None:
    check_ids("f", IDS, Vocabulary(7, 0))
    check_ids("f", np.zeros_like(IDS), Vocabulary(7, None))
    with pytest.raises(DomainError, match=r"got 0 alone in sample 3"):
        check_ids("f", np.concatenate([IDS, np.zeros_like(IDS)]), Vocabulary(7, 0))
    with pytest.raises(DomainError, match=r"got 3 alone in sample 0"):
        check_ids("f", np.full((1, 4), 3), Vocabulary(7, None), padding=3)


def test_which_id_is_padding() -> None:
    assert known_padding("f", Vocabulary(7, 2), None, "d.npz") == 2
    assert known_padding("f", Vocabulary(7, None), 3, "d.npz") == 3
    assert known_padding("f", Vocabulary(7, None), None, "d.npz") is None
    with pytest.raises(DomainError, match=r"d.npz must be 2, which the network masks; got 3"):
        known_padding("f", Vocabulary(7, 2), 3, "d.npz")
    with pytest.raises(DomainError, match=r"in the vocabulary, 0 to 6; got 7"):
        known_padding("f", Vocabulary(7, None), 7, "d.npz")


def test_lengths_are_counted_without_padding() -> None:
    assert lengths_of(IDS, 0) == {"places": 4, "padding": 0, "shortest": 1, "median": 2, "longest": 4}
    assert lengths_of(IDS, None) == {"places": 4, "padding": None}


def test_a_network_says_what_it_reads() -> None:
    assert load_net(encoder_net()).vocabulary == Vocabulary(ROWS, 0)
    assert load_net(encoder_net(padding=None)).vocabulary == Vocabulary(ROWS, None)


@pytest.mark.parametrize(
    ("value", "message"), [(-1, "got -1 in sample 2"), (ROWS, f"got {ROWS} in sample 2"), (0, "0 alone in sample 2")]
)
def test_fit_refuses_them_before_the_first_step(value: int, message: str) -> None:
    model = load_net(encoder_net())
    model.attach("lora", r=1)
    x = np.tile([3, 4, 1, 0, 0], (6, 1))
    x[2] = value
    before = {name: array.copy() for name, array in model.parameters().items()}
    with pytest.raises(DomainError, match=message):
        lieref.fit(model, x, np.arange(6) % 2, epochs=1)
    assert all(np.array_equal(before[name], array) for name, array in model.parameters().items())


def test_an_evaluation_holds_few_samples_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = load_net(encoder_net()), []
    monkeypatch.setattr(model, "logits", lambda x, **_: sizes.append(len(x)) or np.zeros((len(x), 2), np.float32))
    x, y = np.tile([3, 4, 1, 0, 0], (70, 1)), np.arange(70) % 2
    score = evaluate(model, Part(x, y, np.arange(70)), make_task("classes"))
    assert sizes == [32, 32, 6]
    assert score.accuracy == 0.5
    assert score.loss == pytest.approx(np.log(2))
