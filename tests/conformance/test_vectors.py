"""Vectors on disk: the same bytes every time, and every flaw of a set is one clear line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lieref.conformance.arrays import compact, decode, encode, hexadecimal, write_npz
from lieref.conformance.case import Case
from lieref.conformance.exact.operations import EXACT_OPERATIONS
from lieref.conformance.families import conv
from lieref.conformance.generate import numbered_specs
from lieref.conformance.operations import OPERATIONS
from lieref.conformance.schema import EXACT_SIGNATURES, SIGNATURES, schema_of, violations
from lieref.conformance.vectors import MANIFEST, core_path, read_vectors, write_vectors
from lieref.errors import FormatError
from lieref.train.npz import read_npz
from tests.pairs import EVERYTHING


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# Two minutes of exact arithmetic makes the whole set: validation/golden_set.py does, and compares every byte.
# Here it is every twenty-fourth case, and the bytes that the stored cases give.
def test_core_set_is_reproduced(tmp_path: Path) -> None:
    pytest.importorskip("flint")
    pytest.importorskip("mpmath")
    stored = {case.id: case for case in read_vectors()[0]}
    again = []
    for place, (number, spec) in enumerate(numbered_specs()):
        key = f"{spec.family}_{spec.dtype}/{number}"
        assert (stored[key].op, stored[key].attrs, stored[key].comment) == (spec.op, spec.attrs, spec.comment)
        assert list(stored[key].inputs) == list(spec.inputs)
        for name, value in stored[key].inputs.items():
            assert value.tobytes() == np.array(spec.inputs[name], dtype=value.dtype).tobytes(), (key, name)
        if place % (24 if EVERYTHING else 48) == 0:
            again.append(spec.complete(number))
    assert len(again) > 50
    chosen = [stored[case.id] for case in again]
    write_vectors(tmp_path / "new", again)
    write_vectors(tmp_path / "old", chosen)
    ours, old = contents(tmp_path / "new"), contents(tmp_path / "old")
    assert [name for name in ours if ours[name] != old[name]] == []


def test_the_full_set_has_what_fast_convolutions_are_made_for() -> None:
    """Images that tiles of four cover exactly, with channels by the sixteen; and some that nothing divides."""
    layouts = [(np.shape(spec.inputs["x"]), np.shape(spec.inputs["weight"]), spec.attrs) for spec in conv.full()]
    tiled = [
        x for x, w, attrs in layouts
        if w[2:] == (3, 3) and attrs["strides"] == [1, 1] and x[1] % 16 == w[0] % 16 == x[2] % 4 == x[3] % 4 == 0
    ]  # fmt: skip
    odd = [x for x, w, _ in layouts if x[1] >= 16 and len(x) == 4 and x[2] % 2 == x[3] % 2 == 1]
    assert min(len(tiled), len(odd)) >= 14, "one of every kind of data"


def test_stored_cases_give_the_stored_bytes(tmp_path: Path) -> None:
    write_vectors(tmp_path / "copy", read_vectors()[0])
    ours, stored = contents(tmp_path / "copy"), contents(core_path())
    assert list(ours) == list(stored)
    assert [name for name in ours if ours[name] != stored[name]] == []


def test_core_set_is_small_and_whole() -> None:
    sizes = {name: len(content) for name, content in contents(core_path()).items()}
    integers = sum(size for name, size in sizes.items() if "integer_" in name)
    cases, problems = read_vectors()
    assert problems == []
    # 3 kB a case of floats, and all of it below what a package may weigh
    floats = sum("integer_" not in case.family for case in cases)
    assert sum(sizes.values()) - integers < 3_000 * floats < 8_000_000
    assert integers < 1_000_000
    assert len({c.id for c in cases}) == len(cases) > 1500


def test_cases_survive_the_disk(tmp_path: Path) -> None:
    cases = [c for c in read_vectors()[0] if c.family in ("tucker", "conv")]
    write_vectors(tmp_path / "copy", cases)
    again = read_vectors(tmp_path / "copy")[0]
    for a, b in zip(cases, again, strict=True):
        assert (a.id, a.op, a.attrs, a.flags, a.comment, a.result) == (
            b.id,
            b.op,
            b.attrs,
            b.flags,
            b.comment,
            b.result,
        )
        for name, value in a.inputs.items():
            assert value.dtype == b.inputs[name].dtype
            np.testing.assert_array_equal(value, b.inputs[name])
        for name, e in a.expected.items():
            for part in ("hi", "lo", "radius", "bound", "conversion"):
                np.testing.assert_array_equal(getattr(e, part), getattr(b.expected[name], part))
            assert e.count == b.expected[name].count


def test_integers_survive_the_disk_in_their_own_types(tmp_path: Path) -> None:
    cases = [c for c in read_vectors()[0] if c.family in ("integer_conv", "integer_requantize")]
    write_vectors(tmp_path / "copy", cases)
    for a, b in zip(cases, read_vectors(tmp_path / "copy")[0], strict=True):
        assert (a.id, a.op, a.attrs, a.dtype) == (b.id, b.op, b.attrs, b.dtype)
        for name, value in a.inputs.items():
            assert value.dtype == b.inputs[name].dtype
            np.testing.assert_array_equal(value, b.inputs[name])
        for name, e in a.expected.items():
            assert e.dtype == b.expected[name].dtype is not None
            np.testing.assert_array_equal(e.hi, b.expected[name].hi)
    types = {value.dtype.name for c in cases for value in c.inputs.values()}
    assert types >= {"int8", "uint8", "int16", "int32", "int64"}


def test_npz_members_are_aligned_and_readable_by_numpy(tmp_path: Path) -> None:
    import zipfile

    arrays = {"1/x": np.arange(70.0), "2/a.hi": np.float32([[1, 2], [3, 4]])}
    path = tmp_path / "a.npz"
    write_npz(path, arrays)
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert data.index(b"\x93NUMPY", info.header_offset) % 8 == 0
    for name, value in read_npz(path).items():
        np.testing.assert_array_equal(value, arrays[name])


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -1.5, 0.1, 2.0**-1074, 1.7976931348623157e308])
def test_hexadecimal_round_trip(value: float) -> None:
    assert np.float64(float.fromhex(hexadecimal(value))).tobytes() == np.float64(value).tobytes()


def test_small_and_constant_arrays_are_inline() -> None:
    members: dict[str, Any] = {}
    for array in (np.arange(6.0).reshape(2, 3), np.zeros((40, 50)), np.float32(3.5).reshape(()), np.zeros((0, 3))):
        again = decode(encode(array, "1/x", members, "a.npz"), {})
        assert (again.dtype, again.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(again, array)
    assert encode(np.arange(65.0), "1/x", members, "a.npz") == "a.npz#1/x"
    np.testing.assert_array_equal(members["1/x"], np.arange(65.0))


def test_compact_bounds_never_shrink(rng: np.random.Generator) -> None:
    bound = np.abs(rng.standard_normal(1000)) * 10.0 ** rng.integers(-30, 30, 1000)
    assert compact(bound).dtype == np.float32
    assert (compact(bound).astype(np.float64) >= bound).all()
    for held in (np.array([1e-60, 1.0]), np.array([1e60])):
        np.testing.assert_array_equal(compact(held), held)


def test_every_operation_has_a_schema() -> None:
    assert list(SIGNATURES) == list(OPERATIONS)
    assert list(EXACT_SIGNATURES) == list(EXACT_OPERATIONS)
    for op in (*OPERATIONS, *EXACT_OPERATIONS):
        stored = json.loads((core_path() / "schema" / f"{op}.schema.json").read_text())
        assert stored == schema_of(op)


def group() -> dict[str, Any]:
    return json.loads((core_path() / "conv_f32.json").read_text())["testGroups"][0]


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda g: g.update(extra=1), "$ must not have `extra`"),
        (lambda g: g.pop("attrs"), "$ must have `attrs`"),
        (lambda g: g["attrs"].pop("pads"), "$.attrs must have `pads`"),
        (lambda g: g.update(dtype="f16"), "$.dtype must be one of ['f32', 'f64']; got 'f16'"),
        (lambda g: g["tests"][0].update(tcId="1"), "$.tests[0].tcId must be of type integer; got str"),
        (lambda g: g["tests"][0].update(tcId=0), "$.tests[0].tcId must be at least 1; got 0"),
        (lambda g: g["tests"][0]["in"].pop("x"), "$.tests[0].in must have `x`"),
        (lambda g: g["tests"][0]["out"]["y"].update(n=True), "$.tests[0].out.y.n must be of type integer; got bool"),
    ],
)
def test_schema_violations_are_named(spoil: Callable[[dict[str, Any]], Any], line: str) -> None:
    value = group()
    assert not list(violations(value, schema_of("conv")))
    spoil(value)
    assert line in list(violations(value, schema_of("conv")))


def test_schemas_agree_with_another_validator() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(group(), schema_of("conv"))
    for missing in ("tests", "type"):
        damaged = {key: value for key, value in group().items() if key != missing}
        with pytest.raises(jsonschema.ValidationError, match=missing):
            jsonschema.validate(damaged, schema_of("conv"))


@cache
def few() -> list[Case]:
    return [c for c in read_vectors()[0] if c.family in ("tucker", "atoms")]


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    folder = tmp_path / "vectors"
    write_vectors(folder, few())
    return folder


def test_a_repeated_array_is_written_once(vectors: Path) -> None:
    forward, backward = (
        group["tests"][0] for group in json.loads((vectors / "atoms_f32.json").read_text())["testGroups"][:2]
    )
    assert isinstance(forward["in"]["atoms"], dict)
    assert backward["in"]["atoms"] == f"#{forward['tcId']}/atoms"
    assert backward["in"]["coefficients"] == forward["in"]["coefficients"]
    again = {case.id: case for case in read_vectors(vectors)[0]}
    for case in few():
        for name, value in case.inputs.items():
            np.testing.assert_array_equal(again[case.id].inputs[name], value)


def test_a_wrong_digest_spoils_one_file_only(vectors: Path) -> None:
    with (vectors / "atoms_f32.npz").open("ab") as file:
        file.write(b"x")
    cases, problems = read_vectors(vectors)
    assert {c.family for c in cases} == {"tucker"}
    assert len(problems) == 1
    assert "atoms_f32.npz must have the SHA-256" in problems[0]


def test_a_missing_file_spoils_one_file_only(vectors: Path) -> None:
    (vectors / "tucker_f32.npz").unlink()
    cases, problems = read_vectors(vectors)
    assert {c.family for c in cases} == {"atoms"}
    assert "tucker_f32.npz must exist" in problems[0]


def rewrite(vectors: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a file and its digest in the manifest."""
    import hashlib

    document = json.loads((vectors / name).read_text())
    change(document)
    (vectors / name).write_text(json.dumps(document))
    manifest = json.loads((vectors / MANIFEST).read_text())
    manifest["files"][name]["sha256"] = hashlib.sha256((vectors / name).read_bytes()).hexdigest()
    (vectors / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda d: d.update(schema="lieref-vectors/2"), "the format of atoms_f32.json must be lieref-vectors/1"),
        (lambda d: d.pop("testGroups"), "atoms_f32.json must be a file of test groups"),
        (lambda d: d["testGroups"][0].update(type="softmax"), "must be a known operation; got 'softmax'"),
        (lambda d: d["testGroups"][0].pop("dtype"), "in atoms_f32.json, $ must have `dtype`"),
        (
            lambda d: d["testGroups"][0]["tests"][0]["in"].update(atoms="atoms_f32.npz#9/no"),
            "an array must be inline or",
        ),
    ],
)
def test_other_forms_are_refused(vectors: Path, change: Callable[[dict[str, Any]], Any], line: str) -> None:
    rewrite(vectors, "atoms_f32.json", change)
    cases, problems = read_vectors(vectors)
    assert {c.family for c in cases} == {"tucker"}
    assert line in problems[0]


def test_unknown_version_and_missing_manifest(vectors: Path) -> None:
    manifest = json.loads((vectors / MANIFEST).read_text())
    (vectors / MANIFEST).write_text(json.dumps({**manifest, "schema": "lieref-vectors/9"}))
    with pytest.raises(FormatError, match=r"the format must be lieref-vectors/1; got 'lieref-vectors/9'"):
        read_vectors(vectors)
    (vectors / MANIFEST).write_text("{")
    with pytest.raises(FormatError, match="must be a manifest of golden vectors"):
        read_vectors(vectors)
    shutil.rmtree(vectors)
    with pytest.raises(FormatError, match="must be a manifest of golden vectors"):
        read_vectors(vectors)


def test_a_folder_in_use_is_not_overwritten(vectors: Path) -> None:
    before = contents(vectors)
    with pytest.raises(FormatError, match="`folder` must be empty"):
        write_vectors(vectors, [])
    assert contents(vectors) == before
