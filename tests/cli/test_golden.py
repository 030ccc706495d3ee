"""`lieref golden`: exit statuses, reports, and exports other programs can read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.cli import main
from lieref.conformance.vectors import core_path, read_vectors

REFERENCE = "lieref.conformance.reference:run"
ROOT = Path(__file__).parents[2]


Golden = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def golden(capfd: pytest.CaptureFixture[str]) -> Golden:
    """Run the command in this process, for one of its own takes seconds to import what it needs."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        status = main(["golden", *map(str, arguments)])
        said = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, status, said.out, said.err)

    return run


def test_the_program_itself() -> None:
    command = [sys.executable, "-m", "lieref", "golden", "check", "--backend", REFERENCE, "--family", "tucker"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("OK: ")


def test_check_passes_and_says_so(golden: Golden, tmp_path: Path) -> None:
    junit = tmp_path / "report.xml"
    done = golden("check", "--backend", REFERENCE, "--family", "tucker", "--family", "atoms", "--junit", junit)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "OK: 10 PASS (profile as the dtype)"
    assert 'failures="0"' in junit.read_text()


def test_check_fails_with_a_reason(golden: Golden, tmp_path: Path) -> None:
    port = tmp_path / "port.py"
    port.write_text(
        "from lieref.conformance import reference\n"
        "def run(op, inputs, attrs):\n"
        "    return reference.run(op, inputs, {**attrs, 'scaling': 1.0} if 'scaling' in attrs else attrs)\n"
    )
    done = golden("check", "--backend", f"{port}:run", "--family", "tucker", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert report["diagnoses"][0] == {"what": "a missing scaling", "cases": 6}


def test_what_a_port_prints_stays_out_of_the_report(golden: Golden, tmp_path: Path) -> None:
    port = tmp_path / "port.py"
    port.write_text(
        "import os\n"
        "from lieref.conformance import reference\n"
        "print('loaded')\n"
        "def run(op, inputs, attrs):\n"
        "    print('from Python')\n"
        "    os.write(1, b'from C\\n')\n"
        "    return reference.run(op, inputs, attrs)\n"
    )
    done = golden("check", "--backend", f"{port}:run", "--family", "tucker", "--json")
    assert json.loads(done.stdout)["ok"] is True
    assert {"loaded", "from Python", "from C"} <= set(done.stderr.splitlines())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "give one of --backend, --exe and --outputs"),
        (("--backend", REFERENCE, "--exe", "x"), "give one of --backend, --exe and --outputs"),
        (("--backend", "nowhere:run"), "`spec` must name a callable that can be imported"),
        (("--backend", REFERENCE, "--profile", "fp8"), "`name` must be one of fp64"),
        (("--backend", REFERENCE, "--family", "x"), "`families` must be among"),
        (("--backend", REFERENCE, "--vectors", "/nowhere"), "must be a manifest of golden vectors"),
        (("--backend", REFERENCE, "--xfails", "/nowhere"), "must be a text file"),
        (("--outputs", "/nowhere"), "`folder` must exist"),
        (("--exe", "./nowhere --fast"), "there is no program ./nowhere that can be started"),
        (("--exe", "./driver 'half"), "`command` must be a command line; No closing quotation"),
    ],
)
def test_wrong_use_is_one_line_and_status_two(golden: Golden, arguments: tuple[str, ...], line: str) -> None:
    done = golden("check", *arguments)
    assert done.returncode == 2
    assert line in done.stderr
    assert "Traceback" not in done.stderr


def test_export_copies_the_core_set_byte_for_byte(golden: Golden, tmp_path: Path) -> None:
    assert golden("export", tmp_path / "v").returncode == 0
    for path in core_path().rglob("*"):
        if path.is_file():
            assert (tmp_path / "v" / path.relative_to(core_path())).read_bytes() == path.read_bytes(), path
    again = golden("export", tmp_path / "v")
    assert again.returncode == 2
    assert "`folder` must be empty" in again.stderr


