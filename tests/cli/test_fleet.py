"""`lieref fleet`: a manifest, a folder, a table; and what is wrong with them, in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lieref.adapter.bundle.signing import make_key
from lieref.adapter.folder import read_adapter
from lieref.cli import main
from lieref.evaluate import on_dask
from tests.cli.helpers import small_network, snapshot, write_data

SETTINGS = 'method = "liera"\nrank = 1\nepochs = 2\nlearning_rate = 0.05\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(small_network(), tmp_path / "base.onnx")
    for number, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        write_data(tmp_path / name / "train.npz", 20, number)
        write_data(tmp_path / name / "test.npz", 9, number + 5)
    return tmp_path


def manifest(folder: Path, more: str = "", settings: str = SETTINGS, base: str = "base.onnx") -> str:
    text = f'base = "{base}"\n{settings}devices = "*/train.npz"\ntest = "*/test.npz"\n{more}'
    (folder / "fleet.toml").write_text(text)
    return str(folder / "fleet.toml")


def report(folder: Path, *arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["fleet", str(folder / "fleet.toml"), "--out", str(folder / "out"), "--json", *arguments]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert printed == json.loads((folder / "out" / "fleet.json").read_text())
    return printed


def test_a_fleet_has_adapters_bundles_and_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_key(folder / "key")
    (folder / "c").mkdir()
    (folder / "c" / "train.npz").write_bytes(b"nothing")
    manifest(folder, '[bundle]\nkey = "key"\nversion = "3"\n')
    found = report(folder, capsys=capsys)
    rows = {row["device"]: row for row in found["devices"]}
    assert found["devices"][0]["device"] == "c"  # the worst first
    assert "must be a whole .npz file" in rows["c"]["failed"]
    assert found["summary"]["failed"] == 1
    for name in "ab":
        read_adapter(folder / "out" / "adapters" / name)
        assert (rows[name]["judged"], rows[name]["judged_on"], rows[name]["samples"]) == (9, "test", 20)
        assert rows[name]["bundle_bytes"] > rows[name]["update_bytes"] > 0
        assert (folder / "out" / "bundles" / name / "adapter_model.safetensors").exists()
    # again, in a table: nothing is done twice
    before = snapshot(folder / "out")
    assert main(["fleet", str(folder / "fleet.toml"), "--out", str(folder / "out"), "--resume"]) == 0
    assert snapshot(folder / "out") == before
    printed = capsys.readouterr()
    assert "Devices, the worst first" in printed.out
    assert "Mean gain" in printed.out
    assert "c has no adapter: read_npz:" in printed.err
    # and as a page
    assert main(["report", str(folder / "out")]) == 0
    page = capsys.readouterr().out
    assert page.startswith("# Fine-tuning of a fleet: fleet.toml")
    rows = page.partition("### Each device\n\n")[2].partition("\n\n")[0].split("\n")[2:]
    assert [line.split(" | ")[0] for line in rows] == [f"| {row['device']}" for row in found["devices"]]
    assert found["base"] in page


def test_rounds_make_one_adapter_that_devices_begin_with(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest(folder)
    found = report(folder, "--rounds", "2", capsys=capsys)
    assert [made["round"] for made in found["rounds"]] == [1, 2]
    assert {row["kept"] for row in found["devices"]} <= {"base", "start"}
    read_adapter(folder / "out" / "fleet")
    assert main(["fleet", str(folder / "fleet.toml"), "--out", str(folder / "out"), "--rounds", "2", "--resume"]) == 0
    assert "round 2: began at" in capsys.readouterr().err
    for name, settings in (("on", "epochs = 2\n"), ("composed", f"{SETTINGS}compose = true\n")):
        manifest(folder, settings=f'start = "out/fleet"\n{settings}')
        assert main(["fleet", str(folder / "fleet.toml"), "--out", str(folder / name)]) == 0
        assert json.loads((folder / name / "fleet.json").read_text())["start"]
    manifest(folder, settings='start = "out/fleet"\nmethod = "scale"\ncompose = true\n')
    capsys.readouterr()
    assert main(["fleet", str(folder / "fleet.toml"), "--out", str(folder / "no")]) == 2
    assert "`adapters` must share group and action" in capsys.readouterr().err
    assert not (folder / "no").exists()


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> str:
    before = snapshot(folder)
    capsys.readouterr()
    assert main(["fleet", str(folder / "fleet.toml"), "--out", str(folder / "out"), *arguments]) == status
    assert snapshot(folder) == before
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_what_is_wrong_is_one_line_and_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the manifest must be a readable file" in refused(folder, capsys)
    manifest(folder, base="gone.onnx")
    assert "`base` must be a file; got" in refused(folder, capsys)
    manifest(folder, "rank = [", settings="")
    assert "must be TOML" in refused(folder, capsys)
    manifest(folder, "[bundle]\nkey = 'gone'\n")
    assert "`bundle.key` must be the folder of a key" in refused(folder, capsys)
    manifest(folder, settings='method = "lierra"\n')
    assert "lierra" in refused(folder, capsys)
    manifest(folder, settings='method = "flora"\nrank = 1\n')
    assert "for their mean to have the same form; got flora" in refused(folder, capsys, "--rounds", "2")
    manifest(folder, settings='method = "auto"\n')
    assert "and name `method`" in refused(folder, capsys, "--rounds", "2")
    manifest(folder, base="a/train.npz")
    assert "ONNX" in refused(folder, capsys)
    manifest(folder, settings='semantics = "xnnpack"\n')
    assert "`semantics` must be left out where `base` is a float network" in refused(folder, capsys)
    manifest(folder)
    assert "name one" in refused(folder, capsys, "--jobs", "2", "--dask", "tcp://127.0.0.1:1")


def test_what_is_done_is_kept_where_a_later_run_fails(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(folder)
    report(folder, capsys=capsys)
    assert "is not empty; add --resume" in refused(folder, capsys)
    onnx.save(small_network(1), folder / "other.onnx")
    manifest(folder, base="other.onnx")
    assert "must be of the same study; it has base" in refused(folder, capsys, "--resume")
    manifest(folder)
    (folder / "c").mkdir()
    write_data(folder / "c" / "train.npz", 20, 3)
    write_data(folder / "c" / "test.npz", 9, 4)
    monkeypatch.setattr(on_dask, "SECONDS_TO_ANSWER", 1)
    error = refused(folder, capsys, "--resume", "--dask", "tcp://127.0.0.1:1")
    assert "`dask` must be the address of a scheduler that answers in 1 s; got tcp://127.0.0.1:1" in error
    assert len(report(folder, "--resume", capsys=capsys)["devices"]) == 3


def test_devices_that_all_fail_are_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        (folder / name / "train.npz").write_bytes(b"")
    manifest(folder)
    assert main(["fleet", str(folder / "fleet.toml"), "--out", str(folder / "out")]) == 2
    assert "at least one device must be adapted; all 2 failed, the first: a: " in capsys.readouterr().err


def test_a_folder_that_is_no_fleet_is_not_gone_on_in(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest(folder)
    (folder / "out").mkdir()
    (folder / "out" / "mine.txt").write_text("mine")
    assert "there is no fleet in" in refused(folder, capsys, "--resume")


def test_a_loss_is_no_percentage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        for part in ("train", "test"):
            write_data(folder / name / f"{part}.npz", 20, y=rng.normal(size=(20, 3)).astype(np.float32))
    manifest(folder, settings='method = "scale"\nepochs = 2\ntask = "numbers"\n')
    assert main(["fleet", str(folder / "fleet.toml"), "--out", str(folder / "out")]) == 0
    printed = capsys.readouterr()
    found = json.loads((folder / "out" / "fleet.json").read_text())
    assert (found["metric"], found["less_is_better"]) == ("loss", True)
    gains = [row["base"] - row["adapted"] for row in found["devices"]]
    assert found["summary"]["mean_gain"] == pytest.approx(sum(gains) / 2)
    assert "Devices, the worst first, by loss" in printed.out
    assert "points" not in printed.out
    assert main(["fleet", str(folder / "fleet.toml"), "--out", str(folder / "rounds"), "--rounds", "1"]) == 0
    error = capsys.readouterr().err
    assert "round 1: began at loss " in error
