"""A small language over LLVM's instruction builder, so that a kernel reads as the loops it is.

A kernel is a Python function that is run once with symbolic values: `Int`, `Real` (a number or a vector) and `Pointer`
overload the operators and append instructions to the function being built. Python loops unroll, `with f.loop(n) as i`
emits a loop. Variables live on the stack and are promoted to registers by LLVM (`mem2reg`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

I8, I32, I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
F32, F64 = ir.FloatType(), ir.DoubleType()
POINTER = ir.PointerType()
REALS = {"float32": F32, "float64": F64}
ITEM_BYTES = {F32: 4, F64: 8, I64: 8, I8: 1, I32: 4}


class Value:
    """A typed value inside the function `f`."""

    __slots__ = ("f", "ir")

    def __init__(self, f: Function, value: Any) -> None:
        self.f = f
        self.ir = value


class Bool(Value):
    """A truth value."""

    __slots__ = ()

    def __and__(self, other: Bool) -> Bool:
        return Bool(self.f, self.f.b.and_(self.ir, other.ir))

    def __or__(self, other: Bool) -> Bool:
        return Bool(self.f, self.f.b.or_(self.ir, other.ir))


class Int(Value):
    """A 64-bit signed integer."""

    __slots__ = ()

    def __add__(self, other: Int | int) -> Int:
        return Int(self.f, self.f.b.add(self.ir, self.f.integer(other).ir))

    def __sub__(self, other: Int | int) -> Int:
        return Int(self.f, self.f.b.sub(self.ir, self.f.integer(other).ir))

    def __mul__(self, other: Int | int) -> Int:
        return Int(self.f, self.f.b.mul(self.ir, self.f.integer(other).ir))

    def __floordiv__(self, other: Int | int) -> Int:
        """Quotient of non-negative numbers, as 32-bit integers: the fast division."""
        divisor = self.f.b.trunc(self.f.integer(other).ir, I32)
        return Int(self.f, self.f.b.zext(self.f.b.udiv(self.f.b.trunc(self.ir, I32), divisor), I64))

    def has(self, flag: int) -> Bool:
        """Return whether the bit `flag` is set."""
        masked = self.f.b.and_(self.ir, self.f.integer(flag).ir)
        return Bool(self.f, self.f.b.icmp_signed("!=", masked, self.f.integer(0).ir))

    def _compare(self, relation: str, other: Int | int) -> Bool:
        return Bool(self.f, self.f.b.icmp_signed(relation, self.ir, self.f.integer(other).ir))

    def __lt__(self, other: Int | int) -> Bool:
        return self._compare("<", other)

    def equals(self, other: Int | int) -> Bool:
        """Return whether both are the same number."""
        return self._compare("==", other)


class Real(Value):
    """A floating-point number or a vector of them."""

    __slots__ = ()

    def __add__(self, other: Real | float) -> Real:
        return Real(self.f, self.f.b.fadd(self.ir, self.f.like(self, other)))

    def __sub__(self, other: Real | float) -> Real:
        return Real(self.f, self.f.b.fsub(self.ir, self.f.like(self, other)))

    def __mul__(self, other: Real | float) -> Real:
        return Real(self.f, self.f.b.fmul(self.ir, self.f.like(self, other)))

    def __truediv__(self, other: Real | float) -> Real:
        return Real(self.f, self.f.b.fdiv(self.ir, self.f.like(self, other)))

    def __neg__(self) -> Real:
        return Real(self.f, self.f.b.fneg(self.ir))

    def above(self, other: Real | float) -> Bool:
        """Return where self > other (false for NaN)."""
        return Bool(self.f, self.f.b.fcmp_ordered(">", self.ir, self.f.like(self, other)))

    def below(self, other: Real | float) -> Bool:
        """Return where self < other (false for NaN)."""
        return Bool(self.f, self.f.b.fcmp_ordered("<", self.ir, self.f.like(self, other)))

    def at_least(self, other: Real | float) -> Bool:
        """Return where self >= other (false for NaN)."""
        return Bool(self.f, self.f.b.fcmp_ordered(">=", self.ir, self.f.like(self, other)))

    def at_most(self, other: Real | float) -> Bool:
        """Return where self <= other (false for NaN)."""
        return Bool(self.f, self.f.b.fcmp_ordered("<=", self.ir, self.f.like(self, other)))

    def equals(self, other: Real | float) -> Bool:
        """Return where both are one number (false for NaN)."""
        return Bool(self.f, self.f.b.fcmp_ordered("==", self.ir, self.f.like(self, other)))

    def differs(self, other: Real | float) -> Bool:
        """Return where both are not one number (true for NaN, of itself too)."""
        return Bool(self.f, self.f.b.fcmp_unordered("!=", self.ir, self.f.like(self, other)))

    def size(self) -> Real:
        """Return |self|."""
        return Real(self.f, self.f.call_intrinsic("llvm.fabs", [self.ir]))

    def sqrt(self) -> Real:
        """Return the square root, NaN below zero."""
        return Real(self.f, self.f.call_intrinsic("llvm.sqrt", [self.ir]))

    def signed(self, other: Real) -> Real:
        """Return |self| with the sign of another, that of a zero too."""
        return Real(self.f, self.f.call_intrinsic("llvm.copysign", [self.ir, other.ir]))

    def muladd(self, factor: Real | float, addend: Real | float) -> Real:
        """Return self * factor + addend, fused where the CPU can (`llvm.fmuladd`; `llvm.fma` would call libm else)."""
        arguments = [self.ir, self.f.like(self, factor), self.f.like(self, addend)]
        return Real(self.f, self.f.call_intrinsic("llvm.fmuladd", arguments))

    def max(self, other: Real | float) -> Real:
        """Return the larger of both, entry by entry; a NaN of this one stays."""
        return Real(self.f, self.f.b.select(self.below(other).ir, self.f.like(self, other), self.ir))

    def min(self, other: Real | float) -> Real:
        """Return the smaller of both, entry by entry; a NaN of this one stays."""
        return Real(self.f, self.f.b.select(self.above(other).ir, self.f.like(self, other), self.ir))

    def or_nan(self, other: Real) -> Real:
        """Return this one, and NaN where the other is NaN."""
        return Real(self.f, self.f.b.select(self.f.b.fcmp_unordered("uno", other.ir, other.ir), other.ir, self.ir))


class Pointer(Value):
    """An address of elements of one type."""

    __slots__ = ("element",)

    def __init__(self, f: Function, value: Any, element: Any) -> None:
        super().__init__(f, value)
        self.element = element

    def __add__(self, offset: Int | int) -> Pointer:
        moved = self.f.b.gep(self.ir, [self.f.integer(offset).ir], source_etype=self.element)
        return Pointer(self.f, moved, self.element)

    def int_at(self, index: Int | int, fixed: bool = False) -> Int:
        """Load one 64-bit integer; a fixed one changes at no time that the kernel runs, so no store makes it reload."""
        loaded = self.f.b.load((self + index).ir, typ=I64)
        if fixed:
            loaded.set_metadata("invariant.load", self.f.module.add_metadata([]))
        return Int(self.f, loaded)

    def add_shared(self, index: Int | int, value: int) -> Int:
        """Add to an integer that other threads add to; return what it was. Reads and writes stay on their side."""
        return Int(self.f, self.f.b.atomic_rmw("add", (self + index).ir, ir.Constant(I64, value), "acq_rel"))

    def shared_at(self, index: Int | int) -> Int:
        """Load an integer that other threads add to; what follows sees what they had written before."""
        return Int(self.f, self.f.b.load_atomic((self + index).ir, "acquire", 8, typ=I64))

    def real_at(self, index: Int | int) -> Real:
        """Load one floating-point number."""
        return Real(self.f, self.f.b.load((self + index).ir, typ=self.element))

    def vector_at(self, index: Int | int, lanes: int, real: Bool | None = None) -> Real:
        """Load `lanes` neighbours as a vector; the address need only be aligned for one element.

        Of a mask `real` those lanes alone are read (`llvm.masked.load`), and the others are zero.
        """
        vector, place = ir.VectorType(self.element, lanes), (self + index).ir
        if real is None:
            return Real(self.f, self.f.b.load(place, align=ITEM_BYTES[self.element], typ=vector))
        zero = ir.Constant(vector, [0.0] * lanes)
        return Real(self.f, self._masked("load", vector, [place, self._alignment(), real.ir, zero], vector))

    def store(self, index: Int | int, value: Value, real: Bool | None = None) -> None:
        """Store a number or a vector from `index` on; of a mask `real` those lanes alone (`llvm.masked.store`)."""
        place = (self + index).ir
        if real is None:
            self.f.b.store(value.ir, place, align=ITEM_BYTES[self.element])
        else:
            self._masked("store", ir.VoidType(), [value.ir, place, self._alignment(), real.ir], value.ir.type)

    def _alignment(self) -> Any:
        return ir.Constant(I32, ITEM_BYTES[self.element])

    def _masked(self, does: str, result: Any, arguments: list[Any], vector: Any) -> Any:
        name = f"llvm.masked.{does}.v{vector.count}{'f32' if self.element == F32 else 'f64'}.p0"
        function = self.f.module.globals.get(name)
        if function is None:
            function = ir.Function(self.f.module, ir.FunctionType(result, [a.type for a in arguments]), name)
        return self.f.b.call(function, arguments)


class Variable:
    """A mutable value of the function."""

    __slots__ = ("kind", "slot", "type")

    def __init__(self, initial: Value) -> None:
        self.kind = initial
        self.type = initial.ir.type
        self.slot = initial.f.alloca(self.type)
        self.set(initial)

    def get(self) -> Any:
        """Return the present value."""
        f = self.kind.f
        loaded = f.b.load(self.slot, typ=self.type)
        return Pointer(f, loaded, self.kind.element) if isinstance(self.kind, Pointer) else type(self.kind)(f, loaded)

    def set(self, value: Value) -> None:
        """Replace the value."""
        self.kind.f.b.store(value.ir, self.slot)


class Function:
    """A function of two pointers under construction; those of a kernel are its row and its context.

    Parameters
    ----------
    module : llvmlite.ir.Module
    name : str
        Exported symbol.
    dtype : str
        "float32" or "float64": the type of `Real` and of array elements.
    """

    def __init__(self, module: ir.Module, name: str, dtype: str) -> None:
        self.module = module
        self.real = REALS[dtype]
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), [POINTER] * 2), name)
        self.entry = self.function.append_basic_block("entry")
        body = self.function.append_basic_block("body")
        self.b = ir.IRBuilder(body)
        self.body = body

    def finish(self) -> None:
        """Close the function."""
        self.b.ret_void()
        ir.IRBuilder(self.entry).branch(self.body)

    def parameter(self, index: int, element: Any = I64) -> Pointer:
        """Return a parameter as a pointer."""
        return Pointer(self, self.function.args[index], element)

    def alloca(self, kind: Any) -> Any:
        """Reserve a stack slot in the entry block, where it can be promoted to a register."""
        return ir.IRBuilder(self.entry).alloca(kind)

    def scratch(self, count: int) -> Pointer:
        """Reserve so many numbers on the stack."""
        place = self.alloca(ir.ArrayType(self.real, count))
        place.align, place.type = 64, POINTER  # stores check what a typed one points to
        return Pointer(self, place, self.real)

    def integer(self, value: Int | int) -> Int:
        """Return `value` as an `Int`."""
        return value if isinstance(value, Int) else Int(self, ir.Constant(I64, value))

    def like(self, pattern: Real, value: Real | float) -> Any:
        """Return `value` as an instruction operand of the type of `pattern`."""
        if isinstance(value, Real):
            return value.ir
        kind = pattern.ir.type
        return ir.Constant(kind, [float(value)] * kind.count if isinstance(kind, ir.VectorType) else float(value))

    def vector(self, value: float, lanes: int) -> Real:
        """Return a constant vector."""
        return Real(self, ir.Constant(ir.VectorType(self.real, lanes), [float(value)] * lanes))

    def splat(self, value: Real, lanes: int) -> Real:
        """Return a vector with the same number in every lane."""
        kind = ir.VectorType(value.ir.type, lanes)
        first = self.b.insert_element(ir.Constant(kind, ir.Undefined), value.ir, ir.Constant(I32, 0))
        return Real(self, self.b.shuffle_vector(first, ir.Constant(kind, ir.Undefined), self.lanes([0] * lanes)))

    def first_lanes(self, count: Int, lanes: int) -> Bool:
        """Return the mask of a vector's first `count` lanes."""
        kind = ir.VectorType(I32, lanes)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.b.insert_element(undefined, self.b.trunc(count.ir, I32), ir.Constant(I32, 0))
        counts = self.b.shuffle_vector(first, undefined, self.lanes([0] * lanes))
        return Bool(self, self.b.icmp_signed(">", counts, ir.Constant(kind, list(range(lanes)))))

    def lanes(self, indices: Sequence[int]) -> Any:
        """Return the constant mask of a shuffle."""
        return ir.Constant(ir.VectorType(I32, len(indices)), list(indices))

    def shuffle(self, a: Real, b: Real, indices: Sequence[int]) -> Real:
        """Return the entries `indices` of a followed by b."""
        return Real(self, self.b.shuffle_vector(a.ir, b.ir, self.lanes(indices)))

    def sqrt(self, a: Real) -> Real:
        """Return the square root, correctly rounded."""
        return Real(self, self.call_intrinsic("llvm.sqrt", [a.ir]))

    def sum(self, a: Real) -> Real:
        """Return the sum of the lanes, in a fixed tree: halves added until one is left."""
        return self._tree(a, lambda low, high: low + high)

    def largest(self, a: Real) -> Real:
        """Return the largest of the lanes, NaN where one is."""
        return self._tree(a, lambda low, high: low.max(high).or_nan(high))

    def _tree(self, a: Real, join: Callable[[Real, Real], Real]) -> Real:
        count = a.ir.type.count
        while count > 1:
            half = count // 2
            a = join(self.shuffle(a, a, range(half)), self.shuffle(a, a, range(half, count)))
            count = half
        return Real(self, self.b.extract_element(a.ir, ir.Constant(I32, 0)))

    def lanes_before(self, first: Int, end: Int, lanes: int) -> Bool:
        """Return which of the lanes, numbered from `first` on, come before `end`."""
        kind = ir.VectorType(I32, lanes)
        left = self.b.insert_element(
            ir.Constant(kind, ir.Undefined), self.b.trunc((end - first).ir, I32), ir.Constant(I32, 0)
        )
        left = self.b.shuffle_vector(left, ir.Constant(kind, ir.Undefined), self.lanes([0] * lanes))
        return Bool(self, self.b.icmp_signed("<", self.lanes(range(lanes)), left))

    def where(self, condition: Bool, a: Any, b: Any) -> Any:
        """Return a where the condition holds, else b, which may be a plain number beside a `Real`."""
        otherwise = self.like(a, b) if isinstance(a, Real) else b.ir
        return type(a)(self, self.b.select(condition.ir, a.ir, otherwise))

    def call_intrinsic(self, name: str, arguments: list[Any]) -> Any:
        """Call an overloaded LLVM intrinsic whose operands and result share one type."""
        kind = arguments[0].type
        scalar = kind.element if isinstance(kind, ir.VectorType) else kind
        suffix = f"v{kind.count}" if isinstance(kind, ir.VectorType) else ""
        full = f"{name}.{suffix}{'f32' if scalar == F32 else 'f64'}"
        function = self.module.globals.get(full)
        if function is None:
            function = ir.Function(self.module, ir.FunctionType(kind, [kind] * len(arguments)), full)
        return self.b.call(function, arguments)

    @contextmanager
    def loop(self, count: Int | int) -> Iterator[Int]:
        """Emit ``for i in range(count)``."""
        counter = Variable(self.integer(0))
        stop = self.integer(count)
        head, body, done = (self.function.append_basic_block(name) for name in ("head", "loop", "done"))
        self.b.branch(head)
        self.b.position_at_end(head)
        index = counter.get()
        self.b.cbranch((index < stop).ir, body, done)
        self.b.position_at_end(body)
        yield index
        counter.set(index + 1)
        self.b.branch(head)
        self.b.position_at_end(done)

    @contextmanager
    def forever(self) -> Iterator[Callable[[Bool], None]]:
        """Emit ``while True:``; yields what emits ``if condition: break``."""
        head, done = (self.function.append_basic_block(name) for name in ("forever", "done"))
        self.b.branch(head)
        self.b.position_at_end(head)

        def leave_if(condition: Bool) -> None:
            on = self.function.append_basic_block("on")
            self.b.cbranch(condition.ir, done, on)
            self.b.position_at_end(on)

        yield leave_if
        self.b.branch(head)
        self.b.position_at_end(done)

    def in_tiles(self, count: Int, size: int, some: Callable[[Int, int], None]) -> None:
        """Emit some(first, how many) for `count` things, `size` at a time and the rest one by one."""
        with self.loop(count // size) as part:
            some(part * size, size)
        done = count // size * size
        with self.loop(count - done) as rest:
            some(done + rest, 1)

    @contextmanager
    def when(self, condition: Bool) -> Iterator[None]:
        """Emit ``if condition:``."""
        with self.b.if_then(condition.ir):
            yield
