"""Weights as a C99 header that can check itself: merged ones, or the differences to those of the base.

Only what an adapter changes is written. Weights of convolutions are (out, in / groups, *kernel), of linear layers (out,
in), whatever the file has; every number is a hexadecimal constant, so that a compiler makes the very bits of it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from lieref import __version__
from lieref._check import check_choice
from lieref._types import Array, FloatArray
from lieref.adapter.out.c_case import Case, make_case
from lieref.adapter.out.c_text import LONGEST_PREFIX, Identifiers, identifier, listing, number, string
from lieref.adapter.out.delta_file import summing
from lieref.adapter.out.registry import Exported
from lieref.adapter.out.source import Change, Source
from lieref.model.attaching import listed

WEIGHTS = ("merged", "delta")
_WORDS = ("t", "tensor", "tensors", "crc32", "apply", "check_layer", "self_check")


@dataclass(frozen=True)
class _Tensor:
    """One array of the header."""

    change: Change
    word: str
    numbers: FloatArray  # float32, canonical
    places: Array  # where no delta adds up to the merged weight
    values: FloatArray


def export_c_header(source: Source, *, weights: str = "merged", stem: str = "weights") -> Exported:
    """Return the header.

    Parameters
    ----------
    source : Source
    weights : {"merged", "delta"}
        W', or W' - W0 with a function that adds it to W0 in place.
    stem : str
        What all its names begin with, made an identifier.

    Raises
    ------
    DomainError
        If `weights` is neither.
    """
    check_choice("export", "weights", weights, WEIGHTS)
    prefix = identifier(stem, LONGEST_PREFIX).lower()  # capitals are for macros
    suffixes = ("_shape", "_places", "_values")
    words = Identifiers(prefix, suffixes, [f"{prefix}_{word}" for word in _WORDS] + _macros(prefix))
    tensors = [_tensor(change, words.give(change.name), weights) for change in source.changes]
    layers = [each for each in tensors if each.change.layer is not None]
    checked = min(layers, key=lambda each: each.numbers.size, default=None)
    case = None
    if checked is not None and checked.change.layer is not None:
        case = make_case(checked.change.name, checked.numbers, checked.change.layer.groups)
    text = "\n".join(
        [
            _comment(source, tensors, prefix, weights),
            _preamble(prefix),
            *(_array(each) for each in tensors),
            _table(tensors, prefix, weights),
            _APPLY.replace("PREFIX", prefix) if weights == "delta" else "",
            "" if case is None or checked is None else _layer_check(case, checked.word, prefix),
            _self_check(prefix, len(tensors), case is not None),
        ]
    )
    missed = {each.change.name: len(each.places) for each in tensors if len(each.places)}
    notes = []
    if case is None:
        notes.append("no weight of a layer changes: the header's self-check has checksums alone")
    if missed:
        said = listed([f"{name} ({count})" for name, count in missed.items()])
        notes.append(f"no delta adds up to some merged numbers, which are stored themselves: {said}")
    moved = [each.change.name for each in tensors if each.numbers.shape != each.change.before.shape or _turned(each)]
    if moved:
        notes.append(f"out channels come first, which the file has otherwise: {listed(moved)}")
    rounded = [change.name for change in source.changes if change.before.dtype != np.float32]
    if rounded:
        notes.append(f"rounded from float64, which the file has: {listed(rounded)}")
    facts = {
        "weights": weights,
        "prefix": prefix,
        "array_bytes": sum(each.numbers.nbytes for each in tensors),
        "tensors": {each.change.name: {"identifier": each.word, "shape": list(each.numbers.shape)} for each in tensors},
        "checked_layer": None if checked is None else checked.change.name,
    }
    return Exported(text.encode("ascii"), facts, tuple(notes))


def _macros(prefix: str) -> list[str]:
    return [f"{prefix.upper()}_H", f"{prefix.upper()}_SELF_CHECK_MAIN"]


def _turned(tensor: _Tensor) -> bool:
    return tensor.change.layer is not None and tensor.change.layer.transposed


def _tensor(change: Change, word: str, weights: str) -> _Tensor:
    before, after = (change.canonical(each).astype(np.float32) for each in (change.before, change.after))
    if weights == "merged":
        return _Tensor(change, word, after, np.zeros(0, np.int64), np.zeros(0, np.float32))
    delta, missed = summing(before, after, change.canonical(change.difference))
    places = np.flatnonzero(missed)
    return _Tensor(change, word, delta, places, after.reshape(-1)[places])


def _comment(source: Source, tensors: list[_Tensor], prefix: str, weights: str) -> str:
    """Return what a reader of the header has to know."""
    digests = source.digests
    what = "Merged weights W'" if weights == "merged" else "Differences W' - W0 of merged weights and those of the base"
    rows = [
        f" *   {each.word}  {' x '.join(map(str, each.numbers.shape))}  {string(each.change.name)}" for each in tensors
    ]
    check = f"{prefix}_self_check"
    more = (
        f" * {prefix}_apply() adds a difference to a weight in place; the sum is W' to the bit.\n *\n"
        if weights == "delta"
        else ""
    )
    return (
        f"/* {what}, written by lieref {__version__}. C99.\n *\n"
        f" * method   {string(source.model.method_name)[1:-1]}\n"
        f" * base     sha256 {digests['base_sha256']}\n"
        f" * network  sha256 {digests['network_sha256']}\n"
        f" * adapter  sha256 {digests['adapter_sha256']}\n *\n"
        " * Row-major arrays, only of what the adapter changes: weights of convolutions as (out, in / groups,\n"
        " * kernel), of linear layers as (out, in), vectors as (n). Every number is exact. The arrays are static:\n"
        " * include this file in one source file. Identifier, sizes, name of the tensor in the network's file:\n *\n"
        + "\n".join(rows)
        + f"\n *\n{more}"
        f" * {check}() returns 0 if every bit is as it was written and one layer computes what it should within a\n"
        f" * certified bound, else the number of the first array that is wrong, or one more for the layer.\n"
        f" * With {_macros(prefix)[1]} defined there is a main() that runs it.\n"
        " */\n"
    )


def _preamble(prefix: str) -> str:
    return f"""#ifndef {_macros(prefix)[0]}
