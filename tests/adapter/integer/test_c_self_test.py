"""The self-test of an update in C: compiled, it tells a right answer from the base's, other rounding and rubbish."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lieref.adapter.integer.c_self_test import CSelfTest, make_c_self_test
from lieref.adapter.integer.c_update import c_update
from lieref.adapter.integer.model import IntegerModel, load_integer
from lieref.adapter.integer.self_test import drawn
from lieref.adapter.integer.update import IntegerUpdate
from lieref.errors import DomainError
from lieref.model.integer.executor import run
from lieref.model.integer.graph import IntegerGraph
from lieref.model.integer.reader import read_integer
from tests.model.integer.quantised import quantised
from tests.model.nets import residual_net
from validation.integer.tflite_file import Operator, Tensor, build

MAIN = """
#include <stdio.h>
#include <string.h>
#include "update.h"

/* An interpreter that answers what a file holds; what it is given goes to another. */
struct device { FILE *answers, *asked; net_output output[NET_OUTPUTS]; };

static const net_output *interpret(void *context, const net_input *input) {
    struct device *device = context;
    for (size_t i = 0; i < NET_INPUTS; i++) {
        const TAKEN one = GIVEN(input[i]);
        fwrite(&one, sizeof one, 1, device->asked);
    }
    return fread(device->output, sizeof device->output, 1, device->answers) ? device->output : 0;
}

/* main MODEL ANSWERS ASKED: what the model is, what its answers are, and whether the update can be written: did it. */
int main(int argc, char **argv) {
    static uint8_t model[1 << 20], before[1 << 20];
    struct device device = {0};
    FILE *file = fopen(argv[1], "rb");
    const size_t bytes = fread(model, 1, sizeof model, file);
    fclose(file);
    if (argc != 4) return 1;
    device.answers = fopen(argv[2], "rb");
    device.asked = fopen(argv[3], "wb");
    const int stands = net_check(model, bytes), runs = net_self_test(interpret, &device);
    fclose(device.asked);
    fclose(device.answers);
    memcpy(before, model, bytes);
    const int applied = net_apply(model, bytes);
    printf("%d %d %d %d\\n", stands, runs, applied, memcmp(before, model, bytes) != 0);
    return 0;
}
"""
OK, LENGTH, OTHER, DAMAGED, BASE, ROUNDING, WRONG, FAILED = 0, 1, 2, 4, 5, 6, 7, 8
Device = Callable[[bytes, np.ndarray], tuple[int, int, bytes, tuple[int, int]]]


def dense(folder: Path) -> Path:
    """A dense layer of int8 with more outputs than are compared."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (70, 6), np.int8)
    tensors = [
        Tensor("int8", (1, 6), 0.02, 3),
        Tensor("int8", (70, 6), 0.01, 0, 0, weights),
        Tensor("int32", (70,), 0.0002, 0, 0, rng.integers(-900, 900, 70, np.int32)),
        Tensor("int8", (1, 70), 0.06, -5),
    ]
    content = build(tensors, [Operator("FULLY_CONNECTED", (0, 1, 2), (3,), "FullyConnectedOptions")], (0,), (3,))
    (folder / "net.tflite").write_bytes(content)
    return folder / "net.tflite"


def updated(path: Path, size: float = 0.3) -> tuple[IntegerUpdate, IntegerGraph, IntegerGraph]:
    """Return an update of a file, and the network without and with it."""
    model: IntegerModel = load_integer(path).attach("tied-scale")
    for values in model.parameters().values():
        values[...] = size
    update = model.update()
    return update, model.integer, update.patched(model.integer)[0]


