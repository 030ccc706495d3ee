"""What a user writes to attach a method to a network: which method, where, and with which rank on which layer.

Field names are PEFT's: `r`, `lora_alpha`, `target_modules`, `rank_pattern`. A pattern is the name of a layer, of its
weight tensor or of its operator; what is none of these is a shell pattern for them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Protocol

from lieref._check import check_int, check_real
from lieref._types import Shape
from lieref.errors import DomainError, DTypeError
from lieref.param.method import Method
from lieref.param.registry import get_method

_PATTERNS = {"rank_pattern": "r", "alpha_pattern": "lora_alpha"}
"""Fields with patterns, and the option each chooses."""


class NamedLayer(Protocol):
    """What a configuration reads of a layer."""

    @property
    def node(self) -> str:
        """Name of the layer."""

    @property
    def weight(self) -> str:
        """Name of its weight tensor."""

    @property
    def op(self) -> str:
        """Its operator."""

    @property
    def shape(self) -> Shape:
        """Shape of the weight, out channels first."""

    @property
    def groups(self) -> int:
        """Conv groups."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Any method with its options.

    Parameters
    ----------
    method : str
        Name for `get_method`.
    options : mapping
        Fields for `get_method`.
    target_modules : list of str, optional
        Patterns of the layers to adapt; all layers by default.
    rank_pattern, alpha_pattern : mapping of str to int, to float
        `r` and `lora_alpha` of the layers a pattern names; the first pattern that names a layer counts.

    Raises
    ------
    DTypeError, DomainError
        If the method, a field or a pattern is not valid.
    """

    method: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    target_modules: Sequence[str] | str | None = None
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
            check_real("MethodConfig", f"alpha_pattern[{pattern!r}]", alpha, above=0.0)
        _patterns(self.target_modules)
        self.build()

    @property
    def patterns(self) -> list[str] | None:
        """The targets as a list, None for all layers."""
        return _patterns(self.target_modules)

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

    def _options(self) -> dict[str, Any]:
        return dict(self.options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _NamedConfig(MethodConfig):
    """Configuration of one method, whose options are fields of their own."""

    method: str = dataclasses.field(default="", init=False)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict, init=False)
    method_name: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "method", self.method_name)
        super().__post_init__()

    def _options(self) -> dict[str, Any]:
        shared = {field.name for field in dataclasses.fields(MethodConfig)}
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in shared}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraConfig(_NamedConfig):
    """LoRA: W + s B A. See `lieref.param.low_rank.LowRank` for the fields. [Hu21]."""

    method_name: ClassVar[str] = "lora"
    r: int = 4
    lora_alpha: float | None = None
    matricisation: str = "unfold"
    use_rslora: bool = False
    share_groups: bool | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LieRAConfig(_NamedConfig):
    """LieRA: W exp(s B A), or another map than exp; `strict` refuses zero weights. [Si25]."""

    method_name: ClassVar[str] = "liera"
    r: int = 4
    lora_alpha: float | None = None
    matricisation: str = "unfold"
    use_rslora: bool = False
    share_groups: bool | None = None
    map: str = "exp"
    strict: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class HiraConfig(_NamedConfig):
    """HiRA: W (1 + B A). [Huang25]."""

    method_name: ClassVar[str] = "hira"
    r: int = 4


def named_by(pattern: str, layers: Sequence[NamedLayer]) -> list[int]:
    """Return the indices of the layers that a pattern names.

    A pattern that is itself the name of a node, of a weight or of an operator names just that: names may hold brackets.
    One whose brackets as a choice of characters name nothing has brackets of names.
    """
    names = [(layer.node, layer.weight, layer.op) for layer in layers]
    exact = [index for index, all_ in enumerate(names) if pattern in all_]
    return exact or _matching(pattern, names) or _matching(pattern.replace("[", "[[]"), names)


def _matching(pattern: str, names: Sequence[tuple[str, ...]]) -> list[int]:
    return [index for index, all_ in enumerate(names) if any(fnmatchcase(name, pattern) for name in all_)]


def resolve(
    method: MethodConfig | Method | str, target_modules: Sequence[str] | str | None, options: Mapping[str, Any]
) -> tuple[Method, list[str] | None, Callable[[Sequence[NamedLayer]], list[Method]]]:
    """Return what `attach` needs: the method, the target patterns, and what gives each layer its own method.

    Parameters
    ----------
    method : MethodConfig, Method or str
    target_modules : list of str, optional
        Overrides those of the configuration.
    options : mapping
        Fields for a method given by name; empty otherwise.

    Raises
    ------
    DTypeError
        If `method` is something else, or options come beside a configuration.
    DomainError
        If the name or an option is not valid, or targets or patterns are given for a method that has its own.
    """
    if isinstance(method, str):
        patterns = {key: options[key] for key in ("rank_pattern", "alpha_pattern") if key in options}
        rest = {key: value for key, value in options.items() if key not in patterns}
        config = MethodConfig(method=method, options=rest, target_modules=target_modules, **patterns)
        return resolve(config, None, {})
    if options:
        raise DTypeError(
            f"attach: options must come with a method's name, not with a configuration; got {list(options)}"
        )
    if isinstance(method, Method):
        return method, _own_targets(method, _patterns(target_modules)), lambda layers: [method] * len(layers)
    if not isinstance(method, MethodConfig):
        raise DTypeError(f"attach: `method` must be a configuration, a Method or a name; got {type(method).__name__}")
    chosen = method.build()
    targets = method.patterns if target_modules is None else _patterns(target_modules)
    for field in _PATTERNS:
        if getattr(method, field) and chosen.scope != "weight":
            raise DomainError(f"attach: `{field}` must be left out for {chosen.name}; got {getattr(method, field)}")
    return chosen, _own_targets(chosen, targets), method.methods_for


def _own_targets(method: Method, patterns: list[str] | None) -> list[str] | None:
    """Return the patterns if the method adapts the layers it is told to."""
    if patterns is not None and method.scope != "weight":
        raise DomainError(f"attach: `target_modules` must be left out for {method.name}; got {patterns}")
    return patterns


def _patterns(targets: Sequence[str] | str | None) -> list[str] | None:
    """Return target patterns as a list; one string is one pattern."""
    if targets is None:
        return None
    listed = [targets] if isinstance(targets, str) or not isinstance(targets, Iterable) else list(targets)
    if not listed or not all(isinstance(pattern, str) and pattern for pattern in listed):
        raise DomainError(f"MethodConfig: `target_modules` must be a list of patterns; got {targets!r}")
    return listed
