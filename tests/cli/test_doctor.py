"""What the doctor says of a good installation, of a broken one, and of one with nothing but click."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lieref
from lieref.cli import diagnosis, extras, main
from tests.cli.helpers import check_output

RunJson = Callable[..., dict[str, Any]]
PROJECT = Path(lieref.__file__).parents[1] / "pyproject.toml"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*diagnosis.OWN, "NUMBA_DISABLE_JIT"):
        if name != "LIEREF_CACHE_DIR":
            monkeypatch.delenv(name, raising=False)


def findings(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Run the doctor, who must find something, and return what."""
    assert main(["doctor", "--json", *options]) == 1
    report = json.loads(capsys.readouterr().out)
    check_output(["doctor"], report)
    assert not report["ok"]
    return "\n".join(f"{each['what']} -> {each['do']}" for each in report["findings"])


def test_nothing_is_wrong_here(run_json: RunJson, capsys: pytest.CaptureFixture[str]) -> None:
    report = run_json("doctor")
    check = report["self_check"]
    assert report["findings"] == check["failed"] == check["left_out"] == []
    assert check["passed"] == check["cases"] > 200
    assert 0 < check["engine_of_bound"] < 1
    assert report["machine"]["instruction_set"] in report["machine"]["instruction_sets"]
    assert main(["doctor", "--no-self-check"]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith("Nothing is wrong.\n")
    assert lieref.__version__ in printed


def test_a_kernel_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from lieref.conformance import reference

    run = reference.run
    monkeypatch.setattr(diagnosis, "FAMILIES", ("conv",))
    monkeypatch.setattr(diagnosis, "INTEGER_FAMILIES", ("integer_add",))
    monkeypatch.setattr(reference, "run", lambda *case: {name: 1.001 * y for name, y in run(*case).items()})
    monkeypatch.setattr("lieref.adapter.model.Model.logits", lambda self, x: 1e-3 + 0 * x[:, 0, 0, :1])
    said = findings(capsys)
    assert "golden cases fail, such as conv" in said
    assert "times its certified bound -> try a smaller set" in said


def test_what_is_set_wrongly_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIEREF_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("LIEREF_CACHEDIR", "x")
    monkeypatch.setenv("LIEREF_ISA", "avx9")
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    said = findings(capsys)
    assert "LIEREF_CACHEDIR is set, which nothing reads -> call it LIEREF_CACHE_DIR" in said
    assert "got 'avx9'" in said
    assert "NUMBA_DISABLE_JIT is set" in said
    assert f"cannot be kept in {tmp_path}/file/cache (" in said


def test_a_package_that_is_missing_is_a_finding_and_an_extra_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    """With click alone, and without scipy: in a process of its own, where they cannot be imported."""
    absent = [module for packages in extras.EXTRAS.values() for module in packages.values() if module != "click"]
    code = (
        "import importlib.util, sys\n"
        f"absent = {[*absent, 'scipy']!r}\n"
        "for name in absent: sys.modules[name] = None\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name in absent else find(name, *rest)\n"
        "from lieref.cli import main\n"
        "sys.exit(main(['doctor']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert (
        "onnx, matplotlib, jinja2, markupsafe, scikit-learn, pillow missing: pip install 'lieref[app]'" in done.stdout
    )
    assert done.stdout.count("wrong: ") == 1
    assert "wrong: scipy cannot be imported" in done.stdout
    assert "do: pip uninstall scipy; pip install 'lieref[app]'" in done.stdout


@pytest.mark.skipif(not PROJECT.exists(), reason="not a checkout")
def test_the_extras_are_those_of_the_package() -> None:
    declared = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]
    named = {extra: [line.partition(">")[0] for line in lines] for extra, lines in declared.items() if extra != "test"}
    assert {extra: list(packages) for extra, packages in extras.EXTRAS.items()} == named
