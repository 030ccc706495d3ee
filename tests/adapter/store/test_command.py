"""The verbs as commands: the same through ``lieref device`` and through ``python -m lieref.adapter.store``."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lieref.adapter.store import __main__ as plain
from lieref.adapter.store import command
from lieref.adapter.store.store import Store
from lieref.cli import main as lieref_main
from lieref.cli.device import device as click_group
from lieref.errors import DomainError
from tests.adapter.store.bundles import write_bundle, write_root
from tests.adapter.store.device import Device

MAINS: dict[str, Callable[[list[str]], int]] = {
    "lieref device": lambda arguments: lieref_main(["device", *arguments]),
    "python -m lieref.adapter.store": plain.main,
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(params=[*MAINS])
def run(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], device: Device) -> Run:
    """Run a verb on the device's store; returns status, stdout and stderr."""

    def go(*arguments: object, store: Path = device.store.folder) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = MAINS[request.param]([*map(str, arguments), "--store", str(store)])
        except SystemExit as stop:  # argparse's way of saying wrong use
            status = int(stop.code or 0)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return status, said.out, said.err

    return go


def bundle(device: Device, counter: int, **options: Any) -> Path:
    """A bundle that the clock of this machine does not find expired."""
    path = device.folder / f"lasting-{counter}"
    return path if path.exists() else write_bundle(path, device.base, counter, expires=None, **options)


def test_a_life_of_a_store(run: Run, device: Device, tmp_path: Path) -> None:
    """Every verb once, in the order in which a device meets them."""
    store = tmp_path / "made"
    status, out, _ = run("init", "--base", device.base, "--trust", device.root, "--tries", 1, store=store)
    assert (status, out) == (0, f"made: {store}, for {device.base}, root version 1\n")
    assert run("start", store=store) == (0, f"{device.base}\n", "")
    status, out, err = run("install", bundle(device, 1), "--dry-run", store=store)
    assert (status, out) == (0, "would install: version v1 (counter 1)\n")
    status, out, err = run("install", bundle(device, 1), store=store)
    assert (status, out) == (0, "installed: version v1 (counter 1), on trial for 1 start\n")
    assert err == "note: self-test: not run, for no command that runs the network was given\n"
    status, out, _ = run("install", bundle(device, 1), store=store)
    assert (status, out) == (0, "unchanged: version v1 (counter 1) is on trial already, 1 start left\n")
    status, out, err = run("start", store=store)
    assert (status, err) == (0, "note: on trial: without mark-good it is given up after 0 starts more\n")
    assert Path(out.strip()).parent == store / "slots"
    assert run("mark-good", store=store)[:2] == (0, "good: version v1 (counter 1); accepted 1, floor 0\n")
    run("install", bundle(device, 2), store=store), run("start", store=store)
    status, again, err = run("start", store=store)
    assert (status, again) == (0, out)
    assert err == "note: reverted, not marked good in 1 start; back to version v1 (counter 1)\n"
    status, out, _ = run("status", store=store)
    assert [line.partition(":")[0] for line in out.splitlines()] == [
        "live", "trial", "previous", "accepted", "floor", "device", "root", "base",
    ]  # fmt: skip
    assert "live: version v1 (counter 1), " in out
    assert "trial: none\nprevious: none\naccepted: counter 1\n" in out
    assert run("rollback", store=store)[:2] == (0, "live: the base alone\n")
    status, out, _ = run("rollback", "--to-base", store=store)
    assert (status, out) == (3, "refused: no-previous\n")
    both = write_root(tmp_path / "2.json", 2, ("a", "b"), root=("b",), bundle=("b",))
    assert run("trust", both, store=store)[:2] == (0, "trusted: root version 2\n")
    _, out, _ = run("history", store=store)
    assert [line.split()[1].rstrip(":") for line in out.splitlines()] == [
        "initialised", "installed", "marked-good", "installed", "reverted", "rolled-back", "trusted",
    ]  # fmt: skip
    _, out, _ = run("status", store=store)
    assert out.startswith("live: the base alone\n")


