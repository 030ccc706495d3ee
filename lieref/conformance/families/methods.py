"""Cases of every named method and of every parameterisation: the adapted weight and bias, and the gradients.

The cases come from the method table: a new row has them at once, and cannot be generated before it has a definition.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from lieref._types import Array, FloatArray, Shape
from lieref.conformance.data import Draw
from lieref.conformance.families.spec import Spec
from lieref.errors import LierefError
from lieref.param.dora import Dora
from lieref.param.method import Method
from lieref.param.registry import METHODS, PARAMETERISATIONS, get_method
from lieref.rng import stream

Options = dict[str, Any]


class Kind(NamedTuple):
    """One kind of weight, all dimensions different (of one conv group: 2, 3, 2); a depthwise filter allows rank 1."""

    name: str
    shape: Shape
    groups: int = 1
    rank: int = 2


LINEAR, CONV_1D = Kind("linear", (4, 6)), Kind("conv 1-D", (4, 3, 2))
GROUPED, CONV_3D = Kind("two conv groups", (4, 3, 2), 2), Kind("conv 3-D", (4, 1, 2, 3, 5))
KINDS: Final = (
    LINEAR, CONV_1D, GROUPED, Kind("conv 2-D", (4, 2, 3, 5)), CONV_3D, Kind("depthwise", (3, 1, 2, 5), 3, 1),
    Kind("bias", (5,)),
)  # fmt: skip

# What the factors that start at zero are multiplied with. A matrix exponential of a large argument has no digits in
# float32, an addition has no bound.
SIZES: Final = {"zero": 0.0, "tiny": 2.0**-20, "generic": 0.5, "large": 0.75}
LARGE: Final = {"additive": 8.0, "hadamard": 2.0, "scaling": 2.0}

REGIMES: Final = (
    ("zero", LINEAR, "f32"), ("tiny", CONV_1D, "f32"), ("generic", CONV_1D, "f32"), ("large", GROUPED, "f32"),
    *(("generic", kind, "f32") for kind in KINDS[3:]), ("generic", CONV_1D, "f64"),
)  # fmt: skip
"""Each regime, and each kind of weight, at least once."""

FLAGS: Final = {"zero": ("IdentityInit",), "tiny": ("ScaleTiny",), "generic": ("FirstOrder",), "large": ("WideRange",)}

# Settings that a case gives in full, so that no port needs lieref's defaults; short binary fractions.
VALUES: Final[Options] = {"lora_alpha": 3.0, "scale": 1.5, "m": 3, "block_size": 2, "stages": 2, "kernel_rank": 1,
                         "n_frequency": 5, "frozen_seed": 5, "generator": 1}  # fmt: skip
OWN_VALUES: Final[dict[str, Options]] = {"hra": {"r": 4}, "atoms-recursive": {"recursive": 2}}


def settings(name: str, kind: Kind) -> Options:
    """Return the options of a method for a kind of weight: all of `VALUES` and of the rank that it takes."""
    values = {"r": kind.rank, **VALUES, **OWN_VALUES.get(name, {})}
    parameterisation = METHODS[name].parameterisation if name in METHODS else name.split("+")[0]
    if parameterisation is not None:
        values["r"] = max(PARAMETERISATIONS[parameterisation].least_rank, values["r"])
    if kind.groups > 1:
        values["share_groups"] = False
    return {option: value for option, value in sorted(values.items()) if _takes(name, option, value)}


@cache
def _takes(name: str, option: str, value: Any) -> bool:
    """Return whether the caller of a method may set this option to this value."""
    try:
        get_method(name, **{option: value})
    except LierefError:
        return False
    return True


def switches(name: str) -> dict[str, Kind]:
    """Return the settings that are on or off, with the kind of weight that shows them.

    Those of a parameterisation for its first row, and DoRA's own for every row.
    """
    row, fields = METHODS[name], list[Any]()
    if row.parameterisation is None:
        return {}
    if next(other.name for other in METHODS.values() if other.parameterisation == row.parameterisation) == name:
        fields += dataclasses.fields(PARAMETERISATIONS[row.parameterisation])
    if row.wrapper == "dora":
        fields += dataclasses.fields(Dora)
    on_or_off = [field.name for field in fields if field.type in ("bool", "bool | None")]
    return {
        option: GROUPED if option == "share_groups" else CONV_1D for option in on_or_off if _takes(name, option, True)
    }


def flattens(name: str) -> bool:
    """Return whether a method takes a kernel as one flat axis, so that a third kernel axis shows nothing new."""
    flat = Kind("flat", (*CONV_3D.shape[:2], math.prod(CONV_3D.shape[2:])))
    if not (serves(name, CONV_3D) and serves(name, flat)):
        return False
    sizes = [sorted(math.prod(shape) for shape, _ in _starts(name, kind, ()).values()) for kind in (CONV_3D, flat)]
    return sizes[0] == sizes[1]


@cache
def uncovered() -> tuple[str, ...]:
    """Return the parameterisations that no row uses as they are, as methods by parts."""
    used = {row.parameterisation for row in METHODS.values() if row.wrapper in ("", "dora")}
    names = []
    for name in PARAMETERISATIONS:
        if name not in used:
            candidates = (f"{name}+additive+exp", f"{name}+gl+exp+out")
            names.append(next(full for full in candidates if _method(full, CONV_1D, {}) is not None))
    return tuple(names)


def _method(name: str, kind: Kind, more: Options) -> tuple[Method, Options] | None:
    """Return the method with its options, or None where it has no meaning for this kind of weight."""
    options = {**settings(name, kind), **more}
    method = get_method(name, **options)
    if (len(kind.shape) == 1) != (method.scope in ("bias", "norm")):
        return None
    return (method, options) if method.supports(kind.shape, kind.groups) is None else None


def serves(name: str, kind: Kind, more: Options | None = None) -> bool:
    """Return whether a method, with these options too, has a meaning for this kind of weight."""
    return _method(name, kind, more or {}) is not None


@cache
def _starts(name: str, kind: Kind, more: tuple[tuple[str, Any], ...]) -> dict[str, tuple[Shape, bool]]:
    """Return shape of each factor, and whether it is zero at the start; no other number of the start is used."""
    found = _method(name, kind, dict(more))
    assert found is not None
    base = Draw("method", "start").normal(kind.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small weights have large adapters
        params = found[0].init(kind.shape, kind.groups, stream(0, "golden", "start"), np.float64, base)
    return {key: (value.shape, not value.any()) for key, value in params.items()}


def factors_of(
    name: str, kind: Kind, regime: str, base: FloatArray, draw: Draw, dtype: str, more: Options | None = None
) -> dict[str, Array]:
    """Return the factors of a method in a regime.

    A copy of the start (PiSSA) moves as far as a factor that starts at zero, and a length (DoRA) as far beside that of
    its filter.
    """
    row = METHODS.get(name)
    group = row.group if row else name.split("+")[1]
    size = LARGE.get(group, SIZES["large"]) if regime == "large" else SIZES[regime]
    result: dict[str, Array] = {}
    for key, (shape, at_zero) in _starts(name, kind, tuple((more or {}).items())).items():
        drawn = draw.short(shape, dtype)
        if key == "magnitude":
            rows = base.reshape(len(base), -1)
            lengths = np.array([math.sqrt(math.fsum(float(v) ** 2 for v in row)) for row in rows])
            result[key] = lengths * (1.0 + min(size, 0.5) * 0.25 * drawn)
        else:
            result[key] = drawn * (size if at_zero else 0.75)
    for key in ("start_a", "start_b"):
        if key in result:
            result[f"lora_{key[-1]}"] = result[key] + result[f"lora_{key[-1]}"] * min(size, 1.0)
    return result


def cases(name: str, family: str, regime: str, kind: Kind, dtype: str, more: Options | None = None) -> Iterator[Spec]:
    """Return the forward and the backward case of a method; nothing for a kind of weight it does not serve."""
    found = _method(name, kind, more or {})
    if found is None:
        return
    method, options = found
    comment = f"{regime}, {kind.name}" + "".join(f", {key}" for key in more or {})
    draw = Draw("method", name, comment)
    base = draw.short(kind.shape, dtype) * 0.5
    flags: tuple[str, ...] = FLAGS[regime]
    if regime == "large":
        base.flat[1] = 0.0
        flags = (*flags, "StructuralZero")
    if kind.groups > 1:
        flags = (*flags, "GroupedFactors")
    inputs = {"base_weight": base, **factors_of(name, kind, regime, base, draw, dtype, more)}
    with_bias = len(kind.shape) > 1 and (regime == "generic" or method.moves_bias)
    bias = {"bias": draw.short(kind.shape[:1], dtype)} if with_bias else {}
    attrs = {"method": name, "options": options, "groups": kind.groups}
    yield Spec(family, "merge", {**inputs, **bias}, attrs, dtype, comment, flags)
    if len(inputs) > 1:
        bars: dict[str, Array] = {"weight_bar": draw.short(kind.shape, dtype)}
        if with_bias:
            bars["bias_bar"] = draw.short(kind.shape[:1], dtype)
        yield Spec(family, "merge_vjp", {**inputs, **bias, **bars}, attrs, dtype, comment, flags)


def _other(name: str) -> Kind:
    """Return the first kind of weight that a method serves; of a method of biases none but these, so any."""
    return next((kind for kind in KINDS if len(kind.shape) > 1 and serves(name, kind)), LINEAR)


def family_of(name: str) -> str:
    """Return the name of the family of a method."""
    return f"method_{name.partition('+')[0].replace('-', '_')}"


def core() -> Iterator[Spec]:
    """Return the cases of the core set."""
    for name in (*METHODS, *uncovered()):
        served = {(regime, own) for regime, kind, own in REGIMES if serves(name, kind)}
        for dtype in ("f32", "f64"):
            for regime, kind, own in REGIMES:
                if own == dtype and not (kind == CONV_3D and flattens(name)):
                    at = kind if serves(name, kind) or (regime, own) in served else _other(name)
                    yield from cases(name, family_of(name), regime, at, dtype)
        if name in METHODS:
            for switch, kind in switches(name).items():
                yield from cases(name, family_of(name), "generic", kind, "f32", {switch: True})


def full() -> Iterator[Spec]:
    """Return the cases beyond the core set: every regime on every kind of weight."""
    for name in METHODS:
        for regime in SIZES:
            for kind in KINDS:
                if (regime, kind, "f32") not in REGIMES:
                    yield from cases(name, family_of(name), regime, kind, "f32")
