"""Methods at matched budgets: for each the rank whose trainable numbers come nearest below one count."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lieref._check import check_int
from lieref._text import did_you_mean
from lieref.adapter.model import Model
from lieref.errors import DomainError, LierefError, LierefWarning
from lieref.evaluate.plan import BASE, Plan
from lieref.evaluate.quantised import CARRIED, CODES, FINISHED
from lieref.model.attaching import adaptable_tensors
from lieref.model.head import NewHead
from lieref.param.registry import get_method, options_of
from lieref.param.targets import FIELDS

SIZES = ("r", "m", "block_size")
"""Options that say how many numbers a method trains: the rank, the atoms of a filter, the rows of a block."""

RANKS = tuple(range(1, 65))
"""Looked through where no ranks are asked for."""

DEFAULT = "5%"

TWIN = f"{BASE} float"
"""Label of the float twin of a quantised base."""

FORMS = {FINISHED: "", CODES: " codes=1", CARRIED: " carried"}
"""Forms of an update, as they stand behind the name of the method."""


@dataclass(frozen=True)
class Entry:
    """A method as it is compared: a row of the table.

    Attributes
    ----------
    method : str
    options : mapping
        Keywords of `attach`.
    size : str or None
        Which of the options is its rank, None where it has none.
    trainable : int
        Numbers it trains beside a new head.
    budget : int
        Most that were allowed.
    form : str
        Which form of the update is judged, where one training gives several: see `lieref.evaluate.quantised`.
    on_twin : bool
        Whether it is trained on the float twin of a quantised file.
    on_file : bool
        Whether it is trained on a quantised file.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    size: str | None = None
    trainable: int = 0
    budget: int = 0
    form: str = FINISHED
    on_twin: bool = False
    on_file: bool = False

    @property
    def rank(self) -> int | None:
        """The rank, or what stands for it."""
        return None if self.size is None else int(self.options[self.size])

    @property
    def within(self) -> bool:
        """Whether it keeps the budget; one without a rank to choose may not."""
        return self.trainable <= self.budget

    @property
    def label(self) -> str:
        """The name in tables: "liera r=2", "tied-scale codes=1", "scale carried", "scale float"."""
        name = self.method if self.size is None else f"{self.method} {self.size}={self.rank}"
        return name + (" float" if self.on_twin and self.form == FINISHED else FORMS[self.form])

    @property
    def network(self) -> str:
        """What its update is for, "float" or "quantised", where a quantised file has a float twin."""
        return "float" if self.on_twin and self.form == FINISHED else "quantised"

    def plan(self, **fields: Any) -> Plan:
        """Return the plan that trains it; `fields` are further ones of `Plan`."""
        return Plan(self.method, self.options, **fields)


def parameters(model: Model) -> int:
    """Return how many numbers of a base can be adapted: weights, biases, scales and shifts."""
    return sum(model.graph.initializers[name].size for name in adaptable_tensors(model.graph))


def parse_budget(text: str, whole: int) -> int:
    """Return a number of trainables, given as such or as a share of the base's, such as "5%".

    Raises
    ------
    DomainError
        If it is neither, or below one number.
    """
    share = text.strip().endswith("%")
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    count = value * whole / 100 if share else value
    if not (math.isfinite(count) and count >= 1 and (share or count == int(count))):
        raise DomainError(
            f"compare: `budget` must be a number of trainables, or a share such as 5% of the base's {whole:,} numbers, "
            f"one number at least; got {text!r}"
        )
    return int(count)


def matched(
    model: Model,
    methods: Sequence[str],
    *,
    budget: str | None = None,
    ranks: Sequence[int] | None = None,
    options: Mapping[str, Any] | None = None,
    where: Mapping[str, Any] | None = None,
    head: NewHead | None = None,
) -> list[Entry]:
    """Return the entries of methods at one budget, or at one for each rank.

    Parameters
    ----------
    model : Model
        The base, nothing attached; it is so again afterwards.
    methods : sequence of str
    budget : str, optional
        See `parse_budget`. Each method takes the rank among `ranks`, 1 to 64 by default, with the most numbers that
        keep it.
    ranks : sequence of int, optional
        Without a budget: a budget for each of them, what the first method that has a rank trains at it. That method
        stands in the table with these ranks, the others with what matches.
    options : mapping, optional
        Further options, for the methods that have them.
    where : mapping, optional
        The layers to adapt, fields of `Targets`, for the methods that can be told.
    head : NewHead, optional

    Returns
    -------
    list of Entry
        Budgets from small to large, methods in their order; what has no rank stands once.

    Raises
    ------
    DomainError
        If a method is unknown or stands twice, none has an option, or a budget is below what a method's least rank
        trains.
    LierefError
        If a method has no meaning for the model.
    """
    if not methods:
        raise DomainError("compare: `methods` must name at least one method")
    twice = sorted({name for name in methods if list(methods).count(name) > 1})
    if twice:
        raise DomainError(f"compare: `methods` must differ; got {twice[0]!r} twice")
    for rank in ranks or ():
        check_int("compare", "ranks", rank, low=1)
    family = [_Sized(model, name, options or {}, where or {}, head) for name in methods if name != BASE]
    _check_options(family, options or {})
    if budget is not None or not ranks:
        limits, tried = [parse_budget(budget or DEFAULT, parameters(model))], tuple(ranks or RANKS)
    else:
        lead = next((one for one in family if one.size is not None), None)
        if lead is None:
            raise DomainError(f"compare: `ranks` must be left out where no method has one; got {', '.join(methods)}")
        limits, tried = sorted({lead.trainable(rank) for rank in ranks}), RANKS
    entries: dict[str, Entry] = {}
    for limit in limits:
        for one in family:
            entry = one.entry(limit, tried)
            entries.setdefault(entry.label, entry)
    return list(entries.values())


