"""The runner: what passes, what a bad backend is told, and that one bad case never stops the others."""

from __future__ import annotations

import json
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from lieref.adapter.tensor_file import write_tensor_file
from lieref.conformance.backend import ExecutableBackend, OutputsBackend, load_callable
from lieref.conformance.report import Report
from lieref.conformance.runner import check_case, read_xfails
from lieref.conformance.vectors import read_vectors
from lieref.errors import DomainError, FormatError
from lieref.golden import check
from tests.conformance import ports

FEW = ("hadamard", "tucker")


def reasons(report: Report) -> set[str]:
    return {result.verdict.reason for result in report.failures()}


def test_lieref_passes_every_case() -> None:
    report = check(ports.right)
    assert report.to_text().splitlines()[-1].startswith("OK: ")
    assert report.counts == {"PASS": len(report.results)}
    assert report.exit_code == 0


def test_lieref_passes_bit_for_bit_and_strictly() -> None:
    assert check(ports.right, families=["expm", "expm_vjp", "low_rank_expm"], profile=None, bitwise=True).ok
    assert check(ports.right, families=["conv", "training"], bitwise=True).ok


def test_families_not_covered_are_reported_and_do_not_fail() -> None:
    def only_conv(op: str, inputs: Any, attrs: Any) -> Any:
        if op != "conv":
            raise NotImplementedError
        return ports.right(op, inputs, attrs)

    report = check(only_conv, families=["conv", "tucker"])
    assert report.ok
    assert "not covered" in report.to_text()
    assert report.counts["UNCOVERED"] == 6


def test_covering_nothing_fails() -> None:
    def nothing(op: str, inputs: Any, attrs: Any) -> Any:
        raise NotImplementedError

    report = check(nothing, families=FEW)
    assert not report.ok
    assert report.exit_code == 1


def test_warnings_of_a_backend_are_its_own_business() -> None:
    def loud(op: str, inputs: Any, attrs: Any) -> Any:
        warnings.warn("mind the gap", RuntimeWarning, stacklevel=1)
        np.zeros(1) / np.zeros(1)
        return ports.right(op, inputs, attrs)

    assert check(loud, families=["tucker"]).ok


def raising(op: str, inputs: Any, attrs: Any) -> Any:
    raise ValueError("boom\nand more")


def constant(op: str, inputs: Any, attrs: Any) -> Any:
    return {name: np.full_like(value, 0.25) for name, value in ports.right(op, inputs, attrs).items()}


def its_input(op: str, inputs: Any, attrs: Any) -> Any:
    return {name: inputs.get("base_weight", value * 0) for name, value in ports.right(op, inputs, attrs).items()}


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (raising, "the backend must return outputs; it raised ValueError: boom"),
        (lambda op, inputs, attrs: None, "the backend must return a dict of arrays; got NoneType"),
        (lambda op, inputs, attrs: {}, "weight: is missing"),
        (ports.spoiled(lambda y: y[..., :1]), "weight: must have shape (4, 3, 3, 2); got (4, 3, 3, 1)"),
        (ports.spoiled(lambda y: y.astype(np.float16)), "weight: must have dtype float32; got float16"),
        (ports.spoiled(lambda y: y * np.nan), "weight: must be finite; got nan at index (0, 0, 0, 0)"),
        (ports.spoiled(list), "weight: must be a NumPy array; got list"),
    ],
)
def test_bad_backends_get_one_clear_line(backend: Any, reason: str) -> None:
    report = check(backend, families=["hadamard"])
    assert report.exit_code == 1
    assert reason in reasons(report)
    assert report.counts["FAIL"] == len(report.results) == 16
    assert all("\n" not in r for r in reasons(report))


@pytest.mark.parametrize("backend", [constant, its_input])
def test_guesses_fail(backend: Any) -> None:
    report = check(backend, families=["hadamard"])
    assert report.exit_code == 1
    identity = sum("IdentityInit" in r.verdict.case.flags for r in report.results)
    assert report.counts["PASS"] <= identity, "only where the weight must not change may the input pass"


