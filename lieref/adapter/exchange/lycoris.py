"""LyCORIS's files: one .safetensors, whose keys say which module has which algorithm.

A key is ``<prefix>_<path of the module, dots as underscores>.<name of a tensor>``. The algorithm is in no field; the
names of a module's tensors tell it. The file does not say how LyCORIS was configured either: what it computes by
default is meant, the change of the weight (`bypass_mode` off), multiplied by 1.

========= =============================================== ========================================================
algorithm LyCORIS's weight                                here
========= =============================================== ========================================================
locon     W + s U D, s = alpha / r                        ``lora``: the same numbers
locon     W + s U M D, M over the whole kernel            ``locon-tucker``: the same numbers
locon     m V / (||V|| + eps), V = W + s U D              ``dora``: eps is left out, or a whole tensor
loha      W + s (A1 B1) * (A2 B2)                         ``loha``, factors shared by groups: the same numbers
lokr      W + s w1 (x) w2, s = 1 where both are whole     ``lokr``, factors shared by groups: the same numbers
ia3       (1 + w) W on the out or in mode, bias as it was ``ia3`` with action scaling or scaling(in)
full      W + diff                                        ``full``, read as ``dense+additive+exp``
norm      w + w_norm, b + b_norm of a normalisation       ``norm``: the same numbers
diag-oft  R^T W on the out mode, R = (I + Q)(I - Q)^-1    ``block-diagonal+so+cayley+out``, a power of two apart
boft      R_m ... R_1 W on the out mode                   ``block-diagonal+so+cayley+out`` of one stage
boft      R_m ... R_1 W on the out mode, m above 1        a whole tensor: ``boft`` here turns the fan-in
========= =============================================== ========================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lieref._types import Array, FloatArray, Params
from lieref.adapter.exchange.factors import Factors, Foreign, Place, Read
from lieref.adapter.exchange.foreign_tensors import read_foreign_tensors
from lieref.adapter.exchange.given import PICKLES, converted
from lieref.adapter.exchange.lycoris_dense import read_full, read_ia3
from lieref.adapter.exchange.lycoris_form import READ, Target, number
from lieref.adapter.exchange.lycoris_low_rank import read_locon, read_loha, read_lokr
from lieref.adapter.exchange.lycoris_rotation import read_boft, read_oft
from lieref.errors import FormatError, UnsupportedError

PREFIXES = ("lycoris", "lora_unet", "lora_te1", "lora_te2", "lora_te3", "lora_te", "lora_transformer")
"""What stands before the path of a module: LyCORIS's own, and those of the trainers that use it."""

SEPARATOR = "_"
MOST_SHOWN = 4

_Reader: TypeAlias = Callable[[Params, Target], Factors]


@dataclass(frozen=True)
class Algorithm:
    """What the tensors of one module are.

    Attributes
    ----------
    name : str
    needs : tuple
        For each tensor that there must be, the ways to give it: names that come together.
    may : tuple of str
        Tensors that there may be.
    reader : callable or None
        From the tensors and what they change to the factors; None where the tensors are added as they are.
    """

    name: str
    needs: tuple[tuple[tuple[str, ...], ...], ...]
    may: tuple[str, ...]
    reader: _Reader | None

    @property
    def names(self) -> frozenset[str]:
        """The names that tell the algorithm."""
        return frozenset(name for ways in self.needs for way in ways for name in way)


def _needs(*names: str) -> tuple[tuple[tuple[str, ...], ...], ...]:
    return tuple(((name,),) for name in names)


