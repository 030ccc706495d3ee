"""A user's script runs without an old name, names everything public, and its types are complete."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path

import onnx
import pytest

import lieref
from tests import user_script
from tests.cli.helpers import small_network, write_data

SCRIPT = Path(user_script.__file__)

WRONG = """
import lieref
model: lieref.Model = lieref.load("a.onnx")
lieref.laod("a.onnx")
lieref.load(3)
lieref.LieRAConfig(rank=4)
model.attach("liera").prediction
lieref.fit(model, [], epochs="ten")
lieref.linalg.expm("a")
"""


def test_it_runs(tmp_path: Path) -> None:
    onnx.save(small_network(), tmp_path / "base.onnx")
    write_data(tmp_path / "train.npz")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", lieref.LierefWarning)
        found = user_script.embedded(tmp_path / "base.onnx", tmp_path / "train.npz", tmp_path)
        user_script.researcher(tmp_path / "base.onnx", tmp_path / "train.npz")
        user_script.porter()
    assert 0.0 <= found.accuracy <= 1.0


def test_it_has_every_public_name() -> None:
    used = set(re.findall(r"\blieref\.(\w+)", SCRIPT.read_text(encoding="utf-8")))
    assert lieref._PLACES.keys() <= used


def test_its_types_are_complete_and_mistakes_are_found(tmp_path: Path) -> None:
    """One run of mypy for both; the cache of the checkout keeps it short."""
    pytest.importorskip("mypy")
    assert (Path(lieref.__file__).parent / "py.typed").exists()
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", str(SCRIPT), str(wrong)]
    out = subprocess.run(command, capture_output=True, text=True, cwd=SCRIPT.parents[1])
    found = re.findall(r"^(.*):(\d+): error:", out.stdout, re.MULTILINE)
    assert {(Path(path).name, int(line)) for path, line in found} == {("wrong.py", line) for line in range(4, 10)}
