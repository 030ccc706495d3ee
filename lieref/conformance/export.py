"""Golden cases in the formats other projects read: ONNX case folders, safetensors, C headers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

from lieref import __version__
from lieref._atomic import check_new_folder, new_folder
from lieref._check import check_choice, need
from lieref._lock import exclusive
from lieref._types import Array
from lieref.adapter.tensor_file import write_tensor_file
from lieref.conformance.arrays import hexadecimal
from lieref.conformance.backend import write_inputs
from lieref.conformance.case import Case
from lieref.conformance.profile import default_profile
from lieref.conformance.vectors import write_vectors
from lieref.errors import FormatError

FORMATS: Final = ("vectors", "safetensors", "onnx", "c")


def export(folder: Path, cases: Iterable[Case], form: str = "vectors") -> int:
    """Write cases to a new or empty folder, which appears when all are there, and return how many were written.

    Parameters
    ----------
    folder : Path
    cases : iterable of Case
    form : {"vectors", "safetensors", "onnx", "c"}
        The format of `lieref.conformance.vectors`; for each case one file of inputs, as an executable driver reads
        them, and one of expected values with their tolerances; the layout of ``onnx.backend.test`` (convolutions that
        are valid); or one C header for each case.

    Raises
    ------
    FormatError
        If the folder is not empty.
    DomainError
        If the format is unknown, or the folder cannot be written or is being written by another process.
    """
    check_choice("export", "form", form, FORMATS)
    if folder.exists() and any(folder.iterdir()):
        raise FormatError(f"export: `folder` must be empty; got {folder}")
    check_new_folder(folder)
    with exclusive(folder, "export", "folder"):
        chosen = list(cases)
        if form == "onnx":
            chosen = [case for case in chosen if case.op == "conv" and case.result == "valid"]
        with new_folder(folder) as partial:
            if form == "vectors":
                write_vectors(partial, chosen)
            else:
                write = {"safetensors": _write_safetensors, "onnx": _write_onnx, "c": _write_header}[form]
                for case in chosen:
                    write(partial, case)
    return len(chosen)


def _write_safetensors(folder: Path, case: Case) -> None:
    """Write ``<id>.input.safetensors``, and ``<id>.expected.safetensors`` with hi, lo, radius and a tolerance.

    Of integers the expected value is alone, as ``exact``.
    """
    path = folder / case.id
    path.parent.mkdir(parents=True, exist_ok=True)
    write_inputs(path.with_name(f"{path.name}.input.safetensors"), case)
    tensors: dict[str, Array] = {}
    for name, e in case.expected.items():
        if e.dtype is not None:
            tensors[f"{name}.exact"] = e.hi.astype(e.dtype)
            continue
        tolerance = default_profile(case.dtype).tolerance(e) + e.radius
        tensors |= {f"{name}.hi": e.hi, f"{name}.lo": e.lo, f"{name}.radius": e.radius, f"{name}.tolerance": tolerance}
    metadata = {"id": case.id, "op": case.op, "result": case.result, "flags": " ".join(case.flags)}
    write_tensor_file(path.with_name(f"{path.name}.expected.safetensors"), tensors, metadata)


def _write_onnx(folder: Path, case: Case) -> None:
    """Write ``test_<id>/model.onnx`` and ``test_data_set_0`` as the ONNX backend test suite lays them out."""
    onnx: Any = need("onnx", "app", "exporting ONNX case folders")
    helper, numpy_helper = need("onnx.helper", "app", ""), need("onnx.numpy_helper", "app", "")
    root = folder / f"test_{case.id.replace('/', '_')}"
    data = root / "test_data_set_0"
    data.mkdir(parents=True)
    outputs = {name: e.hi.astype(next(iter(case.inputs.values())).dtype) for name, e in case.expected.items()}

    def described(arrays: dict[str, Array]) -> list[Any]:
        kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in arrays.items()}
        return [helper.make_tensor_value_info(name, kinds[name], array.shape) for name, array in arrays.items()]

    kernel_shape = list(case.inputs["weight"].shape[2:])
    # ONNX calls this one attribute `group`.
    attrs = {("group" if name == "groups" else name): value for name, value in case.attrs.items()}
    node = helper.make_node("Conv", list(case.inputs), list(outputs), kernel_shape=kernel_shape, **attrs)
    graph = helper.make_graph([node], case.id, described(case.inputs), described(outputs))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7, producer_name="lieref")
    onnx.save(model, root / "model.onnx")
    for kind, arrays in (("input", case.inputs), ("output", outputs)):
        for number, (name, array) in enumerate(arrays.items()):
            (data / f"{kind}_{number}.pb").write_bytes(numpy_helper.from_array(array, name).SerializeToString())


def _write_header(folder: Path, case: Case) -> None:
    """Write ``<id>.h``: inputs, expected values and tolerances as arrays of hexadecimal literals, or of integers.

    Of quantised operators the attributes are constants too: numbers, lists and strings.
    """
    path = folder / f"{case.id}.h"
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = case.id.replace("/", "_")
    lines = [
        f"/* lieref {__version__}, case {case.id}: {case.op}, {case.comment}. Generated; do not edit. */",
        f"#ifndef LIEREF_{prefix.upper()}_H",
        f"#define LIEREF_{prefix.upper()}_H",
        f"/* attributes: {json.dumps(case.attrs, sort_keys=True)} */",
    ]
    if case.is_integer:
        lines += ["#include <stdint.h>"]
        for name, value in case.attrs.items():
            lines += _c_attribute(f"{prefix}_{name}", value)
    for name, array in case.inputs.items():
        lines += _c_array(f"{prefix}_{name}", array)
    for name, e in case.expected.items():
        if e.dtype is not None:
            lines += _c_array(f"{prefix}_expected_{name}", e.hi.astype(e.dtype))
            continue
        tolerance = default_profile(case.dtype).tolerance(e) + e.radius
        lines += _c_array(f"{prefix}_expected_{name}", e.hi)
        lines += _c_array(f"{prefix}_tolerance_{name}", tolerance)
    path.write_text("\n".join([*lines, "#endif", ""]))


def _c_attribute(name: str, value: Any) -> list[str]:
    """Return an attribute as a constant: integers, lists of integers, strings, and lists of strings joined."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = " ".join(value)
    if isinstance(value, str):
        return [f'static const char {name}[] = "{value}";']
    if isinstance(value, list):
        numbers = ", ".join(str(int(each)) for each in value) or "0"
        return [f"static const int32_t {name}[{max(len(value), 1)}] = {{{numbers}}};"]
    if isinstance(value, float):
        return [f"static const double {name} = {hexadecimal(value)};"]
    return [f"static const int32_t {name} = {int(value)};"]


def _c_array(name: str, array: Array) -> list[str]:
    kind, suffix = ("float", "f") if array.dtype == np.float32 else ("double", "")
    name = name.replace(".", "_")
    if array.dtype.kind in "iu":
        kind = f"{array.dtype.name}_t"
        literals = ", ".join(_c_integer(int(value), array.dtype.itemsize) for value in array.flat)
    else:
        literals = ", ".join(hexadecimal(value) + suffix for value in array.flat)
    shape = ", ".join(map(str, array.shape)) or "1"
    return [
        f"static const int {name}_shape[] = {{{shape}}};",
        f"static const {kind} {name}[{max(array.size, 1)}] = {{{literals or '0'}}};",
    ]


def _c_integer(value: int, size: int) -> str:
    """Return an integer literal; C has no literal for the smallest number of a type."""
    if value == -(1 << 31) and size == 4:
        return "(-2147483647 - 1)"
    return f"INT64_C({value})" if size == 8 else str(value)
