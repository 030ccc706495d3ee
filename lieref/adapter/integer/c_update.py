"""An update of a quantised file as C: one function that writes it into the model, and takes it back.

What is stored is the difference of old and new bytes (exclusive or), so that writing it twice restores the file: the
same few kilobytes go both ways. Checksums (CRC-32) of the whole model are compared before the first byte is written,
and after the last.
"""

from __future__ import annotations

import re
import zlib

from lieref.adapter.integer.update import IntegerUpdate
from lieref.errors import DomainError
from lieref.model.integer.graph import IntegerGraph

FORMAT = "c-int8-update"
SUMMARY = "of a quantised file: a C function that writes the update into the model in RAM or flash, and back"

_HEAD = """\
/* Update of a quantised model, made by lieref: {method}, {written} of {size} bytes.
 *
 * base    sha256 {base}
 * result  sha256 {result}
 *
 * {name}_apply(model, bytes)  writes the update into a model in RAM, {name}_undo takes it back, bit by bit.
 * For flash, {name}_move takes a function that writes; only the places below are written.
 * All return 0, also where nothing is left to do; 1 for a model of another length, 2 for another model (nothing is
 * written), 3 where the result is not as it should be. A write that fails returns what its function returned. After
 * either the model is spoilt: install the base again.
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

static inline uint32_t {name}_crc32(const uint8_t *data, size_t count) {{
    uint32_t crc = 0xffffffffu;
    while (count--) {{
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1u)));
    }}
    return ~crc;
}}

static inline int {name}_move(const uint8_t *model, size_t bytes, int undo, {name}_write write, void *context) {{
    const uint32_t from = undo ? {upper}_RESULT_CRC32 : {upper}_BASE_CRC32;
    const uint32_t to = undo ? {upper}_BASE_CRC32 : {upper}_RESULT_CRC32;
    if (bytes != {upper}_BYTES) return 1;
    const uint32_t found = {name}_crc32(model, bytes);
    if (found == to) return 0;
    if (found != from) return 2;
    const uint8_t *difference = {name}_difference;
    for (size_t place = 0; place < sizeof {name}_places / sizeof {name}_places[0]; place++) {{
        uint32_t offset = {name}_places[place][0], left = {name}_places[place][1];
        while (left) {{
            uint8_t next[64];
            const uint32_t count = left < sizeof next ? left : (uint32_t)sizeof next;
            for (uint32_t i = 0; i < count; i++) next[i] = model[offset + i] ^ *difference++;
            const int failed = write(context, offset, next, count);
            if (failed) return failed;
            offset += count;
            left -= count;
        }}
    }}
    return {name}_crc32(model, bytes) == to ? 0 : 3;
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
    pieces, spans = [], []
    for place in made.places:
        old, new = (content[place.start : place.stop] for content in (graph.content, changed.content))
        if old != new:
            spans.append(f"{{{place.start}u, {len(place)}u}}")
            pieces.append(bytes(a ^ b for a, b in zip(old, new, strict=True)))
    difference = b"".join(pieces) or b"\0"
    spans = spans or ["{0u, 0u}"]
    given = {
        "name": name,
        "upper": name.upper(),
        "guard": f"{name.upper()}_H",
        "method": update.method,
        "written": sum(map(len, pieces)),
        "size": len(graph.content),
        "base": made.base,
        "result": made.changed,
        "base_crc": zlib.crc32(graph.content),
        "result_crc": zlib.crc32(changed.content),
    }
    tables = (
        f"\nstatic const uint32_t {name}_places[][2] = {{{_wrapped(spans)}}};\n"
        f"\nstatic const uint8_t {name}_difference[] = {{{_wrapped([str(byte) for byte in difference])}}};\n"
    )
    text = _HEAD.format(**given) + tables + _BODY.format(**given)
    return text.encode(), len(difference) + 8 * len(spans)


def _wrapped(items: list[str]) -> str:
    """Return items separated by commas, in lines of at most 100 letters."""
    lines, line = [], ""
    for item in items:
        if len(line) + len(item) + 2 > 100:
            lines.append(line)
            line = ""
        line += f"{item}, "
    return "\n    " + "\n    ".join([*lines, line.rstrip()]) + "\n"
