"""PEFT's kinds that turn or reflect the filters."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lieref._check import check_int
from lieref._types import Array, FloatArray
from lieref.adapter.exchange.factors import Factors, Place, dense
from lieref.adapter.exchange.peft_options import Options, number
from lieref.adapter.exchange.peft_tensors import matrix, vector
from lieref.errors import ShapeError, UnsupportedError
from lieref.param.registry import get_method


def read_oft(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return OFT by the Cayley map, or by what PEFT truncates it to."""
    if any(k > 1 for k in place.kernel):
        raise UnsupportedError(
            "import: OFT of a convolution must be 1x1; with a larger kernel PEFT turns overlapping patches and adds "
            "them up, which is no convolution with a turned weight (its merging does another thing)"
        )
    upper, config = tensors["oft_R.weight"], options.config
    groups, n = place.layer.groups, place.layer.shape[1]
    b = _block(upper.shape[-1] if upper.ndim == 2 else -1)
    if (
        upper.ndim != 2
        or b < 2
        or n % b
        or upper.shape[0] not in ({1} if config.get("block_share") else {n * groups // b})
    ):
        raise ShapeError(f"import: the blocks of OFT must lie in the {n} inputs of a group; got {upper.shape}")
    wide = upper.astype(np.float64)
    if config.get("coft"):
        eps = number(config, "eps", 6e-5) / math.sqrt(len(wide))
        lengths = np.sqrt(2 * np.sum(wide * wide, axis=1, keepdims=True))
        wide = np.where(lengths <= eps, wide, eps * wide / np.where(lengths > 0, lengths, 1.0))
    if config.get("block_share"):
        wide = np.repeat(wide, n * groups // b, axis=0)
    notes = ("its blocks were one, and are as many now",) if config.get("block_share") else ()
    method = {"block_size": b, **({"share_groups": False} if groups > 1 else {})}
    if not config.get("use_cayley_neumann", True):
        return Factors({"name": "oft-cayley", **method}, {"blocks": -2.0 * wide}, adds=False, notes=notes)
    terms = check_int("import", "num_cayley_neumann_terms", config.get("num_cayley_neumann_terms", 5), low=2, high=21)
    # The terms of (I + Q)(I + Q + ...), the last of which PEFT adds once. Of three terms it adds a fourth.
    map_ = "taylor1" if terms == 2 else f"neumann{max(terms - 1, 3)}"
    return Factors(
        {"name": "oft-cayley-neumann", "map": map_, **method}, {"blocks": 2.0 * wide}, adds=False, notes=notes
    )


def read_boft(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return BOFT, as a whole where its outputs are scaled too."""
    if place.layer.groups > 1:
        raise UnsupportedError("import: BOFT of a grouped convolution has no meaning in PEFT")
    blocks, scale = tensors["boft_R"], vector(tensors["boft_s"], place.layer.shape[0]).astype(np.float64)
    n = math.prod(place.layer.shape[1:])
    fits = blocks.ndim == 4 and blocks.shape[1] * blocks.shape[2] == n and blocks.shape[2] == blocks.shape[3]
    if not fits or not len(blocks):
        raise ShapeError(f"import: the blocks of BOFT must fill {n} inputs; got {blocks.shape}")
    stages, count, b, _ = blocks.shape
    rows, columns = np.triu_indices(b, 1)
    wide = blocks.astype(np.float64)
    upper = (wide - np.swapaxes(wide, -1, -2))[..., rows, columns]
    method = {"name": "boft", "block_size": b, "stages": stages}
    factors = Factors(method, {"blocks": -upper.reshape(stages * count, -1)}, adds=False)
    if (scale == 1).all():
        return factors
    turned = get_method(**method).adapted_weight(dict(factors.params), place.weight)
    change = turned * scale.reshape(-1, *(1,) * len(place.layer.shape[1:])) - place.weight
    return dense(change, "BOFT's factor for each output is trained", adds=False)


def read_hra(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return HRA as pairs of reflections, as a whole where their number is odd."""
    if place.layer.groups > 1:
        raise UnsupportedError("import: HRA of a grouped convolution has no meaning in PEFT")
    u = matrix(tensors["hra_u"], "hra_u").T
    r, n = u.shape
    if n != math.prod(place.layer.shape[1:]):
        raise ShapeError(f"import: the vectors of HRA must have {math.prod(place.layer.shape[1:])} numbers; got {n}")
    notes: tuple[str, ...] = ()
    if options.config.get("apply_GS"):
        # I - 2 U U^T with orthonormal U is the product of the reflections at its columns.
        u, notes = _orthonormal(u.astype(np.float64)), ("its vectors are kept made orthonormal, as apply_GS does",)
    if not (np.sum(u.astype(np.float64) ** 2, axis=1) > 0).all():
        raise UnsupportedError("import: the vectors of HRA must not be zero")
    if r % 2 or r > n // 2 * 2:
        rows = place.weight.reshape(-1, n)
        turned = rows
        for v in u.astype(np.float64):
            turned = turned - 2 / (v @ v) * np.outer(turned @ v, v)
        return dense((turned - rows).reshape(place.layer.shape), f"{r} reflections are no rotation", adds=False)
    even, odd = u[0::2], u[1::2].astype(np.float64)
    return Factors({"name": "hra", "r": r}, {"u": even, "w": odd - even}, adds=False, notes=notes)


def _block(numbers: int) -> int:
    """Return b with b (b - 1) / 2 numbers above the diagonal, 0 where there is none."""
    b = (1 + math.isqrt(1 + 8 * numbers)) // 2 if numbers > 0 else 0
    return b if b * (b - 1) // 2 == numbers else 0


def _orthonormal(rows: FloatArray) -> FloatArray:
    """Return rows made orthonormal in their order."""
    done: list[FloatArray] = []
    for row in rows:
        left = row
        for other in done:
            left = left - (other @ left) * other
        length = math.sqrt(float(left @ left))
        if length == 0:
            raise UnsupportedError("import: the vectors of HRA must be independent where they are made orthonormal")
        done.append(left / length)
    return np.stack(done)