#define {_macros(prefix)[0]}

#include <float.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if FLT_RADIX != 2 || FLT_MANT_DIG != 24 || FLT_MAX_EXP != 128
#error "float must be IEEE 754 single precision"
#endif
"""


def _array(tensor: _Tensor) -> str:
    numbers, word = tensor.numbers, tensor.word
    shape = ", ".join(map(str, numbers.shape))
    text = (
        f"static const size_t {word}_shape[{numbers.ndim}] = {{{shape}}};\n"
        f"static const float {word}[{numbers.size}] = {_floats(numbers)};\n"
    )
    if len(tensor.places):
        count = len(tensor.places)
        text += (
            f"static const size_t {word}_places[{count}] = {listing(map(str, tensor.places.tolist()))};\n"
            f"static const float {word}_values[{count}] = {_floats(tensor.values)};\n"
        )
    return text


def _floats(array: FloatArray) -> str:
    return listing(number(value, "f") for value in array.reshape(-1).tolist())


def _doubles(array: FloatArray) -> str:
    return listing(number(value) for value in array.tolist())


def _table(tensors: list[_Tensor], prefix: str, weights: str) -> str:
    """Return the type of a row, all rows, and the checksum."""
    more = "  const size_t *places; const float *values; size_t replaced;\n" if weights == "delta" else ""
    rows = []
    for each in tensors:
        crc = zlib.crc32(each.numbers.astype("<f4").tobytes())
        count = len(each.places)
        tail = ""
        if weights == "delta":
            tail = f", {each.word}_places, {each.word}_values, {count}" if count else ", NULL, NULL, 0"
        rows.append(
            f"  {{{string(each.change.name)}, {each.word}_shape, {each.numbers.ndim}, {each.word}, "
            f"{each.numbers.size}, UINT32_C(0x{crc:08x}){tail}}}"
        )
    return (
        f"/* One array: its tensor's name, its sizes and numbers, and the CRC-32 of those, little-endian. */\n"
        "typedef struct {\n"
        "  const char *name;\n  const size_t *shape; size_t axes;\n  const float *data; size_t count;\n"
        f"  uint32_t crc32;\n{more}}} {prefix}_tensor;\n\n"
        f"static const {prefix}_tensor {prefix}_tensors[{len(tensors)}] = {{\n" + ",\n".join(rows) + "\n};\n\n"
        + _CRC.replace("PREFIX", prefix)
    )  # fmt: skip


_CRC = """static inline uint32_t PREFIX_crc32(const float *data, size_t count)
{
  uint32_t crc = UINT32_C(0xffffffff);
  for (size_t i = 0; i < count; ++i) {
    uint32_t bits;
    memcpy(&bits, &data[i], sizeof bits);
    for (int byte = 0; byte < 4; ++byte) {
      crc ^= (bits >> (8 * byte)) & UINT32_C(0xff);
      for (int bit = 0; bit < 8; ++bit)
        crc = (crc >> 1) ^ ((crc & 1) ? UINT32_C(0xedb88320) : 0);
    }
  }
  return crc ^ UINT32_C(0xffffffff);
}
"""

_APPLY = """/* Adds a difference to the weight of its tensor, laid out as its sizes say. */
static inline void PREFIX_apply(const PREFIX_tensor *tensor, float *weight)
{
  for (size_t i = 0; i < tensor->count; ++i)
    weight[i] = weight[i] + tensor->data[i];
  for (size_t i = 0; i < tensor->replaced; ++i)
    weight[tensor->places[i]] = tensor->values[i];
}
"""


def _layer_check(case: Case, word: str, prefix: str) -> str:
    """Return a function that computes one layer with plain loops and compares."""
    filters, per_group, channels, rows, columns, height, width = case.sizes
    return f"""/* A convolution of stride 1 without padding on a small image; 0 if all outputs are within bounds. */
