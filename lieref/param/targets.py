"""Which layers a method adapts: PEFT's ways of choosing them, by the names that the file has.

A pattern is, in this order,

- ``all-linear``, every Gemm and MatMul but the last layer, or ``all-conv``, every Conv;
- ``re:`` and a regular expression, of a whole name;
- the name of a node, of a weight tensor or of an operator, or of the module that the node ``/blocks.0/fc1/MatMul`` or
  the weight ``blocks.0.fc1.weight`` comes from, ``blocks.0.fc1``;
- a shell pattern for these;
- the end of a module's name from a full stop on, as in PEFT's lists: ``fc1``;
- a regular expression of a whole name, as PEFT reads a single text.

The first of these that names a layer counts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Protocol, Self

from lieref._check import check_int
from lieref._text import close_names
from lieref._types import Shape
from lieref.errors import DomainError

FIELDS = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")
"""PEFT's names of what `Targets.of` takes."""

ALL_LINEAR, ALL_CONV, REGULAR = "all-linear", "all-conv", "re:"

MOST_NAMES = 8
"""So many names are listed in an error."""


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


@dataclass(frozen=True)
class Targets:
    """A choice of layers.

    Attributes
    ----------
    modules : tuple of str or None
        Patterns; None for all layers.
    exclude : tuple of str
        Patterns of layers that are left as they are.
    layers : tuple of int or None
        Numbers of the blocks whose layers are adapted, as names have them: ``blocks.3.conv.1.fc`` is in block 3, the
        first number behind a name. A layer without one is in no block. None for all.
    layers_pattern : tuple of str
        Regular expressions of what stands before the number, such as ``blocks``; any name by default.
    """

    modules: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    layers: tuple[int, ...] | None = None
    layers_pattern: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, target_modules: Any = None, exclude_modules: Any = None, layers_to_transform: Any = None,
        layers_pattern: Any = None,
    ) -> Self:  # fmt: skip
        """Return the choice that PEFT's fields make, each one value or a list of them.

        Raises
        ------
        DomainError
            If a field is of the wrong kind, a number is negative, or a regular expression is none.
        """
        numbers = None
        if layers_to_transform is not None:
            listed = list(layers_to_transform) if isinstance(layers_to_transform, Iterable) else [layers_to_transform]
            numbers = tuple(check_int("MethodConfig", "layers_to_transform", number, low=0) for number in listed)
            if not numbers:
                raise DomainError("MethodConfig: `layers_to_transform` must hold a number; got none")
        before = _patterns("layers_pattern", layers_pattern) or ()
        if before and numbers is None:
            raise DomainError(
                f"MethodConfig: `layers_pattern` must come with `layers_to_transform`; got {list(before)}"
            )
        for pattern in before:
            _compiled("layers_pattern", pattern)
        modules, exclude = _patterns("target_modules", target_modules), _patterns("exclude_modules", exclude_modules)
        return cls(modules, exclude or (), numbers, before)

    @property
    def given(self) -> dict[str, Any]:
        """What was asked for, by PEFT's names."""
        fields = zip(FIELDS, (self.modules, self.exclude, self.layers, self.layers_pattern), strict=True)
        return {name: list(value) for name, value in fields if value}

    def select(self, layers: Sequence[NamedLayer], last: Collection[str] = ()) -> list[int]:
        """Return the indices of the layers that are chosen.

        Parameters
        ----------
        layers : sequence of NamedLayer
        last : collection of str
            Nodes of the last layers, which ``all-linear`` leaves out.

        Raises
        ------
        DomainError
            If a pattern names no layer, a block is none of the network's, or nothing is left.
        """
        chosen = set(range(len(layers)))
        if self.modules is not None:
            chosen = set().union(*(_named("target_modules", pattern, layers, last) for pattern in self.modules))
        for pattern in self.exclude:
            chosen.difference_update(_named("exclude_modules", pattern, layers, last))
        if self.layers is not None:
            blocks = [self._block(layer) for layer in layers]
            for number in self.layers:
                if number not in blocks:
                    known = sorted({block for block in blocks if block is not None})
                    there = f"{', '.join(map(str, known))}" if known else "no numbers"
                    raise DomainError(
                        f"attach: `layers_to_transform` must be blocks in the names of layers, which have {there}; "
                        f"got {number}"
                    )
            chosen = {index for index in chosen if blocks[index] in self.layers}
        if not chosen:
            raise DomainError(f"attach: the targets must leave a layer to adapt; {self.given} leave none")
        return sorted(chosen)

    def _block(self, layer: NamedLayer) -> int | None:
        """Return the number of the block that a layer is in, None where its names have none."""
        before = self.layers_pattern or ("[^.]*[^.0-9][^.]*",)
        for name in _modules(layer):
            for pattern in before:
                found = re.search(rf"(?:^|\.)(?:{pattern})\.(\d+)(?:\.|$)", name)
                if found:
                    return int(found[found.lastindex or 1])
        return None


