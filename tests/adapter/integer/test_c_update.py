"""The C function of an update: compiled, it makes the file that Python makes, and takes it back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lieref.adapter.integer.c_update import c_update
from lieref.adapter.integer.model import load_integer
from lieref.errors import DomainError
from tests.model.integer.quantised import quantised
from tests.model.nets import residual_net

MAIN = """
#include <stdio.h>
#include "update.h"
int main(int argc, char **argv) {
    static uint8_t model[1 << 20];
    FILE *file = fopen(argv[1], "rb");
    size_t bytes = fread(model, 1, sizeof model, file);
    fclose(file);
    (void)argc;
    if (argv[3][0] == 'c') model[40] ^= 1;
    if (argv[3][0] == 's') bytes--;
    int found = argv[3][0] == 'u' ? net_undo(model, bytes) : net_apply(model, bytes);
    if (argv[3][0] == 't') found += net_apply(model, bytes);
    file = fopen(argv[2], "wb");
    fwrite(model, 1, bytes, file);
    fclose(file);
    return found;
}
"""


@pytest.mark.parametrize("encoding", ["finished", "codes"])
def test_compiled_it_writes_the_file_and_takes_it_back(encoding: str, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    path = quantised(residual_net(), tmp_path, "qoperator")
    model = load_integer(path).attach("scale")
    rng = np.random.default_rng(0)
    for values in model.parameters().values():
        values[...] = 0.1 * rng.standard_normal(values.shape)
    update = model.update(encoding)
    header, tables = c_update(update, model.integer, "net")
    assert tables < 8 * len(model.integer_layers) * 4 + 8 * sum(layer.out for layer in model.integer_layers)
    (tmp_path / "update.h").write_bytes(header)
    (tmp_path / "main.c").write_text(MAIN)
    command = [compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "main.c", "-o", "main"]
    subprocess.run(command, cwd=tmp_path, check=True)

    def run(source: Path, how: str) -> tuple[int, bytes]:
        done = subprocess.run([tmp_path / "main", source, tmp_path / "out", how], cwd=tmp_path, check=False)
        return done.returncode, (tmp_path / "out").read_bytes()

    expected = update.apply(model.integer)
    assert run(path, "apply") == (0, expected)
    assert run(path, "twice") == (0, expected)
    (tmp_path / "new").write_bytes(expected)
    assert run(tmp_path / "new", "undo") == (0, path.read_bytes())
    code, content = run(path, "corrupt")
    assert code == 2
    assert content[41:] == path.read_bytes()[41:]
    assert run(path, "short")[0] == 1
    assert run(path, "undo") == (0, path.read_bytes())


def test_a_name_that_c_has_not_is_refused(tmp_path: Path) -> None:
    model = load_integer(quantised(residual_net(), tmp_path, "qoperator")).attach("bias")
    with pytest.raises(DomainError, match="identifier"):
        c_update(model.update(), model.integer, "1 net")