class _Sized:
    """A method, and how much it trains at each rank."""

    def __init__(
        self, model: Model, name: str, options: Mapping[str, Any], where: Mapping[str, Any], head: NewHead | None
    ) -> None:
        try:
            known = options_of(name)
        except DomainError as error:
            raise DomainError(f"compare: `methods` must be methods; {str(error).partition(': ')[2]}") from error
        given = {key: value for key, value in options.items() if key in known}
        scope = get_method(name, **given).scope
        given |= {key: value for key, value in where.items() if scope == "weight" and key in FIELDS}
        self.name, self.model, self.head, self.options, self.known = name, model, head, given, known
        self.size = next((size for size in SIZES if size in known), None)
        self._counts: dict[int | None, int] = {}

    def trainable(self, rank: int | None = None) -> int:
        """Return the numbers that are trained beside a new head; warnings come when a run attaches the method."""
        if rank not in self._counts:
            options = self.options if rank is None or self.size is None else {**self.options, self.size: rank}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", LierefWarning)
                try:
                    self.model.attach(self.name, head=self.head, **options)
                    own = () if self.model.head is None else self.model.head.tensors
                    counts = {name: array.size for name, array in self.model.parameters().items()}
                    self._counts[rank] = sum(n for name, n in counts.items() if name.rpartition(":")[0] not in own)
                finally:
                    self.model.unload()
        return self._counts[rank]

    def entry(self, limit: int, ranks: Sequence[int]) -> Entry:
        """Return the method at the rank with the most numbers that keep the limit, the least rank with as many."""
        if self.size is None:
            return Entry(self.name, self.options, None, self.trainable(), limit)
        served = {rank: count for rank in sorted(set(ranks)) if (count := self._served(rank))}
        tried = list(served)
        if not tried:
            raise DomainError(
                f"compare: `ranks` must hold one that {self.name} takes; got {', '.join(map(str, sorted(set(ranks))))}"
            )
        if len(set(served.values())) > 1:  # sizes that leave layers out: no order is known
            tried.sort(key=self.trainable)
        elif self.trainable(tried[-1]) < self.trainable(tried[0]):  # a larger size makes fewer numbers
            tried.reverse()
        # The count never falls along the list: halve what is left of it.
        low, high = 0, len(tried)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.trainable(tried[middle]) <= limit else (low, middle)
        if low == 0:
            raise DomainError(
                f"compare: `budget` must be met by a rank of each method; got {limit:,} trainables, and {self.name} "
                f"takes {self.trainable(tried[0]):,} at {self.size}={tried[0]}; raise it, or leave {self.name} out"
            )
        count = self.trainable(tried[low - 1])
        first = next(at for at in range(low) if self.trainable(tried[at]) == count)
        rank = min(tried[first:low])
        return Entry(self.name, {**self.options, self.size: rank}, self.size, count, limit)

    def _served(self, rank: int) -> int:
        """Return how many layers the method has a meaning for at a size, 0 where it has none of this size."""
        assert self.size is not None
        own = {key: value for key, value in self.options.items() if key not in FIELDS}
        try:
            method = get_method(self.name, **{**own, self.size: rank})
        except LierefError:  # an odd number of reflections, blocks of one
            return 0
        return sum(method.supports(layer.shape, layer.groups) is None for layer in self.model.layers)


def _check_options(family: Sequence[_Sized], options: Mapping[str, Any]) -> None:
    for name in options:
        if not any(name in one.options for one in family):
            near = did_you_mean(name, [option for one in family for option in one.known])
            raise DomainError(f"compare: `option` must be one of a method that is compared; none has {name!r}{near}")
