"""The loops that run a script: entry by entry, sample by sample, row by row, in one call from Python."""

from __future__ import annotations

from llvmlite import ir

from lieref.kernel.simd.emit import I32, I64, POINTER, Function, Int, Pointer, Variable
from lieref.kernel.simd.row import CONTEXT, ENTRY, REQUEST, ROW_LENGTH, STOP


def emit_run(module: ir.Module, name: str) -> None:
    """Emit ``void name(int64 *script, int64 *request)``: the script is its number of entries, then the entries.

    for entry in script:
        for image in range(begin, end, step):
            for row in rows:
                if not request.stop:
                    row.kernel(row, context)
    """
    f = Function(module, name, "float64")
    script, request = f.parameter(0), f.parameter(1)
    with f.loop(script.int_at(0)) as number:
        entry = _Entry(f, script + (number * len(ENTRY) + 1), request)
        with f.loop(entry.turns) as turn:
            entry.start(turn)
            with f.loop(entry.fields["row_count"]) as i:
                entry.call(i)
    f.finish()


SHARED = ("phase_count", "phases", "pieces", "state", "rest")
"""Names of the integers behind the entry of a script that several threads run: how many phases; the first piece of
each, and how many pieces; the first row of each piece, and how many rows; two zeros for each phase of each image; the
address of a function that lets other threads run."""

SPINS = 1000
"""Looks at a counter before a thread lets others run: about 30 microseconds, longer than most pieces take."""


def emit_shared_run(module: ir.Module, name: str) -> None:
    """Emit ``void name(int64 *script, int64 *request)``, which several threads call at once on one script of one entry.

    Rows are grouped into pieces, and pieces that do not touch each other's memory into phases. Threads take the pieces
    of a phase one by one, and leave it when all are done: a thread that never comes, or comes late, keeps none waiting.

    for image in range(begin, end, step):
        for phase in phases:
            while (piece := phase.taken++) < len(phase.pieces):
                for row in piece:
                    if not request.stop:
                        row.kernel(row, context)
                phase.done++
            wait until phase.done == len(phase.pieces)

    The first phase of an image must be one piece: who takes it writes down in the context which image is at work, while
    no other row runs. The rest of the context all threads write, with the same numbers.
    """
    f = Function(module, name, "float64")
    script, request = f.parameter(0), f.parameter(1)
    entry = _Entry(f, script + 1, request)
    shared = {field: script.int_at(1 + len(ENTRY) + i) for i, field in enumerate(SHARED)}
    phases, pieces, state = (_pointer(f, shared[field]) for field in ("phases", "pieces", "state"))
    rest = f.b.inttoptr(shared["rest"].ir, ir.FunctionType(I32, []).as_pointer())
    with f.loop(entry.turns) as turn, f.loop(shared["phase_count"]) as phase:
        counters = state + (turn * shared["phase_count"] + phase) * 2
        first = phases.int_at(phase)
        count = phases.int_at(phase + 1) - first
        taken = Variable(counters.add_shared(0, 1))
        with f.forever() as leave_if:
            leave_if(count < taken.get() + 1)
            with f.when(phase.equals(0)):
                entry.start(turn)
            row = pieces.int_at(first + taken.get())
            with f.loop(pieces.int_at(first + taken.get() + 1) - row) as i:
                entry.call(row + i)
            counters.add_shared(1, 1)
            taken.set(counters.add_shared(0, 1))
        looks = Variable(f.integer(0))
        with f.forever() as leave_if:
            leave_if(count < counters.shared_at(1) + 1)
            looks.set(looks.get() + 1)
            with f.when(f.integer(SPINS) < looks.get()):
                f.b.call(rest, [])
    f.finish()


class _Entry:
    """An entry of a script: what it says, and what is emitted for its images and rows."""

    def __init__(self, f: Function, entry: Pointer, request: Pointer) -> None:
        self.f = f
        self.request = request
        self.fields = {field: entry.int_at(i) for i, field in enumerate(ENTRY)}
        self.context, self.rows = _pointer(f, self.fields["context"]), _pointer(f, self.fields["rows"])
        for index in range(len(REQUEST)):
            self.context.store(index, request.int_at(index))
        for field in ("gradients", "parts"):
            self.context.store(CONTEXT.index(field), self.fields[field])
        begin, step = self.fields["begin"], self.fields["step"]
        self.turns = (self.fields["end"] - begin + (step - 1)) // step

    def start(self, turn: Int) -> None:
        """Write down which image it is the turn of."""
        f, fields = self.f, self.fields
        self.context.store(CONTEXT.index("image"), fields["begin"] + turn * fields["step"])
        self.context.store(CONTEXT.index("fresh"), f.where(turn.equals(0), fields["fresh"], f.integer(0)))

    def call(self, number: Int) -> None:
        """Call the kernel of a row, unless a row has failed."""
        f, row = self.f, self.rows + number * ROW_LENGTH
        kernel = f.b.inttoptr(row.int_at(0).ir, ir.FunctionType(ir.VoidType(), [POINTER, POINTER]).as_pointer())
        with f.when(self.request.int_at(STOP).equals(0)):
            f.b.call(kernel, [row.ir, self.context.ir])


def _pointer(f: Function, address: Int) -> Pointer:
    return Pointer(f, f.b.inttoptr(address.ir, POINTER), I64)