def test_json_of_every_verb(run: Run, device: Device, tmp_path: Path) -> None:
    """One object on stdout, with the keys that a program looks for."""
    store = tmp_path / "made"
    both = write_root(tmp_path / "2.json", 2, ("a", "b"), root=("b",), bundle=("b",))
    steps: list[tuple[list[object], set[str]]] = [
        (["init", "--base", device.base, "--trust", device.root, "--compatible", "camera"], {"live", "root", "base"}),
        (["install", bundle(device, 1), "--base", device.base], {"installed", "slot", "tries", "unchecked", "dry_run"}),
        (["start", "--no-base-check"], {"adapter", "base", "slot", "tries", "reverted"}),
        (["mark-good"], {"live", "accepted", "floor", "trial", "generation"}),
        (["status"], {"live", "previous", "trial", "accepted", "floor", "compatible"}),
        (["rollback"], {"live", "previous"}),
        (["history"], {"history"}),
        (["trust", both], {"root_version"}),
    ]
    assert {arguments[0] for arguments, _ in steps} == set(command.VERBS)
    for arguments, keys in steps:
        status, out, _ = run(*arguments, "--json", store=store)
        assert status == 0
        assert keys <= set(json.loads(out))
    status, out, err = run("install", device.base, "--json", store=store)
    assert status == 3
    assert json.loads(out)["refused"] == "missing-file"
    assert json.loads(out)["reason"] in err
    status, out, err = run("mark-good", "--slot", "0" * 64, "--json", store=store)
    assert (status, json.loads(out)["refused"]) == (3, "not-started")


def test_the_self_test_command(run: Run, device: Device, tmp_path: Path) -> None:
    script = tmp_path / "test.py"
    script.write_text(
        "import pathlib, sys\n"
        "print('a line of the self-test')\n"
        "word, folder, base = sys.argv[1:]\n"
        f"ok = word == 'two words' and base == {str(device.base)!r}\n"
        "ok = ok and (pathlib.Path(folder) / 'bundle.dsse.json').is_file()\n"
        "sys.exit(0 if ok else 5)\n"
    )
    test = f"{sys.executable} {script} 'two words'"
    status, out, err = run("install", bundle(device, 1), "--self-test", test)
    assert (status, out) == (0, "installed: version v1 (counter 1), on trial for 2 starts\n")
    assert err in ("", f"the self-test {test} may take 60 s\n")  # said where a terminal waits for it
    failing = f"{sys.executable} {script} other"
    status, out, err = run("install", bundle(device, 2), "--self-test", failing)
    assert (status, out) == (3, "refused: self-test\n")
    assert "status 5 of" in err
    for words, reason in (
        ("/no/such/program", "No such file"),
        (f"{sys.executable} -c 'import time; time.sleep(60)'", "timed out"),
    ):
        status, out, err = run("install", bundle(device, 2), "--self-test", words, "--self-test-seconds", "0.2")
        assert (status, out) == (3, "refused: self-test\n")
        assert reason in err
    for words in ("", "'unfinished"):
        status, out, err = run("install", bundle(device, 2), "--self-test", words)
        assert (status, out) == (2, "")
        assert "`self-test` must be a command" in err


def test_no_clock(run: Run, device: Device) -> None:
    path = write_bundle(
        device.folder / "old", device.base, 1, expires="2020-01-01T00:00:00Z", issued="2019-01-01T00:00:00Z"
    )
    assert run("install", path)[:2] == (3, "refused: expired\n")
    status, _, err = run("install", path, "--no-clock")
    assert status == 0
    assert "note: expiry: not checked" in err


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["fly"], ["install"], ["init", "--base", "x"], ["install", "x", "--self-test-seconds", "many"],
        ["init", "--base", "x", "--trust", "y", "--tries", "0.5"], ["status", "--tries", "3"], ["trust"],
    ],
)  # fmt: skip
def test_wrong_use(run: Run, device: Device, arguments: list[str]) -> None:
    before = device.state()
    status, out, _ = run(*arguments)
    assert (status, out) == (2, "")
    assert device.state() == before


def test_bad_input(run: Run, device: Device, tmp_path: Path) -> None:
    """No tracebacks: wrong use is 2, a refusal is 3."""
    init = ["init", "--base", device.base, "--trust", device.root]
    assert run(*init)[0] == 2
    assert "must be a new or empty folder" in run(*init)[2]
    assert run(*init, "--tries", 0, store=tmp_path / "n")[0] == 2
    assert run("init", "--base", tmp_path / "none", "--trust", device.root, store=tmp_path / "n")[:2] == (
        3,
        "refused: base\n",
    )
    assert run("init", "--base", device.base, "--trust", tmp_path, store=tmp_path / "n")[0] == 0, (
        "a folder with root.json"
    )
    assert run("status", store=tmp_path / "none")[:2] == (3, "refused: state\n")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "state"), 1, "error: state: No space left on device"),
        (MemoryError(), 1, "error: out of memory"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
    ],
)
def test_failures_of_the_machine(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, line: str
) -> None:
    def fails(self: Store) -> None:
        raise error

    monkeypatch.setattr(Store, "status", fails)
    assert run("status")[0] == status
    assert any(said.startswith(line) for said in run("status")[2].splitlines())