static inline int {prefix}_check_layer(void)
{{
  static const float x[{case.x.size}] = {_floats(case.x)};
  static const double expected[{case.expected.size}] = {_doubles(case.expected)};
  static const double bound[{case.bound.size}] = {_doubles(case.bound)};
  size_t out = 0;
  for (size_t o = 0; o < {filters}; ++o)
    for (size_t i = 0; i + {rows} <= {height}; ++i)
      for (size_t j = 0; j + {columns} <= {width}; ++j, ++out) {{
        float sum = 0.0f;
        for (size_t c = 0; c < {channels}; ++c)
          for (size_t u = 0; u < {rows}; ++u)
            for (size_t v = 0; v < {columns}; ++v)
              sum += {word}[((o * {channels} + c) * {rows} + u) * {columns} + v]
                   * x[((o / {per_group} * {channels} + c) * {height} + i + u) * {width} + j + v];
        double error = (double)sum - expected[out];
        if (!(error <= bound[out] && -error <= bound[out]))
          return 1;
      }}
  return 0;
}}
"""


def _self_check(prefix: str, count: int, layer: bool) -> str:
    last = f"{prefix}_check_layer() ? {count + 1} : 0" if layer else "0"
    return f"""static inline int {prefix}_self_check(void)
{{
  for (int k = 0; k < {count}; ++k)
    if ({prefix}_crc32({prefix}_tensors[k].data, {prefix}_tensors[k].count) != {prefix}_tensors[k].crc32)
      return k + 1;
  return {last};
}}

#ifdef {_macros(prefix)[1]}
#include <stdio.h>

int main(void)
{{
  int wrong = {prefix}_self_check();
  if (wrong)
    printf("wrong: %s\\n", wrong > {count} ? "the layer" : {prefix}_tensors[wrong - 1].name);
  else
    puts("right");
  return wrong != 0;
}}
#endif

#endif
"""
