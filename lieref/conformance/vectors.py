"""Golden vectors on disk: the format lieref-vectors/1.

A folder with ``MANIFEST.json`` (the SHA-256 of every file), ``schema/<op>.schema.json``, and for each family and dtype
a ``<family>_<dtype>.json`` in the manner of Wycheproof, beside a ``<family>_<dtype>.npz`` of its larger arrays, if it
has any. The same cases give the same bytes. Families of quantised operators begin with ``integer_`` and have the types
``i8``, ``u8`` and ``i16``: their arrays are integers, their expected values are exact, and `semantics` names the
runtimes whose arithmetic a case has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import numpy as np

from lieref import __version__
from lieref._types import Array
from lieref.conformance.arrays import compact, decode, encode, write_npz
from lieref.conformance.case import Case, Expected
from lieref.conformance.exact.operations import EXACT_OPERATIONS
from lieref.conformance.flags import FLAGS
from lieref.conformance.operations import OPERATIONS
from lieref.conformance.schema import FORMAT, schema_of, violations
from lieref.errors import FormatError, LierefError, VerificationError
from lieref.train.npz import read_npz

MANIFEST: Final = "MANIFEST.json"
_REPEATED: Final = 4
"""Up to so many numbers an array is written again: that is no longer than a reference."""
_HEADER: Final = [
    "Inputs are exact. An expected value is hi + lo, certified to within rad.",
    "A port in an arithmetic with unit roundoff u is within n u / (1 - n u) S of it, to first order; one that converts",
    "the operands of its products to unit v, by up to v C more. floor (in units of u) is for degrees chosen by a norm.",
    "Arrays of up to 64 numbers are C99 hexadecimal floats in row-major order, others members of the .npz file; an",
    "array of one repeated number has that number alone in `hex`. #N/name is the array of that name in test N above.",
    "Tolerances are not stored: they follow from S, n and the arithmetic that a port declares.",
]
_INTEGER_HEADER: Final = [
    "Outputs are exact: no other integer will do. `semantics` in attrs are the runtimes whose arithmetic this is;",
    "`scale` and `rounding` spell it out. multiplier and shift hold r = multiplier 2^(shift - 31) of the scales.",
    "Arrays of up to 64 integers are written out in row-major order, others members of the .npz file; scales are C99",
    "hexadecimal floats. #N/name is the array of that name in test N above.",
]


def core_path() -> Path:
    """Return the folder of the core set that comes with the package."""
    return Path(str(resources.files("lieref.conformance"))) / "vectors"


def write_vectors(folder: Path, cases: Iterable[Case]) -> None:
    """Write cases as a set of vectors.

    Parameters
    ----------
    folder : Path
        Created; must be empty or missing.

    Raises
    ------
    FormatError
        If the folder is not empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FormatError(f"write_vectors: `folder` must be empty; got {folder}")
    (folder / "schema").mkdir()
    for op in (*OPERATIONS, *EXACT_OPERATIONS):
        _write_text(folder / "schema" / f"{op}.schema.json", json.dumps(schema_of(op), separators=(",", ":")))
    by_file: dict[str, list[Case]] = {}
    for case in cases:
        by_file.setdefault(case.id.partition("/")[0], []).append(case)
    for stem, members in by_file.items():
        _write_file(folder, stem, members)
    files = {
        path.relative_to(folder).as_posix(): {"sha256": _digest(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    manifest = {
        "schema": FORMAT,
        "generator": {"name": "lieref", "version": __version__},
        "licence": "Apache-2.0",
        "files": files,
    }
    _write_text(folder / MANIFEST, json.dumps(manifest, indent=1))


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode() + b"\n")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_file(folder: Path, stem: str, cases: list[Case]) -> None:
    archive, arrays = f"{stem}.npz", dict[str, Array]()
    groups, seen = list[str](), dict[tuple[Any, ...], str]()
    for (op, attrs), members in groupby(cases, key=lambda c: (c.op, json.dumps(c.attrs, sort_keys=True))):
        tests = [_encode_case(case, archive, arrays, seen) for case in members]
        lines = ",\n   ".join(json.dumps(test, separators=(",", ":")) for test in tests)
        shared = json.dumps({"type": op, "dtype": cases[0].dtype, "attrs": json.loads(attrs)})
        groups.append(f'{shared[:-1]}, "tests": [\n   {lines}]}}')
    used = sorted({flag for case in cases for flag in case.flags})
    notes = {
        name: {"bugType": flag.bug_type, "description": flag.description, "effect": flag.effect, "links": flag.links}
        for name, flag in FLAGS.items()
        if name in used
    }
    head = {
        "algorithm": cases[0].family,
        "schema": FORMAT,
        "numberOfTests": len(cases),
        "header": _INTEGER_HEADER if cases[0].is_integer else _HEADER,
        "notes": notes,
    }
    body = ",\n  ".join(groups)
    _write_text(folder / f"{stem}.json", f'{json.dumps(head, indent=1)[:-2]},\n "testGroups": [\n  {body}]\n}}')
    if arrays:
        write_npz(folder / archive, arrays)


def _encode_case(
    case: Case, archive: str, arrays: dict[str, Array], seen: dict[tuple[Any, ...], str]
) -> dict[str, Any]:
    """Return a test as JSON; an array that the file holds already is a reference to where it was seen."""
    number = case.id.rpartition("/")[2]

    def put(name: str, array: Array) -> Any:
        key = (array.dtype.name, array.shape, array.tobytes())
        if key in seen:
            return seen[key]
        value = encode(array, f"{number}/{name}", arrays, archive)
        if isinstance(value, str) or len(value.get("hex", value.get("int"))) > _REPEATED:
            seen[key] = value if isinstance(value, str) else f"#{number}/{name}"
        return value

    # In the order in which a reader meets them: a reference points back.
    inputs = {name: put(name, array) for name, array in case.inputs.items()}
    outputs = {}
    for name, e in case.expected.items():
        if e.dtype is not None:
            outputs[name] = {"exact": put(f"{name}.exact", e.hi.astype(e.dtype))}
            continue
        parts = {"hi": e.hi, "lo": e.lo, "rad": compact(e.radius), "S": compact(e.bound), "C": compact(e.conversion)}
        if e.floor is not None:
            parts["floor"] = compact(e.floor)
        outputs[name] = {**{part: put(f"{name}.{part}", array) for part, array in parts.items()}, "n": e.count}
    return {
        "tcId": int(number),
        "comment": case.comment,
        "flags": list(case.flags),
        "result": case.result,
        "zeroMean": case.zero_mean,
        "in": inputs,
        "out": outputs,
    }


def read_vectors(folder: Path | None = None) -> tuple[list[Case], list[str]]:
    """Read a set of golden cases, verified against its manifest.

    Parameters
    ----------
    folder : Path, optional
        By default the core set that comes with the package.

    Returns
    -------
    cases : list of Case
        Those of the files that are whole. Their arrays are read-only: a file that is read again gives the same ones.
    problems : list of str
        One line for each file that is not: missing, with another digest, or of another form.

    Raises
    ------
    FormatError
        If there is no manifest, or it is not of this format and version.
    """
    folder = folder or core_path()
    files = _read_manifest(folder)
    cases, problems = list[Case](), list[str]()
    for name in files:
        if name.endswith(".json") and "/" not in name:
            try:
                archive = name.removesuffix(".json") + ".npz"
                digests = [_verify(folder, part, files) for part in (name, archive) if part in files]
                cases += _read_file(folder / name, folder / archive if archive in files else None, *digests)
            except LierefError as error:
                problems.append(str(error))
    return cases, problems


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        version, files = manifest["schema"], manifest["files"]
        known = isinstance(files, dict) and all({"sha256", "bytes"} <= set(entry) for entry in files.values())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"read_vectors: {path} must be a manifest of golden vectors; got {error!r}") from error
    if version != FORMAT:
        raise FormatError(f"read_vectors: the format must be {FORMAT}; got {version!r} in {path}")
    if not known:
        raise FormatError(f"read_vectors: `files` in {path} must give the digest and size of every file")
    return dict(files)


def _verify(folder: Path, name: str, files: dict[str, Any]) -> str:
    """Return the digest of a file after checking that it is the manifest's."""
    if name not in files:
        raise FormatError(f"read_vectors: {name} must be in the manifest")
    path = folder / name
    if not path.is_file():
        raise VerificationError(f"read_vectors: {name} must exist; the manifest lists it")
    digest = _digest(path)
    if digest != files[name]["sha256"]:
        raise VerificationError(
            f"read_vectors: {name} must have the SHA-256 {files[name]['sha256'][:12]}... of the manifest; "
            f"got {digest[:12]}..."
        )
    return digest


@lru_cache(maxsize=512)  # the files of a full set
def _read_file(path: Path, archive: Path | None, *digests: str) -> tuple[Case, ...]:
    """Return the cases of a file; `digests` are those of both files: as long as they stay, nothing is read twice."""
    try:
        document = json.loads(path.read_bytes())
        version, groups = document["schema"], document["testGroups"]
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"read_vectors: {path.name} must be a file of test groups; got {error!r}") from error
    if version != FORMAT:
        raise FormatError(f"read_vectors: the format of {path.name} must be {FORMAT}; got {version!r}")
    arrays = read_npz(archive) if archive else {}
    return tuple(case for group in groups for case in _read_group(path.name, group, arrays))