def test_onnx_export_runs_in_onnxruntime(golden: Golden, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    assert golden("export", tmp_path / "o", "--format", "onnx").returncode == 0
    folders = sorted((tmp_path / "o").iterdir())
    assert len(folders) > 30
    for folder in folders:
        model = onnx.load(folder / "model.onnx")
        onnx.checker.check_model(model)
        data = sorted((folder / "test_data_set_0").glob("input_*.pb"))
        arrays = [onnx.numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes())) for path in data]
        feeds = dict(zip((i.name for i in model.graph.input), arrays, strict=True))
        if arrays[0].dtype == np.float64:
            continue  # onnxruntime has no float64 convolution
        session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        output = onnx.TensorProto.FromString((folder / "test_data_set_0" / "output_0.pb").read_bytes())
        expected = onnx.numpy_helper.to_array(output)
        np.testing.assert_allclose(session.run(None, feeds)[0], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_c_headers_compile_and_hold_the_numbers(golden: Golden, tmp_path: Path) -> None:
    import shutil

    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    assert golden("export", tmp_path / "c", "--format", "c", "--family", "conv").returncode == 0
    case = next(c for c in read_vectors()[0] if c.id == "conv_f32/5")
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "c/conv_f32/5.h"\n'
        "int main(void) { double sum = 0; for (int i = 0; i < conv_f32_5_x_shape[0] * conv_f32_5_x_shape[1]"
        " * conv_f32_5_x_shape[2] * conv_f32_5_x_shape[3]; i++) sum += conv_f32_5_x[i];"
        ' printf("%a %a\\n", sum, conv_f32_5_expected_y[0]); return conv_f32_5_tolerance_y[0] <= 0; }\n'
    )
    flags = ["-std=c99", "-pedantic", "-Wall", "-Wno-unused-variable", "-Werror"]
    subprocess.run([compiler, *flags, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    printed = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout.split()
    total = 0.0
    for value in case.inputs["x"].flat:
        total += float(value)
    assert [float.fromhex(text) for text in printed] == [total, case.expected["y"].hi.flat[0]]


def test_safetensors_export_holds_inputs_and_tolerances(golden: Golden, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    assert golden("export", tmp_path / "s", "--format", "safetensors", "--family", "conv_vjp").returncode == 0
    case = next(c for c in read_vectors()[0] if c.id == "conv_vjp_f32/3")
    inputs = safetensors.load_file(tmp_path / "s" / "conv_vjp_f32" / "3.input.safetensors")
    expected = safetensors.load_file(tmp_path / "s" / "conv_vjp_f32" / "3.expected.safetensors")
    for name, value in case.inputs.items():
        np.testing.assert_array_equal(inputs[name], value)
    np.testing.assert_array_equal(expected["x_bar.hi"], case.expected["x_bar"].hi)
    assert (expected["x_bar.tolerance"][case.expected["x_bar"].hi != 0] > 0).all()


def test_full_export_needs_an_empty_folder_before_any_work(golden: Golden, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = golden("export", tmp_path, "--full")
    assert done.returncode == 2
    assert "`folder` must be empty" in done.stderr


def run_pytest(tmp_path: Path, *arguments: str) -> Any:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), *arguments]
    if not any(p.name.startswith("lieref") for p in _distributions()):
        command += ["-p", "lieref.conformance.pytest_plugin"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment)


def _distributions() -> list[Any]:
    from importlib.metadata import entry_points

    return [entry for entry in entry_points(group="pytest11") if entry.name == "lieref-golden"]


def test_pytest_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    (tmp_path / "port.py").write_text(
        "from lieref.conformance import reference\n"
        "def run(op, inputs, attrs):\n"
        "    if op == 'atoms':\n        raise NotImplementedError\n"
        "    outputs = reference.run(op, inputs, attrs)\n"
        "    return {k: v * v.dtype.type(2) for k, v in outputs.items()} if op == 'tucker_vjp' else outputs\n"
    )
    families = ("--lieref-family", "tucker", "--lieref-family", "atoms")
    done = run_pytest(tmp_path, "--lieref-backend", "port.py:run", *families)
    assert done.returncode == 1
    assert "3 failed, 6 passed, 2 skipped" in done.stdout
    assert "core_bar: is off by" in done.stdout
    assert "Traceback" not in done.stdout
    (tmp_path / "xfails").write_text("tucker_f32/2 # a\ntucker_f32/4 # b\ntucker_f32/6 # c\n")
    done = run_pytest(tmp_path, "--lieref-backend", "port.py:run", *families, "--lieref-xfails", "xfails")
    assert done.returncode == 0
    assert "6 passed, 2 skipped, 3 xfailed" in done.stdout
    assert "1 passed" in run_pytest(tmp_path).stdout
    done = run_pytest(tmp_path, "--lieref-backend", "port.py:absent")
    assert done.returncode == 4
    assert "has no attribute 'absent'" in done.stdout + done.stderr
