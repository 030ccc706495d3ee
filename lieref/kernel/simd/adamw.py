"""One step of AdamW over a flat array, in one sweep through memory.

m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2
p = p (1 - lr decay) - (lr / c1) m / (sqrt(v) / sqrt(c2) + eps),   c_i = 1 - b_i^t
"""

from __future__ import annotations

from llvmlite import ir

from lieref.kernel.simd.emit import F32, F64, Function, Int, Pointer, Real

SETTINGS = ("beta1", "rest1", "beta2", "rest2", "keep", "step", "root", "epsilon")
"""beta1, 1 - beta1, beta2, 1 - beta2, 1 - lr decay, lr / c1, 1 / sqrt(c2), eps."""


def emit_adamw(module: ir.Module, name: str, dtype: str, width: int) -> None:
    """Emit ``void name(int64 *arguments, float64 *settings)``: addresses of p, g, m, v and the count, then SETTINGS."""
    f = Function(module, name, dtype)
    arguments = f.parameter(0)
    real = f.real
    p, g, m, v = (Pointer(f, f.b.inttoptr(arguments.int_at(i).ir, arguments.ir.type), real) for i in range(4))
    count = arguments.int_at(4)
    values = [f.parameter(1, F64).real_at(i) for i in range(len(SETTINGS))]
    numbers = [Real(f, f.b.fptrunc(s.ir, real)) if real == F32 else s for s in values]

    def update(at: Int, lanes: int) -> None:
        settings = [f.splat(s, lanes) for s in numbers]
        beta1, rest1, beta2, rest2, keep, step, root, epsilon = settings
        gradient = g.vector_at(at, lanes)
        first = m.vector_at(at, lanes) * beta1 + gradient * rest1
        second = v.vector_at(at, lanes) * beta2 + gradient * gradient * rest2
        size = Real(f, f.call_intrinsic("llvm.sqrt", [second.ir])) * root + epsilon
        p.store(at, p.vector_at(at, lanes) * keep - step * first / size)
        m.store(at, first)
        v.store(at, second)

    f.in_tiles(count, width, update)
    f.finish()