def compiled(header: bytes, test: CSelfTest, folder: Path) -> Device:
    """Return what runs both checks for a model and answers: their status, what the network was asked, and how an apply
    ends, with whether it wrote.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    (folder / "update.h").write_bytes(header)
    (folder / "main.c").write_text(MAIN)
    real = test.real_input is not None
    takes = ["-DTAKEN=float", "-DGIVEN=net_real"] if real else ["-DTAKEN=net_input", "-DGIVEN="]
    command = [compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", *takes, "main.c", "-o", "main"]
    subprocess.run(command, cwd=folder, check=True)

    def device(model: bytes, answers: np.ndarray) -> tuple[int, int, bytes, tuple[int, int]]:
        (folder / "model").write_bytes(model)
        (folder / "answers").write_bytes(np.ascontiguousarray(answers).tobytes())
        words = [str(folder / "main"), "model", "answers", "asked"]
        done = subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True)
        stands, runs, applied, wrote = map(int, done.stdout.split())
        return stands, runs, (folder / "asked").read_bytes(), (applied, wrote)

    return device


def test_integers_of_a_tflite_file(tmp_path: Path) -> None:
    pytest.importorskip("tflite")
    update, base, changed = updated(dense(tmp_path))
    test = make_c_self_test(base, changed, "cmsis-nn", count=2)
    assert (test.x.shape, test.outputs, test.expected.shape, test.warning) == ((2, 6), 70, (2, 64), None)
    assert test.bytes == 2 * 6 + 2 * 2 * 64
    header, _ = c_update(update, base, "net", test)
    device = compiled(header, test, tmp_path)
    right, old = (run(graph, test.x, "cmsis-nn") for graph in (changed, base))
    assert device(changed.content, right) == (OK, OK, test.x.tobytes(), (OK, 0))
    assert any(np.array_equal(test.x[0], drawn(seed, [6], "int8")) for seed in range(16))
    # The base, as recorded and as other kernels may round it; and before the update is written.
    assert device(base.content, old) == (BASE, BASE, test.x.tobytes(), (OK, 1))
    step = np.where(np.arange(70) % 9 == 0, np.where(right > 0, -1, 1), 0).astype(np.int8)
    assert device(base.content, old + step)[:2] == (BASE, BASE)
    assert device(changed.content, right + step)[:2] == (OK, ROUNDING)
    # Far off in one number that is compared; answers of another network; too few of them.
    far = right.copy()
    far[1, 0] -= np.sign(far[1, 0]) * (test.near + 1)
    assert device(changed.content, far)[1] == WRONG
    assert device(changed.content, right[::-1])[1] == WRONG
    assert device(changed.content, right[:1])[1] == FAILED
    # One bit anywhere in the model, also where the update changes nothing.
    for at in (0, len(base.content) // 2, len(base.content) - 1):
        broken = bytearray(changed.content)
        broken[at] ^= 4
        assert device(bytes(broken), right)[0] == OTHER
    assert device(changed.content[:-1], right)[0] == LENGTH


def test_damaged_tables_are_seen_and_nothing_is_written(tmp_path: Path) -> None:
    pytest.importorskip("tflite")
    update, base, changed = updated(dense(tmp_path))
    test = make_c_self_test(base, changed)
    text = c_update(update, base, "net", test)[0].decode()
    right = run(changed, test.x, test.semantics)
    for table, runs, applied in (
        ("places[][2]", OK, (DAMAGED, 0)), ("new[]", OK, (DAMAGED, 0)), ("of_base[][64]", DAMAGED, (OK, 1)),
    ):  # fmt: skip
        before, after = text.split(f"net_{table} = {{", 1)
        rotten = re.sub(r"\d+", lambda found: str(int(found[0]) ^ 1), after, count=1)
        device = compiled(f"{before}net_{table} = {{{rotten}".encode(), test, tmp_path)
        assert device(changed.content, right)[:2] == (applied[0], runs)
        assert device(base.content, right)[3] == applied


def test_real_numbers_at_both_ends(tmp_path: Path) -> None:
    """What ONNX Runtime quantises: the file takes and returns float32."""
    update, base, changed = updated(quantised(residual_net(), tmp_path, "qoperator"))
    x = np.random.default_rng(1).standard_normal((3, 3, 9, 8)).astype(np.float32)
    test = make_c_self_test(base, changed, samples=x, count=2)
    assert test.real_input is not None
    assert test.real_output is not None
    header, _ = c_update(update, base, "net", test)
    device = compiled(header, test, tmp_path)
    scale, zero = test.real_input
    fed = (np.float32(scale) * (test.x.astype(np.float32) - zero)).reshape(2, 3, 9, 8)
    right, old = (np.concatenate([run(g, one[None], "onnxruntime") for one in fed]) for g in (changed, base))
    assert device(changed.content, right)[:3] == (OK, OK, fed.tobytes())
    assert device(changed.content, old)[1] == BASE
    near = right.astype(np.float32)
    near[0, 0] += test.real_output[0] * (1 if right[0, 0] <= right.mean() else -1)
    assert device(changed.content, near)[1] == ROUNDING
    for rubbish in (np.nan, np.inf, -1e30):
        near[1, 0] = rubbish
        assert device(changed.content, near)[1] == WRONG


def test_what_it_cannot_tell_apart_is_said(tmp_path: Path) -> None:
    pytest.importorskip("tflite")
    update, base, changed = updated(dense(tmp_path))
    test = make_c_self_test(base, changed)
    same = replace(test, of_base=test.expected)
    assert "the base still runs is seen by the checksum" in str(same.warning)
    small = replace(test, of_base=test.expected + 6, near=3)
    assert "by at most 6, other kernels by up to 3" in str(small.warning)
    assert replace(test, of_base=test.expected + 7, near=3).warning is None
    assert "Note: the update moves" in " ".join(small.text("net").split())
    with pytest.raises(DomainError, match="`count` must be"):
        make_c_self_test(base, changed, count=9)
    assert read_integer(tmp_path / "net.tflite").digest == update.base_sha256


def test_where_nothing_is_tested_the_header_has_none(tmp_path: Path) -> None:
    pytest.importorskip("tflite")
    update, base, _ = updated(dense(tmp_path))
    text = c_update(update, base, "net")[0].decode()
    assert "net_check(" in text
    assert "net_self_test" not in text
