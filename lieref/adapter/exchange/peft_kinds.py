"""The kinds of PEFT adapters: what each computes of its tensors, as a method of lieref's with its factors.

W is (out, in / groups, *kernel), V its rows flattened, n = in / groups k. The forward pass of PEFT 0.21.2 counts, not
what its merging makes of the weight where the two differ.

====== ============================================ ==========================================================
kind   PEFT's forward pass                          here
====== ============================================ ==========================================================
LORA   V + s B A, s = alpha / r or / sqrt(r)        ``lora``, ``rslora``: the same numbers
LORA   m (V + s B A) / ||V + s B A|| (DoRA)         ``dora``: the same numbers
LOHA   V + s (A1 B1) * (A2 B2)                      ``loha``, factors shared by groups: the same numbers
LOKR   V + s w1 (x) w2                              ``lokr``, factors shared by groups: the same numbers
IA3    l y, bias included, or V diag(l)             ``ia3``: xi = l - 1
OFT    V R^T, R = (I - Q)(I + Q)^-1                 ``oft-cayley``: -2 Q, exact in binary
OFT    V R^T, R = I + 2 Q + 2 Q^2 + ... (default)   ``oft-cayley-neumann``: 2 Q, exact in binary
BOFT   s V R^T, R of m stages (I - S)(I + S)^-1     ``boft`` where s is 1: -2 S; else a whole tensor
HRA    V H(u1) H(u2) ...                            ``hra``: pairs (u, w) with u2 = u1 + w
HIRA   V * (1 + B A)                                ``hira``: the same numbers
====== ============================================ ==========================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lieref._check import check_int
from lieref._types import Array, FloatArray
from lieref.adapter.exchange.factors import Factors, Place, dense
from lieref.errors import ShapeError, UnsupportedError
from lieref.param.registry import get_method


@dataclass(frozen=True)
class Options:
    """What a configuration says of one module.

    Attributes
    ----------
    r, alpha : number or None
        With the patterns applied.
    config : mapping
        The whole of ``adapter_config.json``.
    feedforward : bool
        Of IA3: whether the inputs are multiplied.
    """

    r: int | None
    alpha: float | None
    config: Mapping[str, Any]
    feedforward: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of adapter.

    Attributes
    ----------
    names : tuple of str
        Endings of the keys of a module's tensors.
    read : callable
        From a module's tensors by ending, its options and its place to the factors.
    later : tuple of str
        Endings that follow later, or belong to what is not read.
    zero_padding : bool
        Whether PEFT runs a convolution of its own, with zeros around its input whatever the module pads with.
    dilates : bool
        Whether that convolution has the dilation of the module's.
    square : bool
        Whether it takes the first entry of kernel, stride and padding for all axes.
    """

    names: tuple[str, ...]
    read: Callable[[Mapping[str, Array], Options, Place], Factors]
    later: tuple[str, ...] = ()
    zero_padding: bool = True
    dilates: bool = True
    square: bool = False


