"""An update of a quantised file as C: one function that writes it into the model, and takes it back; checks of both.

Old and new bytes of each place are stored, so that either can be written whatever stands there: a move that was
interrupted half-way is completed, or taken back, by calling the function again. Whether it is the right model is seen
by a checksum (CRC-32) of everything else: of the model with the old bytes in its places, before the first byte is
written; and after the last, of the whole model as it is. The tables have a checksum of their own: an offset that has
rotted would be written to. What the network answers is the matter of `lieref.adapter.integer.c_self_test`.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

import numpy as np

from lieref.adapter.integer.update import IntegerUpdate
from lieref.errors import DomainError
from lieref.model.integer.graph import ByteRange, IntegerGraph

if TYPE_CHECKING:
    from lieref.adapter.integer.c_self_test import CSelfTest

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
 * where they differ from what is to stand there. All return {upper}_OK, also where nothing is left to do, or what was
 * wrong. A write that fails ends the move, which returns what its function returned: best a number above 8.
 *
 * {name}_check(model, bytes) tells what a model is and writes nothing: {upper}_OK for the updated one,
 * {upper}_IS_BASE for the base, to the bit, or what is wrong.{self_test}
 *
 * What the checksums are worth: CRC-32 sees every damage of one or two bits, wherever they are, and every one within 32
 * bits in a row; of any other it misses one in 4,294,967,296. It is for accidents: whoever means harm can make the
 * checksums fit. A device with SHA-256 may compare the digests above.
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
#define {upper}_TABLES_CRC32 0x{tables_crc:08x}u

enum {{
    {upper}_OK = 0,
    {upper}_OTHER_LENGTH = 1,   /* the model has another length */
    {upper}_OTHER_MODEL = 2,    /* another model, or one half-way; a move has written nothing */
    {upper}_SPOILT = 3,         /* after a move the model is not as it should be: install the base again */
    {upper}_TABLES_DAMAGED = 4, /* the tables of this file are not what they were made as; nothing is written */
    {upper}_IS_BASE = 5,        /* the base stands, or runs, where the update should */
    {upper}_OTHER_ROUNDING = 6, /* the update runs on kernels that round otherwise than recorded */
    {upper}_WRONG = 7,          /* the answers are neither those of the update nor those of the base */
    {upper}_RUN_FAILED = 8      /* the network could not be run */
}};
"""

_SELF_TEST = """ That the network also answers
 * as it should is the matter of {name}_self_test, at the end of this file."""

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

static inline uint32_t {name}_crc32_word(uint32_t crc, uint32_t word) {{
    for (int shift = 0; shift < 32; shift += 8) {{
        const uint8_t byte = (uint8_t)(word >> shift);
        crc = {name}_crc32(crc, &byte, 1);
    }}
    return crc;
}}

/* Checksum of the tables above; numbers from their lowest byte on, whatever order the processor has. */
static inline uint32_t {name}_tables_checksum(void) {{
    uint32_t crc = 0xffffffffu;
    for (size_t place = 0; place < sizeof {name}_places / sizeof {name}_places[0]; place++) {{
        crc = {name}_crc32_word(crc, {name}_places[place][0]);
        crc = {name}_crc32_word(crc, {name}_places[place][1]);
    }}
    crc = {name}_crc32(crc, {name}_old, sizeof {name}_old);
    return ~{name}_crc32(crc, {name}_new, sizeof {name}_new);
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
    if (bytes != {upper}_BYTES) return {upper}_OTHER_LENGTH;
    if ({name}_tables_checksum() != {upper}_TABLES_CRC32) return {upper}_TABLES_DAMAGED;
    if ({name}_checksum(model, {name}_old) != {upper}_BASE_CRC32) return {upper}_OTHER_MODEL;
    for (size_t place = 0; place < sizeof {name}_places / sizeof {name}_places[0]; place++) {{
        const uint32_t offset = {name}_places[place][0], count = {name}_places[place][1];
        uint32_t same = 0;
        while (same < count && model[offset + same] == next[same]) same++;
        const int failed = same < count ? write(context, offset, next, count) : 0;
        if (failed) return failed;
        next += count;
    }}
    const uint32_t wanted = undo ? {upper}_BASE_CRC32 : {upper}_RESULT_CRC32;
    return {name}_checksum(model, 0) == wanted ? {upper}_OK : {upper}_SPOILT;
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

static inline int {name}_check(const uint8_t *model, size_t bytes) {{
    if (bytes != {upper}_BYTES) return {upper}_OTHER_LENGTH;
    if ({name}_tables_checksum() != {upper}_TABLES_CRC32) return {upper}_TABLES_DAMAGED;
    const uint32_t found = {name}_checksum(model, 0);
    if (found == {upper}_RESULT_CRC32) return {upper}_OK;
    return found == {upper}_BASE_CRC32 ? {upper}_IS_BASE : {upper}_OTHER_MODEL;
}}
"""


def c_update(
    update: IntegerUpdate, graph: IntegerGraph, name: str, self_test: CSelfTest | None = None
) -> tuple[bytes, int]:
    """Return a C header with an update of a network, and how many bytes of tables it has beside those of the self-test.

    Parameters
    ----------
    update : IntegerUpdate
    graph : IntegerGraph
    name : str
        Begins the names of what it defines; an identifier of C.
    self_test : CSelfTest, optional
        Of this update; by default the header has none.

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
    written = len(new)
    old, new = old or bytes(1), new or bytes(1)  # C has no empty arrays
    spans = [(place.start, len(place)) for place in places] or [(0, 0)]
    given = {
        "name": name,
        "upper": name.upper(),
        "guard": f"{name.upper()}_H",
        "method": update.method,
        "written": written,
        "size": len(graph.content),
        "base": made.base,
        "result": made.changed,
        "base_crc": zlib.crc32(graph.content),
        "result_crc": zlib.crc32(changed.content),
        "tables_crc": zlib.crc32(np.array(spans, "<u4").tobytes() + old + new),
        "self_test": _SELF_TEST.format(name=name) if self_test else "",
    }
    starts = [f"{{{start}u, {count}u}}" for start, count in spans]
    tables = (
        f"\nstatic const uint32_t {name}_places[][2] = {{{wrapped(starts)}}};\n"
        f"\nstatic const uint8_t {name}_old[] = {{{wrapped([str(byte) for byte in old])}}};\n"
        f"\nstatic const uint8_t {name}_new[] = {{{wrapped([str(byte) for byte in new])}}};\n"
    )
    tested = "" if self_test is None else self_test.text(name)
    text = _HEAD.format(**given) + tables + _BODY.format(**given) + tested + "\n#endif\n"
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


def wrapped(items: list[str]) -> str:
    """Return items of a table separated by commas, in lines of at most 100 letters."""
    lines, line = [], ""
    for item in items:
        if len(line) + len(item) + 2 > 100:
            lines.append(line)
            line = ""
        line += f"{item}, "
    return "\n    " + "\n    ".join([*lines, line.rstrip()]) + "\n"
