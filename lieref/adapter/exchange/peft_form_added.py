"""Additive methods beside LoRA and its products as kinds of PEFT's, see `peft_form`.

PEFT has these for linear layers alone, but for AdaLoRA. Random matrices and places go into the file; FourierFT, WaveFT
and RandLoRA have no room there for others than PEFT's own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lieref.adapter.exchange.factors import Place
from lieref.adapter.exchange.peft_module import Form
from lieref.model.site import Site
from lieref.param._base import Parameterisation
from lieref.param.block_low_rank import BlockLowRank
from lieref.param.circulant import Circulant
from lieref.param.seeded import COLUMNS, ROWS
from lieref.param.shared_blocks import SharedBlocks
from lieref.param.shared_random import SharedRandom
from lieref.param.singular_values import SingularValues
from lieref.param.sparse import Sparse


def added_form(recipe: Parameterisation, site: Site, place: Place) -> Form | None:
    """Return the factors of an additive method as the kind of PEFT's that computes the same, None where there is none.

    Parameters
    ----------
    recipe : Parameterisation
        Of the method.
    site : Site
        Of a layer's weight.
    place : Place
    """
    params, shape = site.params, place.layer.shape
    if isinstance(recipe, SingularValues) and len(shape) in (2, 4) and site.groups == 1:
        # PEFT divides by r + 1e-5, which `peft_write` makes up for: nothing but s is left.
        e = params["lora_e"] if recipe.scaling == 1 else recipe.scaling * params["lora_e"]
        tensors = {"lora_A": params["lora_a"], "lora_B": params["lora_b"], "lora_E": e.reshape(-1, 1)}
        return Form("ADALORA", tensors, {}, params["lora_b"].shape[1], rows=("lora_B",))
    if len(shape) != 2:
        return None
    out, n = shape
    if isinstance(recipe, Circulant):
        return Form("C3A", {"c3a_kernel": params["kernel"]}, {"block_size": recipe.block_size})
    if isinstance(recipe, SharedBlocks):
        r = params["miss_block"].shape[1]
        block = np.ascontiguousarray(params["miss_block"].T)
        return Form("MISS", {"miss_block": block}, {"r": r, "mini_r": 1, "init_weights": True})
    if isinstance(recipe, BlockLowRank):
        k, r = recipe.parts, recipe.block_rank * recipe.parts
        a, b = params["gralora_a"], params["gralora_b"]
        tensors = {
            "gralora_A": np.ascontiguousarray(a.transpose(0, 3, 1, 2)).reshape(k, n // k, r),
            "gralora_B": np.ascontiguousarray(b.transpose(0, 1, 3, 2)).reshape(k, r, out // k),
        }
        return Form("GRALORA", tensors, {"r": r, "alpha": recipe.scaling * r, "gralora_k": k, "hybrid_r": 0})
    if isinstance(recipe, Sparse):
        count = params["values"].size
        if count != recipe.r * (out + n):
            return None  # PEFT refuses an r for which there are not so many entries
        places = np.stack(np.divmod(recipe.places(out * n, count), n)).astype(np.int32)
        return Form("SHIRA", {"shira_weight": params["values"], "shira_indices": places}, {"r": recipe.r})
    if isinstance(recipe, SharedRandom):
        return _vera(recipe, site, out, n)
    return None


def _vera(recipe: SharedRandom, site: Site, out: int, n: int) -> Form:
    """Return VeRA, its matrices of variance 1 in the file and what they are scaled by in d."""
    b, d = site.params["vera_lambda_b"], site.params["vera_lambda_d"]
    scale = math.sqrt(2 / n) * math.sqrt(2 / recipe.r)
    tensors: dict[str, Any] = {"vera_lambda_b": b, "vera_lambda_d": (scale * d.astype(np.float64)).astype(d.dtype)}
    matrices = {
        "vera_A": recipe.normalised(COLUMNS, recipe.r, n, b),
        "vera_B": np.ascontiguousarray(recipe.normalised(ROWS, recipe.r, out, b).T),
    }
    settings = {"r": recipe.r, "projection_prng_key": recipe.frozen_seed, "save_projection": True,
                "d_initial": recipe.d_initial}  # fmt: skip
    return Form("VERA", tensors, settings, rows=("vera_lambda_b",), shared=matrices)
