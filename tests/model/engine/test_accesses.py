"""What each kernel says it accesses is exactly what it accesses, and nothing else is ever assembled.

A kernel is emitted once more with a call behind each load and each store that notes the address, and run on rows of the
test networks: the first and the last element of every access must be met, and no other memory.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from llvmlite import binding as llvm
from llvmlite import ir

from lieref.errors import InternalError
from lieref.kernel.simd import isa as isa_module
from lieref.kernel.simd.access import Slack
from lieref.kernel.simd.adapter import MAPS
from lieref.kernel.simd.kernels import FAMILIES, KernelName
from lieref.kernel.simd.row import CONTEXT, ELEMENTS, Fields
from lieref.kernel.simd.sample import LOSSES
from lieref.kernel.simd.tiles import LoadTile
from lieref.model.engine import Adapter, compile_graph, program
from lieref.model.engine.adapter import FORMS
from lieref.model.engine.engine import ADAPTED, BY_CHANNEL
from lieref.model.engine.lower import lower
from lieref.model.engine.memories import check_accesses
from tests.model.engine.networks import NETS, trainable
from tests.pairs import EVERYTHING

SETS = isa_module.available() if EVERYTHING else sorted({isa_module.available()[0], isa_module.available()[-1]})
"""Instruction sets: the widest has masks, the narrowest no fused products; the others have kernels of the same text."""

MARGIN = 1 << 14
"""Bytes before and behind each memory, so that an access outside is noted and does no harm."""

ANY_ROW = (("embedding", "weights"), ("embedding_gradient", "gradients"))
"""Families that meet one row or another of a table, as the numbers say that they read."""

INDIRECT = {"gather": {"theta"}, "scatter": {"factor_gradients"}, "sum_parts": {"parts"}}
"""What a family reads at places that a list names, checked where the list is made."""


def adapters(graph, form, map_name):
    """An adapter on every weight that takes one of this form."""
    layers = lower(graph, graph.outputs[0]).layers
    kinds = {name: layer.kind for layer in layers for name in layer.weights}
    weights = [w for w in trainable(graph) if kinds.get(w) in ADAPTED]
    fitting = [w for w in weights if kinds[w] in BY_CHANNEL or form != "channel"]
    return {w: Adapter(map_name, form, 3 if form == "low_rank" else 1) for w in fitting}


@pytest.fixture(scope="module", params=SETS)
def assembled(request):
    """All rows of the test networks by kernel, with their integers, table and memories; the smallest of each kernel."""
    found: dict[Any, Any] = {}

    def note(row, values, table, memories):
        check_accesses(row, values, table, memories)
        if row.kernel is not None:
            size = sum(last + 1 - first for _, _, first, last, *_ in accesses(row, values, table))
            if size and (row.kernel not in found or size < found[row.kernel][0]):
                found[row.kernel] = size, row, values, table, memories

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "check_accesses", note)
        for number, (name, make) in enumerate(NETS.items()):
            graph = make()
            for winograd in ("f2", "f4") if name == "square" else ("direct",):
                engine = compile_graph(
                    graph, trainable=trainable(graph), logits=graph.outputs[0], winograd=winograd, isa=request.param
                )
                engine._plans.get(5 if engine._plans.net.flat else 1)
            # Every form meets every map: their numbers have no common factor.
            form, map_name = FORMS[number % len(FORMS)], MAPS[number % len(MAPS)]
            compile_graph(
                graph, trainable=frozenset(), logits=graph.outputs[0], isa=request.param,
                adapters=adapters(graph, form, map_name),
            )  # fmt: skip
    isa = isa_module.ISAS[request.param]
    for name, (_, *rest) in list(found.items()):
        if name.tile is None:
            found.pop(name)
            for tile in FAMILIES[name.family].tiles(isa, "float32"):
                found[KernelName(name.family, tile)] = 0, *rest
    return request.param, {kernel: rest for kernel, (_, *rest) in found.items()}


def accesses(row, values, table, kernel=None):
    kernel = kernel or row.kernel
    return FAMILIES[kernel.family].accesses(values, kernel.tile, table)


def test_every_family_is_met_by_a_test_network(assembled):
    _, found = assembled
    assert {kernel.family for kernel in found} == set(FAMILIES)
    assert {kernel.tile.loss for kernel in found if kernel.family == "output"} == set(LOSSES)


def named(kernels):
    """Whether tiles differ by names: element types, losses, forms."""
    return any(isinstance(part, str) for kernel in kernels for part in kernel.tile)


class Trace:
    """Emits kernels that note every address they load from and store to."""

    def __init__(self):
        self.met: list[tuple[int, int, bool]] = []
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        self._note = kind(lambda address, size, written: self.met.append((address, size, bool(written))))
        self._address = ctypes.cast(self._note, ctypes.c_void_p).value

    def _touch(self, builder, pointer, value, written):
        of = getattr(pointer, "pointer", pointer)  # what it is an element of
        if isinstance(of, (ir.instructions.AllocaInstr, ir.GlobalVariable)):  # its own, or a constant of the module
            return
        i64 = ir.IntType(64)
        signature = ir.FunctionType(ir.VoidType(), [ir.PointerType(), i64, i64])
        target = builder.inttoptr(ir.Constant(i64, self._address), signature.as_pointer())
        mark = written if isinstance(written, ir.Value) else ir.Constant(i64, int(written))
        builder.call(target, [pointer, ir.Constant(i64, size_of(value.type)), mark])

    def _touch_lanes(self, builder, pointers, real, kind, written):
        """Note what masked lanes touch, of neighbours or anywhere: where one touches nothing, a place in its row."""
        for lane in range(kind.count):
            number = ir.Constant(ir.IntType(32), lane)
            if isinstance(pointers.type, ir.VectorType):
                address = builder.extract_element(pointers, number)
            else:
                address = builder.gep(pointers, [number], source_etype=kind.element)
            there = builder.extract_element(real, number)
            chosen = builder.select(there, address, builder.function.args[0])
            mark = builder.zext(there, ir.IntType(64)) if written else False
            self._touch(builder, chosen, ir.Constant(kind.element, 0.0), mark)

    def compiled(self, kernel, isa, patch):
        """The traced kernel, and what keeps it alive."""
        load, store, call, trace = ir.IRBuilder.load, ir.IRBuilder.store, ir.IRBuilder.call, self

        def traced_call(self, function, args, *rest, **options):
            name = getattr(function, "name", "")
            if name.startswith("llvm.masked.store"):
                trace._touch_lanes(self, args[1], args[3], args[0].type, True)
            elif name.startswith("llvm.masked"):
                trace._touch_lanes(self, args[0], args[2], args[3].type, False)
            return call(self, function, args, *rest, **options)

        def traced_load(self, pointer, *args, **options):
            value = load(self, pointer, *args, **options)
            trace._touch(self, pointer, value, False)
            return value

        def traced_store(self, value, pointer, *args, **options):
            trace._touch(self, pointer, value, True)
            return store(self, value, pointer, *args, **options)

        module = ir.Module()
        with patch.context() as inner:
            inner.setattr(ir.IRBuilder, "load", traced_load)
            inner.setattr(ir.IRBuilder, "store", traced_store)
            inner.setattr(ir.IRBuilder, "call", traced_call)
            FAMILIES[kernel.family].emit(module, kernel.symbol, "float32", kernel.tile)
        plain = llvm.Target.from_default_triple().create_target_machine(cpu=isa.cpu, opt=0, jit=True)
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), plain)
        engine.finalize_object()
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(
            engine.get_function_address(kernel.symbol)
        ), engine


def size_of(kind):
    if isinstance(kind, ir.VectorType):
        return kind.count * size_of(kind.element)
    return kind.width // 8 if isinstance(kind, ir.IntType) else 4 if isinstance(kind, ir.FloatType) else 8


def run_traced(trace, call, kernel, row, values, table, memories):
    """Run one instruction; return what it met: memory -> elements (first, last, written)."""
    item = {name: 8 if name in ELEMENTS else 4 for name in CONTEXT}
    if isinstance(kernel.tile, LoadTile) and kernel.tile.source == "uint8":
        item["images"] = 1
    sizes = {name: memory.size for name, memory in memories.items()} | {"table": len(table), "parts": 3, "theta": 1}
    bases, kept = {}, []
    for name, size in sizes.items():
        memory = np.zeros(size * item[name] + 2 * MARGIN, np.uint8)
        kept.append(memory)
        bases[name] = memory.ctypes.data + MARGIN
        inside = memory[MARGIN : MARGIN + size * item[name]]
        if name == "table":
            inside.view(np.int64)[:] = table
        if name == "parts":
            inside.view(np.int64)[:] = 2, bases["gradients"], bases["gradients"]
    numbers = np.array(row.fields.pack(**values), np.int64)
    context = np.array([bases.get(name, 0) for name in CONTEXT], np.int64)
    trace.met.clear()
    call(numbers.ctypes.data, context.ctypes.data)
    own = [(array.ctypes.data, array.ctypes.data + array.nbytes) for array in (numbers, context)]
    met: dict[str, set[tuple[int, int, bool]]] = {}
    for address, size, written in set(trace.met):
        if any(first <= address < end for first, end in own):
            assert not written, "a kernel writes into its own row or context"
            continue
        name = next(
            (n for n, base in bases.items() if base - MARGIN <= address < base + sizes[n] * item[n] + MARGIN), None
        )
        assert name is not None, "a kernel accesses memory that is none of the context's"
        first = (address - bases[name]) / item[name]
        assert first == int(first)
        met.setdefault(name, set()).add((int(first), int(first) + size // item[name] - 1, written))
    return met


def test_kernels_access_what_they_say(assembled):
    """Of each family the kernels of the first and of the last tile, and all of those that differ in more than size."""
    name, found = assembled
    trace = Trace()
    tiles: dict[str, list[KernelName]] = {}
    for kernel in sorted(found, key=lambda kernel: (kernel.family, kernel.tile)):
        tiles.setdefault(kernel.family, []).append(kernel)
    for kernel in [one for family in tiles.values() for one in (family if named(family) else {family[0], family[-1]})]:
        row, values, table, memories = found[kernel]
        call, alive = trace.compiled(kernel, isa_module.ISAS[name], pytest.MonkeyPatch)
        met = run_traced(trace, call, kernel, row, values, table, memories)
        assert alive is not None
        said = accesses(row, values, table, kernel)
        for memory, places in met.items():
            if memory in INDIRECT.get(kernel.family, ()):
                continue
            here = [one for one in said if one.memory == memory]
            for first, last, written in places:
                inside = [one for one in here if one.first <= first and last <= one.last and one.written >= written]
                assert inside, f"{kernel} accesses {memory} {first}..{last}, and says {here}"
        for one in said:
            places = [(first, last) for first, last, written in met.get(one.memory, ()) if written or not one.written]
            for end in () if (kernel.family, one.memory) in ANY_ROW else (one.first, one.last):
                assert any(first <= end <= last for first, last in places), f"{kernel} never meets {end} of {one}"


def test_nothing_outside_an_operand_is_assembled(assembled):
    """Every operand moved off its memory's ends, and off its own by one element."""
    _, found = assembled
    for kernel, (row, values, table, memories) in found.items():
        check_accesses(row, values, table, memories)
        said = accesses(row, values, table)
        assert said, f"{kernel} says that it accesses nothing"
        for one in said:
            size = memories[one.memory].size
            moves = [size, -one.last - 1] if one.operand else []
            if one.memory == "arena":
                tensor = row.places[one.operand].tensor
                start = tensor.offset - tensor.shift
                slack = FAMILIES[kernel.family].slack.get(one.operand, Slack(0, "any"))
                moves += [start - one.first - 1, start + tensor.size + slack.elements - one.last]
            for by in moves:
                moved = {**values, one.operand: values[one.operand] + by}
                with pytest.raises(InternalError, match=f"must (read|write) `{one.operand}` inside"):
                    check_accesses(row, moved, table, memories)


def test_every_number_of_an_instruction_is_given():
    fields = Fields("count", "in")
    assert fields.pack(address=1, count=2, **{"in": 3})[:4] == [1, 2, 3, 0]
    with pytest.raises(KeyError, match="missing \\['in'\\]"):
        fields.pack(address=1, count=2)
    with pytest.raises(KeyError, match="unknown \\['out'\\]"):
        fields.pack(address=1, count=2, out=3, **{"in": 3})