def _read_group(name: str, group: Any, arrays: dict[str, Array]) -> Iterator[Case]:
    op = group.get("type") if isinstance(group, dict) else None
    if op not in OPERATIONS and op not in EXACT_OPERATIONS:
        raise FormatError(f"read_vectors: the type of a test group in {name} must be a known operation; got {op!r}")
    for flaw in violations(group, schema_of(op)):
        raise FormatError(f"read_vectors: in {name}, {flaw}")
    for test in group["tests"]:

        def get(part: str, value: Any, number: int = test["tcId"]) -> Array:
            array = arrays.setdefault(f"{number}/{part}", decode(value, arrays))
            array.flags.writeable = False
            return array

        inputs = {key: get(key, value) for key, value in test["in"].items()}
        expected = {key: _decode_expected(key, out, get) for key, out in test["out"].items()}
        yield Case(
            f"{name.removesuffix('.json')}/{test['tcId']}",
            op,
            group["dtype"],
            inputs,
            group["attrs"],
            expected,
            test["comment"],
            tuple(test["flags"]),
            test["result"],
            test["zeroMean"],
        )


def _decode_expected(name: str, out: dict[str, Any], get: Callable[[str, Any], Array]) -> Expected:
    def part(key: str) -> Array:
        return get(f"{name}.{key}", out[key]).astype(np.float64)

    if "exact" in out:
        return Expected.exact(get(f"{name}.exact", out["exact"]))
    floor = part("floor") if "floor" in out else None
    return Expected(part("hi"), part("lo"), part("rad"), part("S"), part("C"), out["n"], floor)
