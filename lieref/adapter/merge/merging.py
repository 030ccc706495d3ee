"""The adapted tensors of a file, from its own and those of an adapter, with NumPy and the standard library alone.

This is the one way to merge: `Model.merge_and_unload` and ``lieref merge`` write what comes from here. Everything is
computed in float64, from the numbers as the file has them, and rounded once, to the type that the file has the tensor
in. The configuration says where each tensor lies and how (format ``lieref-adapter/3``), so that no graph is needed.

Two machines do not agree on the last bits of float64. How they come to the same bits here all the same is told in
`lieref.adapter.merge.ties`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lieref._check import check_finite
from lieref._record import dataclass
from lieref._types import Array, FloatArray
from lieref.adapter.fields import FORMAT_3, check_fields, shown
from lieref.adapter.weights import weights_digest
from lieref.errors import DomainError, FormatError, LierefError, UnsupportedError
from lieref.model.layer import Layer
from lieref.model.site import Site
from lieref.param.registry import saved_method

SELF_TEST = "selftest."
"""How the names of tensors begin that are no part of the adapter but of its bundle."""
STATISTIC = ":statistic"
"""How the name of a re-estimated statistic ends."""
FILE, ZEROS, COMPUTED = SOURCES = ("file", "zeros", "computed")
"""Where the numbers come from that an adapter changes: the file has the tensor by that name; they are zeros, those of a
new head; or the file computes them from other constants, or holds them in another form."""


@dataclass(frozen=True)
class Merge:
    """Merged tensors before they are rounded, and what they are made of.

    Attributes
    ----------
    values : dict of str to float64 array
        In the layout of the file.
    dtypes : dict of str to numpy.dtype
        Types of the file.
    sites : dict of str to Site
        The methods, their factors in float64.
    base : dict of str to float64 array
        What the sites change.
    """

    values: dict[str, FloatArray]
    dtypes: dict[str, np.dtype[Any]]
    sites: dict[str, Site]
    base: dict[str, Array]


def merge_weights(
    tensors: Mapping[str, Array], config: Mapping[str, Any], base_tensors: Mapping[str, Array]
) -> dict[str, Array]:
    """Return the tensors that an adapter changes, by their names in the file, as the merged file has them.

    Parameters
    ----------
    tensors : mapping of str to array
        Of the adapter; names ``TENSOR:FACTOR`` and ``TENSOR:statistic``. Of those that begin with ``selftest.`` the
        ties are used.
    config : mapping
        Of the adapter, of format ``lieref-adapter/3``.
    base_tensors : mapping of str to array
        Of the base, as `lieref.adapter.weights.read_weights` gives them.

    Returns
    -------
    dict of str to array
        Sorted by name; float16, float32 or float64, whatever the file has.

    Raises
    ------
    FormatError
        If the configuration, the factors and the base do not fit each other.
    UnsupportedError
        If the adapter is of an earlier format, or changes a tensor that the file computes from others.
    DomainError
        If a number is not finite, or too large for the type of its tensor.
    VerificationError
        If ties come with the adapter that are not those of these tensors.
    """
    from lieref.adapter.merge.ties import settled

    merge = merged_values(tensors, config, base_tensors)
    return settled(merge, tensors)


def merged_digest(merged: Mapping[str, Array]) -> str:
    """Return the SHA-256, in hexadecimal, of merged tensors: see `weights_digest`."""
    return weights_digest(merged)


def merged_values(tensors: Mapping[str, Array], config: Mapping[str, Any], base_tensors: Mapping[str, Array]) -> Merge:
    """Return what `merge_weights` rounds; raises as that does."""
    section = checked_section(config)
    left = {name: array for name, array in tensors.items() if not name.startswith(SELF_TEST)}
    numbers = sum(array.size for array in left.values())
    holders = {name: _holder(name, entry, base_tensors, numbers) for name, entry in section["tensors"].items()}
    values: dict[str, FloatArray] = {}
    for name in section["statistics"]:
        value = _floats(left.pop(name + STATISTIC, None), name + STATISTIC)
        if name not in holders or value.shape != holders[name].shape:
            raise FormatError(f"merge_weights: statistic {shown(name)} must fit the base; it does not")
        values[name] = value
    factors: dict[str, dict[str, Array]] = {}
    for key in left:
        tensor, _, factor = key.rpartition(":")
        factors.setdefault(tensor, {})[factor] = _floats(left[key], key)
    if strange := set(factors) - set(section["sites"]):
        raise FormatError(f"merge_weights: `tensors` must be those of the configuration; got {shown(min(strange))}")
    base = {name: np.asarray(array, np.float64) for name, array in holders.items()}
    sites = {name: _site(name, entry, factors.get(name, {})) for name, entry in section["sites"].items()}
    for name, site in sites.items():
        for changed in site.tensors:
            if changed not in base or changed in values:
                raise FormatError(f"merge_weights: {shown(changed)} must be changed once and described; it is not")
        values |= _adapted(name, site, base, section["sites"][name]["shape"])
    if set(values) != set(holders):
        raise FormatError(
            f"merge_weights: `config` must describe what it changes; got {shown(min(set(values) ^ set(holders)))}"
        )
    dtypes = {name: holders[name].dtype for name in sorted(values)}
    return Merge({name: values[name] for name in dtypes}, dtypes, sites, base)


def checked_section(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the section ``lieref`` of a configuration that says where the tensors lie."""
    section = config.get("lieref")
    if isinstance(section, Mapping) and section.get("format", FORMAT_3) != FORMAT_3:
        raise UnsupportedError(
            f"merge_weights: `config` must be of format {FORMAT_3}; got {shown(section['format'])}: load the adapter "
            "into its model and save it again"
        )
    check_fields("merge_weights", config, "`config`", complete=True)
    checked: Mapping[str, Any] = config["lieref"]
    return checked


