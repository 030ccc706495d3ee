"""What PEFT and LyCORIS compute under the name of a method, and where they do otherwise.

The forms stand in the tables of `peft_kinds` and `lycoris`; what the libraries compute wrongly themselves is shown by a
script each in ``validation/exchange``.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lieref.param.docstring import plain, table

LIBRARIES = {"PEFT": "lieref.adapter.exchange.peft_kinds", "LyCORIS": "lieref.adapter.exchange.lycoris"}
"""Modules with a table of forms: kind, what the library computes, and what that is here."""

VERSIONS = {"PEFT": "0.21.2", "LyCORIS": "4.1.3"}
"""Of which all this is said."""


@dataclass(frozen=True)
class Defect:
    """One thing that a library computes wrongly.

    Attributes
    ----------
    library : str
        Key of `LIBRARIES`.
    kinds : tuple of str
        First column of its table; empty for all.
    what : str
        As the script ``validation/exchange/defects_<name>.py`` states it.
    """

    library: str
    kinds: tuple[str, ...]
    what: str


_PEFT, _LYCORIS = "PEFT", "LyCORIS"

DEFECTS: dict[str, Defect] = {
    "add_weighted_rslora": Defect(
        _PEFT, ("LORA",), "add_weighted_adapter of rsLoRA adapters is sqrt(new rank) times too large"
    ),
    "bias_twice": Defect(
        _PEFT, ("LORA",), "with bias='all' and modules_to_save a bias is saved three times, once that of the base"
    ),
    "boft_dilation": Defect(_PEFT, ("BOFT",), "BOFT of a convolution ignores its dilation"),
    "hra_dilation": Defect(_PEFT, ("HRA",), "HRA of a convolution ignores its dilation"),
    "loha_gradient": Defect(
        _PEFT, ("LOHA",), "LoHa's own backward pass of its Tucker form is not the derivative of its forward pass"
    ),
    "lokr_conv1d": Defect(
        _PEFT, ("LOKR",), "LoKr of a 1-D convolution with a whole w2 is no Kronecker product of w1 and w2"
    ),
    "lora_dilation": Defect(_PEFT, ("LORA",), "LoRA of a convolution drops its dilation"),
    "lora_padding_mode": Defect(
        _PEFT, ("LORA", "LOHA", "LOKR", "HIRA"),
        "LoRA of a convolution drops its padding mode; LoHa, LoKr and HiRA do too",
    ),
    "oft_convolution": Defect(_PEFT, ("OFT",), "OFT of a convolution is not what merging makes of it"),
    "transformer_fast_path": Defect(
        _PEFT, (), "adapters of linear1 and linear2 in nn.TransformerEncoderLayer are left out in evaluation"
    ),
    "lycoris_alpha_loaded": Defect(
        _LYCORIS, ("locon", "loha", "lokr"), "load_state_dict does not use the alpha of the file"
    ),
    "lycoris_dora_in": Defect(_LYCORIS, ("locon",), "DoRA with wd_on_out=False does not load"),
    "lycoris_dora_in_depthwise": Defect(
        _LYCORIS, ("locon",), "DoRA with wd_on_out=False on a depthwise layer loads as another network"
    ),
    "lycoris_full_rounded": Defect(_LYCORIS, ("full",), "Full saved after loading is rounded"),
    "lycoris_full_saved": Defect(
        _LYCORIS, ("full",), "Full saved before apply_to has the weight taken off its difference"
    ),
    "lycoris_ia3_bypass": Defect(_LYCORIS, ("ia3",), "IA3 with bypass_mode scales the bias, without it does not"),
    "lycoris_ia3_groups": Defect(_LYCORIS, ("ia3",), "IA3 on the in channels of a convolution with groups raises"),
    "lycoris_ia3_load": Defect(_LYCORIS, ("ia3",), "IA3 does not load"),
    "lycoris_locon_bypass": Defect(_LYCORIS, ("locon",), "LoCon with bypass_mode drops the dilation"),
    "lycoris_loha_merge": Defect(_LYCORIS, ("loha",), "LoHa merged is scaled twice"),
    "lycoris_lokr_convolution": Defect(_LYCORIS, ("lokr",), "LoKr of low rank on a convolution may not load"),
    "lycoris_lokr_merge": Defect(_LYCORIS, ("lokr",), "LoKr merged is scaled twice"),
    "lycoris_lokr_rslora": Defect(
        _LYCORIS, ("lokr",), "LoKr with rs_lora and both factors whole loses its scale in the file"
    ),
    "lycoris_lokr_unbalanced": Defect(_LYCORIS, ("lokr",), "LoKr with unbalanced_factorization does not load"),
    "lycoris_norm_axes": Defect(_LYCORIS, ("norm",), "train_norm on a LayerNorm over several axes raises"),
    "lycoris_norm_shift": Defect(_LYCORIS, ("norm",), "train_norm on a LayerNorm without bias raises"),
    "lycoris_oft_bypass": Defect(
        _LYCORIS, ("diag-oft",), "diag-OFT with bypass_mode turns the bias, without it does not"
    ),
    "lycoris_oft_float64": Defect(_LYCORIS, ("diag-oft", "boft"), "diag-OFT and BOFT in float64 raise"),
    "lycoris_padding_mode": Defect(
        _LYCORIS, ("locon", "loha", "lokr", "ia3", "full", "diag-oft", "boft"),
        "the padding mode of a convolution is ignored",
    ),
}  # fmt: skip
"""By the name of the script; its text is the script's own."""


def peers_of(names: Iterable[str]) -> dict[str, Any]:
    """Return what the libraries have of methods.

    Parameters
    ----------
    names : iterable of str
        Rows of the method table, or combinations.

    Returns
    -------
    dict
        ``versions``: of each library. ``forms``: ``library``, ``kind``, ``computes`` and ``here`` of each row that
        names one of the methods, and of each of the same kind that no method here is. ``defects``: ``library``,
        ``what`` and ``script`` for these kinds.
    """
    wanted = set(names)
    forms, kinds = [], set[tuple[str, str]]()
    for library, module in LIBRARIES.items():
        rows = [(row, set(re.findall(r"``([^`]+)``", row[2]))) for row in table(importlib.import_module(module))]
        own = {row[0] for row, named in rows if named & wanted}
        kinds |= {(library, kind) for kind in own}
        forms += [
            {"library": library, "kind": kind, "computes": plain(computes), "here": plain(here)}
            for (kind, computes, here), named in rows
            if named & wanted or (kind in own and not named)
        ]
    defects = [
        {"library": one.library, "what": one.what, "script": f"validation/exchange/defects_{name}.py"}
        for name, one in DEFECTS.items()
        if any(library == one.library and (not one.kinds or kind in one.kinds) for library, kind in kinds)
    ]
    return {"versions": dict(VERSIONS), "forms": forms, "defects": defects}