def test_warnings_are_lines(run: Run, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.good(1)
    real = os.fsync

    def folders_fail(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), os.stat(device.store.folder)):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", folders_fail)
    status, out, err = run("rollback")
    assert (status, out) == (0, "live: the base alone\n")
    assert err.startswith("warning: ")
    assert "the disk did not confirm it" in err


def test_damage_is_shown(run: Run, device: Device) -> None:
    device.good(1, 2)
    device.damage(1)
    out = run("status")[1]
    assert "previous: version v1 (counter 1), DAMAGED, " in out


def test_help_tells_the_verbs_and_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(click_group.commands) == set(command.VERBS)
    for name, verb in command.VERBS.items():
        texts = []
        assert lieref_main(["device", name, "--help"]) == 0
        texts.append(capsys.readouterr().out)
        with pytest.raises(SystemExit) as stop:
            plain.main([name, "--help"])
        assert stop.value.code == 0
        texts.append(capsys.readouterr().out)
        for text in texts:
            for option in (*verb.options, command.STORE, command.JSON):
                assert option.name in text
            assert " ".join(verb.summary.split()[:3]) in text


def test_run_as_a_module(device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["store", "start", "--store", str(device.store.folder)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(plain.__file__), run_name="__main__")
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"{device.base}\n"


def test_a_path_goes_out_as_the_system_has_it(device: Device) -> None:
    """A start must give a path that can be opened, whatever bytes are in it and whatever the terminal's encoding is."""
    device.good(1)
    try:
        moved = device.store.folder.rename(os.fsdecode(os.fsencode(device.folder) + b"/st\xffre"))
    except OSError:
        pytest.skip("the file system takes UTF-8 alone")
    for encoding in ("utf-8:strict", "ascii"):
        done = subprocess.run(
            [sys.executable, "-m", "lieref.adapter.store", "start", "--store", str(moved)],
            capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=True,
        )  # fmt: skip
        assert (Path(os.fsdecode(done.stdout.rstrip(b"\n"))) / "bundle.dsse.json").is_file()
        assert done.stderr == b""


def test_the_output_may_go_into_a_string(device: Device) -> None:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert plain.main(["start", "--store", str(device.store.folder)]) == 0
    assert said.getvalue() == f"{device.base}\n"


def test_what_a_terminal_would_obey_is_shown(run: Run, device: Device) -> None:
    status, out, err = run("mark-good", "--slot", "\x1b[2J\u202ered")
    assert (status, out) == (3, "refused: not-started\n")
    assert "got \\x1b[2J\\u202ered, and live is" in err


@pytest.mark.parametrize("text", ["\x1b[2J", "two\nlines", "", "x" * 201, "\udcff"])
def test_a_kind_of_device_that_no_bundle_can_be_for(run: Run, device: Device, tmp_path: Path, text: str) -> None:
    made = tmp_path / "made"
    status, out, err = run("init", "--base", device.base, "--trust", device.root, "--compatible", text, store=made)
    assert (status, out) == (2, "")
    assert "`compatible` must be one line" in err
    assert not made.exists()


def test_a_base_whose_path_cannot_be_remembered(device: Device) -> None:
    odd = Path(os.fsdecode(os.fsencode(device.folder) + b"/b\xffse.safetensors"))
    try:
        odd.write_bytes(device.base.read_bytes())
    except OSError:
        pytest.skip("the file system takes UTF-8 alone")
    with pytest.raises(DomainError, match="must have a path that UTF-8 can hold"):
        Store.init(device.folder / "made", base=odd, trust=device.root)
    assert not (device.folder / "made").exists()


@pytest.mark.parametrize("seconds", ["nan", "0", "-1"])
def test_a_self_test_takes_time(run: Run, device: Device, seconds: str) -> None:
    status, _, err = run("install", bundle(device, 1), "--self-test", "true", "--self-test-seconds", seconds)
    assert status == 2
    assert "`self-test-seconds` must be positive" in err
