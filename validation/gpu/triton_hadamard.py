"""W exp(s B A) and its backward as Triton kernels: the product is never stored.

The weight is taken as the matrix that the factors span, (out, in k k) in the layout `unfold`; other layouts are a view
or a permutation of it. Needs a GPU and Triton.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _tile(b, a, rows, columns, row_mask, column_mask, m, n, rank: tl.constexpr, scale):  # type: ignore[no-untyped-def]
    """Return one tile of s B A, summed over the rank in float32."""
    total = tl.zeros((rows.shape[0], columns.shape[0]), dtype=tl.float32)
    for k in range(rank):
        left = tl.load(b + rows * rank + k, mask=row_mask, other=0.0)
        right = tl.load(a + k * n + columns, mask=column_mask, other=0.0)
        total += left[:, None] * right[None, :]
    return total * scale


@triton.jit
def _forward(w, b, a, out, m, n, scale, rank: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    rows = tl.program_id(0) * block + tl.arange(0, block)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    row_mask, column_mask = rows < m, columns < n
    mask = row_mask[:, None] & column_mask[None, :]
    at = rows[:, None] * n + columns[None, :]
    delta = _tile(b, a, rows, columns, row_mask, column_mask, m, n, rank, scale)
    tl.store(out + at, tl.load(w + at, mask=mask, other=0.0) * tl.exp(delta), mask=mask)


@triton.jit
def _backward(w, b, a, g, delta_bar, m, n, scale, rank: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """Write s (g w exp(delta)): what both factor gradients are products of."""
    rows = tl.program_id(0) * block + tl.arange(0, block)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    row_mask, column_mask = rows < m, columns < n
    mask = row_mask[:, None] & column_mask[None, :]
    at = rows[:, None] * n + columns[None, :]
    delta = _tile(b, a, rows, columns, row_mask, column_mask, m, n, rank, scale)
    weight = tl.load(w + at, mask=mask, other=0.0) * tl.exp(delta)
    tl.store(delta_bar + at, tl.load(g + at, mask=mask, other=0.0) * weight * scale, mask=mask)


class HadamardExp(torch.autograd.Function):
    """weight (m, n), lora_b (m, r), lora_a (r, n), scaling -> weight exp(scaling lora_b lora_a)."""

    @staticmethod
    def forward(ctx, weight: Tensor, lora_b: Tensor, lora_a: Tensor, scaling: float) -> Tensor:  # type: ignore[no-untyped-def,override]
        weight, lora_b, lora_a = (t.contiguous() for t in (weight, lora_b, lora_a))
        m, n = weight.shape
        out = torch.empty_like(weight)
        _forward[_grid(m, n)](weight, lora_b, lora_a, out, m, n, scaling, rank=lora_b.shape[1], block=32)
        ctx.save_for_backward(weight, lora_b, lora_a)
        ctx.scaling = scaling
        return out

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[None, Tensor, Tensor, None]:  # type: ignore[no-untyped-def,override]
        weight, lora_b, lora_a = ctx.saved_tensors
        m, n = weight.shape
        bar = torch.empty_like(weight)
        arguments = (weight, lora_b, lora_a, g.contiguous(), bar, m, n, ctx.scaling)
        _backward[_grid(m, n)](*arguments, rank=lora_b.shape[1], block=32)
        return None, bar @ lora_a.T, lora_b.T @ bar, None


def _grid(m: int, n: int) -> tuple[int, int]:
    return triton.cdiv(m, 32), triton.cdiv(n, 32)


def hadamard_exp(weight: Tensor, lora_b: Tensor, lora_a: Tensor, scaling: float) -> Tensor:
    """Return weight exp(scaling lora_b lora_a); differentiable in the factors."""
    return HadamardExp.apply(weight, lora_b, lora_a, scaling)  # type: ignore[no-any-return,no-untyped-call]
