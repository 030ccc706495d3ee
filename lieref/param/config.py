"""What a user writes to attach a method to a network: which method, where, and with which rank on which layer.

Field names are PEFT's: `r`, `lora_alpha`, `target_modules`, `rank_pattern`; `targets` says what a pattern is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from lieref._check import check_int
from lieref.errors import DomainError, DTypeError
from lieref.param._base import check_scale
from lieref.param.method import Method
from lieref.param.registry import get_method
from lieref.param.targets import FIELDS, NamedLayer, Targets, named_by

_PATTERNS = {"rank_pattern": "r", "alpha_pattern": "lora_alpha"}
"""Fields with patterns, and the option each chooses."""


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class MethodConfig:
    """Any method with its options, and the layers it is for: what `Model.attach` takes.

    Two are equal if their fields are; `to_dict` and `from_dict` are for files.

    Parameters
    ----------
    method : str
        Name for `get_method`.
    options : mapping
        Fields for `get_method`.
    target_modules, exclude_modules : list of str, optional
        Patterns of the layers to adapt, all by default, and of those among them to leave as they are; see
        `lieref.param.targets` for what a pattern is.
    layers_to_transform : list of int, optional
        Numbers of the blocks to adapt layers in, from 0, as in ``blocks.3.fc1``.
    layers_pattern : list of str, optional
        What stands before the number, such as ``blocks``.
    rank_pattern, alpha_pattern : mapping of str to int, to float
        `r`, at least 1, and `lora_alpha`, above 0, of the layers a pattern names; the first pattern that names a layer
        counts.

    Raises
    ------
    DTypeError, DomainError
        If the method, a field or a pattern is not valid; that a pattern names no layer is found by `Model.attach`.
    """

    method: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    target_modules: Sequence[str] | str | None = None
    exclude_modules: Sequence[str] | str | None = None
    layers_to_transform: Sequence[int] | int | None = None
    layers_pattern: Sequence[str] | str | None = None
    rank_pattern: Mapping[str, int] = dataclasses.field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for field in ("options", "rank_pattern", "alpha_pattern"):
            if not isinstance(getattr(self, field), Mapping):
                raise DTypeError(f"MethodConfig: `{field}` must be a mapping; got {getattr(self, field)!r}")
            if not all(isinstance(key, str) for key in getattr(self, field)):
                raise DTypeError(f"MethodConfig: `{field}` must have names for keys; got {list(getattr(self, field))}")
        for pattern, rank in self.rank_pattern.items():
            check_int("MethodConfig", f"rank_pattern[{pattern!r}]", rank, low=1)
        for pattern, alpha in self.alpha_pattern.items():
            check_scale("MethodConfig", f"alpha_pattern[{pattern!r}]", alpha)
        for each in dataclasses.fields(self):
            object.__setattr__(self, each.name, _plain(getattr(self, each.name)))
        self.targets.given  # noqa: B018  checks the fields
        self.build()

    @property
    def targets(self) -> Targets:
        """The layers to adapt."""
        return Targets.of(*(getattr(self, field) for field in FIELDS))

    def build(self) -> Method:
        """Return the method without the exceptions of single layers."""
        return get_method(self.method, **self._options())

    def methods_for(self, layers: Sequence[NamedLayer]) -> list[Method]:
        """Return the method of each of the layers that are adapted: its own rank and alpha.

        Raises
        ------
        DomainError
            If a pattern decides for none of the layers, or the method has no rank or alpha to choose.
        """
        options = [self._options() for _ in layers]
        for field, option in _PATTERNS.items():
            open_layers = set(range(len(layers)))
            for pattern, value in getattr(self, field).items():
                named = set(named_by(pattern, layers))
                if not named & open_layers:
                    why = "earlier patterns name the same layers" if named else "it names none of them"
                    adapted = ", ".join(layer.node for layer in layers)
                    raise DomainError(
                        f"attach: `{field}` must name layers that are adapted, {adapted}; got {pattern!r}, {why}"
                    )
                for index in named & open_layers:
                    options[index][option] = value
                open_layers -= named
        return [get_method(self.method, **one) for one in options]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes an equal configuration."""
        return {each.name: _plain(getattr(self, each.name)) for each in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the configuration that `to_dict` gave.

        Raises
        ------
        DTypeError, DomainError
            If a field is missing, unknown or not valid, or the values are of another class or method.
        """
        if not isinstance(values, Mapping):
            raise DTypeError(f"{cls.__name__}: `values` must be a mapping; got {values!r:.60}")
        given, fields = dict(values), dataclasses.fields(cls)
        if unknown := [name for name in given if name not in {each.name for each in fields}]:
            known = ", ".join(each.name for each in fields)
            raise DomainError(f"{cls.__name__}: `values` must have fields among {known}; got {unknown[0]!r}")
        cls._check_method(given)
        return cls(**given)

    @classmethod
    def _check_method(cls, given: dict[str, Any]) -> None:
        """Take out of the fields what is no argument; raise `DomainError` where it is of another method."""
        if "method" not in given:
            raise DomainError(f"{cls.__name__}: `values` must name the method; got {list(given)}")

    def __repr__(self) -> str:
        """Return the call that makes it: the method and its options, and of the other fields those that are set."""
        where = {each.name: each for each in dataclasses.fields(MethodConfig)}
        shown = []
        for each in sorted(dataclasses.fields(self), key=lambda each: each.name in where):
            value = getattr(self, each.name)
            unset = value is None or value == {}
            if each.init and (each.name not in where or not unset):
                shown.append(f"{each.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def _options(self) -> dict[str, Any]:
        return dict(self.options)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class _NamedConfig(MethodConfig):
    """Configuration of one method, whose options are fields of their own."""

    method: str = dataclasses.field(default="", init=False)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, init=False)
    method_name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, from which `from_dict` makes an equal configuration."""
        return {name: value for name, value in super().to_dict().items() if name != "options"}

    @classmethod
    def _check_method(cls, given: dict[str, Any]) -> None:
        if (name := given.pop("method", None)) != cls.method_name or "options" in given:
            raise DomainError(f"{cls.__name__}: `values` must be of the method {cls.method_name!r}; got {name!r}")

    def __post_init__(self) -> None:
        object.__setattr__(self, "method", self.method_name)
        super().__post_init__()

    def _options(self) -> dict[str, Any]:
        shared = {field.name for field in dataclasses.fields(MethodConfig)}
        own = [field for field in dataclasses.fields(self) if field.name not in shared]
        told = {field.name: getattr(self, field.name) for field in own}
        return {field.name: told[field.name] for field in own if told[field.name] != field.default or not _later(field)}


def _since(default: Any) -> Any:
    """Return a field that came later: an adapter names it only where it is not the default, as those before did."""
    return dataclasses.field(default=default, metadata={"later": True})


def _later(field: dataclasses.Field[Any]) -> bool:
    return bool(field.metadata.get("later"))


def _plain(value: Any) -> Any:
    """Return a value as JSON brings it back: mappings as dicts, sequences as lists, numbers of NumPy as Python's."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class LoraConfig(_NamedConfig):
    """LoRA: W' = W + s B A, with s = lora_alpha / r [Hu21, eq. 3].

    Parameters
    ----------
    r : int
        Rank, at least 1; lowered where a layer has no room for it, keeping s.
    lora_alpha : float, optional
        Above 0; by default r, so that s = 1.
    matricisation : {"unfold", "view", "structured"}
        How the matrix B A is laid into a kernel; see `lieref.param.low_rank.LowRank`. The same for a linear layer.
    use_rslora : bool
        s = lora_alpha / sqrt(r) instead, with alpha 4 by default [Kalajdzievski23].
    share_groups : bool, optional
        One pair of factors for all conv groups, instead of a pair for each; by default for depthwise kernels alone.
    init_lora_weights : bool or str
        How the factors start: True and "gaussian" at the base; False not; the others of `lieref.param.starts`.
    lora_dropout : float
        0 to below 1: the share of input channels that the branch B A drops in a step of training.
    **where
        The fields of `MethodConfig` that say where: `target_modules` and so on.
    """

    method_name: ClassVar[str] = "lora"
    r: int = 4
    lora_alpha: float | None = None
    matricisation: str = "unfold"
    use_rslora: bool = False
    share_groups: bool | None = None
    init_lora_weights: bool | str = True
    lora_dropout: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class LieRAConfig(_NamedConfig):
    """LieRA: W' = W exp(s B A), entry by entry, or another map than exp [Si25, figure 1].

    With exp every weight keeps its sign and every zero stays zero.

    Parameters
    ----------
    r, lora_alpha, matricisation, use_rslora, share_groups
        As of `LoraConfig`.
    map : {"exp", "taylor<k>", "cayley", "neumann<k>", "bounded", "bounded(<c>)"}
        What takes xi = s B A to the group: the exponential; its Taylor polynomial of degree k, ``taylor1`` as the
        authors released it; (1 + xi / 2) / (1 - xi / 2), and that to degree k; exp(c tanh(xi / c)).
    strict : bool
        Refuse a weight that is zero, which no factor can move.
    init_lora_weights : bool or str
        True, False or "gaussian", as of `LoraConfig`.
    **where
        The fields of `MethodConfig` that say where: `target_modules` and so on.
    """

    method_name: ClassVar[str] = "liera"
    r: int = 4
    lora_alpha: float | None = None
    matricisation: str = "unfold"
    use_rslora: bool = False
    share_groups: bool | None = None
    map: str = "exp"
    strict: bool = False
    init_lora_weights: bool | str = _since(True)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class HiRAConfig(_NamedConfig):
    """HiRA: W' = W (1 + B A), entry by entry, without alpha [Huang25, eq. 6].

    Parameters
    ----------
    r, matricisation, share_groups
        As of `LoraConfig`.
    strict : bool
        Refuse a weight that is zero, which no factor can move.
    init_lora_weights : bool or str
        True, False or "gaussian", as of `LoraConfig`.
    **where
        The fields of `MethodConfig` that say where: `target_modules` and so on.
    """

    method_name: ClassVar[str] = "hira"
    r: int = 4
    matricisation: str = _since("unfold")
    share_groups: bool | None = _since(None)
    strict: bool = _since(False)
    init_lora_weights: bool | str = _since(True)


def resolve(
    method: MethodConfig | Method | str, target_modules: Sequence[str] | str | None, options: Mapping[str, Any]
) -> tuple[Method, Targets, Callable[[Sequence[NamedLayer]], list[Method]]]:
    """Return what `attach` needs: the method, the layers to adapt, and what gives each of them its own method.

    Parameters
    ----------
    method : MethodConfig, Method or str
    target_modules : list of str, optional
        Overrides those of the configuration.
    options : mapping
        The other fields of `Targets.of`, which override the configuration's; and fields for a method given by name.

    Raises
    ------
    DTypeError
        If `method` is something else, or options come beside a configuration.
    DomainError
        If the name or an option is not valid, or targets or patterns are given for a method that has its own.
    """
    where = {"target_modules": target_modules, **{key: options[key] for key in FIELDS if key in options}}
    where = {key: value for key, value in where.items() if value is not None}
    options = {key: value for key, value in options.items() if key not in FIELDS}
    if isinstance(method, str):
        patterns = {key: options[key] for key in _PATTERNS if key in options}
        rest = {key: value for key, value in options.items() if key not in patterns}
        return resolve(MethodConfig(method=method, options=rest, **where, **patterns), None, {})
    if options:
        raise DTypeError(
            f"attach: options must come with a method's name, not with a configuration; got {list(options)}"
        )
    if isinstance(method, Method):
        return method, _own_targets(method, Targets.of(**where)), lambda layers: [method] * len(layers)
    if not isinstance(method, MethodConfig):
        raise DTypeError(f"attach: `method` must be a configuration, a Method or a name; got {type(method).__name__}")
    chosen = method.build()
    for field in _PATTERNS:
        if getattr(method, field) and chosen.scope != "weight":
            raise DomainError(f"attach: `{field}` must be left out for {chosen.name}; got {getattr(method, field)}")
    targets = Targets.of(**{field: where.get(field, getattr(method, field)) for field in FIELDS})
    return chosen, _own_targets(chosen, targets), method.methods_for


def _own_targets(method: Method, targets: Targets) -> Targets:
    """Return the targets if the method adapts the layers it is told to."""
    if targets.given and method.scope != "weight":
        name, value = next(iter(targets.given.items()))
        raise DomainError(f"attach: `{name}` must be left out for {method.name}; got {value}")
    return targets
