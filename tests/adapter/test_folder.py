"""Adapter folders: round trip, digests, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.adapter import adapter_bytes, check_base, read_adapter, write_adapter
from lieref.adapter.folder import CONFIG_NAME, TENSORS_NAME
from lieref.adapter.strict_json import MAX_DEPTH, format_json, parse_json
from lieref.errors import DomainError, FormatError, VerificationError

BASE = "0f" * 32
CONFIG: dict[str, Any] = {
    "peft_type": "LIERA",
    "r": 4,
    "lora_alpha": 4.0,
    "target_modules": ["conv*"],
    "base_model_name_or_path": "resnet8.onnx",
    "lieref": {
        "base_sha256": BASE,
        "task": None,
        "output": None,
        "classes": None,
        "head": None,
        "preprocessing": None,
        "tokenizer_sha256": None,
        "integers": None,
        "input_shapes": {},
        "methods": [{"config": {"name": "liera"}, "target_modules": ["conv*"], "seed": 0}],
        "statistics": [],
        "sites": {
            "conv/w": {
                "method": {"name": "liera"}, "shape": [3, 2], "weight": True, "groups": 1, "transposed": False,
                "directions": 0, "bias": None,
            },
        },
        "tensors": {"conv/w": {"dtype": "float32", "shape": [3, 2], "source": "file"}},
    },
}  # fmt: skip
SECTION = CONFIG["lieref"]
TENSORS = {"conv/w:lora_a": np.ones((4, 2), np.float32), "conv/w:lora_b": np.zeros((3, 4), np.float32)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_adapter(tmp_path / "out", TENSORS, CONFIG, files={"report.json": b"{}\n"})
    return tmp_path / "out"


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / CONFIG_NAME).read_text())
    section = changes.pop("lieref", None)
    config.update(changes)
    if section is not None:
        config["lieref"].update(section)
    (folder / CONFIG_NAME).write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def test_round_trip(folder: Path) -> None:
    tensors, config = read_adapter(folder)
    assert set(tensors) == set(TENSORS)
    for name, array in TENSORS.items():
        assert tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(tensors[name], array)
    filled_in = {"format", "tensors_sha256", "tensors_bytes"}
    assert {**config, "lieref": {k: v for k, v in config["lieref"].items() if k not in filled_in}} == CONFIG
    assert sorted(p.name for p in folder.iterdir()) == [CONFIG_NAME, TENSORS_NAME, "report.json"]
    assert adapter_bytes(folder) == sum((folder / n).stat().st_size for n in (CONFIG_NAME, TENSORS_NAME))


def test_reading_needs_numpy_alone(folder: Path) -> None:
    code = (
        "import sys; from lieref.adapter import read_adapter; read_adapter(sys.argv[1]);"
        "print([m for m in ('scipy', 'numba', 'onnx', 'safetensors', 'click', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_base_is_compared_by_digest(folder: Path) -> None:
    _, config = read_adapter(folder)
    check_base(config, BASE)
    with pytest.raises(VerificationError, match=f"sha256 {'1' * 64}; got an adapter of {BASE} .resnet8.onnx"):
        check_base(config, "1" * 64)


def test_every_bit_of_the_tensor_file_counts(folder: Path) -> None:
    path = folder / TENSORS_NAME
    data = path.read_bytes()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(VerificationError, match="must have the sha256"):
            read_adapter(folder)


def test_files_of_two_adapters_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    write_adapter(tmp_path / "other", {"conv/w:lora_a": np.full((4, 2), 2.0, np.float32)}, CONFIG)
    (folder / TENSORS_NAME).write_bytes((tmp_path / "other" / TENSORS_NAME).read_bytes())
    with pytest.raises(VerificationError, match="two adapters mixed"):
        read_adapter(folder)


@pytest.mark.parametrize("name", [CONFIG_NAME, TENSORS_NAME])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(FormatError, match=f"must hold {name}"):
        read_adapter(folder)


def test_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "adapted").write_bytes(b"")
    with pytest.raises(FormatError, match="adapted, which is not a folder"):
        read_adapter(tmp_path / "adapted")
    with pytest.raises(FormatError, match="adaptd, which does not exist; did you mean adapted"):
        read_adapter(tmp_path / "adaptd")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lieref": {"format": "lieref-adapter/4"}}, "lieref-adapter/2 or lieref-adapter/3; got lieref-adapter/4"),
        ({"lieref": {"base_sha256": "xyz"}}, "got no valid lieref.base_sha256"),
        ({"r": ...}, "got no r"),
    ],
)
def test_config_that_is_not_ours_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit_config(folder, **changes)
    with pytest.raises(FormatError, match=message):
        read_adapter(folder)


@pytest.mark.parametrize("place", ["head", "classes", "task", "preprocessing", "tokenizer_sha256", "integers"])
def test_fixed_places_are_there_in_format_3_and_may_be_missing_before(folder: Path, place: str) -> None:
    config = json.loads((folder / CONFIG_NAME).read_text())
    del config["lieref"][place]
    (folder / CONFIG_NAME).write_text(json.dumps(config))
    with pytest.raises(FormatError, match=f"got no {place}"):
        read_adapter(folder)
    edit_config(folder, lieref={"format": "lieref-adapter/2"})
    assert place not in read_adapter(folder)[1]["lieref"]


@pytest.mark.parametrize(
    "text", ['{"r": 1, "r": 2}', '{"r": NaN}', '{"r": 1e999}', '{"r": ["\\ud800"]}', "[]", "", '{"lieref": 1}', "{}"]
)
def test_loose_json_is_refused(folder: Path, text: str) -> None:
    (folder / CONFIG_NAME).write_text(text)
    with pytest.raises(FormatError, match="must"):
        read_adapter(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(DomainError, match="`a` must be finite"):
        write_adapter(tmp_path / "out", {"a": np.array([value])}, CONFIG)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({**CONFIG, "lieref": {}}, DomainError, "lieref.base_sha256"),
        ({k: v for k, v in CONFIG.items() if k != "r"}, FormatError, "got no r"),
        ({**CONFIG, "lora_alpha": float("nan")}, FormatError, "must be a number or null; got nan"),
        ({**CONFIG, "extra": float("nan")}, FormatError, "plain finite JSON"),
        ({**CONFIG, "extra": np.float32(1)}, FormatError, "plain finite JSON"),
        *(
            ({**CONFIG, "lieref": {k: v for k, v in SECTION.items() if k != place}}, FormatError, f"got no {place}")
            for place in SECTION
            if place != "base_sha256"
        ),
    ],
)
def test_bad_config_is_not_written(tmp_path: Path, config: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        write_adapter(tmp_path / "out", TENSORS, config)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrap", ['{"a": %s}', '{"a": [%s]}'])
def test_depth_has_a_cap(wrap: str) -> None:
    levels = 1 + wrap.count("[")
    text = "1"
    for _ in range(MAX_DEPTH // levels):
        text = wrap % text
    assert parse_json(text.encode(), "it")
    for deeper in (wrap % text, '{"b": {}, "a": [{}, %s]}' % text, wrap % wrap % text):  # noqa: UP031
        with pytest.raises(FormatError, match="nested too deeply"):
            parse_json(deeper.encode(), "it")
    inner = text.replace("1", "{}")
    with pytest.raises(FormatError, match="nested too deeply"):
        parse_json(inner.encode(), "it")


def test_what_is_nested_deeply_is_on_one_line() -> None:
    value = {"a": 1, "b": {"c": [], "d": {"e": {"f": [1, {"g": None}]}, "h": [1.5, "x"]}}, "i": [{"j": {}}, []]}
    text = format_json(value, depth=3)
    assert parse_json(text, "it") == value
    assert text.decode().splitlines() == [
        "{", '  "a": 1,', '  "b": {', '    "c": [],', '    "d": {', '      "e": {"f": [1, {"g": null}]},',
        '      "h": [1.5, "x"]', "    }", "  },", '  "i": [', "    {", '      "j": {}', "    },", "    []", "  ]", "}",
    ]  # fmt: skip
    for wrong in ({"a": {"b": np.float32(1)}}, {"a": float("nan")}, {"a": {"b": {"c": float("inf")}}}):
        with pytest.raises(FormatError, match="plain finite JSON"):
            format_json(wrong, depth=3)
