"""Sentences and ids from the command line: trained on, measured, merged, and refused in one line where wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import lieref
from lieref.cli import main
from lieref.errors import DomainError
from tests.model.encoder_net import ROWS, encoder_net
from tests.model.task_nets import NETS
from tests.train.texts import WORDS, write_tokenizer

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
TRAIN = ("finetune", "net.onnx", "--train", "train.tsv", "--out", "out", "--epochs", "1", "--tokenizer", "t.json")
IDS = ("finetune", "net.onnx", "--train", "ids.npz", "--out", "out", "--epochs", "1")
pytest.importorskip("tokenizers", reason="the extra `text` is not installed")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with net.onnx, t.json, train.tsv, test.jsonl, test.csv and ids.npz: good is 1, bad is 0."""
    monkeypatch.chdir(tmp_path)
    onnx.save(encoder_net(), "net.onnx")
    write_tokenizer(Path("t.json"))
    rng = np.random.default_rng(0)
    texts, labels = [], np.arange(40) % 2
    for label in labels:
        words = ["the", "a", "film"][: rng.integers(1, 4)]
        texts.append(" ".join([*words, ["bad", "good"][label]]))
    texts[0] += " the film a"
    Path("train.tsv").write_text("text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in zip(texts, labels, strict=True)))
    lines = [json.dumps({"text": t, "label": int(y)}) for t, y in zip(texts, labels, strict=True)]
    Path("test.jsonl").write_text("\n".join(lines[1:]))
    Path("test.csv").write_text("label,text\n" + "".join(f'{y},"{t}"\n' for t, y in zip(texts, labels, strict=True)))
    ids = np.zeros((40, 5), np.int16)
    for row, text in enumerate(texts):
        tokens = [2, *(WORDS.index(word) for word in text.split())][:5]
        ids[row, : len(tokens)] = tokens
    np.savez("ids.npz", x=ids, y=labels)
    return tmp_path


def test_sentences_are_learnt_and_what_was_cut_is_said(
    folder: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--method", "full", "--epochs", "30", "--batch", "8", "--lr", "0.05", "--test", "test.jsonl")
    assert main([*TRAIN, *options]) == 0
    said = capsys.readouterr().err
    assert "train.tsv: 40 texts of 3 to 5 tokens, median 4, padded with id 0 on the right to 5; 1 cut (line 2)" in said
    assert "test.jsonl: 39 texts" in said
    report = json.loads(Path("out/report.json").read_text())
    assert report["accuracy"] == 1.0
    assert report["text"] == {
        "vocabulary": ROWS, "places": 5, "padding": 0, "shortest": 3, "median": 4, "longest": 5, "cut": 1,
        "side": "right", "tokenizer": "t.json",
    }  # fmt: skip
    assert report["test_text"]["cut"] == 0
    measured = run_json("eval", "net.onnx", "--adapter", "out", "--data", "test.csv", "--tokenizer", "t.json")
    assert (measured["accuracy"], measured["text"]["cut"]) == (1.0, 1)
    # The merged file answers alike in another runtime, from the same ids.
    run_json("merge", "net.onnx", "out", "-o", "merged.onnx")
    held = np.load("ids.npz")
    (scores,) = onnxruntime.InferenceSession("merged.onnx").run(None, {"x": held["x"].astype(np.int64)})
    np.testing.assert_array_equal(np.argmax(scores, axis=1), held["y"])


def test_sentences_and_their_ids_train_to_the_same_numbers(folder: Path, run_json: RunJson) -> None:
    texts = run_json(*TRAIN, "--test", "ids.npz")
    ids = run_json(*IDS[:4], "--out", "other", *IDS[6:], "--test", "ids.npz")
    assert texts["loss"] == ids["loss"]
    assert ids["text"] == {"vocabulary": ROWS, "places": 5, "padding": 0, "shortest": 3, "median": 4, "longest": 5}


def test_a_new_head_for_sentences_of_named_classes(folder: Path, run_json: RunJson) -> None:
    Path("train.tsv").write_text("text\tlabel\n" + "good film\tpos\nbad\tneg\nthe film\tmixed\n" * 8)
    report = run_json(*TRAIN, "--head", "new", "--features", "active", "--method", "lora", "--batch", "4")
    assert report["classes"] == ["mixed", "neg", "pos"]
    Path("test.tsv").write_text("text\tlabel\ngood\tgreat\n")
    with pytest.raises(AssertionError, match=r"must be among the model's \(mixed, neg, pos\); got great"):
        run_json("eval", "net.onnx", "--adapter", "out", "--data", "test.tsv", "--tokenizer", "t.json")


def test_next_tokens_of_sentences_leave_out_padding(folder: Path, run_json: RunJson) -> None:
    onnx.save(NETS["tokens"](), "net.onnx")
    write_tokenizer(Path("t.json"), WORDS[:7])
    report = run_json(*TRAIN, "--task", "tokens", "--test", "train.tsv", "--method", "full", "--batch", "8")
    assert report["task"]["ignore_index"] == 0
    assert report["metrics"]["perplexity"] < report["base_metrics"]["perplexity"]
    measured = run_json("eval", "net.onnx", "--adapter", "out", "--data", "train.tsv", "--tokenizer", "t.json")
    assert measured["loss"] == pytest.approx(report["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train.tsv", "sentence\tlabel\na\t1\n", "the header of train.tsv must have one column 'text'"),
        ("train.tsv", "text\tlabel\na\t1\n\t0\n", "train.tsv, line 3 must hold a text"),
        ("train.tsv", "text\tlabel\na\0\t1\n", "train.tsv, line 2 must be text; got a NUL byte"),
        ("train.tsv", "text\tlabel\na\t0\nb\t2\n", "load_data: `y` must be 0 to 1; got 2"),
        ("train.jsonl", '{"text": "a", "label": 1}\n{"text"\n', "train.jsonl, line 2 must be JSON"),
        ("train.tsv", None, "must have at most"),
        ("t.json", "{}", "t.json must be a tokenizer.json"),
    ],
)
def test_wrong_files(folder: Path, fails: Fails, name: str, content: str | None, words: str) -> None:
    if content is None:
        with Path(name).open("wb") as file:
            file.truncate(10**8)
    else:
        Path(name).write_text(content)
    line = fails(*(name if part == "train.tsv" and name != "t.json" else part for part in TRAIN))
    assert words in line


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ((3, 1), ROWS, f"ids.npz must be ids of the vocabulary, 0 to {ROWS - 1}; got {ROWS} in sample 3, place 1"),
        ((3, 1), -1, "got -1 in sample 3, place 1"),
        (4, 0, "got 0 alone in sample 4"),
    ],
)
@pytest.mark.parametrize("role", ["--train", "--test"])
def test_wrong_ids(folder: Path, fails: Fails, role: str, place: Any, value: int, words: str) -> None:
    held = dict(np.load("ids.npz"))
    np.savez("ok.npz", **held)
    held["x"][place] = value
    np.savez("ids.npz", **held)
    files = {"--train": "ok.npz", "--test": "ok.npz", role: "ids.npz"}
    assert words in fails("finetune", "net.onnx", "--out", "out", *(part for pair in files.items() for part in pair))


