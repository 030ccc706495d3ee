"""What commands write: one run at a time, nothing lost, nothing half-written, the same command again."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lieref import _atomic as atomic
from lieref._lock import exclusive
from lieref.cli import demo as demo_module
from lieref.cli import finetune_float as finetune_module
from lieref.cli import job, main
from lieref.cli import output as output_module
from lieref.errors import DomainError
from lieref.train import loop
from tests.cli.helpers import snapshot, write_data

RunJson = Callable[..., dict[str, Any]]
Fails = Callable[..., str]
TRAIN = ("finetune", "base.onnx", "--train", "train.npz", "--out", "out", "--epochs", "3", "--batch", "8")
CHECKPOINT = Path(".out.unfinished", "checkpoint.npz")


def adapter() -> bytes:
    return Path("out", "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (TRAIN, "out"),
        (("demo", "--out", "out"), "out"),
        (("merge", "base.onnx", "adapter", "-o", "merged.onnx"), "merged.onnx"),
        (("golden", "export", "out"), "out"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_two_commands_never_write_one_output(
    workplace: Path, fails: Fails, command: tuple[str, ...], output: str
) -> None:
    with exclusive(workplace / output, "another", "out"):
        assert f"by process {os.getpid()} on" in fails(*command)


def test_second_run_is_refused_and_costs_the_first_nothing(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], run_json: RunJson
) -> None:
    """After the first epoch of one run comes another one, with the same options and with impossible ones."""
    original, statuses = loop.write_checkpoint, []

    def meeting(folder: Path, checkpoint: Any) -> None:
        original(folder, checkpoint)
        saved = CHECKPOINT.read_bytes()
        for options in ((), ("--resume",), ("--force",), ("--force", "--lr", "1e30")):
            statuses.append(main([*TRAIN, *options]))
            assert CHECKPOINT.read_bytes() == saved

    monkeypatch.setattr(loop, "write_checkpoint", meeting)
    assert main([*TRAIN, "--validation", "0.25"]) == 0
    assert statuses == [2] * 12
    assert capsys.readouterr().err.count("error: finetune: `out` must not be in use") == 12
    together = adapter()
    monkeypatch.undo()
    os.chdir(workplace)
    run_json(*TRAIN, "--validation", "0.25", "--force")
    assert adapter() == together


def test_fit_holds_its_checkpoints(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lieref

    data = lieref.load_data("train.npz")
    original, refused = loop.write_checkpoint, []

    def train(**options: Any) -> None:
        model = lieref.load("base.onnx").attach("lora", r=1)
        lieref.fit(model, data.x, data.y, epochs=2, checkpoint="run", **options)

    def meeting(folder: Path, checkpoint: Any) -> None:
        original(folder, checkpoint)
        for resume in (False, True):
            with pytest.raises(lieref.DomainError, match="fit: `checkpoint` must not be in use") as error:
                train(resume=resume)
            refused.append(error)

    monkeypatch.setattr(loop, "write_checkpoint", meeting)
    train()
    assert len(refused) == 4
    assert [path.name for path in Path("run").iterdir()] == ["checkpoint.npz"]


def test_the_same_command_again(workplace: Path, run_json: RunJson, fails: Fails) -> None:
    run_json(*TRAIN)
    run_json(*TRAIN[:4], "--out", "other", "--rank", "1", "--epochs", "1")
    first = adapter()
    assert "add --force to replace it" in fails(*TRAIN)
    run_json(*TRAIN, "--force", "--seed", "1")
    assert adapter() != first
    run_json(*TRAIN, "--force")
    assert adapter() == first
    Path("out", "mine.txt").write_text("keep")
    assert "not empty: it holds mine.txt" in fails(*TRAIN, "--force")

    merge = ("merge", "base.onnx", "other", "-o", "merged.onnx")
    merged = run_json(*merge)
    before = Path("merged.onnx").stat()
    assert run_json(*merge) == merged
    after = Path("merged.onnx").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), "the file itself, untouched"
    Path("out", "mine.txt").unlink()
    assert "holds something else; add --force" in fails("merge", "base.onnx", "out", "-o", "merged.onnx")
    run_json("merge", "base.onnx", "out", "-o", "merged.onnx", "--force")


def test_a_result_that_appears_while_the_lock_is_taken_is_kept(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another run finishes between this one's first look and its lock."""

    @contextmanager
    def late(out: Path, *_: object) -> Iterator[None]:
        out.mkdir()
        (out / "report.json").write_text("another's")
        yield

    monkeypatch.setattr(output_module, "exclusive", late)
    monkeypatch.setattr(job, "load_samples", None)
    assert main([*TRAIN]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert Path("out", "report.json").read_text() == "another's"


def test_demo_replaces_a_demo_and_nothing_else(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, run_json: RunJson, fails: Fails
) -> None:
    monkeypatch.setattr(demo_module, "EPOCHS", 1)
    for seed in (0, 1):
        assert len(run_json("demo", "--out", "out", "--seed", seed)["methods"]) == 4
    assert json.loads(Path("out", "report.json").read_text())["methods"][0]["seed"] == 1
    assert {path.name for path in Path("out").iterdir()} == demo_module.NAMES
    Path("out", "mine.txt").write_text("keep")
    assert "mine.txt" in fails("demo", "--out", "out")


def stop_after(monkeypatch: pytest.MonkeyPatch, epoch: int, error: BaseException) -> None:
    original = loop.write_checkpoint

    def stopping(folder: Path, checkpoint: Any) -> None:
        if len(checkpoint.history.epochs) > epoch:
            raise error
        original(folder, checkpoint)

    monkeypatch.setattr(loop, "write_checkpoint", stopping)


def test_what_becomes_of_an_unfinished_run(
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fails: Fails,
    run_json: RunJson,
) -> None:
    run_json(*TRAIN)
    whole = adapter()
    shutil.rmtree("out")
    with monkeypatch.context() as patch:
        stop_after(patch, 1, KeyboardInterrupt())
        assert main([*TRAIN]) == 130
        assert "with --resume continues\n" in capsys.readouterr().err
    assert CHECKPOINT.exists()
    assert "add --resume to continue it, or --force" in fails(*TRAIN)
    assert "diverged" not in fails(*TRAIN, "--resume", "--lr", "1e30")
    for mistake in (("--train", "train2.npz"), ("--augment", "rotate"), ("--lr", "1e30"), ("--rank", "x")):
        fails(*TRAIN, "--force", *mistake)  # and drops nothing
    with monkeypatch.context() as patch:
        stop_after(patch, 0, KeyboardInterrupt())
        saved = CHECKPOINT.read_bytes()
        assert main([*TRAIN, "--force"]) == 130
        assert CHECKPOINT.read_bytes() == saved
    run_json(*TRAIN, "--resume")
    assert adapter() == whole
    assert not CHECKPOINT.parent.exists()

    # Killed before the first epoch was over: there is nothing to continue, and nothing to lose.
    for options in ((), ("--resume",)):
        shutil.rmtree("out")
        CHECKPOINT.parent.mkdir()
        (CHECKPOINT.parent / "checkpoint.lock").write_text("by a process that was killed")
        assert main([*TRAIN, *options]) == 0
        assert ("the run begins anew" in capsys.readouterr().err) == bool(options)
        assert adapter() == whole
        assert not CHECKPOINT.parent.exists()

    # Anew, and over an adapter that is there.
    with monkeypatch.context() as patch:
        stop_after(patch, 1, OSError(errno.ENOSPC, "No space left on device"))
        assert main([*TRAIN, "--force"]) == 1
    assert adapter() == whole
    assert CHECKPOINT.exists()
    run_json(*TRAIN, "--force", "--seed", "1")
    assert adapter() != whole
    assert not CHECKPOINT.parent.exists()


def test_a_run_that_cannot_succeed_leaves_an_older_checkpoint_alone(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: Fails
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 1, KeyboardInterrupt())
        assert main([*TRAIN]) == 130
    capsys.readouterr()
    saved = CHECKPOINT.read_bytes()
    write_data(workplace / "train.npz", seed=9)
    assert "training data" in fails(*TRAIN, "--resume")
    assert CHECKPOINT.read_bytes() == saved


@pytest.mark.parametrize("where", ["load_samples", "score", "attach_method", "train", "finish", "write_folder"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (DomainError("f: `x` must be y; got z"), 2),
    ],
    ids=["Ctrl-C", "full", "refused"],
)
def test_stopped_at_each_step(
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run_json: RunJson,
    where: str,
    error: BaseException,
    status: int,
) -> None:
    """One line, no traceback, nothing left but the checkpoint of what was trained; and that can be continued."""

    def stop(*_: object, **__: object) -> None:
        raise error

    before = snapshot(workplace)
    with monkeypatch.context() as patch:
        patch.setattr(finetune_module if where == "write_folder" else job, where, stop)
        assert main([*TRAIN, "--test", "test.npz"]) == status
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ")
    assert not any("Traceback" in line for line in lines)
    trained = where in ("finish", "write_folder")
    assert any("--resume continues" in line for line in lines) == trained
    assert CHECKPOINT.exists() == trained
    left = {name for name in snapshot(workplace) if not name.startswith(".out.unfinished")}
    assert left == set(before)
    if trained:
        run_json(*TRAIN, "--test", "test.npz", "--resume")


def test_a_disk_that_does_not_confirm_is_said_and_no_failure(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(folder: Path) -> None:
        if not folder.name.startswith("."):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(atomic, "flush_folder", broken)
    assert main([*TRAIN]) == 0
    assert "warning: " in (said := capsys.readouterr().err)
    assert f"{workplace / 'out'} is written, but the disk did not confirm it (Input/output error)" in said
    assert adapter()


def test_a_checkpoint_that_cannot_be_removed_is_said(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stuck(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", stuck)
    assert main([*TRAIN]) == 0
    assert ".out.unfinished is no longer needed, but cannot be removed (Permission denied)" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["read-only/out", "file", "file/out", "dangling", "link", "n" * 250, "."])
def test_places_that_cannot_be_written_are_refused_before_anything_is_read(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails, out: str
) -> None:
    (workplace / "file").write_text("mine")
    (workplace / "link").symlink_to(workplace)
    (workplace / "dangling").symlink_to(workplace / "nowhere")
    (workplace / "read-only").mkdir()
    original = os.open

    def read_only(path: Any, *arguments: Any, **keywords: Any) -> int:
        if Path(path).parent.name == "read-only":
            raise OSError(errno.EROFS, "Read-only file system", path)
        return original(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(job, "load_samples", None)
    for command in ((*TRAIN[:4], "--out", out), ("demo", "--out", out), ("golden", "export", out)):
        assert "must" in fails(*command) or out == "file"


def test_names_in_any_alphabet(workplace: Path, run_json: RunJson) -> None:
    out = "наш вывод [1] 出力"
    run_json(*TRAIN[:4], "--out", out, "--epochs", "1")
    run_json("merge", "base.onnx", out, "-o", f"{out}.onnx")
    assert {path.name for path in workplace.iterdir()} == {"base.onnx", "train.npz", "test.npz", out, f"{out}.onnx"}


def test_a_report_that_cannot_be_written_is_refused_before_the_check(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails
) -> None:
    from lieref.conformance import runner

    monkeypatch.setattr(runner, "check", None)
    check = ("golden", "check", "--backend", "lieref.conformance.reference:run", "--junit")
    (workplace / "folder").mkdir()
    assert "is a folder" in fails(*check, "folder")
    assert "there is no folder nowhere" in fails(*check, "nowhere/report.xml")
    with exclusive("report.xml", "another", "junit"):
        assert "must not be in use" in fails(*check, "report.xml")


def test_paths_beyond_every_limit(workplace: Path, fails: Fails) -> None:
    long = "/".join(["n" * 200] * 30)
    for command in (("inspect", long), ("eval", "base.onnx", "--data", long), (*TRAIN[:4], "--out", long)):
        fails(*command)


def test_names_that_are_no_text(workplace: Path, run_json: RunJson) -> None:
    """Bytes that are no UTF-8, which Python holds as unpaired surrogates and JSON cannot."""
    base, out = os.fsdecode(b"b\xff.onnx"), os.fsdecode(b"o\xff")
    os.rename("base.onnx", base)
    report = run_json("finetune", base, *TRAIN[2:4], "--out", out, "--epochs", "1")
    assert report["base"] == r"b\xff.onnx"
    assert json.loads(Path(out, "adapter_config.json").read_text())["base_model_name_or_path"] == r"b\xff.onnx"
    run_json("merge", base, out, "-o", "merged.onnx")


@pytest.mark.parametrize("kind", ["pipe", "base", "link to base"])
def test_merge_replaces_ordinary_files_only(workplace: Path, run_json: RunJson, fails: Fails, kind: str) -> None:
    run_json(*TRAIN)
    os.mkfifo("pipe")
    os.link("base.onnx", "base")
    os.symlink("base.onnx", "link to base")
    assert "is" in fails("merge", "base.onnx", "out", "-o", kind, "--force")