def read_module(kind: str, tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    """Return the factors of one module.

    Raises
    ------
    UnsupportedError
        If PEFT computes something there that no adapted weight does.
    ShapeError
        If the tensors do not fit.
    """
    row = KINDS[kind]
    at = place.layer.node
    if place.kernel:
        if place.padding_mode and row.zero_padding:
            raise UnsupportedError(
                f"import: PEFT's {kind} pads {at} with zeros, its module does not; no adapter of its weight does so"
            )
        if not row.dilates and any(d > 1 and k > 1 for d, k in zip(place.dilations, place.kernel, strict=True)):
            raise UnsupportedError(
                f"import: PEFT's {kind} ignores the dilation of {at}; no adapter of its weight computes what it does"
            )
        if row.square and any(len(set(each)) > 1 for each in (place.kernel, place.strides, place.pads)):
            raise UnsupportedError(
                f"import: PEFT's {kind} takes kernel, stride and padding of {at} for equal on all axes"
            )
    return row.read(tensors, options, place)


def _lora(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    groups = place.layer.groups
    a, b = _pair(tensors["lora_A.weight"], tensors["lora_B.weight"], place)
    r = a.shape[0]
    if options.r is not None and options.r != r:
        raise ShapeError(f"import: `r` must be the rank {r} of the tensors; got {options.r}")
    alpha = float(r) if options.alpha is None else float(options.alpha)
    rslora, dora = bool(options.config.get("use_rslora")), "lora_magnitude_vector" in tensors
    method: dict[str, Any] = {"name": "dora" if dora else "rslora" if rslora else "lora", "r": r, "lora_alpha": alpha}
    if "lora_B.bias" in tensors:
        raise UnsupportedError("import: `lora_bias` must be false; a bias of its own in lora_B follows later")
    if groups > 1:
        if dora:
            raise UnsupportedError("import: DoRA of a grouped convolution has no meaning in PEFT")
        a = _within_groups(a, place)
        scale = math.sqrt(groups) if rslora else groups
        method |= {"r": r // groups, "lora_alpha": alpha / scale, "share_groups": False}
        return Factors(method, {"lora_a": a, "lora_b": b}, rows=("lora_b",))
    a, b, note = _with_room(a, b)
    if not dora:
        return Factors(method, {"lora_a": a, "lora_b": b}, rows=("lora_b",), notes=note)
    method |= {"detach_norm": True, **({"use_rslora": True} if rslora else {})}
    params = {"lora_a": a, "lora_b": b, "magnitude": _vector(tensors["lora_magnitude_vector"], place.layer.shape[0])}
    return Factors(method, params, rows=("lora_b",), lengths=("magnitude",), notes=note)


def _hira(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    if place.layer.groups > 1:
        raise UnsupportedError("import: HiRA of a grouped convolution has no meaning in PEFT")
    a, b = _pair(tensors["hira_A"], tensors["hira_B"], place)
    r = a.shape[0]
    a, b, note = _with_room(a, b)
    return Factors({"name": "hira", "r": r}, {"lora_a": a, "lora_b": b}, adds=False, notes=note)


def _loha(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    a1, b1, a2, b2 = (_matrix(tensors[name], name) for name in names)
    out, n, r = place.layer.shape[0], math.prod(place.layer.shape[1:]), b1.shape[0]
    if not all(one.shape == (out, r) for one in (a1, a2)) or not all(one.shape == (r, n) for one in (b1, b2)):
        raise ShapeError(f"import: the factors of LoHa must be ({out}, r) and (r, {n}); got {a1.shape}, {b1.shape}")
    alpha = float(r if options.alpha is None else options.alpha)
    if r > min(out, n):
        change = alpha / r * (a1.astype(float) @ b1) * (a2.astype(float) @ b2)
        return dense(change.reshape(place.layer.shape), f"its rank {r} is more than the weight has room for")
    method = {"name": "loha", "r": r, "lora_alpha": alpha, **_shared(place)}
    return Factors(method, dict(zip(names, (a1, b1, a2, b2), strict=True)), rows=(names[0],))


def _lokr(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    notes: tuple[str, ...] = ()
    r = options.r
    if r is None:
        raise ShapeError("import: `r` must be in the configuration of LoKr")
    alpha = float(r if options.alpha is None else options.alpha)
    w1 = tensors.get("lokr_w1")
    if w1 is None:
        w1 = _product(tensors, "lokr_w1")
        notes = ("w1 is kept as the product of its two factors",)
    w2 = tensors.get("lokr_w2")
    if w2 is not None and len(place.layer.shape) == 3:
        # torch.kron sets the axes of w1 (a, b) against the last two of w2 (c, d, k), which is not what was meant.
        change = alpha / r * np.kron(w1.astype(float), w2.astype(float))
        return dense(_shaped(change, place), "PEFT's LoKr of a 1-D convolution with a whole w2 mixes its axes")
    factor = int(options.config.get("decompose_factor", -1))
    method = {"name": "lokr", "r": r, "lora_alpha": alpha, "factor": None if factor == -1 else factor, **_shared(place)}
    if w2 is not None:
        return Factors(method, {"w1": w1, "w2": w2}, notes=notes)
    params = {"w1": w1, "w2_a": tensors["lokr_w2_a"], "w2_b": tensors["lokr_w2_b"]}
    return Factors(method, params, notes=notes)


def _ia3(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    groups, shape = place.layer.groups, place.layer.shape
    size = shape[1] * groups if options.feedforward else shape[0]
    factor = _vector(tensors["ia3_l"], size)
    xi = factor.astype(np.float64) - 1.0
    # 1 + xi gives back l only as well as numbers around 1 are spaced.
    lost = int(np.count_nonzero(np.asarray(xi, factor.dtype) + np.asarray(1, factor.dtype) != factor))
    notes = (f"{lost} factors below 1/2 are kept to the spacing of numbers at 1",) if lost else ()
    if options.feedforward:
        return Factors({"name": "ia3", "action": "scaling(in)"}, {"xi": xi}, adds=False, notes=notes)
    wide = factor.astype(np.float64)
    return Factors({"name": "ia3", "action": "scaling"}, {"xi": xi}, adds=False, bias_factor=wide, notes=notes)


def _oft(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
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
        eps = float(config.get("eps", 6e-5)) / math.sqrt(len(wide))
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


def _boft(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    if place.layer.groups > 1:
        raise UnsupportedError("import: BOFT of a grouped convolution has no meaning in PEFT")
    blocks, scale = tensors["boft_R"], _vector(tensors["boft_s"], place.layer.shape[0]).astype(np.float64)
    n = math.prod(place.layer.shape[1:])
    if blocks.ndim != 4 or blocks.shape[1] * blocks.shape[2] != n or blocks.shape[2] != blocks.shape[3]:
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


def _hra(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    if place.layer.groups > 1:
        raise UnsupportedError("import: HRA of a grouped convolution has no meaning in PEFT")
    u = _matrix(tensors["hra_u"], "hra_u").T
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


KINDS: dict[str, Kind] = {
    "LORA": Kind(
        ("lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_magnitude_vector"), _lora,
        ("lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector.weight"), dilates=False,
    ),
    "LOHA": Kind(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), _loha, ("hada_t1", "hada_t2")),
    "LOKR": Kind(
        ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b"), _lokr, ("lokr_t2",)
    ),
    "IA3": Kind(("ia3_l",), _ia3, zero_padding=False),
    "OFT": Kind(("oft_R.weight",), _oft, ("oft_embedding_R.weight",), zero_padding=False),
    "BOFT": Kind(("boft_R", "boft_s"), _boft, dilates=False, square=True),
    "HRA": Kind(("hra_u",), _hra, dilates=False, square=True),
    "HIRA": Kind(("hira_A", "hira_B"), _hira, ("hira_embedding_A", "hira_embedding_B")),
}  # fmt: skip
"""By ``peft_type``."""


def _pair(a: Array, b: Array, place: Place) -> tuple[FloatArray, FloatArray]:
    """Return the factors of a low rank as matrices: A (r, in k), B (out, r / groups)."""
    shape, groups = place.layer.shape, place.layer.groups
    wanted = (shape[1] * groups, *shape[2:])
    ones = (1,) * len(shape[2:])
    fits = a.ndim == len(shape) and b.ndim == a.ndim and tuple(a.shape[1:]) == wanted
    if not fits or b.shape != (shape[0], a.shape[0] // groups, *ones) or a.shape[0] % groups:
        raise ShapeError(
            f"import: a low rank must have A (r, {', '.join(map(str, wanted))}) and B ({shape[0]}, r, ...); "
            f"got {a.shape} and {b.shape}"
        )
    return a.reshape(a.shape[0], -1), b.reshape(b.shape[:2])


def _within_groups(a: FloatArray, place: Place) -> FloatArray:
    """Return the rows of A of each conv group, on the channels of that group alone.

    Raises
    ------
    UnsupportedError
        If a row reads channels of another group, as PEFT's rows do once they are trained: the layer is one convolution
        over all channels then, which no weight of a grouped one is.
    """
    groups, n = place.layer.groups, math.prod(place.layer.shape[1:])
    apart = a.reshape(groups, -1, groups, n)
    outside = apart.copy()
    outside[np.arange(groups), :, np.arange(groups)] = 0
    if outside.any():
        raise UnsupportedError(
            f"import: LoRA of the grouped convolution {place.layer.node} must read the channels of its group alone; "
            "PEFT's reads them all, which no weight of a grouped convolution does"
        )
    return apart[np.arange(groups), :, np.arange(groups)].reshape(-1, n)


def _with_room(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """Return factors with the same product and no more rank than the matrix has rows or columns."""
    (r, n), out = a.shape, len(b)
    if r <= min(out, n):
        return a, b, ()
    product = b.astype(np.float64) @ a
    note = (f"its rank {r} is more than the weight has room for: kept at {min(out, n)}, of the same product",)
    return (product, np.eye(out), note) if out < n else (np.eye(n), product, note)


def _shared(place: Place) -> dict[str, bool]:
    return {"share_groups": True} if place.layer.groups > 1 else {}


def _vector(tensor: Array, size: int) -> FloatArray:
    if tensor.size != size:
        raise ShapeError(f"import: a vector must have {size} numbers; got {tensor.shape}")
    return tensor.reshape(size)


def _matrix(tensor: Array, name: str) -> FloatArray:
    if tensor.ndim != 2:
        raise ShapeError(f"import: {name} must be a matrix; got {tensor.shape}")
    return tensor


def _product(tensors: Mapping[str, Array], name: str) -> FloatArray:
    a, b = _matrix(tensors[f"{name}_a"], name), _matrix(tensors[f"{name}_b"], name)
    if a.shape[1] != b.shape[0]:
        raise ShapeError(f"import: the factors of {name} must have a product; got {a.shape} and {b.shape}")
    product: FloatArray = a.astype(np.float64) @ b
    return product


def _shaped(change: FloatArray, place: Place) -> FloatArray:
    if change.size != math.prod(place.layer.shape):
        raise ShapeError(f"import: a change must have the {place.layer.shape} of its weight; got {change.shape}")
    return change.reshape(place.layer.shape)


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
