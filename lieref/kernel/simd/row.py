"""Rows, contexts and scripts: how a program hands a kernel its sizes and the caller's addresses.

A row is an instruction as integers: an image and a matrix have rows too, but an instruction is called one only here,
where it has become 64-bit integers with names, fixed when its program is assembled. A kernel takes two pointers: its
row, and the context (base addresses and the sample at work). Offsets in a row count elements from a base address. A
script is a list of entries, each rows to go through for some samples; to run is to take a script and a request.
"""

from __future__ import annotations

import struct

from llvmlite import ir

from lieref.kernel.simd.emit import F64, I64, Function, Int, Pointer, Real

ROW_LENGTH = 48
"""Integers in one row of a program."""

REQUEST = (
    "images",  # samples as given, (N, C, H, W)
    "targets",  # one row of targets per sample
    "logits",  # one row of outputs per sample
    "losses",  # float64, one per sample
    "scale",  # bits of a float64: factor of the squared error, 1 / entries of the outputs
)
"""Names of the integers that change from one run to the next, in order."""

STOP = len(REQUEST)
"""The integer of a request behind those: 1 once a row that calls back to Python has failed, and no row is to follow."""

CONTEXT = (
    *REQUEST,
    "gradients",  # accumulators of the weight gradients of one part, in the end of all
    "parts",  # int64: how many parts a batch has, and where the accumulators of each are
    "image",  # index of the sample at work
    "fresh",  # 1 on the first sample of a part: gradients are set, not added to, by instructions that say so too
    "arena",  # activations and their gradients
    "weights",  # packed weights and biases
    "table",  # int64 offsets of kernel runs and taps
    "bases",  # packed weights before adaptation, laid out as the weights
    "factors",  # adapter factors in the order of the packed layouts
    "factor_gradients",  # laid out as the factors
    "theta", "theta_bar",  # factors and gradients as the caller orders them; behind theta stand a zero and a one
    "factor_index", "factor_scale",  # for each of the factors, which of theta it is and what multiplies it
    "theta_index", "theta_scale",  # for each of theta_bar, which of the factor gradients, and what multiplies it
)  # fmt: skip
"""Names of the context's integers, in order."""

ENTRY = ("context", "gradients", "parts", "rows", "row_count", "begin", "end", "step", "fresh")
"""Names of the integers of one entry of a script, in order: a program's rows over some samples, in a context.

`step` is the samples that a pass takes at once; `fresh` is 1 where the first pass sets the accumulators."""


ELEMENTS = {
    "table": I64, "parts": I64, "factor_index": I64, "theta_index": I64, "losses": F64,
}  # fmt: skip
"""Types behind the context's addresses that are not the kernel's own."""


class Fields:
    """Names of the integers of one kernel family's row; the first is always the kernel's address."""

    def __init__(self, *names: str) -> None:
        self.names = ("address", *names)
        if len(self.names) > ROW_LENGTH:
            raise ValueError(f"Fields: {len(self.names)} names do not fit in a row of {ROW_LENGTH}")

    def pack(self, **values: int) -> list[int]:
        """Return the row; a name left out and an unknown name raise KeyError."""
        if values.keys() != set(self.names):
            unknown, missing = sorted(values.keys() - set(self.names)), sorted(set(self.names) - values.keys())
            raise KeyError(f"Fields.pack: unknown {unknown}, missing {missing}")
        row = [int(values[name]) for name in self.names]
        return row + [0] * (ROW_LENGTH - len(row))


def float_bits(value: float) -> int:
    """Return a float64 as the integer of the same bits."""
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


class Kernel(Function):
    """A kernel under construction: a `Function` whose parameters are a row with names and a context.

    Attributes
    ----------
    fields : Fields
    width : int
        Elements of one vector.
    row, context : Pointer
    """

    def __init__(self, module: object, name: str, dtype: str, fields: Fields, width: int) -> None:
        super().__init__(module, name, dtype)
        self.fields = fields
        self.width = width
        self.row = self.parameter(0)
        self.context = self.parameter(1)

    def field(self, name: str) -> Int:
        """Return an integer of the row."""
        return self.row.int_at(self.fields.names.index(name), fixed=True)

    def real_field(self, name: str) -> Real:
        """Return a float64 of the row, rounded to the function's type."""
        return self.narrow(Pointer(self, self.row.ir, F64).real_at(self.fields.names.index(name)))

    def context_real(self, name: str) -> Real:
        """Return a float64 of the context, rounded to the function's type."""
        return self.narrow(Pointer(self, self.context.ir, F64).real_at(CONTEXT.index(name)))

    def narrow(self, value: Real) -> Real:
        """Return a float64, or a vector of them, rounded to the function's type."""
        kind = value.ir.type
        to = ir.VectorType(self.real, kind.count) if isinstance(kind, ir.VectorType) else self.real
        return value if self.real == F64 else Real(self, self.b.fptrunc(value.ir, to))

    def context_int(self, name: str) -> Int:
        """Return an integer of the context."""
        return self.context.int_at(CONTEXT.index(name))

    def base(self, name: str, offset: str = "") -> Pointer:
        """Return a base address of the context, moved by the row's field `offset`."""
        element = ELEMENTS.get(name, self.real)
        pointer = Pointer(self, self.b.inttoptr(self.context_int(name).ir, self.row.ir.type), element)
        return pointer + self.field(offset) if offset else pointer
