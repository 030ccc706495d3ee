"""The kinds of PEFT adapters: what each computes of its tensors, as a method of lieref's with its factors.

W is (out, in / groups, *kernel), V its rows flattened, n = in / groups k. The forward pass of PEFT 0.21.2 counts, not
what its merging makes of the weight where the two differ.

========= ================================================ =================================================
kind      PEFT's forward pass                              here
========= ================================================ =================================================
LORA      V + s B A, s = alpha / r or / sqrt(r)            ``lora``, ``rslora``: the same numbers
LORA      m (V + s B A) / ||V + s B A|| (DoRA)             ``dora``: the same numbers
LOHA      V + s (A1 B1) * (A2 B2), or of two Tucker forms  ``loha``, ``loha-tucker``: the same numbers
LOKR      V + s w1 (x) w2, w2 whole, low or a Tucker form  ``lokr``, ``lokr-tucker``: the same numbers
IA3       l y, bias included, or V diag(l)                 ``ia3``: xi = l - 1
OFT       V R^T, R = (I - Q)(I + Q)^-1                     ``oft-cayley``: -2 Q, exact in binary
OFT       V R^T, R = I + 2 Q + 2 Q^2 + ... (default)       ``oft-cayley-neumann``: 2 Q, exact in binary
BOFT      s V R^T, R of m stages (I - S)(I + S)^-1         ``boft`` where s is 1: -2 S; else a whole tensor
HRA       V H(u1) H(u2) ...                                ``hra``: pairs (u, w) with u2 = u1 + w
HIRA      V * (1 + B A)                                    ``hira``: the same numbers
ADALORA   V + s B diag(e) A, s = alpha / (r0 + 1e-5)       ``lora-svd``: the same numbers
DELORA    V + B diag(c / (|b| |a|)) A diag(|v|)            a LoRA: lengths multiplied in
VERA      V + diag(b) B diag(d) A                          ``vera`` has other B and A: a LoRA, multiplied in
RANDLORA  V + s sum B_j diag(l_j) A diag(g_j)              ``randlora`` has other B and A: a whole tensor
FOURIERFT V + s Re(IDFT(C)), in float32                    ``fourierft`` has other places: a whole tensor
WAVEFT    V + s IDWT(C), of Haar's wavelet, or V + s C     ``waveft`` has other places: a whole tensor
SHIRA     V + single entries                               ``shira`` has other places: a whole tensor
C3A       V + circulant blocks / in, in float32            ``c3a``: the same numbers
MISS      V + D at every r-th column, or V + V M + M (bat) ``miss``: D turned; bat a whole tensor
GRALORA   V + s B_jn A_nj in blocks                        ``gralora``: the same numbers in another order
LN_TUNING scale and shift of a normalisation               ``norm``: the difference to the base's
========= ================================================ =================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lieref._types import Array
from lieref.adapter.exchange.factors import Factors, Place
from lieref.adapter.exchange.peft_blocks import read_c3a, read_gralora, read_miss
from lieref.adapter.exchange.peft_low_rank import (
    read_adalora,
    read_delora,
    read_hira,
    read_loha,
    read_lokr,
    read_lora,
)
from lieref.adapter.exchange.peft_options import Options
from lieref.adapter.exchange.peft_random import (
    read_fourierft,
    read_randlora,
    read_shira,
    read_vera,
    read_waveft,
)
from lieref.adapter.exchange.peft_rotation import read_boft, read_hra, read_oft
from lieref.adapter.exchange.peft_tensors import vector
from lieref.errors import UnsupportedError


@dataclass(frozen=True)
class Kind:
    """One kind of adapter.

    Attributes
    ----------
    names : tuple of str
        Endings of the keys of a module's tensors.
    read : callable or None
        From a module's tensors by ending, its options and its place to the factors; None where they are the module's
        own tensors as they are to be, by their names there.
    refused : mapping
        Endings of keys whose tensors have no form here, and what they are.
    zero_padding : bool
        Whether PEFT runs a convolution of its own, with zeros around its input whatever the module pads with.
    dilates : bool
        Whether that convolution has the dilation of the module's.
    square : bool
        Whether it takes the first entry of kernel, stride and padding for all axes.
    shared : tuple of str
        Tensors of the whole adapter, which every module gets beside its own.
    integers : tuple of str
        Names of tensors that may hold integers.
    """

    names: tuple[str, ...]
    read: Callable[[Mapping[str, Array], Options, Place], Factors] | None
    refused: Mapping[str, str] = field(default_factory=dict)
    zero_padding: bool = True
    dilates: bool = True
    square: bool = False
    shared: tuple[str, ...] = ()
    integers: tuple[str, ...] = ()


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
    assert row.read is not None  # what is a module's own tensors is no module with factors
    return row.read(tensors, options, place)


def _ia3(tensors: Mapping[str, Array], options: Options, place: Place) -> Factors:
    groups, shape = place.layer.groups, place.layer.shape
    size = shape[1] * groups if options.feedforward else shape[0]
    factor = vector(tensors["ia3_l"], size)
    xi = factor.astype(np.float64) - 1.0
    # 1 + xi gives back l only as well as numbers around 1 are spaced.
    lost = int(np.count_nonzero(np.asarray(xi, factor.dtype) + np.asarray(1, factor.dtype) != factor))
    notes = (f"{lost} factors below 1/2 are kept to the spacing of numbers at 1",) if lost else ()
    if options.feedforward:
        return Factors({"name": "ia3", "action": "scaling(in)"}, {"xi": xi}, adds=False, notes=notes)
    wide = factor.astype(np.float64)
    return Factors({"name": "ia3", "action": "scaling"}, {"xi": xi}, adds=False, bias_factor=wide, notes=notes)


def _of_embedding(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "of an embedding")


KINDS: dict[str, Kind] = {
    "LORA": Kind(
        ("lora_A.weight", "lora_B.weight", "lora_B.bias", "lora_magnitude_vector", "lora_magnitude_vector.weight"),
        read_lora, _of_embedding("lora_embedding_A", "lora_embedding_B"), dilates=False,
    ),
    "LOHA": Kind(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"), read_loha),
    "LOKR": Kind(
        ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"), read_lokr,
    ),
    "IA3": Kind(("ia3_l",), _ia3, zero_padding=False),
    "OFT": Kind(("oft_R.weight",), read_oft, _of_embedding("oft_embedding_R.weight"), zero_padding=False),
    "BOFT": Kind(("boft_R", "boft_s"), read_boft, dilates=False, square=True),
    "HRA": Kind(("hra_u",), read_hra, dilates=False, square=True),
    "HIRA": Kind(("hira_A", "hira_B"), read_hira, _of_embedding("hira_embedding_A", "hira_embedding_B")),
    "ADALORA": Kind(("lora_A", "lora_B", "lora_E"), read_adalora),
    "DELORA": Kind(("delora_A", "delora_B", "delora_lambda", "delora_w_norm"), read_delora),
    "VERA": Kind(("vera_lambda_b", "vera_lambda_d"), read_vera, shared=("vera_A", "vera_B")),
    "RANDLORA": Kind(
        ("randlora_lambda", "randlora_gamma", "randlora_A", "randlora_B"), read_randlora,
        shared=("randlora_A", "randlora_B"),
    ),
    "FOURIERFT": Kind(("fourierft_spectrum",), read_fourierft),
    "WAVEFT": Kind(("waveft_spectrum",), read_waveft),
    "SHIRA": Kind(("shira_weight", "shira_indices"), read_shira, integers=("shira_indices",)),
    "C3A": Kind(("c3a_kernel",), read_c3a),
    "MISS": Kind(("miss_block",), read_miss),
    "GRALORA": Kind(
        ("gralora_A", "gralora_B", "gralora_A_general.weight", "gralora_B_general.weight"), read_gralora,
    ),
    "LN_TUNING": Kind(
        ("ln_tuning_layers.weight", "ln_tuning_layers.bias"), None,
        {f"ln_tuning_layers.{name}": "a statistic of a BatchNormalization, which its copy re-estimates in training"
         for name in ("running_mean", "running_var", "num_batches_tracked")},
    ),
}  # fmt: skip
"""By ``peft_type``."""
