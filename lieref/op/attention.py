"""Attention (Vaswani et al. 2017, eq. 1), with grouped heads (Ainslie et al. 2023), as ONNX has it from opset 23 on."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from lieref._types import Array, FloatArray
from lieref.errors import DomainError, DTypeError, ShapeError, UnsupportedError
from lieref.kernel.broadcast import sum_to_shape
from lieref.kernel.matmul import matmul
from lieref.op.spec import Extents, TensorSpec, check_dtypes, differ, need_float, specs, text

NAME = "Attention"


class Scores(NamedTuple):
    """What lies between the inputs and the output, by heads of K.

    Attributes
    ----------
    q, k, v : (N, heads of K, rows, size) arrays
        The rows of `q` are those of all heads of Q that share a head of K.
    capped : (N, heads of Q, queries, keys) array
        Products of queries and keys behind the cap.
    weights : array of the same shape
        What multiplies V: along the keys they sum to one, or are zero where no key takes part.
    """

    q: FloatArray
    k: FloatArray
    v: FloatArray
    capped: FloatArray
    weights: FloatArray


def attention(
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    mask: Array | None = None,
    past_key: FloatArray | None = None,
    past_value: FloatArray | None = None,
    *,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
) -> FloatArray:
    """Return softmax(cap(scale Q K^T) + mask) V for each head.

    Parameters
    ----------
    q, k, v
        (N, heads, positions, size), or (N, positions, heads size) with `q_num_heads` and `kv_num_heads`. The heads of
        q are a multiple of those of k and v; as many in a row share one. The output has the form of q.
    mask
        Broadcasts to (N, heads of q, queries, keys): True where a key takes part, or a float that is added, minus
        infinity where it does not. The output of a query that no key takes part in is zero.
    past_key, past_value
        Must be absent: caches are not supported.
    is_causal
        1: key j takes part in query i only where j <= i.
    qk_matmul_output_mode
        About an output that is not computed.
    scale
        1 / sqrt(size) by default.
    softcap
        c > 0 stands for cap(s) = c tanh(s / c), 0 for none.
    """
    attention_shape(
        *specs(q, k, v, mask, past_key, past_value), kv_num_heads=kv_num_heads, q_num_heads=q_num_heads, scale=scale
    )
    found = _scores(q, k, v, mask, is_causal, kv_num_heads, q_num_heads, scale, softcap)
    heads = matmul(found.weights.reshape(*found.q.shape[:3], found.k.shape[2]), found.v)
    return _joined(heads.reshape(*found.weights.shape[:3], found.v.shape[3]), q.ndim)


# With S = scale Q K^T, C = c tanh(S / c), A = C + mask, P = softmax(A), Y = P V, and dA_i = P_i (da_i - sum P da):
#     V_bar = P^T Y_bar,   P_bar = Y_bar V^T,   A_bar = P (P_bar - sum over keys of P P_bar) = mask_bar,
#     S_bar = A_bar (1 - (C / c)^2),   Q_bar = scale S_bar K,   K_bar = scale S_bar^T Q.
# Heads of Q that share one of K are rows of one product, so that their sum is part of it.
def attention_vjp(
    q: FloatArray,
    k: FloatArray,
    v: FloatArray,
    mask: Array | None = None,
    past_key: FloatArray | None = None,
    past_value: FloatArray | None = None,
    *,
    y: FloatArray,
    y_bar: FloatArray,
    is_causal: int = 0,
    kv_num_heads: int | None = None,
    q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0,
    scale: float | None = None,
    softcap: float = 0.0,
) -> tuple[FloatArray | None, ...]:
    """Return the cotangents of q, k, v and, where it is added, of the mask."""
    found = _scores(q, k, v, mask, is_causal, kv_num_heads, q_num_heads, scale, softcap)
    rows, keys = found.q.shape[:3], found.k.shape[2]
    heads_bar = _split(y_bar, q_num_heads).reshape(*rows, found.v.shape[3])
    v_bar = matmul(found.weights.reshape(*rows, keys).swapaxes(2, 3), heads_bar)
    weights_bar = matmul(heads_bar, found.v.swapaxes(2, 3)).reshape(found.weights.shape)
    mean = (found.weights * weights_bar).sum(axis=-1, keepdims=True)
    added_bar = found.weights * (weights_bar - mean)
    mask_bar = None if mask is None or mask.dtype.kind != "f" else sum_to_shape(added_bar, mask.shape)
    factor = _root(q, scale, q_num_heads)
    scores_bar = added_bar * (1 - np.square(found.capped / softcap)) if softcap else added_bar
    flat = scores_bar.reshape(*rows, keys)
    q_bar = factor * matmul(flat, found.k).reshape(*found.weights.shape[:3], found.q.shape[3])
    k_bar = factor * matmul(flat.swapaxes(2, 3), found.q)
    return _joined(q_bar, q.ndim), _joined(k_bar, k.ndim), _joined(v_bar, v.ndim), mask_bar, None, None


def attention_shape(
    q: TensorSpec, k: TensorSpec, v: TensorSpec, mask: TensorSpec | None = None, past_key: TensorSpec | None = None,
    past_value: TensorSpec | None = None,
    *, is_causal: int = 0, kv_num_heads: int | None = None, q_num_heads: int | None = None,
    qk_matmul_output_mode: int = 0, scale: float | None = None, softcap: float = 0.0,
) -> TensorSpec:  # fmt: skip
    """Return the shape of q with the size of v."""
    for name, past in (("past_key", past_key), ("past_value", past_value)):
        if past is not None:
            raise UnsupportedError(f"{NAME}: `{name}` must be absent; got shape {text(past.shape)}")
    need_float(NAME, q)
    check_dtypes(NAME, q, k, v)
    n, heads, queries, size = _four("Q", q, q_num_heads, "q_num_heads")
    n_k, heads_k, keys, size_k = _four("K", k, kv_num_heads, "kv_num_heads")
    n_v, heads_v, keys_v, size_v = _four("V", v, kv_num_heads, "kv_num_heads")
    if differ(n, n_k) or differ(n, n_v) or differ(size, size_k) or differ(heads_k, heads_v) or differ(keys, keys_v):
        shapes = ", ".join(text(each.shape) for each in (q, k, v))
        raise ShapeError(f"{NAME}: `Q`, `K` and `V` must fit; got {shapes}")
    if heads is not None and heads_k is not None and (not heads_k or heads % heads_k):
        raise ShapeError(f"{NAME}: the {heads} heads of `Q` must be a multiple of those of `K`; got {heads_k}")
    if scale is not None and scale < 0:
        raise DomainError(f"{NAME}: `scale` must be at least 0; got {scale}")
    if size == 0:
        raise ShapeError(f"{NAME}: the heads of `Q` must not be empty; got shape {text(q.shape)}")
    if mask is not None:
        _check_mask(q, mask, (n, heads, queries, keys))
    if q.ndim == 4:
        return TensorSpec((n, heads, queries, size_v), q.dtype)
    return TensorSpec((n, queries, None if heads is None or size_v is None else heads * size_v), q.dtype)


def _four(name: str, spec: TensorSpec, heads: int | None, attribute: str) -> Extents:
    """Return (N, heads, positions, size)."""
    if spec.ndim == 4:
        return spec.shape
    if spec.ndim != 3:
        raise ShapeError(f"{NAME}: `{name}` must have three or four axes; got shape {text(spec.shape)}")
    if heads is None or heads < 1:
        raise ShapeError(f"{NAME}: `{attribute}` must be given for a `{name}` of three axes; got {heads}")
    n, positions, width = spec.shape
    if width is not None and width % heads:
        raise ShapeError(f"{NAME}: `{attribute}` must divide the {width} features of `{name}`; got {heads}")
    return n, heads, positions, None if width is None else width // heads


def _check_mask(q: TensorSpec, mask: TensorSpec, whole: Extents) -> None:
    if mask.dtype != q.dtype and mask.dtype.kind != "b":
        raise DTypeError(f"{NAME}: `attn_mask` must be bool or {q.dtype}; got {mask.dtype}")
    fits = mask.ndim <= 4 and all(
        m == 1 or not differ(m, extent) for m, extent in zip(mask.shape[::-1], whole[::-1], strict=False)
    )
    if not fits:
        raise ShapeError(f"{NAME}: `attn_mask` must broadcast to {text(whole)}; got {text(mask.shape)}")


def _scores(
    q: FloatArray, k: FloatArray, v: FloatArray, mask: Array | None, is_causal: int, kv_num_heads: int | None,
    q_num_heads: int | None, scale: float | None, softcap: float,
) -> Scores:  # fmt: skip
    root = _root(q, scale, q_num_heads)
    queries, keys, values = _split(q, q_num_heads) * root, _split(k, kv_num_heads) * root, _split(v, kv_num_heads)
    n, heads, count, size = queries.shape
    shared = queries.reshape(n, keys.shape[1], heads // keys.shape[1] * count, size)
    capped = matmul(shared, keys.swapaxes(2, 3)).reshape(n, heads, count, keys.shape[2])
    if softcap:
        capped = np.tanh(capped / softcap) * q.dtype.type(softcap)
    added = capped
    if mask is not None:
        added = np.where(mask, capped, -np.inf).astype(q.dtype) if mask.dtype.kind == "b" else capped + mask
    if is_causal:
        added = np.where(np.tri(count, keys.shape[2], dtype=bool), added, q.dtype.type(-np.inf))
    return Scores(shared, keys, values, capped, _softmax(added))


def _softmax(scores: FloatArray) -> FloatArray:
    """Return the softmax along the last axis; zeros where all scores are minus infinity."""
    largest = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    raised = np.exp(scores - np.where(np.isneginf(largest), 0, largest))
    total = raised.sum(axis=-1, keepdims=True)
    weights: FloatArray = raised / np.where(total == 0, 1, total)
    return weights.astype(scores.dtype, copy=False)


def _root(q: FloatArray, scale: float | None, heads: int | None) -> np.floating[Any]:
    """Return the square root of the scale, which queries and keys are multiplied with each: a product may overflow."""
    size = q.shape[3] if q.ndim == 4 else q.shape[2] // (heads or 1)
    return q.dtype.type(math.sqrt(1 / math.sqrt(size) if scale is None else scale))


def _split(x: FloatArray, heads: int | None) -> FloatArray:
    """Return (N, heads, positions, size)."""
    if x.ndim == 4:
        return x
    n, positions, width = x.shape
    count = heads or 1
    return x.reshape(n, positions, count, width // count).transpose(0, 2, 1, 3)


def _joined(x: FloatArray, ndim: int) -> FloatArray:
    """Return (N, heads, positions, size) as the input had it."""
    if ndim == 4:
        return x
    n, heads, positions, size = x.shape
    return x.transpose(0, 2, 1, 3).reshape(n, positions, heads * size)
