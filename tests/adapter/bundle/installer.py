"""The protocol by which an installer is put to the tests of attacks, and the installer under test.

    COMMAND verify BUNDLE --base BASE --trust ROOT [--root NEXT]... [--compatible TEXT] [--counter N] [--floor N]
                          [--now TIME]

BUNDLE is the folder that is offered, BASE the model on the device, ROOT the root file that the device came with, each
NEXT the one that follows it, TEXT the kind of device, the first N the counter of the last bundle that was accepted, the
second the floor, TIME what the clock says. The command exits with 0 if a device would install the bundle, and with 3,
having printed a line ``refused: SLUG``, if it would not; a SLUG is a key of `lieref.adapter.bundle.refusal.REFUSALS`.
Anything else, a crash above all, fails the test.

``lieref bundle`` is tested in this process. To test another program:

    LIEREF_INSTALLER='my-installer --quiet' pytest tests/adapter/bundle/test_attacks.py
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lieref.cli import main
from tests.adapter.bundle.bundles import KIND, NOW, UPDATE, Bundle, base_file, root_file

VARIABLE = "LIEREF_INSTALLER"
SECONDS = 60
ACCEPTED, REFUSED = 0, 3


def run(arguments: Sequence[str]) -> tuple[int, str, str]:
    """Run the installer; return its exit status, what it printed and what it said."""
    command = os.environ.get(VARIABLE)
    if command is None:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["bundle", *arguments])
        return status, out.getvalue(), err.getvalue()
    done = subprocess.run([*shlex.split(command), *arguments], capture_output=True, text=True, timeout=SECONDS)
    return done.returncode, done.stdout, done.stderr


@dataclass
class Device:
    """What a device has; each attack is offered to one that takes the right bundle."""

    folder: Path
    trust: Path = field(init=False)
    base: Path = field(init=False)
    options: dict[str, Any] = field(default_factory=dict)
    newer: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        self.base = self.folder / ("base.tflite" if KIND[0] == UPDATE else "base.safetensors")
        self.base.write_bytes(base_file(kind=KIND[0]))
        self.trust = self.folder / "root.json"
        self.trust.write_bytes(root_file())
        self.accepts(Bundle().write(self.folder / "right"))

    def verify(self, bundle: Path, **options: Any) -> tuple[int, str, str]:
        said = {"now": NOW, **self.options, **options}
        arguments = ["verify", str(bundle), "--base", str(self.base), "--trust", str(self.trust)]
        for path in self.newer:
            arguments += ["--root", str(path)]
        for name, value in said.items():
            arguments += [f"--{name}", str(value)]
        return run(arguments)

    def accepts(self, bundle: Path, **options: Any) -> None:
        status, out, err = self.verify(bundle, **options)
        assert status == ACCEPTED, (status, out, err)
        assert "refused" not in out

    def refuses(self, slug: str, bundle: Path, **options: Any) -> None:
        status, out, err = self.verify(bundle, **options)
        assert status == REFUSED, (status, out, err)
        assert [line for line in out.splitlines() if line.startswith("refused: ")] == [f"refused: {slug}"], (out, err)