def test_a_backend_cannot_spoil_the_inputs() -> None:
    def greedy(op: str, inputs: Any, attrs: Any) -> Any:
        outputs = ports.right(op, {name: value.copy() for name, value in inputs.items()}, attrs)
        for value in inputs.values():
            value[...] = 0
        attrs.clear()
        return outputs

    assert check(greedy, families=["tucker"], bitwise=True).ok


def test_different_bits_in_a_second_run_fail() -> None:
    calls = iter(range(10**6))

    def restless(op: str, inputs: Any, attrs: Any) -> Any:
        step = next(calls) % 2
        return {n: np.nextafter(v, v * (1 + step)) for n, v in ports.right(op, inputs, attrs).items()}

    assert check(restless, families=["tucker"]).ok
    report = check(restless, families=["tucker"], bitwise=True)
    assert any("must have the same bits in a second run" in reason for reason in reasons(report))


def test_inputs_that_must_be_refused() -> None:
    def generous(op: str, inputs: Any, attrs: Any) -> Any:
        try:
            return ports.right(op, inputs, attrs)
        except ValueError:
            return {"y": np.zeros((1, 1), np.float32)}

    report = check(generous, families=["conv"])
    assert report.ok
    assert report.counts["INVALID INPUT ACCEPTED"] == 3
    assert "INVALID INPUT ACCEPTED, 3 cases of conv: the backend must refuse these inputs" in report.to_text()
    report = check(generous, families=["conv"], strict=True)
    assert not report.ok
    assert reasons(report) == {"the backend must refuse these inputs; it returned outputs"}
    assert report.flaws == [f"3 of {len(report.results)} cases fail"]


def test_expected_failures(tmp_path: Path) -> None:
    wrong = ports.spoiled(lambda y: y * y.dtype.type(1.01))
    assert check(wrong, families=["tucker"], xfails=["tucker_*"]).ok
    report = check(ports.right, families=["tucker"], xfails=["tucker_f32/1"])
    assert report.counts["XPASS"] == 1
    assert not report.ok
    path = tmp_path / "xfails"
    path.write_text("# a comment\n\ntucker_f32/*  # rounds its inputs\n")
    assert read_xfails(path) == ["tucker_f32/*"]
    path.write_text("tucker_f32/1\n")
    with pytest.raises(FormatError, match=r"line 1 of .* must give a reason after `#`"):
        read_xfails(path)


def test_wrong_ports_are_named_by_the_report() -> None:
    report = check(ports.tf32_inputs, families=["conv", "conv_vjp"])
    assert report.diagnoses()[0][0] == "TF32 inputs: operands rounded to 11 bits"
    assert report.common_profile() == "tf32"
    assert "No case fails under the profile tf32: TF32 inputs" in report.to_text()
    assert check(ports.tf32_inputs, families=["conv", "conv_vjp"], profile="tf32").ok

    report = check(ports.flipped_kernel, families=["conv", "conv_vjp"])
    assert report.diagnoses()[0][0] == "a flipped kernel (a true convolution, not a correlation)"
    assert sum(n for what, n in report.diagnoses() if "flipped" in what) >= 0.9 * len(report.failures())

    report = check(ports.first_order_gradient, families=["hadamard", "hadamard_vjp", "adapted_weight"])
    assert {r.verdict.case.op for r in report.failures()} == {"hadamard_vjp", "adapted_weight_vjp"}
    assert all("first-order" in what for what, _ in report.diagnoses())


def test_a_spoiled_file_of_vectors_is_reported_and_the_rest_runs(tmp_path: Path) -> None:
    from lieref.conformance.vectors import core_path

    folder = tmp_path / "vectors"
    shutil.copytree(core_path(), folder)
    (folder / "tucker_f32.json").write_text("{}")
    report = check(ports.right, vectors=folder, families=["hadamard"])
    assert not report.ok
    assert len(report.problems) == 1
    assert report.counts["PASS"] == 16
    assert "PROBLEM read_vectors: tucker_f32.json must have the SHA-256" in report.to_text()