_SCALED = ("alpha", "dora_scale")
_OFT = Algorithm("diag-oft", _needs("oft_blocks"), ("rescale", "alpha"), read_oft)
ALGORITHMS = (
    Algorithm("locon", _needs("lora_up.weight", "lora_down.weight"), ("lora_mid.weight", *_SCALED), read_locon),
    Algorithm("loha", _needs("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), _SCALED, read_loha),
    Algorithm(
        "lokr",
        ((("lokr_w1",), ("lokr_w1_a", "lokr_w1_b")), (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"))),
        _SCALED,
        read_lokr,
    ),
    Algorithm("ia3", _needs("weight", "on_input"), (), read_ia3),
    Algorithm("full", _needs("diff"), ("diff_b",), read_full),
    Algorithm("norm", _needs("w_norm"), ("b_norm",), None),
    _OFT,
    Algorithm("boft", _needs("oft_blocks"), ("rescale", "alpha"), read_boft),
)
"""The algorithms that are read. OFT and BOFT have the same names; the blocks of BOFT have an axis more, the stages."""

REFUSED = {
    **dict.fromkeys(("hada_t1", "hada_t2"), "the Tucker form of LoHa; train without use_tucker"),
    **dict.fromkeys(("lokr_t1", "lokr_t2"), "the Tucker form of LoKr; train without use_tucker"),
    **dict.fromkeys(("a1.weight", "a2.weight", "b1.weight", "b2.weight", "bm.weight"), "GLoRA; merge it in LyCORIS"),
    **dict.fromkeys(("q_layer.weight", "p_layer.weight", "lambda_layer"), "T-LoRA, which depends on the time step"),
}
"""Tensors of algorithms that are not read, and what to do."""


def recognises(path: Path) -> bool:
    """Tell whether a path is a file of tensors, or was one before it was pickled; what is in it is not looked at."""
    return path.is_file() and (path.suffix == ".safetensors" or path.suffix.lower() in PICKLES)


def read(path: str | Path) -> Foreign:
    """Read a file of LyCORIS.

    Raises
    ------
    FormatError
        If it is no .safetensors file, holds no module, or a module lacks a tensor, has an unknown one, or those of two
        algorithms.
    UnsupportedError
        If a module has an algorithm that is not read; the message names it.
    DomainError
        If a number is not finite.
    """
    path = Path(path)
    if path.suffix.lower() in PICKLES:
        raise FormatError(f"{READ}: `{path}` must be a .safetensors file; {converted(path)}")
    if not path.is_file():
        raise FormatError(f"{READ}: `{path}` must be a file; there is none")
    return parse_lycoris(read_foreign_tensors(path))


def parse_lycoris(tensors: Mapping[str, Array]) -> Foreign:
    """Return the modules of a state dict of LyCORIS; raises as `read` does."""
    by_name: dict[str, dict[str, Array]] = {}
    for key, array in tensors.items():
        name, dot, rest = key.partition(".")
        if not dot or not name:
            raise FormatError(f"{READ}: every key must be a module's name, a full stop, and a tensor's; got {key!r}")
        by_name.setdefault(name, {})[rest] = array
    if not by_name:
        raise FormatError(f"{READ}: the file must hold a module; got no tensors")
    modules: dict[str, Read] = {}
    added: dict[str, dict[str, Array]] = {}
    kinds: dict[str, str] = {}
    for name, own in by_name.items():
        path = path_of(name)
        if path in kinds:
            raise FormatError(f"{READ}: each module must come once; got {name!r} beside one of another prefix")
        algorithm = recognised(name, own)
        kinds[path] = algorithm.name
        floats = {key: _as_float(array) for key, array in own.items() if key != "scalar"}
        more = {"bias": floats.pop("diff_b")} if "diff_b" in floats else {}
        if algorithm.reader is None:
            more = {{"w_norm": "weight", "b_norm": "bias"}[key]: array for key, array in floats.items()}
        else:
            modules[path] = _placed(algorithm.reader, floats, name)
        if more:
            added[path] = more
    wide = any(array.dtype == np.float64 for array in tensors.values())
    return Foreign(
        "LyCORIS", "+".join(dict.fromkeys(kinds.values())), modules, added=added, separator=SEPARATOR,
        dtype="float64" if wide else "float32",
    )  # fmt: skip


def path_of(name: str) -> str:
    """Return the path of a module, dots as underscores, without the prefix that its name in the file begins with."""
    before = next((f"{prefix}_" for prefix in PREFIXES if name.startswith(f"{prefix}_")), "")
    return name.removeprefix(before)


def recognised(name: str, tensors: Mapping[str, Array]) -> Algorithm:
    """Return the algorithm that a module's tensors tell.

    Parameters
    ----------
    name : str
        The module's, for messages.
    tensors : mapping of str to array
        By the names that follow the module's.

    Raises
    ------
    FormatError, UnsupportedError
        As `read`.
    """
    for key, what in REFUSED.items():
        if key in tensors:
            raise UnsupportedError(f"{READ}: `{name}.{key}` must be of an algorithm that is read; it is of {what}")
    told = [row for row in ALGORITHMS if row.names & tensors.keys()]
    if len(told) > 1 and all(row.names == _OFT.names for row in told):
        told = [row for row in told if (row is _OFT) == (tensors["oft_blocks"].ndim < 4)]
    if len(told) != 1:
        known = " and ".join(row.name for row in told) if told else _listed(tensors)
        rule = "the tensors of one algorithm" if told else "tensors of an algorithm that is read"
        raise FormatError(f"{READ}: `{name}` must have {rule}; got {known}")
    row = told[0]
    unknown = sorted(tensors.keys() - row.names - {*row.may, "scalar"})
    if unknown:
        raise FormatError(f"{READ}: `{name}` must have no other tensors than {row.name} has; got {_listed(unknown)}")
    for ways in row.needs:
        given = [way for way in ways if tensors.keys() & {*way}]
        if len(given) != 1 or not tensors.keys() >= {*given[0]}:
            text = " or ".join(" with ".join(way) for way in ways)
            raise FormatError(f"{READ}: `{name}` must have {text}, as {row.name} does; got {_listed(tensors)}")
    if "scalar" in tensors and number(Target(name, np.zeros(1)), "scalar", tensors["scalar"]) != 1:
        raise UnsupportedError(
            f"{READ}: `{name}.scalar` must be 1, for LyCORIS 4 multiplies it into a factor when it saves; save it again"
        )
    return row


def _placed(read: _Reader, tensors: Params, name: str) -> Callable[[Place], Factors]:
    def factors(place: Place) -> Factors:
        if place.padding_mode:
            raise UnsupportedError(
                f"{READ}: `{name}` must be of a layer that pads with zeros, as LyCORIS pads what it adds whatever the "
                "layer does; this one does not"
            )
        with np.errstate(over="ignore", invalid="ignore"):  # an overflow is an error where the weight is made
            return read(tensors, Target(name, place.weight, groups=place.layer.groups))

    return factors


def _as_float(array: Array) -> FloatArray:
    """Return a tensor as float32, or as float64 where it is that or an integer."""
    wide = array.dtype.kind != "f" or array.dtype.itemsize > 4
    return array.astype(np.float64 if wide else np.float32)


def _listed(names: Mapping[str, object] | list[str]) -> str:
    given = sorted(names)
    more = f" and {len(given) - MOST_SHOWN} more" if len(given) > MOST_SHOWN else ""
    return ", ".join(given[:MOST_SHOWN]) + more
