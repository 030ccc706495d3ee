"""What a check comes to: one set of rules for the command and for pytest, and no way to succeed without being right."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.conformance.backend import CallableBackend, ExecutableBackend
from lieref.conformance.case import Case, Expected
from lieref.conformance.outcome import TOLERATED, XFAIL, XPASS, Record, fails, flaws
from lieref.conformance.report import Report
from lieref.conformance.runner import check_case, repeated
from lieref.conformance.vectors import core_path, read_vectors
from lieref.conformance.verdict import ACCEPTED, FAIL, MISTRUSTED, PASS, UNCOVERED, judge
from lieref.errors import DomainError, ShapeError
from lieref.golden import check
from tests.conformance import ports

ROOT = Path(__file__).parents[2]


def record(status: str, kind: str = "a", **options: Any) -> Record:
    return Record(f"{kind}_f32/1", status, kind=kind, **options)


@pytest.mark.parametrize(
    ("status", "plain", "strict"),
    [
        (PASS, False, False), (FAIL, True, True), (MISTRUSTED, False, False), (UNCOVERED, False, False),
        (ACCEPTED, False, True), (XFAIL, False, False), (XPASS, True, True), (TOLERATED, False, False),
    ],
)  # fmt: skip
def test_a_status_fails_by_itself_or_does_not(status: str, plain: bool, strict: bool) -> None:
    assert fails(status) is plain
    assert fails(status, strict=True) is strict
    # Beside a case that passes it decides over all.
    other = [record(PASS, "b")]
    assert bool(flaws([*other, record(status)])) is plain
    assert bool(flaws([*other, record(status)], strict=True)) is strict


@pytest.mark.parametrize("status", [PASS, XFAIL, TOLERATED])
def test_a_case_that_proves_something_is_enough(status: str) -> None:
    assert flaws([record(status)]) == []


@pytest.mark.parametrize("status", [MISTRUSTED, UNCOVERED, ACCEPTED])
def test_nothing_proved_fails(status: str) -> None:
    (line,) = flaws([record(status)] * 3)
    assert line.startswith("no case proves anything")
    assert ("3 are MISTRUSTED" in line) is (status == MISTRUSTED)
    assert flaws([])


def test_a_refusal_of_bad_inputs_proves_nothing() -> None:
    assert flaws([record(PASS, is_valid=False), record(UNCOVERED)])


def test_a_kind_covered_in_part_fails() -> None:
    records = [record(PASS), record(PASS), record(UNCOVERED), record(UNCOVERED, "b")]
    assert flaws(records) == ["1 of 3 cases of a are not covered: cover all, none, or expect it"]
    assert flaws([*records[:2], record(UNCOVERED, "b")]) == []
    assert flaws([*records[:2], record(UNCOVERED, excused=True)]) == []
    assert flaws([*records[:2], record(UNCOVERED, is_valid=False)]) == [], "bad inputs may be refused like that"
    assert flaws([record(MISTRUSTED), record(UNCOVERED), record(PASS, "b")]), "a doubtful answer covers as well"


# --- backends that must not succeed ----------------------------------------------------------------------------------


def once() -> Callable[..., Any]:
    """Return a backend that answers each operation once."""
    seen = set[str]()

    def run(op: str, inputs: Any, attrs: Any) -> Any:
        if op in seen:
            raise NotImplementedError
        seen.add(op)
        return ports.right(op, inputs, attrs)

    return run


def easy(op: str, inputs: Any, attrs: Any) -> Any:
    """Answer what has no large or small numbers."""
    largest = max(float(np.abs(v).max()) for v in inputs.values())
    if not 0.1 < largest < 10:
        raise NotImplementedError
    return ports.right(op, inputs, attrs)


def refusing_what_is_hard(op: str, inputs: Any, attrs: Any) -> Any:
    if max(attrs.get("strides", [1])) > 1:
        raise ValueError("too hard")
    return ports.right(op, inputs, attrs)


def accumulating() -> Callable[..., Any]:
    """Return a backend that adds to its last outputs of a shape, as gradients do that are not set to zero."""
    kept: dict[Any, Any] = {}

    def run(op: str, inputs: Any, attrs: Any) -> Any:
        outputs = ports.right(op, inputs, attrs)
        for name, value in outputs.items():
            key = (op, name, value.shape, value.dtype)
            kept[key] = outputs[name] = value + kept.get(key, 0)
        return outputs

    return run


class Lying(np.ndarray):
    """Equal to everything."""

    def astype(self, *_: Any, **__: Any) -> Any:
        return np.zeros(self.shape)


@pytest.mark.parametrize(
    "backend",
    [
        once(),
        easy,
        refusing_what_is_hard,
        accumulating(),
        ports.spoiled(lambda y: y.view(Lying)),
        ports.spoiled(lambda y: y[None]),
        ports.spoiled(lambda y: y.astype(y.dtype.newbyteorder())),
        ports.spoiled(lambda y: y.astype(np.complex64)),
        ports.spoiled(lambda y: np.where(np.arange(y.size).reshape(y.shape) == y.size - 1, np.nan, y).astype(y.dtype)),
        lambda op, inputs, attrs: inputs,
        lambda op, inputs, attrs: {str(i): v for i, v in enumerate(ports.right(op, inputs, attrs).values())},
        lambda op, inputs, attrs: dict(list(ports.right(op, inputs, attrs).items())[:-1]),
    ],
)
def test_no_way_around(backend: Any) -> None:
    report = check(backend, families=["conv", "conv_vjp", "hadamard"])
    assert not report.ok
    assert report.exit_code == 1
    assert report.flaws
    assert "NOT OK because" in report.to_text()


def test_half_a_family_is_not_enough_but_a_kind_is() -> None:
    families = ["conv", "conv_vjp", "hadamard", "low_rank", "expm"]
    report = check(once(), families=families)
    assert report.counts[FAIL] == 0
    assert not report.ok
    assert any("cases of conv in conv_f32" in line for line in report.flaws)
    patterns = [r.verdict.case.id for r in report.results if r.status == UNCOVERED]
    assert check(once(), families=families, xfails=patterns).ok, "what is not covered may be listed"

    def forward_in_float32(op: str, inputs: Any, attrs: Any) -> Any:
        first = next(iter(inputs.values()))
        if op.endswith("_vjp") or first.dtype != np.float32 or inputs.get("x", np.zeros((1,) * 4)).ndim != 4:
            raise NotImplementedError
        return ports.right(op, inputs, attrs)

    assert check(forward_in_float32, families=families).ok


def test_outputs_that_nobody_asked_for_are_named() -> None:
    report = check(lambda op, inputs, attrs: {**ports.right(op, inputs, attrs), "spare": 1}, families=["tucker"])
    assert report.ok
    assert "NOT JUDGED: outputs that nobody asked for: spare" in report.to_text()


def test_every_doubt_has_a_line() -> None:
    report = check(ports.right, families=["expm"], profile="bf16")
    assert report.counts[MISTRUSTED] > 10
    assert "MISTRUSTED" in report.to_text()
    assert "an error of 25% would pass" in report.to_text()
    assert {case["status"] for case in report.to_json()["cases"]} >= {PASS, MISTRUSTED}


def test_expecting_a_failure_proves_nothing_where_nothing_can_fail() -> None:
    report = check(ports.right, families=["low_rank_expm"], profile="bf16", xfails=["*"])
    assert XFAIL not in report.counts or report.counts[MISTRUSTED]
    doubtful = [r for r in report.results if r.verdict.status == MISTRUSTED]
    assert doubtful
    assert {r.status for r in doubtful} == {MISTRUSTED}


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def invalid() -> Case:
    return next(case for case in read_vectors()[0] if case.result == "invalid")


def raising(error: BaseException) -> CallableBackend:
    def run(op: str, inputs: Any, attrs: Any) -> Any:
        raise error

    return CallableBackend(run)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("shapes"), PASS), (AssertionError(), PASS), (NotImplementedError(), UNCOVERED),
        (SystemExit(1), FAIL), (MemoryError(), FAIL), (RecursionError(), FAIL), (ImportError("cuda"), FAIL),
    ],
)  # fmt: skip
def test_breaking_down_is_no_refusal(invalid: Case, error: BaseException, status: str) -> None:
    assert check_case(raising(error), invalid).status == status


@pytest.mark.parametrize(
    ("status", "verdict"), [(1, PASS), (2, PASS), (125, PASS), (126, FAIL), (127, FAIL), (139, FAIL)]
)
def test_a_signal_behind_a_shell_is_no_refusal(tmp_path: Path, invalid: Case, status: int, verdict: str) -> None:
    (tmp_path / "driver.sh").write_text(f"exit {status}\n")
    assert check_case(ExecutableBackend(f"sh {tmp_path / 'driver.sh'}"), invalid).status == verdict


@pytest.mark.parametrize("answer", [None, {}, {"y": np.zeros((1, 1), np.float32)}, "no"])
def test_any_answer_to_bad_inputs_is_accepting_them(invalid: Case, answer: Any) -> None:
    result = check_case(CallableBackend(lambda *_: answer), invalid)
    assert result.status == ACCEPTED == "INVALID INPUT ACCEPTED"


def test_an_ill_conditioned_case_excuses_digits_only() -> None:
    case = next(case for case in read_vectors()[0] if case.result == "acceptable")
    right = {name: e.hi.astype(np.float64) for name, e in case.expected.items()}

    def status(change: Any) -> str:
        return check_case(CallableBackend(lambda *_: {n: change(v) for n, v in right.items()}), case).status

    assert status(lambda v: v) in (PASS, MISTRUSTED)
    assert status(lambda v: v * 3.0) == TOLERATED
    assert status(lambda v: v * np.nan) == FAIL
    assert status(lambda v: v[..., :1]) == FAIL
    assert status(lambda v: v.astype(np.float32)) == FAIL
    assert check_case(raising(ValueError()), case).status == FAIL


def test_doubtful_cases_are_run_twice_too() -> None:
    calls = iter(range(100))
    case = next(case for case in read_vectors()[0] if case.op == "low_rank_expm" and case.dtype == "f32")
    from lieref.conformance.profile import get_profile

    def restless(op: str, inputs: Any, attrs: Any) -> Any:
        step = next(calls) % 2
        return {n: np.nextafter(v, v * (1 + step)) for n, v in ports.right(op, inputs, attrs).items()}

    assert check_case(CallableBackend(restless), case, get_profile("bf16")).status == MISTRUSTED
    assert check_case(CallableBackend(restless), case, get_profile("bf16"), bitwise=True).status == FAIL


# --- cases that cannot be judged -------------------------------------------------------------------------------------


def expected(**changes: Any) -> dict[str, Any]:
    one = np.ones(2)
    return {"hi": one, "lo": 0 * one, "radius": 0 * one, "bound": one, "conversion": one, **changes}


@pytest.mark.parametrize("part", ["hi", "lo", "radius", "bound", "conversion", "floor"])
@pytest.mark.parametrize("flaw", [np.nan, np.inf, -np.inf])
def test_nothing_that_is_not_finite_is_expected(part: str, flaw: float) -> None:
    with pytest.raises(DomainError, match=f"Expected: `{part}` must be finite"):
        Expected(**expected(**{part: np.array([1.0, flaw])}))
    case = Case("x_f64/1", "taylor1", "f64", {"x": np.ones(2)}, {}, {"y": Expected(**expected(floor=np.ones(2)))})
    getattr(case.expected["y"], part)[1] = flaw
    with pytest.raises(DomainError, match="must be finite"):
        judge(case, {"y": np.ones(2)})


def test_bounds_are_no_less_than_zero_and_of_one_shape() -> None:
    for part in ("radius", "bound", "conversion", "floor"):
        with pytest.raises(DomainError, match="at least 0"):
            Expected(**expected(**{part: np.array([1.0, -1e-300])}))
        with pytest.raises(ShapeError, match="must have shape"):
            Expected(**expected(**{part: np.ones(3)}))
    with pytest.raises(DomainError, match="`count` must be at least 1"):
        Expected(**expected(count=0))


def test_cases_are_whole() -> None:
    good = {"y": Expected(**expected())}
    for changes, match in (
        ({"dtype": "f16"}, "`dtype`"), ({"result": "fine"}, "`result`"), ({"expected": {}}, "must name an output"),
        ({"inputs": {"x": np.array([1.0, np.nan])}}, "the input x .* must be finite"),
    ):  # fmt: skip
        fields = {"id": "x_f64/1", "op": "taylor1", "dtype": "f64", "inputs": {"x": np.ones(2)}, "expected": good}
        with pytest.raises(DomainError, match=match):
            Case(**{**fields, **changes})
    case = Case("x_f64/1", "taylor1", "f64", {"x": np.ones(2)}, {}, {}, result="invalid")
    with pytest.raises(DomainError, match="must not be invalid"):
        judge(case, {})


def test_vectors_that_are_not_finite_are_reported(tmp_path: Path) -> None:
    from lieref.conformance.arrays import write_npz
    from lieref.train.npz import read_npz

    folder = tmp_path / "vectors"
    shutil.copytree(core_path(), folder)
    arrays = read_npz(folder / "tucker_f32.npz")
    name = next(name for name in arrays if name.endswith(".rad") or name.endswith(".S"))
    arrays[name] = arrays[name] * np.nan
    write_npz(folder / "tucker_f32.npz", arrays)
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    content = (folder / "tucker_f32.npz").read_bytes()
    manifest["files"]["tucker_f32.npz"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    report = check(ports.right, vectors=folder, families=["hadamard"])
    assert len(report.problems) == 1
    assert "must be finite" in report.problems[0]
    assert not report.ok


def test_an_id_belongs_to_one_case() -> None:
    case = read_vectors()[0][0]
    assert repeated([case, replace(case, comment="other")]) == [
        f"vectors: an id must belong to one case; got {case.id} 2 times"
    ]
    assert repeated(read_vectors()[0]) == []


# --- the command and pytest ------------------------------------------------------------------------------------------

PORTS = {
    "right": "return run(op, inputs, attrs)",
    "wrong": "return {k: v * v.dtype.type(1.01) for k, v in run(op, inputs, attrs).items()}",
    "generous": "try:\n        return run(op, inputs, attrs)\n    except ValueError:\n        return {}",
    "partial": "if inputs['x'].max() > 4:\n        raise NotImplementedError\n    return run(op, inputs, attrs)",
}


@pytest.mark.parametrize(
    ("port", "family", "options", "ok"),
    [
        ("wrong", "tucker", {}, False), ("generous", "conv", {"strict": True}, False),
        ("right", "expm", {"profile": "bf16"}, True),
    ],
)  # fmt: skip
def test_the_command_and_pytest_agree(
    tmp_path: Path, port: str, family: str, options: dict[str, Any], ok: bool
) -> None:
    source = f"from lieref.conformance.reference import run\ndef port(op, inputs, attrs):\n    {PORTS[port]}\n"
    (tmp_path / "port.py").write_text(source)
    space: dict[str, Any] = {}
    exec(source, space)
    report: Report = check(space["port"], families=[family], **options)
    assert report.ok is ok, report.to_text()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    from importlib.metadata import entry_points

    if not any(entry.name == "lieref-golden" for entry in entry_points(group="pytest11")):
        command += ["-p", "lieref.conformance.pytest_plugin"]
    command += ["--lieref-backend", "port.py:port", "--lieref-family", family]
    for name, value in options.items():
        command += [f"--lieref-{name}"] + ([str(value)] if value is not True else [])
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert (done.returncode == 0) is ok, done.stdout
    failing = sum(fails(r.status, options.get("strict", False)) for r in report.results)
    assert ("failed" in done.stdout) is (failing > 0)
    if report.flaws:
        assert f"golden: NOT OK because {report.flaws[0]}" in done.stdout
    assert "Traceback" not in done.stdout