def named_by(pattern: str, layers: Sequence[NamedLayer], last: Collection[str] = ()) -> list[int]:
    """Return the indices of the layers that a pattern names.

    A pattern that is itself the name of a node, of a weight or of an operator names just that: names may hold brackets.
    One whose brackets as a choice of characters name nothing has brackets of names.

    Raises
    ------
    DomainError
        If what follows ``re:`` is no regular expression.
    """
    names = [(layer.node, layer.weight, layer.op, *_modules(layer)) for layer in layers]
    if pattern == ALL_LINEAR:
        return [i for i, layer in enumerate(layers) if layer.op in ("Gemm", "MatMul") and layer.node not in last]
    if pattern == ALL_CONV:
        return [i for i, layer in enumerate(layers) if layer.op == "Conv"]
    if pattern.startswith(REGULAR):
        return _matching(_compiled("target_modules", pattern.removeprefix(REGULAR)), names)
    exact = [index for index, all_ in enumerate(names) if pattern in all_]
    return (
        exact
        or _shell(pattern, names)
        or _shell(pattern.replace("[", "[[]"), names)
        or [index for index, layer in enumerate(layers) if any(m.endswith(f".{pattern}") for m in _modules(layer))]
        or _matching(_expression(pattern), names)
    )


def _named(field: str, pattern: str, layers: Sequence[NamedLayer], last: Collection[str]) -> list[int]:
    """Return what `named_by` does; raise `DomainError` if that is nothing, with the names that are close."""
    found = named_by(pattern, layers, last)
    if found:
        return found
    nodes = [layer.node for layer in layers]
    whole = [name for layer in layers for name in (layer.node, layer.weight, *_modules(layer))]
    close = close_names(pattern, [*whole, *(name.split(".")[-1] for name in whole)])
    if pattern == ALL_LINEAR and last:
        near = f" ({ALL_LINEAR} leaves out the last, {', '.join(sorted(last))})"
    else:
        near = f" (close: {', '.join(close)})" if close else ""
    more = f" and {len(nodes) - MOST_NAMES} more" if len(nodes) > MOST_NAMES else ""
    there = f"{', '.join(nodes[:MOST_NAMES])}{more}{near}"
    raise DomainError(f"attach: `{field}` must match a layer; {pattern!r} matches none of: {there}")


def _shell(pattern: str, names: Sequence[tuple[str, ...]]) -> list[int]:
    return [index for index, all_ in enumerate(names) if any(fnmatchcase(name, pattern) for name in all_)]


def _modules(layer: NamedLayer) -> tuple[str, ...]:
    """Return the names of the module a layer comes from, by its weight and by its node, as far as they tell it."""
    node = re.sub(rf"/{layer.op}(_\d+)?$", "", layer.node)
    return layer.weight.removesuffix(".weight"), node.strip("/").replace("/", ".")


def _matching(expression: re.Pattern[str] | None, names: Sequence[tuple[str, ...]]) -> list[int]:
    if expression is None:
        return []
    return [index for index, all_ in enumerate(names) if any(expression.fullmatch(name) for name in all_)]


def _expression(pattern: str) -> re.Pattern[str] | None:
    """Return a pattern as a regular expression, None where it is none or has nothing that a shell pattern has not."""
    if not any(sign in pattern for sign in (".*", *"\\|()+^$")):
        return None
    try:
        return re.compile(pattern)
    except re.error:
        return None


def _compiled(field: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise DomainError(f"MethodConfig: `{field}` must be a regular expression; {pattern!r}: {error}") from error


def _patterns(field: str, given: Any) -> tuple[str, ...] | None:
    """Return patterns as a tuple; one string is one pattern."""
    if given is None:
        return None
    listed = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not listed or not all(isinstance(pattern, str) and pattern for pattern in listed):
        raise DomainError(f"MethodConfig: `{field}` must be a list of patterns; got {given!r}")
    for pattern in listed:
        if pattern.startswith(REGULAR):
            _compiled(field, pattern.removeprefix(REGULAR))
    return tuple(listed)
