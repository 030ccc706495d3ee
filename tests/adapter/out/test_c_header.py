"""Headers in C99: compiled without a warning, every bit comes back, and the self-check notices what is wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from lieref.adapter.out.c_case import MOST_PRODUCTS, make_case
from lieref.adapter.out.c_text import Identifiers, number, string
from lieref.adapter.out.registry import export
from lieref.adapter.out.source import Source
from lieref.errors import DomainError
from tests.adapter.out.adapters import adapter_of
from tests.model.nets import in_halves, make_onnx, residual_net

pytestmark = pytest.mark.filterwarnings("ignore::lieref.param._base.LierefWarning")

FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1")


@pytest.fixture(scope="module")
def cc() -> str:
    found = shutil.which("cc")
    if found is None:
        pytest.skip("no C compiler: install one that is called cc")
    return found


def compiled(cc: str, folder: Path, text: str, *options: str, name: str = "x") -> Path:
    (folder / f"{name}.c").write_text(text)
    done = subprocess.run([cc, *FLAGS, *options, f"{name}.c", "-o", name], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / name


def self_check(cc: str, folder: Path, header: bytes, *options: str) -> tuple[int, str]:
    (folder / "x.h").write_bytes(header)
    program = compiled(cc, folder, '#include "x.h"\n', "-DX_SELF_CHECK_MAIN", *options)
    done = subprocess.run([program], capture_output=True, text=True)
    return done.returncode, done.stdout.strip()


DUMP = """#include <stdio.h>
#include "x.h"
int main(void)
{
  for (size_t k = 0; k < sizeof x_tensors / sizeof *x_tensors; ++k)
    fwrite(x_tensors[k].data, sizeof(float), x_tensors[k].count, stdout);
  return x_self_check();
}
"""

APPLY = """#include <stdio.h>
#include "x.h"
int main(void)
{
  static float weight[100000];
  for (size_t k = 0; k < sizeof x_tensors / sizeof *x_tensors; ++k) {
    if (fread(weight, sizeof(float), x_tensors[k].count, stdin) != x_tensors[k].count) return 1;
    x_apply(&x_tensors[k], weight);
    fwrite(weight, sizeof(float), x_tensors[k].count, stdout);
  }
  return 0;
}
"""


def canonical(source: Source, which: str) -> bytes:
    return b"".join(change.canonical(getattr(change, which)).astype("<f4").tobytes() for change in source.changes)


@pytest.mark.parametrize("method", ["liera", "bias", "ia3", "full", "norm-stats+liera"])
@pytest.mark.parametrize("halves", [False, True])
def test_every_bit_comes_back(cc: str, tmp_path: Path, method: str, halves: bool) -> None:
    net = residual_net()
    source = adapter_of(tmp_path, method, net=in_halves(net) if halves else net)
    (tmp_path / "x.h").write_bytes(export(source, "c-header", stem="x").data)  # type: ignore[arg-type]
    done = subprocess.run([compiled(cc, tmp_path, DUMP)], capture_output=True)
    assert done.returncode == 0
    assert done.stdout == canonical(source, "after")


@pytest.mark.parametrize("optimised", ["-O0", "-O3", "-Ofast"])
def test_the_self_check_passes_however_it_is_compiled(cc: str, tmp_path: Path, optimised: str) -> None:
    source = adapter_of(tmp_path, "liera")
    for weights in ("merged", "delta"):
        header = export(source, "c-header", stem="x", weights=weights).data
        assert isinstance(header, bytes)
        assert self_check(cc, tmp_path, header, optimised) == (0, "right")


def test_differences_add_up_in_c(cc: str, tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "liera", scale=3.0)  # some weights become a small part of what they were
    exported = export(source, "c-header", stem="x", weights="delta")
    assert any("no delta adds up" in note for note in exported.notes)
    (tmp_path / "x.h").write_bytes(exported.data)  # type: ignore[arg-type]
    program = compiled(cc, tmp_path, APPLY)
    done = subprocess.run([program], input=canonical(source, "before"), capture_output=True)
    assert done.stdout == canonical(source, "after")


def test_what_is_wrong_is_noticed(cc: str, tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "lora", r=2)
    exported = export(source, "c-header", stem="x")
    assert isinstance(exported.data, bytes)
    assert exported.facts["checked_layer"] == "depth.weight"
    text = exported.data.decode()
    arrays = re.findall(r"static const float (x_\w+)\[\d+\] = \{\n  (\S+?),", text)
    word, first = arrays[1]
    flipped = first.replace("0x1.", "0x1.0", 1)
    wrong = text.replace(f"{first},", f"{flipped},", 1)
    assert wrong != text
    name = next(key for key, row in exported.facts["tensors"].items() if row["identifier"] == word)
    assert self_check(cc, tmp_path, wrong.encode()) == (1, f"wrong: {name}")
    # a layer that is computed wrongly: the kernel turned round, one column left out, something added
    for right, mistake in (
        ("+ i + u)", "+ i + 2 - u)"),
        ("for (size_t v = 0", "for (size_t v = 1"),
        ("float sum = 0.0f", "float sum = 1e-3f"),
    ):
        case = text.replace(right, mistake, 1)
        assert case != text
        assert self_check(cc, tmp_path, case.encode()) == (1, "wrong: the layer")


NAMES = (
    "conv.weight", "conv_weight", "conv/weight", "conv__weight", "Conv.weight", "größe", "*/ int main; /*", "??/",
    "a\\", 'say "x"', "0", "1.weight", "int", "tensor", "self_check", "shape", "a_shape", "a", "a.values", "",
    " ", "%s", "line\nbreak", "t", "H", "x" * 5000, "x" * 5001,
)  # fmt: skip


def named_net(names: tuple[str, ...]) -> onnx.ModelProto:
    """Linear layers one behind the other whose weights have these names."""
    rng = np.random.default_rng(0)
    weights = {name: (0.5 * rng.standard_normal((3, 3))).astype(np.float32) for name in names}
    nodes = [
        helper.make_node("MatMul", [f"v{i}" if i else "x", name], [f"v{i + 1}"], name=f"node{i}")
        for i, name in enumerate(names)
    ]
    return make_onnx(nodes, weights, ["N", 3], f"v{len(names)}", ["N", 3])


def test_any_name_is_a_valid_identifier_of_its_own(cc: str, tmp_path: Path) -> None:
    names = tuple(name for name in NAMES if name)
    source = adapter_of(tmp_path, "lora", net=named_net(names), r=1)
    exported = export(source, "c-header", stem="x")
    rows = exported.facts["tensors"]
    assert set(rows) == set(names)
    words = [row["identifier"] for row in rows.values()]
    assert len(set(words)) == len(names)
    assert all(re.fullmatch(r"x_[A-Za-z0-9_]+", word) and len(word) <= 56 for word in words)
    (tmp_path / "x.h").write_bytes(exported.data)  # type: ignore[arg-type]
    program = compiled(
        cc, tmp_path, DUMP.replace("return", "for (int k = 0; k < 5; ++k) puts(x_tensors[k].name);\n  return")
    )
    done = subprocess.run([program], capture_output=True)
    assert done.returncode == 0
    size = len(canonical(source, "after"))
    assert done.stdout[:size] == canonical(source, "after")
    assert done.stdout[size:].decode().splitlines() == [change.name for change in source.changes[:5]]
    # MatMul multiplies by the weight as (in, out)
    assert any("out channels come first" in note for note in exported.notes)


@pytest.mark.parametrize("stem", ["int", "INT32", "9", "größe-1", "a" * 99, "size"])
def test_any_file_name_is_a_valid_prefix(cc: str, tmp_path: Path, stem: str) -> None:
    source = adapter_of(tmp_path, "lora", net=named_net(("t", "MAX")), r=1)
    exported = export(source, "c-header", stem=stem)
    prefix = exported.facts["prefix"]
    (tmp_path / "x.h").write_bytes(exported.data)  # type: ignore[arg-type]
    options = f"-D{prefix.upper()}_SELF_CHECK_MAIN"
    program = compiled(cc, tmp_path, '#include "x.h"\n#include "x.h"\n', options)
    assert subprocess.run([program], stdout=subprocess.DEVNULL).returncode == 0


@given(st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=40))
def test_identifiers_differ_with_all_their_suffixes(names: list[str]) -> None:
    words = Identifiers("x", ("_shape", "_values"), ["x_t"])
    given_ = [words.give(name) for name in names]
    family = [f"{word}{suffix}" for word in given_ for suffix in ("", "_shape", "_values")]
    assert len(set(family)) == len(family)
    assert "x_t" not in family


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_exact(value: float) -> None:
    text = number(value)
    assert float.fromhex(text) == value
    assert text.startswith("-") == (np.signbit(value))


@given(st.text(max_size=30))
def test_strings_are_plain_and_hold_every_byte(text: str) -> None:
    literal = string(text)
    assert re.fullmatch(r'"([A-Za-z0-9_.,:;/+\-=()\[\]<>|@ ]|\\[0-3][0-7]{2})*"', literal)
    assert "*/" not in literal
    read = re.sub(rb"\\([0-3][0-7]{2})", lambda m: bytes([int(m[1], 8)]), literal[1:-1].encode())
    assert read == text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(("shape", "groups"), [((4, 3), 1), ((6, 2, 3, 2), 3), ((4, 1, 5), 4), ((2, 3, 2, 2, 3), 1)])
def test_expected_outputs_are_those_of_exact_arithmetic(
    shape: tuple[int, ...], groups: int, rng: np.random.Generator
) -> None:
    weight = rng.standard_normal(shape).astype(np.float32)
    case = make_case("w", weight, groups)
    filters, per_group, channels, rows, columns, height, width = case.sizes
    w = weight.reshape(filters, channels, rows, columns)
    x = case.x.reshape(groups * channels, height, width)
    outputs = case.expected.reshape(filters, height - rows + 1, width - columns + 1)
    bounds = case.bound.reshape(outputs.shape)
    for (o, i, j), got in np.ndenumerate(outputs):
        terms = [
            Fraction(float(w[o, c, u, v])) * Fraction(float(x[o // per_group * channels + c, i + u, j + v]))
            for c in range(channels) for u in range(rows) for v in range(columns)
        ]  # fmt: skip
        exact, size = sum(terms), sum(abs(term) for term in terms)
        assert abs(Fraction(float(got)) - exact) <= abs(exact) * Fraction(1, 2**53)
        n = len(terms)
        least = Fraction(n, 2**24 - n) * size + abs(Fraction(float(got)) - exact)
        assert least <= Fraction(float(bounds[o, i, j])) <= least * Fraction(1001, 1000) + Fraction(n, 2**120)


def test_a_large_layer_is_cut_down() -> None:
    case = make_case("w", np.ones((300, 400, 3, 3), np.float32), 1)
    filters, _, channels, rows, columns, height, width = case.sizes
    assert (channels, rows, columns, height, width) == (400, 3, 3, 3, 3)
    assert 1 <= filters == len(case.expected)
    assert filters * channels * rows * columns <= MOST_PRODUCTS


def test_what_it_refuses(tmp_path: Path) -> None:
    source = adapter_of(tmp_path, "lora", r=1)
    with pytest.raises(DomainError, match="weights"):
        export(source, "c-header", weights="factors")


def test_biases_alone_have_no_layer_to_try(tmp_path: Path, cc: str) -> None:
    exported = export(adapter_of(tmp_path, "bias"), "c-header", stem="x")
    assert exported.notes == ("no weight of a layer changes: the header's self-check has checksums alone",)
    assert isinstance(exported.data, bytes)
    assert self_check(cc, tmp_path, exported.data) == (0, "right")
