from __future__ import annotations

from pathlib import Path

import pytest

from lieref.errors import DomainError, FormatError, LierefError
from lieref.evaluate.fleet.manifest import Bundling, Entry, read_manifest
from lieref.evaluate.plan import Plan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("base.onnx", "data/b/train.npz", "data/a/train.npz", "data/a/test.npz", "more.npz", "key/k.pem",
                 "fleet/x"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def written(folder: Path, text: str) -> Path:
    (folder / "m.toml").write_text(text)
    return folder / "m.toml"


BASE = 'base = "base.onnx"\n'
DEVICES = BASE + 'devices = "data/*/train.npz"\n'


def test_a_manifest_says_base_plan_and_devices(folder: Path) -> None:
    found = read_manifest(
        written(
            folder,
            DEVICES + 'method = "lora"\nrank = 2\nepochs = 3\nbatch = 16\nlearning_rate = 0.01\nseed = 4\nfolds = 3\n'
            'test = "data/*/test.npz"\noptions = { lora_dropout = 0.1 }\n[[device]]\nname = "0"\ntrain = "more.npz"\n'
            '[bundle]\nkey = "key"\nversion = "1"\ncompatible = "camera"\n[rounds]\nepochs = 2\nmean = "exact"\n',
        )
    )
    assert found.base == folder / "base.onnx"
    assert found.plan == Plan("lora", {"lora_dropout": 0.1, "r": 2}, epochs=3, batch_size=16, learning_rate=0.01)
    assert found.devices == (
        Entry("0", folder / "more.npz"),
        Entry("a", folder / "data/a/train.npz", folder / "data/a/test.npz"),
        Entry("b", folder / "data/b/train.npz", folder / "data/b/test.npz"),  # missing: that device fails, by name
    )
    assert (found.seed, found.folds, found.round_epochs, found.mean) == (4, 3, 2, "exact")
    assert found.bundling == Bundling((folder / "key",), "1", "camera")


@pytest.mark.parametrize("pattern", ["./data/*/train.npz", "data//*/train.npz", "data/./*/train.npz"])
def test_a_pattern_may_be_written_in_several_ways(folder: Path, pattern: str) -> None:
    found = read_manifest(written(folder, f'{BASE}devices = "{pattern}"\n'))
    assert [entry.name for entry in found.devices] == ["a", "b"]


def test_auto_and_a_start_leave_the_method_open(folder: Path) -> None:
    assert read_manifest(written(folder, DEVICES + 'method = "auto"')).plan is None
    assert read_manifest(written(folder, DEVICES + 'start = "fleet"\nepochs = 2')).plan == Plan("start", epochs=2)
    composed = read_manifest(written(folder, DEVICES + 'start = "fleet"\ncompose = true'))
    assert (composed.plan, composed.compose) == (Plan("liera"), True)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("base = ", FormatError, "must be TOML"),
        ("a = " + "[" * 5000, FormatError, "must be TOML"),
        (DEVICES + 'method = "start"', DomainError, "`method` must be one of `lieref methods`, or auto; got 'start'"),
        ('devices = "data/*/train.npz"', DomainError, "`base` must be given"),
        (DEVICES + 'methd = "lora"', DomainError, "`methd` must be one of base, method"),
        (DEVICES + "[bundle]\nkye = 1", DomainError, "`bundle.kye` must be one of key, version"),
        (DEVICES + "rank = 2.5", DomainError, "`rank` must be int; got 2.5"),
        (DEVICES + "epochs = 0", DomainError, "`epochs` must be at least 1; got 0"),
        (DEVICES + "seed = true", DomainError, "`seed` must be int; got True"),
        (BASE, DomainError, "there must be a device"),
        (BASE + 'devices = "none/*.npz"', DomainError, "`devices` must match a file"),
        (BASE + 'devices = "data/a/train.npz"', DomainError, "must be a path with one *"),
        (DEVICES + 'test = "test.npz"', DomainError, "`test` must be a path with one *"),
        (DEVICES + '[[device]]\nname = "A"\ntrain = "x"', DomainError, "differ by more than case; got A twice"),
        (BASE + '[[device]]\nname = "../a"\ntrain = "x"', DomainError, "the name of a device must be of letters"),
        (BASE + '[[device]]\nname = "a"', DomainError, "must have `train`"),
        ('base = "gone.onnx"\ndevices = "data/*/train.npz"', FormatError, "`base` must be a file; got"),
        (DEVICES + 'start = "gone"', FormatError, "`start` must be an adapter folder"),
        (DEVICES + 'start = "fleet"\nrank = 3', DomainError, "`rank` must be left out where devices go on"),
        (DEVICES + 'method = "auto"\nepochs = 3', DomainError, "`epochs` must be left out for method"),
        (DEVICES + "compose = true", DomainError, "`compose` must come with `start`"),
        (DEVICES + '[bundle]\nkey = "gone"', FormatError, "`bundle.key` must be the folder of a key; got"),
        (DEVICES + '[rounds]\nmean = "of B"', DomainError, "`rounds.mean` must be one of algebra, factors, exact"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(folder: Path, text: str, error: type[LierefError], message: str) -> None:
    path = written(folder, text)
    with pytest.raises(error) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"fleet: {path}")
    assert message in str(caught.value)


def test_a_missing_manifest_is_said(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="the manifest must be a readable file"):
        read_manifest(tmp_path / "none.toml")
