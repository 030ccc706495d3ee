"""Gemm: a matrix product with a broadcast addition."""

from __future__ import annotations

from lieref._check import check_same_dtype
from lieref._types import FloatArray
from lieref.errors import ShapeError
from lieref.kernel.broadcast import sum_to_shape
from lieref.kernel.matmul import matmul, matmul_vjp
from lieref.op.axes import broadcast_shape


def gemm(
    a: FloatArray,
    b: FloatArray,
    c: FloatArray | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803, ONNX's name
    transB: int = 0,  # noqa: N803
    threads: int = 1,
) -> FloatArray:
    """Return alpha A B + beta c, with A = a or its transpose, B = b or its transpose, c broadcast to the product."""
    check_same_dtype("Gemm", a=a, b=b, c=c)
    y = matmul(a.T if transA else a, b.T if transB else b, threads=threads)
    if alpha != 1:
        y *= alpha
    if c is None:
        return y
    if broadcast_shape("Gemm", y.shape, c.shape) != y.shape:
        raise ShapeError(f"Gemm: `C` must broadcast to {y.shape}; got {c.shape}")
    y += c if beta == 1 else c * beta
    return y


# dy = alpha (dA B + A dB) + beta dc:   A_bar = alpha y_bar B^T,   B_bar = alpha A^T y_bar,   c_bar = beta y_bar summed
# over what broadcasting repeated; a transposed argument has the transposed cotangent.
def gemm_vjp(
    a: FloatArray,
    b: FloatArray,
    c: FloatArray | None = None,
    *,
    y: FloatArray,
    y_bar: FloatArray,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803
    transB: int = 0,  # noqa: N803
    threads: int = 1,
) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """Return (a_bar, b_bar, c_bar)."""
    a_bar, b_bar = matmul_vjp(a.T if transA else a, b.T if transB else b, y_bar * alpha, threads=threads)
    c_bar = None if c is None else sum_to_shape(y_bar * beta, c.shape)
    return a_bar.T if transA else a_bar, b_bar.T if transB else b_bar, c_bar