def rounded(name: str, value: FloatArray, dtype: np.dtype[Any]) -> Array:
    """Return float64 in another type; raises `DomainError` if a number is too large for it.

    Zeros have no sign: on which side of zero float64 ends, before it underflows, depends on the machine.
    """
    with np.errstate(over="ignore"):
        found: Array = np.ascontiguousarray(value, dtype) + dtype.type(0)
    if not np.isfinite(found).all():
        raise DomainError(
            f"merge_weights: tensor {shown(name)} must hold numbers of {dtype}; one is {np.abs(value).max():.4g}"
        )
    return found


def _holder(name: str, entry: Mapping[str, Any], base: Mapping[str, Array], numbers: int) -> Array:
    """Return the tensor that an adapter of so many numbers changes, as the base has it."""
    dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
    if entry["source"] == ZEROS:
        if name in base:
            raise FormatError(f"merge_weights: {shown(name)} of a new head must not be in the base; it is")
        # A new head is stored whole: what claims to be larger would take memory that nothing stands for.
        if math.prod(shape) > numbers:
            raise FormatError(
                f"merge_weights: {shown(name)} of a new head must be among the {numbers} numbers of the adapter; got "
                f"the shape {shown(shape)}"
            )
        return np.broadcast_to(np.zeros((), dtype), shape)
    if entry["source"] == COMPUTED and name not in base:
        raise UnsupportedError(
            f"merge_weights: {shown(name)} must be stored in the base; its file computes it from other constants, "
            "which takes `lieref merge`"
        )
    if name not in base:
        raise FormatError(f"merge_weights: `base_tensors` must hold {shown(name)}; got none of that name")
    found = np.asarray(base[name])
    if found.dtype != dtype or found.shape != shape:
        raise FormatError(
            f"merge_weights: {shown(name)} of the base must be {dtype} {shape}; got {found.dtype} {found.shape}"
        )
    check_finite("merge_weights", shown(name), found)
    return found


def _floats(array: Array | None, name: str) -> FloatArray:
    """Return a tensor of the adapter in float64."""
    if array is None:
        raise FormatError(f"merge_weights: `tensors` must hold {shown(name)}; got none of that name")
    if array.dtype.kind != "f":
        raise FormatError(f"merge_weights: {shown(name)} must hold floats; got {array.dtype}")
    check_finite("merge_weights", shown(name), array)
    wide: FloatArray = np.asarray(array, np.float64)
    return wide


def _site(name: str, entry: Mapping[str, Any], factors: dict[str, Array]) -> Site:
    """Return the site that a configuration describes."""
    try:
        method = saved_method(**entry["method"])
    except (ArithmeticError, LierefError, TypeError, ValueError) as error:
        raise FormatError(
            f"merge_weights: the method of {shown(name)} must be one with its options; {shown(error, 300)}"
        ) from error
    shape = tuple(entry["shape"])
    if entry["weight"]:
        layer = Layer(name, "", name, entry["bias"], shape, entry["groups"], entry["transposed"], False, False,
                      directions=entry["directions"])  # fmt: skip
        return Site(name, method, factors, entry["groups"], layer)
    return Site(name, method, factors, 1, None)


def _adapted(name: str, site: Site, base: Mapping[str, Array], shape: list[int]) -> dict[str, FloatArray]:
    """Return the adapted tensors of a site in float64."""
    try:
        canonical = site.canonical(base[name])
        if canonical.shape != tuple(shape):
            raise FormatError(f"the base has it as {canonical.shape}, the adapter as {tuple(shape)}")
        found = site.adapted({tensor: base[tensor] for tensor in site.tensors})
    except DomainError as error:
        raise DomainError(
            f"merge_weights: the factors of {shown(name)} must be in range; {shown(error, 300)}"
        ) from error
    except (ArithmeticError, KeyError, LierefError, TypeError, ValueError) as error:
        raise FormatError(f"merge_weights: the factors of {shown(name)} must fit it; {shown(error, 300)}") from error
    for tensor, value in found.items():
        if value.shape != base[tensor].shape:
            raise FormatError(f"merge_weights: the factors of {shown(name)} must fit {shown(tensor)}; they do not")
    return found
