"""What a user writes to attach a method to a network: which method, where, and with which rank on which layer.

Field names are PEFT's: `r`, `lora_alpha`, `target_modules`, `rank_pattern`; `targets` says what a pattern is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from lieref._check import check_int
from lieref.errors import DomainError, DTypeError
from lieref.param.method import Method
from lieref.param.registry import get_method
from lieref.param.scaled import check_scale
from lieref.param.targets import FIELDS, NamedLayer, Targets, named_by

_PATTERNS = {"rank_pattern": "r", "alpha_pattern": "lora_alpha"}
"""Fields with patterns, and the option each chooses."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """Any method with its options.

    Parameters
    ----------
    method : str
        Name for `get_method`.
    options : mapping
        Fields for `get_method`.
    target_modules, exclude_modules : list of str, optional
        Patterns of the layers to adapt, all by default, and of those among them to leave as they are.
    layers_to_transform : list of int, optional
        Numbers of the blocks to adapt layers in, as in ``blocks.3.fc1``.
    layers_pattern : list of str, optional
        What stands before the number, such as ``blocks``.
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
    """LoRA: W + s B A. See `lieref.param.low_rank.LowRank` for the fields, `lieref.train.dropout` for the last.

    [Hu21].
    """

    method_name: ClassVar[str] = "lora"
    r: int = 4
    lora_alpha: float | None = None
    matricisation: str = "unfold"
    use_rslora: bool = False
    share_groups: bool | None = None
    init_lora_weights: bool | str = True
    lora_dropout: float = 0.0


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
