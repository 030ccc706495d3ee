"""The loop that runs a script: entry by entry, sample by sample, row by row, in one call from Python."""

from __future__ import annotations

from llvmlite import ir

from lieref.kernel.simd.emit import I64, POINTER, Function, Int, Pointer
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
    signature = ir.FunctionType(ir.VoidType(), [POINTER, POINTER])
    with f.loop(script.int_at(0)) as number:
        entry = script + (number * len(ENTRY) + 1)
        fields = {field: entry.int_at(i) for i, field in enumerate(ENTRY)}
        context, rows = _pointer(f, fields["context"]), _pointer(f, fields["rows"])

        def put(field: str, value: Int, context: Pointer = context) -> None:
            context.store(CONTEXT.index(field), value)

        for index, field in enumerate(REQUEST):
            put(field, request.int_at(index))
        put("gradients", fields["gradients"])
        put("parts", fields["parts"])
        begin, step = fields["begin"], fields["step"]
        with f.loop((fields["end"] - begin + (step - 1)) // step) as turn:
            put("image", begin + turn * step)
            put("first", f.where(turn.equals(0), fields["fresh"], f.integer(0)))
            with f.loop(fields["row_count"]) as i:
                row = rows + i * ROW_LENGTH
                kernel = f.b.inttoptr(row.int_at(0).ir, signature.as_pointer())
                with f.when(request.int_at(STOP).equals(0)):
                    f.b.call(kernel, [row.ir, context.ir])
    f.finish()


def _pointer(f: Function, address: Int) -> Pointer:
    return Pointer(f, f.b.inttoptr(address.ir, POINTER), I64)
