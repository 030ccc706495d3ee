"""LyCORIS's rotations of the out channels: diag-OFT and BOFT, in both directions."""

from __future__ import annotations

import numpy as np

from lieref._types import Array, FloatArray, Params
from lieref.adapter.exchange.factors import Factors
from lieref.adapter.exchange.lycoris_form import READ, Adapted, Target, number, whole, written
from lieref.errors import DomainError, FormatError
from lieref.group.maps import Cayley
from lieref.group.mode_action import MatrixOnMode
from lieref.param.blocks import BlockDiagonal, Butterfly
from lieref.param.combination import Combination

# LyCORIS keeps blocks B (b, b), Q = B - B^T and R = (I + Q)(I - Q)^-1. Its diag-OFT takes W'_m = sum_n R[n, m] W_n over
# the out channels of a block, so the rotation is R^T = (I + Q)^-1 (I - Q), for Q is skew. The Cayley map here is
# (I - X/2)^-1 (I + X/2), so X = -2 Q; and SO(b) projects Y to (Y - Y^T)/2, so that Y = -4 B gives X = -2 (B - B^T):
# the same numbers times a power of two, which keeps every bit.
# One stage of BOFT is W' = R W, without the transpose, so Y = 4 B; its blocks have the indices (b/2 pairs, 2 halves)
# where memory has (2 halves, b/2).
# What mixes out channels is another mixing where those are scaled, so that no factor has rows to scale.
# Both may scale the outcome, W'_o = rescale_o (R W)_o, and shorten Q to a `constraint` of alpha O in the norm of all
# blocks together.
_SCALE = 4.0


def read_oft(tensors: Params, target: Target) -> Factors:
    """Return OFT on the out mode: blocks of a skew matrix under the Cayley map."""
    blocks = tensors["oft_blocks"]
    _check_blocks(target, blocks, 3)
    blocks, said = _within_constraint(tensors, target, blocks)
    b, one = blocks.shape[-1], len(target.weight) // target.groups
    if b == 1:
        return _unturned(tensors, target, said)
    if one % b == 0 and "rescale" not in tensors:
        config = {"name": "block-diagonal+so+cayley+out", "block_size": b}
        return Factors(config, {"blocks": -_SCALE * blocks}, notes=tuple(said))
    r = np.swapaxes(_cayley(blocks), -1, -2)
    weight = _turned(r, target.weight.astype(np.float64), np.arange(len(target.weight)).reshape(-1, b))
    why = "OFT with a scale for each filter" if "rescale" in tensors else f"blocks of {b} across conv groups"
    return _rescaled(tensors, target, weight, said, why)


def write_oft(adapted: Adapted, target: Target) -> tuple[Params, list[str]] | None:
    """Return the tensors of a method that is diag-OFT, and what is to be said; None where it is not."""
    method = adapted.method
    if not isinstance(method, Combination) or method.group != "so" or not isinstance(method.map, Cayley):
        return None
    form, action = method.parameterisation, method.action
    if not isinstance(form, BlockDiagonal) or isinstance(form, Butterfly) or action != MatrixOnMode("out"):
        return None
    n = len(target.weight) // target.groups
    blocks = form.full_blocks(adapted.factors["blocks"], n)
    b = blocks.shape[-1]
    if len(blocks) == 1 and b == len(target.weight) and b % 2 == 0:
        order = _pairs(b)  # one block of all channels: LyCORIS takes that for BOFT alone
        pairs = np.zeros_like(blocks)
        pairs[:, order[:, None], order[None, :]] = blocks / _SCALE
        return {"oft_blocks": pairs[None], "alpha": written(0.0, blocks)}, []
    if b * b > len(target.weight) or len(blocks) * b != len(target.weight):
        return None  # LyCORIS takes the smaller of two factors for the size of a block
    return {"oft_blocks": blocks / -_SCALE, "alpha": written(0.0, blocks)}, []


