"""PEFT's kinds whose matrix is made of blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lieref._types import Array, Params
from lieref.adapter.exchange.factors import DENSE, Factors, Place, dense
from lieref.adapter.exchange.peft_options import Options
from lieref.adapter.exchange.peft_tensors import linear, matrix
from lieref.errors import ShapeError
from lieref.param.registry import get_method


def read_c3a(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return C3A; PEFT sums in float32, whatever its tensors are."""
    out, n = linear(place)
    kernel = tensors["c3a_kernel"]
    b = kernel.shape[-1] if kernel.ndim == 3 else 0
    if b == 0 or kernel.shape != (out // b, n // b, b) or out % b or n % b:
        raise ShapeError(f"import: the kernel of C3A must be ({out} / b, {n} / b, b); got {kernel.shape}")
    return Factors({"name": "c3a", "block_size": b}, {"kernel": kernel})


def read_gralora(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return GraLoRA, as a whole where it has a LoRA beside it."""
    out, n = linear(place)
    a, b = tensors["gralora_A"], tensors["gralora_B"]
    k, r = (a.shape[0], a.shape[2]) if a.ndim == 3 else (0, 0)
    if k * r == 0 or n % k or out % k or r % k or a.shape != (k, n // k, r) or b.shape != (k, r, out // k):
        raise ShapeError(
            f"import: GraLoRA must have A (k, {n} / k, r) and B (k, r, {out} / k), k a divisor of r; got {a.shape} and "
            f"{b.shape}"
        )
    general = tensors.get("gralora_A_general.weight")
    beside = 0 if general is None else len(matrix(general, "gralora_A_general"))
    alpha = float(r + beside if options.alpha is None else options.alpha)
    s = alpha / (r + beside)
    method: dict[str, Any] = {"name": "gralora", "r": r, "lora_alpha": s * r if beside else alpha, "parts": k}
    params: Params = {
        "gralora_a": a.reshape(k, n // k, k, r // k).transpose(0, 2, 3, 1),
        "gralora_b": b.reshape(k, k, r // k, out // k).transpose(0, 1, 3, 2),
    }
    if general is None:
        return Factors(method, params)
    wide: Params = {name: factor.astype(np.float64) for name, factor in params.items()}
    low = matrix(tensors["gralora_B_general.weight"], "gralora_B_general").astype(np.float64)
    if general.shape != (beside, n) or low.shape != (out, beside):
        raise ShapeError(f"import: the LoRA of GraLoRA must have A (r, {n}) and B ({out}, r); got {general.shape}")
    change = get_method(**method).weight_delta(wide, place.weight) + s * low @ general
    return dense(change, "GraLoRA has a LoRA beside it (hybrid_r), which nothing here has")


def read_miss(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return MiSS: of one block of columns, of a part of one that repeats ("mini"), or of the weight's blocks ("bat").

    PEFT's layer adds W M + M to its weight for "bat", block by block.
    """
    (out, n), block = linear(place), tensors["miss_block"]
    start = options.config.get("init_weights", True)
    if start == "bat":
        r = block.shape[-1] if block.ndim == 3 else 0
        if r == 0 or out % r or n % r or block.shape != (out // r, r, r):
            raise ShapeError(f"import: the blocks of MiSS must be ({out} / r, r, r); got {block.shape}")
        parts = place.weight.reshape(out // r, r, n // r, r).transpose(2, 0, 1, 3)
        wide = block.astype(np.float64)
        change = (parts @ wide + wide).transpose(1, 2, 0, 3).reshape(out, n)
        note = f"MiSS of the weight's own blocks is kept as a whole, with {out * n:,} numbers"
        return Factors({"name": DENSE}, {"xi": change}, notes=(note,))
    r, notes = len(matrix(block, "miss_block")), tuple[str, ...]()
    if start == "mini" and block.shape[1] and out % block.shape[1] == 0:
        block, notes = np.tile(block, (1, out // block.shape[1])), ("its block was a part of one, and is whole now",)
    if block.shape != (r, out) or not 1 <= r <= n:
        raise ShapeError(f"import: the block of MiSS must be (r, {out}), r at most {n}; got {block.shape}")
    method: dict[str, Any] = {"name": "miss", "r": r}
    return Factors(method, {"miss_block": block.T}, rows=("miss_block",), notes=notes)
