"""An update of a quantised file as C: one function that writes it into the model, and takes it back.

Old and new bytes of each place are stored, so that either can be written whatever stands there: a move that was
interrupted half-way is completed, or taken back, by calling the function again. Whether it is the right model is seen
by a checksum (CRC-32) of everything else: of the model with the old bytes in its places, before the first byte is
written; and after the last, of the whole model as it is.
"""

from __future__ import annotations

import re
import zlib

import numpy as np

from lieref.adapter.integer.update import IntegerUpdate
from lieref.errors import DomainError
from lieref.model.integer.graph import ByteRange, IntegerGraph

FORMAT = "c-int8-update"
SUMMARY = "of a quantised file: a C function that writes the update into the model in RAM or flash, and back"

GAP = 4
"""Bytes that stay between two runs of one place: as many as take no more than the eight of a place of its own."""

_HEAD = """\
/* Update of a quantised model, made by lieref: {method}, {written} of {size} bytes.
 *
 * base    sha256 {base}
 * result  sha256 {result}
 *
 * {name}_apply(model, bytes)  writes the update into a model in RAM, {name}_undo takes it back, bit by bit.
 * For flash, {name}_move takes a function that writes; it is called for bytes in the places below alone, and only
 * where they differ from what is to stand there.
 * All return 0, also where nothing is left to do; 1 for a model of another length, 2 for another model (nothing is
 * written), 3 where the result is not as it should be: the model is spoilt, install the base again. A write that fails
 * ends the move, which returns what its function returned.
 *
 * After a failed write or a loss of power half-way, call the same function again: it completes the move; or call it the
 * other way: it goes back. What is in the places need not be right for that, everything else must be.
 *
 * What the device must still do: verify the signed bundle first, for a checksum is no signature; remember which of the
 * two models it is to run, and call the function for it at every start, before the model is used; run nothing while it
 * is called; prepare the interpreter anew after it, for kernels keep what they made of the scales; and where flash is
 * erased by the page, see that its write function leaves the page as it was or as it becomes, whenever power is lost.
 */
#ifndef {guard}
#define {guard}

#include <stddef.h>
#include <stdint.h>

#define {upper}_BYTES {size}u
#define {upper}_BASE_CRC32 0x{base_crc:08x}u
#define {upper}_RESULT_CRC32 0x{result_crc:08x}u
"""

_BODY = """
/* Return 0 when `count` bytes stand at `offset` of the model. */
typedef int (*{name}_write)(void *context, uint32_t offset, const uint8_t *data, uint32_t count);

static inline uint32_t {name}_crc32(uint32_t crc, const uint8_t *data, size_t count) {{
    while (count--) {{
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1u)));
    }}
    return crc;
}}

/* Checksum of the model with other bytes in its places, or as it is for none. */
static inline uint32_t {name}_checksum(const uint8_t *model, const uint8_t *bytes) {{
    uint32_t crc = 0xffffffffu, at = 0;
    for (size_t place = 0; bytes && place < sizeof {name}_places / sizeof {name}_places[0]; place++) {{
        const uint32_t offset = {name}_places[place][0], count = {name}_places[place][1];
        crc = {name}_crc32(crc, model + at, offset - at);
        crc = {name}_crc32(crc, bytes, count);
        bytes += count;
        at = offset + count;
    }}
    return ~{name}_crc32(crc, model + at, {upper}_BYTES - at);
}}

static inline int {name}_move(const uint8_t *model, size_t bytes, int undo, {name}_write write, void *context) {{
    const uint8_t *next = undo ? {name}_old : {name}_new;
    if (bytes != {upper}_BYTES) return 1;
    if ({name}_checksum(model, {name}_old) != {upper}_BASE_CRC32) return 2;
    for (size_t place = 0; place < sizeof {name}_places / sizeof {name}_places[0]; place++) {{
        const uint32_t offset = {name}_places[place][0], count = {name}_places[place][1];
        uint32_t same = 0;
        while (same < count && model[offset + same] == next[same]) same++;
        const int failed = same < count ? write(context, offset, next, count) : 0;
        if (failed) return failed;
        next += count;
    }}
    return {name}_checksum(model, 0) == (undo ? {upper}_BASE_CRC32 : {upper}_RESULT_CRC32) ? 0 : 3;
}}

static inline int {name}_to_ram(void *context, uint32_t offset, const uint8_t *data, uint32_t count) {{
    for (uint32_t i = 0; i < count; i++) ((uint8_t *)context)[offset + i] = data[i];
    return 0;
}}

static inline int {name}_apply(uint8_t *model, size_t bytes) {{
    return {name}_move(model, bytes, 0, {name}_to_ram, model);
}}

static inline int {name}_undo(uint8_t *model, size_t bytes) {{
    return {name}_move(model, bytes, 1, {name}_to_ram, model);
}}

#endif
"""


def c_update(update: IntegerUpdate, graph: IntegerGraph, name: str) -> tuple[bytes, int]:
    """Return a C header with an update of a network, and how many bytes of tables it has.

    Parameters
    ----------
    update : IntegerUpdate
    graph : IntegerGraph
    name : str
        Begins the names of what it defines; an identifier of C.

    Raises
    ------
    DomainError
        If the name is none.
    VerificationError
        If the update is for another file.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,40}", name):
        raise DomainError(f"c_update: `name` must be an identifier of C of at most 41 letters; got {name!r}")
    changed, made = update.patched(graph)
    places = [run for place in made.places for run in differing(graph.content, changed.content, place)]
    old, new = (b"".join(_at(content, place) for place in places) for content in (graph.content, changed.content))
    spans = [f"{{{place.start}u, {len(place)}u}}" for place in places] or ["{0u, 0u}"]
    given = {
        "name": name,
        "upper": name.upper(),
        "guard": f"{name.upper()}_H",
        "method": update.method,
        "written": len(new),
        "size": len(graph.content),
        "base": made.base,
        "result": made.changed,
        "base_crc": zlib.crc32(graph.content),
        "result_crc": zlib.crc32(changed.content),
    }
    tables = (
        f"\nstatic const uint32_t {name}_places[][2] = {{{_wrapped(spans)}}};\n"
        f"\nstatic const uint8_t {name}_old[] = {{{_wrapped([str(byte) for byte in old or bytes(1)])}}};\n"
        f"\nstatic const uint8_t {name}_new[] = {{{_wrapped([str(byte) for byte in new or bytes(1)])}}};\n"
    )
    text = _HEAD.format(**given) + tables + _BODY.format(**given)
    return text.encode(), len(old) + len(new) + 8 * len(spans)


def differing(old: bytes, new: bytes, place: ByteRange) -> list[ByteRange]:
    """Return the runs of a place in which two contents differ.

    Two runs are one where that takes no more bytes of tables: `GAP` bytes that stay take two each, a run of its own
    eight.
    """
    at = place.start + np.flatnonzero(
        np.frombuffer(_at(old, place), np.uint8) != np.frombuffer(_at(new, place), np.uint8)
    )
    cuts = np.flatnonzero(np.diff(at) > GAP + 1) + 1
    return [ByteRange(int(run[0]), int(run[-1]) + 1) for run in np.split(at, cuts) if run.size]


def _at(content: bytes, place: ByteRange) -> bytes:
    return content[place.start : place.stop]


def _wrapped(items: list[str]) -> str:
    """Return items separated by commas, in lines of at most 100 letters."""
    lines, line = [], ""
    for item in items:
        if len(line) + len(item) + 2 > 100:
            lines.append(line)
            line = ""
        line += f"{item}, "
    return "\n    " + "\n    ".join([*lines, line.rstrip()]) + "\n"
