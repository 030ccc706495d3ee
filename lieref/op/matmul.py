"""MatMul: batched matrix product with NumPy's rules for vectors."""

from __future__ import annotations

from lieref._types import FloatArray
from lieref.errors import ShapeError
from lieref.kernel import matmul as kernel


def matmul(a: FloatArray, b: FloatArray, *, threads: int = 1) -> FloatArray:
    """Return a @ b; leading axes broadcast, a vector stands for a row on the left and for a column on the right."""
    rows, columns = _matrices(a, b)
    y = kernel.matmul(rows, columns, threads=threads)
    return y.reshape(_drop_vector_axes(y.shape, a, b))


# y = A B:   A_bar = y_bar B^T,   B_bar = A^T y_bar, summed over repeats; a vector is a matrix of one row or column.
def matmul_vjp(
    a: FloatArray, b: FloatArray, *, y: FloatArray, y_bar: FloatArray, threads: int = 1
) -> tuple[FloatArray, FloatArray]:
    """Return (a_bar, b_bar)."""
    rows, columns = _matrices(a, b)
    if a.ndim == 1:
        y_bar = y_bar[..., None, :] if b.ndim > 1 else y_bar[..., None]
    if b.ndim == 1:
        y_bar = y_bar[..., None]
    a_bar, b_bar = kernel.matmul_vjp(rows, columns, y_bar, threads=threads)
    return a_bar.reshape(a.shape), b_bar.reshape(b.shape)


def _matrices(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(f"MatMul: inputs must have at least one axis; got shapes {a.shape} and {b.shape}")
    return a[None, :] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b


def _drop_vector_axes(shape: tuple[int, ...], a: FloatArray, b: FloatArray) -> tuple[int, ...]:
    kept = shape[:-2]
    kept += () if a.ndim == 1 else (shape[-2],)
    return kept + (() if b.ndim == 1 else (shape[-1],))
