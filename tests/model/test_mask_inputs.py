"""Networks of several inputs that follow from the ids: against ONNX Runtime, which is fed all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import lieref
from lieref.errors import DomainError
from lieref.model.vocabulary import Vocabulary
from tests.model.encoder_net import ROWS, encoder_net

IDS = np.array([[2, 3, 4, 0, 0], [5, 1, 7, 6, 2], [3, 0, 0, 0, 0]])
pytestmark = pytest.mark.filterwarnings("ignore::lieref.model.speed.SlowPathWarning")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def in_onnx_runtime(path: Path, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    fed = {"input_ids": ids, "attention_mask": mask.astype(np.int64), "token_type_ids": np.zeros_like(ids)}
    (scores,) = session.run(None, {value.name: fed[value.name] for value in session.get_inputs()})
    return scores


@pytest.mark.parametrize("names", [INPUTS, INPUTS[:2], (INPUTS[0], INPUTS[2]), (INPUTS[1], INPUTS[0])])
@pytest.mark.parametrize("padding", [0, 2, None])
def test_the_mask_follows_from_the_ids(tmp_path: Path, names: tuple[str, ...], padding: int | None) -> None:
    onnx.save(encoder_net(None, inputs=names if names[0] == INPUTS[0] else names[::-1]), tmp_path / "net.onnx")
    model = lieref.load(tmp_path / "net.onnx", padding_id=padding)
    assert model.graph.inputs[0].name == "input_ids"
    assert set(model.derived_inputs) == {*names} - {"input_ids"}
    masks = INPUTS[1] in names and padding is not None
    assert model.vocabulary == Vocabulary(ROWS, padding if masks else None)
    mask = IDS != padding if padding is not None else np.ones_like(IDS)
    np.testing.assert_allclose(model.logits(IDS), in_onnx_runtime(tmp_path / "net.onnx", IDS, mask), rtol=1e-5)


@pytest.mark.parametrize("new", [False, True])
def test_a_merged_file_keeps_its_inputs(tmp_path: Path, new: bool) -> None:
    onnx.save(encoder_net(None, inputs=INPUTS), tmp_path / "net.onnx")
    model = lieref.load(tmp_path / "net.onnx", padding_id=0)
    model.attach("full", head=lieref.NewHead(3, "active", False) if new else None)
    lieref.fit(model, IDS, np.array([0, 1, 1]), epochs=2, learning_rate=0.05)
    adapted = model.logits(IDS)
    model.save_adapter(tmp_path / "out")
    again = lieref.load(tmp_path / "net.onnx", padding_id=0).load_adapter(tmp_path / "out")
    np.testing.assert_array_equal(again.logits(IDS), adapted)
    model.merge_and_unload().save(tmp_path / "merged.onnx")
    held = onnx.load(tmp_path / "merged.onnx").graph
    assert [value.name for value in held.input] == list(INPUTS)
    np.testing.assert_allclose(in_onnx_runtime(tmp_path / "merged.onnx", IDS, IDS != 0), adapted, rtol=1e-5, atol=1e-6)


def test_what_follows_may_be_given_along_with_the_ids(tmp_path: Path) -> None:
    onnx.save(encoder_net(None, inputs=INPUTS), tmp_path / "net.onnx")
    model = lieref.load(tmp_path / "net.onnx", padding_id=0)
    given = {"input_ids": IDS, "attention_mask": (IDS != 0).astype(np.int64), "token_type_ids": np.zeros_like(IDS)}
    np.testing.assert_array_equal(model.logits(given), model.logits(IDS))
    np.testing.assert_array_equal(model.logits({"input_ids": IDS}), model.logits(IDS))
    for name, rule in (("attention_mask", "0 where an id is padding"), ("token_type_ids", "must be 0")):
        with pytest.raises(DomainError, match=f"predict: {name} .* {rule}"):
            model.logits({**given, name: 1 - given[name]})
    with pytest.raises(DomainError, match=r"each input, input_ids; got no 'input_ids'"):
        model.logits({"attention_mask": given["attention_mask"]})


def test_an_input_that_follows_from_nothing_is_one_of_its_own(tmp_path: Path) -> None:
    onnx.save(encoder_net(None, inputs=("input_ids", "attention_mask", "other_ids")), tmp_path / "net.onnx")
    model = lieref.load(tmp_path / "net.onnx", padding_id=0)
    assert [info.name for info in model.inputs] == ["input_ids", "attention_mask", "other_ids"]
    assert model.derived_inputs == ()


def test_pairs_of_sentences_give_their_kinds_themselves(tmp_path: Path) -> None:
    onnx.save(encoder_net(None, inputs=INPUTS), tmp_path / "net.onnx")
    model = lieref.load(tmp_path / "net.onnx", derive=False)
    assert model.derived_inputs == ()
    given = {
        "input_ids": IDS,
        "attention_mask": (IDS != 0).astype(np.int64),
        "token_type_ids": np.arange(15).reshape(3, 5) % 2,
    }
    (wanted,) = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(None, given)
    np.testing.assert_allclose(model.logits(given), wanted, rtol=1e-5, atol=1e-6)
    model.attach("full", head=lieref.NewHead(3, "active", False))
    lieref.fit(model, given, np.array([0, 1, 2]), epochs=2)
    adapted = model.logits(given)
    model.save_adapter(tmp_path / "out")
    model.merge_and_unload().save(tmp_path / "merged.onnx")
    (merged,) = onnxruntime.InferenceSession(tmp_path / "merged.onnx").run(None, given)
    np.testing.assert_allclose(merged, adapted, rtol=1e-5, atol=1e-6)
    again = lieref.load(tmp_path / "net.onnx").load_adapter(tmp_path / "out")  # for single sentences
    single = {**given, "token_type_ids": np.zeros_like(IDS), "attention_mask": np.ones_like(IDS)}
    np.testing.assert_allclose(
        again.logits(IDS), lieref.load(tmp_path / "merged.onnx", derive=False).logits(single), rtol=1e-5
    )