def test_ids_longer_than_the_network(folder: Path, fails: Fails) -> None:
    np.savez("ids.npz", x=np.ones((8, 6), np.int64), y=np.arange(8) % 2)
    assert "must fit the model's input (N, 5); got (8, 6)" in fails(*IDS)


def test_options_that_do_not_fit(folder: Path, fails: Fails) -> None:
    assert "at most 5, which the network takes; got 6" in fails(*TRAIN, "--max-length", "6")
    assert "must be 0, which the network masks; got 1" in fails(*TRAIN, "--pad-id", "1")
    assert "must be 0, which the network masks; got 1" in fails(*IDS, "--pad-id", "1")
    assert "add --tokenizer" in fails(*IDS, "--max-length", "3")
    assert "must have a tokenizer.json (--tokenizer)" in fails(*TRAIN[:-2])
    write_tokenizer(Path("t.json"), WORDS[:7])
    assert f"as the network's embedding has rows, {ROWS}; got 7" in fails(*TRAIN)


def test_labels_of_the_test_set_are_looked_at_before_a_new_head_is_trained(folder: Path, fails: Fails) -> None:
    Path("test.tsv").write_text("text\tlabel\ngood\t2\n")
    line = fails(*TRAIN, "--test", "test.tsv", "--head", "new", "--features", "active")
    assert line.startswith("error: load_data: `y` must")