def test_reports_for_programs() -> None:
    report = check(ports.spoiled(lambda y: y * np.nan), families=["tucker"])
    text = json.dumps(report.to_json(), allow_nan=False)
    document = json.loads(text)
    assert document["ok"] is False
    assert document["counts"] == {"FAIL": 6}
    assert document["cases"][0]["reason"].startswith("delta: must be finite")
    suite = ET.fromstring(report.to_junit())
    assert (suite.get("tests"), suite.get("failures")) == ("6", "6")
    assert suite[0][0].get("message", "").startswith("delta: must be finite")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(DomainError, match=r"check: `families` must be among .*; got 'pooling'"):
        check(ports.right, families=["pooling"])
    with pytest.raises(DomainError, match="must be one of fp64"):
        check(ports.right, profile="fp4")


def test_callables_by_name(tmp_path: Path) -> None:
    assert load_callable("lieref.conformance.reference:run") is not None
    (tmp_path / "port.py").write_text("def run(op, inputs, attrs):\n    raise NotImplementedError\nx = 3\n")
    assert callable(load_callable(f"{tmp_path / 'port.py'}:run"))
    for spec, match in (
        ("no_colon", "must be module:callable"),
        ("no.such.module:run", "No module named"),
        (f"{tmp_path / 'port.py'}:missing", "has no attribute 'missing'"),
        (f"{tmp_path / 'port.py'}:x", "must name a callable; got int"),
        (f"{tmp_path / 'absent.py'}:run", "No such file"),
    ):
        with pytest.raises(DomainError, match=match):
            load_callable(spec)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("driver") / "driver"
    source = Path(__file__).with_name("driver.c")
    subprocess.run([compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, source, "-lm"], check=True)
    return str(program)


def test_a_driver_in_c_passes(driver: str) -> None:
    report = check(ExecutableBackend(driver), families=["conv", "depthwise", "hadamard", "tucker"])
    assert report.ok, report.to_text()
    assert report.counts["PASS"] > 40
    assert report.counts["UNCOVERED"] >= 6


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("--crash", "the driver must exit with status 0; got signal 6"),
        ("--half", "the driver must write a whole safetensors file"),
        ("--silent", "the driver must write its output file; it exited without one"),
        ("--wrong", "weight: "),
        ("--hang", "the driver must finish within 0.2 s; it was killed"),
    ],
)
def test_bad_drivers_get_one_clear_line(driver: str, mode: str, reason: str) -> None:
    report = check(
        ExecutableBackend(f"{driver} {mode}", timeout=0.2 if mode == "--hang" else 20), families=["hadamard"]
    )
    assert report.counts["FAIL"] == len(report.results) == 16
    assert all(r.startswith(reason) for r in reasons(report)), reasons(report)


def test_a_driver_that_does_not_exist() -> None:
    report = check(ExecutableBackend("/no/such/driver"), families=["tucker"])
    assert "the driver must start" in next(iter(reasons(report)))
    with pytest.raises(DomainError, match="must name a program"):
        ExecutableBackend(" ")


def test_a_folder_of_outputs(tmp_path: Path) -> None:
    for case in read_vectors()[0]:
        if case.family == "tucker":
            path = tmp_path / f"{case.id}.safetensors"
            path.parent.mkdir(exist_ok=True)
            write_tensor_file(path, ports.right(case.op, case.inputs, case.attrs))
    assert check(OutputsBackend(tmp_path), families=FEW).ok
    path.write_bytes(path.read_bytes()[:-4])
    report = check(OutputsBackend(tmp_path), families=FEW)
    assert report.counts["FAIL"] == 1
    assert "must be a whole safetensors file" in next(iter(reasons(report)))
    with pytest.raises(DomainError, match="`folder` must exist"):
        OutputsBackend(tmp_path / "absent")


