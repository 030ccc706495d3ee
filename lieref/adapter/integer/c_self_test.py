"""The self-test of an update as C: inputs, what must come out, and a function that has the device's interpreter run.

What comes out is compared with two rows of a sample: the answers with the update, in named semantics, and those of the
base. Kernels that round otherwise come near one of them; how near is measured, as the largest distance of the known
semantics from the named one on these very samples. So three faults are told apart: the base still runs, the kernels
round otherwise, and what is neither.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np

from lieref._types import Array
from lieref.adapter.integer.c_update import wrapped
from lieref.adapter.integer.self_test import places, self_test_integers
from lieref.adapter.integer.self_test_making import default_semantics, distances, integer_outputs, make_self_test
from lieref.errors import UnsupportedError
from lieref.model.integer.graph import IntegerGraph
from lieref.op.integer.semantics import SEMANTICS

SAMPLES = 1
"""Stored unless told otherwise: each is as long as an input of the network."""

_C_TYPES = {name: f"{name}_t" for name in ("int8", "uint8", "int16", "uint16", "int32")} | {"float32": "float"}

_TEXT = """
/* Self-test: the network answers as recorded. {count} input{s}, {kind}, {bytes} bytes of tables; a
 * linker that drops what is not called drops them too. The answers are those of the semantics {semantics}:
 * where kernels round so, every number is equal. Of {outputs} outputs {compared} are compared{spread}.
 *
 * {name}_self_test(run, context) calls `run` for each input and returns
 *   {upper}_OK              all as recorded; other kernels may give the same on so few inputs
 *   {upper}_IS_BASE         the answers are those of the base: no number is off from them by more than {upper}_NEAR,
 *                           as far apart as the known kernels are on these inputs (at least 1)
 *   {upper}_OTHER_ROUNDING  the update runs, but on kernels that round otherwise: off by no more than {upper}_NEAR
 *   {upper}_WRONG           neither
 *   {upper}_RUN_FAILED      `run` returned 0; no more inputs are tried
 *   {upper}_TABLES_DAMAGED  the tables of the self-test are not what they were made as; nothing was run{told}
 */
#define {upper}_SAMPLES {count}u
#define {upper}_INPUTS {inputs}u
#define {upper}_OUTPUTS {outputs}u
#define {upper}_COMPARED {compared}u
#define {upper}_NEAR {near}u
#define {upper}_SELF_TEST_CRC32 0x{crc:08x}u

typedef {c_input} {name}_input;
typedef {c_output} {name}_output;

/* Run the network on {upper}_INPUTS numbers, in the order of the file's own axes, and return its {upper}_OUTPUTS
 * outputs, which stay as they are until the next call; 0 where it fails.{real} */
typedef const {name}_output *(*{name}_run)(void *context, const {name}_input *input);

static const {name}_input {name}_inputs[][{inputs}] = {{{x}}};

static const {c_row} {name}_expected[][{compared}] = {{{expected}}};

static const {c_row} {name}_of_base[][{compared}] = {{{of_base}}};
{real_input}
{integer}

static inline uint32_t {name}_self_test_checksum(void) {{
    uint32_t crc = 0xffffffffu;
    for (size_t sample = 0; sample < {upper}_SAMPLES; sample++) {{
        for (size_t i = 0; i < {upper}_INPUTS; i++) crc = {name}_crc32_word(crc, (uint32_t){name}_inputs[sample][i]);
        for (size_t i = 0; i < {upper}_COMPARED; i++) {{
            crc = {name}_crc32_word(crc, (uint32_t){name}_expected[sample][i]);
            crc = {name}_crc32_word(crc, (uint32_t){name}_of_base[sample][i]);
        }}
    }}
    return ~crc;
}}

static inline uint64_t {name}_distance(int64_t one, int64_t other) {{
    return (uint64_t)(one < other ? other - one : one - other);
}}

