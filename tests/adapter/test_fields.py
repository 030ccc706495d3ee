"""Files from anywhere: every field of every type is taken or refused in one short line, before anything else."""

from __future__ import annotations

import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lieref
from lieref.adapter import read_adapter
from lieref.adapter.fields import FIELDS, is_number, shown
from lieref.adapter.folder import CONFIG_NAME, MAX_CONFIG_BYTES, TENSORS_NAME
from lieref.adapter.tensor_file import MAX_HEADER_BYTES, decode_tensors, encode_tensors
from lieref.errors import DomainError, FormatError, LierefError, VerificationError
from tests.model.nets import residual_net, saved

pytestmark = pytest.mark.filterwarnings("ignore::lieref.errors.LierefWarning")

VALUES: list[Any] = [
    None, True, 0, 1, -1, 2**63, 10**400, 1.5, "", "x" * 500, [], [1], ["x"], {}, {"name": "lora"}, {"x": {}}, [{}],
]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(residual_net(), tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def model(path: Path) -> lieref.Model:
    return lieref.load(path)


@pytest.fixture(scope="module")
def folder(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "out"
    lieref.load(path).attach("norm-stats").attach("lora", r=2, target_modules=["head"]).save_adapter(folder)
    return folder


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a tree of JSON."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, item in inside for place in places(item, (*at, key)))]


def changed(config: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy = dict(config) if isinstance(config, dict) else list(config)
    copy[place[0]] = changed(copy[place[0]], place[1:], value)
    return copy


@pytest.mark.parametrize(("value", "number"), [
    (16, True), (0.5, True), (-3, True), (2**63 - 1, True), (2**63, False), (-(2**63), False), (True, False),
    ("16", False), (math.inf, False), (math.nan, False), (None, False),
])  # fmt: skip
def test_numbers_are_finite_and_fit(value: Any, number: bool) -> None:
    assert is_number(value) is number


def test_any_value_in_any_place_is_taken_or_refused(folder: Path, model: lieref.Model) -> None:
    original = (folder / CONFIG_NAME).read_bytes()
    config = json.loads(original)
    known = places(config)
    assert len(known) > 30
    messages: list[str] = []
    try:
        for place in known:
            for value in VALUES:
                (folder / CONFIG_NAME).write_text(json.dumps(changed(config, place, value)))
                try:
                    model.load_adapter(folder)
                except LierefError as error:
                    messages.append(str(error))
    finally:
        (folder / CONFIG_NAME).write_bytes(original)
    assert len(max(messages, key=len)) < 2000, max(messages, key=len)[:300]
    assert len(messages) > len(known) * len(VALUES) / 2
    model.load_adapter(folder)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("peft_type", ["LORA"], [None, 1, ["LORA"]]),
        ("r", [None, 4], [0, -1, True, 2.0, "4", [4], 10**400]),
        ("lora_alpha", [None, 1, 0.5], [True, "1", [1], 10**400]),
        ("target_modules", [None, "conv", ["a", "b"], []], [1, True, [1], {"a": 1}]),
        ("base_model_name_or_path", [None, "x.onnx"], [1, ["x.onnx"]]),
    ],
)
def test_types_of_the_fields_of_peft(folder: Path, field: str, good: list[Any], bad: list[Any]) -> None:
    assert field in FIELDS
    original = (folder / CONFIG_NAME).read_bytes()
    try:
        for value in good:
            (folder / CONFIG_NAME).write_text(json.dumps({**json.loads(original), field: value}))
            assert read_adapter(folder)[1][field] == value
        for value in bad:
            (folder / CONFIG_NAME).write_text(json.dumps({**json.loads(original), field: value}))
            with pytest.raises(FormatError, match=f"read_adapter: {field} of .* must be"):
                read_adapter(folder)
    finally:
        (folder / CONFIG_NAME).write_bytes(original)


DIGITS = "9" * 4000
HUGE: dict[str, str] = {
    "size": f'{{"a":{{"dtype":"U8","shape":[{DIGITS}],"data_offsets":[0,0]}}}}',
    "offset": f'{{"a":{{"dtype":"U8","shape":[1],"data_offsets":[{DIGITS},{DIGITS}]}}}}',
    "product": f'{{"a":{{"dtype":"U8","shape":[{",".join([DIGITS] * 300)}],"data_offsets":[0,0]}}}}',
    "product of possible sizes": f'{{"a":{{"dtype":"U8","shape":[{",".join(["9" * 18] * 64)}],"data_offsets":[0,8]}}}}',
    "axes": f'{{"a":{{"dtype":"U8","shape":[{",".join("1" * 20_000)}],"data_offsets":[0,1]}}}}',
    "zero of huge": '{"a":{"dtype":"F64","shape":[0,4611686018427387904],"data_offsets":[0,0]}}',
    "dtype": f'{{"a":{{"dtype":"{"F" * 100_000}","shape":[1],"data_offsets":[0,1]}}}}',
    "metadata": f'{{"__metadata__":{{"a":[{DIGITS}]}}}}',
    "nesting": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "lists": '{"a":' + "[" * 50_000 + "]" * 50_000 + "}",
    "float": f'{{"a":{DIGITS}.0}}',
    "name": f'{{"{"n" * 100_000}":{{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}}}',
    "the last of many keys twice": "{" + ",".join(f'"{i}":1' for i in [*range(60_000), 59_999]) + "}",
    "gigabytes": '{"a":{"dtype":"F64","shape":[1000000000],"data_offsets":[0,8000000000]}}',
    "gigabytes at the end": '{"a":{"dtype":"U8","shape":[1],"data_offsets":[8000000000,8000000001]}}',
}


@pytest.mark.parametrize("text", HUGE.values(), ids=list(HUGE))
def test_huge_headers_are_refused_in_one_line_without_memory(text: str) -> None:
    data = len(text.encode()).to_bytes(8, "little") + text.encode()
    tracemalloc.start()
    with pytest.raises(FormatError, match="must") as error:
        decode_tensors(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(str(error.value)) < 500
    assert peak < 20 * 2**20 + 40 * len(data)


def test_reading_takes_the_file_and_the_arrays() -> None:
    data = encode_tensors({"a": np.zeros(2**20), "b": np.ones(2**20, bool)})
    tracemalloc.start()
    decode_tensors(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.1 * len(data)


def test_names_that_the_reader_would_not_take_are_not_written() -> None:
    with pytest.raises(DomainError, match="names that fit into a header"):
        encode_tensors({"n" * MAX_HEADER_BYTES: np.zeros(1)})


def test_sizes_are_compared_before_files_are_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (CONFIG_NAME, TENSORS_NAME):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    reads: list[str] = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (reads.append(path.name), original(path))[1])
    with (tmp_path / TENSORS_NAME).open("ab") as file:
        file.truncate(2**33)  # a hole, which takes no space
    with pytest.raises(VerificationError, match="8589934592 bytes"):
        read_adapter(tmp_path)
    with (tmp_path / CONFIG_NAME).open("ab") as file:
        file.truncate(MAX_CONFIG_BYTES + 1)
    with pytest.raises(FormatError, match="must have at most"):
        read_adapter(tmp_path)
    assert reads == [CONFIG_NAME]


def test_values_are_shown_short() -> None:
    assert shown({"a": 1}) == "{'a': 1}"
    for value in ("x" * 10**6, list(range(10**5)), 10**5000, [10**5000]):
        assert len(shown(value)) <= 80


def test_factors_beyond_the_networks_type_are_refused(path: Path, tmp_path: Path) -> None:
    model = lieref.load(path, dtype="float64").attach("lora", r=1, target_modules=["head"])
    for parameter in model.parameters().values():
        parameter[...] = 1e200
    tensors, config = model.adapter_state()
    lieref.adapter.write_adapter(tmp_path / "out", tensors, config)
    with pytest.raises(DomainError, match="as float32` must be finite"):
        lieref.load(path).load_adapter(tmp_path / "out")
