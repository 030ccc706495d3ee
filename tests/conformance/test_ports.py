"""The PyTorch and JAX ports against the vectors: right everywhere but where the frameworks are known to be wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lieref.conformance.case import Case
from lieref.conformance.report import Report
from lieref.conformance.truth import truth
from lieref.conformance.verdict import PASS, judge
from lieref.golden import check


def failed(report: Report) -> dict[str, str]:
    return {r.verdict.case.id: r.verdict.case.op for r in report.failures()}


def test_torch_port() -> None:
    pytest.importorskip("torch")
    from validation.against_torch import backend

    report = check(backend.run)
    assert not report.problems
    assert report.counts["PASS"] > 300
    # matrix_exp of a single matrix, and its backward at large cotangents: see validation/against_torch/defects.py.
    assert set(failed(report).values()) <= {"expm", "expm_vjp"}
    assert len(failed(report)) < 20
    flags = {flag for r in report.failures() if r.verdict.case.op == "expm_vjp" for flag in r.verdict.case.flags}
    assert flags <= {"AmpScale", "Noncommuting"}


def test_jax_port() -> None:
    pytest.importorskip("jax")
    from validation.against_jax import backend

    report = check(backend.run, families=["adapted_weight", "depthwise", "low_rank", "tucker", "atoms"])
    assert report.ok, report.to_text()
    # XLA flushes subnormal numbers to zero.
    report = check(backend.run, families=["hadamard", "hadamard_vjp"])
    assert {r.diagnosis for r in report.failures()} == {"results below the smallest normal number flushed to zero"}
    assert all("SubnormalOut" in r.verdict.case.flags for r in report.failures())


def test_known_defects_are_named() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    from validation.against_torch.defects import report

    rows = report()["defects"]
    assert len(rows) == 9
    for row in rows:
        # A later version may have mended a defect; then its error is small, and the verdict must agree.
        assert row["control_passes"], row
        assert row["present"] == (row["error_in_u"] > 300 or (row["dtype"] == "f32" and row["error_in_u"] > 20)), row


def float32(value: Any) -> Any:
    return np.asarray(value, np.float32)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 6), log_norm=st.integers(-20, 1))
def test_torch_and_lieref_agree_with_the_truth_on_batches_of_matrices(seed: int, n: int, log_norm: int) -> None:
    torch = pytest.importorskip("torch")
    from lieref.conformance import reference

    rng = np.random.default_rng(seed)
    a = rng.standard_normal((2, n, n))
    a = float32(a * (2.0**log_norm / np.abs(a).sum(axis=1).max()))
    inputs = {"a": a}
    case = Case("h_f32/1", "expm", "f32", inputs, {}, truth("expm", inputs, {}))
    assert judge(case, reference.run("expm", inputs, {})).status == PASS
    assert judge(case, {"g": torch.linalg.matrix_exp(torch.from_numpy(a)).numpy()}).status == PASS


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), rank=st.integers(1, 3), groups=st.integers(1, 3))
def test_torch_and_lieref_agree_with_the_truth_on_convolutions(seed: int, rank: int, groups: int) -> None:
    pytest.importorskip("torch")
    from lieref.conformance import reference
    from validation.against_torch import backend

    rng = np.random.default_rng(seed)
    kernel, dilations = rng.integers(1, 4, rank), rng.integers(1, 3, rank)
    spatial = dilations * (kernel - 1) + rng.integers(1, 4, rank)
    attrs = {
        "strides": rng.integers(1, 3, rank).tolist(),
        "pads": rng.integers(0, 3, 2 * rank).tolist(),
        "dilations": dilations.tolist(),
        "groups": groups,
    }
    inputs = {
        "x": float32(rng.standard_normal((2, 2 * groups, *spatial))),
        "weight": float32(rng.standard_normal((3 * groups, 2, *kernel))),
        "bias": float32(rng.standard_normal(3 * groups)),
    }
    case = Case("h_f32/1", "conv", "f32", inputs, attrs, truth("conv", inputs, attrs))
    assert judge(case, reference.run("conv", inputs, attrs)).status == PASS
    assert judge(case, backend.run("conv", inputs, attrs)).status == PASS


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 5))
def test_groups_are_closed_and_keep_their_structure_to_the_certified_digits(seed: int, n: int) -> None:
    """exp(A) exp(-A) = I, exp(A / 3) cubed is exp(A), and rotations are orthogonal, to about thirty digits."""
    from lieref.numerics.certified_array import certify, matmul
    from lieref.numerics.certified_exp import expm, norm1

    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n, n))
    a = a / norm1(a)
    cases = [
        (matmul(expm(a), expm(-a)), certify(np.eye(n))),
        (matmul(expm(a - a.T), expm(a - a.T).transpose()), certify(np.eye(n))),
    ]
    third = certify(a) / 3.0
    cases.append((matmul(matmul(expm(third), expm(third)), expm(third)), expm(a)))
    for computed, true in cases:
        distance = computed - true
        assert (np.abs(distance.hi) <= distance.radius + 1e-32).all()
        assert (distance.radius < 1e-26).all()


def test_gpu_run_says_when_there_is_no_device(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from validation.gpu import run

    monkeypatch.setattr(run, "device", lambda: None)
    monkeypatch.setattr(run, "RESULTS", tmp_path / "gpu.json")
    assert run.main() == run.NO_DEVICE
    assert "no GPU found" in capsys.readouterr().err
    assert not (tmp_path / "gpu.json").exists()


def test_gpu_settings_work_on_a_processor_too() -> None:
    pytest.importorskip("torch")
    from validation.gpu import run

    for setting in run.torch_settings("cpu"):
        report = check(setting.backend, profile=setting.profile, families=["depthwise"], bitwise=setting.bitwise)
        assert report.ok, (setting.name, report.to_text())