static inline int {name}_self_test({name}_run run, void *context) {{
    uint64_t off = 0, most = 0, off_base = 0, most_base = 0;
    if ({name}_self_test_checksum() != {upper}_SELF_TEST_CRC32) return {upper}_TABLES_DAMAGED;
    for (size_t sample = 0; sample < {upper}_SAMPLES; sample++) {{
        const {name}_output *output = run(context, {name}_inputs[sample]);
        if (!output) return {upper}_RUN_FAILED;
        for (size_t i = 0; i < {upper}_COMPARED; i++) {{
            const int64_t found = {name}_integer(output[(uint64_t)i * {upper}_OUTPUTS / {upper}_COMPARED]);
            const uint64_t far = {name}_distance(found, {name}_expected[sample][i]);
            const uint64_t far_base = {name}_distance(found, {name}_of_base[sample][i]);
            off += far;
            off_base += far_base;
            if (far > most) most = far;
            if (far_base > most_base) most_base = far_base;
        }}
    }}
    if (!off) return {upper}_OK;
    if (most_base <= {upper}_NEAR && off_base < off) return {upper}_IS_BASE;
    return most <= {upper}_NEAR ? {upper}_OTHER_ROUNDING : {upper}_WRONG;
}}
"""

_WHOLE = """\
static inline int64_t {name}_integer({name}_output value) {{
    return value;
}}"""

_QUANTISED = """\
static inline int64_t {name}_integer({name}_output value) {{
    const float steps = value / {scale};
    if (!(steps > -1e9f && steps < 1e9f)) return INT64_C(1) << 40; /* no answer of this network, nor is a NaN */
    return (int64_t)(steps + (steps < 0 ? -0.5f : 0.5f)) + ({zero});
}}"""

_REAL_INPUT = """
/* What the network takes for an integer of the stored inputs. */
static inline float {name}_real({name}_input value) {{
    return {scale} * (float)((int32_t)value - ({zero}));
}}
"""


@dataclass(frozen=True, eq=False)
class CSelfTest:
    """Inputs, and what the network makes of them with an update and without.

    Attributes
    ----------
    semantics : str
        Whose integers the answers are: a key of `lieref.op.integer.semantics.SEMANTICS`.
    x : (N, inputs) integer array
        In the file's own order of axes.
    expected, of_base : (N, compared) int64 array
        Integers of the output with the update and without, at `lieref.adapter.integer.self_test.places`.
    outputs : int
        Numbers of an output.
    near : int
        The largest distance of the known semantics from `semantics` on these inputs, at least 1.
    real_input, real_output : (float, int) or None
        Scale and zero point, where the file takes or returns real numbers.
    output_dtype : str
        Of the integers of the output.
    """

    semantics: str
    x: Array
    expected: Array
    of_base: Array
    outputs: int
    near: int
    real_input: tuple[float, int] | None
    real_output: tuple[float, int] | None
    output_dtype: str

    @property
    def bytes(self) -> int:
        """Of tables."""
        return int(self.x.nbytes + (self.expected.size + self.of_base.size) * np.dtype(self.output_dtype).itemsize)

    def described(self) -> dict[str, Any]:
        """Return what a report says of it, plain JSON values."""
        count, inputs = self.x.shape
        sizes = {"samples": count, "inputs": inputs, "outputs": self.outputs, "compared": self.expected.shape[1]}
        return {"semantics": self.semantics, **sizes, "near": self.near, "bytes": self.bytes}

    @property
    def warning(self) -> str | None:
        """What it cannot tell apart, or None."""
        step = int(np.abs(self.expected - self.of_base).max())
        if step == 0:
            return "the answers of the self-test are the base's too: that the base still runs is seen by the checksum"
        if step <= 2 * self.near:
            return (
                f"the update moves the answers of the self-test by at most {step}, other kernels by up to {self.near}: "
                "on kernels that round otherwise, base and update may be taken for one another; the checksum tells"
            )
        return None

    def text(self, name: str) -> str:
        """Return it as C, to stand behind what `lieref.adapter.integer.c_update` defines."""
        count, inputs = self.x.shape
        compared = self.expected.shape[1]
        words = [np.concatenate(rows) for rows in zip(self.x, _pairs(self.expected, self.of_base), strict=True)]
        c_row = _C_TYPES[self.output_dtype]
        given = {
            "name": name,
            "upper": name.upper(),
            "count": count,
            "s": "" if count == 1 else "s",
            "kind": f"{'each of ' if count > 1 else ''}{inputs} integers ({self.x.dtype})",
            "bytes": self.bytes,
            "semantics": self.semantics,
            "outputs": self.outputs,
            "compared": compared,
            "spread": "" if compared == self.outputs else ", evenly spaced",
            "told": _told(self.warning),
            "inputs": inputs,
            "near": self.near,
            "crc": zlib.crc32(np.concatenate(words).astype("<i8").astype("<u4").tobytes()),
            "c_input": _C_TYPES[str(self.x.dtype)],
            "c_output": c_row if self.real_output is None else "float",
            "c_row": c_row,
            "real": "" if self.real_input is None else
            f"\n * The file takes real numbers: {name}_real(input[i]) each.",
            "x": _rows(self.x),
            "expected": _rows(self.expected),
            "of_base": _rows(self.of_base),
            "real_input": "" if self.real_input is None else _filled(_REAL_INPUT, name, self.real_input),
            "integer": _filled(_QUANTISED if self.real_output else _WHOLE, name, self.real_output or (1.0, 0)),
        }  # fmt: skip
        return _TEXT.format(**given)


def make_c_self_test(
    base: IntegerGraph, changed: IntegerGraph, how: str | None = None, samples: Array | None = None,
    count: int = SAMPLES,
) -> CSelfTest:  # fmt: skip
    """Return the self-test of a file with an update in it, as C takes it.

    Parameters
    ----------
    base, changed : IntegerGraph
        The file without and with the update.
    how, samples, count
        See `lieref.adapter.integer.self_test_making.make_self_test`, which makes the inputs.

    Raises
    ------
    UnsupportedError, DomainError
        As `make_self_test` does; and where outputs are no integers that C has here.
    """
    semantics = how or default_semantics(base)
    others = _alike(semantics)
    test = make_self_test(base, changed, semantics, samples, count, others)
    said = test["output"]
    kind, x = base.tensors[base.outputs[0]], np.concatenate(self_test_integers(test))
    dtype = kind.dtype
    if said["real"] is not None:
        node = base.producer(kind.name)
        assert node is not None  # make_self_test has looked
        dtype = base.tensors[node.inputs[0]].dtype
    if dtype not in _C_TYPES or dtype == "float32":
        raise UnsupportedError(f"make_c_self_test: outputs must be integers of at most 32 bits; got {dtype}")
    at = places(said["size"])
    new, old = (integer_outputs(graph, x, semantics)[:, at] for graph in (changed, base))
    near = max(1, *(int(distances(graph, x, semantics, others).max(initial=0)) for graph in (changed, base)))
    return CSelfTest(
        semantics, x.reshape(len(x), -1), new, old, said["size"], near, _pair(test["input"]["real"]),
        _pair(said["real"]), dtype,
    )  # fmt: skip


def _pair(real: list[Any] | None) -> tuple[float, int] | None:
    return None if real is None else (float(real[0]), int(real[1]))


def _alike(semantics: str) -> list[str]:
    """Return the other semantics that files of this kind are run in: those of ONNX Runtime, or all that read TFLite."""
    mark = "onnxruntime"
    return [n for n in SEMANTICS if n != semantics and n.startswith(mark) == semantics.startswith(mark)]


def _pairs(one: Array, other: Array) -> Array:
    """Return the numbers of two arrays by turns, row by row."""
    return np.stack([one, other], axis=2).reshape(len(one), -1)


def _told(warning: str | None) -> str:
    """Return a warning as lines of a comment."""
    return "" if warning is None else "\n".join(["", *(f" * {line}" for line in wrap(f"Note: {warning}.", 110))])


def _rows(rows: Array) -> str:
    return "\n" + ",\n".join(f"    {{{wrapped([str(n) for n in row.tolist()])}    }}" for row in rows) + "\n"


def _filled(text: str, name: str, real: tuple[float, int]) -> str:
    return text.format(name=name, scale=f"{real[0]:.9e}f", zero=real[1])