def read_boft(tensors: Params, target: Target) -> Factors:
    """Return BOFT: the rotation where it has one stage, else the whole difference that its stages make."""
    blocks = tensors["oft_blocks"]
    _check_blocks(target, blocks, 4)
    blocks, said = _within_constraint(tensors, target, blocks)
    stages, _, b, _ = blocks.shape
    n = len(target.weight)
    if b % 2 or n % (b * 2 ** (stages - 1)):
        raise FormatError(
            f"{READ}: `{target.name}.oft_blocks` must have even blocks that fill {n} out channels in each stage; "
            f"got {blocks.shape}"
        )
    if stages == 1 and target.groups == 1 and "rescale" not in tensors:
        order = _pairs(b)
        config = {"name": "block-diagonal+so+cayley+out", "block_size": b}
        plain = np.ascontiguousarray(blocks[0][:, order[:, None], order[None, :]])
        return Factors(config, {"blocks": _SCALE * plain}, notes=(*said, "BOFT of one stage is OFT"))
    weight, r = target.weight, _cayley(blocks)
    for stage in range(stages):
        # (., halves, indices of a half) to (., indices, halves), in blocks of b.
        at = np.arange(n).reshape(-1, 2, 2**stage * b // 2).swapaxes(1, 2).reshape(-1, b)
        weight = _turned(r[stage], weight, at)
    return _rescaled(tensors, target, weight, said, f"BOFT of {stages} stages on the out channels")


def _pairs(b: int) -> Array:
    """Return where the indices of a block of BOFT lie, in the order of memory."""
    return np.arange(b).reshape(b // 2, 2).T.reshape(-1)


def _check_blocks(target: Target, blocks: FloatArray, axes: int) -> None:
    if blocks.ndim != axes or blocks.shape[-1] != blocks.shape[-2] or 0 in blocks.shape or (
        blocks.shape[-3] * blocks.shape[-1] != len(target.weight)
    ):  # fmt: skip
        raise FormatError(
            f"{READ}: `{target.name}.oft_blocks` must be square blocks that fill {len(target.weight)} out channels; "
            f"got {blocks.shape}"
        )


def _within_constraint(tensors: Params, target: Target, blocks: FloatArray) -> tuple[FloatArray, list[str]]:
    """Return the blocks as the constraint leaves them, and what is to be said."""
    constraint = number(target, "alpha", tensors["alpha"]) if "alpha" in tensors else 0.0
    if constraint <= 0:
        return blocks, []
    wide = blocks.astype(np.float64)
    norm, limit = float(np.linalg.norm(wide - np.swapaxes(wide, -1, -2))) + 1e-8, constraint * len(target.weight)
    if norm <= limit:
        return blocks, [f"the constraint {constraint:g} does not bind, and is not kept"]
    return (wide * (limit / norm)).astype(blocks.dtype), [f"blocks as the constraint {constraint:g} shortens them"]


def _cayley(blocks: FloatArray) -> FloatArray:
    """Return (I + Q)(I - Q)^-1 with Q = B - B^T, in float64."""
    q = blocks.astype(np.float64)
    q = q - np.swapaxes(q, -1, -2)
    if not np.isfinite(q).all():
        raise DomainError(f"{READ}: `oft_blocks` must have finite differences; got an overflow")
    eye = np.eye(q.shape[-1])
    # (I + Q) and (I - Q)^-1 are functions of one Q and commute.
    r: FloatArray = np.linalg.solve(eye - q, eye + q)
    return r


def _turned(r: FloatArray, weight: FloatArray, at: Array) -> FloatArray:
    """Return the weight with the out channels `at` (blocks, b) of each block multiplied by its matrix."""
    turned = weight.copy()
    turned[at] = np.einsum("kij,kj...->ki...", r, weight[at])
    return turned


def _rescaled(tensors: Params, target: Target, weight: FloatArray, said: list[str], why: str) -> Factors:
    if "rescale" in tensors:
        rescale = tensors["rescale"]
        if rescale.size != len(weight) or rescale.shape[0] != len(weight):
            raise FormatError(
                f"{READ}: `{target.name}.rescale` must have one number for each of {len(weight)} out channels; "
                f"got {rescale.shape}"
            )
        weight = weight * rescale.astype(np.float64).reshape(-1, *(1,) * (weight.ndim - 1))
    return whole(target, weight, why, said, linear=False)


def _unturned(tensors: Params, target: Target, said: list[str]) -> Factors:
    """Return blocks of one channel, which turn nothing."""
    if "rescale" in tensors:
        return _rescaled(tensors, target, target.weight.astype(np.float64), said, "a scale for each filter alone")
    return whole(target, target.weight, "blocks of one channel turn nothing", said)
