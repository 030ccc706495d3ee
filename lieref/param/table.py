"""The table of named methods: each row is a choice of parts and of defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from typing import Any

from lieref._record import dataclass


@dataclass(frozen=True)
class MethodRow:
    """One named method.

    Attributes
    ----------
    name, summary : str
        Name in `get_method` and on the command line; one line for people.
    parameterisation : str or None
        Key of `PARAMETERISATIONS`; None where nothing is trained.
    group, map, action : str
        Key of `GROUPS`; texts for `make_map` and `make_action`.
    reference : str
        Keys of `references.py` in brackets; empty where there is no one source.
    learning_rate : float
        Default for AdamW.
    scope : str
        See `Recipe`.
    wrapper : str
        What is put around the combination: "dora" (`Dora`), "rotation" (`BlockRotation`), "reflections"
        (`Reflections`), or nothing.
    formula : str
        Trainable count where it is not the parameterisation's own.
    defaults : mapping
        Values of parameterisation fields that differ from the field's own default.
    alpha_over_rank : float, optional
        Default of `lora_alpha` over r, where it is not the parameterisation's own.
    fixed : set of str
        Fields that make the method what it is and that the caller cannot choose.
    """

    name: str
    summary: str
    parameterisation: str | None
    group: str
    map: str
    action: str
    reference: str
    learning_rate: float
    scope: str = "weight"
    wrapper: str = ""
    formula: str = ""
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    alpha_over_rank: float | None = None
    fixed: Set[str] = frozenset()


def _additive(name: str, summary: str, parameterisation: str, reference: str, lr: float, **rest: Any) -> MethodRow:
    """Return the row of a method that adds xi to the weight."""
    return MethodRow(name, summary, parameterisation, "additive", "exp", "element-wise", reference, lr, **rest)


def _on_out(name: str, summary: str, group: str, reference: str) -> MethodRow:
    """Return the row of a method that mixes the filters by low-rank elements of a matrix algebra.

    With the action "out+bias" the bias is mixed too, which mixes the outputs of the layer.
    """
    return MethodRow(name, summary, "low-rank", group, "exp", "out", reference, 5e-3,
                     fixed={"matricisation", "rank_times_kernel"}, formula="2·G·r·n")  # fmt: skip


def _rotation(
    name: str, summary: str, parameterisation: str, group: str, map_spec: str, reference: str, lr: float,
    skew: bool = True, fixed: Set[str] = frozenset({"skew", "map"}), **rest: Any,
) -> MethodRow:  # fmt: skip
    """Return the row of a method that rotates the flattened filters by blocks, or nearly, in GL."""
    return MethodRow(name, summary, parameterisation, group, map_spec, "fan-in", reference, lr, wrapper="rotation",
                     defaults={"skew": skew}, fixed=fixed, **rest)  # fmt: skip


def _hadamard(
    name: str, summary: str, parameterisation: str, map_spec: str, reference: str, lr: float, **rest: Any
) -> MethodRow:
    """Return the row of a method that multiplies each weight by its own factor."""
    return MethodRow(name, summary, parameterisation, "hadamard", map_spec, "element-wise", reference, lr, **rest)


# Learning rates: between what 500 and what 10,000 images prefer on ResNet-8 where both were searched (full, head, bias,
# norm, scale, lora, lora-view, liera), near the best of three on 500 images elsewhere: validation/learning_rates.py.
_ROWS = (
    _additive("full", "Every weight and bias of a layer, scale and shift of a normalisation", "dense", "", 3e-4,
              scope="all"),
    _additive("head", "The last layer only", "dense", "", 3e-3, scope="head"),
    _additive("bias", "Every bias of a layer and shift of a normalisation", "dense", "[BenZaken22]", 1e-2,
              scope="bias"),
    _additive("norm", "Every scale and shift of a normalisation", "dense", "[Frankle21] [Zhao24]", 1e-2, scope="norm"),
    MethodRow("norm-stats", "BatchNorm statistics re-estimated without labels; nothing is trained", None, "additive",
              "exp", "element-wise", "[Li16]", 0.0, scope="statistics"),
    MethodRow("scale", "One positive factor for each output channel of the weight; the bias stays", "dense", "scaling",
              "exp", "scaling", "", 1e-2, formula="G·O"),
    MethodRow("ia3", "One factor for each output, weight and bias: (IA)^3; action scaling(in) for feed-forward layers",
              "dense", "scaling", "taylor1", "scaling+bias", "[Liu22]", 1e-2, fixed={"map"}, formula="G·O"),
    _additive("lora", "Low-rank addition, rows out and columns in k_h k_w as in PEFT", "low-rank", "[Hu21]", 5e-3,
              fixed={"rank_times_kernel"}),
    _additive("lora-view", "Low-rank addition in loralib's shape (out k, r k) (r k, in k), in each conv group",
              "low-rank", "[Hu21]", 3e-3,
              defaults={"matricisation": "view"}, fixed={"matricisation", "rank_times_kernel"},
              formula="G·r·p·(O·p + I·q)"),
    _additive("lora-structured", "Low-rank addition, rows (out, k_h) and columns (in, k_w) unmixed; derived here",
              "low-rank", "[Hu21]", 3e-3,
              defaults={"matricisation": "structured"}, fixed={"matricisation", "rank_times_kernel"},
              formula="G·r·p·(O·p + I·q)"),
    _additive("rslora", "LoRA scaled by alpha / sqrt(r), alpha 4 at any rank", "low-rank", "[Kalajdzievski23]", 5e-3,
              defaults={"use_rslora": True}, fixed={"use_rslora", "rank_times_kernel"}),
    _additive("lora-c", "loralib's layout at rank r instead of r k, alpha 2 r", "low-rank", "[LoRAC24]", 3e-3,
              defaults={"matricisation": "view", "rank_times_kernel": False}, alpha_over_rank=2.0,
              fixed={"matricisation", "rank_times_kernel"}, formula="G·r·(O·p + I·q)"),
    _additive("locon-tucker", "A core over the whole kernel between two pointwise factors", "tucker", "[Yeh24]", 3e-3,
              defaults={"kernel_factors": False, "zero": "out"}, fixed={"kernel_factors", "zero", "kernel_rank"},
              formula="G·(r·s·k + O·r + I·s)"),
    _additive("loha", "Product of two low-rank matrices, entry by entry", "hadamard-low-rank", "[Hyeon22] [Yeh24]",
              1e-2),
    _additive("lokr", "Kronecker product", "kronecker", "[Yeh24]", 1e-2),
    _additive("convolutional-low-rank-adaptation", "Pointwise matrix times depthwise kernel", "separable",
              "[CoLoRA25]", 2e-3),
    _additive("lora-edge", "Output-side core of a tensor train of the kernel", "tensor-train", "[LoRAEdge25]", 2e-3),
    _additive("flora", "Tucker form, core zero", "tucker", "[Si25F]", 1e-3, defaults={"scale": 4.0},
              fixed={"kernel_factors", "zero"}),
    _additive("atoms", "Spatial atoms shared by all filters", "filter-atoms", "[Chen25]", 2e-3,
              fixed={"recursive", "unit_scale"}, formula="m·f"),
    _additive("atoms-recursive", "Spatial atoms, each made of smaller ones for each input channel", "filter-atoms",
              "[Chen25]", 1e-3, defaults={"recursive": 3}, fixed={"unit_scale"}, formula="m·m1·(v + f)"),
    _additive("dora", "Length of each filter, and LoRA for its direction", "low-rank", "[Liu24]", 5e-3,
              fixed={"rank_times_kernel"}, wrapper="dora", formula="G·r·(O + I·k) + G·O"),
    _additive("pissa", "Low rank from the principal singular directions of the weight", "principal", "[Meng24]", 1e-3,
              fixed={"of_logarithm", "lora_alpha", "use_rslora", "start"}),
    _additive("olora", "Low rank from the QR decomposition of the weight", "principal", "[Buyukakyuz24]", 1e-3,
              defaults={"start": "olora"}, fixed={"of_logarithm", "start"}),
    _additive("vera", "Low rank between shared random matrices, scales trained", "shared-random", "[Kopiczko24]", 3e-2),
    _additive("dvora", "Length of each filter, and VeRA for its direction", "shared-random", "[Liu24] [Kopiczko24]",
              1e-2, wrapper="dora", formula="G·(O + r) + G·O"),
    _additive("randlora", "Full rank from random bases, scales trained", "random-bases", "[Albert25]", 1e-3),
    _additive("lora-fa", "LoRA with a fixed random A that is not stored", "projected", "[Zhang23]", 1.5e-2),
    _additive("fourierft", "A few Fourier coefficients at random places", "fourier", "[Gao24]", 2e-3),
    _additive("waveft", "A few Haar wavelet coefficients at random places", "wavelet", "[Bilican25]", 1e-4),
    _additive("shira", "Single entries at random places", "sparse", "[Bhardwaj24]", 2e-3),
    _additive("c3a", "Circulant blocks over the channels", "circulant", "[Chen25C]", 1e-2),
    _additive("miss", "One block of columns that repeats along the inputs", "shared-blocks", "[Kang24]", 1e-3),
    _additive("gralora", "A low rank of its own for every block", "block-low-rank", "[Jung25]", 5e-3),
    _additive("lora-svd", "AdaLoRA's form at a fixed rank: B diag(e) A", "singular-values", "[Zhang23A]", 1e-2),
    _additive("lora-xs", "A small core between the principal singular directions of the weight", "core", "[Balazy24]",
              1e-2),
    _additive("psoft", "The principal part of the weight turned and stretched", "principal-rotation", "[Wu25]", 3e-3,
              defaults={"r": 8}),
    _additive("cp", "A sum of outer products, a vector for each mode; derived here", "canonical", "[Kolda09]", 3e-3),
    _additive("tensor-ring", "A ring of cores, one for each mode; derived here", "tensor-ring", "[Zhao16]", 3e-3),
    _additive("loha-tucker", "Product of two kernels in Tucker form, entry by entry", "hadamard-low-rank",
              "[Hyeon22] [Yeh24]", 1e-2, defaults={"tucker": True}, fixed={"tucker"},
              formula="2·G·r·(O + I) or 2·G·r·(O + I + r·k)"),
    _additive("lokr-tucker", "Kronecker product with a kernel in Tucker form", "kronecker", "[Yeh24]", 1e-2,
              defaults={"tucker": True}, fixed={"tucker"},
              formula="G·(a·b + c·d·k) or G·(a·b + r·(c + d)) or G·(a·b + r·(c + d + r·k))"),
    _rotation("oft", "Filters rotated in small blocks, exact exponential", "block-diagonal", "so", "exp", "[Qiu23]",
              5e-3, formula="G·n·(b - 1)/2"),
    _rotation("oft-cayley", "Filters rotated in small blocks by the Cayley map", "block-diagonal", "so", "cayley",
              "[Qiu23]", 5e-3, formula="G·n·(b - 1)/2"),
    _rotation("oft-cayley-neumann", "Filters nearly rotated, the Cayley map's inverse a short series: PEFT's default",
              "block-diagonal", "gl", "neumann4", "[Qiu25]", 5e-3, fixed={"skew"}, formula="G·n·(b - 1)/2"),
    _rotation("boft", "Filters rotated by a butterfly of small blocks, Cayley map; filters are not scaled",
              "butterfly", "so", "cayley", "[Liu24B]", 2e-3, formula="G·m·n·(b - 1)/2"),
    _rotation("goft", "Filters rotated by a tree of Givens rotations; inputs are not scaled", "givens", "so", "exp",
              "[Ma24]", 5e-3, formula="G·(n - 1)"),
    _rotation("qgoft", "The tree of goft with any two by two matrices, and no penalty that keeps them orthogonal",
              "givens", "gl", "taylor1", "[Ma24]", 2e-3, skew=False, formula="4·G·(n - 1)"),
    MethodRow("hra", "Filters reflected an even number of times", "householder", "so", "exp", "fan-in", "[Yuan24]",
              3e-3, wrapper="reflections"),
    _on_out("elra", "Filters mixed by exp(B A), any invertible mixing near one; the bias stays", "gl", "[Hamidi25]"),
    _on_out("so", "Filters mixed by a rotation, exp of a low-rank matrix made skew; the bias stays", "so", ""),
    _on_out("sl", "Filters mixed without changing volume: exp of a low-rank matrix made traceless; the bias stays",
            "sl", ""),
    _on_out("unitriangular", "Filters mixed with those behind them: a triangular matrix with ones; the bias stays",
            "unipotent", ""),
    _on_out("sp", "Filters mixed by a symplectic matrix, an even number of them; the bias stays", "sp", ""),
    MethodRow("affine", "Outputs mixed and shifted, y to A y + t, the bias too", "low-rank", "affine", "exp",
              "affine", "", 5e-3, fixed={"matricisation", "rank_times_kernel", "action"},
              formula="2·G·r·(n + 1)"),
    _hadamard("liera", "Low rank in the algebra of the Hadamard group, exact exponential", "low-rank", "exp",
              "[Si25]", 2e-2, fixed={"rank_times_kernel"}),
    _hadamard("liera-taylor1", "LieRA to first order, W (1 + xi), as its authors released it", "low-rank", "taylor1",
              "[Si25]", 2e-2, fixed={"rank_times_kernel", "map"}),
    _hadamard("liera-taylor2", "LieRA to second order, W (1 + xi + xi^2 / 2)", "low-rank", "taylor2", "[Si25]", 2e-2,
              fixed={"rank_times_kernel", "map"}),
    _hadamard("liera-bounded", "LieRA with exp(c tanh(xi / c)): no weight changes by more than e^c", "low-rank",
              "bounded", "[Si25]", 2e-2, fixed={"rank_times_kernel"}),
    _hadamard("liera-tucker", "LieRA with a Tucker form in the algebra; derived here", "tucker", "exp", "[Si25]", 5e-3,
              defaults={"scale": 4.0}),
    _hadamard("liera-kronecker", "LieRA with a Kronecker product in the algebra; derived here", "kronecker", "exp",
              "[Si25]", 2e-2),
    _hadamard("liera-atoms", "LieRA with filter atoms in the algebra; derived here", "filter-atoms", "exp", "[Si25]",
              2e-3, defaults={"unit_scale": True}),
    _hadamard("liera-vera", "LieRA with VeRA in the algebra; derived here", "shared-random", "exp",
              "[Si25] [Kopiczko24]", 3e-2),
    _hadamard("liera-shira", "LieRA with single entries in the algebra; derived here", "sparse", "exp",
              "[Si25] [Bhardwaj24]", 1e-2),
    _hadamard("liera-cp", "LieRA with a sum of outer products in the algebra; derived here", "canonical", "exp",
              "[Si25] [Kolda09]", 1e-2),
    _hadamard("liera-miss", "LieRA with a block that repeats in the algebra; derived here", "shared-blocks", "exp",
              "[Si25] [Kang24]", 5e-3),
    _hadamard("hira", "W (1 + B A), without alpha", "low-rank", "taylor1", "[Huang25]", 2e-2,
              fixed={"rank_times_kernel", "map", "lora_alpha", "use_rslora"}),
    _hadamard("boha", "HiRA with a low rank of its own for every block", "block-low-rank", "taylor1", "[Yu25]", 5e-2,
              fixed={"map"}),
    _hadamard("dora-liera", "Length of each filter, and LieRA for its direction; derived here", "low-rank", "exp",
              "[Si25] [Liu24]", 1e-2, fixed={"rank_times_kernel"}, wrapper="dora", formula="G·r·(O + I·k) + G·O"),
    _hadamard("pissa-liera", "PiSSA of log|W| in the algebra of the Hadamard group; derived here", "principal", "exp",
              "[Si25] [Meng24]", 2e-3, defaults={"of_logarithm": True},
              fixed={"of_logarithm", "lora_alpha", "use_rslora", "start"}),
)  # fmt: skip

METHODS: dict[str, MethodRow] = {row.name: row for row in _ROWS}

OF_OTHERS = {
    "eva": 'lora, or liera, with init_lora_weights="eva"',
    "adalora": 'lora-svd, trained by the optimizer "adalora"',
    "corda": 'lora with init_lora_weights="corda", or "corda_kpm" to keep what the base does',
    "lora-ga": "nothing here: its start needs gradients",
    "loftq": "nothing here: the base stays as it is; see finetune --unlabelled --float for quantised files",
    "bhra": "boha, of which it is the first version",
    "oftv2": "oft-cayley-neumann",
    "qoft": "oft-cayley-neumann: its blocks are the same, on the weight that a quantised base stands for",
    "tinytl": "the method bias; its lite residual modules are nothing here, for they work at a lower resolution, which "
    "no weight of the layer holds: lora beside bias can be merged",
}
"""Names that other libraries have for what is no row here, and what it is."""

SPELLINGS = {
    "rank": "r", "alpha": "lora_alpha", "use_dora": "the method dora", "lr": "the learning_rate of fit",
    "bias": "the method bias, attached beside it", "modules_to_save": "the method full, attached to those layers",
}  # fmt: skip
"""Options that users of other libraries write, and what each is here."""

RENAMED = {"colora": "convolutional-low-rank-adaptation"}
"""Names that methods had before, and the names they have: CoLoRA is also the published name of another method."""