def leaving(op: str, inputs: Any, attrs: Any) -> Any:
    raise SystemExit(0)


def masked(op: str, inputs: Any, attrs: Any) -> Any:
    return {name: np.ma.masked_all_like(value) for name, value in ports.right(op, inputs, attrs).items()}


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (leaving, "the backend must return outputs; it raised SystemExit: 0"),
        (masked, "delta: must be a plain NumPy array; got MaskedArray"),
    ],
)
def test_no_backend_ends_the_run(backend: Any, reason: str) -> None:
    report = check(backend, families=["tucker"])
    assert report.exit_code == 1
    assert reason in reasons(report)
    assert report.counts == {"FAIL": 6}


def test_bits_are_compared_where_a_backend_reuses_its_output_buffers() -> None:
    buffers: dict[Any, Any] = {}
    calls = iter(range(10**6))

    def reusing(op: str, inputs: Any, attrs: Any) -> Any:
        step = next(calls) % 2
        outputs = ports.right(op, inputs, attrs)
        for name, value in outputs.items():
            buffer = buffers.setdefault((op, name, value.shape, value.dtype), np.empty_like(value))
            buffer[...] = np.nextafter(value, value * (1 + step))
            outputs[name] = buffer
        return outputs

    report = check(reusing, families=["tucker"], bitwise=True)
    assert reasons(report) == {f"{name}: must have the same bits in a second run" for name in ("delta", "core_bar")}


def test_coverage_that_changes_in_a_second_run_fails() -> None:
    calls = iter(range(10**6))

    def fickle(op: str, inputs: Any, attrs: Any) -> Any:
        if next(calls) % 2:
            raise NotImplementedError
        return ports.right(op, inputs, attrs)

    report = check(fickle, families=["tucker"], bitwise=True)
    assert reasons(report) == {"the backend must answer a second run as the first; it gave no outputs"}


def test_expected_failures_that_are_no_cases_are_reported() -> None:
    report = check(ports.right, families=["tucker"], xfails=["tucker_f32/99", "conv_f32/1", "pooling_*"])
    assert report.exit_code == 1
    assert report.problems == [
        "xfails: the pattern must match the id of a case; got 'tucker_f32/99'",
        "xfails: the pattern must match the id of a case; got 'pooling_*'",
    ]
    assert report.counts == {"PASS": 6}


def test_a_scalar_of_the_right_type_is_a_result() -> None:
    def scalars(op: str, inputs: Any, attrs: Any) -> Any:
        return {n: v[()] if v.ndim == 0 else v for n, v in ports.right(op, inputs, attrs).items()}

    assert check(scalars, families=["adapted_conv"]).ok


@pytest.mark.parametrize(
    ("does", "status"),
    [
        ("kill -SEGV $$", "FAIL"),
        ('printf half > "$2"', "FAIL"),
        ("exit 0", "FAIL"),
        ("exec sleep 9", "FAIL"),
        ("echo unfit >&2; exit 1", "PASS"),
        ("exit 3", "UNCOVERED"),
    ],
)
def test_breaking_down_is_not_refusing(tmp_path: Path, does: str, status: str) -> None:
    (tmp_path / "driver.sh").write_text(f"{does}\n")
    backend = ExecutableBackend(f"sh {tmp_path / 'driver.sh'}", timeout=0.3)
    invalid = [case for case in read_vectors()[0] if case.result == "invalid"]
    assert invalid
    assert {check_case(backend, case).status for case in invalid} == {status}


def test_a_driver_that_cannot_start_refuses_nothing() -> None:
    invalid = next(case for case in read_vectors()[0] if case.result == "invalid")
    assert check_case(ExecutableBackend("/no/such/driver"), invalid).status == "FAIL"
