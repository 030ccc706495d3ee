"""How long `finetune` trains, what it averages and mixes, and what it says of that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lieref.cli import main
from lieref.train.epochs import default_epochs

TRAIN = ("finetune", "base.onnx", "--train", "train.npz", "--out", "out", "--batch", "8", "--method", "bias")


def history(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "history.json").read_text())
    return found


def test_epochs_that_nobody_asked_for_are_said_and_recorded(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*TRAIN]) == 0
    epochs = default_epochs(24, 8)
    assert f"epochs: {epochs}, which make {3 * epochs} steps (--epochs chooses)\n" in capsys.readouterr().err
    assert history(workplace)["recipe"]["epochs"] == len(history(workplace)["epochs"]) == epochs
    assert json.loads((workplace / "out" / "report.json").read_text())["epochs"] == epochs


def test_epochs_that_were_asked_for_are_not_said(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--epochs", "2"]) == 0
    assert "epochs:" not in capsys.readouterr().err


def test_averaging_and_mixing_are_recorded(workplace: Path) -> None:
    assert main([*TRAIN, "--epochs", "2", "--average", "--mixup", "0.3"]) == 0
    recipe = history(workplace)["recipe"]
    assert (recipe["average"], recipe["mixup"], recipe["patience"]) == (True, 0.3, None)


def test_a_run_that_ends_early_says_so(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--epochs", "40", "--lr", "0.5", "--validation", "0.3", "--patience", "2"]) == 0
    found = history(workplace)
    done, best = len(found["epochs"]), found["best_epoch"]
    assert done == best + 2 < 40
    assert f"stopped after epoch {done} of 40: none did better than epoch {best}\n" in capsys.readouterr().err
    assert json.loads((workplace / "out" / "report.json").read_text())["epochs"] == done


def test_patience_without_a_validation_set_is_refused(workplace: Path, fails: Callable[..., str]) -> None:
    assert "--patience judges by a validation set; add --validation 0.2" in fails(*TRAIN, "--patience", "2")


def test_what_is_kept_is_read_from_samples_of_its_own(
    workplace: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    keeping = (*TRAIN[:-1], "lora", "--option", "init_lora_weights=corda_kpm", "--epochs", "1")
    assert "add --original" in fails(*keeping)
    assert "--original is for quantised files, and for --option" in fails(*TRAIN, "--original", "test.npz")
    assert main([*keeping, "--original", "test.npz"]) == 0
    assert "corda_kpm: what the network does with test.npz is kept" in capsys.readouterr().err
    assert json.loads((workplace / "out" / "report.json").read_text())["original"] == "test.npz"


def test_decay_in_the_algebra_is_recorded_with_the_norms_it_ends_at(workplace: Path, fails: Callable[..., str]) -> None:
    assert "is for a method that is named" in fails(*TRAIN[:-1], "auto", "--algebra-decay", "1")
    assert main([*TRAIN, "--epochs", "2", "--algebra-decay", "0.5"]) == 0
    found = history(workplace)
    assert found["recipe"]["algebra_decay"] == 0.5
    assert all(epoch["xi_norm"] > 0 for epoch in found["epochs"])


def test_what_a_trust_region_holds_is_said_and_recorded(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--epochs", "2", "--lr", "0.1", "--trust-region", "0.01"]) == 0
    held = history(workplace)["held"]
    assert held
    assert "the trust region 0.01 held " in capsys.readouterr().err
