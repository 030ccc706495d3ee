"""The C function of an update: compiled, it makes the file that Python makes, and takes it back; also after a loss of
power half-way.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lieref.adapter.integer.c_update import c_update, differing
from lieref.adapter.integer.model import IntegerModel, load_integer
from lieref.adapter.integer.update import IntegerUpdate
from lieref.errors import DomainError
from lieref.model.integer.graph import ByteRange
from tests.model.integer.quantised import quantised
from tests.model.nets import residual_net

MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include "update.h"

/* Flash that loses its power, or fails, after so many bytes; what it was writing then holds rubbish from there on. */
struct flash { uint8_t *model; long left; int calls, rubbish; };

static int program(void *context, uint32_t offset, const uint8_t *data, uint32_t count) {
    struct flash *flash = context;
    flash->calls++;
    for (uint32_t i = 0; i < count; i++) {
        if (!flash->left) {
            while (flash->rubbish && i < count) flash->model[offset + i++] = 0xff;
            return 7;
        }
        flash->left--;
        flash->model[offset + i] = data[i];
    }
    return 0;
}

/* main IN OUT apply|undo BYTES RUBBISH: the status on one line, with the calls of the writing function. */
int main(int argc, char **argv) {
    static uint8_t model[1 << 20];
    FILE *file = fopen(argv[1], "rb");
    size_t bytes = fread(model, 1, sizeof model, file);
    fclose(file);
    if (argc != 6) return 1;
    const int undo = argv[3][0] == 'u';
    struct flash flash = {model, atol(argv[4]), 0, atoi(argv[5])};
    int found;
    if (flash.left < -1) found = undo ? net_undo(model, bytes) : net_apply(model, bytes);
    else found = net_move(model, bytes, undo, program, &flash);
    file = fopen(argv[2], "wb");
    fwrite(model, 1, bytes, file);
    fclose(file);
    printf("%d %d\\n", found, flash.calls);
    return 0;
}
"""
RAM, ENDLESS = -2, -1
Run = Callable[..., tuple[int, int, bytes]]


def trained(path: Path, method: str, encoding: str) -> tuple[IntegerModel, IntegerUpdate]:
    model = load_integer(path).attach(method)
    rng = np.random.default_rng(0)
    for values in model.parameters().values():
        values[...] = 0.1 * rng.standard_normal(values.shape)
    return model, model.update(encoding)