def test_a_mask_input_follows_the_padding_of_the_tokenizer(
    folder: Path, run_json: RunJson, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("the", "[UNK]", "[CLS]", "good", "bad", "film", "[PAD]", "a")  # the id 0 is a word
    write_tokenizer(Path("t.json"), words)
    onnx.save(encoder_net(None, inputs=("input_ids", "attention_mask")), "net.onnx")
    assert main([*TRAIN, "--method", "full", "--batch", "8", "--test", "train.tsv"]) == 0
    assert "attention_mask is 0 where the id is 6, which is padding" in capsys.readouterr().err
    report = json.loads(Path("out/report.json").read_text())
    assert report["text"]["padding"] == 6
    run_json("merge", "net.onnx", "out", "-o", "merged.onnx")
    measured = run_json("eval", "merged.onnx", "--data", "train.tsv", "--tokenizer", "t.json")
    assert measured["loss"] == pytest.approx(report["loss"], rel=1e-5)
    # Fed with the mask, another runtime comes to the same loss on the first sentence of two tokens and the padding.
    ids = np.array([[2, 3, 6, 6, 6]])
    session = onnxruntime.InferenceSession("merged.onnx")
    (masked,) = session.run(None, {"input_ids": ids, "attention_mask": (ids != 6).astype(np.int64)})
    (bare,) = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    Path("one.tsv").write_text(f"text\tlabel\ngood\t{int(np.argmax(masked))}\n")
    one = run_json("eval", "merged.onnx", "--data", "one.tsv", "--tokenizer", "t.json")
    assert one["loss"] == pytest.approx(float(np.log(np.exp(masked - masked.max()).sum())), rel=1e-4)
    assert np.abs(masked - bare).max() > 1e-3


def test_the_id_of_padding_is_recorded_and_another_refused(folder: Path, run_json: RunJson, fails: Fails) -> None:
    onnx.save(encoder_net(None, inputs=("input_ids", "attention_mask")), "net.onnx")
    report = run_json(*IDS, "--pad-id", "0", "--method", "full", "--test", "ids.npz")
    section = json.loads(Path("out/adapter_config.json").read_text())["lieref"]
    assert section["padding_id"] == 0
    known = ("eval", "net.onnx", "--adapter", "out", "--data", "ids.npz")
    assert run_json(*known)["loss"] == run_json(*known, "--pad-id", "0")["loss"] == report["loss"]
    refused = "`padding_id` must be 0, with which the adapter in out was trained; got 6"
    assert refused in fails(*known, "--pad-id", "6")
    write_tokenizer(Path("t.json"), ("the", "[UNK]", "[CLS]", "good", "bad", "film", "[PAD]", "a"))
    assert refused in fails(*known[:-1], "train.tsv", "--tokenizer", "t.json")
    # The file that is merged has its mask as an input: no id is asked for.
    run_json("merge", "net.onnx", "out", "-o", "merged.onnx")
    assert run_json("eval", "merged.onnx", "--data", "ids.npz", "--pad-id", "0")["loss"] == pytest.approx(
        report["loss"]
    )
    model = lieref.load("net.onnx")
    with pytest.raises(DomainError, match=r"trained; got None \(load\(path, padding_id=0\), --pad-id\)"):
        model.load_adapter("out")
    with pytest.raises(DomainError, match="got None"):
        model.add_weighted_adapter(["out", "out"], [0.5, 0.5])
    lieref.load("net.onnx", padding_id=0).add_weighted_adapter(["out", "out"], [0.5, 0.5])


def test_masks_in_the_data_must_be_those_that_are_computed(folder: Path, run_json: RunJson, fails: Fails) -> None:
    onnx.save(encoder_net(None, inputs=("input_ids", "attention_mask", "token_type_ids")), "net.onnx")
    held = np.load("ids.npz")
    ids, mask = held["x"], (held["x"] != 0).astype(np.int64)
    np.savez("ids.npz", input_ids=ids, attention_mask=mask, token_type_ids=np.zeros_like(ids), y=held["y"])
    assert run_json(*IDS, "--pad-id", "0")["text"]["padding"] == 0
    assert "attention_mask of ids.npz must be 0 where an id is padding" in fails(*IDS, "--force")
    mask[3, 1] = 0
    np.savez("ids.npz", input_ids=ids, attention_mask=mask, y=held["y"])
    assert "attention_mask of ids.npz must be 0 where" in fails(*IDS, "--pad-id", "0", "--force")
    np.savez("ids.npz", input_ids=ids, token_type_ids=ids, y=held["y"])
    assert "token_type_ids of ids.npz must be 0, as it is computed" in fails(*IDS, "--pad-id", "0", "--force")


def test_masks_and_kinds_may_be_those_of_the_data(folder: Path, run_json: RunJson, fails: Fails) -> None:
    onnx.save(encoder_net(None, inputs=("input_ids", "attention_mask", "token_type_ids"), places=None), "net.onnx")
    ids, rng = np.load("ids.npz")["x"], np.random.default_rng(4)
    mask, kinds, labels = rng.integers(0, 2, ids.shape), rng.integers(0, 2, ids.shape), np.arange(40) % 2
    mask[:, 0] = 1
    given = {"input_ids": ids.astype(np.int64), "attention_mask": mask, "token_type_ids": kinds}
    np.savez("ids.npz", **given, y=labels)
    run_json(*IDS, "--given-masks", "--method", "full", "--batch", "8")
    run_json("merge", "net.onnx", "out", "-o", "merged.onnx")
    measured = run_json("eval", "merged.onnx", "--data", "ids.npz", "--given-masks")
    (scores,) = onnxruntime.InferenceSession("merged.onnx").run(None, given)
    scores -= scores.max(1, keepdims=True)
    loss = np.log(np.exp(scores).sum(1)) - scores[np.arange(40), labels]
    assert measured["loss"] == pytest.approx(float(loss.mean()), rel=1e-4)
    assert "must be 0 where an id is padding" in fails("eval", "merged.onnx", "--data", "ids.npz")
    assert "--given-masks is of an .npz" in fails(
        "eval", "net.onnx", "--given-masks", "--data", "train.tsv", "--tokenizer", "t.json"
    )


def test_a_network_of_numbers_takes_no_sentences(folder: Path, fails: Fails) -> None:
    onnx.save(NETS["classes"](), "net.onnx")
    assert "the model must read ids (N, T) for a tokenizer" in fails(*TRAIN)
