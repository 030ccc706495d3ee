"""Layers against torch's autograd in float64: values and all gradients to 1e-11 of the largest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lieref._types import Array
from lieref.op.registry import OPERATORS
from tests.op.example import spread

torch: Any = pytest.importorskip("torch")
F = torch.nn.functional

Case = tuple[str, dict[str, Any], Callable[..., Any], tuple[Array | None, ...]]

IMAGE = spread(2, 6, 3, 4)
SIX = [spread(6, seed=i) for i in (1, 2)]

NORMALIZATIONS: dict[str, Case] = {
    "layer-norm": (
        "LayerNormalization",
        {"axis": -2, "epsilon": 1e-3},
        lambda x, s, b: F.layer_norm(x, (3, 4), s, b, 1e-3),
        (IMAGE, spread(3, 4, seed=1), spread(3, 4, seed=2)),
    ),
    "layer-norm-without-bias": (
        "LayerNormalization", {}, lambda x, s: F.layer_norm(x, (4,), s), (IMAGE, spread(4, seed=1))
    ),
    "mean": (
        "LayerNormalization", {"output": 1}, lambda x, s: x.mean(-1, keepdim=True) + 0 * s.sum(),
        (IMAGE, spread(4, seed=1)),
    ),
    "inverse-deviation": (
        "LayerNormalization",
        {"output": 2, "axis": 2},
        lambda x, s: (x.var((2, 3), correction=0, keepdim=True) + 1e-5) ** -0.5 + 0 * s.sum(),
        (IMAGE, spread(4, seed=1)),
    ),
    "rms-norm": (
        "RMSNormalization", {"axis": -2}, lambda x, s: F.rms_norm(x, (3, 4), s, 1e-5), (IMAGE, spread(3, 4, seed=1))
    ),
    "instance-norm": (
        "InstanceNormalization", {}, lambda x, s, b: F.instance_norm(x, weight=s, bias=b), (IMAGE, *SIX)
    ),
    "local-response": (
        "LRN", {"size": 5, "alpha": 0.5, "beta": 0.25, "bias": 2.0},
        lambda x: F.local_response_norm(x, 5, 0.5, 0.25, 2.0), (IMAGE,),
    ),
    "mean-variance": (
        "MeanVarianceNormalization",
        {},
        lambda x: (x - x.mean((0, 2, 3), keepdim=True)) / (x.std((0, 2, 3), correction=0, keepdim=True) + 1e-9),
        (IMAGE,),
    ),
    "group-norm": ("GroupNormalization", {"num_groups": 2}, lambda x, s, b: F.group_norm(x, 2, s, b), (IMAGE, *SIX)),
}  # fmt: skip

TRANSPOSED: dict[str, Case] = {
    "conv-transpose": (
        "ConvTranspose",
        {"strides": (3, 2), "pads": (1, 0, 1, 0), "output_padding": (2, 1), "group": 2, "dilations": (2, 3)},
        lambda x, w, b: F.conv_transpose2d(x, w, b, (3, 2), (1, 0), (2, 1), 2, (2, 3)),
        (IMAGE, spread(6, 2, 3, 2, seed=1), spread(4, seed=2)),
    ),
    "conv-transpose-1d": (
        "ConvTranspose", {"strides": 2}, lambda x, w: F.conv_transpose1d(x, w, stride=2),
        (spread(2, 3, 5), spread(3, 4, 3, seed=1)),
    ),
    "conv-transpose-3d": (
        "ConvTranspose", {}, F.conv_transpose3d, (spread(1, 2, 2, 3, 2), spread(2, 3, 2, 1, 3, seed=1), spread(3)),
    ),
    "depth-to-space": (
        "DepthToSpace", {"blocksize": 3, "mode": "CRD"}, lambda x: F.pixel_shuffle(x, 3), (spread(2, 18, 2, 5),)
    ),
    "space-to-depth": (
        "SpaceToDepth", {"blocksize": 2, "mode": "CRD"}, lambda x: F.pixel_unshuffle(x, 2), (spread(2, 3, 4, 6),)
    ),
}  # fmt: skip

PICTURE = spread(2, 3, 5, 6)
HALF = np.array([1.0, 1.0, 2.0, 1.5])


def sized(mode: str, **attrs: Any) -> Callable[..., Any]:
    return lambda x, *_: F.interpolate(x, (9, 4), mode=mode, **attrs)


SIZES = (None, None, np.array([9, 4]))
RESIZE: dict[str, Case] = {
    "bilinear": ("Resize", {"mode": "linear", "axes": (2, 3)}, sized("bilinear"), (PICTURE, *SIZES)),
    "bilinear-corners": (
        "Resize",
        {"mode": "linear", "axes": (2, 3), "coordinate_transformation_mode": "align_corners"},
        sized("bilinear", align_corners=True),
        (PICTURE, *SIZES),
    ),
    "bicubic": ("Resize", {"mode": "cubic", "axes": (2, 3)}, sized("bicubic"), (PICTURE, *SIZES)),
    "bilinear-antialiased": (
        "Resize",
        {"mode": "linear", "axes": (2, 3), "antialias": 1, "exclude_outside": 1},
        sized("bilinear", antialias=True),
        (PICTURE, *SIZES),
    ),
    "bicubic-antialiased": (
        "Resize",
        {"mode": "cubic", "axes": (2, 3), "antialias": 1, "exclude_outside": 1, "cubic_coeff_a": -0.5},
        sized("bicubic", antialias=True),
        (PICTURE, *SIZES),
    ),
    "nearest": (
        "Resize",
        {"axes": (2, 3), "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        sized("nearest"),
        (PICTURE, *SIZES),
    ),
    "by-factors": (
        "Resize",
        {"mode": "linear"},
        lambda x, *_: F.interpolate(x, scale_factor=(2.0, 1.5), mode="bilinear"),
        (PICTURE, None, HALF),
    ),
    "trilinear": (
        "Resize",
        {"mode": "linear", "axes": (2, 3, 4)},
        lambda x, *_: F.interpolate(x, (5, 2, 1), mode="trilinear"),
        (spread(2, 1, 3, 4, 2), None, None, np.array([5, 2, 1])),
    ),
}


def dot_product(q: Any, k: Any, v: Any, mask: Any = None, **options: Any) -> Any:
    return F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True, **options)


def joined(q: Any, k: Any, v: Any) -> Any:
    heads = (x.unflatten(2, (count, -1)).transpose(1, 2) for x, count in ((q, 4), (k, 2), (v, 2)))
    return dot_product(*heads).transpose(1, 2).flatten(2)


def capped(q: Any, k: Any, v: Any) -> Any:
    k, v = (x.repeat_interleave(2, 1) for x in (k, v))
    scores = 0.5 * torch.tanh(0.3 * q @ k.mT / 0.5)
    return torch.softmax(scores, -1) @ v


HEADS = (spread(2, 4, 3, 5) / 9, spread(2, 2, 6, 5, seed=2) / 9, spread(2, 2, 6, 3, seed=3))
ALIVE = np.array([[True, False, True, True, False, True], [True] * 6, [False] * 5 + [True]])
ADDED = np.where(ALIVE, spread(3, 6, seed=4), -np.inf)
ATTENTION: dict[str, Case] = {
    "attention": ("Attention", {"scale": 0.3}, lambda q, k, v: dot_product(q, k, v, scale=0.3), HEADS),
    "causal": ("Attention", {"is_causal": 1}, lambda q, k, v: dot_product(q, k, v, is_causal=True), HEADS),
    "mask": ("Attention", {}, dot_product, (*HEADS, ALIVE)),
    "added-mask": ("Attention", {}, dot_product, (*HEADS, ADDED)),
    "softcap": ("Attention", {"softcap": 0.5, "scale": 0.3}, capped, HEADS),
    "joined": (
        "Attention", {"q_num_heads": 4, "kv_num_heads": 2}, joined,
        (spread(2, 3, 20) / 9, spread(2, 6, 10, seed=1) / 9, spread(2, 6, 6, seed=2)),
    ),
    **{
        equation: (
            "Einsum", {"equation": equation}, lambda *x, equation=equation: torch.einsum(equation, *x),
            tuple(spread(*shape, seed=i) for i, shape in enumerate(shapes)),
        )
        for equation, shapes in {
            "bij,bjk->bik": [(2, 3, 4), (2, 4, 5)],
            "ij,kj,jl->lik": [(2, 3), (4, 3), (3, 5)],
            "...i,...ij->...j": [(2, 1, 3), (4, 3, 5)],
            "...ii->...i": [(2, 3, 3)],
            "abc,b": [(2, 3, 4), (3,)],
            "ii,i->": [(3, 3), (3,)],
            "ij,jk->k": [(2, 3), (3, 4)],
        }.items()
    },
}  # fmt: skip

CASES = {**NORMALIZATIONS, **TRANSPOSED, **RESIZE, **ATTENTION}


@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient(name: str) -> None:
    op, attrs, function, inputs = CASES[name]
    y = OPERATORS[op].forward(*inputs, **attrs)
    y_bar = np.cos(np.arange(y.size)).reshape(y.shape)
    bars = OPERATORS[op].vjp(*inputs, y=y, y_bar=y_bar, **attrs)
    leaves = [None if a is None else torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in inputs]
    if op == "Resize":
        leaves[1:] = [None] * len(leaves[1:])
    expected = function(*leaves)
    expected.backward(torch.tensor(y_bar))
    close(y, expected.detach().numpy())
    compared = 0
    for bar, leaf in zip(bars, leaves, strict=True):
        if bar is not None:
            close(bar, leaf.grad.numpy())
            compared += 1
    assert compared


def close(mine: Array, theirs: Array) -> None:
    assert mine.shape == theirs.shape
    assert np.abs(mine - theirs).max() <= 1e-11 * max(1, np.abs(theirs).max())


# A number that is shared by the samples of a batch has no gradient in an empty one, and nothing else is computed.
@pytest.mark.parametrize(
    "op", ["LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization"]
)
def test_normalisation_of_an_empty_batch(op: str) -> None:
    x, one = np.zeros((0, 4, 3)), np.ones(4 if op[0] in "IG" else 3)
    attrs = {"num_groups": 2} if op[0] == "G" else {}
    rest = (one,) if op[0] == "R" else (one, one)
    y = OPERATORS[op].forward(x, *rest, **attrs)
    x_bar, *others = OPERATORS[op].vjp(x, *rest, y=y, y_bar=y, **attrs)
    assert y.shape == x_bar.shape == x.shape
    assert all(bar.shape == one.shape and not bar.any() for bar in others)
