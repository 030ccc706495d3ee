"""Cases of adapters: low rank in three layouts, Tucker, filter atoms, adapted weights, and adapted convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lieref._types import Array, Shape
from lieref.conformance.data import Draw
from lieref.conformance.families.spec import Spec

MATRICISATIONS = ("unfold", "view", "structured")
KERNEL = (6, 4, 3, 2)


def low_rank_factors(draw: Draw, shape: Shape, matricisation: str, r: int, groups: int = 1) -> dict[str, Array]:
    """Return lora_a and lora_b of a kernel, the factors of all conv groups stacked."""
    rows = 0 if matricisation == "unfold" else (len(shape) - 2) // 2
    p, q = int(np.prod(shape[2 : 2 + rows])), int(np.prod(shape[2 + rows :]))
    rank = r * p
    lora_a = draw.normal((groups * rank, shape[1] * q))
    return {"lora_a": lora_a, "lora_b": draw.normal((shape[0] * p, rank)) * 0.125}


def tucker_factors(draw: Draw, shape: Shape, ranks: Shape) -> dict[str, Array]:
    """Return core and one factor for each mode."""
    factors = {f"factor_{i}": draw.normal((n, r)) for i, (n, r) in enumerate(zip(shape, ranks, strict=True))}
    return {"core": draw.normal(ranks) * 0.125, **factors}


def atom_factors(draw: Draw, shape: Shape, m: int) -> dict[str, Array]:
    """Return coefficients and atoms."""
    size = int(np.prod(shape[2:]))
    return {"coefficients": draw.normal((*shape[:2], m)), "atoms": draw.normal((m, size)) * 0.125}


def _with_gradient(
    family: str, inputs: dict[str, Array], bar: str, shape: Shape, attrs: dict[str, Any], comment: str,
    flags: tuple[str, ...], dtype: str = "f32",
) -> Iterator[Spec]:  # fmt: skip
    """Return the forward case and the backward case of one operation."""
    yield Spec(family, family, inputs, attrs, dtype, comment, flags)
    cotangent = Draw(family, comment, "cotangent").normal(shape)
    yield Spec(family, f"{family}_vjp", {**inputs, bar: cotangent}, attrs, dtype, comment, flags)


def _low_rank() -> Iterator[Spec]:
    for matricisation in MATRICISATIONS:
        for shape, r in ((KERNEL, 2), ((3, 2, 2, 3, 2), 1), ((5, 7), 3)):
            draw = Draw("low rank", matricisation, len(shape))
            factors = low_rank_factors(draw, shape, matricisation, r)
            attrs = {"matricisation": matricisation, "scaling": 0.5, "groups": 1, "shape": list(shape)}
            name = f"{matricisation}, shape {shape}"
            yield from _with_gradient("low_rank", factors, "delta_bar", shape, attrs, name, ("Matricisation",))
    factors = low_rank_factors(Draw("low rank", "groups"), KERNEL, "unfold", 2, groups=2)
    attrs = {"matricisation": "unfold", "scaling": 2.0, "groups": 2, "shape": list(KERNEL)}
    yield from _with_gradient("low_rank", factors, "delta_bar", KERNEL, attrs, "two conv groups", ("GroupedFactors",))


def _tucker_and_atoms() -> Iterator[Spec]:
    for shape, ranks in ((KERNEL, (3, 2, 2, 1)), ((5, 4, 3), (2, 3, 2)), ((7, 5), (3, 2))):
        factors = tucker_factors(Draw("tucker", len(shape)), shape, ranks)
        name = f"shape {shape}, ranks {ranks}"
        yield from _with_gradient("tucker", factors, "delta_bar", shape, {"scaling": 4.0}, name, ("Noncommuting",))
    for shape, m in ((KERNEL, 4), ((5, 1, 3, 3), 3)):
        attrs = {"shape": list(shape)}
        factors = atom_factors(Draw("atoms", m), shape, m)
        yield from _with_gradient("atoms", factors, "delta_bar", shape, attrs, f"{m} atoms, shape {shape}", ())


def _updates(matricisation: str) -> Iterator[tuple[str, dict[str, Any], tuple[str, ...]]]:
    """Return (name, attributes, flags) of the three updates by a low-rank element."""
    common = {"parameterisation": "low-rank", "matricisation": matricisation, "scaling": 1.0, "groups": 1}
    yield "LoRA", {**common, "group": "additive"}, ("Matricisation",)
    yield "LieRA", {**common, "group": "hadamard", "map": "exp"}, ("Matricisation", "FirstOrder")
    yield "first-order LieRA", {**common, "group": "hadamard", "map": "taylor1"}, ("Matricisation", "FirstOrder")


def _weights() -> Iterator[Spec]:
    family, bar = "adapted_weight", "weight_bar"
    for matricisation in MATRICISATIONS:
        draw = Draw("weight", matricisation)
        base = draw.normal(KERNEL)
        inputs = {"base_weight": base, **low_rank_factors(draw, KERNEL, matricisation, 2)}
        for name, attrs, flags in _updates(matricisation):
            yield from _with_gradient(family, inputs, bar, KERNEL, attrs, f"{name}, {matricisation}", flags)
    draw = Draw("weight", "others")
    base = draw.normal(KERNEL)
    large = ("FirstOrder",)
    for group in ({"group": "additive"}, {"group": "hadamard", "map": "exp"}):
        attrs = {"parameterisation": "tucker", "scaling": 0.5, **group}
        inputs = {"base_weight": base, **tucker_factors(draw, KERNEL, (3, 2, 2, 1))}
        yield from _with_gradient(family, inputs, bar, KERNEL, attrs, f"Tucker, {group['group']}", large)
        attrs = {"parameterisation": "filter-atoms", **group}
        inputs = {"base_weight": base, **atom_factors(draw, KERNEL, 3)}
        yield from _with_gradient(
            family, inputs, bar, KERNEL, attrs, f"filter atoms, {group['group']}", ("FirstOrder",)
        )
    # At the start lora_b is zero, and the adapted weight is the base weight bit for bit.
    start = low_rank_factors(draw, KERNEL, "view", 2)
    start["lora_b"] = np.zeros_like(start["lora_b"])
    for name, attrs, flags in _updates("view"):
        inputs = {"base_weight": base, **start}
        yield from _with_gradient(family, inputs, bar, KERNEL, attrs, f"{name} at its start", ("IdentityInit", *flags))


def adapted_conv_inputs(purpose: str, matricisation: str = "view") -> tuple[dict[str, Array], dict[str, Any]]:
    """Return inputs and attributes of a small adapted convolution with a loss."""
    draw = Draw("adapted conv", purpose)
    inputs = {
        "x": draw.normal((2, 4, 7, 6)),
        "base_weight": draw.normal(KERNEL) * 0.25,
        "bias": draw.normal((6,)),
        "target": draw.normal((2, 6, 4, 5)),
        **low_rank_factors(draw, KERNEL, matricisation, 2),
    }
    geometry = {"strides": [2, 1], "pads": [1, 0, 1, 0], "dilations": [1, 1]}
    return inputs, geometry


def _pipelines() -> Iterator[Spec]:
    for matricisation in MATRICISATIONS:
        inputs, geometry = adapted_conv_inputs(matricisation, matricisation)
        for name, attrs, flags in _updates(matricisation):
            for op in ("adapted_conv", "adapted_conv_vjp"):
                comment = f"{name}, {matricisation}"
                yield Spec("adapted_conv", op, inputs, {**attrs, **geometry}, "f32", comment, flags)
    inputs, geometry = adapted_conv_inputs("double", "view")
    for name, attrs, flags in _updates("view"):
        for op in ("adapted_conv", "adapted_conv_vjp"):
            yield Spec("adapted_conv", op, inputs, {**attrs, **geometry}, "f64", name, flags)


def core() -> Iterator[Spec]:
    """Return the cases of the core set."""
    yield from _low_rank()
    yield from _tucker_and_atoms()
    yield from _weights()
    yield from _pipelines()


def full() -> Iterator[Spec]:
    """Return the cases beyond the core set: kernels of the size of real layers."""
    shape = (32, 24, 3, 3)
    for matricisation in MATRICISATIONS:
        draw = Draw("weight", "full", matricisation)
        inputs = {"base_weight": draw.normal(shape) * 0.0625, **low_rank_factors(draw, shape, matricisation, 4)}
        for name, attrs, flags in _updates(matricisation):
            comment = f"{name}, {matricisation}, shape {shape}"
            yield from _with_gradient("adapted_weight", inputs, "weight_bar", shape, attrs, comment, flags)
