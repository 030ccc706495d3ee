"""`lieref golden` on quantised operators: headers that a C compiler takes, and a wrong port that is named."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lieref.adapter.tensor_file import write_tensor_file
from lieref.cli import main
from lieref.conformance.exact.mistakes import ROUNDING
from lieref.conformance.vectors import read_vectors

SOURCE = Path(__file__).parents[1] / "conformance" / "integer_conv.c"
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wno-unused-const-variable"]
REFERENCE = "lieref.conformance.reference:run"


def golden(*arguments: object) -> int:
    return main(["golden", *map(str, arguments)])


def compiled(folder: Path, case: str, *defined: str) -> tuple[int, list[int]]:
    """Exit status and printed outputs of the convolution in C over one exported case."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    name = case.replace("/", "_")
    defines = [f'-DCASE_HEADER="{case}.h"', f"-DCASE={name}", *defined]
    program = folder / f"{name}{len(defined)}"
    subprocess.run([compiler, *FLAGS, *defines, f"-I{folder}", str(SOURCE), "-o", str(program)], check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    return done.returncode, [int(line) for line in done.stdout.split()]


def test_c_headers_and_a_wrong_port(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    headers, right, wrong = (tmp_path / name for name in ("headers", "right", "wrong"))
    assert golden("export", headers, "--format", "c", "--semantics", "cmsis-nn", "--family", "integer_conv") == 0
    cases = {case.id: case for case in read_vectors()[0] if case.family == "integer_conv"}
    # A multiplier for each channel, a bias of 32 bits and one group, as the program has it.
    served = [
        path.relative_to(headers).with_suffix("").as_posix()
        for path in sorted(headers.rglob("*.h"))
        if (case := cases[path.relative_to(headers).with_suffix("").as_posix()]).attrs["groups"] == 1
        and case.inputs.get("bias", np.zeros(0)).dtype == np.int32
        and len(case.inputs["multiplier"]) == len(case.inputs["weight"])
        and case.dtype != "u8"
    ]
    assert {case.partition("/")[0] for case in served} == {"integer_conv_i8", "integer_conv_i16"}
    for folder, defined in ((right, ()), (wrong, ("-DSINGLE",))):
        for case in served:
            status, printed = compiled(headers, case, *defined)
            e = cases[case].expected["y"]
            assert status == int(printed != e.hi.reshape(-1).astype(int).tolist())
            assert status == 0 or defined, case
            (folder / case).parent.mkdir(parents=True, exist_ok=True)
            y = np.array(printed, e.dtype).reshape(e.hi.shape)
            write_tensor_file(folder / f"{case}.safetensors", {"y": y}, {})
    capsys.readouterr()
    golden("check", "--outputs", wrong, "--semantics", "cmsis-nn", "--family", "integer_conv")
    said = capsys.readouterr().out
    what = said.partition("What the failing cases look like:\n")[2].splitlines()[0]
    assert what.strip().endswith(ROUNDING["single"]), said
    golden("check", "--outputs", right, "--semantics", "cmsis-nn", "--family", "integer_conv")
    assert "FAIL" not in capsys.readouterr().out


def test_all_headers_compile(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    assert golden("export", tmp_path / "h", "--format", "c", "--semantics", "xnnpack") == 0
    headers = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "h").rglob("*.h"))
    assert len(headers) > 50
    source = [*(f'#include "{name}"' for name in headers), "int main(void) { return 0; }", ""]
    (tmp_path / "all.c").write_text("\n".join(source))
    subprocess.run([compiler, *FLAGS, "-fsyntax-only", "all.c"], cwd=tmp_path, check=True)


def test_semantics_choose_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert golden("check", "--backend", REFERENCE, "--semantics", "onnxruntime", "--family", "integer_conv") == 0
    assert capsys.readouterr().out.endswith("(profile integers, onnxruntime)\n")
    assert golden("check", "--backend", REFERENCE, "--family", "tucker", "--semantics", "xnnpack") == 2
    assert "must have integers" in capsys.readouterr().err
    assert golden("check", "--backend", REFERENCE, "--family", "integer_conv") == 2
    assert "`semantics` must be one of tflite-reference" in capsys.readouterr().err
    assert golden("check", "--backend", REFERENCE, "--semantics", "ruy") == 2
    assert "must be one of tflite-reference" in capsys.readouterr().err
