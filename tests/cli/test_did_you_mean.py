"""Of a wrong name the near ones are named, by one mechanism, wherever the names are those of a fixed table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest

from lieref._text import close_names, did_you_mean
from lieref.cli import main
from lieref.group.registry import make_action
from lieref.train.task_registry import make_task
from tests.cli.test_help import EVERY, find

TRAIN = "finetune base.onnx --train train.npz --out out"
CHECK = "golden check --backend lieref.conformance.reference:run"


def test_the_closest_names_come_first_and_capitals_make_no_difference() -> None:
    known = ["lora", "liera", "hira", "full"]
    assert close_names("LoRa", known, 1) == ["lora"]
    assert close_names("lira", known) == ["liera", "lora", "hira"]
    assert close_names("l" * 10**7, known) == []
    assert did_you_mean("fulll", known) == "; did you mean full?"
    assert did_you_mean("xyz", known) == did_you_mean(None, known) == did_you_mean("lora", []) == ""


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("mereg", "merge"),
        ("bundle creat", "create"),
        ("golden chekc", "check"),
        ("device mark_good", "mark-good"),
        (f"{TRAIN} --methdo lora", "--method"),
        ("ab test a.csv b.csv --label l.csv", "--labels"),
        ("device status --stroe s", "--store"),
        (f"{TRAIN} --task multi-label", "multilabel"),
        (f"{TRAIN} --augment flp", "flip"),
        (f"{TRAIN} --method lroa", "such as lora"),
        (f"{TRAIN} --method low-rank+hadamrad+exp", "such as hadamard"),
        (f"{TRAIN} --method low-rank+hadamard+cayely", "cayley"),
        (f"{TRAIN} --method low-rnak+hadamard+exp", "such as low-rank"),
        (f"{TRAIN} --method lora --option lora_droput=0.1", "lora_dropout"),
        (f"{TRAIN} --target hed", "close: head"),
        ("methods LoRA", "such as lora"),
        ("eval base.onnx --data test.npz --layout nchw", "NCHW"),
        ("eval base.onnx --data test.npz --semantics tflite_reference", "tflite-reference"),
        ("export a --base base.onnx --format c_header -o out.h", "c-header"),
        ("golden export out --format vector", "vectors"),
        (f"{CHECK} --profile f64", "fp64"),
        (f"{CHECK} --family con_vpj", "conv_vjp"),
        (f"{CHECK} --semantics cmsis", "cmsis-nn"),
        ("compare base.onnx --train train.npz --test test.npz --out out --methods scale --baseline scla", "scale"),
        ("compare base.onnx --train train.npz --test test.npz --out out --option use_rsolra=true", "use_rslora"),
    ],
)
def test_what_somebody_may_have_meant_is_said(workplace: Path, line: str, near: str, fails: Callable[..., str]) -> None:
    said = fails(*line.split())
    assert any(words in said for words in ("did you mean ", "such as ", "close: ")), said
    assert near in said, said


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_option_has_its_near_ones(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """With a letter too many any long option is named."""
    command = find(path)
    for param in command.params:
        name = max(param.opts, key=len)
        if isinstance(param, click.Option):
            assert main([*path, f"{name}x"]) == 2
            said = capsys.readouterr().err
            assert f"No such option '{name}x'; did you mean {name}" in said
            assert said.count("\n") == 1


def test_names_of_the_library_have_theirs() -> None:
    with pytest.raises(Exception, match="did you mean classes"):
        make_task("class")
    with pytest.raises(Exception, match="did you mean label_smoothing"):
        make_task("classes", smoothing=0.1)
    with pytest.raises(Exception, match="did you mean columns"):
        make_action("column")