def compiled(header: bytes, folder: Path) -> Run:
    """Return what runs the function on a file: its status, how often it wrote, and the file after it."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    (folder / "update.h").write_bytes(header)
    (folder / "main.c").write_text(MAIN)
    command = [compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "main.c", "-o", "main"]
    subprocess.run(command, cwd=folder, check=True)

    def run(content: bytes, way: str, left: int = RAM, rubbish: bool = False) -> tuple[int, int, bytes]:
        (folder / "in").write_bytes(content)
        words = [str(folder / "main"), "in", "out", way, str(left), str(int(rubbish))]
        done = subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True)
        status, calls = map(int, done.stdout.split())
        return status, calls, (folder / "out").read_bytes()

    return run


@pytest.mark.parametrize("encoding", ["finished", "codes"])
def test_compiled_it_writes_the_file_and_takes_it_back(encoding: str, tmp_path: Path) -> None:
    path = quantised(residual_net(), tmp_path, "qoperator")
    model, update = trained(path, "scale", encoding)
    header, tables = c_update(update, model.integer, "net")
    channels = sum(layer.out for layer in model.integer_layers)
    assert tables <= 2 * 8 * channels + 8 * 2 * len(model.integer_layers)
    run = compiled(header, tmp_path)
    base, expected = path.read_bytes(), update.apply(model.integer)
    assert run(base, "apply") == (0, 0, expected)
    assert run(expected, "apply") == (0, 0, expected)
    assert run(expected, "undo") == (0, 0, base)
    assert run(base, "undo") == (0, 0, base)
    # Flash: what stands there already is not written again.
    status, calls, content = run(base, "apply", ENDLESS)
    assert (status, content) == (0, expected)
    assert calls == sum(1 for place in update.patched(model.integer)[1].places if _differs(place, base, expected))
    assert run(expected, "apply", ENDLESS) == (0, 0, expected)
    # Another model, and one of another length.
    other = bytearray(base)
    other[40] ^= 1
    assert run(bytes(other), "apply") == (2, 0, bytes(other))
    assert run(bytes(other), "undo") == (2, 0, bytes(other))
    assert run(base[:-1], "apply") == (1, 0, base[:-1])


def _differing(header: bytes) -> int:
    """How many bytes the table of new ones has."""
    return header.decode().partition("net_new[] = {")[2].partition("}")[0].count(",")


def _differs(place: object, one: bytes, two: bytes) -> bool:
    start, stop = place.start, place.stop  # type: ignore[attr-defined]
    return one[start:stop] != two[start:stop]


def test_a_public_file(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "mlperf_tiny" / "pretrainedResnet_quant.tflite"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    model, update = trained(path, "tied-scale", "codes")
    header, tables = c_update(update, model.integer, "net")
    # Scales of weights and, stored beside, of biases: less than all of them, for bytes that stay are left out.
    assert 2 * 1348 < tables <= 2 * 2 * 1348 + 8 * 20
    run = compiled(header, tmp_path)
    base, expected = path.read_bytes(), update.apply(model.integer)
    status, calls, written = run(base, "apply", ENDLESS)
    assert (status, written) == (0, expected)
    assert 20 <= calls == (tables - 2 * _differing(header)) / 8
    for left in (1, 700, 2000):
        half = run(base, "apply", left, True)[2]
        assert run(half, "apply") == (0, 0, expected)
        assert run(half, "undo") == (0, 0, base)


@pytest.mark.parametrize("rubbish", [False, True])
def test_what_was_interrupted_is_completed_or_taken_back(rubbish: bool, tmp_path: Path) -> None:
    """At bytes of every place: the power is lost, and what was being written holds rubbish or is half there."""
    path = quantised(residual_net(), tmp_path, "qoperator")
    model, update = trained(path, "tied-scale", "codes")
    header, _ = c_update(update, model.integer, "net")
    run = compiled(header, tmp_path)
    ends = {"apply": update.apply(model.integer), "undo": path.read_bytes()}
    written = _differing(header)
    for way, back in (("apply", "undo"), ("undo", "apply")):
        for left in range(0, written, 7):
            status, _, half = run(ends[back], way, left, rubbish)
            assert status == 7
            assert half not in ends.values() or not left
            assert run(half, way) == (0, 0, ends[way])
            assert run(half, back) == (0, 0, ends[back])


def test_rubbish_outside_of_the_places_is_seen(tmp_path: Path) -> None:
    """A page that was erased around a place: the function cannot know what stood there, and says so."""
    path = quantised(residual_net(), tmp_path, "qoperator")
    model, update = trained(path, "tied-scale", "finished")
    run = compiled(c_update(update, model.integer, "net")[0], tmp_path)
    start = update.patched(model.integer)[1].places[0].start
    erased = bytearray(path.read_bytes())
    erased[start - 1] ^= 0xFF
    for way in ("apply", "undo"):
        assert run(bytes(erased), way) == (2, 0, bytes(erased))


@given(st.lists(st.integers(0, 1), min_size=1, max_size=60), st.integers(0, 5))
def test_places_are_the_runs_that_differ_and_the_tables_are_smallest(marks: list[int], start: int) -> None:
    old = bytes(start + len(marks) + 3)
    new = bytes(start) + bytes(marks) + bytes(3)
    place = ByteRange(start, start + len(marks))
    runs = differing(old, new, place)
    changed = [at for at, byte in enumerate(new) if byte]
    covered = [at for run in runs for at in range(run.start, run.stop)]
    assert set(changed) <= set(covered)
    assert covered == sorted(set(covered))
    # Of all ways to cut the bytes that differ into runs none takes fewer bytes of tables: two a byte, eight a run.
    least = [0]
    for end in range(len(changed)):
        least.append(min(least[first] + 2 * (changed[end] - changed[first] + 1) + 8 for first in range(end + 1)))
    assert 2 * len(covered) + 8 * len(runs) == least[-1]


def test_a_name_that_c_has_not_is_refused(tmp_path: Path) -> None:
    model = load_integer(quantised(residual_net(), tmp_path, "qoperator")).attach("bias")
    with pytest.raises(DomainError, match="identifier"):
        c_update(model.update(), model.integer, "1 net")
